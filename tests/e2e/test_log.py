# SPDX-License-Identifier: MIT
"""The log of a real server: what events tell, that hostile text can not forge a line, and that no secret is in it."""

import base64
import re
import signal

import pytest

from daemon import HOST, until

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
VALUE = r'[\x21\x23-\x3c\x3e-\x5b\x5d-\x7e]+|"(?:[\x20\x21\x23-\x3c\x3e-\x5b\x5d-\x7e]|\\x[0-9a-f]{2})*"'
LINE = re.compile(rf"{STAMP} (error|warning|info|debug)((?: [a-z-]+=(?:{VALUE}))+)")


def parse(line):
    """The keys and values of a line, which must be one as documented."""
    match = LINE.fullmatch(line)
    assert match, line
    pairs = re.findall(rf" ([a-z-]+)=({VALUE})", match[2])
    keys = [key for key, _ in pairs]
    assert len(set(keys)) == len(keys), line
    return {key: value.strip('"') for key, value in pairs}


def coded(*parts):
    return base64.b64encode(b"\0".join(parts)).decode()


@pytest.fixture(autouse=True)
def all_lines_are_lines(daemon):
    yield
    for line in daemon.log_text().splitlines():
        assert list(parse(line))[:2] == ["proc", "event"], line


# --- events ---

@pytest.mark.parametrize("over,tls", [("plain", "none"), ("stls", "TLSv1.3/"), ("tls", "TLSv1.3/")])
def test_session(daemon, home, over, tls):
    for number in range(3):
        daemon.deliver(home, b"Subject: x\n\nbody\n", f"{number}.M")
    since = len(daemon.log_text())
    client = daemon.log_in(over=over)
    address = f"{HOST}:{client.sock.getsockname()[1]}"
    client.fetch("RETR 1")
    client.fetch("RETR 2")
    client.ok("DELE 1")
    client.quit()
    login = parse(daemon.wait_for("event=login ", since=since))
    end = parse(daemon.wait_for("event=end", since=since))
    assert login["tls"].startswith(tls) and login["user"] == "alice" and login["addr"] == address
    assert (login["messages"], login["octets"]) == ("3", "60")
    assert login["proc"] == end["proc"] and login["session"] == end["session"]
    wanted = {"user": "alice", "addr": address, "tls": login["tls"], "result": "quit", "fetched": "2", "deleted": "1", "left": "2"}
    assert wanted.items() <= end.items()
    assert int(end["in"]) > 50 and int(end["out"]) > 100 and int(end["ms"]) >= 0


@pytest.mark.parametrize("how,result", [("close", "disconnected"), ("bad", "refused"), ("shake", "tls failed")])
def test_session_without_login(daemon, how, result):
    since = len(daemon.log_text())
    client = daemon.connect()
    if how == "bad":
        for _ in range(10):
            client.send(b"XYZZY\r\n")
        client.rest()
    if how == "shake":
        client.ok("STLS")
    client.close()
    end = parse(daemon.wait_for("event=end", since=since))
    assert end["result"] == result
    assert end["tls"] == "none" and "user" not in end and "fetched" not in end


@pytest.fixture(name="shut", scope="module")
def make_shut(daemon):
    daemon.add_account("shut")
    assert daemon.restante("disable", "shut").returncode == 0


@pytest.mark.parametrize("name,password,reason", [("alice", "wrong", "wrong password"), ("nobody", "sesame", "unknown user"),
                                                  ("shut", "sesame", "account disabled"), ("shut", "wrong", "wrong password")])
@pytest.mark.parametrize("mechanism", ["PASS", "PLAIN"])
def test_failed_login(daemon, shut, name, password, reason, mechanism):
    """The administrator is told what the client is not."""
    since = len(daemon.log_text())
    with daemon.connect() as client:
        address = f"{HOST}:{client.sock.getsockname()[1]}"
        if mechanism == "PASS":
            client.ok(f"USER {name}")
            client.err(f"PASS {password}")
        else:
            client.err(f"AUTH PLAIN {coded(b'', name.encode(), password.encode())}")
    failed = parse(daemon.wait_for("event=login-failed", since=since))
    assert {"user": name, "addr": address, "mechanism": mechanism, "tls": "0"}.items() <= failed.items()
    assert failed["reason"] == reason
    assert failed["proc"].startswith("auth.") and failed["session"].isdigit() and failed["worker"].isdigit()


# --- hostile text ---

