# SPDX-License-Identifier: MIT
"""A disk that is full, read-only, or lets only some deletions through: what cannot be done is not reported as done, and
nothing is lost. Most of it needs a small file system of its own, and so root."""

import ctypes
import errno
import os
import re
import subprocess

import pytest

import lmtp
from daemon import IS_ROOT, Daemon, wire_form
from maildrops import files, fill, listed, log_in_again, message, name_of

CLONE_NEWNS = 0x20000
MESSAGES = 20
PAGES = 64  # of the file system, 4 KiB each


def own_mounts():
    """Mounts of this process and its children from now on are theirs alone, and end with them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        pytest.skip(f"no mounts of one's own: {os.strerror(ctypes.get_errno())}")
    mount("--make-rprivate", "/")


def mount(*arguments):
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount {' '.join(map(str, arguments))}: {done.stderr.strip()}")


@pytest.fixture(name="disk")
def make_disk():
    """A server whose maildrops lie on a small file system, and alice's Maildir in it."""
    if not IS_ROOT:
        pytest.skip("only root can mount a small file system")
    own_mounts()
    server = Daemon(certificates=False)
    try:
        mount("-t", "tmpfs", "-o", f"size={PAGES * 4}k,mode=0700", "restante-e2e", server.mail)
        server.give(server.mail)
        lmtp.settings(server)
        home = server.add_account("alice")
        server.start()
        yield server, home
        server.stop()
    finally:
        if server.process:
            server.process.kill()
            server.process.wait()
        subprocess.run(["umount", "-l", server.mail], check=False, capture_output=True)
        server.remove()


