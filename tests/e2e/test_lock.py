# SPDX-License-Identifier: MIT
"""One session has a maildrop at a time (RFC 1939 section 4, [IN-USE] of RFC 2449): who may learn that it is taken, and
every way a session can end gives it back."""

import base64
import fcntl
import os
import re
import signal
import socket
import struct
import time

import pytest

from daemon import serve, until
from maildrops import files, fill, log_in_again, log_in_noted, name_of, try_log_in

AUTOLOGOUT = 2  # seconds
SOON = 5        # seconds in which a maildrop must be free again; far below any timeout of the server's
IN_USE, WRONG = b"-ERR [IN-USE]", b"-ERR [AUTH]"


@pytest.fixture(name="server", scope="module")
def start_server():
    yield from serve(certificates=False)


@pytest.fixture(name="hasty", scope="module")
def start_hasty():
    yield from serve(certificates=False, limits=f"autologout = {AUTOLOGOUT}")


def make_home(server):
    home = server.make_maildir("alice")
    fill(server, home, 3)
    return home


@pytest.fixture(name="home")
def home_at_server(server):
    """Alice's Maildir with three messages."""
    return make_home(server)


def login_reply(client, password="sesame"):
    client.ok("USER alice")
    return client.ask(f"PASS {password}")


def assert_free(server):
    """It is given back soon, with all its messages: none of these endings is an update."""
    client = log_in_again(server, seconds=SOON)
    assert client.ok("STAT").startswith(b"+OK 3 ")
    assert client.quit().startswith(b"+OK")


def test_in_use_is_told_to_the_owner_only(server, home):
    first, worker = log_in_noted(server)
    others = [server.connect() for _ in range(12)]  # at both workers: the lock is not a worker's
    for other in others:
        assert login_reply(other).startswith(IN_USE)
    with server.connect() as other:
        assert login_reply(other, "guess").startswith(WRONG)
        other.ok("USER nobody")
        stranger = other.ask("PASS sesame")
        assert stranger == login_reply(other, "guess")
    with server.connect() as other:
        response = base64.b64encode(b"\0alice\0sesame").decode()
        assert other.ask(f"AUTH PLAIN {response}").startswith(IN_USE)
        assert other.ask("AUTH PLAIN " + base64.b64encode(b"\0alice\0guess").decode()).startswith(WRONG)
    ports = [other.sock.getsockname()[1] for other in others]
    for other in others:
        other.quit()
    ends = [server.wait_for("event=end", f":{port} ") for port in ports]
    assert {re.search("proc=(worker.[0-9]+)", line)[1] for line in ends} > {worker}
    assert first.ok("STAT").startswith(b"+OK 3 ")
    assert len(files(home)) == 3
    assert first.quit().startswith(b"+OK")


def test_refused_client_can_try_again(server, home):
    first = server.log_in()
    other = server.connect()
    assert login_reply(other).startswith(IN_USE)
    assert other.err("STAT")  # not logged in
    assert other.err("LIST")
    first.quit()
    until(lambda: login_reply(other).startswith(b"+OK"), "a login on the same connection", SOON)
    assert other.ok("STAT").startswith(b"+OK 3 ")
    assert other.quit().startswith(b"+OK")
    assert len(files(home)) == 3


def test_another_login_in_a_session_is_refused(server, home):
    client = server.log_in()
    client.err("USER alice")
    client.err("PASS sesame")
    assert client.ok("STAT").startswith(b"+OK 3 ")
    client.quit()
    assert len(files(home)) == 3


def test_free_when_quit_is_answered(server, home):
    """Not a moment later: a client may be back at once."""
    client = server.log_in()
    for _ in range(100):
        heir = server.connect()
        assert login_reply(heir).startswith(IN_USE)
        heir.ok("USER alice")
        assert client.ask("QUIT").startswith(b"+OK")
        assert heir.ask("PASS sesame").startswith(b"+OK")
        client.close()
        client = heir
    client.quit()
    assert len(files(home)) == 3


def test_free_when_a_commit_is_answered(server, home):
    for number in range(1, 21):
        client, reply = try_log_in(server)
        assert client, (number, reply)
        client.ok("DELE 1")
        assert client.quit().startswith(b"+OK")
        assert len(files(home)) == 2
        server.deliver(home, b"Subject: another\n\n", f"{2000000000 + number}.M.host")


def end_close(client):
    client.close()


def end_half_close(client):
    client.sock.shutdown(socket.SHUT_WR)


def end_reset(client):
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def end_within_command(client):
    client.send(b"DELE 2\r\nRET")
    client.close()


def end_within_message(client):
    client.send(b"RETR 1\r\nLIST\r\nUIDL\r\n")
    client.close()


def end_by_bad_commands(client):
    client.send(b"XYZZY\r\n" * 100)
    client.rest()


@pytest.mark.parametrize("end", [end_close, end_half_close, end_reset, end_within_command, end_within_message,
                                 end_by_bad_commands], ids=lambda end: end.__name__)
def test_free_after_disconnect(server, home, end):
    client = server.log_in()
    client.ok("DELE 1")
    end(client)
    assert_free(server)
    assert name_of(1) in files(home)
    client.close()


def test_free_after_autologout(hasty):
    home = make_home(hasty)
    client = hasty.log_in()
    client.ok("DELE 1")
    began = time.monotonic()
    for _ in range(3):  # a client that speaks keeps it
        time.sleep(AUTOLOGOUT / 2)
        client.ok("NOOP")
        with hasty.connect() as other:
            assert login_reply(other).startswith(IN_USE)
    spoke = time.monotonic()
    assert spoke - began > AUTOLOGOUT
    said = client.rest()
    assert AUTOLOGOUT * 0.9 < time.monotonic() - spoke < AUTOLOGOUT + SOON
    assert b"+OK" not in said
    assert_free(hasty)
    assert name_of(1) in files(home)


def test_free_after_autologout_of_a_client_that_does_not_read(hasty):
    home = make_home(hasty)
    big = hasty.deliver(home, b"X" * 70 + b"\n", "3000000000.big")
    with open(big, "r+b") as file:
        file.truncate(1 << 26)
    client = hasty.log_in()
    client.send(b"DELE 1\r\nRETR 4\r\n")
    time.sleep(AUTOLOGOUT)
    client = log_in_again(hasty, seconds=AUTOLOGOUT + SOON)
    assert client.ok("STAT").startswith(b"+OK 4 ")
    client.quit()


@pytest.mark.parametrize("kind", ["worker", "keeper"])
def test_free_after_a_kill(server, home, kind):
    client, worker = log_in_noted(server)
    client.ok("DELE 1")
    os.kill(server.children()[worker] if kind == "worker" else server.pid_of(kind), signal.SIGKILL)
    assert b"+OK" not in client.rest()
    assert_free(server)
    assert name_of(1) in files(home)


def test_frozen_keeper_has_no_say_when_it_is_gone(server, home):
    """The lock is the kernel's: nobody has to tidy up after a process that cannot."""
    client = server.log_in()
    keeper = server.pid_of("keeper")
    os.kill(keeper, signal.SIGSTOP)
    client.send(b"DELE 1\r\nQUIT\r\n")
    time.sleep(0.1)
    os.kill(keeper, signal.SIGKILL)
    assert client.rest().count(b"+OK") <= 1  # DELE's, never QUIT's
    assert_free(server)
    assert name_of(1) in files(home)


def test_other_program_with_the_lock(server, home):
    folder = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with server.connect() as client:
            assert login_reply(client).startswith(IN_USE)
            assert login_reply(client, "guess").startswith(WRONG)
    finally:
        os.close(folder)
    assert_free(server)
