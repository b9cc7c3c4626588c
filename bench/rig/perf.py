# SPDX-License-Identifier: MIT
"""Profiles of a server's processes while a round is measured."""
import os
import signal
import subprocess

from . import tree

FREQUENCY = 999
LINES = 80  # of a report


class Perf:
    """With a folder: `perf record` of the whole tree, and a report by symbol; without: nothing."""

    def __init__(self, folder, server, work, number):
        self.file = os.path.join(folder, f"{server.name}-{work.name}-{number}") if folder else None
        self.pid = server.pid
        self.process = None

    def __enter__(self):
        if self.file:
            os.makedirs(os.path.dirname(self.file), exist_ok=True)
            pids = ",".join(map(str, tree.stats_of_tree(self.pid)))
            self.process = subprocess.Popen(["perf", "record", "-q", "-F", str(FREQUENCY), "-g", "-p", pids, "-o",
                                             self.file + ".data"], stderr=subprocess.DEVNULL)

    def __exit__(self, *_):
        if not self.process:
            return
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        run = subprocess.run(["perf", "report", "--stdio", "-g", "none", "--no-children", "--sort", "comm,dso,symbol",
                              "-i", self.file + ".data"], capture_output=True, text=True, check=False)
        lines = [line for line in run.stdout.splitlines() if line.strip() and not line.startswith("#")]
        with open(self.file + ".txt", "w", encoding="utf-8") as file:
            file.write("\n".join(lines[:LINES]) + "\n")
