# SPDX-License-Identifier: MIT
"""A server under test: started in the foreground below a folder of its own, ended by its process id."""
import os
import signal
import socket
import subprocess
import time

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
    """What Dovecot and Restante have in common. A subclass writes its files and gives its command."""

    name = ""

    def __init__(self, folder, maildrops, certificate):
        self.folder = os.path.join(folder, self.name)
        self.maildrops = maildrops
        self.certificate = certificate
        self.ports = {"plain": free_port(), "tls": free_port()}
        self.ports["stls"] = self.ports["plain"]
        self.process = None
        os.mkdir(self.folder, 0o755)

    def prepare(self):
        """Writes configuration and accounts; called before every start."""
        raise NotImplementedError

    def command(self):
        raise NotImplementedError

    @property
    def log(self):
        return os.path.join(self.folder, "log")

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        self.prepare()
        with open(os.path.join(self.folder, "output"), "ab") as output:
            self.process = subprocess.Popen(self.command(), stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                                            cwd=self.folder, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while not self.greets():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise Failure(f"{self.name} did not start; see output and log in {self.folder}")
            time.sleep(0.1)

    def greets(self):
        try:
            with socket.create_connection(("127.0.0.1", self.ports["plain"]), 2) as sock:
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
