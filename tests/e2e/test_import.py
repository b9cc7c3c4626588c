# SPDX-License-Identifier: MIT
"""`restante import` and `restante export`: every message once, with its octets, its unique-id and its time, however
often they are run and whatever stops them."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from daemon import BUILD, IS_ROOT, UIDS, WAIT, wire_form
from maildrops import files, listed, log_in_again, message, name_of
from test_realmail import corpus, demo, scripted

EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_NOUSER, EX_IOERR, EX_TEMPFAIL, EX_NOPERM = 64, 65, 66, 67, 74, 75, 77


@pytest.fixture
def place(daemon):
    """A folder the mail user may read and write."""
    folder = daemon.folder / "place"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    daemon.give(folder)
    return folder


def make_maildir(daemon, folder, messages):
    """messages: {"cur/NAME:2,S": octets}"""
    for part in ("", "new", "cur", "tmp"):
        (folder / part).mkdir(exist_ok=True)
        daemon.give(folder / part)
    for number, (name, raw) in enumerate(messages.items()):
        (folder / name).write_bytes(raw)
        os.utime(folder / name, (1600000000 + number, 1600000000 + number))
        daemon.give(folder / name)
    return folder


def contents(folder):
    return {f"{part}/{name}": (folder / part / name).read_bytes() for part in ("new", "cur")
            for name in os.listdir(folder / part)}


def run_import(daemon, *words, given=b"", status=0):
    done = daemon.command("import", "--json", *words, given=given)
    assert done.returncode == status, done
    said = json.loads(done.stdout)
    assert said["complete"] == (status == 0)
    return said["imported"], said["present"], said["failed"]


def test_maildir_keeps_its_names(daemon, home, place):
    messages = {f"{'cur' if number % 2 else 'new'}/{name_of(number)}{':2,RS' if number % 3 == 1 else ''}": message(number)
                for number in range(40)}
    messages["new/with space"] = b"no legal unique-id\n"
    messages["cur/" + "x" * 200 + ":2,S"] = b"nor this\n"
    source = make_maildir(daemon, place / "source", messages)
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    assert run_import(daemon, "-n", "alice", source) == (42, 0, 0)
    assert not contents(home)
    assert run_import(daemon, "alice", source) == (42, 0, 0)
    assert contents(home) == messages
    for name in messages:
        assert (home / name).stat().st_mtime == (source / name).stat().st_mtime
    assert {path: path.stat().st_mtime_ns for path in source.rglob("*")} == before, "the source was changed"
    # Again, and after other programs and sessions have gone on.
    assert run_import(daemon, "alice", source) == (0, 42, 0)
    (home / "new" / name_of(2)).rename(home / "cur" / f"{name_of(2)}:2,S")
    assert run_import(daemon, "alice", source, source) == (0, 84, 0)
    client = daemon.log_in()
    assert {uid for uid in listed(client) if uid.endswith(".host")} == {name_of(number) for number in range(40)}
    client.quit()


@pytest.mark.parametrize("source", (demo, scripted, corpus))
def test_files(daemon, home, place, source):
    """One message each, byte for byte; same ones as often as they are there."""
    messages = [raw for raw in source() if not raw.startswith(b"From ")]
    messages = (messages[:5] + messages) if len(messages) < 200 else messages[:200]
    for number, raw in enumerate(messages):
        (place / f"{number}.eml").write_bytes(raw)
        os.utime(place / f"{number}.eml", (1500000000 + number, 1500000000 + number))
    paths = [place / f"{number}.eml" for number in range(len(messages))]
    assert run_import(daemon, "alice", *paths[:3]) == (3, 0, 0)
    assert run_import(daemon, "alice", *paths) == (len(paths) - 3, 3, 0)
    assert run_import(daemon, "alice", *paths) == (0, len(paths), 0)
    assert sorted(contents(home).values()) == sorted(messages)
    client = daemon.log_in()
    wires = [client.fetch(f"RETR {number}") for number in range(1, len(messages) + 1)]
    assert wires == [wire_form(raw) for raw in messages], "not in the order of the source"
    client.quit()


def quoted(raw):
    """As an mboxrd holds it."""
    return re.sub(rb"^(>*From )", rb">\1", raw, flags=re.M)


def from_line(number):
    return b"From bob@example.org " + time.asctime(time.gmtime(1500000000 + number)).encode() + b"\n"


def no_feeds(raw):
    return raw.rstrip(b"\n")


HARD = [b"From the beginning\n\nFrom here\n>From there\n>>From x", b"Subject: a\n\n\n\n", b"\n\n", b"a\r\nb\r\n\r\nFrom c\r\n",
        b"Subject: b\n\n.\n..\n\0\n"]


@pytest.mark.parametrize("source", (demo, scripted, corpus))
def test_mbox(daemon, home, place, source):
    """Out of it come the messages that went in, quoted lines and same messages too, in their order."""
    messages = HARD + [raw for raw in source()[:200] if raw.strip(b"\r\n")] + HARD[:2]
    text = b"".join(from_line(number) + quoted(raw) + (b"\n" if raw.endswith(b"\n") else b"\n\n")
                    for number, raw in enumerate(messages))
    (place / "mbox").write_bytes(text)
    assert run_import(daemon, "-n", "alice", place / "mbox") == (len(messages), 0, 0)
    assert run_import(daemon, "alice", given=text) == (len(messages), 0, 0)
    assert run_import(daemon, "alice", place / "mbox") == (0, len(messages), 0)
    got = sorted((home / "new").iterdir(), key=lambda path: path.name)
    assert [no_feeds(path.read_bytes()) for path in got] == [no_feeds(raw) for raw in messages]
    assert [path.stat().st_mtime for path in got] == [1500000000 + number for number in range(len(messages))]
    # What comes behind is new.
    (place / "mbox").write_bytes(text + from_line(9999) + b"Subject: last\n\n")
    assert run_import(daemon, "alice", place / "mbox") == (1, len(messages), 0)


def run_export(daemon, *words, status=0):
    done = daemon.command("export", "--json", *words)
    assert done.returncode == status, done
    said = json.loads(done.stdout)
    assert said["complete"] == (status == 0)
    return said["exported"], said["present"], said["failed"]


def fill_with(daemon, home, messages):
    for number, raw in enumerate(messages):
        path = daemon.deliver(home, raw, f"{1000000000 + number}.M{number}.host" + (":2,S" if number % 3 else ""),
                              "cur" if number % 3 else "new")
        os.utime(path, (1400000000 + number, 1400000000 + number))


@pytest.mark.parametrize("source", (demo, scripted, corpus))
def test_round_trip(daemon, home, place, source):
    """Out and in again by every format: the octets; by a Maildir the names, flags, unique-ids and times as well."""
    messages = HARD + [raw for raw in source()[:200] if raw.strip(b"\r\n")] + HARD[:1]
    fill_with(daemon, home, messages)
    before, client = contents(home), daemon.log_in()
    uids = listed(client)
    client.quit()
    for format_, to in (("maildir", "out"), ("mbox", "out.mbox"), ("files", "files")):
        assert run_export(daemon, "-t", format_, "alice", place / to) == (len(messages), 0, 0)
    assert contents(place / "out") == before
    assert {name: (home / name).stat().st_mtime for name in before} == {
        name: (place / "out" / name).stat().st_mtime for name in before}
    written = sorted((place / "files").iterdir(), key=lambda path: path.name)
    assert [path.read_bytes() for path in written] == messages
    assert written[0].name == "00000001-" + name_of(0) + ".eml"
    home = daemon.make_maildir("alice")
    assert run_import(daemon, "alice", place / "out") == (len(messages), 0, 0)
    assert contents(home) == before
    client = daemon.log_in()
    assert listed(client) == uids
    client.quit()
    home = daemon.make_maildir("alice")
    assert run_import(daemon, "alice", place / "out.mbox") == (len(messages), 0, 0)
    names = sorted(os.listdir(home / "new"))
    assert [no_feeds((home / "new" / name).read_bytes()) for name in names] == [no_feeds(raw) for raw in messages]


def test_export_again(daemon, home, place):
    """What is there stays there; a file that is another's is not written over."""
    fill_with(daemon, home, [message(number) for number in range(10)])
    for format_ in ("maildir", "files"):
        to = place / format_
        assert run_export(daemon, "-t", format_, "alice", to) == (10, 0, 0)
        assert run_export(daemon, "-t", format_, "alice", to) == (0, 10, 0)
    # The flags a message gets in between make it no other.
    name = next(iter(home.glob("cur/*")))
    name.rename(home / "cur" / (name.name.partition(":")[0] + ":2,FRS"))
    assert run_export(daemon, "alice", place / "maildir") == (0, 10, 0)
    next(iter((place / "files").iterdir())).write_bytes(b"somebody's\n")
    assert run_export(daemon, "-t", "files", "alice", place / "files", status=EX_IOERR) == (0, 9, 1)
    (place / "mbox").write_bytes(b"")
    done = daemon.command("export", "-t", "mbox", "alice", place / "mbox")
    assert done.returncode == 73 and b"exists" in done.stderr, done
    assert daemon.command("export", "alice", place / "no/parent").returncode == 73
    assert daemon.command("export", "-t", "tar", "alice", place / "x").returncode == EX_USAGE
    assert daemon.command("export", "alice").returncode == EX_USAGE
    done = daemon.command("export", "alice", place / "maildir")
    assert done.stdout == b"0 messages exported from alice (0 octets), 10 were there already, 0 failed.\n"


