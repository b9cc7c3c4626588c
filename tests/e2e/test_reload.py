# SPDX-License-Identifier: MIT
"""Configuration of a running server: SIGHUP with good and broken files, `restanted -t` and -T, and the end by signal."""

import os
import re
import signal
import socket
import subprocess

import pytest

from daemon import BUILD, HOST, WAIT, Client, free_port, until

EX_UNAVAILABLE, EX_OSERR, EX_CONFIG = 69, 71, 78  # sysexits.h


def restanted(daemon, *options):
    return subprocess.run([BUILD / "src/server/restanted", "-c", daemon.conf, "--libexec", BUILD / "src/server", *options],
                          text=True, capture_output=True, check=False, timeout=WAIT, env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))


def hang_up(daemon, *expected):
    """SIGHUP, and waits for a line that holds `expected`, by default that a new generation serves."""
    since = len(daemon.log_text())
    daemon.process.send_signal(signal.SIGHUP)
    return daemon.wait_for(*(expected or ["event=serving"]), since=since)


def reload(daemon, **settings):
    daemon.settings = settings
    daemon.write_configuration()
    return hang_up(daemon)


def refused(port):
    try:
        Client(port).close()
        return False
    except ConnectionRefusedError:
        return True


def listener(port):
    return f'listen {{ address = "{HOST}:{port}" }}\n'


@pytest.fixture(name="server")
def make_server(make_daemon):
    server = make_daemon()
    home = server.add_account("alice")
    server.add_account("bob")
    server.deliver(home, b"Subject: one\n\nbody\n", "1.one")
    server.start()
    return server


# --- good files ---

def test_new_limits_are_for_new_sessions(server):
    old = server.log_in()
    before = server.children()
    reload(server, limits="bad_commands = 2")
    for _ in range(5):
        old.err("XYZZY")
    assert old.ok("STAT") == b"+OK 1 22\r\n"
    with server.log_in("bob") as new:
        new.err("XYZZY")
        new.err("XYZZY")
        assert new.rest() == b""
    assert old.fetch("RETR 1") == b"Subject: one\r\n\r\nbody\r\n"
    old.ok("DELE 1")
    assert old.quit().startswith(b"+OK")
    until(lambda: not set(before.values()) & set(server.children().values()), "the old processes' end")
    with server.log_in() as new:
        assert new.ok("STAT") == b"+OK 0 0\r\n"


def test_maildrop_stays_locked_across_generations(server):
    old = server.log_in()
    reload(server)
    with server.connect() as new:
        new.ok("USER alice")
        assert new.err("PASS sesame").startswith(b"-ERR [IN-USE]")
    old.quit()
    server.log_in().quit()


def test_old_processes_leave_with_their_last_session(server):
    before = server.children()
    busy = server.log_in()
    reload(server)
    # An idle worker goes at once; the one with the session, and its helpers, stay.
    until(lambda: len(set(before.values()) & set(server.children().values())) == 3, "the idle old worker's end")
    busy.ok("NOOP")
    busy.quit()
    until(lambda: not set(before.values()) & set(server.children().values()), "the old processes' end")
    assert len(server.children()) == 4


def test_listeners_come_and_go(server):
    gone, come = free_port(), free_port()
    server.listeners = listener(gone)
    server.write_configuration()
    hang_up(server)
    old = Client(gone)
    old.line()
    old.log_in()
    server.listeners = listener(come)
    server.write_configuration()
    hang_up(server)
    with Client(come) as client:
        assert client.line().startswith(b"+OK")
        client.log_in("bob")
        client.quit()
    until(lambda: refused(gone), "the closed listener")
    old.ok("NOOP")
    old.quit()
    server.log_in().quit()


@pytest.mark.parametrize("count", [1, 3])
def test_number_of_workers(server, count):
    old = server.log_in()
    before = server.children()
    text = server.conf.read_text(encoding="ascii")
    server.conf.write_text(text.replace("processes = 2", f"processes = {count}"), encoding="ascii")
    hang_up(server)
    assert len([name for name in server.children() if name.startswith("worker")]) >= count
    for _ in range(12):  # a listening socket nobody serves would swallow some of these
        server.log_in("bob").quit()
    old.quit()
    until(lambda: not set(before.values()) & set(server.children().values()), "the old processes' end")
    assert len([name for name in server.children() if name.startswith("worker")]) == count
    for _ in range(12):
        server.log_in("bob").quit()


def test_no_connection_is_lost_while_reloading(server):
    """Connections made all the time during reloads: each is greeted and served."""
    server.process.send_signal(signal.SIGHUP)
    for number in range(60):
        with server.connect() as client:
            client.ok("CAPA")
            client.multi_rest()
        if number % 10 == 9:
            server.process.send_signal(signal.SIGHUP)
    until(lambda: len(server.children()) == 4, "one generation left")


