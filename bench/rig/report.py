# SPDX-License-Identifier: MIT
"""Figures as JSON that can be put together, as a table in Markdown, and as pictures."""
import json
import os
import platform
import statistics

from .server import Failure
from .work import ALL, WORKS

TITLES = {"limit": "limit", "dovecot": "Dovecot", "courier": "Courier", "popa3d": "popa3d", "restante": "Restante"}
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"


def machine():
    """Cores, processor, memory, kernel: what figures depend on, and no names."""
    model, memory = "unknown processor", 0
    with open("/proc/cpuinfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = round(int(file.readline().split()[1]) / 1024 / 1024)
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{os.cpu_count()} cores, {model}, {memory} GiB, Linux {kernel}"


# --- results: {"machine", "date", "versions": {server: text}, "works": {work: {server: {"rounds"} or {"failure"}}}} ---

def read(paths):
    """Several files as one; what comes later holds."""
    results = {"versions": {}, "works": {}}
    for path in paths:
        try:
            with open(path, encoding="ascii") as file:
                more = json.load(file)
            results.update({key: more[key] for key in ("machine", "date")})
            results["versions"].update(more["versions"])
            for work, servers in more["works"].items():
                results["works"].setdefault(work, {}).update(servers)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise Failure(f"{path} has no figures of compare: {error}") from None
    return results


def write(results, path):
    """Whole or not at all: a run may be ended at any time."""
    with open(path + ".new", "w", encoding="ascii") as file:
        json.dump(results, file, indent=1)
    os.replace(path + ".new", path)


def median(measured):
    """Of a server's rounds, or None."""
    rounds = (measured or {}).get("rounds")
    return statistics.median(round_["value"] for round_ in rounds) if rounds else None


# --- table ---

def figure(value):
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def cell(work, measured):
    value = median(measured)
    if value is None:
        return "-"
    text = figure(value)
    if work.unit == "KiB":
        text += f" + {figure(sum(measured['rounds'][-1]['kernel_kib'].values()))}"
    return text


def ratio(work, servers):
    """To the best of the other servers: above 1 means Restante is better."""
    ours = median(servers.get("restante"))
    others = [median(servers.get(name)) for name in ("dovecot", "courier", "popa3d")]
    others = [value for value in others if value]
    if not ours or not others:
        return ""
    return f"{ours / max(others):.1f}" if work.more_is_better else f"{min(others) / max(ours, 1e-9):.1f}"


def table(results):
    names = [name for name in ALL if any(name in servers for servers in results["works"].values())]
    versions = ", ".join(text for text in results["versions"].values() if text)
    lines = [f"{results['machine']}; {versions}; {results['date']}", "",
             "| work | unit | " + " | ".join(TITLES[name] for name in names) + " | ratio | reach | dream |",
             "|---|---|" + "--:|" * (len(names) + 3)]
    for work in WORKS:
        servers = results["works"].get(work.name)
        if servers:
            cells = [cell(work, servers.get(name)) for name in names]
            lines.append(f"| {work.label} | {work.unit} | " + " | ".join(cells) + f" | {ratio(work, servers)} | {work.reach} | {work.dream} |")
    failures = [f"- {work.label}, {TITLES[name]}: {servers[name]['failure']}" for work in WORKS
                for servers in [results["works"].get(work.name, {})] for name in ALL if "failure" in servers.get(name, {})]
    return "\n".join(lines + (["", "Not measured:", "", *failures] if failures else []))


def put_into(path, text):
    """Replaces what is between the two marks of a document."""
    with open(path, encoding="utf-8") as file:
        document = file.read()
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    with open(path, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + "\n" + text + "\n\n" + END + after)
