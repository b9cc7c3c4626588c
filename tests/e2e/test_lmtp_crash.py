# SPDX-License-Identifier: MIT
"""Processes that die while mail comes in. Each is killed at many points of deliveries: what was answered with 250 is there
once and whole, and what was not delivered leaves nothing behind; service comes back and the sender's next try works."""

import os
import random
import signal
import socket
import time

import pytest

import lmtp
from daemon import WAIT, until
from lmtp import Lmtp
from maildrops import is_alive

POINTS = {"worker": 9, "keeper": 10, "auth": 4, "master": 5}  # kills of each kind of process
KILLS_IN_ROW = 4  # before the server is started anew: a child that keeps dying is restarted more and more slowly
RECIPIENTS = ("alice", "bob", "alice", "carol")


def message(number):
    return b"Subject: %d\n\n" % number + b"line of message %d\n" % number * 3000


def hello(server):
    """A session, as soon as there is one to be had."""
    def try_once():
        try:
            client = Lmtp(server.lmtp_path)
            client.expect("250", "MAIL FROM:<a@example.com>")
            if client.ask("RCPT TO:<alice>").startswith(b"250"):
                client.expect("250", "RSET")
                return client
        except (OSError, EOFError, AssertionError):
            pass
        return None
    return until(try_once, "a session")


def converse(client, number):
    """Sends a message; the replies for its recipients that came. Whoever is killed, an answer or the end comes."""
    replies = []
    client.sock.settimeout(WAIT)
    try:
        client.expect("250", "MAIL FROM:<a@example.com>")
        for name in RECIPIENTS:
            client.expect("250", f"RCPT TO:<{name}>")
        client.expect("354", "DATA")
        client.send(lmtp.stuffed(message(number)) + b".\r\n")
        for _ in RECIPIENTS:
            replies.append(client.line())
    except (AssertionError, EOFError, OSError) as error:
        assert not isinstance(error, socket.timeout), "nobody answers"
    client.close()
    return replies


