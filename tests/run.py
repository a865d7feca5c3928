#!/usr/bin/env python3
"""Run groups of tests and close with one line: N passed, N failed, N skipped.

    run.py [--full] [--build DIR] GROUP...

Groups: units socket vm fuzz lint+docs (make check), and those of check-full: asan analysers
fuzz-long images. Each test counts once; skips are shown with their reason; the time
table is compared with tests/BUDGET (not with --full). VMs are counted from outside (vmcount.py).
"""
import argparse
import glob
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")
MIN_VMS = 20


class Count:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def run_units(build, _full):
    c = Count()
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP",
               LSAN_OPTIONS=f"suppressions={TOP}/tests/lsan.supp:print_suppressions=0")
    binaries = sorted(glob.glob(f"{build}/unit/*/*_test"))
    if not binaries:
        c.failed.append("units: no test program was built")
    for path in binaries:
        name = os.path.relpath(path, build + "/unit")
        try:
            r = subprocess.run([path], capture_output=True, text=True, errors="replace", env=env,
                               cwd=TOP, timeout=120, check=False)
            out, rc = r.stdout + r.stderr, r.returncode
        except subprocess.TimeoutExpired:
            out, rc = "", "no end within 120 s"
        bad = re.findall(r"^not ok \d+ - (\S+)", out, re.M)
        skipped = re.findall(r"^ok \d+ - (\S+) # SKIP ?(.*)$", out, re.M)
        good = len(re.findall(r"^ok \d+ - ", out, re.M)) - len(skipped)
        c.passed += good
        c.skipped += [f"{name}: {n}: {why}" for n, why in skipped]
        c.failed += [f"{name}: {n}" for n in bad]
        if (rc != 0 and not bad) or good + len(bad) + len(skipped) == 0:
            c.failed.append(f"{name}: ended with {rc}")
        if rc != 0:
            print(out[-4000:])
    return c


def run_pytest(build, name, paths, marks, extra=()):
    c = Count()
    xml = f"{build}/log/{name}.xml"
    os.makedirs(os.path.dirname(xml), exist_ok=True)
    if os.path.exists(xml):
        os.unlink(xml)
    rc = subprocess.call([PYTHON, "-m", "pytest", "-q", "-x" if os.environ.get("KILN_FAIL_FAST") else "-q",
                          "--tb=short", "-p", "no:cacheprovider", "--durations=8",
                          "--junitxml", xml, "-m", marks, *extra, *paths], cwd=TOP)
    try:
        root = ET.parse(xml).getroot()
    except (OSError, ET.ParseError):
        c.failed.append(f"{name}: pytest ended with {rc} and no report")
        return c
    for case in root.iter("testcase"):
        where = f"{case.get('classname')}.{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            c.failed.append(where)
        elif case.find("skipped") is not None:
            c.skipped.append(f"{where}: {case.find('skipped').get('message')}")
        else:
            c.passed += 1
    if rc not in (0, 1) or (rc == 1 and not c.failed):
        c.failed.append(f"{name}: pytest ended with {rc}")
    return c


def run_socket(build, _full):
    return run_pytest(build, "socket", ["tests/integration"], "not vm and not full")


def run_vm(build, _full):
    if os.environ.get("KILN_NO_VM") == "1":
        print("KILN_NO_VM=1: NO VIRTUAL MACHINE WAS BOOTED, THE REAL-VM TESTS DID NOT RUN")
        c = Count()
        c.skipped.append("VM TESTS: ALL OF THEM, KILN_NO_VM=1 IS SET")
        return c
    return run_pytest(build, "vm", ["tests/integration"], "vm and not full")


def run_images(build, _full):
    return run_pytest(build, "images", ["tests/integration"], "full")


def run_lines(name, argv, timeout=3000):
    """A program that prints 'ok NAME' / 'not ok NAME' / 'skip NAME: reason' lines."""
    c = Count()
    r = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, errors="replace",
                       timeout=timeout, check=False)
    for line in (r.stdout + r.stderr).splitlines():
        if line.startswith("ok "):
            c.passed += 1
        elif line.startswith("not ok "):
            c.failed.append(f"{name}: {line[7:]}")
        elif line.startswith("skip "):
            c.skipped.append(f"{name}: {line[5:]}")
    if c.failed or r.returncode:
        print((r.stdout + r.stderr)[-6000:])
    if r.returncode and not c.failed:
        c.failed.append(f"{name}: ended with {r.returncode}")
    if not c.passed and not c.failed and not c.skipped:
        c.failed.append(f"{name}: nothing ran")
    return c


