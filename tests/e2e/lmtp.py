# SPDX-License-Identifier: MIT
"""An LMTP client that hides nothing, and what tests of delivery share. Trusts nothing the server says."""

import re
import socket

from daemon import HOST, WAIT, Client, free_port, until

ADDED = re.compile(rb"\AReturn-Path: <([^\n]*)>\n(?:Delivered-To: ([^\n]*)\n)?Received: from [^\n]*\n\tby [^\n]*\n\t[^\n]*\n")


def settings(server, extra=""):
    """Gives a server two LMTP listeners before it is started: server.lmtp_port and server.lmtp_path."""
    server.lmtp_port = free_port()
    server.lmtp_path = server.folder / "lmtp"
    server.listeners += (f'listen {{ address = "{HOST}:{server.lmtp_port}" protocol = lmtp }}\n'
                         f'listen {{ address = "unix:{server.lmtp_path}" protocol = lmtp mode = 0666 }}\n{extra}')
    server.write_configuration()
    return server


class Lmtp(Client):
    """A connection that has said LHLO. `to` is a port or a path."""

    def __init__(self, to, hello=True):
        if isinstance(to, int):
            super().__init__(to)
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(WAIT)
            self.sock.connect(str(to))
            self.kept = b""
        self.greeting = self.line()
        if hello:
            assert self.greeting.startswith(b"220 "), self.greeting
            self.capabilities = self.ask_all("LHLO client.example")

    def reply(self):
        """The lines of one reply."""
        lines = [self.line()]
        while lines[-1][3:4] == b"-":
            lines.append(self.line())
        return lines

    def ask_all(self, command):
        self.send(command.encode() + b"\r\n")
        return self.reply()

    def expect(self, code, command):
        reply = self.ask(command)
        assert reply.startswith(code.encode()), (command, reply)
        return reply

    def begin(self, *recipients, sender="sender@example.com"):
        """Up to 354; every recipient must be accepted."""
        self.expect("250", f"MAIL FROM:<{sender}>")
        for recipient in recipients:
            self.expect("250", f"RCPT TO:<{recipient}>")
        self.expect("354", "DATA")

    def finish(self, message, count=1):
        """Sends it; the replies."""
        self.send(stuffed(message) + b".\r\n")
        return [self.line() for _ in range(count)]

    def deliver(self, message, *recipients, **how):
        self.begin(*recipients, **how)
        return self.finish(message, len(recipients))


def stuffed(message):
    """The wire form of a message that is stored with LF, dots stuffed."""
    wire = message.replace(b"\n", b"\r\n")
    return re.sub(rb"(?m)\A\.|(?<=\r\n)\.", b"..", wire)


def split(raw):
    """(sender, the one recipient or None, message) of a file that was delivered."""
    found = ADDED.match(raw)
    assert found, raw[:500]
    return found[1], found[2], raw[found.end():]


def mail_in(home):
    """Messages that lie in a Maildir, without the lines that delivery adds, sorted."""
    return sorted(split(path.read_bytes())[2] for part in ("new", "cur") for path in (home / part).iterdir())


def is_clean(home):
    """Nothing temporary is left, in time."""
    return until(lambda: not list((home / "tmp").iterdir()) or None, f"{home}/tmp is empty")
