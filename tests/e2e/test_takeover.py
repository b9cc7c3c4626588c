# SPDX-License-Identifier: MIT
"""A maildrop whose holder is gone or idle goes to the account's next login; one in use does not."""

import os
import poplib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from daemon import HOST, Client, serve, until
from maildrops import files, fill, log_in_noted, try_log_in

TAKEOVER = 1            # seconds
IDLE = TAKEOVER + 1.3  # after which a session is: octets are looked for once a second
IN_USE = b"-ERR [IN-USE]"
BIG = 40 << 20


@pytest.fixture(name="server", scope="module")
def start_server():
    yield from serve(maildrop=f"takeover = {TAKEOVER}")


@pytest.fixture(name="home")
def home_at_server(server):
    home = server.make_maildir("alice")
    fill(server, home, 3)
    return home


def is_in_use(server):
    client, reply = try_log_in(server)
    if client:
        client.quit()
    return reply.startswith(IN_USE)


def take_over(server):
    """A login that gets the maildrop at once."""
    client, reply = try_log_in(server)
    assert client, reply
    return client


def test_idle_holder_gives_way(server, home):
    since = len(server.log_text())
    holder = server.log_in()
    holder.ok("DELE 1")
    assert is_in_use(server)
    time.sleep(IDLE)
    heir = take_over(server)
    assert holder.rest() == b""  # nothing that could pass for an answer
    server.wait_for("event=end", 'result="taken over"', "user=alice", "deleted=0", since=since)
    assert heir.ok("STAT").startswith(b"+OK 3 ")
    heir.ok("DELE 2")
    heir.quit()
    assert len(files(home)) == 2


def test_at_either_worker(server, home):
    """Until an heir was served by another worker than its holder, and by the same."""
    assert home
    seen = set()
    for _ in range(20):
        holder, of_holder = log_in_noted(server)
        time.sleep(IDLE)
        heir, of_heir = log_in_noted(server)
        assert holder.rest() == b""
        heir.quit()
        seen.add(of_holder == of_heir)
        if len(seen) == 2:
            return
    assert seen == {True, False}


@pytest.mark.parametrize("end", ["close", "reset", "over TLS"])
def test_gone_holder_gives_way_at_once(server, home, end):
    assert home
    for _ in range(20):
        holder = server.log_in(over="tls" if end == "over TLS" else "plain")
        if end == "reset":
            holder.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        holder.close()
        heir = take_over(server)  # not even one [IN-USE]
        heir.close()
    until(lambda: not is_in_use(server), "the maildrop is free", 5)


def test_speaking_holder_stays(server, home):
    assert home
    holder = server.log_in()
    end = time.monotonic() + 3 * TAKEOVER
    while time.monotonic() < end:
        holder.send(b"N")  # not even a whole command
        time.sleep(TAKEOVER / 4)
        assert is_in_use(server)
    holder.send(b"\r\n")
    assert holder.line().startswith(b"-ERR")
    assert holder.ok("STAT").startswith(b"+OK 3 ")
    holder.quit()


def make_big(server, home):
    path = server.deliver(home, b"Subject: big\n\n", "2000000000.big")
    with open(path, "r+b") as file:
        file.truncate(BIG)


def test_reading_holder_stays(server, home):
    """However slowly: what it takes out of the kernel's buffers counts, though we have written nothing for long."""
    make_big(server, home)
    holder = server.connect()
    holder.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    holder.log_in()
    holder.send(b"RETR 4\r\n")
    end = time.monotonic() + 4 * TAKEOVER
    while time.monotonic() < end:
        time.sleep(0.2)
        holder.sock.recv(16384)
        assert is_in_use(server)
    heir = until(lambda: try_log_in(server)[0], "it has stopped, and been idle for long enough")
    assert heir.ok("STAT").startswith(b"+OK 4 ")
    heir.quit()
    holder.close()


def test_committing_holder_is_waited_for(server, home):
    """Its worker may be asked, but a QUIT under way is neither cut nor in the way."""
    assert home
    for round_ in range(10):
        server.make_maildir("alice")
        fill(server, home, 200)
        holder = server.log_in()
        holder.send(b"DELE 1\r\n" * 1 + b"".join(b"DELE %d\r\n" % number for number in range(2, 201)) + b"QUIT\r\n")
        time.sleep(0.002 * round_)
        client, reply = try_log_in(server)
        assert client or reply.startswith(IN_USE)  # before the QUIT was seen
        said = holder.rest()
        assert said.count(b"\r\n") == 201 and b"-ERR" not in said
        if client:
            assert client.ok("STAT") == b"+OK 0 0\r\n"
            client.quit()
        assert not files(home)


