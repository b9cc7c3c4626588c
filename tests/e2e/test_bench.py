# SPDX-License-Identifier: MIT
"""`restante bench` against our daemon, which it must find right, and against servers that lie, which it must catch."""

import contextlib
import json
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
import xml.etree.ElementTree

import pytest

from daemon import BUILD, HOST, WAIT, make_certificate, serve, until

BENCH = [BUILD / "src/admin/restante", "bench"]
EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, EX_CANTCREAT, EX_IOERR, EX_TEMPFAIL = 64, 65, 66, 69, 73, 74, 75
EX_PROTOCOL, EX_NOPERM = 76, 77
ACCOUNTS, MESSAGES = 4, 6
RAW = b"Subject: dots\n\n.one\n..two\nno line end at the end"


@pytest.fixture(scope="module")
def server():
    """Four accounts with six messages each; a list of them."""
    for daemon in serve(auth="cache = 1h"):
        names = [f"caller{number}" for number in range(ACCOUNTS)]
        for name in names:
            fill(daemon, daemon.add_account(name))
        daemon.list = daemon.folder / "list"
        daemon.list.write_text("# who calls\n\n" + "".join(f"{name}:sesame\n" for name in names), encoding="ascii")
        yield daemon


def fill(daemon, home):
    for number in range(MESSAGES):
        daemon.deliver(home, RAW * (number + 1), f"100{number}.M1.host")


def bench(*words, list_=None, port=0):
    accounts = ["--accounts", list_] if list_ else []
    return subprocess.run([*BENCH, *accounts, *words, HOST, str(port)], capture_output=True, text=True, timeout=WAIT, check=False)


def result(server, *words, tls="none"):
    """A run against our daemon that must be without fault."""
    port = server.tls_port if tls == "tls" else server.port
    run = bench("--json", "--tls", tls, *words, list_=server.list, port=port)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == "" or "idle" in words
    seen = json.loads(run.stdout)
    assert seen["errors"] == 0 and seen["errors_by_kind"] == {}
    return seen


@pytest.mark.parametrize("tls", ["none", "stls", "tls"])
@pytest.mark.parametrize("profile", ["sessions", "poll", "uidl", "fetch"])
def test_a_profile_finds_our_server_right(server, profile, tls):
    seen = result(server, "--profile", profile, "-c", "3", "-n", "20", tls=tls)
    assert seen["sessions"] == 20
    assert seen["latency_us"]["session"]["count"] == 20
    assert seen["latency_us"]["session"]["max"] >= seen["latency_us"]["login"]["min"]
    assert seen["course"][-1]["sessions"] == 20
    assert seen["messages"] == (20 * MESSAGES if profile == "fetch" else 0)


def test_fetching_with_a_window_and_passes(server):
    seen = result(server, "-p", "fetch", "-c", "2", "-n", "8", "-w", "5", "--passes", "7", "-m", str(MESSAGES))
    wire = sum(len(RAW.replace(b"\n", b"\r\n")) * (number + 1) + 2 for number in range(MESSAGES))
    assert seen["messages"] == 8 * 7 * MESSAGES
    assert seen["octets"] == 8 * 7 * wire
    assert 0 < seen["latency_us"]["message"]["count"] < seen["messages"]


def test_resumed_sessions_are_counted(server):
    assert result(server, "-c", "2", "-n", "20", "--resume", tls="tls")["resumed"] >= 16
    assert result(server, "-c", "2", "-n", "20", tls="tls")["resumed"] == 0


def test_draining_deletes_what_it_says(server):
    home = server.mail / "caller0"
    before = len(list(home.glob("*/*.host*")))
    run = bench("-p", "drain", "-c", "1", "-n", str(ACCOUNTS), list_=server.list, port=server.port)
    assert run.returncode == EX_USAGE and "--delete-mail" in run.stderr
    assert len(list(home.glob("*/*.host*"))) == before == MESSAGES
    seen = result(server, "-p", "drain", "-w", "4", "-c", "2", "-n", str(ACCOUNTS), "--delete-mail")
    assert seen["deleted"] == seen["messages"] == ACCOUNTS * MESSAGES
    assert not list(server.mail.glob("caller*/*/*.host*"))
    for number in range(ACCOUNTS):
        fill(server, server.make_maildir(f"caller{number}"))


