# SPDX-License-Identifier: MIT
"""A real Postfix brings mail by LMTP, over TCP and a Unix socket, while people fetch and delete it: every message arrives
once, and whole."""

import re
import smtplib
import threading
import time

import pytest

import lmtp
import mailserver
from daemon import HOST, Client, serve

pytestmark = pytest.mark.skipif(mailserver.why_not() is not None, reason=str(mailserver.why_not()))

MESSAGES, SENDERS = 1000, 4
USERS = [f"user{number}" for number in range(5)]
NUMBER = re.compile(rb"^Subject: number (\d+)\r\n", re.M)


@pytest.fixture(scope="module", name="server")
def make_server():
    def prepare(server):
        lmtp.settings(server, 'lmtp { domains = "tcp.example unix.example" }\n')
        for name in USERS:
            server.add_account(name)
    yield from serve(prepare=prepare, certificates=False)


@pytest.fixture(scope="module", name="postfix")
def make_postfix(server):
    transports = {"tcp.example": f"lmtp:inet:{HOST}:{server.lmtp_port}", "unix.example": f"lmtp:unix:{server.lmtp_path}"}
    with mailserver.Postfix(server.folder, transports) as postfix:
        yield postfix


def body_of(number):
    return b"%d line\r\n..two dots\r\n.\xfc\r\n" % number * (1 + number % 50)


def send(postfix, numbers):
    """Each to one user, every tenth to three of them."""
    with smtplib.SMTP(HOST, postfix.port) as client:
        for number in numbers:
            domain = "tcp.example" if number % 2 else "unix.example"
            to = [f"{USERS[(number + i) % len(USERS)]}@{domain}" for i in range(3 if number % 10 == 0 else 1)]
            client.sendmail("sender@example.com", to, b"Subject: number %d\r\n\r\n" % number + body_of(number))


def expected(number):
    return 3 if number % 10 == 0 else 1


class Reader(threading.Thread):
    """Fetches and deletes the mail of some users over and over."""

    def __init__(self, server, users):
        super().__init__()
        self.server, self.users = server, users
        self.found, self.failure, self.enough = [], None, False

    def visit(self, user):
        client = Client(self.server.port)
        client.line()
        client.ok(f"USER {user}")
        if not client.ask("PASS sesame").startswith(b"+OK"):
            client.close()
            return
        count = int(client.ok("STAT").split()[1])
        fetched = []
        for number in range(1, count + 1):
            fetched.append(client.fetch(f"RETR {number}"))
            client.ok(f"DELE {number}")
        if client.quit().startswith(b"+OK"):  # else nothing may be gone, and the next visit finds it
            self.found += [(user, message) for message in fetched]

    def run(self):
        while not self.enough and not self.failure:
            for user in self.users:
                try:
                    self.visit(user)
                except (EOFError, OSError):
                    pass  # a process was killed: again
                except AssertionError as error:
                    self.failure = error
            time.sleep(0.05)


def check(found, count):
    """Every message once for each of its recipients, and whole."""
    seen = {}
    for user, message in found:
        number = int(NUMBER.search(message)[1])
        assert message.endswith(b"\r\n\r\n" + body_of(number)), message
        assert message.startswith(b"Return-Path: <sender@example.com>\r\n")
        assert (b"\r\nDelivered-To: " in message) == (expected(number) == 1)
        seen.setdefault(number, []).append(user)
    assert all(len(set(users)) == len(users) for users in seen.values()), "something came twice"
    assert {number: len(users) for number, users in seen.items()} == {number: expected(number) for number in range(count)}


def test_thousand_messages_while_others_read(server, postfix):
    readers = [Reader(server, USERS[part::2]) for part in range(2)]
    senders = [threading.Thread(target=send, args=(postfix, range(part, MESSAGES, SENDERS))) for part in range(SENDERS)]
    for thread in (*readers, *senders):
        thread.start()
    try:
        for thread in senders:
            thread.join()
        postfix.wait_until_empty()
    finally:
        for reader in readers:
            reader.enough = True
        for reader in readers:
            reader.join()
    assert not [reader.failure for reader in readers if reader.failure]
    last = Reader(server, USERS)
    for user in USERS:
        last.visit(user)
    check([one for reader in (*readers, last) for one in reader.found], MESSAGES)
    assert "status=deferred" not in postfix.log_text() and "status=bounced" not in postfix.log_text()


def test_unknown_and_full_come_back(server, postfix):
    """What LMTP refuses for good bounces at once; the others of the same message get it."""
    for name in USERS[:2]:
        server.make_maildir(name)
    assert server.restante("quota", USERS[1], "--messages", "1").returncode == 0
    since = len(postfix.log_text())
    for _ in range(2):
        with smtplib.SMTP(HOST, postfix.port) as client:
            client.sendmail("<>", [f"{name}@tcp.example" for name in (USERS[0], USERS[1], "nobody")],
                            b"Subject: number 0\r\n\r\nx\r\n")
        postfix.wait_until_empty()
    log = postfix.log_text()[since:]
    assert log.count("status=sent (250 2.0.0 delivered)") == 3
    assert "550 5.1.1 no such mailbox here" in log and "552 5.2.2 mailbox is over quota" in log
    assert [len(lmtp.mail_in(server.mail / name)) for name in USERS[:2]] == [2, 1]