def run_fuzz(build, _full):
    return run_lines("fuzz", ["make", "-s", "fuzz", "FUZZ_SECONDS=4", f"B={build}"])


def run_fuzz_long(build, _full):
    return run_lines("fuzz-long", ["make", "-s", "fuzz", "FUZZ_SECONDS=45", f"B={build}"])


def run_lint_docs(build, _full):
    c = run_lines("lint", [PYTHON, "scripts/lint.py"])
    c.add(run_pytest(build, "docs", ["tests/docs"], "not full"))
    return c


def run_asan(build, full):
    asan = build + "/asan"
    subprocess.check_call(["make", "-s", "unit-bins", f"B={asan}", "OPT=-O1",
                           "HARDEN=-fPIE", "SAN=-fsanitize=address,undefined -fno-sanitize-recover=all"],
                          cwd=TOP)
    return run_units(asan, full)


def run_analysers(_build, _full):
    return run_lines("analysers", ["bash", "scripts/analysers.sh"])


GROUPS = {"units": run_units, "socket": run_socket, "vm": run_vm, "fuzz": run_fuzz,
          "lint+docs": run_lint_docs, "asan": run_asan, "analysers": run_analysers,
          "fuzz-long": run_fuzz_long, "images": run_images}


def budget():
    rows = {}
    with open(os.path.join(TOP, "tests/BUDGET"), encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                name, seconds = line.split()
                rows[name] = int(seconds)
    return rows


def print_times(times, full):
    rows, total = budget(), sum(times.values())
    print("\ngroup          seconds  budget")
    for name, t in times.items():
        cap = rows.get(name)
        over = "  over its line" if cap and t > cap and not full else ""
        print(f"{name:<14} {t:7.1f}  {'' if full or not cap else cap}{over}")
    cap = rows["total"]
    print(f"{'total':<14} {total:7.1f}  {'' if full else cap}")
    return full or total <= cap


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--full", action="store_true")
    p.add_argument("--build", default="build")
    p.add_argument("groups", nargs="+", choices=sorted(GROUPS))
    a = p.parse_args()
    total, times = Count(), {}
    vms = 0
    for name in a.groups:
        print(f"\n== {name}", flush=True)
        start = time.monotonic()
        out = f"{a.build}/log/vms-{name.replace('+', '-')}"
        total.add(run_counted(name, a, out))
        times[name] = time.monotonic() - start
        with open(out, encoding="ascii") as f:
            vms += int(f.read())
    for line in total.skipped:
        print("skipped:", line)
    for line in total.failed:
        print("FAILED:", line)
    if not print_times(times, a.full):
        total.failed.append("the time budget of tests/BUDGET")
        print("FAILED: over the time budget of tests/BUDGET")
    print(f"{vms} VMs were booted")
    if "vm" in a.groups and vms < MIN_VMS and os.environ.get("KILN_NO_VM") != "1":
        total.failed.append("too few VMs")
        print(f"FAILED: fewer than {MIN_VMS} VMs were booted")
    print(f"{total.passed} passed, {len(total.failed)} failed, {len(total.skipped)} skipped", flush=True)
    return 1 if total.failed or not total.passed else 0


def run_counted(name, a, out):
    """Run one group in this process while vmcount.py watches from another one."""
    os.makedirs(os.path.dirname(out), exist_ok=True)
    r, w = os.pipe()
    os.set_inheritable(r, True)
    counter = subprocess.Popen([PYTHON, os.path.join(TOP, "tests/vmcount.py"), out,
                                "sh", "-c", f"cat <&{r} >/dev/null"], pass_fds=(r,))
    os.close(r)
    try:
        return GROUPS[name](a.build, a.full)
    finally:
        os.close(w)
        counter.wait()


if __name__ == "__main__":
    sys.exit(main())
