# SPDX-License-Identifier: MIT
"""A real Postfix hands mail to `restante deliver`, as the examples in restante-deliver(1) have it: by pipe(8)."""

import os
import smtplib

import pytest

import mailserver
from daemon import HOST, UIDS, serve, until
from maildrops import files

pytestmark = pytest.mark.skipif(mailserver.why_not() is not None, reason=str(mailserver.why_not()))

DOMAIN = "example.com"
NAMES = [f"{name}@{DOMAIN}" for name in ("alice", "full")]
TEXT = b"Subject: x\r\n\r\nFrom here\r\n..\r\n"


@pytest.fixture(scope="module", name="server")
def make_server():
    def prepare(server):
        for name in NAMES:
            server.add_account(name)
    yield from serve(prepare=prepare, certificates=False)


@pytest.fixture(scope="module", name="postfix")
def make_postfix(server):
    service = mailserver.example("restante unix ").replace(
        "/usr/local/bin/restante deliver", f"{server.folder}/postfix/restante deliver -c {server.conf}")
    with_limit = {"restante_destination_recipient_limit": "1"}
    postfix = mailserver.Postfix(server.folder, {DOMAIN: "restante:"}, service, **with_limit)
    postfix.let_deliver(server)
    postfix.become_known("restante-mail", UIDS["keeper"])
    with postfix:
        yield postfix


def send(postfix, *to, sender="sender@example.org", status="sent"):
    """Waits until it is settled, or deferred, and one of its recipients has fared as `status` says. Returns the log of it."""
    since = len(postfix.log_text())
    with smtplib.SMTP(HOST, postfix.port) as client:
        client.sendmail(sender, to, TEXT)
    last = f"status={status}" if status == "deferred" else "removed"
    until(lambda: last in postfix.log_text()[since:], last)
    log = postfix.log_text()[since:]
    assert f"status={status}" in log, log
    return log


def test_delivery(server, postfix):
    home = server.make_maildir(NAMES[0])
    for sender in ("sender@example.org", ""):
        send(postfix, NAMES[0], sender=sender)
        raw, = [path.read_bytes() for path in (home / "new").iterdir()]
        assert raw.startswith(b"Return-Path: <%s>\nDelivered-To: %s\nReceived: " % (sender.encode(), NAMES[0].encode()))
        assert raw.endswith(b"\n\nFrom here\n..\n")
        server.make_maildir(NAMES[0])


def test_what_comes_back(server, postfix):
    """At once, and in our words; the others of the same message get it."""
    home, full = server.make_maildir(NAMES[0]), server.make_maildir(NAMES[1])
    assert server.restante("quota", NAMES[1], "--messages", "1").returncode == 0
    for _ in range(2):
        log = send(postfix, *NAMES, f"nobody@{DOMAIN}", sender="", status="bounced")
    assert log.count("status=sent") == 1 and log.count("status=bounced") == 2, log
    assert "over quota" in log and f"there is no account nobody@{DOMAIN}" in log
    assert (len(files(home)), len(files(full))) == (2, 1)


def test_trouble_passes(server, postfix):
    home = server.make_maildir(NAMES[0])
    (home / "new").rmdir()
    (home / "new").write_bytes(b"")
    send(postfix, NAMES[0], status="deferred")
    assert not os.listdir(home / "tmp")
    (home / "new").unlink()
    postfix.wait_until_empty()
    assert len(files(home)) == 1
