# SPDX-License-Identifier: MIT
"""The table of figures, in Markdown."""
import os
import platform


def machine():
    """Cores, processor, memory, kernel: what figures depend on, and no names."""
    model, memory = "unknown processor", 0
    with open("/proc/cpuinfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) // 1024 // 1024
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{os.cpu_count()} cores, {model}, {memory} GiB, Linux {kernel}"


def figure(value):
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def kernel_note(row):
    parts = [f"{name} " + ", ".join(f"{kind} {value:g}" for kind, value in rounds[-1]["kernel_kib"].items() if value)
             for name, rounds in row["rounds"].items()]
    return f"- {row['label']}: " + "; ".join(parts)


def verdict(row):
    """Whether the target of a row is met: a ratio, or KiB of an idle session."""
    if not row["target"] or "restante" not in row["median"]:
        return ""
    if row["unit"] == "KiB":
        return f"at most {row['target']:g} KiB: " + ("yes" if row["median"]["restante"] <= row["target"] else "no")
    if "ratio" not in row:
        return ""
    return f"at least {row['target']:g}x: " + ("yes" if row["ratio"] >= row["target"] else "no")


def table(results):
    measured = [row for row in results["works"] if "failure" not in row]
    names = sorted({name for row in measured for name in row["median"]})
    lines = [f"{results['machine']}; {', '.join(results['versions'])}; {results['date']}", "",
             "| work | unit | " + " | ".join(names) + " | ratio | target |", "|---|---|" + "--:|" * len(names) + "--:|---|"]
    for row in measured:
        cells = [figure(row["median"][name]) for name in names]
        ratio = f"{row['ratio']:.1f}" if "ratio" in row else ""
        lines.append(f"| {row['label']} | {row['unit']} | " + " | ".join(cells) + f" | {ratio} | {verdict(row)} |")
    idle = [kernel_note(row) for row in measured if row["unit"] == "KiB"]
    if idle:
        lines += ["", "Kernel memory of an idle session, KiB, both ends of the connection:", "", *idle]
    failures = [f"- {row['label']}: {row['failure']}" for row in results["works"] if "failure" in row]
    if failures:
        lines += ["", "Not measured:", "", *failures]
    return "\n".join(lines)
