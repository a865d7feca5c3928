#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench.py - kiln against floors on this machine: speed, size and memory.

In each round every comparison measures kiln and its floor one after the other, in the other
order in the next round. Prints a table, writes bench.json, with --markdown a page. Numbers that
fall short are said and change nothing; the exit status is 1 when something was not measured.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kilns
import outside
import vms

REPO = Path(__file__).resolve().parents[2]
MIB = 1 << 20
PROBE_PORT, FLOOR_PORT = 1023, 1025
SEND_BYTES, PIPE_BYTES = 65536, MIB  # of the floor, the fastest that were found
GROUPS = ("boot", "log", "artifacts", "debian", "sizes", "memory")


class Parts:
    """What a VM of kiln's is made of, in build/."""

    def __init__(self, build):
        self.kernel = self.need(build / "share/vmlinux")
        self.initramfs = self.need(build / "share/agent.cpio")
        self.probe = self.need(build / "share/probe.cpio")
        self.images = build / "share/images"
        self.image = self.need(self.images / "c.erofs")
        self.vdv = self.need(build / "bin/vhost-device-vsock")

    @staticmethod
    def need(path):
        if not path.exists():
            sys.exit(f"bench: {path} is missing: make setup-check")
        return path.resolve()


class Sizes:
    def __init__(self, quick):
        self.log = (32 if quick else 256) * MIB
        self.files = 8 if quick else 64
        self.file = 8 * MIB
        self.small_files = 2000 if quick else 20000
        self.small_file = 4096

    @property
    def artifacts(self):
        return self.files * self.file


class Samples:
    """Every number that was measured, by name; and why one could not be."""

    def __init__(self):
        self.values = {}
        self.failures = {}

    def add(self, name, value):
        self.values.setdefault(name, []).append(value)

    def measure(self, group, what, function):
        """function() -> {name: number}. A failure is noted and the benchmark goes on."""
        begun = time.monotonic()
        try:
            got = function()
        except (RuntimeError, OSError, AssertionError, subprocess.SubprocessError, KeyError,
                StopIteration) as error:
            text = f"{type(error).__name__}: {error}".replace("\n", " ")
            self.failures.setdefault(group, []).append(f"{what}: {text[:600]}")
            say(f"  {what}: NOT MEASURED: {text[:600]}")
            return
        for name, value in got.items():
            self.add(name, value)
        shown = ", ".join(f"{name} {value:.1f}" for name, value in got.items()
                          if isinstance(value, (int, float)))
        say(f"  {what}: {shown} ({time.monotonic() - begun:.0f} s)")


def say(text):
    print(text, file=sys.stderr, flush=True)


