# SPDX-License-Identifier: MIT
"""Restante from a build folder: yescrypt hashes, the verified-login cache on, all else as it comes."""
import contextlib
import ctypes
import os
import resource
import shutil
import sqlite3
import subprocess

from .mail import PASSWORD
from .server import Failure, Server

CONFIGURATION = """\
listen {{
	address = "127.0.0.1:{none}"
}}
listen {{
	address = "127.0.0.1:{tls}"
	tls = yes
}}
certificate {{
	chain = "{cert}"
	key = "{key}"
}}
worker {{
	user = "{worker}"
	empty_root = "{folder}/empty"
	max_sessions = {sessions}
}}
limits {{
	sessions_per_address = 0
	before_login_per_address = 0
	autologout = 1h
}}
auth {{
	user = "{auth}"
	accounts = "{folder}/accounts/accounts.sqlite"
	cache = 24h
}}
keeper {{
	user = "{keeper}"
	max_open = {sessions}
}}
mail {{
	root = "{mail}"
	location = "maildir:{mail}/%u"
}}
log {{
	file = "{folder}/log"
}}
"""
WORKER_UID, AUTH_UID = 61184, 61185
MASTER_FILES = 1 << 20  # descriptors the server asks for
KEEPER_FDS, SPARE = 2, 100  # descriptors of an open maildrop, of which the keeper allows three quarters; maildrops of others

# A hash of the sessions that only sit there: each of up to 100,000 accounts logs in once, which would measure nothing but
# yescrypt for minutes. All others have the hash `restante user add` makes.
QUICK_SETTING = b"$5$rounds=1000$sittingstill"


def hard_limit():
    """Descriptors of a process: what the server can raise it to as root, or what there is."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MASTER_FILES, MASTER_FILES))
    except ValueError:
        pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def quick_hash():
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    return crypt(PASSWORD.encode(), QUICK_SETTING).decode()


class Restante(Server):
    name = "restante"
    index_files = ("restante.index",)

    def __init__(self, folder, maildrops, certificate, build, like=None):
        super().__init__(folder, maildrops, certificate)
        self.like = like  # whose accounts it has
        self.others = []
        self.build = os.path.abspath(build)
        self.conf = os.path.join(self.folder, "restanted.conf")
        self.prepared = False

    def members(self):
        return [self, *self.others]

    def start(self, work):
        """Where root cannot raise the limit on descriptors, one keeper cannot hold all maildrops: then several servers do."""
        super().start(work)
        if self.like or work.profile != "idle":
            return
        for number in range(1, -(-work.connections // (hard_limit() * 3 // 4 // KEEPER_FDS - SPARE))):
            folder = os.path.join(self.folder, f"member{number}")
            os.mkdir(folder, 0o755)
            self.others.append(Restante(folder, self.maildrops, self.certificate, self.build, like=self))
            self.others[-1].start(work)

    def stop(self):
        super().stop()
        for other in self.others:
            other.stop()
            shutil.rmtree(os.path.dirname(other.folder))
        self.others = []

    def program(self, *path):
        return os.path.join(self.build, "src", *path)

    def prepare(self):
        self.write_configuration()
        if self.prepared:
            return
        os.makedirs(os.path.join(self.folder, "empty"), 0o755)
        accounts = os.path.join(self.folder, "accounts")
        os.makedirs(accounts, 0o700)
        os.chown(accounts, AUTH_UID, AUTH_UID)
        self.add_accounts(os.path.join(accounts, "accounts.sqlite"))
        self.prepared = True

    def write_configuration(self):
        """All as it comes, unless very many sessions are to be held."""
        sessions = max(20000, min(self.work.connections, hard_limit()) + 1000)
        with open(self.conf, "w", encoding="ascii") as file:
            file.write(CONFIGURATION.format(folder=self.folder, mail=self.maildrops.root, cert=self.certificate[0],
                                            key=self.certificate[1], worker=WORKER_UID, auth=AUTH_UID,
                                            sessions=sessions, keeper=self.maildrops.owner[0], **self.ports))

    def add_accounts(self, path):
        """The first through `restante user add`; the others get its hash, which takes it tens of milliseconds, by SQL."""
        if self.like:
            shutil.copy(os.path.join(self.like.folder, "accounts", "accounts.sqlite"), path)
            os.chown(path, AUTH_UID, AUTH_UID)
            return
        first, *others = self.maildrops.names()
        run = subprocess.run([self.program("admin", "restante"), "user", "add", "--config", self.conf,
                              "--password-stdin", first], input=PASSWORD + "\n", text=True, capture_output=True, check=False)
        if run.returncode:
            raise Failure(f"restante user add: {run.stderr.strip()}")
        idle = set(self.maildrops.accounts.get("idle", ()))
        quick = quick_hash()
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            (hashed,) = db.execute("SELECT hash FROM account WHERE name = ?", (first,)).fetchone()
            db.executemany("INSERT INTO account (name, hash) VALUES (?, ?)",
                           ((name, quick if name in idle else hashed) for name in others))
            db.execute("UPDATE account SET hash = ? WHERE name = ?", (quick if first in idle else hashed, first))

    def command(self):
        return [self.program("server", "restanted"), "-c", self.conf]

    def version(self):
        run = subprocess.run([self.program("server", "restanted"), "--version"], capture_output=True, text=True, check=True)
        return run.stdout.strip()
