# SPDX-License-Identifier: MIT
"""`restante deliver`: what it puts into a maildrop, what it refuses, how it exits, and mail that comes in while
sessions fetch and delete."""

import os
import resource
import shutil
import subprocess
import threading

import pytest

from daemon import BUILD, IS_ROOT, UIDS, WAIT, wire_form
from maildrops import files, log_in_again

EX_USAGE, EX_NOINPUT, EX_NOUSER, EX_CANTCREAT, EX_TEMPFAIL = 64, 66, 67, 73, 75
MESSAGE = b"Subject: hello\n\nThe text.\n"


def deliver(daemon, *words, raw=MESSAGE):
    return daemon.command("deliver", *words, given=raw)


def delivered(home):
    """The octets of the one message in new/."""
    (name,) = os.listdir(home / "new")
    assert not os.listdir(home / "tmp")
    assert (home / "new" / name).stat().st_mode & 0o777 == 0o600
    return (home / "new" / name).read_bytes()


def take_one(daemon, home, *words, raw=MESSAGE):
    done = deliver(daemon, *words, raw=raw)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    octets = delivered(home)
    shutil.rmtree(home / "new")
    return octets


def test_what_is_put_into_the_maildrop(daemon, home):
    assert take_one(daemon, home, "alice") == MESSAGE
    assert take_one(daemon, home, "ALICE", raw=MESSAGE.replace(b"\n", b"\r\n")) == MESSAGE
    from_line = b"From bob@example.org Thu Jan  1 00:00:00 1970\n"
    assert take_one(daemon, home, "alice", raw=from_line + MESSAGE) == MESSAGE
    assert take_one(daemon, home, "alice", raw=b"From") == b"From"
    assert take_one(daemon, home, "alice", raw=from_line + from_line) == from_line
    assert take_one(daemon, home, "alice", raw=b"a\rb\0\r\r\n.\n>From x") == b"a\rb\0\r\r\n.\n>From x"
    big = b"Subject: x\n\n" + os.urandom(3000000).replace(b"\r", b"")
    assert take_one(daemon, home, "alice", raw=big) == big
    assert take_one(daemon, home, "-f", "bob@example.org", "-a", "alice@example.org", "alice") == \
        b"Return-Path: <bob@example.org>\nDelivered-To: alice@example.org\n" + MESSAGE
    for null in ("", "<>", "MAILER-DAEMON"):
        assert take_one(daemon, home, "--from", null, "alice") == b"Return-Path: <>\n" + MESSAGE
    assert take_one(daemon, home, "--from=<a b@example.org>", "--", "alice") == \
        b"Return-Path: <a b@example.org>\n" + MESSAGE


def test_line_that_comes_in_pieces(daemon, home):
    pieces = [b"Fr", b"om bob Thu", b" Jan 1", b" 00:00\nSubject: x\r", b"\n", b"\r", b"\nText\r"]
    process = subprocess.Popen([BUILD / "src/admin/restante", "deliver", "-c", daemon.conf, "alice"], bufsize=0,
                               stdin=subprocess.PIPE)
    for piece in pieces:
        process.stdin.write(piece)
        threading.Event().wait(0.05)
    process.stdin.close()
    assert process.wait(WAIT) == 0
    assert delivered(home) == b"Subject: x\n\nText\r"


def test_next_session_has_it(daemon, home):
    client = daemon.log_in()
    assert deliver(daemon, "alice").returncode == 0
    assert client.multi("LIST") == []
    client.quit()
    client = daemon.log_in()
    assert client.multi("UIDL") == [b"1 " + os.listdir(home / "new")[0].encode() + b"\r\n"]
    assert client.fetch("RETR 1") == wire_form(MESSAGE)
    client.quit()


def test_maildrop_is_made(daemon, home):
    shutil.rmtree(home)
    assert take_one(daemon, home, "alice") == MESSAGE
    assert home.stat().st_mode & 0o777 == 0o700
    if IS_ROOT:
        assert home.stat().st_uid == UIDS["keeper"]


def expect(daemon, status, *words, text="", raw=MESSAGE):
    done = deliver(daemon, *words, raw=raw)
    assert done.returncode == status, done
    assert text.encode() in done.stderr and done.stderr.count(b"\n") >= 1 and not done.stdout


def test_refusals(daemon, home):
    expect(daemon, EX_NOUSER, "nobody", text="nobody")
    expect(daemon, EX_NOUSER, "../alice", text="alice")
    expect(daemon, EX_NOINPUT, "alice", raw=b"", text="empty")
    expect(daemon, EX_USAGE)
    expect(daemon, EX_USAGE, "alice", "bob")
    expect(daemon, EX_USAGE, "--nothing", "alice")
    expect(daemon, EX_USAGE, "-f", "a\nX-Bad: yes", "alice")
    expect(daemon, EX_USAGE, "-a", "a" * 513, "alice")
    daemon.restante("disable", "alice")
    expect(daemon, EX_NOUSER, "alice", text="takes no mail")
    daemon.restante("enable", "alice")
    expect(daemon, EX_TEMPFAIL, "-c", "/nonexistent/restanted.conf", "alice", text="/nonexistent/restanted.conf")
    assert files(home) == set() and not os.listdir(home / "tmp")


