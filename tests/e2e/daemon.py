# SPDX-License-Identifier: MIT
"""A restanted of one's own: folder, configuration, accounts, maildrops, certificate; started and ended by its
process id. For the end-to-end tests; trusts the build folder named in $RESTANTE_BUILD."""

import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RESTANTE_BUILD", ROOT / "build")).resolve()
HOST = "127.0.0.1"
WAIT = 30  # seconds until a test gives up waiting; sanitizer builds on a busy machine are slow
UIDS = {"worker": 61184, "auth": 61185, "keeper": 61186}  # none of them has an entry in passwd
IS_ROOT = os.geteuid() == 0
SANITIZER = re.compile(r"(Address|Leak|UndefinedBehavior|Memory)Sanitizer|runtime error:")


def free_port():
    with socket.socket() as one:
        one.bind((HOST, 0))
        return one.getsockname()[1]


def until(condition, what, seconds=WAIT):
    """Waits until condition() is true and returns it."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def make_certificate(folder, name="localhost", kind="ec", stem="cert"):
    """Self-signed: (chain, key) paths."""
    chain, key = folder / f"{stem}.pem", folder / f"{stem}.key"
    options = ["-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else []
    subprocess.run(["openssl", "req", "-x509", "-newkey", kind, *options, "-nodes", "-days", "30", "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=DNS:{name},IP:{HOST}", "-keyout", key, "-out", chain],
                   check=True, capture_output=True)
    return chain, key


def wire_form(raw):
    """RFC 1939 section 11: lines end in CRLF, and nothing else is changed."""
    wire = re.sub(rb"(?<!\r)\n", b"\r\n", raw)
    return wire + b"\r\n" if wire and not wire.endswith(b"\n") else wire


def header_of(wire):
    """The header and its blank line, of a message in wire form."""
    if wire.startswith(b"\r\n"):
        return b"\r\n"
    head, blank, _ = wire.partition(b"\r\n\r\n")
    return head + blank


class Daemon:
    """Files and processes of one server. Settings are lines of the configuration, by section."""

    def __init__(self, certificates=True, listeners="", workers=2, **settings):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="restante-e2e-"))
        self.folder.chmod(0o755)  # the servers' users must get in
        self.mail = self.folder / "mail"
        self.log = self.folder / "log"
        self.conf = self.folder / "restanted.conf"
        self.port, self.tls_port = free_port(), free_port()
        self.libexec = BUILD / "src/server"  # where the helper programs are
        self.listeners, self.workers, self.settings = listeners, workers, settings
        self.process = None
        self.wrapper = []  # what restanted is started through, e.g. ["prlimit", "--nofile=64"]
        for name, kind in (("accounts", "auth"), ("mail", "keeper")):
            (self.folder / name).mkdir()
            self.give(self.folder / name, kind)
        self.certificates = [make_certificate(self.folder)] if certificates else []
        self.write_configuration()

    @staticmethod
    def give(path, kind="keeper"):
        if IS_ROOT:
            os.chown(path, UIDS[kind], UIDS[kind], follow_symlinks=False)

    # --- files ---

    def write_configuration(self, extra=""):
        sections = {
            "worker": f"processes = {self.workers}",
            "auth": f'accounts = "{self.folder}/accounts/accounts.sqlite"',
            "keeper": "",
            "limits": "",
            "maildrop": "",
            "mail": f'root = "{self.mail}" location = "maildir:{self.mail}/%u"',
            "log": f'file = "{self.log}" level = debug',
        }
        if IS_ROOT:
            for kind, uid in UIDS.items():
                sections[kind] += f' user = "{uid}"'
        text = f'listen {{ address = "{HOST}:{self.port}" }}\n{self.listeners}'
        if self.certificates:
            text += f'listen {{ address = "{HOST}:{self.tls_port}" tls = yes }}\n'
        for chain, key in self.certificates:
            text += f'certificate {{ chain = "{chain}" key = "{key}" }}\n'
        for name, lines in sections.items():
            text += f"{name} {{ {lines} {self.settings.get(name, '')} }}\n"
        self.conf.write_text(text + extra, encoding="utf-8")

    def restante(self, *words, password=None):
        return self.command("user", *words, given=password)

    def command(self, name, *words, given=None):
        """A subcommand of `restante` on this configuration."""
        return subprocess.run([BUILD / "src/admin/restante", name, "--config", self.conf, *words],
                              input=given, capture_output=True, check=False, timeout=WAIT)

    def add_account(self, name, password="sesame"):
        run = self.restante("add", "--password-stdin", name, password=password.encode() + b"\n")
        assert run.returncode == 0, run.stderr
        return self.make_maildir(name)

    def make_maildir(self, name):
        """An empty Maildir in place of whatever is there."""
        home = self.mail / name
        shutil.rmtree(home, ignore_errors=True)
        for path in (home, home / "cur", home / "new", home / "tmp"):
            path.mkdir()
            self.give(path)
        return home

    def deliver(self, home, raw, name, folder="new"):
        """As delivery agents do: written to tmp, moved into place."""
        path = home / "tmp" / name
        path.write_bytes(raw)
        self.give(path)
        return path.rename(home / folder / name)

    # --- processes ---

    def server_command(self):
        return [*self.wrapper, BUILD / "src/server/restanted", "-c", self.conf, "--libexec", self.libexec]

    def start(self):
        since = len(self.log_text())
        environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0", UBSAN_OPTIONS="print_stacktrace=1")
        with open(self.folder / "output", "ab") as output:
            self.process = subprocess.Popen(self.server_command(), stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment)
        self.wait_for("event=serving", since=since)
        return self

    def stop(self):
        """Ends it in good order: everything is gone afterwards, and no sanitizer has said anything."""
        if self.process is None:
            return
        pids = [self.process.pid, *self.children().values()]
        self.process.terminate()
        try:
            status = self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            raise
        finally:
            self.process = None
        assert status == 0, self.tail()
        until(lambda: not [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()], "all processes gone")
        self.check_sanitizers()

    def check_sanitizers(self):
        text = self.log_text() + (self.folder / "output").read_text(encoding="utf-8", errors="replace")
        found = SANITIZER.search(text)
        assert not found, text[max(0, found.start() - 500):found.start() + 5000] if found else ""

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, error, trace):
        try:
            self.stop()
        finally:
            self.remove()

    def children(self):
        """{"worker.1": pid}: what runs just now, by the names that are in the log."""
        return {name: pid for name, pid in self.started() if self.is_child(pid)}

    def started(self):
        found = re.finditer(r"event=started child=(\w+\.\d+) pid=(\d+)", self.log_text())
        return [(match[1], int(match[2])) for match in found]

    def is_child(self, pid):
        """Runs and is ours: not a zombie, nor another process that was given the number since."""
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return fields[0] != b"Z" and self.process is not None and int(fields[1]) == self.process.pid

    def pid_of(self, kind):
        """A running child of this kind, e.g. "keeper"."""
        return until(lambda: next((pid for name, pid in self.children().items() if name.startswith(kind)), None), kind)

    # --- the log ---

    def log_text(self):
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def tail(self):
        output = self.folder / "output"
        said = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
        return said + "\n".join(self.log_text().splitlines()[-40:])

    def lines_with(self, *parts, since=0):
        return [line for line in self.log_text()[since:].splitlines() if all(part in line for part in parts)]

    def wait_for(self, *parts, since=0):
        def look():
            assert self.process.poll() is None, "the server has ended:\n" + self.tail()
            return self.lines_with(*parts, since=since)
        try:
            return until(look, f"logged: {parts}")[0]
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    # --- clients ---

    def tls_context(self):
        context = ssl.create_default_context(cafile=self.certificates[0][0])
        return context

    def connect(self, over="plain"):
        """A raw client that has read the greeting; over is plain, stls or tls."""
        client = Client(self.tls_port if over == "tls" else self.port)
        if over == "tls":
            client.start_tls(self.tls_context())
        client.greeting = client.line()
        assert client.greeting.startswith(b"+OK"), client.greeting
        if over == "stls":
            assert client.ask("STLS").startswith(b"+OK")
            client.start_tls(self.tls_context())
        return client

    def log_in(self, name="alice", password="sesame", over="plain"):
        client = self.connect(over)
        client.log_in(name, password)
        return client


def serve(prepare=None, **settings):
    """For fixtures: yields a running server with the account alice, and ends it whatever happens. `prepare` is given
    the server before it is started."""
    server = Daemon(**settings)
    try:
        server.add_account("alice")
        if prepare:
            prepare(server)
        server.start()
        yield server
        server.stop()
    finally:
        if server.process:
            server.process.kill()
        server.remove()


class Client:
    """A POP3 client that hides nothing: octets and lines."""

    def __init__(self, port, host=HOST):
        self.sock = socket.create_connection((host, port), WAIT)
        self.kept = b""
        self.greeting = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start_tls(self, context, name="localhost"):
        assert not self.kept, self.kept
        self.sock = context.wrap_socket(self.sock, server_hostname=name)

    def close(self):
        self.sock.close()

    def send(self, octets):
        self.sock.sendall(octets)

    def receive(self):
        """More octets; b"" when the server has closed, in whatever way."""
        try:
            return self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return b""

    def line(self):
        while b"\n" not in self.kept:
            more = self.receive()
            if not more:
                raise EOFError(self.kept)
            self.kept += more
        line, _, self.kept = self.kept.partition(b"\n")
        return line + b"\n"

    def octets(self, count):
        while len(self.kept) < count:
            more = self.receive()
            if not more:
                raise EOFError(self.kept)
            self.kept += more
        octets, self.kept = self.kept[:count], self.kept[count:]
        return octets

    def rest(self):
        """Everything up to the end of the connection."""
        parts = [self.kept]
        while parts[-1] or len(parts) == 1:
            parts.append(self.receive())
        self.kept = b""
        return b"".join(parts)

    def ask(self, command):
        self.send(command.encode() + b"\r\n")
        return self.line()

    def ok(self, command):
        reply = self.ask(command)
        assert reply.startswith(b"+OK"), (command, reply)
        return reply

    def err(self, command):
        reply = self.ask(command)
        assert reply.startswith(b"-ERR"), (command, reply)
        return reply

    def log_in(self, name="alice", password="sesame"):
        self.ok(f"USER {name}")
        return self.ok(f"PASS {password}")

    def multi(self, command):
        """The lines of a multi-line reply as they came: dots still stuffed."""
        self.ok(command)
        return self.multi_rest()

    def multi_octets(self):
        """What follows the first line of a multi-line reply, dots still stuffed, without the last line."""
        octets, end = bytearray(b"\r\n" + self.kept), b"\r\n.\r\n"
        looked, self.kept = 0, b""
        while (at := octets.find(end, looked)) < 0:
            looked = max(0, len(octets) - len(end))
            more = self.receive()
            if not more:
                raise EOFError(bytes(octets[-200:]))
            octets += more
        self.kept = bytes(octets[at + len(end):])
        return bytes(octets[2:at + 2])

    def multi_rest(self):
        return [line + b"\n" for line in self.multi_octets().split(b"\n")[:-1]]

    def fetch(self, command):
        """A message in wire form, dots taken out."""
        self.ok(command)
        return re.sub(rb"(?m)^\.", b"", self.multi_octets())

    def quit(self):
        reply = self.ask("QUIT")
        self.close()
        return reply
