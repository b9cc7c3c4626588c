# SPDX-License-Identifier: MIT
"""Adds up the test reports of one `./dev test`: names what failed, then prints the total as
the last line. usage: total.py STATUS REPORT... (meson's testlog.json, pytest's junit .xml).

STATUS is 1 when one of the test programs already ended in failure; should no report say
why, or a report be missing, that counts as a failure of its own: a broken run never looks green."""

import json
import sys
import xml.etree.ElementTree as ElementTree

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


def meson_results(path):
    with open(path, encoding="utf-8") as report:
        for line in report:
            test = json.loads(line)
            kind = {"OK": PASSED, "EXPECTEDFAIL": PASSED, "SKIP": SKIPPED}.get(test["result"], FAILED)
            yield test["name"], kind


def junit_results(path):
    for case in ElementTree.parse(path).iter("testcase"):
        kinds = {child.tag for child in case}
        kind = FAILED if kinds & {"failure", "error"} else SKIPPED if "skipped" in kinds else PASSED
        yield f"{case.get('classname')}.{case.get('name')}", kind


def results(path):
    try:
        return list(meson_results(path) if path.endswith(".json") else junit_results(path))
    except (OSError, ValueError, KeyError, ElementTree.ParseError) as error:
        return [(f"no usable report: {error}", FAILED)]


def main():
    status, paths = int(sys.argv[1]), sys.argv[2:]
    count = {PASSED: 0, FAILED: 0, SKIPPED: 0}
    for path in paths:
        for name, kind in results(path):
            count[kind] += 1
            if kind != PASSED:
                print(f"{kind}: {name} ({path})")
    if status and not count[FAILED]:
        count[FAILED] = 1
        print("failed: a test program, outside of any test")
    print(", ".join(f"{number} {kind}" for kind, number in count.items()))
    return 1 if count[FAILED] else 0


sys.exit(main())