def test_trouble_with_the_maildrop(daemon, home):
    """Whatever it is, the message stays with the sender."""
    (home / "new").rmdir()
    (home / "new").write_bytes(b"")
    expect(daemon, EX_TEMPFAIL, "alice", text="new")
    (home / "new").unlink()
    (home / "new").symlink_to("cur")
    expect(daemon, EX_TEMPFAIL, "alice")
    (home / "new").unlink()
    assert files_of(home) == {"cur", "tmp"}
    shutil.rmtree(home)
    home.write_bytes(b"somebody's file\n")
    expect(daemon, EX_TEMPFAIL, "alice", text="alice")
    assert home.read_bytes() == b"somebody's file\n"
    home.unlink()


def deliver_limited(daemon, name, raw):
    """As from a mail program that lets its commands write files of 8 KiB: Postfix has mailbox_size_limit for that."""
    return subprocess.run([BUILD / "src/admin/restante", "deliver", "-c", daemon.conf, name], input=raw, capture_output=True,
                          check=False, timeout=WAIT, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)))


def test_file_that_may_not_grow(daemon, home):
    """The message stays with the sender, and what is there stays as it is."""
    done = deliver_limited(daemon, "alice", b"x" * 9000)
    assert done.returncode == EX_TEMPFAIL and b"can not be written" in done.stderr, done
    assert files(home) == set() and not os.listdir(home / "tmp")
    box = daemon.mail / "limited"
    daemon.restante("add", "carol", "--maildrop", f"mbox:{box}", password=b"sesame\n")
    assert deliver_limited(daemon, "carol", b"x" * 5000).returncode == 0
    before = box.read_bytes()
    done = deliver_limited(daemon, "carol", b"y" * 5000)
    assert done.returncode == EX_TEMPFAIL and b"can not be appended" in done.stderr, done
    assert box.read_bytes() == before
    daemon.restante("del", "carol")


def test_quota(daemon, home):
    """By the account's own limit; a message that does not fit is refused whole, a smaller one is not."""
    assert daemon.restante("quota", "alice", "--octets", "1K", "--messages", "3").returncode == 0
    big = b"Subject: x\n\n" + b"x" * 997 + b"\n"  # 1013 octets on the wire
    assert deliver(daemon, "alice", raw=big).returncode == 0
    expect(daemon, EX_CANTCREAT, "alice", text="quota", raw=b"Subject: y\n")
    assert deliver(daemon, "alice", raw=b"123456789\n").returncode == 0
    client = daemon.log_in()
    client.ok("DELE 1")
    client.quit()
    for _ in range(2):
        assert deliver(daemon, "alice", raw=b"x\n").returncode == 0
    expect(daemon, EX_CANTCREAT, "alice", text="3 messages", raw=b"x\n")
    assert len(files(home)) == 3 and not os.listdir(home / "tmp")
    daemon.restante("quota", "alice", "--octets", "none", "--messages", "none")
    assert deliver(daemon, "alice", raw=big).returncode == 0
    daemon.restante("quota", "alice", "--octets", "default", "--messages", "default")


def files_of(home):
    return {name for name in os.listdir(home) if not name.startswith("restante.")}


@pytest.mark.skipif(not IS_ROOT, reason="only root can be somebody else")
def test_as_the_mail_user(daemon, home):
    """It may deliver once it is let at the accounts; before, the message waits."""
    accounts = daemon.folder / "accounts"
    # Builds lie where others may not go; what it runs is copied.
    program = daemon.folder / "restante-deliver"
    shutil.copy(BUILD / "src/admin/restante-deliver", program)

    def run():
        return subprocess.run(["setpriv", "--reuid", str(UIDS["keeper"]), "--regid", str(UIDS["keeper"]),
                               "--clear-groups", program, "-c", daemon.conf, "alice"],
                              input=MESSAGE, capture_output=True, check=False, timeout=WAIT)

    done = run()
    assert done.returncode == EX_TEMPFAIL and b"uid %d read that file" % UIDS["keeper"] in done.stderr, done
    for path, mode in ((accounts, 0o750), (accounts / "accounts.sqlite", 0o640)):
        os.chown(path, UIDS["auth"], UIDS["keeper"])
        path.chmod(mode)
    done = run()
    assert done.returncode == 0, done
    assert delivered(home) == MESSAGE


def test_every_message_arrives_once(daemon, home):
    """Many come in at once while a robot fetches and deletes what is there."""
    count, senders = 300, 4
    fetched, failed = [], []

    def send(first):
        for number in range(first, count, senders):
            done = deliver(daemon, "-f", "", "alice", raw=b"Subject: %d\n\ntext\n" % number)
            if done.returncode != 0:
                failed.append(done)

    threads = [threading.Thread(target=send, args=(first,)) for first in range(senders)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or files(home):
        client = log_in_again(daemon)
        for number in range(1, len(client.multi("LIST")) + 1):
            wire = client.fetch(f"RETR {number}")
            assert wire.startswith(b"Return-Path: <>\r\nSubject: ") and wire.endswith(b"\r\n\r\ntext\r\n")
            fetched.append(int(wire.split()[3]))
            client.ok(f"DELE {number}")
        client.quit()
    assert not failed, failed[0]
    assert sorted(fetched) == list(range(count))
    assert not os.listdir(home / "tmp")
