# SPDX-License-Identifier: MIT
"""The limit: pop3-floor, which answers by heart."""
import os

from .mail import SETS
from .server import Failure, Server


class Floor(Server):
    name = "limit"

    def __init__(self, folder, maildrops, certificate, build):
        super().__init__(folder, maildrops, certificate)
        self.program = os.path.abspath(os.path.join(build, "bench", "pop3-floor"))
        if not os.path.exists(self.program):
            raise Failure(f"{self.program} is not built")

    def prepare(self):
        pass

    def serves(self, work):
        return super().serves(work) and self.work.mail == work.mail

    def command(self):
        _, messages, octets = SETS[self.work.mail]
        return [self.program, str(self.ports["none"]), str(self.ports["tls"]), *self.certificate, str(messages), str(octets)]

    def refill(self, mail):
        pass

    def version(self):
        return ""
