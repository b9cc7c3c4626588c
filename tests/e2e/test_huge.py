# SPDX-License-Identifier: MIT
"""Maildrops of very many messages. RESTANTE_HUGE=1000000 plays all of it with so many; otherwise there are fewer, and the
figures that are printed (pytest -s) say little."""

import os
import re
import time

import pytest

from daemon import until
from maildrops import log_in_again, message

COUNT = int(os.environ.get("RESTANTE_HUGE", "30000"))
LINKS_MAX = 50000  # of one file, with room below what file systems allow
NEW = 100


class Box:
    """Alice's maildrop, filled by links to a few files."""

    def __init__(self, server):
        self.server, self.delivered, self.last = server, 0, None
        self.home = server.make_maildir("alice")

    def fill(self, count):
        for _ in range(count):
            number = self.delivered
            path = self.home / "new" / self.name(number)
            if number % LINKS_MAX == 0:
                path.write_bytes(message(1))
                self.server.give(path)
                self.last = path
            else:
                os.link(self.last, path)
            self.delivered += 1

    @staticmethod
    def name(number):
        return f"{1000000000 + number}.M{number}.host"


@pytest.fixture(name="server")
def serve_alice(make_daemon):
    server = make_daemon(certificates=False)
    server.add_account("alice")
    return server


def octets_each():
    return len(message(1).replace(b"\n", b"\r\n"))


def cpu_ms(server):
    """User and system time of all processes so far."""
    total = 0
    for pid in [server.process.pid, *server.children().values()]:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * 1000 / os.sysconf("SC_CLK_TCK")


class Figures:
    """Prints what something took."""

    def __init__(self, server, what):
        self.server, self.what = server, what

    def __enter__(self):
        self.wall, self.cpu = time.monotonic(), cpu_ms(self.server)
        return self

    def __exit__(self, *_):
        self.cpu = cpu_ms(self.server) - self.cpu
        print(f"{COUNT} messages: {self.what}: {self.cpu:.0f} ms of CPU, {time.monotonic() - self.wall:.2f} s")


def log_in_patiently(server):
    """However long it takes: a client that gives up and comes back finds its maildrop being read, or ready."""
    end = time.monotonic() + 600
    while True:
        try:
            return log_in_again(server, seconds=600)
        except TimeoutError:
            assert time.monotonic() < end


def uidl(client):
    client.ok("UIDL")
    return read_listing(client)


def read_listing(client):
    listing = bytearray(client.kept)
    while not listing.endswith(b"\r\n.\r\n"):
        more = client.receive()
        assert more
        listing += more
    client.kept = b""
    return bytes(listing[:-3])


def expected_uidl(numbers):
    return b"".join(b"%d %s\r\n" % (at, Box.name(number).encode()) for at, number in enumerate(numbers, 1))


def index_line(server, since):
    line = server.wait_for("event=index ", "/alice", since=since)
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}


def rest():
    """Until the folders' times are believed."""
    time.sleep(1.1)


def test_life_of_a_huge_maildrop(server):
    box = Box(server)
    box.fill(COUNT)
    rest()
    server.start()
    with Figures(server, "first indexing"):
        client = log_in_patiently(server)
    assert index_line(server, 0)["read"] == COUNT
    assert client.ok("STAT") == b"+OK %d %d\r\n" % (COUNT, COUNT * octets_each())
    client.quit()

    since = len(server.log_text())
    with Figures(server, "100 x login, STAT, QUIT") as polls:
        for _ in range(100):
            client = log_in_again(server)
            assert client.ok("STAT") == b"+OK %d %d\r\n" % (COUNT, COUNT * octets_each())
            client.quit()
    assert polls.cpu < 100 * 10
    with Figures(server, "first UIDL"):
        client = log_in_again(server)
        assert uidl(client) == expected_uidl(range(COUNT))
        client.quit()
    with Figures(server, "10 x login, UIDL, QUIT"):
        for _ in range(10):
            client = log_in_again(server)
            uidl(client)
            client.quit()
    client = log_in_again(server)
    client.ok("LIST")
    assert read_listing(client) == b"".join(b"%d %d\r\n" % (at, octets_each()) for at in range(1, COUNT + 1))
    client.quit()
    assert not server.lines_with("event=index ", since=since)  # no folder was read, and no message

    box.fill(NEW)
    rest()
    since = len(server.log_text())
    with Figures(server, f"login with {NEW} new messages"):
        client = log_in_patiently(server)
    assert index_line(server, since)["read"] == NEW
    assert client.ok("STAT").startswith(b"+OK %d " % (COUNT + NEW))
    delete_every_tenth(server, client)


def delete_every_tenth(server, client):
    total = COUNT + NEW
    doomed = range(10, total + 1, 10)
    for begin in range(0, len(doomed), 1000):
        some = doomed[begin:begin + 1000]
        client.send(b"".join(b"DELE %d\r\n" % number for number in some))
        for _ in some:
            assert client.line().startswith(b"+OK")
    # Between the others' lines go those that are left.
    left = [number for number in range(total) if (number + 1) % 10]
    lines = uidl(client).splitlines(True)
    assert lines == [b"%d %s\r\n" % (number + 1, Box.name(number).encode()) for number in left]
    with Figures(server, f"QUIT with {len(doomed)} deletions"):
        assert client.quit().startswith(b"+OK")
    rest()
    since = len(server.log_text())
    client = log_in_patiently(server)
    assert index_line(server, since)["read"] == 0
    assert uidl(client) == expected_uidl(left)
    client.quit()


def test_client_leaves_while_its_mail_is_indexed(server):
    """Its next login finds the work done; meanwhile the log says how far it is, and others are served."""
    box = Box(server)
    box.fill(COUNT)
    server.add_account("bob")
    rest()
    server.start()
    client = server.connect()
    client.ok("USER alice")
    client.send(b"PASS sesame\r\n")
    until(lambda: server.lines_with("event=indexing ", f"messages={COUNT}"), "the indexing has begun")
    client.close()
    other = server.log_in("bob")
    other.quit()
    line = index_line(server, 0)
    assert line["read"] == COUNT
    since = len(server.log_text())
    client = log_in_again(server, seconds=60)
    assert client.ok("STAT").startswith(b"+OK %d " % COUNT)
    assert not server.lines_with("event=index ", since=since)
    client.quit()


def test_stopped_while_mail_is_indexed(server):
    """What was read by then is not read again."""
    box = Box(server)
    box.fill(COUNT)
    rest()
    server.start()
    client = server.connect()
    client.ok("USER alice")
    client.send(b"PASS sesame\r\n")
    until(lambda: server.lines_with("event=indexing ", f"messages={COUNT}"), "the indexing has begun")
    time.sleep(0.1)
    server.stop()
    assert not server.lines_with("event=index ")
    server.start()
    client = log_in_patiently(server)
    assert 0 < index_line(server, 0)["read"] < COUNT
    assert uidl(client) == expected_uidl(range(COUNT))
    client.quit()