def in_background(work):
    """Forks: converse() must not wait for whoever does the killing. Returns a function that gives the replies."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        status = 1
        try:
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(b"".join(work()))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)

    def finish():
        with os.fdopen(reading, "rb") as pipe:
            text = pipe.read()
        assert os.waitpid(pid, 0)[1] == 0, "the client has found something wrong"
        return text.splitlines()
    return finish


def kill_during(server, kind, number, delay):
    """Kills that process `delay` seconds after the message began to come. The replies."""
    client = hello(server)
    pids = server.children() | {"master": server.process.pid}
    victims = [pid for name, pid in pids.items() if name.startswith(kind)]
    finish = in_background(lambda: converse(client, number))
    client.sock.close()
    end = time.monotonic() + delay
    while time.monotonic() < end:
        pass  # sleeping is not exact enough
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    replies = finish()
    if kind == "master":
        server.process.wait(WAIT)
        until(lambda: not any(is_alive(pid) for pid in pids.values()), "the children end with their master")
    return replies


def count_of(server, name, number):
    """How often it is in that maildrop; whatever is there must be whole."""
    found = lmtp.mail_in(server.mail / name)
    assert all(one == message(int(one[9:one.index(b"\n")])) for one in found), "a message is not whole"
    return found.count(message(number))


def check(server, number, replies):
    """What was answered with 250 is there, once for each; what was not, at most."""
    for name in set(RECIPIENTS):
        good = sum(reply.startswith(b"250") for to, reply in zip(RECIPIENTS, replies) if to == name)
        there = count_of(server, name, number)
        assert good <= there <= RECIPIENTS.count(name), (name, replies)
    assert all(reply[:3] in (b"250", b"451") for reply in replies), replies
    return sum(reply.startswith(b"250") for reply in replies)


@pytest.mark.parametrize("kind", POINTS)
def test_killed_during_delivery(make_daemon, kind):
    chance = random.Random(f"delivery {kind}")
    server = lmtp.settings(make_daemon(certificates=False))
    for name in set(RECIPIENTS):
        server.add_account(name)
    server.start()
    began = time.monotonic()
    assert len(converse(hello(server), 0)) == len(RECIPIENTS)
    took = time.monotonic() - began
    delivered = 0
    for point in range(POINTS[kind]):
        if kind != "master" and point % KILLS_IN_ROW == KILLS_IN_ROW - 1:
            server.stop()
            server.start()
        replies = kill_during(server, kind, point + 1, took * 1.2 * (point + chance.random()) / POINTS[kind])
        if kind == "master":
            server.start()
        delivered += check(server, point + 1, replies)
    again = converse(hello(server), 1000)
    assert [reply[:3] for reply in again] == [b"250"] * len(RECIPIENTS), "the next try works"
    check(server, 1000, again)
    server.check_sanitizers()
    if kind in ("auth", "keeper", "worker"):
        assert delivered < len(RECIPIENTS) * POINTS[kind], "no point lay within a delivery"
    if kind == "auth":
        assert delivered, "auth has no part in what comes after RCPT"


@pytest.fixture(name="server")
def make_server(make_daemon):
    server = lmtp.settings(make_daemon(certificates=False))
    server.add_account("alice")
    return server.start()


def test_worker_dies_with_half_a_message(server):
    """Its file goes; nothing is delivered; the others are not concerned."""
    clients = [Lmtp(server.lmtp_port) for _ in range(6)]
    for client in clients:
        client.begin("alice")
        client.send(b"Subject: half\r\n\r\nhal")
    home = server.mail / "alice"
    until(lambda: len(list((home / "tmp").iterdir())) == 6, "six files are being filled")
    name, pid = next((name, pid) for name, pid in server.children().items() if name.startswith("worker"))
    os.kill(pid, signal.SIGKILL)
    server.wait_for("event=ended", f"child={name} ")
    gone = 0
    for client in clients:
        try:
            client.send(b"f\r\n.\r\n")
            gone += not client.line().startswith(b"250")
        except (OSError, EOFError):
            gone += 1
        client.close()
    lmtp.is_clean(home)
    assert lmtp.mail_in(home) == [b"Subject: half\n\nhalf\n"] * (6 - gone)


def test_keeper_dies_with_half_a_message(server):
    """451 after the end of the message; the same session's next try delivers it, once."""
    with Lmtp(server.lmtp_port) as client:
        client.begin("alice", "alice")
        client.send(b"Subject: x\r\n\r\n")
        since = len(server.log_text())
        os.kill(server.pid_of("keeper"), signal.SIGKILL)
        server.wait_for("event=started", "child=keeper", since=since)
        client.send(b"body\r\n.\r\n")
        assert [client.line()[:9] for _ in range(2)] == [b"451 4.3.0"] * 2

        def try_again():
            client.expect("250", "MAIL FROM:<a@example.com>")
            if client.ask("RCPT TO:<alice>").startswith(b"250") and client.ask("DATA").startswith(b"354"):
                return client.finish(b"Subject: x\n\nbody\n")
            client.expect("250", "RSET")
            return None
        assert until(try_again, "the keeper is back") == [b"250 2.0.0 delivered\r\n"]
    assert lmtp.mail_in(server.mail / "alice") == [b"Subject: x\n\nbody\n"]


def test_keeper_dies_between_rcpt_and_data(server):
    with Lmtp(server.lmtp_port) as client:
        client.expect("250", "MAIL FROM:<a@example.com>")
        client.expect("250", "RCPT TO:<alice>")
        since = len(server.log_text())
        os.kill(server.pid_of("keeper"), signal.SIGKILL)
        server.wait_for("event=started", "child=keeper", since=since)
        assert client.ask("RCPT TO:<alice>").startswith(b"451 4.3.0"), "those before it are lost"
        assert client.ask("DATA").startswith(b"451 4.3.0")
        client.expect("503", "DATA")
        until(lambda: client.ask("MAIL FROM:<>").startswith(b"250") and client.ask("RCPT TO:<alice>").startswith(b"250")
              or client.ask("RSET") == b"", "the keeper is back")
        client.expect("354", "DATA")
        assert client.finish(b"x\n") == [b"250 2.0.0 delivered\r\n"]


def test_auth_dies(server):
    """Recipients that were accepted stay so; new ones are asked about later."""
    with Lmtp(server.lmtp_port) as client:
        client.begin("alice")
        pid = server.pid_of("auth")
        os.kill(pid, signal.SIGSTOP)
        with Lmtp(server.lmtp_port) as other:
            other.expect("250", "MAIL FROM:<>")
            other.send(b"RCPT TO:<alice>\r\n")
            time.sleep(0.2)
            os.kill(pid, signal.SIGKILL)
            assert other.line().startswith(b"451 4.3.0")
        assert client.finish(b"x\n") == [b"250 2.0.0 delivered\r\n"]
