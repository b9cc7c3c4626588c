# SPDX-License-Identifier: MIT
"""The log: one line per event, key=value, whatever clients send; and no secret in it, however clumsily it was sent."""

import base64
import re
import socket
import ssl

import pytest

from daemon import HOST, Client

PLAIN = r"[\x21\x23-\x3c\x3e-\x5b\x5d-\x7e]*"  # no quote, equals sign, backslash
QUOTED = r'"(?:[\x20\x21\x23-\x3c\x3e-\x5b\x5d-\x7e]|\\x[0-9a-f]{2})*"'
LINE = re.compile(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z (error|warning|info|debug) proc=(master|\w+\.\d+) "
                  rf"event=[a-z-]+( [a-z0-9_-]+=({QUOTED}|{PLAIN}))*")
SECRET = "tell-nobody-about-this"


def encoded(text):
    return base64.b64encode(text.encode("latin-1") if isinstance(text, str) else text).decode()


def settled(daemon, client):
    """The log once the end of this client's session is in it."""
    port = client.sock.getsockname()[1]
    client.close()
    daemon.wait_for("event=end", f"addr={HOST}:{port} ")
    return daemon.log_text()


def fields(line):
    return dict(re.findall(rf"([a-z0-9_-]+)=({QUOTED}|{PLAIN})", line))


def test_a_session_in_two_lines(daemon, home):
    daemon.deliver(home, b"Subject: one\n\nbody\n", "1.one")
    daemon.deliver(home, b"Subject: two\n\nbody\n", "2.two")
    client = daemon.log_in(over="tls")
    port = client.sock.getsockname()[1]
    client.fetch("RETR 1")
    client.ok("DELE 2")
    assert client.ask("QUIT").startswith(b"+OK")
    settled(daemon, client)
    login = fields(daemon.lines_with("event=login", f"addr={HOST}:{port} ")[0])
    end = fields(daemon.lines_with("event=end", f"addr={HOST}:{port} ")[0])
    assert login["user"] == end["user"] == "alice" and login["session"] == end["session"]
    assert "TLSv1.3" in login["tls"] and login["messages"] == "2" and login["octets"] == "44"
    assert end["result"] == "quit" and end["fetched"] == "1" and end["deleted"] == "1" and end["left"] == "1"
    assert int(end["out"]) > 22 and int(end["in"]) > len("USER alice\r\n")


SPILLS = [
    f"PASS {SECRET}",  # before USER
    f"PAS {SECRET}",
    f"PASS{SECRET}",
    SECRET,
    f" PASS {SECRET}",
    f"USER alice {SECRET}",
    f"USER alice\tPASS {SECRET}",
    f"STAT {SECRET}",
    f"PASS {SECRET}\0",
    f"PASS {SECRET} " + "x" * 300,
    f"AUTH PLAIN {SECRET}",
    f"AUTH {SECRET}",
    f"AUTH PLAIN {encoded(SECRET)}",
    f"AUTH PLAIN {encoded(chr(0) + 'alice' + chr(0) + SECRET)}",
    f"AUTH PLAIN {encoded(chr(0) + SECRET + chr(0) + 'alice' + chr(0))}",
    f"AUTH PLAIN {encoded(chr(0) + SECRET)}",
    f"APOP alice {SECRET}",
]


@pytest.mark.parametrize("over", ("plain", "tls"))
def test_no_secret(daemon, home, over):
    for spill in SPILLS:
        client = daemon.connect(over)
        client.err(spill)
        settled(daemon, client)
    client = daemon.connect(over)
    assert client.ask("AUTH LOGIN").startswith(b"+ ")
    assert client.ask(encoded("alice")).startswith(b"+ ")
    client.err(encoded(SECRET))
    client.ok("USER alice")
    client.err(f"PASS {SECRET}")
    text = settled(daemon, client)
    for form in (SECRET, encoded(SECRET), encoded("\0" + SECRET), encoded("\0alice\0" + SECRET), SECRET.encode().hex()):
        assert form not in text


def test_no_secret_sent_to_the_wrong_port(daemon, home):
    """In clear where TLS is spoken."""
    with socket.create_connection((HOST, daemon.tls_port)) as sock:
        port = sock.getsockname()[1]
        sock.sendall(f"USER alice\r\nPASS {SECRET}\r\n".encode())
        while sock.recv(4096):
            pass
    daemon.wait_for("event=end", f"addr={HOST}:{port} ")
    assert SECRET not in daemon.log_text()


NAMES = [
    b"alice\nevent=login user=root",
    b"alice\r\n2026-01-01T00:00:00.000Z info proc=master event=login",
    b'a"b\\c=d',
    b"user=root event=login",
    b"\x1b[31mred",
    b"\xff\xfe\x80",
    "\u202eevil".encode(),
    b"%s%n%d",
    b"x" * 5000,
    b"'; DROP TABLE account; --",
    b"../../etc/passwd",
]


@pytest.mark.parametrize("name", NAMES, ids=[str(number) for number in range(len(NAMES))])
def test_hostile_names(daemon, home, name):
    """By SASL any octet but NUL can be in a name; by USER, what is no control character."""
    client = daemon.connect()
    client.err("AUTH PLAIN " + encoded(b"\0" + name + b"\0x"))
    client.send(b"USER " + name[:200] + b"\r\nPASS x\r\n")
    for _ in range(2 + name[:200].count(b"\n")):
        client.line()
    settled(daemon, client)
    check_lines(daemon)


def check_lines(daemon):
    for line in daemon.log_text().split("\n")[:-1]:
        assert LINE.fullmatch(line), line
        assert not (" user=root" in line and line.split(" ")[3] == "event=login"), line


def test_garbage_is_no_event_of_ours(daemon, home):
    client = daemon.connect()
    client.send(bytes(range(256)) * 3 + b"\r\n")
    client.line()
    settled(daemon, client)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        daemon.tls_context().wrap_socket(socket.create_connection((HOST, daemon.tls_port)), server_hostname="elsewhere.example")
    check_lines(daemon)


def test_names_of_files(daemon, home):
    """Other programs choose them; an event=index line says how many were odd, not what they were called."""
    daemon.deliver(home, b"Subject: one\n\nbody\n", "1.a\nevent=login user=root")
    daemon.deliver(home, b"Subject: two\n\nbody\n", "2.\x1b[31m")
    (home / "new" / "3.link\nevent=login").symlink_to("1.a")
    client = daemon.log_in()
    assert client.ok("STAT").split()[1] == b"2"
    assert all(re.fullmatch(rb"\d+ [\x21-\x7e]{1,70}\r\n", line) for line in client.multi("UIDL"))
    client.fetch("RETR 1")
    settled(daemon, client)
    check_lines(daemon)


def test_disconnect_is_logged(daemon, home):
    client = Client(daemon.port)
    client.line()
    port = client.sock.getsockname()[1]
    client.close()
    line = daemon.wait_for("event=end", f"addr={HOST}:{port} ")
    assert fields(line)["result"] == "disconnected" and "user" not in fields(line)
