# SPDX-License-Identifier: MIT
"""Bars: the figures of a table as pictures, one for each unit."""
import math
import os

from .report import TITLES, figure, median
from .work import ALL, MAIL_RATE, WORKS

COLOURS = {"limit": "#bbbbbb", "dovecot": "#e0a030", "courier": "#8c6bb1", "popa3d": "#41ab5d", "restante": "#2a6ebb"}
WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 900, 330, 90, 13, 14, 70
PICTURES = {"cpu.svg": ("us", "CPU time of a session, microseconds: shorter is better"),
            "rate.svg": (MAIL_RATE, "MB of mail for a second of CPU: longer is better")}


def bars_of(results, unit):
    """[(label, [(server, value)])] of the works with this unit."""
    for work in WORKS:
        servers = results["works"].get(work.name, {})
        values = [(name, median(servers.get(name))) for name in ALL]
        values = [(name, value) for name, value in values if value]
        if work.unit == unit and values:
            yield work.label, values


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def picture(results, unit, title):
    """Lengths are logarithmic: the figures lie four decades apart."""
    works = list(bars_of(results, unit))
    every = [value for _, values in works for _, value in values]
    if not every:
        return None
    lowest = 10 ** math.floor(math.log10(min(every)))
    decades = max(math.ceil(math.log10(max(every))), math.log10(lowest) + 1) - math.log10(lowest)
    parts, y = [], TOP
    for label, values in works:
        parts.append(f'<text x="{LEFT - 10}" y="{y + len(values) * BAR / 2 + 4:.0f}" text-anchor="end">{escape(label)}</text>')
        for name, value in values:
            length = max(1, (WIDTH - LEFT - RIGHT) * math.log10(value / lowest) / decades)
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 2}" fill="{COLOURS[name]}"/>'
                         f'<text x="{LEFT + length + 5:.1f}" y="{y + BAR - 3}" font-size="10">{figure(value)}</text>')
            y += BAR
        y += GAP
    legend = "".join(f'<rect x="{LEFT + 100 * at}" y="38" width="12" height="12" fill="{COLOURS[name]}"/>'
                     f'<text x="{LEFT + 100 * at + 18}" y="48">{TITLES[name]}</text>' for at, name in enumerate(ALL))
    grid = "".join(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{y - GAP}" stroke="#dddddd"/>'
                   for x in (LEFT + (WIDTH - LEFT - RIGHT) * decade / decades for decade in range(math.floor(decades) + 1)))
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" '
            f'font-family="sans-serif" font-size="12" fill="#333333">\n<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>\n'
            f'<text x="{LEFT}" y="24" font-size="14" font-weight="bold">{title} (logarithmic)</text>\n{legend}\n{grid}\n'
            + "\n".join(parts) + "\n</svg>\n")


def write(results, folder):
    os.makedirs(folder, exist_ok=True)
    for name, (unit, title) in PICTURES.items():
        text = picture(results, unit, title)
        if text:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
