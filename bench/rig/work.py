# SPDX-License-Identifier: MIT
"""The work that is measured, one row each: what the load generator does, and which figures are asked for."""
import dataclasses

MAIL_RATE = "MB per CPU-s"
ALL = ("limit", "dovecot", "courier", "popa3d", "restante")


@dataclasses.dataclass(frozen=True)
class Work:
    name: str
    label: str
    mail: str  # a set of rig.mail.SETS
    profile: str
    connections: int
    tls: str = "none"
    resume: bool = False
    window: int = 1
    passes: int = 1  # so many that the login hardly counts
    cold: bool = False  # indexes are removed before each round; each account is used once
    among: int = 0  # this work runs beside so many idle sessions
    servers: tuple = ALL  # who can do it in reasonable time
    reach: str = ""  # asked for
    dream: str = ""

    @property
    def unit(self):
        return {"fetch": MAIL_RATE, "drain": MAIL_RATE, "idle": "KiB"}.get(self.profile, "us")

    @property
    def more_is_better(self):
        return self.unit == MAIL_RATE

    @property
    def once(self):
        """A round uses each account once, for what is there before it is gone afterwards."""
        return self.cold or self.profile == "drain"


WORKS = [
    Work("poll", "login + STAT + QUIT", "small", "poll", 8, reach="120", dream="90"),
    Work("poll-tls", "the same, TLS, full handshake", "small", "poll", 8, "tls", reach="580", dream="500"),
    Work("poll-stls", "the same, STLS, full handshake", "small", "poll", 8, "stls"),
    Work("poll-tls-resumed", "the same, TLS, resumed", "small", "poll", 8, "tls", resume=True),
    Work("uidl-100", "login + CAPA + UIDL + QUIT, 100 messages", "small", "uidl", 8, reach="140", dream="100"),
    Work("uidl-10000", "the same, 10,000 messages, warm", "many", "uidl", 4, reach="450", dream="300"),
    Work("uidl-100000", "the same, 100,000 messages, warm", "huge", "uidl", 2, reach="2,200", dream="1,500"),
    Work("uidl-100000-cold", "the same, 100,000 messages, no index yet", "huge", "uidl", 1, cold=True, reach="1,200,000",
         dream="800,000", servers=("dovecot", "courier", "popa3d", "restante")),
    Work("fetch-4k", "RETR 4 KiB, one by one", "small", "fetch", 8, passes=5, reach="250", dream="350"),
    Work("fetch-4k-pipelined", "RETR 4 KiB, pipelined", "small", "fetch", 8, window=32, passes=20, reach="900", dream="1,500"),
    Work("fetch-75k", "RETR 75 KiB, one by one", "medium", "fetch", 8, passes=4, reach="1,500", dream="2,500"),
    Work("fetch-75k-pipelined", "RETR 75 KiB, pipelined", "medium", "fetch", 8, window=16, passes=4, reach="1,700", dream="2,500"),
    Work("fetch-10m", "RETR 10 MiB", "large", "fetch", 4, passes=2, reach="2,500", dream="3,500"),
    Work("fetch-4k-tls", "RETR 4 KiB, pipelined, TLS", "small", "fetch", 8, "tls", window=32, passes=20, reach="400", dream="550"),
    Work("fetch-75k-tls", "RETR 75 KiB, pipelined, TLS", "medium", "fetch", 8, "tls", window=16, passes=4, reach="900", dream="1,100"),
    Work("fetch-10m-tls", "RETR 10 MiB, TLS", "large", "fetch", 4, "tls", passes=2, reach="800", dream="850"),
    Work("drain", "RETR + DELE of all 4 KiB, pipelined, QUIT durable", "small", "drain", 8, window=32, reach="150", dream="300"),
    Work("idle", "idle session of 2,000, plain", "idle", "idle", 2000, reach="4 + 12", dream="2 + 10",
         servers=("limit", "dovecot", "restante")),
    Work("idle-tls", "idle session of 2,000, TLS", "idle", "idle", 2000, "tls", reach="26 + 10", dream="18 + 8",
         servers=("limit", "dovecot", "restante")),
    Work("idle-100000", "idle session of 100,000, plain", "idle", "idle", 100000, servers=("restante",)),
    Work("poll-among-100000", "login + STAT + QUIT among 100,000 idle sessions", "small", "poll", 8, among=100000, servers=("restante",),
         reach="as without"),
]
