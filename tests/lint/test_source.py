# SPDX-License-Identifier: MIT
"""The rules of the source that a program can check: includes go down only, sizes, layout, first
lines, links, manual pages. Run by `./dev test`; reads the tree, changes nothing."""

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60

# What each folder below src/ may include besides itself (DESIGN.md, "Folders").
INCLUDES = {
    "base": set(),
    "log": {"base"},
    "pop": {"base"},
    "lmtp": {"base", "pop"},
    "sasl": {"base"},
    "ipc": {"base"},
    "os": {"base"},
    "conf": {"base", "log"},
    "net": {"base", "log", "os"},
    "drop": {"base", "log"},
    "acct": {"base", "log", "sasl"},
}
LIBRARIES = set(INCLUDES)

# Libraries of others, and the only folders that may use them (by header).
FOREIGN = {
    r"uv\.h": {"net", "server", "bench"},
    r"openssl/.*": {"net", "ipc", "drop", "server", "admin", "bench"},
    r"gsasl\.h": {"sasl"},
    r"sqlite3\.h": {"acct"},
    r"crypt\.h": {"acct"},
    r"confuse\.h": {"conf"},
    r"seccomp\.h": {"os"},
    r"jansson\.h": {"admin", "bench"},
}


def tree_files():
    """Every file of the project: no build folder, no demo state, nothing hidden but .ci."""
    for folder, folders, names in os.walk(ROOT):
        at = Path(folder)
        if at == ROOT:
            folders[:] = [f for f in folders if f == ".ci" or not f.startswith((".", "build", "state"))]
        folders[:] = [f for f in folders if f not in ("__pycache__", ".pytest_cache", "corpus", "fixtures")]
        for name in names:
            path = at / name
            if at == ROOT and name in ("LICENSE", ".clang-format", ".gitignore"):
                continue
            if path.is_file() and not name.endswith(".pyc"):
                yield path


FILES = sorted(tree_files())
C_FILES = [path for path in FILES if path.suffix in (".c", ".h")]


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def is_script(path):
    return lines(path)[:1] and lines(path)[0].startswith("#!")


def name(path):
    return str(path.relative_to(ROOT))


def complain(faults):
    assert not faults, "\n" + "\n".join(faults)


def includes(path):
    for number, line in enumerate(lines(path), 1):
        found = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
        if found:
            yield number, found.group(1) == '"', found.group(2)


def test_includes_go_down_only():
    faults = []
    for path in C_FILES:
        parts = path.relative_to(ROOT).parts
        if parts[0] != "src" or parts[1] not in LIBRARIES:
            continue
        folder = parts[1]
        for number, ours, header in includes(path):
            below = header.split("/")[0]
            if ours and "/" not in header:
                faults.append(f"{name(path)}:{number}: \"{header}\": name the folder too")
            elif ours and below != folder and below not in INCLUDES[folder]:
                faults.append(f"{name(path)}:{number}: src/{folder} must not include {header}")
    complain(faults)


def test_nobody_includes_a_program():
    """Programs stand on libraries; of each other they know nothing."""
    faults = []
    for path in C_FILES:
        parts = path.relative_to(ROOT).parts
        if parts[0] != "src":
            continue
        for number, ours, header in includes(path):
            below = header.split("/")[0]
            if ours and below not in LIBRARIES and below not in (parts[1], "restante"):
                faults.append(f"{name(path)}:{number}: src/{parts[1]} must not include {header}")
    complain(faults)


def test_foreign_libraries_stay_in_their_folders():
    faults = []
    for path in C_FILES:
        parts = path.relative_to(ROOT).parts
        for number, ours, header in includes(path):
            for pattern, folders in FOREIGN.items():
                if parts[0] == "src" and not ours and re.fullmatch(pattern, header) and parts[1] not in folders:
                    faults.append(f"{name(path)}:{number}: <{header}> is for {', '.join(sorted(folders))}")
    complain(faults)


def test_core_does_no_io():
    """src/pop and src/lmtp take octets and time and give octets and wishes: no system header with I/O in it."""
    allowed = {"stdbool.h", "stddef.h", "stdint.h", "string.h", "assert.h", "limits.h", "stdarg.h", "inttypes.h",
               "emmintrin.h"}  # SSE2: arithmetic only
    faults = []
    for path in C_FILES:
        if path.relative_to(ROOT).parts[:2] in (("src", "pop"), ("src", "lmtp")):
            for number, ours, header in includes(path):
                if not ours and header not in allowed:
                    faults.append(f"{name(path)}:{number}: <{header}> in the core")
    complain(faults)


def comment_marks(path):
    """How the first line of a file of this kind begins, or None: it needs no licence line."""
    if path.suffix in (".c", ".h"):
        return "/* "
    if path.name in ("meson.build", "meson_options.txt") or path.suffix in (".py", ".sh", ".service", ".conf"):
        return "# "
    if re.fullmatch(r"\.[1-9]", path.suffix):
        return '.\\" '
    return "# " if is_script(path) else None


def test_licence_line_is_first():
    faults = []
    for path in FILES:
        marks = comment_marks(path)
        if marks is None:
            continue
        first = [line for line in lines(path)[:2] if not line.startswith("#!")][:1]
        if not first or not first[0].startswith(marks + "SPDX-License-Identifier: MIT"):
            faults.append(f"{name(path)}:1: the first line must be {marks}SPDX-License-Identifier: MIT")
    complain(faults)


