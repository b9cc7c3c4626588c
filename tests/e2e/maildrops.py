# SPDX-License-Identifier: MIT
"""What the tests of crashes, locks and Maildirs share: maildrops full of small messages, and clients that try again
as long as the server asks them to."""

import os
import pathlib
import re
import time

from daemon import WAIT, Client

TRY_AGAIN = (b"-ERR [IN-USE]", b"-ERR [SYS/TEMP]")  # the answers after which a client may simply try again


def message(number):
    return f"Subject: message {number}\n\nThe text of message {number}.\n".encode()


def fill(daemon, home, count):
    """Messages 1 to count in new/, while nobody is logged in."""
    for number in range(1, count + 1):
        path = home / "new" / name_of(number)
        path.write_bytes(message(number))
        daemon.give(path)


def fill_by_links(daemon, home, count):
    """The same, for many messages again and again: written once, then linked."""
    originals = daemon.folder / "originals"
    if not originals.exists():
        (originals / "new").mkdir(parents=True)
        fill(daemon, originals, count)
    for number in range(1, count + 1):
        os.link(originals / "new" / name_of(number), home / "new" / name_of(number))


def name_of(number):
    return f"{1000000000 + number}.M{number}.host"


def files(home):
    """The base names of the messages that are in the maildrop."""
    return {name.partition(":2,")[0] for folder in ("new", "cur") for name in os.listdir(home / folder)}


def try_log_in(daemon, name="alice", password="sesame"):
    """A client that is in, or what it was answered (empty when the connection was refused or cut)."""
    client = None
    try:
        client = Client(daemon.port)
        if not client.line().startswith(b"+OK"):
            raise EOFError
        client.ok(f"USER {name}")
        reply = client.ask(f"PASS {password}")
    except (EOFError, ConnectionError):
        reply = b""
    if reply.startswith(b"+OK"):
        return client, reply
    if client:
        client.close()
    return None, reply


def log_in_again(daemon, name="alice", seconds=WAIT):
    """Tries until the maildrop is free and the service back; no other refusal is taken."""
    end = time.monotonic() + seconds
    while True:
        client, reply = try_log_in(daemon, name)
        if client:
            return client
        assert not reply or reply.startswith(TRY_AGAIN), reply
        assert time.monotonic() < end, f"no login within {seconds} s, last answer {reply}\n{daemon.tail()}"
        time.sleep(0.02)


def log_in_noted(daemon, name="alice"):
    """A client, and the name of the worker that serves it, e.g. worker.3."""
    since = len(daemon.log_text())
    client = log_in_again(daemon, name)
    line = daemon.wait_for("event=login", f":{client.sock.getsockname()[1]} ", since=since)
    return client, re.search(r"proc=(worker\.\d+)", line)[1]


def listed(client):
    """{unique-id: octets} of the whole maildrop."""
    numbers = dict(line.split() for line in client.multi("LIST"))
    uids = dict(line.split() for line in client.multi("UIDL"))
    assert numbers.keys() == uids.keys()
    found = {uids[number].decode(): int(numbers[number]) for number in uids}
    assert len(found) == len(uids), "a unique-id stands twice"
    return found


def is_alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != b"Z"
