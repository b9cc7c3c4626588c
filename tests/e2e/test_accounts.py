# SPDX-License-Identifier: MIT
"""Logins while accounts change beside the running server, refusals that tell nothing, and what the log tells."""

import base64
import select
import time

import pytest


def ask_to_log_in(client, name, password, how):
    if how == "pass":
        client.ok(f"USER {name}")
        return client.ask(f"PASS {password}")
    if how == "plain":
        response = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
        return client.ask(f"AUTH PLAIN {response}")
    assert client.ask("AUTH LOGIN") == b"+ " + base64.b64encode(b"Username:") + b"\r\n"
    assert client.ask(base64.b64encode(name.encode()).decode()) == b"+ " + base64.b64encode(b"Password:") + b"\r\n"
    return client.ask(base64.b64encode(password.encode()).decode())


def reply_to_login(daemon, name, password, how="pass"):
    with daemon.connect() as client:
        reply = ask_to_log_in(client, name, password, how)
        if reply.startswith(b"+OK"):
            client.ok("QUIT")  # answered when the maildrop is free for the next login
        return reply


def change(daemon, *words, password=None):
    run = daemon.restante(*words, password=password)
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module", autouse=True)
def accounts(daemon):
    for name in ("bob", "carol", "dave"):
        daemon.add_account(name)
    change(daemon, "disable", "carol")


@pytest.mark.parametrize("how", ["pass", "plain", "login"])
def test_refusals_are_alike(daemon, how):
    """A wrong password, no such account and a disabled account cannot be told apart."""
    since = len(daemon.log_text())
    replies = {reply_to_login(daemon, name, password, how)
               for name, password in (("bob", "wrong"), ("nobody", "sesame"), ("carol", "sesame"), ("carol", "wrong"))}
    assert len(replies) == 1 and replies.pop().startswith(b"-ERR [AUTH]")
    for name, reason in (("bob", "wrong password"), ("nobody", "unknown user"), ("carol", "account disabled")):
        daemon.wait_for("event=login-failed", f"user={name} ", "addr=127.0.0.1:", f'reason="{reason}"', since=since)


@pytest.mark.parametrize("how", ["pass", "plain", "login"])
def test_names_in_any_case(daemon, how):
    for name in ("dave", "Dave", "DAVE"):
        assert reply_to_login(daemon, name, "sesame", how).startswith(b"+OK")


def test_changes_hold_at_once(daemon):
    """However lately the old password was verified; several changes in less than a tick of the file's clock."""
    for round_number in range(3):
        old, new = f"old {round_number}", f"new {round_number}"
        change(daemon, "passwd", "bob", password=old.encode() + b"\n")
        assert reply_to_login(daemon, "bob", old).startswith(b"+OK")
        assert reply_to_login(daemon, "bob", old).startswith(b"+OK")
        change(daemon, "passwd", "bob", password=new.encode() + b"\n")
        assert reply_to_login(daemon, "bob", old).startswith(b"-ERR [AUTH]")
        assert reply_to_login(daemon, "bob", new).startswith(b"+OK")
        change(daemon, "disable", "bob")
        assert reply_to_login(daemon, "bob", new).startswith(b"-ERR [AUTH]")
        change(daemon, "enable", "bob")
        assert reply_to_login(daemon, "bob", new).startswith(b"+OK")
    change(daemon, "del", "bob")
    assert reply_to_login(daemon, "bob", "new 2").startswith(b"-ERR [AUTH]")
    daemon.add_account("bob")
    assert reply_to_login(daemon, "bob", "sesame").startswith(b"+OK")


def test_change_after_a_quiet_time(daemon):
    """When the file's time stamp has become old enough to be trusted."""
    change(daemon, "passwd", "dave", password=b"before\n")
    time.sleep(2.5)
    assert reply_to_login(daemon, "dave", "before").startswith(b"+OK")
    assert reply_to_login(daemon, "dave", "before").startswith(b"+OK")
    change(daemon, "passwd", "dave", password=b"sesame\n")
    assert reply_to_login(daemon, "dave", "before").startswith(b"-ERR [AUTH]")
    assert reply_to_login(daemon, "dave", "sesame").startswith(b"+OK")


def test_open_session_goes_on(daemon):
    with daemon.log_in("dave") as client:
        change(daemon, "disable", "dave")
        client.ok("STAT")
        assert client.quit().startswith(b"+OK")
    change(daemon, "enable", "dave")


def test_maildrop_of_its_own(daemon):
    change(daemon, "add", "erin", "--maildrop", f"maildir:{daemon.mail}/elsewhere", password=b"sesame\n")
    home = daemon.make_maildir("elsewhere")
    daemon.deliver(home, b"Subject: x\n\nfor erin\n", "1000000000.M1.host")
    with daemon.log_in("erin") as client:
        assert client.ok("STAT").startswith(b"+OK 1 ")


def test_many_wrong_passwords_let_others_in(daemon):
    """Each costs a hash; who was verified lately does not wait for them."""
    assert reply_to_login(daemon, "dave", "sesame").startswith(b"+OK")
    flood = [daemon.connect() for _ in range(20)]
    for client in flood:
        client.ok("USER dave")
        client.send(b"PASS wrong\r\n")
    assert reply_to_login(daemon, "dave", "sesame").startswith(b"+OK")
    assert not select.select([flood[-1].sock], [], [], 0)[0]  # its hash is still to come
    for client in flood:
        assert client.line().startswith(b"-ERR [AUTH]")
        client.close()


def test_no_password_in_the_log(daemon):
    secret = "tell-nobody-this"
    change(daemon, "passwd", "dave", password=secret.encode() + b"\n")
    coded = base64.b64encode(secret.encode()).decode()
    for how in ("pass", "plain", "login"):
        assert reply_to_login(daemon, "dave", secret, how).startswith(b"+OK")
        assert reply_to_login(daemon, "dave", secret + "x", how).startswith(b"-ERR")
    with daemon.connect() as client:
        client.err(f"AUTH PLAIN {base64.b64encode(secret.encode()).decode()}")
        client.err(f"PASS {secret}")
    daemon.wait_for("event=login-failed", 'reason="not what the mechanism expects"')
    assert secret not in daemon.log_text() and coded not in daemon.log_text()
    change(daemon, "passwd", "dave", password=b"sesame\n")
