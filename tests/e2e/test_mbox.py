# SPDX-License-Identifier: MIT
"""Mailboxes in one file: real clients fetch from them and delete, Python's mailbox module judges what is in them, and
programs append with their own locks while sessions delete."""

import fcntl
import mailbox
import os
import re
import threading
import time

import pytest

from clients import CLIENTS
from daemon import Daemon, wire_form
from test_clients import FILES, normal

CASES = [(name, over) for name, (_, overs) in CLIENTS.items() for over in overs if over == "plain"]
FROM = b"From sender@example.org Thu Jan  1 12:00:00 2026\n"
HEADER = b"From: Sender <sender@example.org>\nMessage-ID: <%d@example.org>\nSubject: message %d\n\n"


@pytest.fixture(scope="module")
def daemon():
    """A server whose account alice has an mbox."""
    server = Daemon()
    location = f"mbox:{server.mail}/spool"
    run = server.restante("add", "--password-stdin", "--maildrop", location, "alice", password=b"sesame\n")
    assert run.returncode == 0, run.stderr
    with server:
        yield server


@pytest.fixture
def spool(daemon):
    """The path of that mbox; nothing is there."""
    for path in daemon.mail.glob("*spool*"):
        path.unlink()
    return daemon.mail / "spool"


def quoted(raw):
    """As mboxrd has it."""
    lines = raw.split(b"\n")
    return b"\n".join(b">" + line if line.lstrip(b">").startswith(b"From ") else line for line in lines)


def stored(raw):
    return FROM + quoted(raw) + (b"\n" if raw.endswith(b"\n") else b"\n\n")


def write(daemon, spool, messages):
    spool.write_bytes(b"".join(map(stored, messages)))
    daemon.give(spool)


def test_listed_fetched_deleted(daemon, spool):
    messages = FILES + [HEADER % (90, 90) + b">From the start\nFrom there\n\n" + FROM + b">>From\n",
                        HEADER % (91, 91) + b"no end"]
    write(daemon, spool, messages)
    inode = spool.stat().st_ino
    with daemon.log_in() as client:
        sizes = [int(line.split()[1]) for line in client.multi("LIST")]
        uids = [line.split()[1] for line in client.multi("UIDL")]
        assert sizes == [len(wire_form(raw)) for raw in messages] and len(set(uids)) == len(messages)
        for number, raw in enumerate(messages, 1):
            assert client.fetch(f"RETR {number}") == wire_form(raw)
        for number in range(2, len(messages) + 1, 2):
            client.ok(f"DELE {number}")
        client.ok("QUIT")
    assert spool.read_bytes() == b"".join(map(stored, messages[::2])) and spool.stat().st_ino == inode
    with daemon.log_in() as client:
        assert [line.split()[1] for line in client.multi("UIDL")] == uids[::2]


def test_mailbox_module_agrees(daemon, spool):
    """What a delivery writes and a deletion leaves is what Python finds in it."""
    messages = [raw.replace(b"\r\n", b"\n") for raw in FILES]
    for raw in messages:
        run = daemon.command("deliver", "--from", "sender@example.org", "alice", given=raw)
        assert run.returncode == 0, run.stderr
    with daemon.log_in() as client:
        client.ok("DELE 2")
        client.ok("DELE 5")
        client.ok("QUIT")
    del messages[4], messages[1]
    found = [normal(found.as_bytes()) for found in mailbox.mbox(spool, create=False)]
    assert found == [normal(b"Return-Path: <sender@example.org>\n" + raw) for raw in messages]
    assert spool.read_bytes().startswith(b"From sender@example.org ")


def test_rewritten_by_a_mail_reader(daemon, spool):
    """Status headers that another program puts into all messages change sizes, and no unique-id."""
    write(daemon, spool, [normal(raw) for raw in FILES])
    with daemon.log_in() as client:
        uids = client.multi("UIDL")
    box = mailbox.mbox(spool)
    for key, found in box.items():
        found.set_flags("RO")
        box[key] = found
    box.flush()
    box.close()
    daemon.give(spool)
    with daemon.log_in() as client:
        assert client.multi("UIDL") == uids
        for number, line in enumerate(client.multi("LIST"), 1):
            octets = client.fetch(f"RETR {number}")
            assert len(octets) == int(line.split()[1]) and b"\r\nStatus: RO\r\n" in octets


