# SPDX-License-Identifier: MIT
"""Workers that were taken over: the real master starts tests/hostile's program as its first worker.

Each does one wrong thing. It must be ended with the reason in the log and replaced, while the other worker's session
goes on and new clients are served; auth and keeper must still be the same processes.
"""

import os
import re
import signal
import subprocess

import pytest

import lmtp
from daemon import BUILD, Client, until

HOSTILE = BUILD / "tests/hostile/hostile-worker"
MESSAGE = b"Subject: one\r\n\r\nbody\r\n"


def modes():
    if not HOSTILE.exists():
        return [("no hostile-worker in the build folder", "")]
    lines = subprocess.run([HOSTILE, "--list"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [tuple(line.split("\t")) for line in lines]


def make_libexec(folder, mode):
    """Helper programs, of which the worker is hostile the first time it is started."""
    libexec = folder / "libexec"
    libexec.mkdir()
    for name in ("restante-auth", "restante-keeper"):
        (libexec / name).symlink_to(BUILD / "src/server" / name)
    worker = libexec / "restante-worker"
    worker.write_text(f"#!/bin/sh\n/bin/mkdir {folder}/once 2>/dev/null && exec {HOSTILE} {mode}\n"
                      f"exec {BUILD}/src/server/restante-worker\n", encoding="ascii")
    worker.chmod(0o755)
    return libexec


def honest_client(server):
    """A session of bob's at the honest worker: the other accepts nobody, so try until there is a greeting."""
    def try_once():
        client = Client(server.port)
        client.sock.settimeout(0.3)
        try:
            client.greeting = client.line()
        except TimeoutError:
            client.close()
            return None
        client.sock.settimeout(30)
        return client
    client = until(try_once, "a greeting")
    client.log_in("bob", "secret")
    return client


def poll(server, name):
    """Logs in and out; the maildrop may still be busy with the end of the session before."""
    def try_once():
        client = server.connect()
        client.ok(f"USER {name}")
        reply = client.ask("PASS secret")
        client.quit()
        assert reply.startswith(b"+OK") or b"[IN-USE]" in reply
        return reply.startswith(b"+OK")
    until(try_once, f"{name}'s maildrop is free")


def helpers(server):
    return {name: pid for name, pid in server.started() if not name.startswith("worker")}


@pytest.mark.parametrize("mode,offence", modes())
def test_hostile_worker(make_daemon, mode, offence):
    assert HOSTILE.exists(), f"{HOSTILE} is not built"
    server = make_daemon(certificates=False)
    if mode.startswith("deliver-"):
        lmtp.settings(server)
    for name in ("alice", "bob"):
        server.deliver(server.add_account(name, "secret"), MESSAGE, "1.one")
    server.libexec = make_libexec(server.folder, mode)
    server.start()
    hostile = re.search(r"proc=(worker\.\d+)", server.wait_for(f"hostile: {mode}"))[1]
    before = helpers(server)
    client = honest_client(server)
    os.kill(dict(server.started())[hostile], signal.SIGUSR1)
    if offence:
        reason = f'reason="{offence}"' if " " in offence else f"reason={offence}"
        server.wait_for("event=killed", f"child={hostile} ", reason)
        server.wait_for("event=ended", f"child={hostile} ")
        until(lambda: len([name for name, _ in server.started() if name.startswith("worker")]) == 3, "its successor")
    elif mode != "escape":  # it does no harm
        server.wait_for("hostile: all is said")
        if mode == "deliver-keeps-writing":
            held = [path.read_bytes() for path in (server.mail / "alice" / "new").iterdir()]
            assert sorted(held) == [MESSAGE, b"good\n"], "what was delivered is changed"
    else:  # nor this, and it is not noticed
        server.wait_for("every escape was tried")
        assert len(server.lines_with("event=escape", "result=denied")) > 20
        assert not server.lines_with("event=escape", "result=POSSIBLE")
    # Others notice nothing.
    assert client.ask("STAT") == b"+OK 1 22\r\n"
    assert client.fetch("RETR 1") == MESSAGE
    client.quit()
    for _ in range(8 if offence else 0):  # both workers are honest now
        poll(server, "alice")
    assert helpers(server) == before
