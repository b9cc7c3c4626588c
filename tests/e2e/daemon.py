# SPDX-License-Identifier: MIT
"""A real restanted in a temporary folder, for the end-to-end tests.

Nothing here is shared between tests but the code: each daemon has its own ports, accounts, Maildirs, certificates and log,
and is ended by process id.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RESTANTE_BUILD", ROOT / "build")).resolve()
UIDS = {"worker": 61184, "auth": 61185, "keeper": 61186}  # none of them has an entry in passwd
WAIT = 30  # seconds until a test gives up waiting
PASSWORD = "correct horse"  # of every account, unless a test says otherwise
AS_ROOT = os.geteuid() == 0


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_until(condition, what):
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {WAIT} s in vain: {what}")


def make_certificate(folder, name, kind="ec"):
    """Writes NAME.KIND.crt and NAME.KIND.key for host NAME; returns both paths."""
    chain, key = folder / f"{name}.{kind}.crt", folder / f"{name}.{kind}.key"
    new = ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(["openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", *new, "-keyout", key, "-out", chain,
                    "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"],
                   check=True, capture_output=True)
    return chain, key


class Daemon:
    """restanted. `options` maps a section to lines that are put into it, e.g. {"limits": "autologout = 2"}."""

    def __init__(self, options=None, certificates=None, processes=2):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="restante-e2e-"))
        self.folder.chmod(0o755)  # the server's users must reach what is theirs below it
        self.options = dict(options or {})
        self.options["worker"] = f"processes = {processes} " + self.options.get("worker", "")
        self.port, self.tls_port = free_port(), free_port()
        self.certificates = certificates or [make_certificate(self.folder, "localhost")]
        self.log = self.folder / "log"
        self.conf = self.folder / "restanted.conf"
        self.mail = self.folder / "mail"
        self.process = None
        for name, kind in (("accounts", "auth"), ("mail", "keeper")):
            (self.folder / name).mkdir()
            self.give(self.folder / name, kind)
        self.write_conf()

    # --- before the start ---

    def section(self, name, text=""):
        user = f'user = "{UIDS[name]}" ' if AS_ROOT and name in UIDS else ""
        return f"{name} {{ {text} {user}{self.options.get(name, '')} }}\n"

    def write_conf(self):
        lines = [f'listen {{ address = "127.0.0.1:{self.port}" }}\n',
                 f'listen {{ address = "127.0.0.1:{self.tls_port}" tls = yes }}\n']
        lines += [f'certificate {{ chain = "{chain}" key = "{key}" }}\n' for chain, key in self.certificates]
        lines += [self.section("worker"), self.section("limits"), self.section("keeper"),
                  self.section("auth", f'accounts = "{self.folder}/accounts/accounts.sqlite"'),
                  self.section("mail", f'root = "{self.mail}" location = "maildir:{self.mail}/%u"'),
                  self.section("log", f'file = "{self.log}"')]
        self.conf.write_text("".join(lines), encoding="utf-8")

    @staticmethod
    def give(path, kind="keeper"):
        if AS_ROOT:
            os.chown(path, UIDS[kind], UIDS[kind], follow_symlinks=False)

    def restante(self, *arguments, **more):
        return subprocess.run([BUILD / "src/admin/restante", *arguments], text=True, capture_output=True, **more)

    def add_account(self, name, messages=(), password=PASSWORD):
        """An account and its Maildir with these messages (octets), in this order; returns the Maildir."""
        done = self.restante("user", "add", name, "-c", self.conf, "--password-stdin", input=password + "\n")
        assert done.returncode == 0, done.stderr
        home = self.mail / name
        for path in (home, home / "new", home / "cur", home / "tmp"):
            path.mkdir()
            self.give(path)
        for number, message in enumerate(messages, 1):
            self.deliver(home, message, f"{1000000000 + number}.M{number}.host")
        return home

    def deliver(self, home, message, name):
        """Puts a message into new/ as an MTA does: written in tmp/, then moved."""
        path = home / "tmp" / name
        path.write_bytes(message)
        self.give(path)
        path.rename(home / "new" / name)
        return home / "new" / name

    # --- life ---

    def start(self):
        environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
        self.process = subprocess.Popen([BUILD / "src/server/restanted", "-c", self.conf], env=environment,
                                        stdout=subprocess.DEVNULL, stderr=open(self.folder / "stderr", "ab"))
        self.wait_for("event=serving")
        return self

    def stop(self):
        """Ends it in order, and looks for what must not be: a sanitizer's report, a process left."""
        children = self.children()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(WAIT)
        finally:
            self.process.kill()
        assert status == 0
        wait_until(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in children), "the children's end")
        for text in (self.log_text(), (self.folder / "stderr").read_text(errors="replace")):
            assert not re.search(r"Sanitizer|runtime error:", text), text

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        try:
            self.stop()
        except AssertionError:
            if kind is None:
                raise
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def children(self, kind=None):
        """The process ids of the living children: all, or those named restante-KIND."""
        path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in path.read_text(encoding="ascii").split()]
        return [pid for pid in pids if kind is None or self.name_of(pid) == f"restante-{kind}"]

    @staticmethod
    def name_of(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""

    # --- the log ---

    def log_text(self):
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def lines(self, *parts):
        return [line for line in self.log_text().splitlines() if all(part in line for part in parts)]

    def wait_for(self, *parts, count=1):
        """Waits for `count` log lines that hold all the parts; returns the last of them."""
        def look():
            assert self.process.poll() is None, self.log_text()
            found = self.lines(*parts)
            return len(found) >= count and found[count - 1]
        return wait_until(look, f"log lines with {parts}\n{self.log_text()[-3000:]}")
