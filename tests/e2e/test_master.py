# SPDX-License-Identifier: MIT
"""The master's own behaviour: options, a first start that fails, readiness, the log file, its sudden end."""

import os
import pathlib
import signal
import socket
import subprocess

import pytest

from daemon import BUILD, WAIT, until

RESTANTED = BUILD / "src/server/restanted"
EX_USAGE, EX_UNAVAILABLE, EX_CONFIG = 64, 69, 78


def run(*words):
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
    return subprocess.run([RESTANTED, *words], capture_output=True, text=True, check=False, timeout=WAIT,
                          env=environment)


@pytest.fixture(name="server")
def make_server(make_daemon):
    server = make_daemon(certificates=False)
    server.add_account("alice")
    return server


def test_options():
    assert run("--version").stdout.startswith("restanted ")
    assert "--libexec DIR" in run("--help").stdout
    for words in (["--nonsense"], ["more"], ["-c"]):
        done = run(*words)
        assert (done.returncode, done.stdout) == (EX_USAGE, "")
        assert "usage: restanted" in done.stderr


def use_helper(server, name, text):
    """Helpers of which one is this script."""
    libexec = server.folder / "libexec"
    libexec.mkdir()
    for helper in ("restante-worker", "restante-auth", "restante-keeper"):
        (libexec / helper).symlink_to(BUILD / "src/server" / helper)
    (libexec / name).unlink()
    (libexec / name).write_text("#!/bin/sh\n" + text, encoding="ascii")
    (libexec / name).chmod(0o755)
    return libexec


def test_helper_that_cannot_start(server):
    libexec = use_helper(server, "restante-keeper", "echo no such disk >&2\nexit 1\n")
    done = run("-c", server.conf, "--libexec", libexec)
    assert done.returncode == EX_UNAVAILABLE
    assert "ended 5 times before it was ready" in done.stderr
    assert len(server.lines_with("event=ended child=keeper", "status=1")) == 5
    assert len(server.lines_with("proc=keeper", 'event=stderr text="no such disk"')) == 5
    assert "event=serving" not in server.log_text()


def test_helper_without_hope(server):
    (server.folder / "accounts/accounts.sqlite").write_bytes(b"not a database, and longer than its header " * 10)
    done = run("-c", server.conf)
    assert done.returncode == EX_CONFIG
    assert "cannot work with this configuration" in done.stderr
    assert len(server.lines_with("event=started child=auth")) == 1


def test_readiness(server, monkeypatch):
    at = server.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(at))
        manager.settimeout(WAIT)
        monkeypatch.setenv("NOTIFY_SOCKET", str(at))
        server.start()
        assert manager.recv(100) == b"READY=1"
        server.process.send_signal(signal.SIGHUP)
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(100) == b"READY=1"
        server.stop()
        assert manager.recv(100) == b"STOPPING=1"


def test_log_file_is_rotated(server):
    server.start()
    old = server.log.rename(server.folder / "log.1")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("event=serving")
    assert "event=serving" in old.read_text(encoding="ascii")


def test_all_end_with_the_master(server):
    server.start()
    pids = list(server.children().values())
    assert len(pids) == 4
    server.process.kill()
    server.process.wait()
    server.process = None
    until(lambda: not [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()], "children end without their master")


def test_children_survive_the_terminal(server):
    """Ctrl-C and a service manager's SIGTERM to all are for the master, which then ends the others in order."""
    server.start()
    pids = server.children()
    for pid in pids.values():
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGHUP)
    client = server.log_in()
    assert client.quit().startswith(b"+OK")
    assert server.children() == pids
