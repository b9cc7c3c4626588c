# SPDX-License-Identifier: MIT
"""Makes what `./dev run` serves, where it is not there yet, and prints how to reach it.
usage: state.py BUILD STATE

STATE gets a configuration, a self-signed certificate, accounts, their passwords (mode 0600) and mail. When
root, the files are given to the users the server's processes become. What exists is left as it is."""

import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import mail

PLAIN_PORT, TLS_PORT, LMTP_PORT = 1110, 1995, 2424
HOST = "127.0.0.1"
ACCOUNTS = {"alice": mail.MESSAGES, "bob": ()}
WORKER, AUTH, KEEPER = 61184, 61185, 61186  # no such users need to exist


def stop(text, status=1):
    print(f"dev: {text}", file=sys.stderr)
    sys.exit(status)


def check_ports():
    """The server's own sockets may share a port, so a second server would not notice the first."""
    for port in (PLAIN_PORT, TLS_PORT, LMTP_PORT):
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


def as_user(uid):
    """The option that names a process's user; only root may change users."""
    return f'\tuser = "{uid}"\n' if os.geteuid() == 0 else ""


def make_configuration(state):
    """Written anew each time: it names the folder, which may have been moved."""
    at = str(state).replace("\\", "\\\\").replace('"', '\\"')
    write(state / "restanted.conf", f"""\
# Made by `./dev run`, which writes it anew each time. All options: restanted.conf(5).
listen {{
	address = "{HOST}:{PLAIN_PORT}"
}}
listen {{
	address = "{HOST}:{TLS_PORT}"
	tls = yes
}}
listen {{
	address = "{HOST}:{LMTP_PORT}"
	protocol = lmtp
}}
certificate {{
	chain = "{at}/tls/cert.pem"
	key = "{at}/tls/key.pem"
}}
worker {{
{as_user(WORKER)}	empty_root = "{at}/empty"
}}
auth {{
{as_user(AUTH)}	accounts = "{at}/accounts/accounts.sqlite"
}}
keeper {{
{as_user(KEEPER)}}}
mail {{
	root = "{at}/mail"
	location = "maildir:{at.replace('%', '%%')}/mail/%u"
}}
""", 0o644)


def new_password():
    """59 bits, nothing that looks like another character or that a shell would touch."""
    return "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(12))


def passwords(state):
    """Of each account, by name; made at the first call."""
    path = state / "passwords"
    if not path.exists():
        write(path, "".join(f"{name} {new_password()}\n" for name in ACCOUNTS), 0o600)
    return dict(line.split() for line in path.read_text(encoding="utf-8").splitlines())


def restante(build, state, *words, octets=None):
    command = [build / "src/admin/restante", *words[:1], "-c", state / "restanted.conf", *words[1:]]
    done = subprocess.run(command, input=octets, capture_output=True, text=True, check=False)
    if done.returncode:
        stop(f"`restante {' '.join(words)}` failed:\n{done.stderr}")
    return done.stdout


def make_accounts(build, state, secret):
    known = ""
    if (state / "accounts/accounts.sqlite").exists():
        known = restante(build, state, "user", "list")
    for name in ACCOUNTS:
        if not re.search(rf"^{name}\b", known, re.MULTILINE):
            restante(build, state, "user", "add", name, octets=secret[name] + "\n")


def make_mail(state):
    for name, makers in ACCOUNTS.items():
        home = state / "mail" / name
        if not home.exists():
            new = state / "mail" / f".{name}.new"
            shutil.rmtree(new, ignore_errors=True)
            mail.make_maildir(new, makers)
            give(new, KEEPER)
            new.rename(home)


def tell(state, secret):
    certificate = shlex.quote(f"{state}/tls/cert.pem")
    print(f"""
Restante serves a demo until Ctrl-C:

  POP3, STLS   {HOST}:{PLAIN_PORT}
  POP3S        {HOST}:{TLS_PORT}
  LMTP         {HOST}:{LMTP_PORT}""")
    for name in ACCOUNTS:
        messages = sum(len(list((state / "mail" / name / part).iterdir())) for part in ("new", "cur"))
        print(f"  account      {name}, password {secret[name]}, {messages or 'no'} messages")
    login = f"alice:{secret['alice']}"
    print(f"""
Fetch a message, in another terminal:

  curl -s --user {login} pop3://{HOST}:{PLAIN_PORT}/1
  curl -s --user {login} --cacert {certificate} pop3s://localhost:{TLS_PORT}/5

Bring one, as a mail server does:

  python3 -c 'import smtplib; smtplib.LMTP("{HOST}", {LMTP_PORT}).sendmail("me@example.org", "bob", "Subject: hello\\r\\n\\r\\nhello")'

All of it is kept in {state}; delete that to start afresh.
""", flush=True)


def main():
    build, state = Path(sys.argv[1]), Path(sys.argv[2])
    check_ports()
    try:
        make_folder(state, os.geteuid(), 0o755)
        make_folder(state / "tls", os.geteuid(), 0o755)
        make_folder(state / "empty", os.geteuid(), 0o755)
        make_folder(state / "accounts", AUTH, 0o700)
        make_folder(state / "mail", KEEPER, 0o700)
        make_certificate(state / "tls")
        make_configuration(state)
        secret = passwords(state)
        make_accounts(build, state, secret)
        make_mail(state)
    except PermissionError as error:
        stop(f"{error}; was the demo made by another user? Delete {state}, or be that user", 77)
    tell(state, secret)


main()