def test_cleartext_and_mechanisms(server):
    reload(server, auth='mechanisms = "LOGIN"')
    with server.connect() as client:
        assert b"SASL LOGIN\r\n" in client.multi("CAPA")
        client.err("AUTH PLAIN AGFsaWNlAHNlc2FtZQ==")


def test_more_reloads_than_generations(server):
    """Each old session keeps a generation alive; there is a bound, and the newest always serves."""
    clients = []
    for _ in range(9):
        clients.append(server.connect())
        hang_up(server)
    assert clients[0].rest() == b"", "the oldest generation is stopped"
    for client in clients[2:]:
        client.err("NOOP")  # before login, so a refusal; but an answer
    server.log_in().quit()
    for client in clients:
        client.close()
    until(lambda: len(server.children()) == 4, "one generation left")


# --- broken files ---

BROKEN = """listen {{ address = "nonsense" }}
limits {{
\tlogin_timeout = soon
\tautologut = 5
}}
worker {{ processes = 1000 }}
certificate {{ chain = "{0}/nowhere.pem" key = "{0}/nowhere.key" }}
mail {{ root = "relative" }}
"""
BROKEN_LINES = {1: "nonsense", 3: "soon", 4: "autologut", 6: "1000", 8: "relative"}


def test_every_error_at_once(make_daemon):
    daemon = make_daemon()
    daemon.conf.write_text(BROKEN.format(daemon.folder), encoding="ascii")
    run = restanted(daemon, "-t")
    assert run.returncode == EX_CONFIG and run.stdout == ""
    for number, word in BROKEN_LINES.items():
        assert re.search(rf"^{re.escape(str(daemon.conf))}:{number}: .*{word}", run.stderr, re.M), (number, run.stderr)
    assert restanted(daemon).returncode == EX_CONFIG, "it is not started"


def test_every_error_of_the_surroundings(make_daemon):
    daemon = make_daemon(keeper="", mail="")
    text = daemon.conf.read_text(encoding="ascii")
    text = text.replace("cert.pem", "nowhere.pem").replace("accounts.sqlite", "nothing.sqlite").replace('"61184"', '"no-such-user"')
    daemon.conf.write_text(text, encoding="ascii")
    run = restanted(daemon, "--test")
    assert run.returncode == EX_CONFIG
    expected = ["nowhere.pem", "nothing.sqlite"] + (["no-such-user"] if os.geteuid() == 0 else [])
    for word in expected:
        assert re.search(rf"^{re.escape(str(daemon.conf))}:\d+: .*{word}", run.stderr, re.M), (word, run.stderr)


def test_certificate_of_another_key(make_daemon):
    daemon = make_daemon()
    other = make_daemon()
    daemon.add_account("alice")
    assert restanted(daemon, "-t").returncode == 0
    daemon.certificates = [(daemon.certificates[0][0], other.certificates[0][1])]
    daemon.write_configuration()
    run = restanted(daemon, "-t")
    assert run.returncode == EX_CONFIG and "do not belong together" in run.stderr


def test_file_that_is_not_there(make_daemon):
    daemon = make_daemon()
    daemon.conf.unlink()
    run = restanted(daemon, "-t")
    assert run.returncode == EX_CONFIG and "No such file" in run.stderr


@pytest.mark.parametrize("how", ["broken", "gone", "folder", "binary"])
def test_broken_file_keeps_the_old_one(server, how):
    old = server.log_in()
    before = server.children()
    text = server.conf.read_text(encoding="ascii")
    server.conf.unlink()
    if how == "broken":
        server.conf.write_text(BROKEN.format(server.folder), encoding="ascii")
    elif how == "folder":
        server.conf.mkdir()
    elif how == "binary":
        server.conf.write_bytes(bytes(range(256)) * 64)
    hang_up(server, "not reloaded")
    complaints = server.lines_with(" error ", "event=config", f"file={server.conf}")
    if how == "broken":
        for number, word in BROKEN_LINES.items():
            assert [line for line in complaints if f"line={number} " in line and word in line], (number, complaints)
    assert complaints
    assert server.children() == before
    old.ok("NOOP")
    server.log_in("bob").quit()
    if how == "folder":
        server.conf.rmdir()
    server.conf.write_text(text, encoding="ascii")
    hang_up(server)
    old.quit()


