# SPDX-License-Identifier: MIT
"""Maildrops and accounts for a run: the same files are served by every server."""
import base64
import os
import random

PASSWORD = "correct-horse"
DATE = 1700000000  # of the first message; file names and times are the same in every run

# name: (accounts, messages in each, octets of a message)
SETS = {
    "small": (128, 100, 4 * 1024),
    "medium": (16, 50, 75 * 1024),
    "large": (8, 5, 10 * 1024 * 1024),
    "many": (8, 10000, 600),
    "idle": (10000, 1, 600),
}

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


def message(number, account, octets):
    """A message of about so many octets with LF line ends, as MTAs write it."""
    rng = random.Random(f"{account} {number}")
    head = header(number, account)
    if octets < 16 * 1024:
        return head + b"Content-Type: text/plain; charset=us-ascii\n\n" + text_body(rng, octets - len(head) - 45)
    return (head + b"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n" +
            attachment_body(rng, octets - len(head)))


def make_maildir(path, account, count, octets, owner):
    """One Maildir. Big messages are made once and written under every name."""
    for part in ("", "cur", "new", "tmp"):
        os.mkdir(os.path.join(path, part), 0o700)
        os.chown(os.path.join(path, part), *owner)
    rng = random.Random(account)
    once = message(1, account, octets) if octets > 1024 * 1024 else None
    for number in range(1, count + 1):
        # As Postfix names them. Names that differ in a counter only would meet Dovecot's hash at its weakest.
        base = f"{DATE + number}.Vfd01I{rng.randrange(1 << 24):x}M{rng.randrange(1000000)}.mail"
        name = os.path.join(path, "cur", base + ":2,S")
        with open(name, "wb") as file:
            file.write(once or message(number, account, octets))
        os.chown(name, *owner)
        os.utime(name, (DATE + number, DATE + number))


class Maildrops:
    """Maildirs below `folder`/mail and, for the load generator, a file of accounts for each set."""

    def __init__(self, folder, owner):
        self.folder = folder
        self.root = os.path.join(folder, "mail")
        self.owner = owner
        self.accounts = {}
        os.mkdir(self.root, 0o755)
        os.chown(self.root, *owner)

    def add(self, name, limit=None):
        """Makes the set `name`, with at most `limit` accounts; returns them."""
        count, messages, octets = SETS[name]
        accounts = [f"{name}{number:05}" for number in range(min(count, limit or count))]
        for account in accounts:
            make_maildir(os.path.join(self.root, account), account, messages, octets, self.owner)
        with open(self.file(name), "w", encoding="ascii") as file:
            file.writelines(f"{account}:{PASSWORD}\n" for account in accounts)
        self.accounts[name] = accounts
        return accounts

    def file(self, name):
        return os.path.join(self.folder, f"accounts-{name}")

    def names(self):
        return [account for accounts in self.accounts.values() for account in accounts]
