# SPDX-License-Identifier: MIT
"""Servers of Debian that cannot be installed beside each other: their packages are unpacked below the folder of a run and
seen over the system's own files by their server alone, in a mount namespace."""
import os
import shlex
import subprocess

from .server import Failure, Server


def unpack(folder, packages):
    """Downloads and unpacks; returns the root folder."""
    root = os.path.join(folder, "root")
    os.makedirs(root)
    run = subprocess.run(["apt-get", "-q", "download", *packages], cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode:
        raise Failure(f"apt-get download {' '.join(packages)}: {run.stderr.strip()}")
    for name in sorted(os.listdir(folder)):
        if name.endswith(".deb"):
            subprocess.run(["dpkg", "-x", name, root], cwd=folder, check=True)
    return root


class Jail(Server):
    """A subclass names its packages, and what the shell in the jail is to do."""

    packages = ()
    title = ""

    def __init__(self, folder, maildrops, certificate):
        super().__init__(folder, maildrops, certificate)
        self.root = unpack(self.folder, self.packages)

    def path(self, *parts):
        """A file the server sees at /PARTS."""
        path = os.path.join(self.root, *parts)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def write(self, text, *parts, mode=0o644):
        with open(self.path(*parts), "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(file.name, mode)

    def script(self):
        """What runs in the jail, as a shell script; its last command is the server."""
        raise NotImplementedError

    def command(self):
        """The first process of the jail is the root of the tree that is measured; all others end with it."""
        mounts = "".join(f"mount -t overlay overlay -o lowerdir={shlex.quote(os.path.join(self.root, part))}:/{part} /{part}\n"
                         for part in ("usr", "etc") if os.path.isdir(os.path.join(self.root, part)))
        script = "set -e\nmount --make-rprivate /\n" + mounts + "mount -t tmpfs tmpfs /run\n" + self.script()
        return ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
                "ip link set lo up\n" + script]

    @property
    def inside(self):
        """The process in the jail; the one we started waits for it outside."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            children = file.read().split()
        return int(children[0]) if children else None

    def prefix(self):
        return ["nsenter", "--target", str(self.inside), "--net"]

    def greets(self):
        if not self.inside:
            return False
        talk = f"exec 3<>/dev/tcp/127.0.0.1/{self.ports['none']} && head -c 3 <&3"
        run = subprocess.run([*self.prefix(), "timeout", "2", "bash", "-c", talk], capture_output=True, check=False)
        return run.stdout == b"+OK"

    def version(self):
        name = self.packages[0]
        for file in os.listdir(self.folder):
            if file.startswith(name + "_"):
                return f"{self.title} {file.split('_')[1].split('-')[0].split('+')[0]}"
        return self.title
