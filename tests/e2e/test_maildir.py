# SPDX-License-Identifier: MIT
"""Maildirs as they may be: odd names, odd files, other programs at work in them. The message that is hit gets a clear
answer, all others work, and nothing is deleted but what a client deleted."""

import os
import poplib
import random
import re
import threading
import time

import pytest

from daemon import HOST, WAIT, header_of, wire_form
from maildrops import fill, listed, log_in_again, message, name_of

SOON = 10  # seconds for what must not depend on the size of a file


@pytest.fixture(name="three")
def make_three(daemon, home):
    """Alice's Maildir with three messages."""
    fill(daemon, home, 3)
    return home


def number_of(client, uid):
    found = [line.split()[0] for line in client.multi("UIDL") if line.split()[1] == uid.encode()]
    assert len(found) == 1, uid
    return int(found[0])


def commit(client):
    reply = client.quit()
    assert reply.startswith(b"+OK"), reply


def check_message(client, at, number):
    assert client.fetch(f"RETR {at}") == wire_form(message(number))


# --- something else in a message's place ---


def put_nothing(_path):
    """The message is gone."""


def put_directory(path):
    path.mkdir()
    (path / "inside").write_bytes(b"kept\n")


def put_symlink(path):
    path.symlink_to("/etc/hostname")


def put_symlink_to_message(path):
    path.symlink_to(name_of(1))


def put_dangling_symlink(path):
    path.symlink_to("nowhere")


def put_fifo(path):
    os.mkfifo(path, 0o666)


def put_socket(path):
    os.mknod(path, 0o666 | 0o140000)


def put_message(path):
    path.write_bytes(b"Subject: another\n\nSomebody else's.\n")


def put_message_of_same_size(path):
    path.write_bytes(message(2).upper())


THINGS = [put_nothing, put_directory, put_symlink, put_symlink_to_message, put_dangling_symlink, put_fifo, put_socket,
          put_message, put_message_of_same_size]


def replace(daemon, path, put):
    """In one step, as a rename would do, so that the new file cannot get the old one's inode."""
    beside = path.parent.parent / "tmp" / path.name
    path.rename(beside)
    put(path)
    beside.unlink()
    if os.path.lexists(path):
        daemon.give(path)


@pytest.mark.parametrize("put", THINGS, ids=lambda put: put.__name__)
def test_replaced_after_login(daemon, three, put):
    client = daemon.log_in()
    path = three / "new" / name_of(2)
    replace(daemon, path, put)
    client.sock.settimeout(SOON)
    reply = client.err("RETR 2")
    assert (b"gone" if put is put_nothing else b"replaced") in reply
    assert client.err("TOP 2 0") == reply
    check_message(client, 1, 1)
    check_message(client, 3, 3)
    assert client.ok("LIST 2") == b"+OK 2 %d\r\n" % len(wire_form(message(2)))  # a snapshot stays as it is
    client.ok("DELE 2")
    client.ok("DELE 3")
    commit(client)
    assert os.path.lexists(path) == (put is not put_nothing), "what another program put there is not ours to delete"
    assert not os.path.lexists(three / "new" / name_of(3))
    if put is put_directory:
        assert (path / "inside").exists()


@pytest.mark.parametrize("put", THINGS, ids=lambda put: put.__name__)
def test_replaced_before_login(daemon, three, put):
    commit(daemon.log_in())  # there is an index that knows it
    path = three / "new" / name_of(2)
    replace(daemon, path, put)
    client = daemon.log_in()
    client.sock.settimeout(SOON)
    found = listed(client)
    if put in (put_message, put_message_of_same_size):
        assert len(found) == 3
        assert client.fetch("RETR 2") == wire_form(path.read_bytes())
    else:
        assert found.keys() == {name_of(1), name_of(3)}
    check_message(client, number_of(client, name_of(3)), 3)
    commit(client)
    assert os.path.lexists(path) == (put is not put_nothing)


