# SPDX-License-Identifier: MIT
"""The LMTP transcripts of tests/script against the daemon, over TCP and a Unix socket; what is delivered is looked at in the
maildrops."""

import pytest

import lmtp
import transcript
from daemon import serve
from lmtp import Lmtp, split

KNOWN = {b"ok", b"disabled"}  # what an account can be without a fault that is injected
PLAYS = [one for one in transcript.read_all("lmtp") if not one.machine]
PLAYS = [one for one in PLAYS if set(one.recipients.values()) <= KNOWN and not any(mark.startswith("!") for _, mark, _ in one.steps)]
ACCOUNTS = {address: verdict for one in PLAYS for address, verdict in one.recipients.items()}


@pytest.fixture(scope="module", name="server")
def make_server():
    def prepare(server):
        lmtp.settings(server, "lmtp { max_message = 0 hostname = mx.example.org }\n")
        for address, verdict in ACCOUNTS.items():
            server.add_account(address.decode())
            assert verdict == b"ok" or server.restante("disable", address.decode()).returncode == 0
    yield from serve(prepare=prepare, certificates=False)


class Delivered:
    """What came into the maildrops since last time."""

    def __init__(self, server, addresses):
        self.homes = {address: server.make_maildir(address.decode()) for address in addresses}
        self.seen, self.last = set(), []

    def take(self, client, text):
        word, _, rest = text.partition(b" ")
        if word == b"closed":
            assert client.rest() == b""
        elif word == b"delivered":
            to = [transcript.unescape(address) for address in rest.split()]
            fresh = {address: set((home / "new").iterdir()) - self.seen for address, home in self.homes.items()}
            assert {address: len(paths) for address, paths in fresh.items()} == {address: to.count(address) for address in self.homes}
            self.last = [path for paths in fresh.values() for path in paths]
            self.seen.update(self.last)
        else:
            assert word == b"holds" and self.last, text
            assert {split(path.read_bytes())[2] for path in self.last} == {transcript.unescape(rest)}


@pytest.mark.parametrize("over", ["tcp", "unix"])
@pytest.mark.parametrize("one", PLAYS, ids=lambda one: one.name)
def test_transcript(server, one, over):
    delivered = Delivered(server, one.recipients)
    client = Lmtp(server.lmtp_port if over == "tcp" else server.lmtp_path, hello=False)
    transcript.play(one, client, lambda text: delivered.take(client, text))


def test_there_are_transcripts_for_the_daemon():
    assert len(PLAYS) >= 10
