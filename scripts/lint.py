#!/usr/bin/env python3
"""Hold the rules of CONTRIBUTING.md that a script can hold.

Each rule is one test: it prints "ok <rule>" or "not ok <rule>" with the places. The exit
status is the number of rules broken (at most 99).
"""
import os
import re
import shutil
import subprocess
import sys

C_LINES, H_LINES, FUNCTION_LINES = 600, 150, 60

# Which folder may include headers of which others (besides its own).
ARROWS = {
    "protocol": set(),
    "host/base": set(),
    "host/config": {"host/base"},
    "host/job": {"host/base", "host/config"},
    "host/supervisor": {"host/base", "protocol"},
    "host/daemon": {"host/base", "host/config", "host/job"},
    "host/cli": {"host/base", "host/config", "host/job"},
    "guest-agent": {"protocol"},
}

BANNED = ("strcpy strcat sprintf vsprintf gets strtok atoi atol atoll system popen usleep sleep "
          "alloca tmpnam mktemp strncpy").split()


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard",
                          "--", *patterns], check=True, capture_output=True).stdout
    return sorted(p for p in out.decode().split("\0") if p and os.path.isfile(p))


def lines_of(path):
    with open(path, encoding="utf-8") as f:
        return f.read().split("\n")


def code_of(path):
    """The text with comments and strings blanked, line numbers kept."""
    with open(path, encoding="utf-8") as f:
        text = f.read()

    def blank(m):
        s = m.group(0)
        return re.sub(r"[^\n]", " ", s) if s[0] == "/" else '"' + " " * (len(s) - 2) + '"'

    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


PRODUCT = [p for p in tracked("*.c", "*.h") if not p.startswith("tests/")]


def rule_file_length():
    for p in tracked("*.c", "*.h"):
        n, cap = len(lines_of(p)) - 1, C_LINES if p.endswith(".c") else H_LINES
        if n > cap:
            yield f"{p}: {n} lines, at most {cap}"


def rule_function_length():
    for p in PRODUCT:
        start = None
        for i, line in enumerate(code_of(p).split("\n"), 1):
            if line == "{":
                start = i
            elif line.startswith("}") and start:
                if i - start - 1 > FUNCTION_LINES:
                    yield f"{p}:{start}: function of {i - start - 1} lines, at most {FUNCTION_LINES}"
                start = None


def rule_opening_comment():
    for p in PRODUCT:
        head = "\n".join(lines_of(p)[:12])
        if "SPDX-License-Identifier: Apache-2.0" not in head:
            yield f"{p}: no SPDX line at the top"
        if os.path.basename(p) + " - " not in head:
            yield f"{p}: does not open with '{os.path.basename(p)} - what it owns …'"


def rule_include_arrows():
    home = {}
    for p in PRODUCT:
        if p.endswith(".h"):
            home.setdefault(os.path.basename(p), set()).add(os.path.dirname(p))
    for p in PRODUCT:
        folder = next((f for f in ARROWS if p.startswith(f + "/")), None)
        if folder is None:
            continue
        for i, line in enumerate(lines_of(p), 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not m:
                continue
            owners = home.get(os.path.basename(m.group(1)), set())
            if owners and not any(o == folder or o.startswith(folder + "/") or o in ARROWS[folder]
                                  for o in owners):
                yield f"{p}:{i}: {folder} must not include {m.group(1)} of {', '.join(owners)}"


def rule_banned_calls():
    pattern = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    for p in tracked("*.c", "*.h"):
        for i, line in enumerate(code_of(p).split("\n"), 1):
            m = pattern.search(line)
            if m:
                yield f"{p}:{i}: {m.group(1)}() is banned"


def rule_sources_listed():
    lists = " ".join(open(p, encoding="utf-8").read() for p in tracked("*sources.mk", "mk/*.mk", "kernel-config/*", "guest-agent/deps/*.sh", "rootfs/*.sh"))
    for p in PRODUCT:
        if p.endswith(".c") and os.path.basename(p) not in lists:
            yield f"{p}: in no sources.mk: dead code?"


def rule_words():
    bad = re.compile(r"(?<![\w}.])/work/|://(deb|registry|snapshot|security|ftp)\.|\b(TODO|FIXME)\b")
    for p in tracked():
        if p in ("scripts/lint.py", "LICENSE") or p.endswith((".png", ".bin")):
            continue
        try:
            text = lines_of(p)
        except UnicodeDecodeError:
            continue
        for i, line in enumerate(text, 1):
            m = bad.search(line)
            if m:
                yield f"{p}:{i}: '{m.group(0)}': a machine path, a mirror address or unfinished work"


def rule_shellcheck():
    scripts = [p for p in tracked() if p.endswith(".sh") or p == ".ci/run" or (
        p.startswith(("scripts/", "tests/")) and "." not in os.path.basename(p)
        and open(p, "rb").readline().startswith(b"#!/usr/bin/env bash"))]
    if not shutil.which("shellcheck"):
        yield "shellcheck is not installed (apt-get install shellcheck)"
        return
    r = subprocess.run(["shellcheck", "-x", "-P", "SCRIPTDIR", "-S", "warning", "-f", "gcc", *scripts], capture_output=True, text=True)
    yield from r.stdout.splitlines()[:40]


def rule_python_compiles():
    for p in tracked("*.py"):
        try:
            compile(open(p, encoding="utf-8").read(), p, "exec")
        except SyntaxError as e:
            yield f"{p}: {e}"


def main():
    broken = 0
    for name, rule in sorted(globals().items()):
        if not name.startswith("rule_"):
            continue
        places = list(rule())
        broken += bool(places)
        print("not ok" if places else "ok", name[5:].replace("_", " "))
        for place in places:
            print("   ", place)
    return min(broken, 99)


if __name__ == "__main__":
    sys.exit(main())
