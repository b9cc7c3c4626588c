# SPDX-License-Identifier: MIT
"""Real clients fetch real mail and delete it. What each stored is compared octet for octet with the file in the
Maildir, after line ends are normalised."""

import pytest

from clients import CLIENTS
from daemon import until

# What all of these clients can store: no NUL, no lone CR.
HEADER = b"From: Sender <sender@example.org>\nTo: alice@example.net\nDate: Tue, 14 Nov 2023 22:13:20 +0000\n" \
         b"Message-ID: <%d@example.org>\nSubject: %s\n"
MESSAGES = [
    (b"plain", b"\nOne line.\n"),
    (b"dots", b"\n.\n..\n.leading\n...\n\n.\n"),
    (b"a first line that is a dot", b"\n.\nSecond line.\n"),
    (b"CRLF", b"\nline one\r\nline two\r\n.\r\n"),
    (b"no final newline", b"\nThe last line has no end"),
    (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", b"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
     b"Content-Transfer-Encoding: 8bit\n\nGr\xc3\xbc\xc3\x9fe \xe2\x82\xac\n"),
    (b"attachment", b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\ntext\n"
     b"--b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n" + b"QUJDREVGR0hJSktMTU5P\n" * 20000 +
     b"--b--\n"),
    (b"long lines", b"\n" + b"x" * 900 + b"\n" + b"." * 900 + b"\n"),
    (b"many lines", b"\n" + b"".join(b"%d\n" % number for number in range(20000))),
    (b"no body", b"\n"),
]
FILES = [HEADER % (number, subject) + rest for number, (subject, rest) in enumerate(MESSAGES)]
CASES = [(name, over) for name, (_, overs) in CLIENTS.items() for over in overs]


def normal(octets):
    """Line ends as LF, and one at the end."""
    octets = octets.replace(b"\r\n", b"\n")
    return octets if octets.endswith(b"\n") else octets + b"\n"


@pytest.mark.parametrize("name,over", CASES, ids=[f"{name}-{over}" for name, over in CASES])
def test_client_fetches_and_deletes(daemon, home, name, over):
    fetch, _ = CLIENTS[name]
    files = [daemon.deliver(home, raw, f"{1700000000 + number}.M1.example") for number, raw in enumerate(FILES, 1)]
    since = len(daemon.log_text())
    folder = daemon.folder / f"{name}-{over}"
    folder.mkdir()
    stored = fetch(daemon, over, folder)
    assert len(stored) == len(FILES)
    for number, (got, raw) in enumerate(zip(stored, FILES)):
        assert normal(got) == normal(raw), f"message {number} differs"
    assert not [path for path in files if path.exists()]
    login = until(lambda: daemon.lines_with("event=login", "user=alice", since=since), "a login in the log")[-1]
    assert ("tls=TLSv1." in login or 'tls="TLSv1.' in login) == (over != "plain"), login
