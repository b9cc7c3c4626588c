# SPDX-License-Identifier: MIT
"""Debian's Courier with a userdb, as many processes as are asked for."""
import base64
import hashlib
import os
import shutil

from .jail import Jail
from .mail import PASSWORD

AUTH = """\
authmodulelist="authuserdb"
authmodulelistorig="authuserdb"
daemons=5
authdaemonvar=/run/courier/authdaemon
DEBUG_LOGIN=0
DEFAULTOPTIONS=""
LOGGEROPTS=""
"""

SCRIPT = """\
ulimit -n 1024
mkdir -p /run/courier/authdaemon
chmod 755 /run/courier /run/courier/authdaemon
makeuserdb
/usr/lib/courier/courier-authlib/authdaemond &
export POP3AUTH= POP3AUTH_TLS= MAILDIRPATH=Maildir POP3_STARTTLS=NO POP3_TLS=0
export TLS_CERTFILE={pem} TLS_VERIFYPEER=NONE TLS_PROTOCOL=TLSv1.2++ AUTHMODULES=authdaemon DEBUG_LOGIN=0
pop="/usr/lib/courier/courier/courierpop3login /usr/lib/courier/courier/courierpop3d Maildir"
options="-address=127.0.0.1 -maxprocs=40 -maxperip=40 -maxperc=40 -nodnslookup -noidentlookup"
while ! test -S /run/courier/authdaemon/socket; do sleep 0.1; done
POP3_TLS=1 couriertcpd $options {tls} /usr/bin/couriertls -server -tcpd $pop &
couriertcpd $options {none} $pop &
while sleep 3600; do :; done
"""


class Courier(Jail):
    name = "courier"
    title = "Courier"
    tls = ("none", "tls")
    packages = ("courier-pop", "courier-base", "courier-authdaemon", "courier-authlib", "courier-authlib-userdb",
                "libcourier-unicode4", "libltdl7", "libgamin0")
    index_files = ("courierpop3dsizelist",)

    def prepare(self):
        digest = base64.b64encode(hashlib.sha256(PASSWORD.encode()).digest()).decode()
        uid, gid = self.maildrops.owner
        self.write(AUTH, "etc", "courier", "authdaemonrc")
        names = (name for mail, names in self.maildrops.accounts.items() if mail != "idle" for name in names)
        self.write("".join(f"{name}\tuid={uid}|gid={gid}|home={self.maildrops.root}|mail={self.maildrops.path(name)}|"
                           f"systempw={{SHA256}}{digest}\n" for name in names), "etc", "courier", "userdb", mode=0o600)
        self.pem = os.path.join(self.folder, "both.pem")
        with open(self.pem, "wb") as both:
            for path in self.certificate:
                with open(path, "rb") as one:
                    shutil.copyfileobj(one, both)

    def script(self):
        # makeuserdb writes beside the userdb: an overlay of two lower layers cannot be written to.
        return (f"mkdir /run/work /run/upper\nmount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc\n"
                + SCRIPT.format(pem=self.pem, **self.ports))
