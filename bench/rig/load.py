# SPDX-License-Identifier: MIT
"""The load generator against a server, and what is measured meanwhile."""
import contextlib
import dataclasses
import json
import re
import resource
import signal
import subprocess
import time

from . import tree
from .server import Failure

SETTLE_SECONDS = 1.0  # between the last login and a look at the memory
HOLD_SECONDS = 900  # the longest a server may take to let everybody in
OWN_FILES = 64  # of a load generator, beside its connections
PORTS = 25000  # connections from one address to one port
WARM_WINDOW = 32  # one by one, a server that sends a reply in two parts waits 40 ms for an acknowledgement each time
LINE = re.compile(r"holding (\d+) sessions\n")


def processes_for(connections):
    """Load generators that hold so many, by the limit on open files, which they may not be able to raise."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return -(-connections // (hard - OWN_FILES))


class Load:
    def __init__(self, program):
        self.program = program

    def command(self, server, work, *more, accounts=None):
        words = [*server.prefix(), self.program, "--json", "--accounts", accounts or server.maildrops.file(work.mail),
                 "--profile", work.profile, "--tls", work.tls, "--connections", str(work.connections), "--window",
                 str(work.window), "--passes", str(work.passes)]
        if work.resume:
            words.append("--resume")
        if work.profile == "drain":
            words.append("--delete-mail")
        return [*words, *more, "127.0.0.1", str(server.ports[work.tls])]

    @staticmethod
    def result(server, work, text, code):
        result = json.loads(text) if text else {"errors": 1, "errors_by_kind": {}}
        if code or result["errors"]:
            examples = "; ".join(f"{kind}: {fault['example']}" for kind, fault in result["errors_by_kind"].items())
            raise Failure(f"{server.name}, {work.name}: {result['errors']} sessions failed, exit code {code}: {examples}")
        return result

    def run(self, server, work, *more):
        run = subprocess.run(self.command(server, work, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             check=False)
        if not run.stdout:
            raise Failure(f"{server.name}, {work.name}: {run.stderr.strip()}")
        return self.result(server, work, run.stdout, run.returncode)

    def warm(self, server, work):
        """Uses every account once: indexes are made, verified logins remembered, messages in the page cache."""
        profile = "fetch" if work.profile == "drain" else work.profile
        once = dataclasses.replace(work, passes=1, window=WARM_WINDOW, profile=profile, connections=min(4, work.connections))
        self.run(server, once, "--sessions", str(len(server.maildrops.accounts[work.mail])))

    def measure(self, server, work, seconds):
        """One round: CPU time of the server's processes per unit of work."""
        if work.profile == "drain":
            server.refill(work.mail)
            self.warm(server, work)
        elif work.cold:
            server.forget(work.mail)
        before = server.cpu_seconds()
        accounts = len(server.maildrops.accounts[work.mail])
        result = self.run(server, work, *(["--sessions", str(accounts)] if work.once else ["--seconds", str(seconds)]))
        cpu = server.cpu_seconds() - before
        if not cpu:
            raise Failure(f"{server.name}, {work.name}: too little was done to be measured; give more --seconds")
        result["cpu_seconds"] = round(cpu, 2)
        result["value"] = result["octets"] / 1e6 / cpu if work.more_is_better else cpu * 1e6 / result["sessions"]
        del result["course"]
        return result

    @contextlib.contextmanager
    def holding(self, server, work):
        """Logs all sessions in; they are silent until the block ends, and must all be there still."""
        members = server.members()
        files = server.maildrops.split(work.mail, work.connections, max(len(members), processes_for(work.connections)))
        sources = [word for number in range(2, 3 + work.connections // PORTS) for word in ("--source", f"127.0.0.{number}")]
        processes = []
        try:
            for number, (path, count) in enumerate(files):
                member = members[number % len(members)]
                command = self.command(member, dataclasses.replace(work, connections=count), *sources, accounts=path)
                processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
            held = [LINE.fullmatch(process.stderr.readline()) for process in processes]
            if all(held) and sum(int(match[1]) for match in held) == work.connections:
                time.sleep(SETTLE_SECONDS)
                yield
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                text, _ = process.communicate(timeout=HOLD_SECONDS)
                self.result(server, work, text, process.returncode)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        if not all(held):
            raise Failure(f"{server.name}, {work.name}: not all {work.connections} sessions could be held")

    def measure_idle(self, server, work):
        """Memory of a silent session, in a server that has just been started. The first of two rounds fills the
        kernel's caches of names and files and the server's indexes, which are nobody's in particular."""
        server.start(work)
        with self.holding(server, work):
            pass
        server.stop()
        server.start(work)
        self.run(server, dataclasses.replace(work, profile="poll", connections=16), "--seconds", "1")
        time.sleep(SETTLE_SECONDS)
        pss, kernel = server.pss_kib(), tree.kernel_kib()
        seen = {}
        with self.holding(server, work):
            pss_held, kernel_held = server.pss_kib(), tree.kernel_kib()
            cpu = server.cpu_seconds()
            time.sleep(SETTLE_SECONDS)
            seen = {"value": (pss_held - pss) / work.connections, "held": work.connections,
                    "servers": len(server.members()), "processes": server.process_count(), "pss_before_kib": pss, "pss_kib": pss_held,
                    "cpu_per_second": round((server.cpu_seconds() - cpu) / SETTLE_SECONDS, 3),
                    "kernel_kib": {kind: round((kernel_held[kind] - kernel[kind]) / work.connections, 2) for kind in kernel}}
        server.stop()
        return seen

    def measure_among(self, server, work, seconds, idle):
        """Like measure(), while others sit there."""
        server.start(dataclasses.replace(idle, connections=work.among))
        self.warm(server, work)
        with self.holding(server, dataclasses.replace(idle, connections=work.among)):
            result = self.measure(server, work, seconds)
        server.stop()
        return result
