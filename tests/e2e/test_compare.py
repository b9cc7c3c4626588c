# SPDX-License-Identifier: MIT
"""`bench/compare --table`: figures of several runs put together, as a table, in a document, and as pictures."""

import json
import subprocess
import xml.etree.ElementTree

from daemon import ROOT, WAIT

COMPARE = ROOT / "bench/compare"


def rounds(*values, **more):
    return {"rounds": [{"value": value, **more} for value in values]}


def write(path, versions, works):
    path.write_text(json.dumps({"machine": "2 cores", "date": "2026-11-24", "versions": versions, "works": works}), encoding="ascii")
    return path


def compare(*words):
    run = subprocess.run([COMPARE, *words], capture_output=True, text=True, timeout=WAIT, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def figures(tmp_path):
    first = write(tmp_path / "first.json", {"dovecot": "Dovecot 2", "restante": "old"}, {
        "poll": {"dovecot": rounds(900, 1000, 1100), "restante": rounds(999)},
        "fetch-4k": {"dovecot": rounds(50), "popa3d": rounds(60), "restante": rounds(240), "courier": {"failure": "it fell over"}},
    })
    second = write(tmp_path / "second.json", {"restante": "new"}, {
        "poll": {"restante": rounds(120, 80), "limit": rounds(40)},
        "idle": {"restante": rounds(1.5, kernel_kib={"Slab": 9.5, "PageTables": 0.75})},
    })
    return first, second


def test_files_are_put_together_and_later_ones_hold(tmp_path):
    text = compare("--table", *figures(tmp_path))
    assert text.startswith("2 cores; Dovecot 2, new; 2026-11-24\n")
    assert "| work | unit | limit | Dovecot | Courier | popa3d | Restante | ratio |" in text
    assert "| login + STAT + QUIT | us | 40 | 1,000 | - | - | 100 | 10.0 |" in text
    assert "| RETR 4 KiB, one by one | MB per CPU-s | - | 50 | - | 60 | 240 | 4.0 |" in text
    assert "| - | 1.5 + 10 |  | 4 + 12 | 2 + 10 |" in text
    assert "- RETR 4 KiB, one by one, Courier: it fell over" in text


def test_a_document_keeps_what_is_around_the_table(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- figures -->\n\nold\n\n<!-- end of figures -->\nafter\n", encoding="ascii")
    text = compare("--table", *figures(tmp_path), "--readme", document)
    assert document.read_text(encoding="ascii") == f"before\n<!-- figures -->\n\n{text}\n<!-- end of figures -->\nafter\n"


def test_pictures_are_xml(tmp_path):
    compare("--table", *figures(tmp_path), "--plots", tmp_path / "plots")
    for name, bars in (("cpu.svg", 3), ("rate.svg", 3)):
        root = xml.etree.ElementTree.parse(tmp_path / "plots" / name).getroot()
        rectangles = root.findall("{http://www.w3.org/2000/svg}rect")
        assert len(rectangles) == 1 + 5 + bars  # paper, legend, bars
        assert all(float(rectangle.get("width")) > 0 for rectangle in rectangles)
