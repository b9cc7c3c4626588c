# SPDX-License-Identifier: MIT
"""A network namespace of a test's own: a second address, and lines that can be cut. Needs root and the right to make
namespaces; tests are skipped with the reason where that is not given."""

import ctypes
import os
import subprocess

import pytest

OUTSIDE = "192.0.2.1"  # RFC 5737: for documentation, so nobody's
CLONE_NEWNET = 0x40000000


class Namespace:
    """A network of its own with 127.0.0.1 and OUTSIDE, for as long as a process in it lives. `with` puts this thread, and
    what it starts, into it."""

    def __init__(self):
        setup = f"ip link set lo up && ip address add {OUTSIDE}/32 dev lo && echo ready && exec cat"
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", setup], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "ready\n":
            reason = self.holder.communicate()[1].strip()
            pytest.skip(f"no network namespace can be made here: {reason}")
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.away = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY)

    @staticmethod
    def enter(namespace):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def __enter__(self):
        self.enter(self.away)

    def __exit__(self, *_):
        self.enter(self.home)

    def close(self):
        os.close(self.home)
        os.close(self.away)
        self.holder.communicate()


def use():
    """For fixtures: yields a namespace."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a network namespace")
    namespace = Namespace()
    yield namespace
    namespace.close()
