# SPDX-License-Identifier: MIT
"""A real Exim brings mail by a pipe to `restante deliver`. It runs as the mail user, in a folder of its own, at a port
of the loopback interface; ./dev unpacks Debian's package into build/exim, as it can not be installed beside Postfix."""

import email
import os
import shutil
import signal
import smtplib
import subprocess
import threading
import time

import pytest

from daemon import BUILD, HOST, IS_ROOT, ROOT, UIDS, WAIT, free_port, serve, until
from maildrops import files, log_in_again

EXIM = ROOT / "build/exim/usr/sbin/exim4"
MESSAGES, SENDERS = 100, 4
USER = UIDS["keeper"]
CONFIGURATION = """\
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
accounts:
  driver = accept
  local_parts = lsearch;{folder}/accounts
  transport = restante_deliver
begin transports
restante_deliver:
  driver = pipe
  command = {folder}/restante deliver -c {conf} -- $local_part_data
  return_path_add
  user = {user}
  group = {user}
  message_prefix =
  message_suffix =
  temp_errors = 75
  return_fail_output
begin retry
* * F,1h,1s
"""

pytestmark = [pytest.mark.skipif(not EXIM.exists(), reason="Exim is not unpacked (./dev test does it)"),
              pytest.mark.skipif(not IS_ROOT, reason="only root can let Exim find its user")]


class Exim:
    def __init__(self, server):
        self.folder = server.folder / "exim"
        self.port = free_port()
        self.process = None
        (self.folder / "spool").mkdir(parents=True)
        for path in (self.folder, self.folder / "spool"):
            os.chown(path, USER, USER)
        for name in ("restante", "restante-deliver"):  # builds lie where others may not go
            shutil.copy(BUILD / "src/admin" / name, self.folder / name)
        (self.folder / "conf").write_text(CONFIGURATION.format(folder=self.folder, port=self.port, conf=server.conf, user=USER),
                                          encoding="ascii")
        (self.folder / "accounts").write_text("alice: alice\n", encoding="ascii")
        for name, entry in (("passwd", f"Debian-exim:x:{USER}:{USER}::/nonexistent:/usr/sbin/nologin\n"),
                            ("group", f"Debian-exim:x:{USER}:\n")):
            with open(f"/etc/{name}", encoding="utf-8") as file:
                (self.folder / name).write_text(file.read() + entry, encoding="utf-8")

    def __enter__(self):
        script = ('mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && '
                  'exec setpriv --reuid "$1" --regid "$1" --clear-groups "$2" -C "$0/conf" -bdf -q1s')
        with open(self.folder / "output", "wb") as output:
            self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", script, self.folder, str(USER), EXIM],
                                            stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True)
        until(lambda: "daemon started" in self.log_text() or self.process.poll() is not None, "Exim has started")
        assert self.process.poll() is None, (self.folder / "output").read_text()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(WAIT)
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)  # its own session: nobody else's
            except ProcessLookupError:
                pass

    def log_text(self):
        log = self.folder / "mainlog"
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    def waiting(self):
        spool = self.folder / "spool/input"
        return len(list(spool.iterdir())) if spool.exists() else 0


@pytest.fixture(scope="module", name="server")
def make_server():
    for server in serve():
        # As restante-deliver(1) has it for the mail user.
        for path, mode in ((server.folder / "accounts", 0o750), (server.folder / "accounts/accounts.sqlite", 0o640)):
            os.chown(path, UIDS["auth"], USER)
            path.chmod(mode)
        yield server


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
