# SPDX-License-Identifier: MIT
"""Clients whose machine or line has died without a word: noticed in a known time, also in the middle of a message. In a network
namespace whose loopback is taken down."""

import socket
import subprocess
import time

import pytest

import network
from daemon import HOST, Client, Daemon
from maildrops import fill

DEAD = 8  # seconds, the least
LATE = 6  # on a busy machine


@pytest.fixture(name="namespace", scope="module")
def make_namespace():
    yield from network.use()


@pytest.fixture(name="server")
def start_server(namespace):
    server = Daemon(certificates=False, limits=f"dead_peer = {DEAD}", maildrop="takeover = 0")
    try:
        for name in ("alice", "bob", "carol"):
            home = server.add_account(name)
            fill(server, home, 1)
            with open(server.deliver(home, b"Subject: big\n\n", "2000000000.big"), "r+b") as file:
                file.truncate(30 << 20)
        with namespace:
            server.start()
        yield server
        server.stop()
    finally:
        if server.process:
            server.process.kill()
        server.remove()


def line_of(server, client, since):
    return server.wait_for("event=end", f":{client.sock.getsockname()[1]} ", since=since)


def log_in(server, namespace, name, room=None):
    with namespace:
        client = Client.__new__(Client)
        client.kept, client.sock = b"", socket.socket()
        if room:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        client.sock.settimeout(30)
        client.sock.connect((HOST, server.port))
    client.line()
    client.log_in(name)
    return client


def set_line(namespace, state):
    with namespace:
        subprocess.run(["ip", "link", "set", "lo", state], check=True)


def test_dead_line(server, namespace):
    """One client sits there, one is in the middle of a message, one has stopped reading before its line died."""
    since = len(server.log_text())
    idle = log_in(server, namespace, "alice")
    reading = log_in(server, namespace, "bob")
    stalled = log_in(server, namespace, "carol", room=4096)
    stalled.send(b"RETR 2\r\n")
    reading.send(b"RETR 2\r\n" * 2)
    began = time.monotonic()
    while time.monotonic() - began < 2:
        reading.sock.recv(1 << 20)
        time.sleep(0.05)
    set_line(namespace, "down")
    began = time.monotonic()
    try:
        assert "result=disconnected" in line_of(server, idle, since)
        assert "no answer" in line_of(server, reading, since)
        assert "no answer" in line_of(server, stalled, since)
        assert DEAD - 3 < time.monotonic() - began < DEAD + LATE
    finally:
        set_line(namespace, "up")


def test_living_client_that_does_not_read(server, namespace):
    """Its machine answers that there is no room: that is life."""
    client = log_in(server, namespace, "alice", room=4096)
    client.send(b"RETR 2\r\n")
    time.sleep(DEAD + 3)
    assert len(client.multi_octets()) > 30 << 20
    assert client.quit().startswith(b"+OK")
