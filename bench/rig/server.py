# SPDX-License-Identifier: MIT
"""A server under test: started in the foreground below a folder of its own, ended by its process id."""
import os
import signal
import socket
import subprocess
import time

from . import tree

START_SECONDS = 20
STOP_SECONDS = 20


class Failure(Exception):
    """Something a person has to put right."""


def free_port():
    """A port nobody has just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def make_certificate(folder, kind):
    """(certificate, key) files: self-signed, `kind` as in `openssl req -newkey`."""
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    options = ["-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else []
    subprocess.run(["openssl", "req", "-x509", "-newkey", kind, *options, "-nodes", "-days", "30", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key,
                    "-out", cert], check=True, stderr=subprocess.DEVNULL)
    return cert, key


class Server:
    """What the servers have in common. A subclass writes its files and gives its command."""

    name = ""
    tls = ("none", "stls", "tls")  # what it can do
    index_files = ()  # in a Maildir: what it may be asked to forget

    def __init__(self, folder, maildrops, certificate):
        self.folder = os.path.join(folder, self.name)
        self.maildrops = maildrops
        self.certificate = certificate
        self.ports = {"none": free_port(), "tls": free_port()}
        self.ports["stls"] = self.ports["none"]
        self.process = None
        self.work = None  # what it was started for
        self.broken = False  # it does not start
        os.mkdir(self.folder, 0o755)

    def prepare(self):
        """Writes configuration and accounts; called before every start."""
        raise NotImplementedError

    def command(self):
        raise NotImplementedError

    def version(self):
        raise NotImplementedError

    def prefix(self):
        """What the load generator is started through."""
        return []

    def can(self, work):
        return self.name in work.servers and work.tls in self.tls and not self.broken

    def refill(self, mail):
        """Gives the accounts of a set the mail they had at first."""
        self.maildrops.refill(mail)

    def forget(self, mail):
        """Removes indexes."""
        for account in self.maildrops.accounts[mail]:
            for name in os.listdir(self.maildrops.path(account)):
                if name.startswith(self.index_files):
                    os.unlink(os.path.join(self.maildrops.path(account), name))

    @property
    def pid(self):
        return self.process.pid

    def members(self):
        """The servers that hold sessions together, this one first: more than one where the limits of a process ask for it."""
        return [self]

    def cpu_seconds(self):
        return sum(tree.cpu_seconds(member.pid) for member in self.members())

    def pss_kib(self):
        return sum(tree.pss_kib(member.pid) for member in self.members())

    def process_count(self):
        return sum(len(tree.stats_of_tree(member.pid)) for member in self.members())

    def serves(self, work):
        """It runs, in a way that will do for this work."""
        del work
        return self.process is not None and self.process.poll() is None

    def start(self, work):
        self.stop()
        self.work = work
        self.prepare()
        with open(os.path.join(self.folder, "output"), "ab") as output:
            self.process = subprocess.Popen(self.command(), stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                                            cwd=self.folder, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while not self.greets():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                self.broken = True
                raise Failure(f"{self.name} did not start; see output and log in {self.folder}")
            time.sleep(0.1)

    def greets(self):
        try:
            with socket.create_connection(("127.0.0.1", self.ports["none"]), 2) as sock:
                return sock.recv(512).startswith(b"+OK")
        except OSError:
            return False

    def stop(self):
        if not self.process:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.process = None