@pytest.mark.parametrize("name,over", CASES, ids=[name for name, _ in CASES])
def test_client_fetches_and_deletes(daemon, spool, name, over):
    fetch, _ = CLIENTS[name]
    write(daemon, spool, FILES)
    folder = daemon.folder / f"mbox-{name}"
    folder.mkdir()
    fetched = fetch(daemon, over, folder)
    assert [normal(got) for got in fetched] == [normal(raw) for raw in FILES]
    assert spool.read_bytes() == b""


# --- others that write meanwhile ---

APPENDED = 400  # messages, by each kind of writer


def append(daemon, spool, octets, dotted):
    """As transfer agents do: fcntl, or the dot lock and fcntl; without waiting while the other lock is held."""
    lock = spool.with_name("spool.lock")
    while True:
        try:
            if dotted:
                os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444))
                daemon.give(lock)
            break
        except FileExistsError:
            time.sleep(0.002)
    try:
        with open(os.open(spool, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            daemon.give(spool)
            fcntl.lockf(file, fcntl.LOCK_EX)
            file.write(octets)
    finally:
        if dotted:
            lock.unlink()


def write_many(daemon, spool, kind, stop, written):
    for number in range(APPENDED):
        if stop.is_set():
            break
        raw = HEADER % (number, number) + b"%s %d\n" % (kind, number) + b"From the middle\n" * (number % 50)
        append(daemon, spool, stored(raw), kind == b"dotted")
        written.append((kind, number))
        time.sleep(0.002)


def take_all(daemon, got):
    """A session that takes what is there; some it leaves for the next."""
    with daemon.log_in() as client:
        count = int(client.ok("STAT").split()[1])
        taken = []
        for number in range(1, count + 1):
            octets = client.fetch(f"RETR {number}")
            found = re.search(rb"\r\n\r\n(\w+) (\d+)\r\n((?:From the middle\r\n)*)$", octets)
            assert found and len(found.group(3)) // 17 == int(found.group(2)) % 50, octets
            if number % 5 != 3:
                client.ok(f"DELE {number}")
                taken.append((found.group(1), int(found.group(2))))
        client.ok("QUIT")
    got += taken
    return count


def test_writers_beside_sessions(daemon, spool):
    """Two programs append all the time while sessions fetch and delete: every message arrives once."""
    stop, written, got = threading.Event(), [], []
    writers = [threading.Thread(target=write_many, args=(daemon, spool, kind, stop, written))
               for kind in (b"fcntl", b"dotted")]
    for writer in writers:
        writer.start()
    sessions = 0
    try:
        while any(writer.is_alive() for writer in writers):
            take_all(daemon, got)
            sessions += 1
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    while take_all(daemon, got):
        pass
    assert len(written) == 2 * APPENDED and sessions > 3
    assert sorted(got) == sorted(written)
    assert spool.read_bytes() == b""


def test_deliveries_beside_sessions(daemon, spool):
    """The same with `restante deliver`."""
    written, got = [], []

    def deliver():
        for number in range(40):
            raw = HEADER % (number, number) + b"own %d\n" % number + b"From the middle\n" * (number % 50)
            run = daemon.command("deliver", "alice", given=raw)
            assert run.returncode == 0, run.stderr
            written.append((b"own", number))

    writer = threading.Thread(target=deliver)
    writer.start()
    while writer.is_alive():
        take_all(daemon, got)
    while take_all(daemon, got):
        pass
    assert len(written) == 40 and sorted(got) == sorted(written)


def test_lock_of_another_program(daemon, spool):
    """A login waits a little for a lock, and says that the maildrop is in use if it lasts; a stale one goes."""
    write(daemon, spool, FILES[:2])
    lock = spool.with_name("spool.lock")
    lock.write_bytes(b"")
    daemon.give(lock)
    with daemon.connect() as client:
        client.ok("USER alice")
        assert client.ask("PASS sesame").startswith(b"-ERR [IN-USE]")
    assert lock.exists()
    old = time.time() - 600
    os.utime(lock, (old, old))
    os.utime(spool, (old, old))
    with daemon.log_in() as client:
        assert client.ok("STAT").split()[1] == b"2"
    assert not lock.exists()
