# SPDX-License-Identifier: MIT
"""Who may deliver over TCP: this machine; others when that is configured. Another machine is an address in a network namespace
of the test's own, as in test_cleartext.py."""

import pytest

import lmtp
import network
from daemon import HOST, Client, free_port
from network import OUTSIDE


@pytest.fixture(name="namespace", scope="module")
def make_namespace():
    yield from network.use()


@pytest.mark.parametrize("allowed", [False, True])
def test_other_machines(make_daemon, namespace, allowed):
    server = make_daemon(certificates=False)
    port = free_port()
    lmtp.settings(server, f'listen {{ address = "*:{port}" protocol = lmtp }}\n' + "lmtp { allow_remote = yes }\n" * allowed)
    home = server.add_account("alice")
    with namespace:
        server.start()
        local, remote = Client(port, HOST), Client(port, OUTSIDE)
    assert local.line().startswith(b"220 ")
    if allowed:
        assert remote.line().startswith(b"220 ")
        remote.send(b"LHLO elsewhere.example\r\n")
        while remote.line()[3:4] == b"-":
            pass
        remote.send(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<alice>\r\nDATA\r\nx\r\n.\r\n")
        assert [remote.line()[:3] for _ in range(4)] == [b"250", b"250", b"354", b"250"]
        assert lmtp.mail_in(home) == [b"x\n"]
        assert f"({OUTSIDE}:".encode() in next((home / "new").iterdir()).read_bytes()
    else:
        remote.send(b"LHLO elsewhere.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<alice>\r\n")
        assert remote.rest() == b"554 5.7.1 mail is taken from this machine only\r\n"
        server.wait_for("event=end", f"addr={OUTSIDE}:", "result=refused")
    for client in (local, remote):
        client.close()
