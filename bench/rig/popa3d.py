# SPDX-License-Identifier: MIT
"""Debian's popa3d: mboxes and system accounts only, no TLS. It is started for each session, for by itself it takes no more than
a hundred of them in ten seconds."""
from .jail import Jail
from .restante import quick_hash

OWN_USER = "popa3d:x:61187:61187::/nonexistent:/usr/sbin/nologin\n"


class Popa3d(Jail):
    name = "popa3d"
    title = "popa3d"
    packages = ("popa3d", "ucspi-tcp")
    tls = ("none",)

    def __init__(self, folder, maildrops, certificate):
        super().__init__(folder, maildrops, certificate)
        del self.ports["tls"], self.ports["stls"]
        self.made = set()

    def prepare(self):
        uid, gid = self.maildrops.owner
        quick = quick_hash()
        with open("/etc/passwd", encoding="utf-8") as passwd, open("/etc/shadow", encoding="utf-8") as shadow:
            users, hashes = passwd.read(), shadow.read()
        names = [name for names in (self.maildrops.accounts[mail] for mail in self.maildrops.accounts if mail != "idle") for name in names]
        self.write(users + OWN_USER + "".join(f"{name}:x:{uid}:{gid}::/nonexistent:/bin/sh\n" for name in names), "etc", "passwd")
        self.write(hashes + "".join(f"{name}:{quick}:19000:0:99999:7:::\n" for name in names), "etc", "shadow", mode=0o600)
        if self.work.mail not in self.made:
            self.refill(self.work.mail)

    def serves(self, work):
        return super().serves(work) and work.mail in self.made

    def refill(self, mail):
        self.maildrops.make_boxes(mail)
        self.made.add(mail)

    def forget(self, mail):
        pass  # it has no index

    def script(self):
        return (f"mount --bind {self.maildrops.boxes} /var/mail\nmkdir -p /run/popa3d /var/lib/popa3d\n"
                f"ulimit -n 1024\nexec tcpserver -H -R -l 0 -c 40 127.0.0.1 {self.ports['none']} /usr/sbin/popa3d\n")