@pytest.mark.parametrize("spoil", ["gone", "unreadable", "replaced"])
def test_amid_pipelined_commands(daemon, home, spoil):
    """Messages are opened ahead for a client that pipelines: each answer still belongs to its own message."""
    fill(daemon, home, 40)
    client = daemon.log_in()
    bad = set(range(3, 41, 7)) | {20, 21, 40}
    for number in bad:
        path = home / "new" / name_of(number)
        if spoil == "unreadable":
            path.chmod(0)
        else:
            replace(daemon, path, put_nothing if spoil == "gone" else put_message)
    order = [*range(1, 41), *range(40, 0, -1)]
    client.send(b"".join(b"RETR %d\r\n" % number for number in order))
    for number in order:
        reply = client.line()
        assert reply.startswith(b"-ERR" if number in bad else b"+OK"), (number, reply)
        if number not in bad:
            assert b"".join(client.multi_rest()) == wire_form(message(number))
    client.send(b"".join(b"DELE %d\r\nRETR %d\r\n" % (number, number % 40 + 1) for number in range(1, 40)))
    for number in range(1, 40):
        assert client.line() == b"+OK message %d deleted\r\n" % number
        reply = client.line()
        assert reply.startswith(b"-ERR" if number + 1 in bad else b"+OK"), (number, reply)
        if number + 1 not in bad:
            assert b"".join(client.multi_rest()) == wire_form(message(number + 1))
    commit(client)
    there = {number for number in range(1, 41) if (home / "new" / name_of(number)).exists()}
    assert there == {"gone": set(), "unreadable": {40}, "replaced": bad}[spoil]


def test_altered_in_place(daemon, three):
    client = daemon.log_in()
    path = three / "new" / name_of(2)
    with open(path, "ab") as file:
        file.write(b"one line more\n")
    assert b"replaced" in client.err("RETR 2")
    check_message(client, 3, 3)
    commit(client)
    client = daemon.log_in()
    assert client.fetch("RETR 2") == wire_form(path.read_bytes())
    assert listed(client)[name_of(2)] == len(wire_form(path.read_bytes()))
    commit(client)


@pytest.mark.parametrize("early", [True, False])
def test_unreadable(daemon, three, early):
    path = three / "new" / name_of(2)
    if early:
        path.chmod(0)
    client = daemon.log_in()
    path.chmod(0)
    assert client.err("RETR 2").startswith(b"-ERR [SYS/PERM]")
    assert client.err("TOP 2 1").startswith(b"-ERR [SYS/PERM]")
    check_message(client, 3, 3)
    commit(client)
    path.chmod(0o600)
    client = daemon.log_in()
    check_message(client, 2, 2)
    assert listed(client)[name_of(2)] == len(wire_form(message(2)))
    commit(client)
    path.chmod(0)
    client = daemon.log_in()
    client.ok("DELE 2")
    commit(client)
    assert not path.exists()


@pytest.mark.parametrize("what", ["new", "cur", "all"])
def test_folder_vanishes(daemon, three, what):
    client = daemon.log_in()
    folder = three if what == "all" else three / what
    folder.rename(daemon.mail / "elsewhere")
    try:
        client.sock.settimeout(SOON)
        if what == "new":
            client.err("RETR 2")
        else:
            check_message(client, 2, 2)
        client.ok("NOOP")
        client.ok("DELE 1")
        client.ask("QUIT")
        client.close()
    finally:
        (daemon.mail / "elsewhere").rename(folder)
    client = daemon.log_in()
    assert {name_of(2), name_of(3)} <= listed(client).keys()
    commit(client)


# --- names ---

