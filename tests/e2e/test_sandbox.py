# SPDX-License-Identifier: MIT
"""What the processes of a running server may do, read from /proc of the real ones; bounds on sessions and descriptors; and that the
time of a refused login tells nothing about who has an account.

What a taken-over worker is denied is in test_hostile.py.
"""

import os
import pathlib
import re
import statistics

import pytest

from daemon import UIDS, Client, until

KINDS = {"worker", "auth", "keeper"}
ROUNDS = 9  # logins of each kind of which the median counts

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes as other users, and sees their descriptors")


def proc(pid, name):
    return pathlib.Path(f"/proc/{pid}/{name}")


def status(pid):
    lines = proc(pid, "status").read_text(encoding="ascii", errors="replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def limit(pid, name):
    text = proc(pid, "limits").read_text(encoding="ascii")
    return re.search(rf"^{name} +(\S+) +(\S+)", text, re.M).groups()


def descriptors(pid):
    found = {}
    for fd in proc(pid, "fd").iterdir():
        try:
            found[fd.name] = os.readlink(fd)
        except FileNotFoundError:
            pass  # closed since it was listed
    return found


def by_kind(daemon):
    """[(kind, pid)] of every child; each kind is there."""
    found = [(name.partition(".")[0], pid) for name, pid in daemon.children().items()]
    assert {kind for kind, _ in found} == KINDS
    return found


# --- privileges ---

def test_no_way_back(daemon):
    for kind, pid in by_kind(daemon):
        facts = status(pid)
        assert facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2", (kind, facts)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(facts[name], 16) == 0 or os.geteuid() != 0, (kind, name)
        assert limit(pid, "Max core file size") == ("0", "0")
        if kind == "worker":
            assert limit(pid, "Max processes") == ("0", "0")


@as_root
def test_users(daemon):
    for kind, pid in by_kind(daemon):
        facts, uid = status(pid), str(UIDS[kind])
        assert facts["Uid"].split() == [uid] * 4 and facts["Gid"].split() == [uid] * 4, kind
        assert facts["Groups"] == "", kind


def test_each_thread_is_confined(daemon, home):
    """Threads that libuv makes for disk and hash come after the fences."""
    daemon.deliver(home, b"Subject: x\n\n", "1.one")
    with daemon.log_in() as client:
        client.ok("DELE 1")
        client.quit()
    count = 0
    for kind, pid in by_kind(daemon):
        for task in proc(pid, "task").iterdir():
            count += 1
            facts = status(f"{pid}/task/{task.name}")
            assert facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2", (kind, task.name)
    assert count > len(daemon.children())


@as_root
def test_root_of_workers_is_empty(make_daemon):
    daemon = make_daemon()
    empty = daemon.folder / "empty"
    empty.mkdir(mode=0o555)
    daemon.settings = {"worker": f'empty_root = "{empty}"'}
    daemon.write_configuration()
    home = daemon.add_account("alice")
    daemon.deliver(home, b"Subject: one\n\nbody\n", "1.one")
    daemon.start()
    for kind, pid in by_kind(daemon):
        root = "/" if kind != "worker" else str(empty)
        assert os.readlink(proc(pid, "root")) == root
        assert kind != "worker" or os.readlink(proc(pid, "cwd")) == root
    for over in ("plain", "stls", "tls"):
        client = daemon.log_in(over=over)
        assert client.fetch("RETR 1") == b"Subject: one\r\n\r\nbody\r\n"
        client.quit()


# --- descriptors ---

HARMLESS = re.compile(r"(socket|pipe):\[\d+\]|anon_inode:\[(eventpoll|eventfd|io_uring)\]|/dev/null")


@as_root
def test_worker_holds_no_file(daemon, home):
    """Not even after it has sent messages; while it sends one, that one alone, for reading."""
    for number in range(5):
        daemon.deliver(home, b"Subject: x\n\nbody\n", f"{number}.M")
    big = daemon.deliver(home, b"Subject: big\n\n" + b"x" * 76 + b"\n" * 2**23, "9.big")
    workers = [pid for kind, pid in by_kind(daemon) if kind == "worker"]
    client = daemon.log_in()
    for number in range(5, 0, -1):  # in this order nothing is opened ahead of the client
        client.fetch(f"RETR {number}")
    assert all(HARMLESS.fullmatch(what) for pid in workers for what in descriptors(pid).values())
    client.send(b"RETR 6\r\n")
    client.line()  # and reads no further: the socket is full
    held = [what for pid in workers for what in descriptors(pid).values() if not HARMLESS.fullmatch(what)]
    assert held == [str(big)]
    client.close()
    until(lambda: all(HARMLESS.fullmatch(what) for pid in workers for what in descriptors(pid).values()), "the file's end")


@as_root
def test_descriptors_come_back(daemon, home):
    """Sessions of every end leave nothing open, in any process."""
    daemon.deliver(home, b"Subject: x\n\nbody\n", "1.one")
    daemon.log_in().quit()
    pids = [daemon.process.pid, *daemon.children().values()]
    until(lambda: daemon.lines_with("event=end"), "the session's end")
    before = {pid: len(descriptors(pid)) for pid in pids}
    for number in range(30):
        client = daemon.connect(("plain", "stls", "tls")[number % 3])
        if number % 4:
            client.ok("USER alice")
            client.ask("PASS sesame" if number % 4 > 1 else "PASS wrong")
        if number % 4 == 3:
            client.ask("RETR 1")
        client.close()
        until(lambda: len(daemon.lines_with("event=end")) > number, "the session's end")
    # Not "as many": something may have been open for a moment when they were counted.
    until(lambda: all(len(descriptors(pid)) <= before[pid] for pid in pids), "all descriptors closed")


# --- bounds ---

@pytest.fixture(name="small")
def make_small(make_daemon):
    small = make_daemon(worker="max_sessions = 3")
    text = small.conf.read_text(encoding="ascii")
    small.conf.write_text(text.replace("processes = 2", "processes = 1"), encoding="ascii")
    small.add_account("alice")
    return small.start()


def test_too_many_sessions(small):
    """A clear answer, then the end, and nobody who is in notices."""
    clients = [small.log_in(), small.connect("tls"), small.connect()]
    for _ in range(3):
        with Client(small.port) as refused:
            assert refused.rest() == b"-ERR [SYS/TEMP] too many sessions, try again later\r\n"
        with Client(small.tls_port) as refused:
            assert refused.rest() == b""
    for client in clients:
        client.ok("CAPA")
        client.multi_rest()
    clients.pop().quit()

    def served():
        with Client(small.port) as client:
            return client.line().startswith(b"+OK")
    until(served, "a place that is free again")
    for client in clients:
        client.quit()


# --- time tells nothing ---

def cpu_ns(pid):
    """Of all threads."""
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in proc(pid, "task").iterdir())