def remount(server, mode):
    done = subprocess.run(["mount", "-o", f"remount,{mode}", server.mail], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def fill_disk(server):
    """Takes the last octet there is."""
    path = server.mail / "ballast"
    with open(path, "ab", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return path


def names(numbers):
    return {name_of(number) for number in numbers}


def delete(client, numbers):
    for number in numbers:
        client.ok(f"DELE {number}")


def check_refusal(reply, removed, marked):
    assert reply.startswith(b"-ERR [SYS/TEMP]"), reply
    assert re.search(rb"\((\d+) of (\d+) removed\)", reply).groups() == (b"%d" % removed, b"%d" % marked)


def check_session(server, numbers):
    """A session that can read these and only these."""
    client = log_in_again(server)
    assert listed(client) == {name_of(number): len(wire_form(message(number))) for number in numbers}
    for at, number in enumerate(numbers, 1):
        assert client.fetch(f"RETR {at}") == wire_form(message(number))
    assert client.quit().startswith(b"+OK")


def test_read_only_during_the_session(disk):
    server, home = disk
    fill(server, home, MESSAGES)
    check_session(server, range(1, MESSAGES + 1))  # the index is written
    client = server.log_in()
    delete(client, range(1, 11))
    remount(server, "ro")
    check_refusal(client.quit(), 0, 10)
    assert files(home) == names(range(1, MESSAGES + 1))
    server.wait_for("event=commit-failed", "removed=0")
    check_session(server, range(1, MESSAGES + 1))  # reading goes on
    remount(server, "rw")
    client = server.log_in()
    delete(client, range(1, 11))
    assert client.quit().startswith(b"+OK")
    assert files(home) == names(range(11, MESSAGES + 1))
    check_session(server, range(11, MESSAGES + 1))


def test_read_only_before_any_index(disk):
    server, home = disk
    fill(server, home, MESSAGES)
    remount(server, "ro")
    for _ in range(2):
        check_session(server, range(1, MESSAGES + 1))
    server.wait_for("event=index", "unwritten=1")
    client = server.log_in()
    delete(client, [3])
    check_refusal(client.quit(), 0, 1)
    assert files(home) == names(range(1, MESSAGES + 1))


def test_read_only_and_no_maildrop(disk):
    """There is none and none can be made: a temporary failure, not an empty maildrop."""
    server, home = disk
    for folder in ("new", "cur", "tmp"):
        (home / folder).rmdir()
    home.rmdir()
    remount(server, "ro")
    client = server.connect()
    client.ok("USER alice")
    assert client.ask("PASS sesame").startswith(b"-ERR [SYS/")
    remount(server, "rw")
    client.log_in()
    assert client.ok("STAT") == b"+OK 0 0\r\n"
    client.quit()


@pytest.mark.parametrize("indexed", [True, False])
def test_full(disk, indexed):
    """Deleting needs no room: it works, with an index from before or with one that could not be written."""
    server, home = disk
    fill(server, home, MESSAGES)
    if indexed:
        check_session(server, range(1, MESSAGES + 1))
    ballast = fill_disk(server)
    check_session(server, range(1, MESSAGES + 1))
    if not indexed:
        server.wait_for("event=index", "unwritten=1")
    assert set(os.listdir(home)) - {"restante.index"} == {"cur", "new", "tmp"}, "half an index is left"
    client = server.log_in()
    assert client.fetch("RETR 7") == wire_form(message(7))
    delete(client, range(1, 11))
    assert client.quit().startswith(b"+OK")
    assert files(home) == names(range(11, MESSAGES + 1))
    fill_disk(server)  # what the deletions gave back
    for _ in range(2):
        check_session(server, range(11, MESSAGES + 1))
    ballast.unlink()
    check_session(server, range(11, MESSAGES + 1))
    assert (home / "restante.index").exists()


def test_full_while_logged_in(disk):
    """The session has what it needs: also when the room goes after login, and an index write fails halfway."""
    server, home = disk
    fill(server, home, MESSAGES)
    client = server.log_in()
    fill_disk(server)
    assert client.fetch("RETR 2") == wire_form(message(2))
    delete(client, [1, 2])
    assert client.quit().startswith(b"+OK")
    assert files(home) == names(range(3, MESSAGES + 1))
    check_session(server, range(3, MESSAGES + 1))


def test_full_of_files(disk):
    """No file can be made any more, and so no index: it is kept in memory."""
    server, home = disk
    fill(server, home, MESSAGES)
    used = int(subprocess.run(["stat", "-f", "-c", "%c %d", server.mail], check=True, capture_output=True,
                              text=True).stdout.split()[0]) - free_files(server)
    remount(server, f"nr_inodes={used}")
    assert free_files(server) == 0
    check_session(server, range(1, MESSAGES + 1))
    server.wait_for("event=index", "unwritten=1")
    client = server.log_in()
    delete(client, range(2, MESSAGES + 1))
    assert client.quit().startswith(b"+OK")
    check_session(server, [1])


def free_files(server):
    return os.statvfs(server.mail).f_ffree


# --- without a file system of one's own ---


def test_only_some_can_be_removed(daemon, home):
    """cur/ does not let go of its messages, new/ does: the answer says how it is, the next session too."""
    fill(daemon, home, MESSAGES)
    for number in range(1, MESSAGES + 1, 2):
        (home / "new" / name_of(number)).rename(home / "cur" / (name_of(number) + ":2,S"))
    client = daemon.log_in()
    (home / "cur").chmod(0o555)
    try:
        delete(client, [2, 4, 5, 6])
        check_refusal(client.quit(), 2, 4)  # in order, up to the first that fails
        there = set(range(1, MESSAGES + 1)) - {2, 4}
        assert files(home) == names(there)
        check_session(daemon, sorted(there))
        client = daemon.log_in()
        delete(client, [1])
        check_refusal(client.quit(), 0, 1)
        assert files(home) == names(there)
    finally:
        (home / "cur").chmod(0o755)
    client = daemon.log_in()
    delete(client, [1, 2])
    assert client.quit().startswith(b"+OK")
    check_session(daemon, sorted(there)[2:])


def test_maildrop_that_cannot_be_written(daemon, home):
    """Mail for reading only: no index beside it, no deletions, everything else."""
    fill(daemon, home, 3)
    for path in (home, home / "new", home / "cur"):
        path.chmod(0o555)
    try:
        for _ in range(2):
            check_session(daemon, [1, 2, 3])
        client = daemon.log_in()
        delete(client, [2])
        check_refusal(client.quit(), 0, 1)
        check_session(daemon, [1, 2, 3])
        assert not (home / "restante.index").exists()
    finally:
        for path in (home, home / "new", home / "cur"):
            path.chmod(0o755)


def test_delivery_to_a_full_disk(disk):
    """At every point at which it can become full: the sender hears 452 and may try again, and nothing is left."""
    server, home = disk
    text = b"Subject: x\n\n" + b"x" * 79 + b"\n"
    with lmtp.Lmtp(server.lmtp_path) as client:
        client.begin("alice")
        ballast = fill_disk(server)
        assert client.finish(text * 400)[0].startswith(b"452 4.3.1")
        lmtp.is_clean(home)
        fill_disk(server)  # that has made room again
        client.expect("250", "MAIL FROM:<a@example.com>")
        client.expect("250", "RCPT TO:<alice>")
        reply = client.ask("DATA")  # an empty file may just be had
        if reply.startswith(b"354"):
            reply = client.finish(text)[0]
        assert reply.startswith(b"452 4.3.1")
        assert files(home) == set()
        ballast.unlink()
        assert client.deliver(text, "alice")[0].startswith(b"250")
        assert lmtp.mail_in(home) == [text]


def test_delivery_to_a_read_only_disk(disk):
    server, home = disk
    with lmtp.Lmtp(server.lmtp_path) as client:
        remount(server, "ro")
        client.expect("250", "MAIL FROM:<a@example.com>")
        client.expect("250", "RCPT TO:<alice>")
        client.expect("451 4.2.0", "DATA")
        remount(server, "rw")
        assert client.deliver(b"x\n", "alice")[0].startswith(b"250")
        assert lmtp.mail_in(home) == [b"x\n"]