NAMES = [b"1.new\nline", b"2." + b"x" * 253, b"3.\xc3\xbcml\xc3\xa4ut", b"4.latin-\xe4\xf6\xfc", b"5.with a space",
         b"-6.minus", b"7.\x01\x7f\x1b[31m", b"8.tab\there", b"9.back\\slash\"quote", b"10.\r\n+OK 5 messages",
         b"11.V1I2M3.host,S=40:2,",
         b"12.V1I2M3.host:2,FRS", b"%s%n%d", b"14.;rm -rf $HOME", b"15." + b"\xff" * 252, b"no-number-at-all", b"17:2,S:2,T",
         b":2,S", b"h" + b"0123456789abcdef" * 2]
HIDDEN = [b".hidden", b".1234.M1.host"]


def test_names(daemon, home):
    for number, name in enumerate(NAMES + HIDDEN):
        path = os.fsencode(home) + (b"/cur/" if b":2," in name else b"/new/") + name
        with open(path, "wb") as file:
            file.write(message(number))
        daemon.give(path)
    client = daemon.log_in()
    found = listed(client)
    assert len(found) == len(NAMES)
    assert all(re.fullmatch("[!-~]{1,70}", uid) for uid in found)
    commit(client)
    texts = listed_texts(daemon)
    assert set(texts.values()) == {wire_form(message(number)) for number in range(len(NAMES))}
    (home / "restante.index").unlink()  # unique-ids do not hang on it
    assert listed_texts(daemon) == texts
    client = daemon.log_in()
    doomed = range(1, len(NAMES), 2)
    for number in doomed:
        client.ok(f"DELE {number}")
    commit(client)
    left = listed_texts(daemon)
    assert left.items() < texts.items() and len(left) == len(NAMES) - len(doomed)
    client = daemon.log_in()
    for number in range(1, len(left) + 1):
        client.ok(f"DELE {number}")
    commit(client)
    assert set(os.listdir(os.fsencode(home) + b"/new")) == set(HIDDEN)
    assert not os.listdir(home / "cur")


def test_same_name_twice(daemon, home):
    """In new/ and in cur/, and with different flags: each is a message, with a unique-id that stays."""
    for number, path in enumerate((home / "new/1.a", home / "cur/1.a", home / "cur/1.a:2,S", home / "cur/1.a:2,RS")):
        path.write_bytes(message(number))
        daemon.give(path)
    first = listed_texts(daemon)
    assert set(first.values()) == {wire_form(message(number)) for number in range(4)}
    (home / "cur/1.a:2,RS").rename(home / "cur/1.a:2,FRS")
    assert listed_texts(daemon) == first


def listed_texts(daemon):
    """{unique-id: message} by a session of its own."""
    client = daemon.log_in()
    texts = {line.split()[1]: client.fetch("RETR " + line.split()[0].decode()) for line in client.multi("UIDL")}
    commit(client)
    return texts


# --- sizes ---

TEXTS = [b"", b"\n", b"\r\n", b"\r", b"\r\r\n", b"x", b".", b".\n", b"..\r\n.\r\n", b"a\nb\n", b"a\r\nb\r\n",
         b"a\nb\r\nc\n",
         b"a\rb\rc\r", b"a\rb\n\rc\r\n\r\r\n",
         b"Subject: x\n\n.\n..\n...\n", b"Subject: x\r\n\r\nno end", b"a\r\n\n\r\n\n\r",
         b"\0\n\0\r\n", b"\n.\r", b"Subject: y\n\n" + b"long" * 50000 + b"\n", b"Subject: z\n\n" + b".\n" * 40000]


def test_sizes(daemon, home):
    chance = random.Random("sizes")
    pieces = (b"\r", b"\n", b"\r\n", b".", b"x", b"\0")
    texts = TEXTS + [b"".join(chance.choices(pieces, k=chance.randrange(300))) for _ in range(60)]
    for number, text in enumerate(texts, 1):
        daemon.deliver(home, text, name_of(number))
    wires = [wire_form(text) for text in texts]
    for _ in range(2):  # measured, then from the index
        client = daemon.log_in()
        assert client.multi("LIST") == [b"%d %d\r\n" % (number, len(wire)) for number, wire in enumerate(wires, 1)]
        assert client.ok("STAT") == b"+OK %d %d\r\n" % (len(wires), sum(map(len, wires)))
        for number, wire in enumerate(wires, 1):
            assert client.fetch(f"RETR {number}") == wire, texts[number - 1]
            assert client.fetch(f"TOP {number} 0") == header_of(wire)
            assert client.fetch(f"TOP {number} 99999999") == wire
        assert client.ok("RETR 1") == b"+OK 0 octets\r\n" and client.line() == b".\r\n"
        commit(client)