def test_frozen_worker_costs_five_seconds(server, home):
    """The worker of the holder does not answer: the login is refused in time, and others go on."""
    assert home
    holder, worker = log_in_noted(server)
    pid = server.children()[worker]
    os.kill(pid, signal.SIGSTOP)
    try:
        client = None
        while client is None:  # at the other worker
            client = Client(server.port)
            client.sock.settimeout(0.5)
            try:
                client.greeting = client.line()
            except TimeoutError:
                client.close()
                client = None
        client.sock.settimeout(30)
        client.ok("USER alice")
        began = time.monotonic()
        assert client.ask("PASS sesame").startswith(IN_USE)
        assert 4 < time.monotonic() - began < 10
        client.quit()
        holder.send(b"STAT\r\n")  # said before its worker has read the question: it stays
    finally:
        os.kill(pid, signal.SIGCONT)
    assert holder.line().startswith(b"+OK 3 ")
    holder.quit()


def test_many_heirs_at_once(server, home):
    """One of them gets it; nobody waits, and nobody is served twice."""
    assert home
    holder = server.log_in()
    time.sleep(IDLE)
    results = []

    def log_in():
        results.append(try_log_in(server))
    threads = [threading.Thread(target=log_in) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [client for client, _ in results if client]
    assert len(winners) == 1
    assert all(reply.startswith(IN_USE) for client, reply in results if not client)
    assert holder.rest() == b""
    assert winners[0].ok("STAT").startswith(b"+OK 3 ")
    winners[0].quit()


def test_from_an_older_generation(make_daemon):
    """After a reload the holder's worker and keeper are others than the heir's."""
    server = make_daemon(certificates=False, maildrop=f"takeover = {TAKEOVER}")
    home = server.add_account("alice")
    fill(server, home, 3)
    server.start()
    holder = server.log_in()
    holder.ok("DELE 1")
    for _ in range(2):
        since = len(server.log_text())
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("event=serving", since=since)
    assert holder.ok("NOOP")
    began = time.monotonic()
    assert is_in_use(server)
    assert time.monotonic() - began < 3
    assert holder.ok("NOOP")
    time.sleep(IDLE)
    heir = take_over(server)
    assert holder.rest() == b""
    server.wait_for("event=end", 'result="taken over"')
    assert heir.ok("STAT").startswith(b"+OK 3 ")
    heir.close()
    take_over(server).quit()


def test_never(make_daemon):
    server = make_daemon(certificates=False, maildrop="takeover = 0")
    server.add_account("alice")
    server.start()
    holder = server.log_in()
    time.sleep(1.5)
    assert is_in_use(server)
    holder.close()
    take_over(server).quit()  # from one that is gone all the same


def test_real_clients(server, home):
    """openssl s_client sits there logged in, as a person who went to lunch; Python's poplib and curl come meanwhile."""
    assert home
    sitter = subprocess.Popen(["openssl", "s_client", "-quiet", "-connect", f"{HOST}:{server.tls_port}"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        sitter.stdin.write(b"USER alice\r\nPASS sesame\r\nDELE 1\r\n")
        sitter.stdin.flush()
        assert [sitter.stdout.readline()[:3] for _ in range(4)] == [b"+OK"] * 4
        pop = poplib.POP3(HOST, server.port, timeout=30)
        pop.user("alice")
        with pytest.raises(poplib.error_proto, match=re.escape("[IN-USE]")):
            pop.pass_("sesame")
        time.sleep(IDLE)
        pop.user("alice")
        assert pop.pass_("sesame").startswith(b"+OK")
        assert sitter.wait(10) is not None  # it saw the end
        assert pop.stat()[0] == 3
        pop.dele(1)
        time.sleep(IDLE)
        listing = subprocess.run(["curl", "-s", "-u", "alice:sesame", f"pop3://{HOST}:{server.port}/"],
                                 capture_output=True, check=True, timeout=30).stdout
        assert listing.count(b"\n") == 3
        with pytest.raises((poplib.error_proto, OSError)):
            pop.quit()
        assert len(files(home)) == 3
    finally:
        sitter.kill()
        sitter.wait()
