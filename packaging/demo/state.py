# SPDX-License-Identifier: MIT
"""Makes what `./dev run` serves, where it is not there yet, and prints how to reach it.
usage: state.py BUILD STATE

STATE gets a configuration, a self-signed certificate, accounts, their passwords (mode 0600) and mail. When
root, the files are given to the users the server's processes become. What exists is left as it is."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import mail

PLAIN_PORT, TLS_PORT = 1110, 1995
HOST = "127.0.0.1"
ACCOUNTS = {"alice": mail.MESSAGES, "bob": ()}
WORKER, AUTH, KEEPER = 61184, 61185, 61186  # no such users need to exist


def stop(text, status=1):
    print(f"dev: {text}", file=sys.stderr)
    sys.exit(status)


def check_ports():
    """The server's own sockets may share a port, so a second server would not notice the first."""
    for port in (PLAIN_PORT, TLS_PORT):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                stop(f"cannot listen on {HOST}:{port}: {error.strerror}; stop the program that has it "
                     f"(`ss -ltnp 'sport = {port}'` names it), perhaps another ./dev run")


def write(path, text, mode):
    """Whole or not at all."""
    new = path.with_name(path.name + ".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)
    new.rename(path)


def make_folder(path, owner, mode):
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, owner, owner)


def give(folder, owner):
    if os.geteuid() == 0:
        for at, _, names in os.walk(folder):
            for path in [at, *(os.path.join(at, name) for name in names)]:
                os.chown(path, owner, owner)


def make_certificate(tls):
    if (tls / "cert.pem").exists():
        return
    run = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
         "-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,IP:{HOST}",
         "-keyout", tls / "key.pem", "-out", tls / "cert.new"],
        capture_output=True, text=True, check=False)
    if run.returncode:
        stop(f"openssl made no certificate:\n{run.stderr}")
    (tls / "cert.new").rename(tls / "cert.pem")


def make_configuration(state):
    """Always written anew: it names the folder, which may have been moved."""
    users = ""
    if os.geteuid() == 0:
        users = f'''
worker {{ user = "{WORKER}" }}
'''
    write(state / "restanted.conf", f'''\
# Made by `./dev run`, which writes it anew each time: restanted.conf(5).
{users}''', 0o644)


def passwords(state):
    """Of each account, by name; made at the first call."""
    path = state / "passwords"
    if not path.exists():
        write(path, "".join(f"{name} {secrets.token_urlsafe(9)}\n" for name in ACCOUNTS), 0o600)
    return dict(line.split() for line in path.read_text(encoding="utf-8").splitlines())


def user(build, state, *words, password=None):
    command = [build / "src/admin/restante", "user", *words]
    return subprocess.run(command, input=password, capture_output=True, text=True, check=False)


def make_mail(state):
    for name, makers in ACCOUNTS.items():
        home = state / "mail" / name
        if not home.exists():
            new = state / "mail" / f".{name}.new"
            shutil.rmtree(new, ignore_errors=True)
            mail.make_maildir(new, makers)
            give(new, KEEPER)
            new.rename(home)
