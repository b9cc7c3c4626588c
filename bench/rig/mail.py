# SPDX-License-Identifier: MIT
"""Maildrops and accounts for a run: the same files are served by every server."""
import base64
import functools
import os
import random

PASSWORD = "correct-horse"
DATE = 1700000000  # of the first message; file names and times are the same in every run

# name: (accounts, messages in each, octets of a message)
SETS = {
    "small": (64, 100, 4 * 1024),
    "medium": (16, 50, 75 * 1024),
    "large": (8, 5, 10 * 1024 * 1024),
    "many": (4, 10000, 600),
    "huge": (2, 100000, 600),
    "idle": (100000, 1, 600),
}
ONCE_OCTETS = 1024 * 1024  # messages of this size and more are made once and written under every name
CHEAP = "many", "huge", "idle"  # one body for all: their size and number are what counts

WORDS = "the post office holds your letters until you call for them and each of them comes to you once".split()


def header(number, account):
    return (f"Return-Path: <sender@example.org>\nReceived: from mx.example.org by mail.example.net; id {number:08x}\n"
            f"Date: Tue, 14 Nov 2023 22:13:20 +0000\nFrom: Sender <sender@example.org>\nTo: {account}@example.net\n"
            f"Subject: Letter {number}\nMessage-ID: <{number}.{account}@example.org>\nMIME-Version: 1.0\n").encode()


def text_body(rng, octets):
    lines = []
    while octets > 0:
        line = " ".join(rng.choices(WORDS, k=rng.randint(4, 14)))[:78]
        lines.append(line[:max(octets - 1, 0)])
        octets -= len(line) + 1
    return "\n".join(lines).encode() + b"\n"


def attachment_body(rng, octets):
    """Base64 in lines of 76: what most octets of mail are."""
    raw = base64.b64encode(rng.randbytes(octets * 57 // 77))
    return b"\n".join(raw[at:at + 76] for at in range(0, len(raw), 76)) + b"\n"


@functools.lru_cache(maxsize=6400)  # all of set small, which is made again and again
def message(number, account, octets):
    """A message of about so many octets with LF line ends, as MTAs write it."""
    rng = random.Random(f"{account} {number}")
    head = header(number, account)
    if octets < 16 * 1024:
        return head + b"Content-Type: text/plain; charset=us-ascii\n\n" + text_body(rng, octets - len(head) - 45)
    return (head + b"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n" +
            attachment_body(rng, octets - len(head)))


def texts(account, count, octets, cheap):
    """The messages of a maildrop."""
    once = message(1, account, octets)
    if octets >= ONCE_OCTETS:
        return (once for _ in range(count))
    if cheap:
        body = once[len(header(1, account)):]
        return (header(number, account) + body for number in range(1, count + 1))
    return (message(number, account, octets) for number in range(1, count + 1))


def file_names(account, count, generation):
    """As Postfix names them. Names that differ in a counter only would meet Dovecot's hash at its weakest."""
    rng = random.Random(f"{account} {generation}")
    for number in range(1, count + 1):
        yield f"{DATE + number}.Vfd01I{rng.randrange(1 << 24):x}M{rng.randrange(1000000):06}.mail:2,S"


def write_file(name, octets, owner, when):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(fd, octets)
    os.fchown(fd, *owner)
    os.close(fd)
    os.utime(name, (when, when))


class Maildrops:
    """Maildirs and mboxes below `folder` and, for the load generator, a file of accounts for each set."""

    def __init__(self, folder, owner, sizes):
        """`sizes`: {set: accounts that are needed}."""
        self.folder = folder
        self.root = os.path.join(folder, "mail")
        self.owner = owner
        self.accounts = {name: [f"{name}{number:06}" for number in range(min(count, SETS[name][0]))]
                         for name, count in sizes.items()}
        self.generations = {}
        self.boxes = os.path.join(folder, "boxes")
        for path in (self.root, self.boxes):
            os.mkdir(path, 0o755)
            os.chown(path, *owner)
        for name, accounts in self.accounts.items():
            self.write_list(self.file(name), accounts)

    def write_list(self, path, accounts):
        with open(path, "w", encoding="ascii") as file:
            file.writelines(f"{account}:{PASSWORD}\n" for account in accounts)

    def file(self, name):
        return os.path.join(self.folder, f"accounts-{name}")

    def split(self, name, count, parts):
        """[(file of accounts, how many)]: the first `count` accounts of a set in so many files."""
        files = []
        for part in range(parts):
            some = self.accounts[name][:count][part::parts]
            path = f"{self.file(name)}-{part}"
            self.write_list(path, some)
            files.append((path, len(some)))
        return files

    def path(self, account):
        return os.path.join(self.root, account)

    def box(self, account):
        return os.path.join(self.boxes, account)

    def names(self):
        return [account for accounts in self.accounts.values() for account in accounts]

    def make(self, name):
        """The Maildirs of a set, if they are not there yet."""
        if name in self.generations:
            return
        for account in self.accounts[name]:
            for part in ("", "cur", "new", "tmp"):
                path = os.path.join(self.path(account), part)
                os.mkdir(path, 0o700)
                os.chown(path, *self.owner)
        self.fill(name)

    def fill(self, name):
        _, count, octets = SETS[name]
        self.generations[name] = self.generations.get(name, 0) + 1
        for account in self.accounts[name]:
            folder = os.path.join(self.path(account), "cur")
            files = zip(file_names(account, count, self.generations[name]), texts(account, count, octets, name in CHEAP))
            for number, (base, text) in enumerate(files, 1):
                write_file(os.path.join(folder, base), text, self.owner, DATE + number)

    def refill(self, name):
        """What is left is removed, and as much new mail is put there."""
        for account in self.accounts[name]:
            for part in ("cur", "new"):
                with os.scandir(os.path.join(self.path(account), part)) as files:
                    for file in files:
                        os.unlink(file.path)
        self.fill(name)

    def make_boxes(self, name):
        """The same mail in mboxes."""
        _, count, octets = SETS[name]
        for account in self.accounts[name]:
            with open(self.box(account), "wb") as file:
                for text in texts(account, count, octets, name in CHEAP):
                    file.write(b"From sender@example.org Tue Nov 14 22:13:20 2023\n" + text + b"\n")
            os.chown(self.box(account), *self.owner)
            os.chmod(self.box(account), 0o600)