FORGED = b'x\n2025-01-01T00:00:00.000Z info proc=master event=login user=root addr=192.0.2.1:1 tls=none'
NAMES = {"line": FORGED, "return": b"a\r\nb", "quote": b'a" event=end user="b', "backslash": b"a\\x41\\", "terminal": b"\x1b[2J\x1b]0;x\x07",
         "utf-8": "b\u00fcrger\u202e".encode(), "8-bit": bytes(range(128, 256)), "octets": b"a\xc3", "space": b"a b=c", "long": b"n" * 900, "%": b"%s%n%99999d"}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_hostile_name(daemon, name):
    since = len(daemon.log_text())
    with daemon.connect() as client:
        assert client.ask(f"AUTH PLAIN {coded(b'', name, b'wrong')}").startswith(b"-ERR")
        client.ok("CAPA")
        client.multi_rest()
    daemon.wait_for("event=end", since=since)
    failed = daemon.wait_for("event=login-failed", since=since)
    new = daemon.log_text()[since:].splitlines()
    assert sum("event=login-failed" in line for line in new) == 1
    assert not [line for line in new if "event=login " in line and "user=root" in parse(line).get("user", "")]
    shown = parse(failed)["user"]
    plain = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), shown.encode())
    if set(name) <= set(range(0x20, 0x7f)):
        assert plain and name.startswith(plain), (plain, name)
    else:
        assert plain == b"" and "not what the mechanism expects" in failed, failed
    assert len(failed) < 4096


@pytest.mark.parametrize("command", [b"USER \xff\xfe\x1b[31m", b"USER " + b"n" * 240, b"\x1b[2J\x00\x01", b"STAT event=login user=root",
                                     b"x" * 5000], ids=["8-bit", "long", "control", "forged", "endless"])
def test_hostile_command(daemon, command):
    since = len(daemon.log_text())
    with daemon.connect() as client:
        client.send(command + b"\r\nPASS x\r\nQUIT\r\n")
        client.rest()
    daemon.wait_for("event=end", since=since)
    assert "event=login user=root" not in daemon.log_text()


# --- secrets ---

def forms(secret):
    """A secret as it is, and as base64 shows it at each of the three offsets."""
    found = [secret, secret[::-1], secret.hex().encode()]
    for offset in range(3):
        whole = base64.b64encode(b"x" * offset + secret)
        found.append(whole[4:-4] if offset else whole[:-4])
    return found


def guess(client, secrets):
    """Every way in which a password may come to the wrong place. Uses one secret for each."""
    def fresh(label):
        secrets.append(f"Zq{len(secrets):02}{label}SecretWord7Kx".encode())
        return secrets[-1]

    for line in (b"PASS %s", b"pass  %s", b"PASS%s", b"%s", b"PAS %s", b"USER alice %s", b"APOP alice %s", b"AUTH %s", b"XAUTH PLAIN %s",
                 b"PASS %s " + b"x" * 300):
        client.send(line % fresh("c") + b"\r\n")
        client.line()
    for raw in (b"\0alice\0%s", b"%s", b"alice\0%s", b"\0alice\0%s\0", b"bob\0alice\0%s", b"\0\0%s"):
        response = base64.b64encode(raw % fresh("p"))
        client.send(b"AUTH PLAIN " + response + b"\r\nAUTH PLAIN\r\n" + response + b"\r\nNOOP " + response + b"\r\n")
        for _ in range(4):
            client.line()
    client.send(b"AUTH LOGIN\r\nYWxpY2U=\r\n" + base64.b64encode(fresh("l")) + b"\r\n")
    client.send(b"AUTH LOGIN\r\nYWxpY2U=\r\n" + fresh("l") + b"!\r\n")
    for _ in range(6):
        client.line()


def test_no_secret_is_logged(make_daemon):
    secrets = [b"Zq-the-right-SecretWord7Kx"]
    daemon = make_daemon(limits="bad_commands = 1000")
    assert "level = debug" in daemon.conf.read_text(encoding="ascii")
    daemon.add_account("alice", secrets[0].decode())
    daemon.start()
    right = base64.b64encode(b"\0alice\0" + secrets[0]).decode()
    for over in ("plain", "tls"):
        with daemon.connect(over) as client:
            guess(client, secrets)
            client.ok("USER alice")
            client.send(b"PASS " + secrets[0])  # cut before its end
        with daemon.connect(over) as client:
            client.ok("USER alice")
            client.ok(f"PASS {secrets[0].decode()}")
            client.err(f"AUTH PLAIN {right}")
            client.quit()
        until(lambda: len(daemon.lines_with("event=login ")) % 2 == 1 or over == "tls", "the login in the log")
        with daemon.connect(over) as client:
            reply = client.ask(f"AUTH PLAIN {right}")
            assert reply.startswith((b"+OK", b"-ERR [IN-USE]")), reply
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("text=reloading")
    daemon.stop()
    assert len(daemon.lines_with("event=login-failed")) > 10
    text = daemon.log.read_bytes() + (daemon.folder / "output").read_bytes()
    for path in (daemon.folder / "accounts").iterdir():
        text += path.read_bytes()
    for secret in secrets:
        for form in forms(secret):
            assert form not in text, (secret, form)


# --- the file ---

def test_rotated_file(make_daemon):
    """Old sessions too write to the new file once SIGHUP has come."""
    daemon = make_daemon()
    daemon.add_account("alice")
    daemon.start()
    client = daemon.log_in()
    daemon.wait_for("event=login ")
    old = daemon.log.rename(daemon.folder / "log.1")
    size = old.stat().st_size
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("event=serving")
    client.quit()
    daemon.wait_for("event=end", "user=alice", "result=quit")
    assert old.stat().st_size - size < 400, "at most what was on its way"
    assert daemon.log.stat().st_mode & 0o077 in (0, 0o040), "the log tells who reads mail and from where"
