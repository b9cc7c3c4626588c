# SPDX-License-Identifier: MIT
"""The transcripts of tests/script against the daemon: in clear, behind STLS, over TLS."""

import pytest

import transcript
from daemon import Client

ACCOUNT_PASSWORD = b"sesame"
PLAYS = [(one, over) for one in transcript.read_all() if not one.machine for over in one.over]


@pytest.fixture(name="account")
def make_account(daemon):
    """Gives alice another password for a while."""
    changed = []

    def change(password):
        if password != ACCOUNT_PASSWORD or changed:
            run = daemon.restante("passwd", "--password-stdin", "alice", password=password + b"\n")
            assert run.returncode == 0, run.stderr
            changed.append(password)

    yield change
    change(ACCOUNT_PASSWORD)


@pytest.mark.parametrize("one,over", PLAYS, ids=[f"{one.name}-{over}" for one, over in PLAYS])
def test_transcript(daemon, home, account, one, over):
    assert one.user == b"alice"
    account(one.password)
    files = []
    for number, message in enumerate(one.messages, 1):
        name, folder = message.uid.decode(), "new"
        if number % 2 == 0:
            name, folder = name + ":2,S", "cur"
        files.append(daemon.deliver(home, message.raw, name, folder))
    deleted = transcript.play_pop(one, daemon.connect(over), daemon.tls_context())
    assert {number for number, path in enumerate(files, 1) if not path.exists()} == deleted


@pytest.mark.parametrize("one", transcript.read_all("several"), ids=lambda one: one.name)
def test_several_sessions(make_daemon, one):
    server = make_daemon(certificates=False, maildrop=" ".join(f"{name} = {value}" for name, value in one.settings.items()))
    home = server.add_account("alice")
    files = [server.deliver(home, message.raw, message.uid.decode()) for message in one.messages]
    server.start()

    def connect():
        return Client(server.port)
    deleted = transcript.play_several(one, connect)
    assert {number for number, path in enumerate(files, 1) if not path.exists()} == deleted


def test_there_are_transcripts_for_the_daemon():
    assert len(PLAYS) > 100
