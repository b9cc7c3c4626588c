# SPDX-License-Identifier: MIT
"""`restante verify` and `restante reindex`: what they find, what they make good, how they exit."""

import json
import os

from maildrops import fill, listed, message, name_of

EX_USAGE, EX_DATAERR, EX_NOUSER, EX_TEMPFAIL = 64, 65, 67, 75


def index(daemon, name="alice"):
    """Makes the index, as a login does."""
    client = daemon.log_in(name)
    found = listed(client)
    client.quit()
    return found


def alter(home, number, raw):
    """Other octets in a message's file, which looks unchanged."""
    path = home / "new" / name_of(number)
    times = path.stat()
    assert len(raw) == times.st_size
    with open(path, "r+b") as file:
        file.write(raw)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_nothing_wrong(daemon, home):
    fill(daemon, home, 20)
    sizes = index(daemon)
    done = daemon.command("verify", "alice")
    assert done.returncode == 0 and done.stdout == b"alice: 20 messages, %d octets, no problem\n" % sum(sizes.values()), done
    said = json.loads(daemon.command("verify", "--json", "alice").stdout)
    assert said == [{"account": "alice", "messages": 20, "octets": sum(sizes.values()), "problems": [], "status": 0}]


def test_what_is_wrong_is_found_and_made_good(daemon, home):
    fill(daemon, home, 20)
    before = index(daemon)
    raw = message(7)
    alter(home, 7, raw.replace(b"\n\n", b"\r\n", 1))  # one line end less
    alter(home, 9, b"." + message(9)[1:])
    done = daemon.command("verify", "alice")
    lines = done.stdout.decode().splitlines()
    assert done.returncode == EX_DATAERR and len(lines) == 3, done
    assert lines[0].startswith(f"alice: message 7, {name_of(7)}: has {before[name_of(7)] - 2} octets on the wire; the index says")
    assert lines[1].startswith(f"alice: message 9, {name_of(9)}: the index has other facts")
    assert "2 problems" in lines[2]
    said = json.loads(daemon.command("verify", "--json", "alice").stdout)[0]
    assert (said["status"], [problem["number"] for problem in said["problems"]]) == (EX_DATAERR, [7, 9])
    done = daemon.command("reindex", "alice")
    assert done.returncode == 0 and b"alice: 20 messages" in done.stdout and b"20 files read" in done.stdout, done
    assert daemon.command("verify", "alice").returncode == 0
    after = index(daemon)
    assert after == before | {name_of(7): before[name_of(7)] - 2}


def test_unique_ids_are_the_files(daemon, home):
    """Same names twice, and names that are no unique-ids."""
    for name in ("new/1.x", "cur/1.x:2,S", "new/with space", "cur/" + "y" * 100):
        path = home / name
        path.write_bytes(b"x\n")
        daemon.give(path)
    index(daemon)
    assert daemon.command("verify", "alice").returncode == 0


def test_mail_comes_in_and_index_is_rubbish(daemon, home):
    fill(daemon, home, 5)
    index(daemon)
    daemon.deliver(home, b"x\n", "2000000000.late")
    assert b"6 messages" in daemon.command("verify", "alice").stdout
    (home / "restante.index").write_bytes(b"rubbish" * 100)
    assert daemon.command("verify", "alice").returncode == 0
    (home / "restante.index").write_bytes(b"rubbish" * 100)
    assert daemon.command("reindex", "alice").returncode == 0
    assert len(index(daemon)) == 6


def test_all(daemon, home):
    bob = daemon.add_account("bob")
    fill(daemon, home, 3)
    fill(daemon, bob, 4)
    index(daemon, "bob")
    alter(bob, 2, b"." + message(2)[1:])
    client = daemon.log_in()
    done = daemon.command("verify", "--all", "-w", "0")
    assert done.returncode == EX_DATAERR and b"bob: message 2" in done.stdout and b"alice: a session has" in done.stderr, done
    said = json.loads(daemon.command("reindex", "--json", "--all", "-w", "0").stdout)
    assert [(one["account"], one["status"]) for one in said] == [("alice", EX_TEMPFAIL), ("bob", 0)]
    client.quit()
    assert daemon.command("verify", "--all").returncode == 0
    daemon.restante("del", "bob")


def test_refusals(daemon):
    for words, status in (((), EX_USAGE), (("alice", "bob"), EX_USAGE), (("--all", "alice"), EX_USAGE), (("nobody",), EX_NOUSER),
                          (("-w", "-1", "alice"), EX_USAGE)):
        for name in ("verify", "reindex"):
            assert daemon.command(name, *words).returncode == status
