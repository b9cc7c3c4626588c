# SPDX-License-Identifier: MIT
"""The demo's mail: a Maildir of messages that each show one thing a POP server can get wrong. Needs
no network and no chance: the same octets every time."""

import base64
import random
import struct
import zlib
from datetime import datetime, timedelta, timezone
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

FIRST_DAY = datetime(2026, 1, 5, 9, 0, tzinfo=timezone.utc)
BIG_OCTETS = 20_000_000


def header(number, subject, extra=""):
    date = format_datetime(FIRST_DAY + timedelta(hours=number))
    return (
        f"From: Postmaster <postmaster@restante.example>\n"
        f"To: Alice <alice@restante.example>\n"
        f"Subject: {subject}\n"
        f"Date: {date}\n"
        f"Message-ID: <demo.{number}@restante.example>\n"
        f"{extra}\n"
    )


def plain(number):
    return (header(number, "1. Welcome to Restante") + """\
Poste restante: the post office holds your letters until you call for them.

This maildrop holds a dozen messages. Each shows one thing that POP3 servers
and clients get wrong; its subject says which. Try, for instance:

  - LIST and RETR: the sizes announced are the octets sent
  - TOP 10 5: a glance at 20 MB without fetching them
  - DELE 1, then hang up without QUIT: the message is still there
  - two logins at once: the second is told [IN-USE]
""").encode()


def picture():
    """A small PNG: a letter, 32 by 20, black on white."""
    def dark(x, y):
        return x in (0, 31) or y in (0, 19) or abs(y + abs(x - 15.5) * 0.6 - 10) < 1

    rows = [bytes([0] + [0 if dark(x, y) else 255 for x in range(32)]) for y in range(20)]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 20, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b""))


def multipart(number):
    message = EmailMessage()
    message["From"] = "Postmaster <postmaster@restante.example>"
    message["To"] = "Alice <alice@restante.example>"
    message["Subject"] = "2. Two parts and an attachment"
    message["Date"] = format_datetime(FIRST_DAY + timedelta(hours=number))
    message["Message-ID"] = f"<demo.{number}@restante.example>"
    message.set_content("The picture of a letter is attached.\n")
    message.add_attachment(picture(), maintype="image", subtype="png", filename="letter.png")
    message.set_boundary("restante-demo-boundary")
    return message.as_bytes()


def eight_bit(number):
    extra = "MIME-Version: 1.0\nContent-Type: text/plain; charset=ISO-8859-1\nContent-Transfer-Encoding: 8bit\n"
    body = "Octets above 127 pass as they are: Grüße, à bientôt, ¡adiós!\n"
    return header(number, "3. Eight-bit text in ISO 8859-1", extra).encode() + body.encode("iso-8859-1")


def utf8_header(number):
    extra = "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n"
    return (header(number, "4. UTF-8 in the header: Ελληνικά, 日本語, ✉", extra)
            + "The subject above is UTF-8 as it stands, as RFC 6532 allows.\n").encode()


def dots(number):
    return (header(number, "5. Lines that begin with dots") + """\
A line that begins with a dot gets a second one on the wire, and the client
takes it away again. Below: one dot, two, a dot and text, and a last line of one dot.
.
..
.profile
Nothing ends here, although the next line looks like the end.
.
""").encode()


def dot_first(number):
    return (header(number, "6. The body's first octet is a dot")
            + ".first\nTOP 6 1 shows the line above, stuffed as any other.\n").encode()


def bare_cr(number):
    return (header(number, "7. A carriage return alone")
            + "before\rafter: a CR without LF is no line end and stays as it is.\n").encode()


def nul(number):
    return header(number, "8. A NUL octet").encode() + b"before\0after: nothing ends at a NUL.\n"


def no_line_end(number):
    return (header(number, "9. No line end at the end")
            + "The file ends after the next word; the wire needs a line end before the final dot").encode()


def big(number):
    """20 MB: an attachment of octets that do not compress."""
    head = header(number, "10. Twenty megabytes", "MIME-Version: 1.0\nContent-Type: application/octet-stream\n"
                  "Content-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=random.bin\n").encode()
    raw = random.Random(20).randbytes(BIG_OCTETS // 77 * 57)
    return head + base64.encodebytes(raw)


def empty_body(number):
    return header(number, "11. No body at all").encode()


def crlf(number):
    return (header(number, "12. Stored with CRLF")
            + "This file's lines end in CR LF already; none gets a second CR.\n").encode().replace(b"\n", b"\r\n")


MESSAGES = (plain, multipart, eight_bit, utf8_header, dots, dot_first, bare_cr, nul, no_line_end, big,
            empty_body, crlf)


def make_maildir(folder, makers):
    """A Maildir at `folder` with a message of each maker; every third one was seen already."""
    folder = Path(folder)
    for part in ("tmp", "new", "cur"):
        (folder / part).mkdir(parents=True)
    for number, maker in enumerate(makers, 1):
        seconds = int((FIRST_DAY + timedelta(hours=number)).timestamp())
        base = f"{seconds}.M{number}P1.restante-demo"
        place = folder / "cur" / f"{base}:2,S" if number % 3 == 0 else folder / "new" / base
        place.write_bytes(maker(number))
