# SPDX-License-Identifier: MIT
"""Transcripts of tests/script (README.md there), for playing against the daemon."""

import re
import time
from dataclasses import dataclass, field

from daemon import ROOT, wire_form

FOLDER = ROOT / "tests/script"
ESCAPE = re.compile(rb"\\(?:([rnts\\])|x([0-9a-f]{2})|\{(\d+):([^}]*)\})")
OCTETS = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"s": b" ", b"\\": b"\\"}


def unescape(text):
    def octets(match):
        name, digits, count, repeated = match.groups()
        if name:
            return OCTETS[name]
        return bytes([int(digits, 16)]) if digits else unescape(repeated) * int(count)
    return ESCAPE.sub(octets, text)


@dataclass
class Message:
    raw: bytes
    uid: bytes


@dataclass
class Transcript:
    name: str
    user: bytes = b"alice"
    password: bytes = b"sesame"
    over: tuple = ("plain", "stls", "tls")
    machine: str = ""  # why it is not for the daemon
    messages: list = field(default_factory=list)
    steps: list = field(default_factory=list)  # (line number, mark, text)
    settings: dict = field(default_factory=dict)  # of the section maildrop, in a transcript of several sessions
    recipients: dict = field(default_factory=dict)  # of LMTP: address, and what RCPT finds


def add_message(transcript, raw):
    transcript.messages.append(Message(raw, b"%d.M1.example" % (1700000001 + len(transcript.messages))))


def add_made_up(transcript, count, octets):
    for _ in range(count):
        raw = b"Subject: message %d\n\n" % (len(transcript.messages) + 1)
        while len(raw) < octets:
            raw += (b"-" if len(raw) % 7 else b".") + b"%062d\n" % len(raw)
        add_message(transcript, raw[:octets])


def take_directive(transcript, word, text):
    if word == b"message":
        add_message(transcript, unescape(text))
    elif word == b"messages":
        add_made_up(transcript, *map(int, text.split()))
    elif word == b"+":
        transcript.messages[-1].raw += unescape(text)
    elif word == b"uid":
        transcript.messages[-1].uid = unescape(text)
    elif word == b"user":
        transcript.user = unescape(text)
    elif word == b"pass":
        transcript.password = unescape(text)
    elif word == b"over":
        transcript.over = tuple(text.decode().split())
    elif word in (b"takeover", b"sharing"):
        transcript.settings[word.decode()] = text.decode()
    elif word == b"recipient":
        address, _, verdict = text.partition(b" ")
        transcript.recipients[unescape(address)] = verdict or b"ok"
    elif word == b"machine":
        transcript.machine = text.decode()
    else:
        assert word == b"whole", word


def read(path):
    transcript = Transcript(path.name)
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line or line.startswith(b"#"):
            continue
        if line.startswith(b"@"):
            word, _, text = line[1:].partition(b" ")
            if word not in (b"no-clear", b"no-stls", b"defer", b"message-max", b"mechanisms", b"bad-commands", b"login-timeout", b"autologout"):
                take_directive(transcript, word, text)
            continue
        mark, _, text = line.partition(b" ")
        transcript.steps.append((number, mark.decode(), text))
    return transcript


def read_all(kind="pop"):
    return [read(path) for path in sorted(FOLDER.glob(f"*.{kind}"))]


def expected_line(client, text):
    """Usually one line; escapes can make it several."""
    expected = unescape(text) + b"\r\n"
    got = b"".join(client.line() for _ in range(expected.count(b"\n")))
    assert got == expected


def expected_prefix(client, text):
    line = client.line()
    prefix = unescape(text)
    assert line.startswith(prefix) and line.endswith(b"\r\n"), line
    if b"[" not in prefix:
        assert not line[len(prefix):].startswith(b" ["), f"a response code was not expected: {line}"


def expected_message(client, raw):
    stuffed = re.sub(rb"(?m)^\.", b"..", wire_form(raw))
    got = client.octets(len(stuffed))
    if got != stuffed:  # no diff of many kilobytes
        at = next(i for i, pair in enumerate(zip(got, stuffed)) if pair[0] != pair[1])
        raise AssertionError(f"octet {at}: {got[at - 20:at + 20]} is not {stuffed[at - 20:at + 20]}")


def play_pop(transcript, client, context):
    """Plays it on a client that has read the greeting; returns the numbers of the messages that must be gone."""
    deleted = set()

    def take(text):
        deleted.update(take_event(client, context, *text.decode().split()))
    play(transcript, client, take)
    return deleted


def play(transcript, client, take):
    """Plays it, and calls take() for what happens beside the conversation."""
    burst = b""
    client.kept = client.greeting + client.kept
    for number, mark, text in transcript.steps:
        if burst and mark not in ("C:", "c:"):
            client.send(burst)
            burst = b""
        try:
            if mark in ("C:", "c:"):
                burst += unescape(text) + (b"\r\n" if mark == "C:" else b"")
            elif mark == "S:":
                expected_line(client, text)
            elif mark == "S*":
                expected_prefix(client, text)
            elif mark == "S%":
                expected_message(client, transcript.messages[int(text) - 1].raw)
            else:
                assert mark == "=", mark
                take(text)
        except (AssertionError, EOFError) as error:
            raise AssertionError(f"{transcript.name}:{number}: {type(error).__name__} {error}") from None
    client.close()


def play_several(transcript, connect):
    """Plays a transcript of several sessions, named by digits; connect() makes a client that has read the greeting. Returns the
    numbers of the messages that must be gone."""
    clients, deleted = {}, set()
    for number, mark, text in transcript.steps:
        name, mark = (mark[0], mark[1:]) if mark[0].isdigit() else ("", mark)
        if name and name not in clients:
            clients[name] = connect()
            expected_prefix(clients[name], b"+OK")
        try:
            if mark in ("C:", "c:"):
                clients[name].send(unescape(text) + (b"\r\n" if mark == "C:" else b""))
            elif mark == "S:":
                expected_line(clients[name], text)
            elif mark == "S*":
                expected_prefix(clients[name], text)
            elif mark == "S%":
                expected_message(clients[name], transcript.messages[int(text) - 1].raw)
            elif mark == "T:":
                time.sleep(float(text.rstrip(b"s")))
            else:
                assert mark == "=", mark
                deleted |= take_event(clients.get(name), None, *text.decode().split())
        except (AssertionError, EOFError) as error:
            raise AssertionError(f"{transcript.name}:{number}: {type(error).__name__} {error}") from None
    for client in clients.values():
        client.close()
    return deleted


def take_event(client, context, word, *numbers):
    if word == "tls":
        client.start_tls(context)
    elif word == "closed":
        assert client.rest() == b""
    elif word == "leaves":
        client.close()
    else:
        assert word == "deleted", word
    return {int(number) for number in numbers}
