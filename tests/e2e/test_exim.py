# SPDX-License-Identifier: MIT
"""A real Exim brings mail by a pipe to `restante deliver`. It runs as the mail user, in a folder of its own, at a port
of the loopback interface; ./dev unpacks Debian's package into build/exim, as it can not be installed beside Postfix."""

import email
import os
import smtplib
import threading
import time

import pytest

import mailserver
from daemon import HOST, IS_ROOT, ROOT, UIDS, serve, until
from maildrops import files, log_in_again

EXIM = ROOT / "build/exim/usr/sbin/exim4"
MESSAGES, SENDERS = 100, 4
USER = UIDS["keeper"]
CONFIGURATION = """\
exim_path = {exim}
exim_user = {user}
exim_group = {user}
never_users = 0
deliver_drop_privilege
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
pid_file_path = {folder}/pid
primary_hostname = mx.example.org
qualify_domain = example.org
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
disable_ipv6
tls_advertise_hosts =
keep_environment =
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = accept_all
acl_smtp_data = accept_all
begin acl
accept_all:
  accept
begin routers
{router}begin transports
{transport}begin retry
* * F,1h,1s
"""

pytestmark = [pytest.mark.skipif(not EXIM.exists(), reason="Exim is not unpacked (./dev test does it)"),
              pytest.mark.skipif(not IS_ROOT, reason="only root can let Exim find its user")]


class Exim(mailserver.MailServer):
    def __init__(self, server):
        super().__init__(server.folder / "exim")
        self.log = self.folder / "mainlog"
        (self.folder / "spool").mkdir()
        for path in (self.folder, self.folder / "spool"):
            os.chown(path, USER, USER)
        self.let_deliver(server)
        router, transport = mailserver.example("accounts:").replace("/usr/local/bin/restante deliver", f"{self.folder}/restante deliver "
            f"-c {server.conf}").replace("restante-mail", str(USER)).replace("/etc/exim4", str(self.folder)).split("\n\n")
        (self.folder / "conf").write_text(CONFIGURATION.format(exim=EXIM, folder=self.folder, port=self.port, user=USER, router=router + "\n",
                                                               transport=transport), encoding="ascii")
        (self.folder / "accounts").write_text("".join(f"{name}: {name}\n" for name in ("alice", "bob", "nobody")), encoding="ascii")
        self.command = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", EXIM, "-C", self.folder / "conf",
                        "-bdf", "-q1s"]
        self.become_known("Debian-exim", USER)

    def waiting(self):
        spool = self.folder / "spool/input"
        return len(list(spool.iterdir())) if spool.exists() else 0


@pytest.fixture(scope="module", name="server")
def make_server():
    yield from serve(prepare=lambda server: server.add_account("bob"))


@pytest.fixture(scope="module", name="exim")
def make_exim(server):
    with Exim(server) as exim:
        yield exim


def send(exim, numbers, recipient="alice@example.org", sender="alice@example.org"):
    with smtplib.SMTP(HOST, exim.port) as client:
        for number in numbers:
            client.sendmail(sender, [recipient], f"Subject: message {number}\n\nFrom here\n.\ntext {number}\n")


def test_many_messages_while_a_robot_reads(server, exim):
    home = server.make_maildir("alice")
    senders = [threading.Thread(target=send, args=(exim, range(part, MESSAGES, SENDERS))) for part in range(SENDERS)]
    for sender in senders:
        sender.start()
    fetched, end = [], time.monotonic() + 60
    while any(sender.is_alive() for sender in senders) or exim.waiting() or files(home):
        assert time.monotonic() < end, exim.log_text()[-3000:]
        client = log_in_again(server)
        for number in range(1, len(client.multi("LIST")) + 1):
            message = email.message_from_bytes(client.fetch(f"RETR {number}"))
            assert message["Return-Path"] == "<alice@example.org>"
            fetched.append(int(message["Subject"].split()[1]))
            assert message.get_payload() == f"From here\r\n.\r\ntext {fetched[-1]}\r\n"
            client.ok(f"DELE {number}")
        client.quit()
    assert sorted(fetched) == list(range(MESSAGES)), exim.log_text()[-3000:]
    assert not os.listdir(home / "tmp")


def mail_in(home):
    return [email.message_from_bytes(path.read_bytes()) for path in (home / "new").iterdir()]


def test_what_comes_back(server, exim):
    """No such account, and one that is full: the sender hears at once, in our words."""
    home, full = server.make_maildir("alice"), server.make_maildir("bob")
    assert server.restante("quota", "bob", "--messages", "1").returncode == 0
    send(exim, range(2), "bob@example.org")
    send(exim, [2], "nobody@example.org")
    until(lambda: len(files(home)) == 2 and not exim.waiting(), "both have come back\n" + exim.log_text()[-3000:])
    assert [one["Subject"] for one in mail_in(full)] in (["message 0"], ["message 1"])
    assert [one["Return-Path"] for one in mail_in(home)] == ["<>", "<>"]
    bounces = [one.as_string() for one in mail_in(home)]
    assert any("account bob: over quota" in one for one in bounces) and any("there is no account nobody" in one for one in bounces)
    server.restante("quota", "bob", "--messages", "default")


def test_trouble_passes(server, exim):
    """What is nobody's fault is tried again."""
    home = server.make_maildir("bob")
    (home / "new").rmdir()
    (home / "new").write_bytes(b"")
    since = len(exim.log_text())
    send(exim, [7], "bob@example.org")
    until(lambda: " == bob@example.org " in exim.log_text()[since:], "it is deferred")
    assert exim.waiting() and not os.listdir(home / "tmp")
    (home / "new").unlink()
    until(lambda: not exim.waiting(), "it is delivered")
    assert [one["Subject"] for one in mail_in(home)] == ["message 7"] and " ** " not in exim.log_text()[since:]
