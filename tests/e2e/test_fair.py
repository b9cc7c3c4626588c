# SPDX-License-Identifier: MIT
"""What one client does costs that client only: others of the same worker go on, and the worker does not spin."""

import os
import pathlib
import re
import socket
import time

import pytest

from daemon import HOST, until

FEW = 64  # descriptors a process may have
MESSAGE = b"Subject: x\r\n\r\nbody\r\n"
SECONDS = 3  # a greedy client's time
PATIENCE = 1  # second another client may have to wait meanwhile: much, for a busy machine, and still no standstill


@pytest.fixture(name="single")
def make_single(make_daemon):
    """One worker, so that everybody shares it."""
    single = make_daemon(limits="login_timeout = 2")
    text = single.conf.read_text(encoding="ascii")
    single.conf.write_text(text.replace("processes = 2", "processes = 1"), encoding="ascii")
    single.add_account("alice")
    single.add_account("bob")
    return single.start()


def in_child(act):
    """Runs act() in a process of its own for SECONDS; returns its id."""
    pid = os.fork()
    if pid == 0:
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                act()
        finally:
            os._exit(0)
    return pid


def longest_wait(client, until_gone):
    """The longest a NOOP had to wait while the processes ran."""
    longest, left = 0.0, set(until_gone)
    while left:
        left -= {pid for pid in left if os.waitpid(pid, os.WNOHANG)[0]}
        began = time.monotonic()
        client.ok("NOOP")
        longest = max(longest, time.monotonic() - began)
    return longest


def test_login_timeout_is_not_put_off(single):
    """What is said before login does not buy time."""
    with single.connect() as client:
        began = time.monotonic()
        try:
            while time.monotonic() < began + 10:
                client.ok("CAPA")
                client.multi_rest()
                time.sleep(0.2)
        except (AssertionError, OSError, EOFError):
            pass
        assert time.monotonic() - began < 6


def test_flood_of_commands(single):
    """Commands without end, and their replies read as fast as they come."""
    other = single.log_in("bob")
    flood = single.log_in("alice")
    block, room = b"NOOP\r\n" * 20000, bytearray(1 << 20)
    pids = [in_child(lambda: flood.sock.send(block)), in_child(lambda: flood.sock.recv_into(room))]
    assert longest_wait(other, pids) < PATIENCE
    flood.close()
    other.quit()


def test_download_without_end(single):
    """Large messages, read as fast as they come: converted, and sent as they are."""
    home = single.mail / "alice"
    sizes = 8 << 30
    for name, text in (("1.raw", b"Subject: x\n\n"), ("2.wire", b"Subject: x\r\n\r\n")):
        path = single.deliver(home, text, name)
        with open(path, "r+b") as file:
            file.truncate(sizes)
            if name == "2.wire":
                file.seek(sizes - 2)
                file.write(b"\r\n")
    other = single.log_in("bob")
    for number in (1, 2):
        greedy = single.log_in("alice")
        greedy.send(b"RETR %d\r\n" % number)
        room = bytearray(4 << 20)
        assert longest_wait(other, [in_child(lambda sock=greedy.sock: sock.recv_into(room))]) < PATIENCE
        greedy.close()
        single.wait_for("event=end", "user=alice", "fetched=1")
        until(lambda count=number: len(single.lines_with("event=end", "user=alice")) >= count, "its end")
    other.quit()


def test_no_descriptors_left(make_daemon):
    """As many sessions as descriptors allow, with some kept for messages; others hear it, nobody is cut."""
    few = make_daemon()
    few.conf.write_text(few.conf.read_text(encoding="ascii").replace("processes = 2", "processes = 1"), encoding="ascii")
    few.add_account("alice")
    for name in ("1.a", "2.b", "3.c"):
        few.deliver(few.mail / "alice", MESSAGE.replace(b"\r\n", b"\n"), name)
    few.wrapper = ["prlimit", f"--nofile={FEW}:{FEW}"]
    few.start()
    worker, keeper = few.pid_of("worker"), few.pid_of("keeper")
    limit = pathlib.Path(f"/proc/{worker}/limits").read_text(encoding="ascii")
    if not re.search(rf"Max open files +{FEW} ", limit):
        pytest.skip("this user's limit on open files is raised by the server")
    inside = few.log_in("alice")
    clients = [socket.create_connection((HOST, few.port)) for _ in range(FEW)]
    answers = [client.recv(100) for client in clients]
    refused = [answer for answer in answers if answer.startswith(b"-ERR [SYS/TEMP] too many sessions")]
    assert 0 < len(refused) < len(clients)
    for number in (1, 2, 3):  # messages are descriptors too
        assert inside.fetch(f"RETR {number}") == MESSAGE
    inside.send(b"RETR 1\r\nRETR 2\r\nRETR 3\r\n" * 20)
    for _ in range(60):
        assert inside.line().startswith(b"+OK")
        assert inside.multi_octets() == MESSAGE
    assert few.pid_of("worker") == worker and few.pid_of("keeper") == keeper
    for client in clients:
        client.close()
    until(lambda: few.lines_with("event=end", "result=disconnected"), "the end of the others")
    few.connect().close()
    inside.quit()


def test_no_maildrops_left(make_daemon):
    """More logins than the keeper has descriptors for: a temporary failure for them, and nobody else notices."""
    few = make_daemon()
    few.wrapper = ["prlimit", f"--nofile={FEW}:{FEW}"]
    names = [f"user{number}" for number in range(30)]
    for name in names:
        few.add_account(name)
    few.start()
    keeper = few.pid_of("keeper")
    if not re.search(rf"Max open files +{FEW} ", pathlib.Path(f"/proc/{keeper}/limits").read_text(encoding="ascii")):
        pytest.skip("this user's limit on open files is raised by the server")
    clients = [few.connect() for _ in names]
    replies = []
    for client, name in zip(clients, names):
        client.ok(f"USER {name}")
        replies.append(client.ask("PASS sesame"))
    failed = [reply for reply in replies if not reply.startswith(b"+OK")]
    assert 0 < len(failed) < len(names) and all(reply.startswith(b"-ERR [SYS/TEMP]") for reply in failed)
    for client, reply in zip(clients, replies):
        if reply.startswith(b"+OK"):
            client.quit()
        client.close()
    few.log_in(names[-1]).quit()
    assert few.pid_of("keeper") == keeper and not few.lines_with("event=killed")
