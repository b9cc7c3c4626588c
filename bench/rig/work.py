# SPDX-License-Identifier: MIT
"""The work that is measured: one row each, and the two ways to measure it."""
import dataclasses
import json
import re
import signal
import subprocess
import time

from . import tree
from .server import Failure

SETTLE_SECONDS = 1.0  # between the last login and a look at the memory
HOLD_SECONDS = 300  # the longest a server may take to let everybody in


@dataclasses.dataclass(frozen=True)
class Work:
    name: str
    label: str
    mail: str  # a set of rig.mail.SETS
    profile: str
    connections: int
    tls: str = "plain"
    resume: bool = False
    window: int = 1
    passes: int = 1  # so many that the login hardly counts
    target: float = 0  # Restante's ratio to Dovecot that is asked for; idle: KiB for a session

    @property
    def unit(self):
        return {"fetch": "MB per CPU-s", "drain": "MB per CPU-s", "idle": "KiB"}.get(self.profile, "us")

    @property
    def more_is_better(self):
        return self.profile in ("fetch", "drain")


WORKS = [
    Work("poll", "login + STAT + QUIT", "small", "poll", 16, target=4),
    Work("poll-stls", "the same, STLS, full handshake", "small", "poll", 16, "stls"),
    Work("poll-tls", "the same, TLS, full handshake", "small", "poll", 16, "tls"),
    Work("poll-tls-resumed", "the same, TLS, resumed", "small", "poll", 16, "tls", resume=True),
    Work("uidl-100", "login + CAPA + UIDL + QUIT, 100 messages", "small", "uidl", 16),
    Work("uidl-10000", "the same, 10,000 messages, warm index", "many", "uidl", 4, target=10),
    Work("retr-4k", "RETR 4 KiB, one by one", "small", "fetch", 16, passes=10),
    Work("retr-4k-pipelined", "RETR 4 KiB, pipelined", "small", "fetch", 16, window=32, passes=20, target=4),
    Work("retr-75k", "RETR 75 KiB, one by one", "medium", "fetch", 8, passes=4),
    Work("retr-75k-pipelined", "RETR 75 KiB, pipelined", "medium", "fetch", 8, window=16, passes=4, target=4),
    Work("retr-10m", "RETR 10 MiB", "large", "fetch", 4, passes=2, target=4),
    Work("retr-4k-tls", "RETR 4 KiB, pipelined, TLS", "small", "fetch", 16, "tls", window=32, passes=20, target=3),
    Work("retr-75k-tls", "RETR 75 KiB, pipelined, TLS", "medium", "fetch", 8, "tls", window=16, passes=4, target=3),
    Work("retr-10m-tls", "RETR 10 MiB, TLS", "large", "fetch", 4, "tls", passes=2, target=3),
    Work("idle", "idle session of 2,000, plain", "idle", "idle", 2000, target=8),
    Work("idle-tls", "idle session of 2,000, TLS", "idle", "idle", 2000, "tls", target=40),
    Work("idle-10000", "idle session of 10,000, plain", "idle", "idle", 10000, target=8),
    Work("idle-10000-tls", "idle session of 10,000, TLS", "idle", "idle", 10000, "tls", target=40),
]


class Load:
    """restante-bench against a server."""

    def __init__(self, program):
        self.program = program

    def command(self, server, work, *more):
        command = [self.program, "--json", "--accounts", server.maildrops.file(work.mail), "--profile", work.profile,
                   "--tls", "none" if work.tls == "plain" else work.tls, "--connections", str(work.connections), "--window", str(work.window),
                   "--passes", str(work.passes), *(["--resume"] if work.resume else []), *more]
        return [*command, "127.0.0.1", str(server.ports[work.tls])]

    def result(self, server, work, text, code):
        result = json.loads(text) if text else {"errors": 1, "errors_by_kind": {}}
        if code or result["errors"]:
            raise Failure(f"{server.name}, {work.name}: {result['errors']} sessions failed, exit code {code}: "
                          + "; ".join(f"{kind}: {fault['example']}" for kind, fault in result["errors_by_kind"].items()))
        return result

    def run(self, server, work, *more):
        run = subprocess.run(self.command(server, work, *more), stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True, check=False)
        return self.result(server, work, run.stdout, run.returncode)

    def warm(self, server, work):
        """Uses every account once: indexes are made, verified logins remembered, messages in the page cache."""
        self.run(server, dataclasses.replace(work, passes=1), "--sessions",
                 str(len(server.maildrops.accounts[work.mail])))

    def measure(self, server, work, seconds):
        """One round: CPU time of the server's processes per unit of work."""
        before = tree.cpu_seconds(server.pid)
        result = self.run(server, work, "--seconds", str(seconds))
        result["cpu_seconds"] = round(tree.cpu_seconds(server.pid) - before, 2)
        result["value"] = (result["octets"] / 1e6 / result["cpu_seconds"] if work.more_is_better else
                           result["cpu_seconds"] * 1e6 / result["sessions"])
        return result

    def hold(self, server, work, look):
        """Logs all sessions in, calls look() while they are silent, and lets them go."""
        with subprocess.Popen(self.command(server, work), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as process:
            line = process.stderr.readline()
            held = re.fullmatch(r"holding (\d+) sessions\n", line)
            seen = None
            if held and int(held[1]) == work.connections:
                time.sleep(SETTLE_SECONDS)
                seen = look()
            process.send_signal(signal.SIGTERM)
            text, _ = process.communicate(timeout=HOLD_SECONDS)
        self.result(server, work, text, process.returncode)
        return seen

    def measure_idle(self, server, work):
        """Memory of a silent session, in a server that has just been started. The first of two rounds fills the
        kernel's caches of names and files and the server's indexes, which are nobody's in particular."""
        server.start()
        self.hold(server, work, lambda: None)
        server.stop()
        server.start()
        self.run(server, dataclasses.replace(work, profile="poll", connections=16), "--seconds", "1")
        time.sleep(SETTLE_SECONDS)
        pss, kernel = tree.pss_kib(server.pid), tree.kernel_kib()
        pss_held, kernel_held = self.hold(server, work, lambda: (tree.pss_kib(server.pid), tree.kernel_kib()))
        processes = len(tree.stats_of_tree(server.pid))
        server.stop()
        return {"value": (pss_held - pss) / work.connections, "held": work.connections,
                "processes": processes, "pss_before_kib": pss, "pss_kib": pss_held,
                "kernel_kib": {kind: round((kernel_held[kind] - kernel[kind]) / work.connections, 2) for kind in kernel}}
