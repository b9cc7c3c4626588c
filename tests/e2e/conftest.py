# SPDX-License-Identifier: MIT
"""Fixtures of the end-to-end tests: servers that are started for them and ended whatever happens."""

import pytest

from daemon import BUILD, Daemon, serve


def pytest_configure():
    missing = [path for path in ("src/server/restanted", "src/admin/restante") if not (BUILD / path).exists()]
    if missing:
        pytest.exit(f"{BUILD} has no {' and no '.join(missing)}: ./dev build, or set RESTANTE_BUILD", returncode=2)


@pytest.fixture(scope="module")
def daemon():
    """One server for the tests of a file, with the account alice."""
    yield from serve()


@pytest.fixture
def make_daemon():
    """Servers of a test's own; it starts them itself."""
    made = []

    def make(**how):
        made.append(Daemon(**how))
        return made[-1]

    yield make
    try:
        for server in made:
            server.stop()
    finally:
        for server in made:
            if server.process:
                server.process.kill()
            server.remove()


@pytest.fixture
def home(daemon):
    """Alice's Maildir, empty."""
    return daemon.make_maildir("alice")
