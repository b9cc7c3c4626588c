# SPDX-License-Identifier: MIT
"""Mail comes in by LMTP: what is stored is what was sent, each recipient hears his own answer, and a message is there
as a whole or not at all."""

import os
import random
import signal
import smtplib
import socket
import stat
import subprocess
import time

import pytest

import lmtp
from daemon import HOST, IS_ROOT, WAIT, free_port, serve, until, wire_form
from lmtp import Lmtp, is_clean, mail_in, split

MESSAGE = b"Subject: one\nFrom: a@example.com\n\nbody\n"
MESSAGE_MAX = 100000


@pytest.fixture(scope="module", name="server")
def make_server():
    """Accounts alice and carol@example.org, a full one, a disabled one, and one whose maildrop is a file."""
    def prepare(daemon):
        lmtp.settings(daemon, f"lmtp {{ max_message = {MESSAGE_MAX} domains = example.org hostname = mx.example.org }}\n")
        for name in ("carol@example.org", "full", "disabled", "broken", "a+b"):
            daemon.add_account(name)
        assert daemon.restante("quota", "--messages", "1", "full").returncode == 0
        assert daemon.restante("disable", "disabled").returncode == 0
    yield from serve(prepare=prepare, certificates=False)


@pytest.fixture(name="alice")
def make_alice(server):
    return server.make_maildir("alice")


@pytest.fixture(name="carol")
def make_carol(server):
    return server.make_maildir("carol@example.org")


@pytest.fixture(name="over", params=["tcp", "unix"])
def make_over(request, server):
    return server.lmtp_port if request.param == "tcp" else server.lmtp_path


def test_delivery_and_added_lines(server, alice, over):
    with Lmtp(over) as client:
        assert client.greeting == b"220 mx.example.org LMTP server ready (Restante)\r\n"
        assert b"250 SIZE 100000\r\n" in client.capabilities
        assert client.deliver(MESSAGE, "alice@example.org", sender="Sender@example.com") == [b"250 2.0.0 delivered\r\n"]
        assert client.deliver(MESSAGE, "alice@example.org", sender="") == [b"250 2.0.0 delivered\r\n"]
    found = [split(path.read_bytes()) for path in (alice / "new").iterdir()]
    assert sorted(found) == [(b"", b"alice@example.org", MESSAGE), (b"Sender@example.com", b"alice@example.org", MESSAGE)]
    for path in (alice / "new").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    is_clean(alice)
    server.wait_for("event=delivered", "from=Sender@example.com", "to=alice@example.org", "user=alice", "result=delivered")
    client = server.log_in()
    raw = sorted((alice / "new").iterdir())[0].read_bytes()
    assert client.fetch("RETR 1") == wire_form(raw)
    client.quit()


def test_one_file_for_many(server, alice, carol, over):
    with Lmtp(over) as client:
        replies = client.deliver(MESSAGE, "alice@example.org", "carol@example.org", "alice@example.org")
        assert replies == [b"250 2.0.0 delivered\r\n"] * 3
    files = [*(alice / "new").iterdir(), *(carol / "new").iterdir()]
    assert len(files) == 3 and len({path.stat().st_ino for path in files}) == 1
    assert split(files[0].read_bytes())[1:] == (None, MESSAGE), "they would hear of each other"
    is_clean(alice)


def test_each_recipient_hears_his_own(server, alice, over):
    """Pipelined, as RFC 2920 has it, up to DATA and from the message's end on."""
    full, broken = server.make_maildir("full"), server.make_maildir("broken")
    server.deliver(full, MESSAGE, "1.one")
    for part in ("cur", "new", "tmp"):
        (broken / part).rmdir()
    broken.rmdir()
    broken.write_bytes(b"")
    to = ["nobody@example.org", "disabled@example.org", "full@example.org", "alice@example.org", "broken@example.org",
          "alice@elsewhere.example", "alice"]
    with Lmtp(over) as client:
        lines = ["MAIL FROM:<a@example.com> SIZE=100 BODY=8BITMIME", *(f"RCPT TO:<{one}>" for one in to), "DATA"]
        client.send("".join(line + "\r\n" for line in lines).encode())
        codes = [client.line()[:9] for _ in lines]
        assert codes == [b"250 2.1.0", b"550 5.1.1", b"550 5.2.1", b"250 2.1.5", b"250 2.1.5", b"250 2.1.5", b"550 5.1.1",
                         b"250 2.1.5", b"354 send "]
        client.send(lmtp.stuffed(MESSAGE) + b".\r\nRSET\r\nQUIT\r\n")
        assert [client.line()[:9] for _ in range(6)] == [b"552 5.2.2", b"250 2.0.0", b"451 4.2.0", b"250 2.0.0",
                                                         b"250 2.0.0", b"221 2.0.0"]
    assert mail_in(alice) == [MESSAGE] * 2
    broken.unlink()
    server.wait_for("event=recipient-refused", "to=nobody@example.org", "result=unknown")
    server.wait_for("event=not-delivered", "to=full@example.org", 'result="over quota"')
    server.wait_for("event=deliver-failed", "maildrop=maildir:", "broken")


