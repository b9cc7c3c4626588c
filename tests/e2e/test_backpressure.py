# SPDX-License-Identifier: MIT
"""A client that stops reading costs a bounded buffer, and a thousand of them do not slow the others."""

import os
import pathlib
import re
import resource
import socket
import statistics
import subprocess
import time

import pytest

from daemon import HOST, Client, Daemon, until
from maildrops import fill

CLIENTS = 1000
KEPT = 80 << 10     # octets of memory that a stalled client may cost its worker, all included
QUEUED = 256 << 10  # and the kernel, on average
POLLS = 100
LINES = 150000
SLOW = 0.1          # seconds a poll may take on a busy machine; short of TCP memory it takes 0.2, for a lost segment


def worker_memory(server):
    """Octets of its own that the worker has."""
    text = pathlib.Path(f"/proc/{server.pid_of('worker')}/smaps_rollup").read_text(encoding="ascii")
    return int(re.search(r"Private_Dirty: +(\d+) kB", text)[1]) * 1024


def processor_time(server):
    """Seconds the worker has had."""
    fields = pathlib.Path(f"/proc/{server.pid_of('worker')}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def poll(server):
    """Seconds for a whole session."""
    began = time.monotonic()
    client = Client(server.port)
    client.line()
    client.send(b"USER bob\r\nPASS sesame\r\nSTAT\r\nQUIT\r\n")
    assert client.rest().count(b"+OK") == 4
    client.close()
    return time.monotonic() - began


def polls(server):
    """Median latency, and processor time of one."""
    before = processor_time(server)
    median = statistics.median(poll(server) for _ in range(POLLS))
    return median, (processor_time(server) - before) / POLLS


def stall(server):
    """Has asked for much and reads nothing. The messages need conversion, so that they go through our buffers."""
    client = Client.__new__(Client)
    client.sock, client.kept = socket.socket(), b""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.sock.settimeout(30)
    client.sock.connect((HOST, server.port))
    client.line()
    client.send(b"USER alice\r\nPASS sesame\r\n" + b"RETR 1\r\nRETR 2\r\n" * 20)
    return client


def queued(server):
    """Octets the kernel holds for the clients of the server, with its own overhead."""
    text = subprocess.run(["ss", "-Htmn", "state", "established", f"( sport = :{server.port} )"], check=True,
                          capture_output=True, text=True, timeout=30).stdout
    return sum(int(used) for used in re.findall(r"\bw([0-9]+)", text))


@pytest.fixture(name="server")
def start_server():
    room = CLIENTS + 200
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4 * room:
        pytest.skip("this needs more open files than may be had (ulimit -n)")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4 * room), hard))
    server = Daemon(certificates=False, workers=1, worker=f"max_sessions = {room}", maildrop="sharing = snapshot",
                    limits=f"sessions_per_account = {room}")
    try:
        home = server.add_account("alice")
        for number in (1, 2):
            server.deliver(home, b"Subject: long\n\n" + b"A line of this long message\n" * LINES, f"100000000{number}.long")
        fill(server, server.add_account("bob"), 10)
        yield server.start()
        server.stop()
    finally:
        if server.process:
            server.process.kill()
        server.remove()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_thousand_clients_that_do_not_read(server):
    server.log_in().quit()  # the password is known from now on: its hash is not what is to be measured
    polls(server)
    _, calm_time = polls(server)
    before = worker_memory(server)
    clients = [stall(server) for _ in range(CLIENTS)]
    until(lambda: len(server.lines_with("event=login", "user=alice")) == CLIENTS + 1, "all are in")
    until(lambda: queued(server) > CLIENTS * 16384, "all are being sent to")
    time.sleep(0.5)
    used = processor_time(server)
    time.sleep(1)
    assert processor_time(server) - used < 0.2  # waiting is for nothing
    assert worker_memory(server) - before < CLIENTS * KEPT
    assert queued(server) < CLIENTS * QUEUED
    latency, busy_time = polls(server)
    assert latency < SLOW, latency
    assert busy_time < 2 * calm_time + 0.001, (busy_time, calm_time)
    for client in (clients[0], clients[-1]):  # whether early or late, it goes on where it was
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        assert client.line().startswith(b"+OK") and client.line().startswith(b"+OK")
        assert client.line().startswith(b"+OK")
        assert client.multi_octets().count(b"\r\n") == LINES + 2
    for client in clients:
        client.close()