def cost_of_refusal(daemon, pid, name, password):
    """CPU of auth, and the reply."""
    before = cpu_ns(pid)
    with daemon.connect() as client:
        client.ok(f"USER {name}")
        reply = client.err(f"PASS {password}")
    return cpu_ns(pid) - before, reply


def test_refusals_cost_the_same(daemon, home):
    """Who has an account, who has none and who is shut out: auth works as long for each, so a client waits as long."""
    daemon.add_account("shut")
    assert daemon.restante("disable", "shut").returncode == 0
    daemon.log_in().quit()  # a remembered login must make no difference
    logins = {"wrong password": ("alice", "wrong"), "unknown": ("nobody", "sesame"), "disabled": ("shut", "sesame"),
              "impossible": ("no/body", "sesame"), "long": ("n" * 200, "p" * 200)}
    costs, replies = {which: [] for which in logins}, set()
    auth = daemon.pid_of("auth")
    for _ in range(ROUNDS):
        for which, login in logins.items():
            cost, reply = cost_of_refusal(daemon, auth, *login)
            costs[which].append(cost)
            replies.add(reply)
    medians = {which: statistics.median(values) for which, values in costs.items()}
    assert len(replies) == 1, replies
    assert max(medians.values()) < 1.5 * min(medians.values()), medians
    assert min(medians.values()) > 1_000_000, "no hash was computed"