def test_listener_that_fails_keeps_the_old_ones(server):
    old = server.log_in()
    before, good = server.children(), free_port()
    with socket.create_server((HOST, 0)) as other:
        taken = other.getsockname()[1]
        server.listeners = listener(good) + listener(taken)
        server.write_configuration()
        hang_up(server, "not reloaded")
        assert server.lines_with(" error ", "event=config", f"{HOST}:{taken}", "in use")
        assert server.children() == before
        assert refused(good), "a socket of the configuration that did not come was left open"
        old.ok("NOOP")
        server.log_in("bob").quit()
    hang_up(server)  # now the port is free
    with Client(taken) as client:
        client.line()
    old.quit()


def test_children_that_fail_keep_the_old_ones(server):
    """The file is good, but auth can not work with it: that shows only when it has started."""
    old = server.log_in()
    accounts = server.folder / "accounts" / "accounts.sqlite"
    wrong = server.folder / "accounts" / "wrong.sqlite"
    wrong.write_bytes(b"not a database " * 1000)
    server.give(wrong, "auth")
    text = server.conf.read_text(encoding="ascii")
    server.conf.write_text(text.replace(str(accounts), str(wrong)), encoding="ascii")
    hang_up(server, "the old ones go on")
    old.ok("NOOP")
    server.log_in("bob").quit()
    old.quit()
    until(lambda: len(server.children()) == 4, "the failed generation's end")


# --- what is in effect ---

def test_shown_settings_can_be_loaded(make_daemon):
    daemon = make_daemon(limits="autologout = 11min bad_commands = 7", worker="max_sessions = 321", auth="allow_cleartext = yes")
    daemon.add_account("alice")
    shown = restanted(daemon, "-T")
    assert shown.returncode == 0, shown.stderr
    for text in ("autologout = 11min", "bad_commands = 7", "max_sessions = 321", "allow_cleartext = yes", "hash_queue = 1000"):
        assert text in shown.stdout
    daemon.conf.write_text(shown.stdout, encoding="ascii")
    again = restanted(daemon, "--show")
    assert again.stdout == shown.stdout
    checked = restanted(daemon, "-t")
    assert checked.returncode == 0 and checked.stderr == "" and "good" in checked.stdout
    with daemon:
        daemon.log_in().quit()


# --- starting and ending ---

def start_failing(daemon):
    run = restanted(daemon)
    assert run.stdout == ""
    return run.returncode, run.stderr


def test_port_of_another_program(make_daemon):
    daemon = make_daemon()
    daemon.add_account("alice")
    with socket.create_server((HOST, daemon.port)):
        status, said = start_failing(daemon)
    assert status == EX_UNAVAILABLE
    assert f"{HOST}:{daemon.port}" in said and "is another server running?" in said


def test_port_of_another_restanted(server, make_daemon):
    """SO_REUSEPORT would let both listen, and clients would meet either."""
    second = make_daemon()
    second.port = server.port
    second.write_configuration()
    second.add_account("alice")
    status, said = start_failing(second)
    assert status == EX_UNAVAILABLE
    assert f"{HOST}:{server.port}" in said and "is another server running?" in said
    server.log_in().quit()


def test_address_that_is_not_ours(make_daemon):
    daemon = make_daemon(listeners=f'listen {{ address = "192.0.2.77:{free_port()}" }}\n')
    daemon.add_account("alice")
    status, said = start_failing(daemon)
    assert status == EX_OSERR and "192.0.2.77" in said and "assign" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_end_by_signal(server, number):
    """Sessions are cut without update, every process ends, and the status is 0."""
    clients = [server.log_in(), server.log_in("bob", over="tls"), server.connect()]
    clients[0].ok("DELE 1")
    clients[0].send(b"NOOP\r\n")  # answered or not, as it comes
    pids = [server.process.pid, *server.children().values()]
    server.process.send_signal(number)
    assert server.process.wait(WAIT) == 0
    server.process = None
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    for client in clients:
        assert client.rest() in (b"", b"+OK nothing done\r\n")
        client.close()
    assert len(server.lines_with("event=end", 'result="server stops"')) == 3
    assert server.lines_with("text=stopping") and server.lines_with("text=stopped")
    assert refused(server.port) and refused(server.tls_port)
    assert (server.mail / "alice" / "new" / "1.one").exists()
    server.check_sanitizers()
    server.start()  # at once, on the same ports
    assert server.log_in().ok("STAT") == b"+OK 1 22\r\n"


def test_end_of_old_generations_too(server):
    clients = [server.log_in()]
    hang_up(server)
    clients.append(server.log_in("bob"))
    server.stop()
    assert [client.rest() for client in clients] == [b"", b""]


def test_end_while_reloading(server):
    server.process.send_signal(signal.SIGHUP)
    server.stop()
