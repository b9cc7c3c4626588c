# SPDX-License-Identifier: MIT
"""Workers that were taken over: the real master starts tests/hostile's program as its first worker.

Each does one wrong thing. It must be ended with the reason in the log and replaced, while the other worker's session
goes on and new clients are served; keeper and auth must still be the same processes.
"""

import os
import pathlib
import poplib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RESTANTE_BUILD", ROOT / "build")).resolve()
SERVER = BUILD / "src/server"
HOSTILE = BUILD / "tests/hostile/hostile-worker"
UIDS = {"worker": 61184, "auth": 61185, "keeper": 61186}  # none of them has an entry in passwd
WAIT = 20  # seconds until a test gives up waiting


def modes():
    if not HOSTILE.exists():
        return [("no hostile-worker in the build folder", "")]
    lines = subprocess.run([HOSTILE, "--list"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [tuple(line.split("\t")) for line in lines]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def as_user(kind):
    return f'user = "{UIDS[kind]}"' if os.geteuid() == 0 else ""


class Server:
    """restanted with two workers, the first of them hostile in the way `mode`."""

    def __init__(self, folder, mode):
        self.folder = folder
        self.port = free_port()
        self.log = folder / "log"
        self.libexec = folder / "libexec"
        self.libexec.mkdir()
        for name in ("restante-auth", "restante-keeper"):
            (self.libexec / name).symlink_to(SERVER / name)
        worker = self.libexec / "restante-worker"
        worker.write_text(f"#!/bin/sh\n/bin/mkdir {folder}/once 2>/dev/null && exec {HOSTILE} {mode}\n"
                          f"exec {SERVER}/restante-worker\n", encoding="ascii")
        worker.chmod(0o755)
        self.conf = folder / "restanted.conf"
        self.conf.write_text(
            f'listen {{ address = "127.0.0.1:{self.port}" }}\n'
            f'worker {{ processes = 2 {as_user("worker")} }}\n'
            f'auth {{ accounts = "{folder}/accounts/accounts.sqlite" {as_user("auth")} }}\n'
            f'keeper {{ {as_user("keeper")} }}\n'
            f'mail {{ root = "{folder}/mail" location = "maildir:{folder}/mail/%u" }}\n'
            f'log {{ file = "{self.log}" }}\n', encoding="ascii")
        for name, kind in (("accounts", "auth"), ("mail", "keeper")):
            (folder / name).mkdir()
            self.give(folder / name, kind)
        for name in ("alice", "bob"):
            self.make_account(name)
        self.process = None

    @staticmethod
    def give(path, kind):
        if os.geteuid() == 0:
            os.chown(path, UIDS[kind], UIDS[kind])

    def make_account(self, name):
        subprocess.run([BUILD / "src/admin/restante", "user", "add", name, "-c", self.conf], input="secret\n",
                       capture_output=True, text=True, check=True)
        home = self.folder / "mail" / name
        for path in (home, home / "new", home / "cur", home / "tmp"):
            path.mkdir()
            self.give(path, "keeper")
        (home / "new" / "1.one").write_text("Subject: one\n\nbody\n", encoding="ascii")
        self.give(home / "new" / "1.one", "keeper")

    def __enter__(self):
        environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
        self.process = subprocess.Popen([SERVER / "restanted", "-c", self.conf, "--libexec", self.libexec],
                                        stdout=subprocess.DEVNULL, env=environment)
        self.wait_for("event=serving")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            assert self.process.wait(WAIT) == 0
        finally:
            self.process.kill()

    def lines(self):
        return self.log.read_text(encoding="ascii").splitlines() if self.log.exists() else []

    def wait_for(self, *parts):
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            for line in self.lines():
                if all(part in line for part in parts):
                    return line
            assert self.process.poll() is None, "\n".join(self.lines())
            time.sleep(0.02)
        raise AssertionError(f"not logged: {parts}\n" + "\n".join(self.lines()))

    def started(self, kind):
        """The names and pids of all that were started of this kind."""
        found = [re.search(rf"proc=master event=started child=({kind}\.\d+) pid=(\d+)", line) for line in self.lines()]
        return {match[1]: int(match[2]) for match in found if match}

    def honest_client(self, name):
        """A session at the other worker: the hostile one accepts nobody, so try until there is a greeting."""
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            try:
                client = poplib.POP3("127.0.0.1", self.port, timeout=0.5)
            except TimeoutError:
                continue
            client.sock.settimeout(WAIT)
            client.user(name)
            client.pass_("secret")
            return client
        raise AssertionError("no worker greets")

    def poll(self, name):
        """Logs in and out; a maildrop may still be busy with the end of the session before."""
        until = time.monotonic() + WAIT
        while True:
            client = poplib.POP3("127.0.0.1", self.port, timeout=WAIT)
            try:
                client.user(name)
                client.pass_("secret")
                client.quit()
                return
            except poplib.error_proto as error:
                client.close()
                if b"[IN-USE]" not in error.args[0] or time.monotonic() > until:
                    raise


@pytest.fixture(name="folder")
def make_folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="restante-hostile-"))
    path.chmod(0o755)  # the servers' users must get in
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("mode,offence", modes())
def test_hostile_worker(folder, mode, offence):
    assert HOSTILE.exists(), f"{HOSTILE} is not built"
    with Server(folder, mode) as server:
        hostile = re.search(r"proc=(worker\.\d+)", server.wait_for(f"hostile: {mode}"))[1]
        helpers = {**server.started("auth"), **server.started("keeper")}
        client = server.honest_client("bob")
        os.kill(server.started("worker")[hostile], signal.SIGUSR1)
        if not offence:  # it can do no harm, so it is not noticed
            server.wait_for("every escape was tried")
            tried = [line for line in server.lines() if "event=escape" in line]
            assert len(tried) > 20
            assert not [line for line in tried if "result=denied" not in line]
        else:
            reason = f'reason="{offence}"' if " " in offence else f"reason={offence}"
            server.wait_for("event=killed", f"child={hostile} ", reason)
            server.wait_for("event=ended", f"child={hostile} ", "signal=9")
            until = time.monotonic() + WAIT
            while len(server.started("worker")) < 3 and time.monotonic() < until:
                time.sleep(0.02)
            assert len(server.started("worker")) == 3
        # Others notice nothing.
        assert client.stat() == (1, 22)
        assert client.retr(1)[1] == [b"Subject: one", b"", b"body"]
        client.quit()
        if offence:
            for _ in range(8):  # both workers are honest now, and alice's maildrop is free
                server.poll("alice")
        assert {**server.started("auth"), **server.started("keeper")} == helpers
