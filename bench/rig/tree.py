# SPDX-License-Identifier: MIT
"""CPU time and memory of a process and all that descends from it, and of the kernel."""
import os

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def read_stat(pid):
    """(parent, ticks) of a process, or None when it is gone. Ticks are its own and those of its reaped children."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name may hold spaces and parentheses: fields are counted from the last one.
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]), sum(map(int, fields[11:15]))


def stats_of_tree(root):
    """{pid: ticks} of the process `root` and its descendants."""
    stats = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = read_stat(name)
            if stat:
                stats[int(name)] = stat
    members = {root} & stats.keys()
    grown = True
    while grown:
        more = {pid for pid, (parent, _) in stats.items() if parent in members} - members
        members |= more
        grown = bool(more)
    return {pid: stats[pid][1] for pid in members}


def cpu_seconds(root):
    """User and system time of the whole tree since it began, reaped children included."""
    return sum(stats_of_tree(root).values()) / TICK


def pss_kib(root):
    """Memory of the whole tree: pages shared by n processes count 1/n each (PSS)."""
    total = 0
    for pid in stats_of_tree(root):
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


def kernel_kib():
    """What the kernel holds for sockets, files and page tables, by kind."""
    kinds = {}
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            name, value = line.split(":")
            if name in ("Slab", "PageTables", "KernelStack"):
                kinds[name] = int(value.split()[0])
    with open("/proc/net/sockstat", encoding="ascii") as file:
        for line in file:
            if line.startswith("TCP:"):
                kinds["socket buffers"] = int(line.split()[-1]) * PAGE // 1024
    return kinds
