# SPDX-License-Identifier: MIT
"""maildrop.sharing = snapshot: several sessions have a maildrop at once, each with the messages there were when it began."""

import poplib
import subprocess
import threading

import pytest

from daemon import HOST, serve, until
from maildrops import files, fill, listed, message, name_of, try_log_in

PER_ACCOUNT = 12


@pytest.fixture(name="server", scope="module")
def start_server():
    yield from serve(certificates=False, maildrop="sharing = snapshot", limits=f"sessions_per_account = {PER_ACCOUNT}")


@pytest.fixture(name="home")
def home_at_server(server):
    home = server.make_maildir("alice")
    fill(server, home, 3)
    return home


def test_snapshots(server, home):
    first, second = server.log_in(), server.log_in()
    first.ok("DELE 1")
    assert second.ok("STAT").startswith(b"+OK 3 ")
    assert second.fetch("RETR 1") == message(1).replace(b"\n", b"\r\n")  # a mark is one session's own
    assert first.quit().startswith(b"+OK")
    server.deliver(home, message(4), name_of(4))
    third = server.log_in()
    assert third.ok("STAT").startswith(b"+OK 3 ")
    assert set(listed(third)) == {name_of(number) for number in (2, 3, 4)}
    assert second.ok("STAT").startswith(b"+OK 3 ")
    assert second.err("RETR 1")  # gone, and the others keep their numbers
    assert second.fetch("RETR 3") == message(3).replace(b"\n", b"\r\n")
    for number in (1, 2, 3):
        second.ok(f"DELE {number}")
    assert third.ok("DELE 1") and third.ok("DELE 2")
    assert second.quit().startswith(b"+OK")
    assert third.quit().startswith(b"+OK")  # both have deleted these two
    assert files(home) == {name_of(4)}


def test_limit_per_account(server, home):
    assert home
    clients = [server.log_in() for _ in range(PER_ACCOUNT)]
    refused, reply = try_log_in(server)
    assert refused is None and reply.startswith(b"-ERR [IN-USE]"), reply
    clients.pop().quit()
    clients.append(until(lambda: try_log_in(server)[0], "a place", 5))
    for client in clients:
        client.quit()


def test_real_clients(server, home):
    pop = poplib.POP3(HOST, server.port, timeout=30)
    pop.user("alice")
    pop.pass_("sesame")
    fetched = subprocess.run(["curl", "-s", "-u", "alice:sesame", f"pop3://{HOST}:{server.port}/2"], check=True,
                             capture_output=True, timeout=30).stdout
    assert fetched == message(2).replace(b"\n", b"\r\n")
    subprocess.run(["curl", "-s", "-I", "-u", "alice:sesame", "-X", "DELE 2", f"pop3://{HOST}:{server.port}/"],
                   check=True, capture_output=True, timeout=30)
    assert name_of(2) not in files(home)
    assert pop.stat()[0] == 3
    with pytest.raises(poplib.error_proto):
        pop.retr(2)
    pop.dele(2)
    pop.dele(3)
    pop.quit()
    assert files(home) == {name_of(1)}


def test_all_at_once(server, home):
    """Ten clients empty one maildrop while mail comes in: nothing is shown that is not there, and in the end all is gone."""
    faults, total = [], 150

    def drain():
        try:
            for _ in range(15):
                client = server.log_in()
                for number in range(1, len(client.multi("LIST")) + 1):
                    reply = client.ask(f"RETR {number}")
                    if reply.startswith(b"+OK"):
                        client.multi_octets()
                    else:
                        assert b"no longer" in reply or b"gone" in reply, reply
                    client.ok(f"DELE {number}")
                assert client.quit().startswith(b"+OK")
        except (AssertionError, OSError, EOFError) as error:
            faults.append(error)
    threads = [threading.Thread(target=drain) for _ in range(10)]
    for thread in threads:
        thread.start()
    for number in range(4, total):
        server.deliver(home, message(number), name_of(number))
    for thread in threads:
        thread.join()
    assert not faults, faults
    client = server.log_in()
    left = listed(client)
    client.quit()
    assert set(left) == files(home)
    assert not server.lines_with(" error ")
