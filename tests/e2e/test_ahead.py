# SPDX-License-Identifier: MIT
"""Messages are read ahead of the client, small ones into memory that the keeper uses again: what comes must be right whoever
is slow, the disk or the client."""

import os
import signal
import socket
import time

import pytest

from daemon import HOST, Client, wire_form

COUNT = 120  # messages of each: more than the keeper's memory for one answer holds
IDLE = 3.5  # seconds after which a worker has given up what it read ahead, see WORKER_AHEAD_MS


def message(name, number):
    return f"Subject: {name} {number}\n\n".encode() + f".{name}.{number}\n".encode() * (600 + number)


@pytest.fixture(name="single")
def make_single(make_daemon):
    """One worker, so that everybody shares its memory with the keeper."""
    single = make_daemon(certificates=False, workers=1)
    for name in ("alice", "bob"):
        home = single.add_account(name)
        for number in range(1, COUNT + 1):
            single.deliver(home, message(name, number), f"{number:03}.x")
    return single.start()


def check(client, name, numbers):
    for number in numbers:
        assert client.fetch(f"RETR {number}") == wire_form(message(name, number))


def test_one_after_the_other(single):
    with single.log_in("alice") as alice, single.log_in("bob") as bob:
        for number in range(1, COUNT + 1):
            check(alice, "alice", [number])
            check(bob, "bob", [COUNT + 1 - number])
        check(alice, "alice", [1, 2, 3, 5, 4, 6, COUNT, 7, 8])


def test_deleted_ones_are_left_out(single):
    with single.log_in("alice") as alice:
        check(alice, "alice", [1, 2, 3])
        for number in (4, 6, 7):
            alice.ok(f"DELE {number}")
        check(alice, "alice", [5, 8])
        alice.err("RETR 6")
        check(alice, "alice", [9])


def test_pause(single):
    """What was read ahead is given up, and read again."""
    with single.log_in("alice") as alice:
        check(alice, "alice", [1, 2, 3, 4])
        time.sleep(IDLE)
        check(alice, "alice", range(5, 20))


def test_slow_disk(single):
    """A keeper that takes long to answer costs nobody the session."""
    keeper = single.pid_of("keeper")
    with single.log_in("alice") as alice, single.log_in("bob") as bob:
        os.kill(keeper, signal.SIGSTOP)
        alice.send(b"RETR 1\r\n")
        time.sleep(IDLE)
        os.kill(keeper, signal.SIGCONT)
        assert alice.line().startswith(b"+OK")
        alice.multi_octets()
        check(alice, "alice", [2, 3])
        check(bob, "bob", [1])


def test_client_that_does_not_read(single):
    """It has its own copy: others use the memory meanwhile."""
    slow = Client.__new__(Client)
    slow.sock, slow.kept = socket.socket(), b""
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sock.settimeout(60)
    slow.sock.connect((HOST, single.port))
    slow.line()
    slow.log_in("alice")
    slow.send(b"".join(b"RETR %d\r\n" % number for number in range(1, COUNT + 1)))
    with slow, single.log_in("bob") as bob:
        for _ in range(3):
            check(bob, "bob", range(1, COUNT + 1))
        for number in range(1, COUNT + 1):
            assert slow.line().startswith(b"+OK")
            dotted = slow.multi_octets()
            assert dotted.replace(b"\r\n..", b"\r\n.") == wire_form(message("alice", number))
