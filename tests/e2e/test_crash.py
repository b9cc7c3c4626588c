# SPDX-License-Identifier: MIT
"""Processes that die. Each is killed at many points of commits of a thousand deletions: nothing may be lost that was
not deleted, nothing may be left that was reported as deleted, and service must come back. And outside of commits: who
dies takes its own sessions along and nobody else's."""

import os
import random
import signal
import time

import pytest

from daemon import WAIT, wire_form, until
from maildrops import files, fill, fill_by_links, is_alive, listed, log_in_again, log_in_noted, message, name_of

MESSAGES, DELETED = 1100, 1000
POINTS = {"worker": 9, "keeper": 12, "auth": 4, "master": 8}  # kills of each kind of process
KILLS_IN_ROW = 4  # before the server is started anew: a child that keeps dying is restarted more and more slowly


def delete_many(client, numbers):
    """Marks them, pipelined."""
    client.send(b"".join(b"DELE %d\r\n" % number for number in numbers))
    for _ in numbers:
        assert client.line().startswith(b"+OK")


def quit_and_kill(daemon, kind, numbers, delay):
    """Commits these deletions and kills at `delay` seconds after QUIT. The answer to QUIT, empty if there was none."""
    client, worker = log_in_noted(daemon)
    delete_many(client, numbers)
    pids = daemon.children() | {"master": daemon.process.pid}
    victim = pids[worker] if kind == "worker" else next(pid for name, pid in pids.items() if name.startswith(kind))
    client.send(b"QUIT\r\n")
    end = time.monotonic() + delay
    while time.monotonic() < end:
        pass  # sleeping is not exact enough
    os.kill(victim, signal.SIGKILL)
    reply = client.rest()
    client.close()
    if kind == "master":
        daemon.process.wait(WAIT)
        until(lambda: not any(is_alive(pid) for pid in pids.values()), "the children end with their master")
    return reply


def start_again(daemon):
    since = len(daemon.log_text())
    daemon.start()
    daemon.wait_for("event=serving", since=since)


def check_maildrop(daemon, home, numbers, reply):
    """What is there after the commit of these deletions was answered so."""
    kept = {name_of(number) for number in range(1, MESSAGES + 1)} - {name_of(number) for number in numbers}
    client = log_in_again(daemon)  # it has the lock: no commit runs any more
    there = files(home)
    assert kept <= there, "messages are lost that were not deleted"
    if reply.startswith(b"+OK"):
        assert there == kept, "messages are left that were reported as deleted"
    found = listed(client)
    assert found.keys() == there, "the listing is not what is there"
    sample = random.Random(len(there)).choice(sorted(kept))
    number = int(sample.split(".")[0]) - 1000000000
    at = [line.split()[1].decode() for line in client.multi("UIDL")].index(sample) + 1
    assert client.fetch(f"RETR {at}") == wire_form(message(number))
    assert client.quit().startswith(b"+OK")
    client = log_in_again(daemon)
    assert listed(client) == found
    assert client.quit().startswith(b"+OK")
    return there != kept


def commit_time(daemon, home, chance):
    """Seconds from QUIT to its answer when nobody is killed."""
    numbers = chance.sample(range(1, MESSAGES + 1), DELETED)
    fill_by_links(daemon, home, MESSAGES)
    client = log_in_again(daemon)
    delete_many(client, numbers)
    began = time.monotonic()
    reply = client.ask("QUIT")
    took = time.monotonic() - began
    client.close()
    assert reply.startswith(b"+OK")
    assert not check_maildrop(daemon, home, numbers, reply)
    return took


@pytest.mark.parametrize("kind", POINTS)
def test_killed_during_commit(make_daemon, kind):
    chance = random.Random(f"commit {kind}")
    daemon = make_daemon(certificates=False)
    home = daemon.add_account("alice")
    start_again(daemon)
    took = commit_time(daemon, home, chance)
    answered = partly = 0
    for point in range(POINTS[kind]):
        if kind != "master" and point % KILLS_IN_ROW == KILLS_IN_ROW - 1:
            daemon.stop()
            start_again(daemon)
        numbers = sorted(chance.sample(range(1, MESSAGES + 1), DELETED))
        home = daemon.make_maildir("alice")
        fill_by_links(daemon, home, MESSAGES)
        reply = quit_and_kill(daemon, kind, numbers, took * 1.2 * (point + chance.random()) / POINTS[kind])
        if kind == "master":
            start_again(daemon)
        answered += reply.startswith(b"+OK")
        partly += check_maildrop(daemon, home, numbers, reply)
        if kind == "auth":
            assert reply.startswith(b"+OK"), "auth has no part in a commit"
    daemon.check_sanitizers()
    if kind == "keeper":
        assert answered < POINTS[kind] and partly, "no point lay within a commit"


# --- outside of commits ---


def test_listings_of_another_keeper(make_daemon):
    """Long listings are known by numbers, which the next keeper gives anew: nobody may see the other's."""
    daemon = make_daemon(certificates=False, workers=1)
    for name in ("alice", "bob"):
        home = daemon.add_account(name)
        for number in range(MESSAGES):
            daemon.deliver(home, b"x\n", f"{name:x>30}.{number}")
    start_again(daemon)
    for name in ("alice", "bob"):
        client = log_in_again(daemon, name)
        lines = client.multi("UIDL")
        assert len(lines) == MESSAGES and all(name.encode() in line for line in lines)
        client.quit()
        os.kill(daemon.pid_of("keeper"), signal.SIGKILL)


