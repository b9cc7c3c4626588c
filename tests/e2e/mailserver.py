# SPDX-License-Identifier: MIT
"""Mail servers of one's own: configuration and queue in a folder, a port on the loopback interface, ended by their process
id. Debian's packages; nothing of the system's own mail is touched. They need root."""

import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from daemon import BUILD, HOST, ROOT, UIDS, WAIT, free_port, until

DAEMONS = pathlib.Path("/usr/lib/postfix/sbin")
QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop", "private", "saved", "trace")
SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


def why_not():
    """Why it cannot be tried here, or None."""
    if not (DAEMONS / "master").exists():
        return "Debian's postfix is not installed"
    return None if os.geteuid() == 0 else "Postfix needs root"


def example(begin):
    """The example in restante-deliver(1) that begins so."""
    for text in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", (ROOT / "man/restante-deliver.1").read_text(encoding="ascii"), re.M | re.S):
        if text.startswith(begin):
            return text
    raise LookupError(begin)


class MailServer:
    """Whoever inherits from it writes its configuration and says by what `command` it is run."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.process, self.command = None, []
        self.log = self.folder / "log"
        self.folder.mkdir()

    def let_deliver(self, server):
        """Lets it run `restante deliver` for the server as its mail user, who is called restante-mail. It may deliver as the
        manual has it; builds lie where others may not go, so the program is copied."""
        for path, mode in ((server.folder / "accounts", 0o750), (server.folder / "accounts/accounts.sqlite", 0o640)):
            os.chown(path, UIDS["auth"], UIDS["keeper"])
            path.chmod(mode)
        for name in ("restante", "restante-deliver"):
            shutil.copy(BUILD / "src/admin" / name, self.folder / name)

    def become_known(self, name, uid):
        """Has it run where /etc/passwd knows this user: with mounts of its own, which a chroot folder cannot have."""
        done = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(done.stderr.strip())
        for file, entry in (("passwd", f"{name}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n"), ("group", f"{name}:x:{uid}:\n")):
            (self.folder / file).write_text(pathlib.Path("/etc", file).read_text(encoding="utf-8") + entry, encoding="utf-8")
        script = 'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$@"'
        self.command = ["unshare", "-m", "sh", "-c", script, self.folder, *self.command]

    def __enter__(self):
        with open(self.folder / "output", "wb") as output:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            start_new_session=True)
        until(lambda: "daemon started" in self.log_text() or self.process.poll() is not None, "the mail server has started")
        assert self.process.poll() is None, (self.folder / "output").read_text() + self.log_text()
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
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def wait_until_empty(self, seconds=120):
        until(lambda: self.waiting() == 0, "everything is delivered\n" + self.log_text()[-3000:], seconds)


class Postfix(MailServer):
    """Takes mail by SMTP for the domains of `transports` and brings it where those say."""

    def __init__(self, folder, transports, services="", **settings):
        super().__init__(folder / "postfix")
        # What `postfix start-fg` comes to, without its checks, which take seconds.
        self.command = [DAEMONS / "master", "-c", self.folder, "-d"]
        self.make_folder("data")
        for name in QUEUES:
            self.make_folder(f"queue/{name}")
        self.make_folder("queue/public", 0o710, "postdrop")
        (self.folder / "queue/pid").mkdir()
        (self.folder / "transports").write_text("".join(f"{domain} {transport}\n" for domain, transport in transports.items()),
                                                encoding="ascii")
        options = {
            "compatibility_level": "3.6", "queue_directory": self.folder / "queue", "data_directory": self.folder / "data",
            "daemon_directory": DAEMONS, "mail_owner": "postfix", "setgid_group": "postdrop", "myhostname": "mx.example.org",
            "mydestination": "", "inet_interfaces": HOST, "inet_protocols": "ipv4", "mynetworks": "127.0.0.0/8",
            "relay_domains": " ".join(transports), "transport_maps": f"texthash:{self.folder}/transports",
            "relay_recipient_maps": "", "alias_maps": "", "alias_database": "", "smtpd_recipient_restrictions": "permit_mynetworks, reject",
            "maillog_file": self.log, "maillog_file_prefixes": self.folder, "message_size_limit": "20000000",
            "minimal_backoff_time": "1s", "maximal_backoff_time": "1s", "queue_run_delay": "1s", "smtputf8_enable": "no",
            "local_header_rewrite_clients": "", "notify_classes": "", **settings,
        }
        (self.folder / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in options.items()), encoding="utf-8")
        (self.folder / "master.cf").write_text(SERVICES.format(port=self.port) + services, encoding="ascii")

    def make_folder(self, name, mode=0o700, group=None):
        path = self.folder / name
        path.mkdir(parents=True)
        path.chmod(mode)
        shutil.chown(path, "postfix", group)

    def waiting(self):
        """Messages in its queue."""
        return sum(len(files) for name in ("incoming", "active", "deferred", "maildrop", "hold")
                   for _, _, files in os.walk(self.folder / "queue" / name))
