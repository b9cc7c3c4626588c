# SPDX-License-Identifier: MIT
"""`restante` and `restante user`: what they do to the accounts file, what they say, how they exit."""

import ctypes
import ctypes.util
import json
import os
import pathlib
import pty
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import termios
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RESTANTE_BUILD", ROOT / "build")).resolve()
RESTANTE = BUILD / "src/admin/restante"
WAIT = 30  # seconds until a test gives up waiting
AUTH_UID = 61185  # without an entry in passwd
AS_ROOT = os.geteuid() == 0

EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_NOUSER, EX_UNAVAILABLE = 64, 65, 66, 67, 69
EX_CANTCREAT, EX_NOPERM, EX_CONFIG = 73, 77, 78

libcrypt = ctypes.CDLL(ctypes.util.find_library("crypt"))
libcrypt.crypt.restype = ctypes.c_char_p


class Accounts:
    """A folder with a configuration and, once there is an account, an accounts file."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "accounts/accounts.sqlite"
        self.conf = folder / "restanted.conf"
        self.file.parent.mkdir()
        folder.chmod(0o755)
        user = f'user = "{AUTH_UID}"' if AS_ROOT else ""
        if AS_ROOT:
            os.chown(self.file.parent, AUTH_UID, AUTH_UID)
        self.conf.write_text(f'listen {{ address = "127.0.0.1:1110" }}\nauth {{ accounts = "{self.file}" {user} }}\n'
                             'mail { root = "/srv/mail" location = "maildir:/srv/mail/%u" }\n', encoding="utf-8")

    def user(self, *words, password=None, config=True):
        where = ["--config", self.conf] if config else []
        return subprocess.run([RESTANTE, "user", *words, *where], input=password, capture_output=True, text=True,
                              timeout=WAIT, check=False)

    def add(self, name, password="sesame", *words):
        done = self.user("add", name, *words, password=password + "\n")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self):
        with sqlite3.connect(f"file:{self.file}?mode=ro", uri=True) as db:
            return {name: (password, location, disabled) for name, password, location, disabled
                    in db.execute("SELECT name, hash, location, disabled FROM account")}

    def accepts(self, name, password):
        stored = self.rows()[name][0].encode()
        assert stored.startswith(b"$y$")
        return libcrypt.crypt(password.encode(), stored) == stored


@pytest.fixture
def accounts():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="restante-user-"))
    yield Accounts(folder)
    shutil.rmtree(folder)


def run(*words):
    return subprocess.run([RESTANTE, *words], capture_output=True, text=True, timeout=WAIT, check=False)


def test_restante():
    done = run("--help")
    assert done.returncode == 0 and "user" in done.stdout
    done = run("--version")
    assert done.returncode == 0 and done.stdout.startswith("restante ")
    for words in ((), ("nothing",), ("../user",)):
        done = run(*words)
        assert done.returncode == EX_USAGE and done.stderr and not done.stdout
    done = run("user", "--help")
    assert done.returncode == 0 and "passwd" in done.stdout


def test_helper_missing(accounts):
    shutil.copy(RESTANTE, accounts.folder / "restante")
    done = subprocess.run([accounts.folder / "restante", "user", "--help"], capture_output=True, text=True, check=False)
    if done.returncode != 0:  # with an installation beside, that one runs
        assert done.returncode == EX_UNAVAILABLE and "restante-user" in done.stderr


def test_add_and_list(accounts):
    assert "maildir:/srv/mail/Alice" in accounts.add("Alice")
    accounts.add("bob@example.org", "x", "--maildrop", "maildir:/srv/mail/other")
    assert accounts.accepts("Alice", "sesame")
    assert not accounts.accepts("Alice", "Sesame")
    info = accounts.file.stat()
    assert info.st_mode & 0o777 == 0o600
    assert info.st_uid == (AUTH_UID if AS_ROOT else os.geteuid())
    accounts.user("disable", "alice")
    done = accounts.user("list")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["Alice", "disabled", "-"], ["bob@example.org", "enabled", "maildir:/srv/mail/other"]]
    assert json.loads(accounts.user("list", "--json").stdout) == [
        {"name": "Alice", "enabled": False, "maildrop": None, "quota_octets": None, "quota_messages": None},
        {"name": "bob@example.org", "enabled": True, "maildrop": "maildir:/srv/mail/other", "quota_octets": None,
         "quota_messages": None}]


def test_changes(accounts):
    accounts.add("alice")
    done = accounts.user("passwd", "ALICE", password="new one\r\nnot this\n")
    assert done.returncode == 0 and accounts.accepts("alice", "new one")
    assert accounts.user("disable", "alice").returncode == 0 and accounts.rows()["alice"][2] == 1
    assert accounts.user("enable", "alice").returncode == 0 and accounts.rows()["alice"][2] == 0
    assert accounts.user("del", "alice").returncode == 0 and accounts.rows() == {}


def test_quota(accounts):
    accounts.add("alice")

    def quota(*words):
        done = accounts.user("quota", "ALICE", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\n")[:-1]

    assert quota() == ["octets    none, by mail.quota_octets", "messages  none, by mail.quota_messages"]
    assert quota("--octets", "10G") == ["octets    10G", "messages  none, by mail.quota_messages"]
    assert quota("--messages", "2048") == ["octets    10G", "messages  2048"]
    assert quota("--octets", "none") == ["octets    none", "messages  2048"]
    assert quota() == ["octets    none", "messages  2048"]
    listed = json.loads(accounts.user("list", "--json").stdout)[0]
    assert (listed["quota_octets"], listed["quota_messages"]) == (0, 2048)
    accounts.conf.write_text(accounts.conf.read_text(encoding="utf-8").replace("mail {", "mail { quota_octets = 5M "),
                             encoding="utf-8")
    assert quota("--octets", "default") == ["octets    5M, by mail.quota_octets", "messages  2048"]
    for wrong in ("0", "-1", "x", "5k", "9223372036854775808", ""):
        done = accounts.user("quota", "alice", "--octets", wrong)
        assert done.returncode == EX_DATAERR and "limit" in done.stderr
    assert accounts.user("quota", "alice", "--messages", "1K").returncode == EX_DATAERR
    assert accounts.user("quota", "nobody").returncode == EX_NOUSER
    assert accounts.user("list", "--octets", "5").returncode == EX_USAGE


def test_password_file(accounts):
    path = accounts.folder / "password"
    path.write_text("from a file\nsecond line\n", encoding="utf-8")
    path.chmod(0o600)  # root reads it before it becomes anybody else
    done = accounts.user("add", "alice", "--password-file", path)
    assert done.returncode == 0 and accounts.accepts("alice", "from a file")
    done = accounts.user("add", "bob", "--password-file", accounts.folder / "none")
    assert done.returncode == EX_NOINPUT and "none" in done.stderr


@pytest.mark.parametrize("password, status", [
    ("", EX_NOINPUT), ("\n", EX_DATAERR), ("\r\n", EX_DATAERR), ("a\0b\n", EX_DATAERR), ("x" * 512 + "\n", EX_DATAERR),
    ("x" * 5000, EX_DATAERR), ("x" * 511 + "\n", 0)])
def test_passwords_that_cannot_be(accounts, password, status):
    done = accounts.user("add", "alice", password=password)
    assert done.returncode == status, done.stderr
    assert list(accounts.rows()) == ([] if status else ["alice"])


@pytest.mark.parametrize("words, status", [
    (["add", "../alice"], EX_DATAERR), (["add", ""], EX_DATAERR), (["add", "a/b"], EX_DATAERR), (["add"], EX_USAGE),
    (["add", "ALICE"], EX_CANTCREAT), (["add", "bob", "--maildrop", "/srv/mail/bob"], EX_DATAERR),
    (["add", "bob", "--maildrop", "maildir:/etc/bob"], EX_DATAERR),
    (["add", "bob", "--maildrop", "maildir:/srv/mail/../bob"], EX_DATAERR),
    (["passwd", "bob"], EX_NOUSER), (["del", "bob"], EX_NOUSER), (["disable", "bob"], EX_NOUSER), (["list", "alice"], EX_USAGE),
    (["list", "--password-stdin"], EX_USAGE), (["del", "alice", "--json"], EX_USAGE), (["nothing", "alice"], EX_USAGE),
    (["passwd", "alice", "--maildrop", "maildir:/srv/mail/x"], EX_USAGE), (["list", "--nothing"], EX_USAGE)])
def test_mistakes(accounts, words, status):
    accounts.add("alice")
    before = accounts.rows()
    done = accounts.user(*words, password="sesame\n")
    assert done.returncode == status
    assert done.stderr and not done.stdout
    assert accounts.rows() == before


def test_password_is_no_argument(accounts):
    accounts.add("alice")
    done = accounts.user("passwd", "alice", "topsecret")
    assert done.returncode == EX_USAGE and "topsecret" not in done.stderr
    assert accounts.accepts("alice", "sesame")


def test_configurations_that_do_not_help(accounts):
    done = accounts.user("list", "--config", accounts.folder / "none", config=False)
    assert done.returncode == EX_CONFIG and "none" in done.stderr
    accounts.conf.write_text("auth { acounts = x }\n", encoding="utf-8")
    done = accounts.user("list")
    assert done.returncode == EX_CONFIG and f"{accounts.conf}:1:" in done.stderr
    done = accounts.user("list", "--accounts", accounts.file)
    assert done.returncode == EX_USAGE


def test_accounts_files_that_do_not_help(accounts):
    done = accounts.user("list")
    assert done.returncode == EX_NOINPUT and "user add" in done.stderr
    accounts.file.write_text("This is no database, but a text that is long enough to look at.\n" * 20, encoding="utf-8")
    if AS_ROOT:
        os.chown(accounts.file, AUTH_UID, AUTH_UID)
    done = accounts.user("add", "alice", password="sesame\n")
    assert done.returncode == EX_DATAERR and str(accounts.file) in done.stderr
    assert accounts.file.read_text(encoding="utf-8").startswith("This is no database")


def test_accounts_of_somebody_else(accounts):
    if not AS_ROOT:
        pytest.skip("needs root")
    os.chown(accounts.file.parent, 0, 0)
    accounts.file.parent.chmod(0o755)
    done = accounts.user("add", "alice", password="sesame\n")
    assert done.returncode == EX_NOPERM and str(AUTH_UID) in done.stderr
    assert not accounts.file.exists()


def test_root_takes_the_folders_owner(accounts):
    if not AS_ROOT:
        pytest.skip("needs root")
    where = ("--accounts", accounts.file)
    assert accounts.user("add", "alice", *where, password="sesame\n", config=False).returncode == 0
    assert accounts.file.stat().st_uid == AUTH_UID


class Terminal:
    """The command at a terminal of its own."""

    def __init__(self, accounts, *words):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(RESTANTE, [str(RESTANTE), "user", *words, "--config", str(accounts.conf)])
        self.shown = ""

    def wait_for(self, text):
        while text not in self.shown:
            self.shown += os.read(self.fd, 1000).decode()

    def wait_echo(self, on):
        until = time.monotonic() + WAIT
        while bool(termios.tcgetattr(self.fd)[3] & termios.ECHO) != on:
            assert time.monotonic() < until
            time.sleep(0.01)

    def type(self, text):
        self.wait_echo(False)
        os.write(self.fd, text.encode())

    def end(self):
        try:
            while chunk := os.read(self.fd, 1000):
                self.shown += chunk.decode()
        except OSError:  # how a terminal says that nobody is left
            pass
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_prompt(accounts):
    terminal = Terminal(accounts, "add", "alice")
    terminal.wait_for("New password for alice:")
    terminal.type("open sesame\n")
    terminal.wait_for("again for alice:")
    terminal.type("open sesame\n")
    assert terminal.end() == 0
    assert "sesame" not in terminal.shown and "Account alice added" in terminal.shown
    assert accounts.accepts("alice", "open sesame")


def test_prompt_differs(accounts):
    terminal = Terminal(accounts, "add", "alice")
    terminal.wait_for("New password for alice:")
    terminal.type("one\n")
    terminal.wait_for("again for alice:")
    terminal.type("two\n")
    assert terminal.end() == EX_DATAERR
    assert "differ" in terminal.shown and accounts.rows() == {}


@pytest.mark.parametrize("key, number", [("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT)])
def test_prompt_interrupted(accounts, key, number):
    terminal = Terminal(accounts, "add", "alice")
    terminal.wait_for("New password for alice:")
    keeper = os.open(os.readlink(f"/proc/{terminal.pid}/fd/0"), os.O_RDWR | os.O_NOCTTY)
    terminal.type("half" + key)
    terminal.wait_echo(True)
    os.close(keeper)
    assert terminal.end() == -number
    assert accounts.rows() == {}