def test_c_files_say_what_they_are_for():
    complain([
        f"{name(path)}:2: say what the file is for, who runs it and what it may trust"
        for path in C_FILES
        if not lines(path)[1:2] or not lines(path)[1].startswith("/*")
    ])


def test_headers_are_guarded():
    faults = []
    for path in C_FILES:
        if path.suffix == ".h" and path.relative_to(ROOT).parts[0] == "src":
            guard = "_".join(path.relative_to(ROOT / "src").with_suffix("").parts).upper().replace("-", "_") + "_H"
            if f"#ifndef {guard}" not in lines(path):
                faults.append(f"{name(path)}: no include guard {guard}")
    complain(faults)


def test_no_file_is_too_long():
    complain([
        f"{name(path)}: {len(lines(path))} lines, at most {FILE_LINES_MAX}"
        for path in FILES
        if path.suffix != ".md" and len(lines(path)) > FILE_LINES_MAX
    ])


def c_functions(path):
    """(first line, lines) of each function body; clang-format puts both braces into column 0."""
    start = None
    for number, line in enumerate(lines(path), 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            yield start, number - start + 1
            start = None


def python_functions(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno + 1


def test_no_function_is_too_long():
    faults = []
    for path in FILES:
        kinds = {".c": c_functions, ".h": c_functions, ".py": python_functions}
        for start, count in kinds.get(path.suffix, lambda _: [])(path):
            if count > FUNCTION_LINES_MAX:
                faults.append(f"{name(path)}:{start}: a function of {count} lines, at most {FUNCTION_LINES_MAX}")
    complain(faults)


def test_text_is_tidy():
    faults = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):
            faults.append(f"{name(path)}: no line end at the end")
        for number, line in enumerate(text.split("\n"), 1):
            if line.rstrip() != line:
                faults.append(f"{name(path)}:{number}: space at the end of the line")
    complain(faults)


def test_nothing_is_left_to_do():
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
    complain([
        f"{name(path)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(lines(path), 1)
        if words.search(line)
    ])


# A path that begins with one of these means the same thing on every machine.
COMMON_ROOTS = {"bin", "dev", "etc", "lib", "nonexistent", "proc", "run", "sbin", "srv", "sys", "tmp", "usr", "var"}
# Stand-ins in comments, patterns and tests: no folder of anybody's machine.
STAND_INS = {"absolute", "new", "cur", "a", "b", "c", "x", "y", "mail", "no", "some", "where", "outside", "elsewhere"}
# Where a link may lead: standards, and names that RFC 2606 sets aside.
LINK_HOSTS = re.compile(r"(www\.rfc-editor\.org|www\.w3\.org|spdx\.org|.*\bexample(\.(org|com|net))?|localhost|127\.0\.0\.1|\[::1\])$")


def test_no_machine_is_named():
    """No path of one person's machine, no host but standards' and examples'."""
    absolute = re.compile(r"""(?:^|[\s"'`(=:,])/([A-Za-z0-9_.-]+)/[A-Za-z0-9_.-]""")
    link = re.compile(r"https?://([^/\s:)>\"'`]+)[^\s)>\"'`]*")
    faults = []
    for path in FILES:
        for number, line in enumerate(lines(path), 1):
            for folder in absolute.findall(link.sub(" ", line).replace("/home/alice", "~")):
                if folder not in COMMON_ROOTS | STAND_INS:
                    faults.append(f"{name(path)}:{number}: /{folder}/... is somebody's own path")
            for host in link.findall(line):
                if not LINK_HOSTS.match(host):
                    faults.append(f"{name(path)}:{number}: a link to {host}")
    complain(faults)


def test_links_between_documents_lead_somewhere():
    faults = []
    for path in FILES:
        if path.suffix == ".md":
            for number, line in enumerate(lines(path), 1):
                for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", line):
                    if "://" not in target and not (path.parent / target).exists():
                        faults.append(f"{name(path)}:{number}: {target} does not exist")
    complain(faults)


def tool(*names):
    for candidate in names:
        if shutil.which(candidate):
            return candidate
    pytest.fail(f"{names[0]} is not installed; ./dev test would have installed it")
    return None


def run(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def test_layout_is_clang_format():
    status, out = run(tool("clang-format-14", "clang-format"), "--dry-run", "-Werror", "--ferror-limit=1",
                      *map(str, C_FILES))
    assert status == 0, "run ./dev fmt:\n" + out


def test_manual_pages_are_clean():
    pages = [str(path) for path in FILES if re.fullmatch(r"\.[1-9](\.in)?", path.suffix)]
    if pages:
        status, out = run(tool("mandoc"), "-T", "lint", "-W", "warning", *pages)
        assert status == 0, out


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix == ".sh" or is_script(p)], ids=name)
def test_scripts_parse(path):
    if "python" in lines(path)[0]:
        ast.parse(path.read_text(encoding="utf-8"))
        return
    status, out = run("sh", "-n", str(path))
    assert status == 0, out
    assert os.access(path, os.X_OK) or path.suffix == ".sh", f"{name(path)} is not executable"