@pytest.fixture(name="two")
def make_two(make_daemon):
    """A server with sessions of alice and bob at different workers, and a client that is not logged in."""
    daemon = make_daemon(certificates=False)
    for name in ("alice", "bob"):
        fill(daemon, daemon.add_account(name), 3)
    start_again(daemon)
    alice, one = log_in_noted(daemon, "alice")
    bob, other = log_in_noted(daemon, "bob")
    while one == other:
        bob.quit()
        bob, other = log_in_noted(daemon, "bob")
    return daemon, (alice, one), (bob, other)


def successor(daemon, pids, name):
    """Waits until another process of that kind has taken over; all others must be the same."""
    kind = name.partition(".")[0]
    def replaced():
        new = daemon.children()
        return new if len(new) == len(pids) and name not in new else None
    new = until(replaced, f"a successor of {name}")
    assert pids.items() - new.items() == {(name, pids[name])}
    assert [other.partition(".")[0] for other in new.keys() - pids.keys()] == [kind]


def check_goes_on(client):
    """A session that nothing happened to, up to the durable deletion of a message."""
    client.ok("NOOP")
    assert client.fetch("RETR 2") == wire_form(message(2))
    client.ok("DELE 1")
    assert client.quit().startswith(b"+OK")


def check_cut(client):
    """It ends without an answer, in bounded time."""
    client.sock.settimeout(WAIT)
    client.send(b"NOOP\r\n")
    assert b"+OK" not in client.rest()
    client.close()


def test_worker_dies(two):
    daemon, (alice, one), (bob, _) = two
    alice.ok("DELE 1")
    pids = daemon.children()
    os.kill(pids[one], signal.SIGKILL)
    assert alice.rest() == b""
    successor(daemon, pids, one)
    check_goes_on(bob)
    assert len(files(daemon.mail / "bob")) == 2
    again = log_in_again(daemon, "alice", 5)
    assert again.ok("STAT").startswith(b"+OK 3 "), "a session that was cut deletes nothing"
    again.quit()
    used = set()
    while len(used) < 2:  # both workers serve
        client, worker = log_in_noted(daemon, "alice")
        client.quit()
        used.add(worker)
    assert used == {name for name in daemon.children() if name.startswith("worker")}


def test_keeper_dies(two):
    daemon, (alice, _), (bob, _) = two
    early = [daemon.connect() for _ in range(8)]
    alice.ok("DELE 1")
    pids = daemon.children()
    keeper = next(name for name in pids if name.startswith("keeper"))
    os.kill(pids[keeper], signal.SIGKILL)
    successor(daemon, pids, keeper)
    for client in (alice, bob):  # their maildrops are anybody's now
        check_cut(client)
    log_in_again(daemon, "alice", 5).quit()
    for client in early:
        client.log_in("alice")
        assert client.ok("STAT").startswith(b"+OK 3 ")
        client.quit()


def test_auth_dies(two):
    daemon, (alice, _), (bob, _) = two
    early = [daemon.connect() for _ in range(8)]
    pids = daemon.children()
    auth = next(name for name in pids if name.startswith("auth"))
    os.kill(pids[auth], signal.SIGKILL)
    for client in (alice, bob):
        check_goes_on(client)
    successor(daemon, pids, auth)
    log_in_again(daemon, "alice", 5).quit()
    for client in early:
        client.log_in("alice")
        assert client.ok("STAT").startswith(b"+OK 2 ")
        client.quit()


def test_login_while_helpers_are_gone(two):
    """Clients that come just then are told to try again, on a connection that stays."""
    daemon, _, (bob, _) = two
    bob.quit()
    for kind in ("auth", "keeper"):
        client = daemon.connect()
        client.ok("USER bob")
        victim = daemon.pid_of(kind)
        os.kill(victim, signal.SIGSTOP)  # the request waits, and then nobody is there to answer it
        client.send(b"PASS sesame\r\n")
        time.sleep(0.1)
        os.kill(victim, signal.SIGKILL)
        assert client.line().startswith(b"-ERR [SYS/TEMP]")
        def again():
            client.ok("USER bob")
            reply = client.ask("PASS sesame")
            assert reply.startswith((b"+OK", b"-ERR [SYS/TEMP]")), reply
            return reply.startswith(b"+OK")
        until(again, f"a login after the death of {kind}")
        client.quit()


def test_many_deaths(two):
    """Every kind of process dies while clients come and go: in the end all is as before."""
    daemon, (alice, _), (bob, _) = two
    alice.quit()
    bob.quit()
    chance = random.Random("deaths")
    for _ in range(6):
        name, pid = chance.choice(sorted(daemon.children().items()))
        os.kill(pid, signal.SIGKILL)
        for user in ("alice", "bob"):
            client = log_in_again(daemon, user)
            try:
                listed(client)
                client.quit()
            except (EOFError, BrokenPipeError, ConnectionError):
                client.close()  # it was at the one that died
    until(lambda: len(daemon.children()) == 4, "all processes are back")
    for user in ("alice", "bob"):
        client = log_in_again(daemon, user)
        assert len(listed(client)) == 3
        client.quit()