@pytest.mark.parametrize("address,account", [
    ("alice@example.org", "alice"), ("ALICE@EXAMPLE.ORG", "alice"), ("alice+news@example.org", "alice"), ("alice", "alice"),
    ('"alice"@example.org', "alice"), ("@relay.example:alice@example.org", "alice"), ("a+b@example.org", "a+b"),
    ("carol@example.org", "carol@example.org"), ("carol+x+y@example.org", "carol@example.org"), ("a+c@example.org", None),
    ("carol", None), ("carol@example.net", None), ("alice@example.net", None), ("+alice@example.org", None), ("alice@", None),
    ("../alice@example.org", None), ("a%00lice@example.org", None), ("x" * 300 + "@example.org", None),
])
def test_addresses(server, address, account):
    with Lmtp(server.lmtp_path) as client:
        client.expect("250", "MAIL FROM:<>")
        reply = client.ask(f"RCPT TO:<{address}>")
        assert reply.startswith(b"250 2.1.5" if account else b"550 5.1.1"), reply
        if account:
            home = server.make_maildir(account)
            client.expect("354", "DATA")
            assert client.finish(MESSAGE)[0].startswith(b"250")
            assert mail_in(home) == [MESSAGE]


CONTENTS = {
    "empty": b"", "no-header": b"\n", "dots": b".\n..\n.x\n\n.\n", "no-line-end-in-header": b"a",
    "eight-bit": bytes(range(128, 256)) + b"\n", "nul": b"a\0b\n\0\n", "bare-cr": b"a\rb\r\rc\n", "long-line": b"x" * 90000 + b"\n",
    "many-lines": b"\n" * 40000,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_content_is_kept(server, alice, content):
    if content and not content.endswith(b"\n"):
        content += b"\n"
    with Lmtp(server.lmtp_port) as client:
        assert client.deliver(content, "alice")[0].startswith(b"250")
    assert mail_in(alice) == [content]


def test_nothing_is_smuggled(server, alice):
    """Whatever others may take for the end of a message: only CRLF.CRLF is."""
    tricks = [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r", b"\n.\r\r\n"]
    with Lmtp(server.lmtp_port) as client:
        for trick in tricks:
            client.begin("alice")
            client.send(b"a" + trick + b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<alice>\r\nDATA\r\nevil\r\n.\r\n")
            assert client.line().startswith(b"250 2.0.0 delivered")
        client.expect("250", "NOOP")
        client.send(b"MAIL FROM:<a@example.com>\nRCPT TO:<alice>\r\n")
        assert client.line().startswith(b"500 5.5.2")
        assert client.rest() == b""
    found = mail_in(alice)
    assert len(found) == len(tricks) and all(b"evil@example.com" in message for message in found)


def test_too_large(server, alice):
    with Lmtp(server.lmtp_port) as client:
        assert client.ask(f"MAIL FROM:<> SIZE={MESSAGE_MAX + 1}").startswith(b"552 5.3.4")
        client.begin("alice")
        line = b"x" * 98 + b"\n"
        assert client.finish(line * 1000)[0].startswith(b"250"), "to the octet"
        client.begin("alice", "alice")
        assert [reply[:9] for reply in client.finish(line * 1000 + b"\n", 2)] == [b"552 5.3.4"] * 2
        client.begin("alice")
        assert client.finish(line * 60000)[0].startswith(b"552 5.3.4")
        assert client.deliver(MESSAGE, "alice")[0].startswith(b"250"), "the session goes on"
    assert len(mail_in(alice)) == 2
    is_clean(alice)


@pytest.mark.parametrize("part", [b"", b"Subject: x\r\n\r\nhalf", b"x\r\n.\r", b"x\r\n" * 20000])
def test_client_leaves_in_the_middle(server, alice, part):
    since = len(server.log_text())
    client = Lmtp(server.lmtp_port)
    client.begin("alice")
    client.send(part)
    client.close()
    server.wait_for("event=end", "result=disconnected", "protocol=lmtp", since=since)
    is_clean(alice)
    assert mail_in(alice) == []


def test_reset_and_second_hello(server, alice):
    with Lmtp(server.lmtp_port) as client:
        for word in ("RSET", "LHLO again.example"):
            client.expect("250", "MAIL FROM:<x@example.com>")
            client.expect("250", "RCPT TO:<alice>")
            client.ask_all(word)
            client.expect("503", "DATA")
        assert client.deliver(MESSAGE, "alice")[0].startswith(b"250")
    assert mail_in(alice) == [MESSAGE]


def test_hundred_recipients(server, alice, carol):
    with Lmtp(server.lmtp_path) as client:
        client.expect("250", "MAIL FROM:<x@example.com>")
        client.send(b"RCPT TO:<alice>\r\nRCPT TO:<carol@example.org>\r\n" * 51)
        assert [client.line()[:9] for _ in range(102)] == [b"250 2.1.5"] * 100 + [b"452 4.5.3"] * 2
        client.expect("354", "DATA")
        assert {reply[:3] for reply in client.finish(MESSAGE, 100)} == {b"250"}
    files = [*(alice / "new").iterdir(), *(carol / "new").iterdir()]
    assert len(files) == 100 and len({path.stat().st_ino for path in files}) == 1


def test_with_smtplib(server, alice, carol):
    """Python's client, which speaks LMTP over both kinds of sockets."""
    for where in ((HOST, server.lmtp_port), (str(server.lmtp_path), 0)):
        with smtplib.LMTP(*where) as client:
            client.ehlo_or_helo_if_needed()
            assert client.has_extn("pipelining") and client.has_extn("8bitmime") and client.has_extn("smtputf8")
            refused = client.sendmail("a@example.com", ["alice@example.org", "nobody@example.org"], wire_form(MESSAGE))
            assert list(refused) == ["nobody@example.org"] and refused["nobody@example.org"][0] == 550
            client.sendmail("a@example.com", "carol@example.org", "Subject: gr\u00fcn\r\n\r\n\u00fc\r\n".encode(),
                            mail_options=["SMTPUTF8", "BODY=8BITMIME"])
    assert mail_in(alice) == [MESSAGE] * 2
    assert mail_in(carol) == ["Subject: gr\u00fcn\n\n\u00fc\n".encode()] * 2


def test_session_in_progress_sees_nothing_new(server, alice):
    """A snapshot is taken at login; what is delivered meanwhile is for the next session."""
    with Lmtp(server.lmtp_port) as client:
        client.deliver(MESSAGE, "alice")
        reader = server.log_in()
        client.deliver(MESSAGE, "alice")
        assert reader.ok("STAT").startswith(b"+OK 1 ")
        reader.ok("DELE 1")
        reader.quit()
        reader = server.log_in()
        assert reader.ok("STAT").startswith(b"+OK 1 ")
        reader.quit()


def test_greedy_sender_is_not_kept_in_memory(server, alice):
    """Ten clients send as fast as they can; the workers stay as they are."""
    def resident():
        pids = [pid for name, pid in server.children().items() if name.startswith("worker")]
        fields = [open(f"/proc/{pid}/statm", encoding="ascii").read().split() for pid in pids]
        return sum(int(field[1]) - int(field[2]) for field in fields) * os.sysconf("SC_PAGE_SIZE")
    clients = [Lmtp(server.lmtp_path) for _ in range(10)]
    for client in clients:
        client.begin("alice")
    before = resident()
    for _ in range(10):
        for client in clients:
            client.send(b"x" * 78 + b"\r\n")
            client.send((b"x" * 78 + b"\r\n") * 10000)
    assert resident() - before < 4 << 20
    for client in clients:
        assert client.finish(b"")[0].startswith(b"552 5.3.4")
        client.close()
    is_clean(alice)


def test_log_cannot_be_forged(server, alice):
    """What a client says is one value in a line, whatever is in it."""
    since = len(server.log_text())
    with Lmtp(server.lmtp_port) as client:
        client.expect("250", 'MAIL FROM:<"a\\" result=delivered x=\\"b"@example.com> SMTPUTF8')
        client.expect("550", 'RCPT TO:<"x event=delivered to=alice"@example.org>')
        client.expect("550", "RCPT TO:<\u202e\u00e9@example.org>")
    quoted = r'"\x22x event\x3ddelivered to\x3dalice\x22@example.org"'
    server.wait_for("event=recipient-refused", f"to={quoted} result=unknown", since=since)
    server.wait_for(r'from="\x22a\x5c\x22 result\x3ddelivered x\x3d\x5c\x22b\x22@example.com" ', since=since)
    server.wait_for(r'to="\xe2\x80\xae\xc3\xa9@example.org" ', since=since)


def test_random_pieces(server, alice):
    chance = random.Random(3)
    sent = []
    with Lmtp(server.lmtp_port) as client:
        for _ in range(20):
            message = bytes(chance.choice(b".\nab\0\xff") for _ in range(chance.randrange(3000))) + b"\n"
            sent.append(message)
            client.begin("alice")
            wire = lmtp.stuffed(message) + b".\r\n"
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while wire:
                size = chance.choice((1, 2, 7, 1000))
                client.send(wire[:size])
                wire = wire[size:]
            assert client.line().startswith(b"250")
    assert mail_in(alice) == sorted(sent)


def test_mbox_and_maildir_in_one_transaction(server, alice):
    """Kinds of maildrops that share no file."""
    mbox = server.mail / "mboxes" / "boxed"
    if not mbox.parent.exists():
        mbox.parent.mkdir()
        server.give(mbox.parent)
        run = server.restante("add", "--password-stdin", "--maildrop", f"mbox:{mbox}", "boxed", password=b"sesame\n")
        assert run.returncode == 0, run.stderr
    with Lmtp(server.lmtp_port) as client:
        for to in (("alice", "boxed"), ("boxed", "alice")):
            assert client.deliver(MESSAGE + b"From here\n", *to) == [b"250 2.0.0 delivered\r\n"] * 2
    assert mail_in(alice) == [MESSAGE + b"From here\n"] * 2
    reader = server.log_in("boxed")
    for number in (1, 2):
        assert reader.fetch(f"RETR {number}").endswith(wire_form(MESSAGE + b"From here\n"))
    reader.quit()


# --- listeners ---


def test_unix_socket(make_daemon):
    server = make_daemon(certificates=False)
    lmtp.settings(server)
    server.listeners = server.listeners.replace("mode = 0666", "mode = 0620" + (' group = "61186"' if IS_ROOT else ""))
    server.write_configuration()
    home = server.add_account("alice")
    path = server.lmtp_path
    with socket.socket(socket.AF_UNIX) as left:  # as a server leaves it that was killed
        left.bind(str(path))
    server.start()
    found = path.stat()
    assert stat.S_ISSOCK(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o620
    assert not IS_ROOT or found.st_gid == 61186
    used = set()
    for _ in range(40):  # all workers accept from it
        with Lmtp(path) as client:
            client.deliver(MESSAGE, "alice")
    used = {line.split("proc=")[1].split()[0] for line in server.lines_with("event=delivered")}
    assert len(used) >= 1 and len(mail_in(home)) == 40
    again = subprocess.run([*server.server_command()], capture_output=True, text=True, check=False, timeout=WAIT)
    assert again.returncode == 69 and "cannot listen" in again.stderr, again
    server.stop()
    assert not path.exists()
    server.start()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        server.stop()
        assert path.exists(), "it was somebody else's"
    path.unlink()
    path.write_bytes(b"not ours")
    again = subprocess.run([*server.server_command()], capture_output=True, text=True, check=False, timeout=WAIT)
    assert again.returncode and "is no socket" in again.stderr
    assert path.read_bytes() == b"not ours"


def test_reload_keeps_the_socket(make_daemon):
    """A session goes on, new ones come to the new workers, and a section that goes takes its socket along."""
    server = make_daemon(certificates=False)
    lmtp.settings(server)
    home = server.add_account("alice")
    server.start()
    with Lmtp(server.lmtp_path) as client:
        client.begin("alice")
        since = len(server.log_text())
        server.process.send_signal(1)
        server.wait_for("event=serving", since=since)
        with Lmtp(server.lmtp_path) as other:
            assert other.deliver(MESSAGE, "alice")[0].startswith(b"250")
        assert client.finish(MESSAGE)[0].startswith(b"250")
    assert mail_in(home) == [MESSAGE] * 2
    server.listeners = ""
    server.write_configuration()
    since = len(server.log_text())
    server.process.send_signal(1)
    server.wait_for("event=serving", since=since)
    assert not server.lmtp_path.exists()

    def is_refused():  # once the old workers have let go of it
        try:
            Lmtp(server.lmtp_port).close()
        except (ConnectionRefusedError, ConnectionResetError, EOFError):
            return True
        return False
    until(is_refused, "nobody listens there any more")


def test_stop_lets_a_delivery_finish(make_daemon):
    """What is on its way to the disk is answered; what is not complete is forgotten."""
    server = make_daemon(certificates=False)
    lmtp.settings(server)
    home = server.add_account("alice")
    server.start()
    idle, filling, finishing = (Lmtp(server.lmtp_path) for _ in range(3))
    filling.begin("alice")
    finishing.begin("alice")
    keeper, since = server.pid_of("keeper"), len(server.log_text())
    os.kill(keeper, signal.SIGSTOP)
    finishing.send(lmtp.stuffed(MESSAGE) + b".\r\n")
    time.sleep(0.2)  # it is with the keeper
    server.process.terminate()
    server.wait_for("event=end", "protocol=lmtp", since=since)
    os.kill(keeper, signal.SIGCONT)
    assert finishing.line() == b"250 2.0.0 delivered\r\n"
    for client in (idle, filling, finishing):
        assert client.rest() in (b"", b"421 4.3.2 the server stops\r\n")
        client.close()
    assert server.process.wait(WAIT) == 0
    server.process = None
    assert mail_in(home) == [MESSAGE]
    assert list((home / "tmp").iterdir()) == []


def test_configuration_errors(make_daemon):
    server = make_daemon(certificates=False)
    port = free_port()
    server.listeners = (f'listen {{ address = "{HOST}:{port}" protocol = lmtp tls = yes }}\n'
                        'listen { address = "192.0.2.1:25" protocol = lmtp }\n'
                        'listen { address = "unix:relative" }\nlisten { address = "unix:/x" mode = 999 }\n')
    server.write_configuration()
    run = subprocess.run([*server.server_command(), "-t"], capture_output=True, text=True, check=False, timeout=WAIT)
    assert run.returncode == 78
    assert "is not like unix:" in run.stderr and "is not a mode" in run.stderr
    server.listeners = server.listeners.split("listen {")[1].join(("listen {", ""))
    server.listeners += ('listen { address = "192.0.2.1:25" protocol = lmtp }\n'
                         'listen { address = "unix:/nonexistent/lmtp" protocol = lmtp group = "no-such-group" }\n')
    server.write_configuration()
    run = subprocess.run([*server.server_command(), "-t"], capture_output=True, text=True, check=False, timeout=WAIT)
    assert run.returncode == 78
    assert "there is no TLS for LMTP" in run.stderr and "must not be served there" in run.stderr


def test_idle_client_is_disconnected(make_daemon):
    server = make_daemon(certificates=False)
    lmtp.settings(server, "lmtp { timeout = 1s }\n")
    server.add_account("alice")
    server.start()
    with Lmtp(server.lmtp_port) as client:
        client.begin("alice")
        began = time.monotonic()
        assert client.rest() == b""
        assert time.monotonic() - began < WAIT / 2
    is_clean(server.mail / "alice")
    with Lmtp(server.lmtp_port) as client:  # nor does one stay for ever that waits for a process of ours
        client.expect("250", "MAIL FROM:<>")
        auth = server.pid_of("auth")
        os.kill(auth, signal.SIGSTOP)
        client.send(b"RCPT TO:<alice>\r\n")
        assert client.rest() == b""
        os.kill(auth, signal.SIGCONT)
    until(lambda: len(server.lines_with("event=end", "result=timeout", "protocol=lmtp")) == 2, "the log says so")