def test_four_gibibytes(daemon, three):
    """A sparse file: nothing may read it whole just to list it, or count in 32 bits."""
    size = (4 << 30) + 5
    head = b"Subject: big\n\n" + message(7)
    path = daemon.deliver(three, head, name_of(4))
    try:
        os.truncate(path, size)
    except OSError as error:
        pytest.skip(f"no such big files here: {error}")
    wire = size + head.count(b"\n") + 2  # each LF becomes CRLF, and the last line gets one
    began = time.monotonic()
    client = daemon.log_in()
    client.sock.settimeout(SOON)
    assert listed(client)[name_of(4)] == wire
    assert client.ok("STAT") == b"+OK 4 %d\r\n" % (wire + sum(len(wire_form(message(n))) for n in (1, 2, 3)))
    assert client.fetch("TOP 4 0") == b"Subject: big\r\n\r\n"
    assert client.ok("RETR 4") == b"+OK %d octets\r\n" % wire
    assert client.octets(1 << 20).startswith(wire_form(head) + b"\0")
    client.close()
    client = log_in_again(daemon, seconds=SOON)
    check_message(client, 3, 3)
    client.ok("DELE 4")
    commit(client)
    assert time.monotonic() - began < 3 * SOON
    assert not path.exists()


# --- other programs at work ---


def test_delivered_meanwhile(daemon, three):
    client = daemon.log_in()
    daemon.deliver(three, message(4), name_of(4))
    assert client.ok("STAT").startswith(b"+OK 3 ")
    client.err("RETR 4")
    for number in (1, 2, 3):
        client.ok(f"DELE {number}")
    commit(client)
    client = daemon.log_in()
    assert listed(client).keys() == {name_of(4)}
    check_message(client, 1, 4)
    commit(client)


def test_renamed_meanwhile(daemon, three):
    """Another reader moves messages to cur/ and sets flags: they stay the messages they were."""
    client = daemon.log_in()
    (three / "new" / name_of(2)).rename(three / "cur" / (name_of(2) + ":2,S"))
    check_message(client, 2, 2)
    (three / "cur" / (name_of(2) + ":2,S")).rename(three / "cur" / (name_of(2) + ":2,RS"))
    check_message(client, 2, 2)
    (three / "new" / name_of(3)).rename(three / "cur" / (name_of(3) + ":2,"))
    client.ok("DELE 3")
    commit(client)
    assert os.listdir(three / "cur") == [name_of(2) + ":2,RS"]
    client = daemon.log_in()
    assert listed(client).keys() == {name_of(1), name_of(2)}
    check_message(client, 2, 2)
    commit(client)


def test_deleted_meanwhile(daemon, three):
    client = daemon.log_in()
    (three / "new" / name_of(2)).unlink()
    assert b"gone" in client.err("RETR 2")
    client.ok("DELE 2")
    client.ok("DELE 3")
    commit(client)
    client = daemon.log_in()
    assert listed(client).keys() == {name_of(1)}
    commit(client)