class Bench:
    def __init__(self, args, root, clock):
        self.args, self.root, self.clock = args, root, clock
        self.sizes = Sizes(args.quick)
        self.samples = Samples()
        self.build = Path(args.build).resolve()
        self.parts = Parts(self.build)
        self.tools = self.build / "bench"
        self.machine = {"vcpus": args.vcpus, "memory_mib": 2048, "disk_mib": 8192}

    def run(self):
        measure = self.samples.measure
        folder = self.root / "kilnd"
        folder.mkdir(mode=0o755)
        with kilns.Kilnd(self.build / "bin", self.parts, folder, self.machine) as kilnd:
            blueprint = self.take_blueprint(kilnd)
            self.qemu_argv = blueprint.argv
            self.bare = vms.Bare(blueprint, self.tools, self.root, self.clock)
            self.supervised = kilns.Supervised(self.build / "bin/kiln-supervisor", self.parts, self.root,
                                               self.machine, self.tools / "load")
            self.debian = None
            if "debian" in self.args.rows:
                measure("debian", "preparing the Debian image", self.prepare_debian)
            pairs = [p for p in self.comparisons(kilnd) if p[0] in self.args.rows]
            for n in range(self.args.n):
                say(f"round {n + 1} of {self.args.n}, load {os.getloadavg()[0]:.1f}")
                for group, *sides in pairs:
                    for what, function in sides if n % 2 == 0 else reversed(sides):
                        measure(group, what, function)
        if "sizes" in self.args.rows:
            measure("sizes", "sizes", lambda: {
                "agent_bytes": (self.build / "bin/kiln-agent").stat().st_size,
                "initramfs_bytes": self.parts.initramfs.stat().st_size})

    def take_blueprint(self, kilnd):
        build_id = kilnd.post("echo begun; exec sleep 1000")
        try:
            pid = kilnd.vmm_pid(build_id)
            self.vm = next(e for e in kilns.events_of(kilnd.builds / build_id) if e["type"] == "vm")
            return vms.Blueprint(pid, outside.family(kilnd.process.pid), self.parts.image, self.root)
        finally:
            kilnd.cancel(build_id)

    def prepare_debian(self):
        self.debian = vms.Debian(self.bare.blueprint, self.tools / "debian-ssh.ext4", self.root,
                                 self.clock)
        return {}

    def comparisons(self, kilnd):
        """(group, kiln's side, the floor's), each a pair of words and function."""
        s = self.sizes
        first = ("build through kilnd", lambda: flat(kilnd.first_byte(self.clock)))
        yield "boot", first, ("bare boot", self.bare_boot)
        if self.debian:
            yield "debian", ("first ssh command", lambda: {"ssh_ms": self.debian.run() * 1000})
        yield ("log", ("log of a step", lambda: named("log", self.supervised.log(s.log))),
               ("bare relay", lambda: self.bare_copy("relay", s.log)),
               ("bare copy", lambda: self.bare_copy("direct", s.log)))
        yield ("artifacts",
               ("artifacts", lambda: named("artifacts", self.supervised.artifacts(s.files, s.file))),
               ("bare copy", lambda: self.bare_copy("copy", s.artifacts)),
               ("small artifacts", lambda: named("small", self.supervised.artifacts(
                   s.small_files, s.small_file))))
        yield ("memory", ("memory while streaming", lambda: named("pss", self.supervised.memory(
                   s.log, s.files, s.file))),
               ("kilnd, idle", lambda: {"pss_kilnd": outside.pss_kib(kilnd.process.pid)}))

    def bare_boot(self):
        times = self.bare.run(self.parts.probe, PROBE_PORT)
        return {"floor_hello_ms": (times["first_ns"] - times["started_ns"]) / 1e6}

    def bare_copy(self, name, size):
        word = "relay" if name == "relay" else "direct"
        pipe = f" {PIPE_BYTES}" if name == "relay" else ""
        times = self.bare.run(self.tools / "floor.cpio", FLOOR_PORT,
                              f"{word} {size} {SEND_BYTES}{pipe}", size)
        return {f"{name}_mib_s": size / MIB / ((times["last_ns"] - times["first_ns"]) / 1e9)}


def named(prefix, values):
    return {f"{prefix}_{name}": value for name, value in values.items()}


def flat(values):
    marks = values.pop("marks_ms")
    return {**values, **named("mark", marks)}


# --- from samples to rows --------------------------------------------------------------------

class Row:
    """One line of the table. floor and kiln name samples; judge(floor, kiln) gets the medians."""

    def __init__(self, group, what, unit, kiln, reach, judge=None, floor=None, ratio=True, scale=1):
        self.group, self.what, self.unit, self.kiln, self.floor = group, what, unit, kiln, floor
        self.reach, self.judge, self.ratio, self.scale = reach, judge, ratio, scale

    def evaluate(self, samples):
        out = {"group": self.group, "what": self.what, "unit": self.unit, "reach": self.reach}
        sides = {"floor": self.floor, "kiln": self.kiln}
        for side, name in sides.items():
            values = [v * self.scale for v in samples.values.get(name, [])] if name else []
            out[side] = summary(values)
        missing = [side for side, name in sides.items() if name and not out[side]]
        failures = samples.failures.get(self.group, [])
        if missing:
            out["verdict"] = "not measured"
            out["why"] = failures[0] if failures else "no sample"
            return out
        kiln = out["kiln"]["median"]
        floor = out["floor"]["median"] if self.floor else None
        out["ratio"] = kiln / floor if floor and self.ratio else None
        out["verdict"] = "–" if self.judge is None else "ok" if self.judge(floor, kiln) else "short"
        return out


