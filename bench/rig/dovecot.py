# SPDX-License-Identifier: MIT
"""Debian's Dovecot, tuned for POP3 as well as its settings allow."""
import os
import subprocess

from .mail import PASSWORD
from .server import Failure, Server

# Reused processes (service_count 0), no flags to write on RETR, no look at the directories
# beyond their times, no proc titles, no limit that would stop the load.
CONFIGURATION = """\
protocols = pop3
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
instance_name = bench
ssl = yes
ssl_cert = <{cert}
ssl_key = <{key}
ssl_min_protocol = TLSv1.2
disable_plaintext_auth = no
auth_mechanisms = plain
verbose_proctitle = no
first_valid_uid = 1
mail_location = maildir:{mail}/%u
mail_max_userip_connections = 0
maildir_very_dirty_syncs = yes
pop3_no_flag_updates = yes
default_vsz_limit = 0
default_client_limit = 30000
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={mail}/%u
}}
service pop3-login {{
  service_count = 0
  process_min_avail = 2
  client_limit = 5000
  inet_listener pop3 {{
    port = {none}
  }}
  inet_listener pop3s {{
    port = {tls}
    ssl = yes
  }}
}}
service pop3 {{
  service_count = 0
  process_limit = 5000
}}
"""


class Dovecot(Server):
    name = "dovecot"
    index_files = ("dovecot",)

    def prepare(self):
        for part in ("run", "state"):
            os.makedirs(os.path.join(self.folder, part), 0o755, exist_ok=True)
        with open(os.path.join(self.folder, "dovecot.conf"), "w", encoding="ascii") as file:
            file.write(CONFIGURATION.format(folder=self.folder, mail=self.maildrops.root, cert=self.certificate[0],
                                            key=self.certificate[1], uid=self.maildrops.owner[0],
                                            gid=self.maildrops.owner[1], **self.ports))
        with open(os.path.join(self.folder, "users"), "w", encoding="ascii") as file:
            file.writelines(f"{name}:{{PLAIN}}{PASSWORD}\n" for name in self.maildrops.names())
        os.chmod(file.name, 0o644)

    def command(self):
        return ["dovecot", "-F", "-c", os.path.join(self.folder, "dovecot.conf")]

    def version(self):
        try:
            return "Dovecot " + subprocess.run(["dovecot", "--version"], check=True, capture_output=True,
                                               text=True).stdout.split()[0]
        except FileNotFoundError:
            raise Failure("dovecot is not installed: apt-get install dovecot-pop3d") from None