class OtherProgram(threading.Thread):
    """Delivers, sets flags and deletes as fast as it can. `safe` messages are only ever renamed."""

    def __init__(self, daemon, home):
        super().__init__()
        self.daemon_under_test, self.home = daemon, home
        self.chance = random.Random("other program")
        self.done = False
        self.serial = 100
        self.safe = {name_of(number) for number in range(1, 11)}

    def run(self):
        while not self.done:
            self.serial += 1
            self.daemon_under_test.deliver(self.home, message(self.serial), name_of(self.serial))
            for _ in range(3):
                self.disturb()

    def disturb(self):
        folder = self.home / self.chance.choice(("new", "cur"))
        names = sorted(os.listdir(folder))
        if not names:
            return
        name = self.chance.choice(names)
        base = name.partition(":2,")[0]
        try:
            if base not in self.safe and self.chance.random() < 0.4:
                (folder / name).unlink()
            else:
                flags = "".join(flag for flag in "FRS" if self.chance.random() < 0.5)
                (folder / name).rename(self.home / "cur" / f"{base}:2,{flags}")
        except FileNotFoundError:
            pass  # the server has deleted it


def visit(daemon, other, deleted):
    """A session amid the turmoil: every answer is right or a clear refusal; one message is deleted."""
    client = daemon.log_in()
    uids = [line.split()[1].decode() for line in client.multi("UIDL")]
    assert len(set(uids)) == len(uids)
    assert not deleted & set(uids), "deleted messages are back"
    for at, uid in enumerate(uids, 1):
        number = int(uid.split(".")[0]) - 1000000000
        reply = client.ask(f"RETR {at}")
        if reply.startswith(b"+OK"):
            assert b"".join(client.multi_rest()) == wire_form(message(number))
        elif b"[SYS/TEMP]" not in reply:  # renamed faster than it can be found
            assert b"gone" in reply and uid not in other.safe, (uid, reply)
    if uids:
        client.ok(f"DELE {len(uids)}")
    reply = client.quit()
    assert reply.startswith((b"+OK", b"-ERR [SYS/TEMP]")), reply
    if uids and reply.startswith(b"+OK"):
        deleted.add(uids[-1])
        other.safe.discard(uids[-1])


def test_busy_maildrop(daemon, home):
    fill(daemon, home, 10)
    other = OtherProgram(daemon, home)
    other.start()
    deleted = set()
    try:
        end = time.monotonic() + 4
        while time.monotonic() < end:
            visit(daemon, other, deleted)
    finally:
        other.done = True
        other.join()
    client = daemon.log_in()
    found = listed(client)
    assert other.safe <= found.keys()
    assert not deleted & found.keys() and deleted
    commit(client)


# --- the index ---


@pytest.mark.parametrize("spoil", ["truncate", "scribble", "remove", "directory", "symlink"])
def test_index_is_a_cache(daemon, three, spoil):
    commit(daemon.log_in())
    client = daemon.log_in()
    index = three / "restante.index"
    octets = index.read_bytes()
    if spoil == "truncate":
        os.truncate(index, 100)
    elif spoil == "scribble":
        index.write_bytes(octets[:40] + b"\xff" * (len(octets) - 40))
    else:
        index.unlink()
    if spoil == "directory":
        index.mkdir()
    elif spoil == "symlink":
        index.symlink_to("new/" + name_of(1))
    reply = client.ask("RETR 2")  # from the index: right, or not at all
    assert reply.startswith((b"+OK", b"-ERR")), reply
    if reply.startswith(b"+OK"):
        assert b"".join(client.multi_rest()) == wire_form(message(2))
    client.ok("DELE 1")
    done = client.quit().startswith(b"+OK")
    client = daemon.log_in()
    assert listed(client).keys() == {name_of(number) for number in ((2, 3) if done else (1, 2, 3))}
    check_message(client, number_of(client, name_of(3)), 3)
    commit(client)
    assert done or spoil in ("truncate", "scribble")


def test_poplib(daemon, three):
    client = poplib.POP3(HOST, daemon.port, timeout=WAIT)
    client.user("alice")
    client.pass_("sesame")
    assert client.stat() == (3, sum(len(wire_form(message(number))) for number in (1, 2, 3)))
    assert client.retr(2)[1] == message(2).splitlines()
    client.dele(2)
    client.quit()
    assert sorted(os.listdir(three / "new")) == [name_of(1), name_of(3)]
