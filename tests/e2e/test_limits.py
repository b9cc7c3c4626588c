# SPDX-License-Identifier: MIT
"""Limits on sessions: each refuses newcomers with a clear answer and a close, and takes them again when there is room. Nobody who
is in is put out. This machine itself is not limited by address, so those limits are tried in a network namespace."""

import time

import pytest

import network
from daemon import HOST, Client, Daemon, until
from network import OUTSIDE

FEW = 4


def refusal(server, host=HOST, over="plain"):
    """What a client is told that connects now; None: it was greeted, and is kept open."""
    client = Client(server.tls_port if over == "tls" else server.port, host)
    if over == "tls":
        client.sock.settimeout(1)
        try:
            return client.rest()
        except TimeoutError:
            return None
    line = client.line()
    if line.startswith(b"+OK"):
        return None
    assert client.rest() == b""  # and closed
    return line


def test_before_login(make_daemon):
    server = make_daemon(workers=1, limits=f"sessions_before_login = {FEW}")
    for number in range(FEW + 3):
        server.add_account(f"user{number}")
    server.start()
    inside = [server.log_in(f"user{number}") for number in range(FEW + 2)]  # who has logged in does not count
    strangers = [server.connect() for _ in range(FEW)]
    assert b"[SYS/TEMP]" in refusal(server) and b"not logged in" in refusal(server)
    assert refusal(server, over="tls") == b""
    strangers[0].log_in(f"user{FEW + 2}")
    strangers.append(server.connect())
    assert refusal(server)
    strangers.pop().close()
    until(lambda: not refusal(server), "room for one more", 5)
    for client in inside:
        assert client.quit().startswith(b"+OK")


def test_max_sessions(make_daemon):
    server = make_daemon(workers=1, worker=f"max_sessions = {FEW}")
    server.add_account("alice")
    server.start()
    clients = [server.connect() for _ in range(FEW)]
    assert b"too many sessions" in refusal(server)
    clients[0].quit()
    until(lambda: not refusal(server), "room", 5)


def test_memory(make_daemon):
    server = make_daemon(certificates=False, workers=1, worker="memory = 8M", limits="sessions_before_login = 10000")
    server.add_account("alice")
    server.start()
    insider = server.log_in()
    clients = []

    def fill():
        """Connections with half a command, which the server has to keep."""
        for _ in range(20):
            client = Client(server.port)
            if not client.line().startswith(b"+OK"):
                return True
            client.send(b"AUTH PLAIN " + b"x" * 12000)
            clients.append(client)
        time.sleep(0.05)
        return len(clients) > 900
    until(fill, "the memory is full")
    if len(clients) > 900:
        pytest.skip("this build's allocator does not say how much is in use")
    assert refusal(server).startswith(b"-ERR [SYS/TEMP] too little memory")
    server.wait_for("worker.memory is reached")
    assert insider.ok("STAT")
    while clients:
        clients.pop().close()
    until(lambda: not refusal(server), "memory again", 10)
    assert insider.quit().startswith(b"+OK")


@pytest.fixture(name="namespace", scope="module")
def make_namespace():
    yield from network.use()


@pytest.fixture(name="outside")
def start_outside(namespace):
    """A server of two workers, and how to connect to it from an address that is not this machine's."""
    server = Daemon(certificates=False, auth="allow_cleartext = yes",
                    limits=f"sessions_per_address = {FEW} before_login_per_address = 2")
    server.conf.write_text(server.conf.read_text().replace(f'"{HOST}:{server.port}"', f'"*:{server.port}"'))
    try:
        for number in range(FEW + 1):
            server.add_account(f"user{number}")
        with namespace:
            server.start()
        yield server
        server.stop()
    finally:
        if server.process:
            server.process.kill()
        server.remove()


def test_sessions_per_address(outside, namespace):
    """Over all workers, and only after login, so that it is told who asks."""
    def connect(host):
        with namespace:
            client = Client(outside.port, host)
        assert client.line().startswith(b"+OK")
        return client
    clients = []
    for number in range(FEW):
        clients.append(connect(OUTSIDE))
        clients[-1].log_in(f"user{number}")
    crowded = connect(OUTSIDE)
    crowded.ok(f"USER user{FEW}")
    assert b"[AUTH]" in crowded.ask("PASS wrong")
    crowded.ok(f"USER user{FEW}")
    reply = crowded.ask("PASS sesame")
    assert reply.startswith(b"-ERR [SYS/TEMP] too many sessions from your address"), reply
    assert crowded.rest() == b""
    local = connect(HOST)
    local.log_in(f"user{FEW}")
    local.quit()
    clients.pop().quit()
    clients.append(connect(OUTSIDE))
    clients[-1].log_in(f"user{FEW}")
    for client in clients:
        assert client.quit().startswith(b"+OK")


def test_before_login_per_address(outside, namespace):
    """At each worker: with two, at most twice as many get in."""
    kept, told = [], []
    with namespace:
        for _ in range(10):
            client = Client(outside.port, OUTSIDE)
            line = client.line()
            (kept if line.startswith(b"+OK") else told).append((client, line))
        assert 2 <= len(kept) <= 4
        assert len(told) >= 6
        assert all(b"[SYS/TEMP] too many connections from your address" in line for _, line in told)
        assert Client(outside.port, HOST).line().startswith(b"+OK")
        for client, _ in kept:
            client.close()
