# SPDX-License-Identifier: MIT
"""Real mail through a Maildir and out by RETR: the sizes LIST announces, the octets RETR sends, the lines of TOP. The
messages are the demo's, the transcripts', and, where it lies beside the checkout, a corpus of other projects' mail."""

import functools
import importlib.util
import re

import pytest

import transcript
from daemon import ROOT, header_of, wire_form

CORPUS = ROOT.parent / "shared/corpus"


@functools.cache
def demo():
    spec = importlib.util.spec_from_file_location("demo_mail", ROOT / "packaging/demo/mail.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [maker(number) for number, maker in enumerate(module.MESSAGES, 1)]


def scripted():
    return list({message.raw: None for one in transcript.read_all() for message in one.messages[:20]})


def corpus():
    if not CORPUS.is_dir():
        pytest.skip("there is no ../shared/corpus beside this checkout")
    files = sorted(path for path in CORPUS.rglob("*") if path.is_file() and path.name != "README.md")
    assert len(files) > 100
    return [path.read_bytes() for path in files]


def top_of(wire, lines):
    """The header, the blank line and so many lines of the body."""
    header = header_of(wire)
    body = re.findall(rb"[^\n]*\n", wire[len(header):])
    return header + b"".join(body[:lines])


def compare(got, expected, what):
    """Without a diff of megabytes."""
    if got != expected:
        at = next((i for i, pair in enumerate(zip(got, expected)) if pair[0] != pair[1]), min(len(got), len(expected)))
        pytest.fail(f"{what}: {len(got)} octets, not {len(expected)}; at {at}: {got[at:at + 60]} not {expected[at:at + 60]}")


@pytest.mark.parametrize("over", ("plain", "tls"))
@pytest.mark.parametrize("source", (demo, scripted, corpus))
def test_mail_comes_out_as_it_is(daemon, home, source, over):
    messages = source()
    for number, raw in enumerate(messages, 1):
        daemon.deliver(home, raw, f"{1700000000 + number}.M1.example" + (":2,S" if number % 2 else ""),
                       "cur" if number % 2 else "new")
    client = daemon.log_in(over=over)
    sizes = [int(line.split()[1]) for line in client.multi("LIST")]
    wires = [wire_form(raw) for raw in messages]
    assert sizes == [len(wire) for wire in wires]
    assert client.ok("STAT").split()[1:] == [b"%d" % len(wires), b"%d" % sum(sizes)]
    for number, (raw, wire) in enumerate(zip(messages, wires), 1):
        compare(client.fetch(f"RETR {number}"), wire, f"message {number}")
        compare(wire.replace(b"\r\n", b"\n").rstrip(b"\n"), raw.replace(b"\r\n", b"\n").rstrip(b"\n"), "normalised")
        for lines in (0, 1, 7, 99999999) if len(wire) < 1000000 else (1,):
            compare(client.fetch(f"TOP {number} {lines}"), top_of(wire, lines), f"TOP {number} {lines}")
    client.quit()


def test_pipelined(daemon, home):
    """All RETRs in one go: replies come in order, none is mixed with another."""
    messages = scripted()
    for number, raw in enumerate(messages, 1):
        daemon.deliver(home, raw, f"{1700000000 + number}.M1.example")
    client = daemon.log_in()
    client.send(b"".join(b"RETR %d\r\nTOP %d 3\r\n" % (number, number) for number in range(1, len(messages) + 1)))
    for number, raw in enumerate(messages, 1):
        for expected in (wire_form(raw), top_of(wire_form(raw), 3)):
            assert client.line().startswith(b"+OK")
            compare(re.sub(rb"(?m)^\.", b"", client.multi_octets()), expected, f"message {number}")
    client.quit()


@pytest.mark.parametrize("over", ("plain", "tls"))
def test_client_that_does_not_read(daemon, home, over):
    """A client that sends many requests and reads late gets everything; others are served meanwhile."""
    raw = max(demo(), key=len)
    daemon.deliver(home, raw, "1700000001.M1.example")
    slow = daemon.log_in(over=over)
    slow.send(b"RETR 1\r\n" * 3)
    other = daemon.connect()
    other.ok("CAPA")
    other.close()
    wire = wire_form(raw)
    for _ in range(3):
        assert slow.line() == b"+OK %d octets\r\n" % len(wire)
        compare(slow.multi_octets(), wire, "the big message")
    slow.quit()