def summary(values):
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values),
            "n": len(values)}


ROWS = [
    Row("boot", "VMM start → HELLO", "ms", "hello_ms", "≤ 1.15 ×", lambda f, k: k <= 1.15 * f,
        floor="floor_hello_ms"),
    Row("boot", "POST /build → first byte of the step", "ms", "first_ms", "≤ floor + 150 ms",
        lambda f, k: k <= f + 150, floor="floor_hello_ms"),
    Row("log", "log, against a bare relay", "MiB/s", "log_mib_s", "≥ 0.85 ×",
        lambda f, k: k >= 0.85 * f, floor="relay_mib_s"),
    Row("log", "log, against a bare copy (no pipe)", "MiB/s", "log_mib_s", "reported",
        floor="direct_mib_s"),
    Row("artifacts", "artifacts, large files", "MiB/s", "artifacts_mib_s", "≥ 0.6 ×",
        lambda f, k: k >= 0.6 * f, floor="copy_mib_s"),
    Row("artifacts", "artifacts, small files", "files/s", "small_files_s", "reported"),
    Row("debian", "first command (kiln: from POST on)", "ms", "first_ms", "≤ 0.1 ×",
        lambda f, k: k <= 0.1 * f, floor="ssh_ms"),
    Row("sizes", "kiln-agent, stripped", "MiB", "agent_bytes", "≤ 4 MiB", lambda _, k: k <= 4,
        scale=1 / MIB),
    Row("sizes", "initramfs", "MiB", "initramfs_bytes", "≤ 5 MiB", lambda _, k: k <= 5,
        scale=1 / MIB),
    Row("memory", "PSS of kilnd, idle", "MiB", "pss_kilnd", "≤ 16 MiB", lambda _, k: k <= 16,
        scale=1 / 1024),
    Row("memory", "peak PSS of the conduit, streaming", "MiB", "pss_conduit", "≤ 8 MiB",
        lambda _, k: k <= 8, scale=1 / 1024),
    Row("memory", "peak PSS of a build's supervisor processes", "MiB", "pss_supervisor", "≤ 12 MiB",
        lambda _, k: k <= 12, scale=1 / 1024),
    Row("memory", "peak PSS of the agent, streaming", "MiB", "pss_agent", "≤ 8 MiB",
        lambda _, k: k <= 8, scale=1 / 1024),
    Row("memory", "peak PSS of vhost-device-vsock", "MiB", "pss_vsock", "reported", scale=1 / 1024),
    Row("memory", "peak PSS of the VMM", "MiB", "pss_vmm", "reported", scale=1 / 1024),
]
MARKS = (("answered", "the answer to the POST"), ("vmm", "the VMM's start"), ("hello", "HELLO"),
         ("step", "the step's begin"), ("first_byte", "the step's first byte in the log"))


def cell(value):
    if not value:
        return "–"
    digits = 0 if value["median"] >= 100 else 1 if value["median"] >= 20 else 2
    middle = f"{value['median']:.{digits}f}"
    if value["min"] == value["max"]:
        return middle
    return f"{middle} ({value['min']:.{digits}f}–{value['max']:.{digits}f})"


def table(rows):
    yield ("what", "unit", "floor", "kiln", "ratio", "reach", "verdict")
    for r in rows:
        ratio = f"{r['ratio']:.2f}" if r.get("ratio") else "–"
        yield (r["what"], r["unit"], cell(r["floor"]), cell(r["kiln"]), ratio, r["reach"],
               r["verdict"].upper() if r["verdict"] in ("short", "not measured") else r["verdict"])