def test_message_that_cannot_be_read(daemon, home, place):
    fill_with(daemon, home, [message(number) for number in range(5)])
    path = home / "new" / name_of(3)
    os.chown(path, 0, 0)
    path.chmod(0)
    for format_ in ("mbox", "maildir", "files"):
        assert run_export(daemon, "-t", format_, "alice", place / format_, status=EX_IOERR) == (4, 0, 1)
    assert (place / "mbox").read_bytes().count(b"\nFrom MAILER-DAEMON ") == 3


def test_mbox_maildrop(daemon, place):
    """Into an mbox and out of it: each message once, as often as it is tried."""
    (daemon.mail / "box").unlink(missing_ok=True)
    daemon.restante("add", "carol", "--maildrop", f"mbox:{daemon.mail}/box", password=b"sesame\n")
    source = make_maildir(daemon, place / "source", {f"new/{name_of(number)}": raw for number, raw in enumerate(HARD + HARD[:1])})
    assert run_import(daemon, "carol", source) == (6, 0, 0)
    assert run_import(daemon, "carol", source) == (0, 6, 0)
    assert run_export(daemon, "carol", place / "out") == (6, 0, 0)
    assert sorted(no_feeds(raw) for raw in contents(place / "out").values()) == sorted(map(no_feeds, HARD + HARD[:1]))
    client = daemon.log_in("carol")
    assert {f"new/{uid}" for uid in listed(client)} == set(contents(place / "out"))
    client.quit()
    done = daemon.command("verify", "carol")
    assert done.returncode == 0 and b"6 messages" in done.stdout, done
    assert daemon.command("reindex", "carol").returncode == 0
    assert daemon.command("deliver", "carol", given=b"Subject: x\n\nFrom y\n").returncode == 0
    assert b"7 messages" in daemon.command("verify", "carol").stdout
    daemon.restante("del", "carol")