def test_idle_sessions_are_held(server):
    with subprocess.Popen([*BENCH, "--accounts", server.list, "-p", "idle", "-c", str(ACCOUNTS), "-j", HOST, str(server.port)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == f"holding {ACCOUNTS} sessions\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=WAIT)
    seen = json.loads(out)
    assert process.returncode == 0
    assert (seen["held"], seen["sessions"], seen["interrupted"]) == (ACCOUNTS, ACCOUNTS, True)
    assert result(server, "-p", "idle", "-c", "2", "-s", "1")["held"] == 2


def test_a_rate_is_kept(server):
    seen = result(server, "-c", "4", "-R", "40", "-n", "40")
    assert seen["sessions"] == 40 and seen["missed"] == 0
    assert 0.9 < seen["elapsed_seconds"] < 3


def test_several_sessions_for_an_account(server):
    """The maildrops are exclusive: one of two is refused, and that is an error with its text."""
    run = bench("-p", "idle", "-c", str(ACCOUNTS + 1), "-s", "1", "--per-account", "2", "-j", list_=server.list, port=server.port)
    assert run.returncode == EX_NOPERM
    assert "[IN-USE]" in json.loads(run.stdout)["errors_by_kind"]["refused"]["example"]
    assert bench("-c", str(ACCOUNTS + 1), list_=server.list, port=server.port).returncode == EX_DATAERR


def test_pages_and_pictures(server):
    picture = server.folder / "run.svg"
    run = bench("-c", "2", "-s", "1", "--svg", picture, "--source", "127.0.0.3", list_=server.list, port=server.port)
    assert run.returncode == 0 and run.stderr == ""
    for word in ("sessions", "p99.9", "login", "no errors"):
        assert word in run.stdout
    assert xml.etree.ElementTree.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize("text, code, sessions, errors", [("sesame\nmore\n", 0, 3, 0), ("wrong\n", EX_NOPERM, 0, 3)])
def test_one_account_by_name(server, text, code, sessions, errors):
    secret = server.folder / "secret"
    secret.write_text(text, encoding="ascii")
    run = bench("--user", "caller1", "--password-file", secret, "-n", "3", "-j", port=server.port)
    seen = json.loads(run.stdout)
    assert (run.returncode, seen["sessions"], seen["errors"]) == (code, sessions, errors)
    assert list(seen["errors_by_kind"]) == (["refused"] if errors else [])


def test_mistakes_of_the_command_line(server):
    bad = server.folder / "bad"
    bad.write_text("no colon\n", encoding="ascii")
    cases = [(["-x"], EX_USAGE), (["-c", "0"], EX_USAGE), (["-p", "nothing"], EX_USAGE), (["-r"], EX_USAGE),
             (["-t", "ssl"], EX_USAGE), (["--source", "here"], EX_USAGE), (["-p", "idle", "-R", "5"], EX_USAGE)]
    for words, code in cases:
        run = bench(*words, list_=server.list, port=server.port)
        assert run.returncode == code and run.stderr, words
    assert bench(port=server.port).returncode == EX_USAGE
    assert bench(list_=bad, port=server.port).returncode == EX_DATAERR
    for path in (server.folder / "absent", server.folder):
        assert bench(list_=path, port=server.port).returncode == EX_NOINPUT
        assert bench("-u", "caller1", "--password-file", path, port=server.port).returncode == EX_NOINPUT
    bad.write_text("", encoding="ascii")
    assert bench(list_=bad, port=server.port).returncode == EX_DATAERR
    run = bench("-u", "caller1", "--password-file", bad, port=server.port)
    assert run.returncode == EX_DATAERR and str(bad) in run.stderr
    run = subprocess.run([*BENCH, "--accounts", server.list, "192.0.2.1", "110"], capture_output=True, text=True, timeout=WAIT, check=False)
    assert run.returncode == EX_USAGE and "--own-server" in run.stderr


# --- servers that lie ---

HONEST = {
    "": b"+OK hello\r\n",
    "USER": b"+OK\r\n",
    "PASS": b"+OK\r\n",
    "CAPA": b"+OK\r\nUIDL\r\n.\r\n",
    "STAT": b"+OK 2 12\r\n",
    "LIST": b"+OK\r\n1 7\r\n2 5\r\n.\r\n",
    "UIDL": b"+OK\r\n1 a\r\n2 b\r\n.\r\n",
    "RETR 1": b"+OK\r\n..abcd\r\n.\r\n",
    "RETR 2": b"+OK\r\nabc\r\n.\r\n",
    "DELE 1": b"+OK\r\n",
    "DELE 2": b"+OK\r\n",
    "QUIT": b"+OK\r\n",
}

# What it says otherwise (None: it closes; nothing: it is silent; two things: the second one without end), to which profile; the kind of error and how the program exits.
LIES = [
    ({"STAT": b"+OK 2 13\r\n"}, "fetch", "mismatch", EX_PROTOCOL),
    ({"STAT": b"+OK 3 12\r\n"}, "fetch", "mismatch", EX_PROTOCOL),
    ({"LIST": b"+OK\r\n1 7\r\n.\r\n"}, "fetch", "mismatch", EX_PROTOCOL),
    ({"RETR 1": b"+OK\r\n..abc\r\n.\r\n"}, "fetch", "mismatch", EX_PROTOCOL),
    ({"RETR 2": b"+OK\r\nabcd\r\n.\r\n"}, "drain", "mismatch", EX_PROTOCOL),
    ({"UIDL": b"+OK\r\n1 a\r\n2 a\r\n.\r\n"}, "uidl", "mismatch", EX_PROTOCOL),
    ({"UIDL": b"+OK\r\n1 a\r\n3 b\r\n.\r\n"}, "uidl", "malformed", EX_PROTOCOL),
    ({"RETR 1": b"+OK\r\n.abcd\r\n.\r\n"}, "fetch", "malformed", EX_PROTOCOL),
    ({"RETR 1": b"+OK\r\n..abcd\n.\r\n"}, "fetch", "malformed", EX_PROTOCOL),
    ({"RETR 1": (b"+OK\r\n", b"more\r\n" * 1000)}, "fetch", "mismatch", EX_PROTOCOL),
    ({"CAPA": (b"+OK\r\n", b"MORE\r\n" * 1000)}, "uidl", "malformed", EX_PROTOCOL),
    ({"": b"220 hello\r\n"}, "poll", "malformed", EX_PROTOCOL),
    ({"": None}, "poll", "closed", EX_UNAVAILABLE),
    ({"": b"+OK hel"}, "poll", "closed", EX_UNAVAILABLE),
    ({"STAT": b"+OK 2 12\r\n+OK 2 12\r\n"}, "poll", "unasked", EX_PROTOCOL),
    ({"RETR 2": b"+OK\r\nabc\r\n.\r\nmore\r\n"}, "fetch", "unasked", EX_PROTOCOL),
    ({"RETR 2": b"+OK\r\nab"}, "fetch", "closed", EX_UNAVAILABLE),
    ({"QUIT": None}, "poll", "closed", EX_UNAVAILABLE),
    ({"QUIT": b"-ERR not deleted\r\n"}, "drain", "refused", EX_NOPERM),
    ({"PASS": b"-ERR [AUTH] \x1b[2Jno\r\n"}, "poll", "refused", EX_NOPERM),
    ({"STAT": b""}, "poll", "timeout", EX_TEMPFAIL),
]


class Liar:
    """Says by heart what a table has for each command, and closes after half a line and QUIT."""

    def __init__(self, replies):
        self.replies = replies
        self.heard = ""
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                with sock, sock.makefile("rb") as lines, contextlib.suppress(OSError):
                    self.talk(sock, lines)

    def talk(self, sock, lines):
        command = ""
        while command is not None:
            self.heard = command
            reply = self.replies.get(command, self.replies.get(command.split(" ")[0]))
            if reply is None:
                return
            if isinstance(reply, tuple):
                sock.sendall(reply[0])
                while True:
                    sock.sendall(reply[1])
            sock.sendall(reply)
            cut = reply and not reply.endswith(b"\r\n")
            line = b"" if cut or command == "QUIT" else lines.readline()
            command = line.decode().rstrip("\r\n") if line else None

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(WAIT)


@pytest.fixture
def ann(tmp_path):
    """A list of one account."""
    accounts = tmp_path / "list"
    accounts.write_text("ann:secret\n", encoding="ascii")
    return accounts


def against(replies, profile, accounts, *words):
    liar = Liar(replies)
    try:
        return bench("-p", profile, "--json", "-n", "1", "--timeout", "1", "--delete-mail", *words, list_=accounts, port=liar.port)
    finally:
        liar.close()


@pytest.mark.parametrize("profile", ["sessions", "poll", "uidl", "fetch", "drain"])
def test_an_honest_server_is_believed(profile, ann):
    run = against(HONEST, profile, ann)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("lie, profile, kind, code", LIES, ids=lambda value: str(value)[:40])
def test_a_lie_is_an_error_of_its_kind(lie, profile, kind, code, ann):
    run = against({**HONEST, **lie}, profile, ann)
    assert run.returncode == code, run.stdout + run.stderr
    seen = json.loads(run.stdout)
    assert list(seen["errors_by_kind"]) == [kind]
    assert seen["errors"] == 1 and seen["sessions"] == 0
    example = seen["errors_by_kind"][kind]["example"]
    assert example and example.isprintable()


def test_a_server_that_resets_tls_is_an_error(ann, tmp_path):
    """Its connection is gone when the load generator says good-bye to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path))

    class Breaker(Liar):
        def talk(self, sock, lines):
            with context.wrap_socket(sock, server_side=True) as secure:
                secure.sendall(HONEST[""])
                secure.recv(512)
                secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    breaker = Breaker({})
    try:
        run = bench("-j", "-t", "tls", "-n", "3", list_=ann, port=breaker.port)
    finally:
        breaker.close()
    assert run.returncode == EX_UNAVAILABLE
    assert json.loads(run.stdout)["errors_by_kind"]["closed"]["count"] == 3


def test_too_many_errors_end_the_run(ann):
    run = against({**HONEST, "PASS": b"-ERR no\r\n"}, "poll", ann, "-n", "1000", "--max-errors", "5")
    seen = json.loads(run.stdout)
    assert seen["gave_up"] and seen["errors"] == 5


def test_nobody_listens(ann):
    with socket.create_server((HOST, 0)) as unused:
        port = unused.getsockname()[1]
    run = bench("-n", "2", "--json", list_=ann, port=port)
    assert run.returncode == EX_UNAVAILABLE
    assert "refused" in json.loads(run.stdout)["errors_by_kind"]["connect"]["example"]


@pytest.mark.parametrize("words, code", [([], EX_IOERR), (["--json"], EX_IOERR), (["--svg", "/dev/full"], EX_CANTCREAT)])
def test_a_report_that_finds_no_room(words, code, ann):
    liar = Liar(HONEST)
    try:
        with open("/dev/full", "w", encoding="ascii") as full:
            run = subprocess.run([*BENCH, "-a", ann, "-n", "1", *words, HOST, str(liar.port)], stderr=subprocess.PIPE, text=True,
                                 stdout=subprocess.DEVNULL if "--svg" in words else full, timeout=WAIT, check=False)
    finally:
        liar.close()
    assert run.returncode == code and "No space left" in run.stderr


def test_what_is_late_counts(ann):
    """One connection and a server that takes a tenth of a second: at 40 in a second nearly all sessions are late, and
    their latency says so; a closed loop would not."""
    class Slow(Liar):
        def talk(self, sock, lines):
            time.sleep(0.1)
            super().talk(sock, lines)

    slow = Slow(HONEST)
    try:
        run = bench("-j", "-R", "40", "-s", "1", list_=ann, port=slow.port)
    finally:
        slow.close()
    seen = json.loads(run.stdout)
    assert run.returncode == 0
    assert seen["missed"] >= 25
    assert seen["latency_us"]["session"]["max"] > 500000


def test_ctrl_c_twice_does_not_wait(ann):
    """The server is silent: the session is waited for after the first signal, not after the second."""
    liar = Liar({**HONEST, "STAT": b""})
    signals = 0
    try:
        with subprocess.Popen([*BENCH, "--accounts", ann, "-j", HOST, str(liar.port)], stdout=subprocess.PIPE, text=True) as process:
            until(lambda: liar.heard == "STAT", "a session has begun")
            while process.poll() is None and signals < 100:
                process.send_signal(signal.SIGINT)
                signals += 1
                time.sleep(0.3)
            out, _ = process.communicate(timeout=WAIT)
    finally:
        liar.close()
    seen = json.loads(out)
    assert seen["interrupted"] and seen["sessions"] == 0
    assert 2 <= signals < 100


def test_ctrl_c_ends_what_is_ending(ann):
    """The time is up and a session is waited for: the first signal cuts it off, and the report says so."""
    liar = Liar({**HONEST, "STAT": b""})
    try:
        with subprocess.Popen([*BENCH, "-a", ann, "-j", "-s", "1", HOST, str(liar.port)], stdout=subprocess.PIPE, text=True) as process:
            until(lambda: liar.heard == "STAT", "a session has begun")
            time.sleep(1.5)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=WAIT)
    finally:
        liar.close()
    seen = json.loads(out)
    assert seen["interrupted"] and seen["sessions"] == 0 and seen["elapsed_seconds"] < WAIT
