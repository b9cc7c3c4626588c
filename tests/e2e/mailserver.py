# SPDX-License-Identifier: MIT
"""A Postfix of one's own: its configuration and queue in a folder, its port on the loopback interface, ended by its process
id. Debian's package; nothing of the system's own mail is touched. Needs root, as Postfix does."""

import os
import pathlib
import shutil
import signal
import subprocess

from daemon import HOST, WAIT, free_port, until

DAEMONS = pathlib.Path("/usr/lib/postfix/sbin")
QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop", "private", "saved", "trace")
SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
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


class Postfix:
    """Takes mail by SMTP for the domains of `transports` and brings it where those say."""

    def __init__(self, folder, transports, **settings):
        self.folder = folder / "postfix"
        self.port = free_port()
        self.log = self.folder / "log"
        self.process = None
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
        (self.folder / "master.cf").write_text(SERVICES.format(port=self.port), encoding="ascii")

    def make_folder(self, name, mode=0o700, group=None):
        path = self.folder / name
        path.mkdir(parents=True)
        path.chmod(mode)
        shutil.chown(path, "postfix", group)

    def __enter__(self):
        with open(self.folder / "output", "wb") as output:
            # What `postfix start-fg` comes to, without its checks, which take seconds.
            self.process = subprocess.Popen([DAEMONS / "master", "-c", self.folder, "-d"], stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=output, start_new_session=True)
        until(lambda: "daemon started" in self.log_text() or self.process.poll() is not None, "Postfix has started")
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

    def waiting(self):
        """Messages in its queue."""
        return sum(len(files) for name in ("incoming", "active", "deferred", "maildrop", "hold")
                   for _, _, files in os.walk(self.folder / "queue" / name))

    def wait_until_empty(self, seconds=120):
        until(lambda: self.waiting() == 0, "Postfix has delivered everything\n" + self.log_text()[-3000:], seconds)