def aligned(rows):
    lines = list(table(rows))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
    for r in rows:
        if r["verdict"] == "not measured":
            print(f"not measured: {r['what']}: {r['why']}")


def markdown(rows):
    head, *lines = list(table(rows))
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    out += ["| " + " | ".join(line) + " |" for line in lines]
    out += [f"\nNot measured: {r['what']}: {r['why']}" for r in rows if r["verdict"] == "not measured"]
    return "\n".join(out) + "\n"


def facts(bench):
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                if line.startswith("model name")), platform.machine())
    strings = subprocess.run(["grep", "-aom1", r"Linux version [^ ]*", bench.parts.kernel],
                             capture_output=True, text=True, check=False).stdout.split("\n")[0]
    commit = subprocess.run(["git", "-C", REPO, "rev-parse", "--short", "HEAD"], text=True,
                            capture_output=True, check=False).stdout.strip()
    return {
        "date": datetime.date.today().isoformat(), "commit": commit,
        "machine": f"{cpu}, {os.cpu_count()} CPUs, "
                   f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 30} GiB",
        "host kernel": platform.release(), "guest kernel": strings.replace("Linux version ", ""),
        "VMM": f"{bench.vm['vmm']} {bench.vm['version']}, {bench.vm['accel']}",
        "vsock": bench.vm["vsock"], "guest": f"{bench.machine['vcpus']} vCPU, "
                                           f"{bench.machine['memory_mib']} MiB",
        "rounds": bench.args.n, "quick": bench.args.quick, "load": round(os.getloadavg()[1], 2)}


def marks(samples):
    """The way of one build, in medians: where its time goes."""
    out, last = [], 0
    for name, words in MARKS:
        values = samples.values.get(f"mark_{name}")
        if values:
            at = statistics.median(values)
            out.append(f"{at:7.0f} ms (+{at - last:.0f})  {words}")
            last = at
    return out


def report(bench):
    rows = [row.evaluate(bench.samples) for row in ROWS if row.group in bench.args.rows]
    about = facts(bench)
    (bench.build / "bench.json").write_text(json.dumps(
        {"format": 1, "about": about, "rows": rows, "samples": bench.samples.values,
         "failures": bench.samples.failures, "qemu_argv": bench.qemu_argv}, indent=1,
        ensure_ascii=False) + "\n")
    print("\n" + ", ".join(f"{k} {v}" for k, v in about.items()) + "\n")
    aligned(rows)
    way = marks(bench.samples)
    if way:
        print("\nFrom POST /build on:\n" + "\n".join(way))
    if bench.args.markdown:
        page = "".join(f"* {k}: {v}\n" for k, v in about.items()) + "\n" + markdown(rows)
        if way:
            page += "\nFrom `POST /build` on, medians:\n\n" + "".join(f"    {w}\n" for w in way)
        Path(bench.args.markdown).write_text(page, encoding="utf-8")
    print(f"\nAll samples: {bench.build}/bench.json")
    return 1 if bench.samples.failures or any(r["verdict"] == "not measured" for r in rows) else 0


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", default="build")
    p.add_argument("--n", type=int, default=10, help="rounds")
    p.add_argument("--vcpus", type=int, default=2, help="of every VM")
    p.add_argument("--quick", action="store_true", help="small sizes")
    p.add_argument("--rows", default=",".join(GROUPS), help="groups: " + ",".join(GROUPS))
    p.add_argument("--markdown", metavar="FILE", help="also write the table as Markdown")
    args = p.parse_args()
    args.rows = args.rows.split(",")
    unknown = set(args.rows) - set(GROUPS)
    if unknown or args.n < 1:
        p.error(f"unknown rows: {', '.join(unknown)}" if unknown else "--n is at least 1")
    return args


def main():
    args = arguments()
    root = Path(tempfile.mkdtemp(prefix="kiln-bench."))
    os.chmod(root, 0o711)
    try:
        bench = Bench(args, root, outside.ExecClock())
        bench.run()
        return report(bench)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
