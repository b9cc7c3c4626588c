# SPDX-License-Identifier: MIT
"""Passwords without TLS: taken from this machine, refused from others unless configured.

Another machine is a second address in a network namespace of the test's own: a client there comes from an address that is not
loopback. Needs root and the right to make namespaces; skipped with the reason where that is not given.
"""

import base64
import contextlib

import pytest

import network
from daemon import HOST, Client, Daemon, free_port
from network import OUTSIDE

PLAIN = base64.b64encode(b"\0alice\0sesame").decode()
WRONG = base64.b64encode(b"\0alice\0sesamo").decode()


@pytest.fixture(name="namespace", scope="module")
def make_namespace():
    yield from network.use()


@contextlib.contextmanager
def serve(namespace, **settings):
    """A server in the namespace, at two more ports: .any_port of every address (an IPv6 socket that takes IPv4 too), .one_port
    of OUTSIDE alone."""
    any_port, one_port = free_port(), free_port()
    daemon = Daemon(listeners=f'listen {{ address = "*:{any_port}" }}\nlisten {{ address = "{OUTSIDE}:{one_port}" }}\n', **settings)
    daemon.any_port, daemon.one_port = any_port, one_port
    try:
        daemon.add_account("alice")
        with namespace:
            daemon.start()
        yield daemon
        daemon.stop()
    finally:
        if daemon.process:
            daemon.process.kill()
        daemon.remove()


@pytest.fixture(name="strict", scope="module")
def make_strict(namespace):
    with serve(namespace) as daemon:
        yield daemon


@pytest.fixture(name="lax", scope="module")
def make_lax(namespace):
    with serve(namespace, auth="allow_cleartext = yes") as daemon:
        yield daemon


def connect(namespace, host, port):
    with namespace:
        client = Client(port, host)
    client.greeting = client.line()
    return client


def capabilities(client):
    return {line.split()[0] for line in client.multi("CAPA")}


PORTS = ["any_port", "one_port"]


@pytest.mark.parametrize("port", PORTS)
def test_refused_from_elsewhere(namespace, strict, port):
    since = len(strict.log_text())
    with connect(namespace, OUTSIDE, getattr(strict, port)) as client:
        assert not {b"USER", b"SASL"} & capabilities(client) and b"STLS" in capabilities(client)
        refusal = client.err("USER alice")
        assert b"STLS" in refusal
        assert client.err("USER nobody") == refusal
        assert b"sesame" not in client.err("PASS sesame")
        replies = {client.err(f"AUTH PLAIN {PLAIN}"), client.err(f"AUTH PLAIN {WRONG}"), client.err("AUTH PLAIN"),
                   client.err("AUTH LOGIN")}
        assert replies == {refusal}  # nor is there a challenge that would have the password sent
    assert not strict.lines_with("event=login", since=since), "auth was asked"


@pytest.mark.parametrize("port", PORTS)
def test_refusal_does_not_depend_on_the_password(namespace, strict, port):
    said = []
    for password in ("sesame", "wrong"):
        with connect(namespace, OUTSIDE, getattr(strict, port)) as client:
            said.append([client.err("USER alice"), client.err(f"PASS {password}")])
    assert said[0] == said[1]


def test_bare_auth_lists_nothing(namespace, strict):
    with connect(namespace, OUTSIDE, strict.one_port) as client:
        assert client.multi("AUTH") == []


@pytest.mark.parametrize("port", PORTS)
def test_taken_after_stls(namespace, strict, port):
    with connect(namespace, OUTSIDE, getattr(strict, port)) as client:
        client.ok("STLS")
        client.start_tls(strict.tls_context())
        assert {b"USER", b"SASL"} <= capabilities(client) and b"STLS" not in capabilities(client)
        client.log_in()
        client.quit()
    strict.wait_for("event=end", f"addr={OUTSIDE}:", "result=quit")


def test_taken_from_this_machine(namespace, strict):
    for port in (strict.any_port, strict.port):
        with connect(namespace, HOST, port) as client:
            assert {b"USER", b"SASL"} <= capabilities(client)
            client.log_in()
            client.quit()


@pytest.mark.parametrize("port", PORTS)
def test_taken_where_it_is_allowed(namespace, lax, port):
    with connect(namespace, OUTSIDE, getattr(lax, port)) as client:
        assert {b"USER", b"SASL", b"STLS"} <= capabilities(client)
        client.err("USER")
        client.log_in()
        client.quit()
    with connect(namespace, OUTSIDE, getattr(lax, port)) as client:
        client.ok(f"AUTH PLAIN {PLAIN}")
        client.quit()
    lax.wait_for("event=login", f"addr={OUTSIDE}:", "tls=none")