def test_standard_input(daemon, home):
    assert run_import(daemon, "alice", given=b"Subject: x\r\n\r\ntext") == (1, 0, 0)
    assert list(contents(home).values()) == [b"Subject: x\r\n\r\ntext"]
    assert run_import(daemon, "alice", "-", given=b"Subject: x\r\n\r\ntext") == (0, 1, 0)
    done = daemon.command("import", "alice", given=b"Subject: y\n")
    assert done.stdout == b"1 messages imported into alice (11 octets), 0 were there already, 0 failed.\n"


def test_refusals(daemon, home, place):
    empty = make_maildir(daemon, place / "empty", {})
    for status, words, text in (
            (EX_NOUSER, ("nobody", empty), "nobody"), (EX_USAGE, (), "account"), (EX_USAGE, ("-w", "x", "alice", empty), "seconds"),
            (EX_NOINPUT, ("alice", place / "none"), "none"), (EX_NOINPUT, ("alice", place), "no Maildir"),
            (EX_NOINPUT, ("alice", "/dev/null"), "neither")):
        done = daemon.command("import", *words)
        assert done.returncode == status and text.encode() in done.stderr, done
    assert not contents(home)


@pytest.mark.skipif(not IS_ROOT, reason="root may read everything else")
def test_source_of_somebody_else(daemon, home, place):
    source = make_maildir(daemon, place / "source", {"new/1.x": b"x\n"})
    os.chown(source, 0, 0)
    source.chmod(0o700)
    done = daemon.command("import", "alice", source)
    assert done.returncode == EX_NOPERM and b"readable for uid %d" % UIDS["keeper"] in done.stderr, done


def test_session_is_waited_for(daemon, home, place):
    source = make_maildir(daemon, place / "source", {"new/1.x": b"x\n"})
    client = daemon.log_in()
    done = daemon.command("import", "-w", "0", "alice", source)
    assert done.returncode == EX_TEMPFAIL and b"a session has its maildrop" in done.stderr, done
    process = subprocess.Popen([BUILD / "src/admin/restante", "import", "-c", daemon.conf, "alice", source])
    time.sleep(0.3)
    assert process.poll() is None
    client.quit()
    assert process.wait(WAIT) == 0
    assert contents(home) == {"new/1.x": b"x\n"}


def test_killed_and_run_again(daemon, home, place):
    messages = {f"new/{name_of(number)}": message(number) for number in range(600)}
    source = make_maildir(daemon, place / "source", messages)
    kills = 0
    for delay in (0.03, 0.06, 0.1, 0.15):
        process = subprocess.Popen([BUILD / "src/admin/restante-import", "-c", daemon.conf, "alice", source],
                                   stdout=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        kills += process.wait(WAIT) != 0
        there = contents(home)
        assert there.items() <= messages.items(), "a message that is not whole"
    assert kills
    imported, present, failed = run_import(daemon, "alice", source)
    assert (present, imported + present, failed) == (len(there), 600, 0)
    assert contents(home) == messages
