#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The probes of the agent library (docs/tracing.md): they are in the file, and fire with the values they promise.

    test_tracing.py [--build DIR]      default: $HN_BUILD, else build/

Tracers need a kernel with uprobes; a debugger needs nothing: gdb stops at each probe of a managed program and prints the
arguments by the notes in the file, as bpftrace does. Where there are uprobes and bpftrace, the one-liners of the document
run as well. Prints TAP.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SKIP_STATUS = 77
HUGE = 2 << 20
HITS = 40  # of each probe, at most
EVENTS = "/sys/kernel/tracing/uprobe_events"

# Number of arguments of each probe; their sizes in bytes, negative when signed.
PROBES = {
    "arm": (8, 4, 4, 4),
    "fault": (8, 4),
    "disarm": (8, 4),
    "migrate_start": (8, 4, -4, -4, 4),
    "migrate_end": (8, 4, -4, -4, 4, 4),
    "verdict": (8, 4, -4, -4, 4, 4),
    "served": (8, 4, 4, 4),
}
WAITED, LOCAL, REFUSED, MIGRATED, FAILED, RACED = OUTCOMES = (2, 4, 5, 6, 7, 8)


class Skip(Exception):
    """The check cannot be made here; the text says why."""


def want(cond, what):
    if not cond:
        raise AssertionError(what)


def notes(library):
    """Name -> argument formats, of the probes in the file."""
    out = subprocess.run(["readelf", "-nW", library], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = {}
    for name, arguments in re.findall(r"Provider: hugenuma\s+Name: (\w+)\s+Location: .*\s+Arguments: (.*)", out):
        found.setdefault(name, []).append(arguments.split())
    return found


def environment(build):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HUGENUMA", "LD_PRELOAD"))}
    env.update(HUGENUMA_AGENT=os.path.join(build, "libhugenuma-agent.so"), HUGENUMA_CONFIG="", LC_ALL="C",
               DEBUGINFOD_URLS="")
    return env


def example(build):
    return [os.path.join(build, "examples", "rotate"), "--mib", "64", "--phases", "3", "--seconds-per-phase", "1"]


def test_notes(build):
    found = notes(os.path.join(build, "libhugenuma-agent.so"))
    want(found, "no probe of provider hugenuma in the file")
    want(sorted(found) == sorted(PROBES), f"probes are {sorted(found)}, expected {sorted(PROBES)}")
    for name, places in found.items():
        for arguments in places:
            sizes = tuple(int(a.split("@")[0]) for a in arguments)
            want(sizes == PROBES[name], f"{name}: argument sizes {sizes}, expected {PROBES[name]}")


def commands():
    """gdb: count each probe's hits, print the first ones."""
    yield "set pagination off\nset confirm off\nset breakpoint pending on\nhandle SIG32 nostop noprint pass\n"
    for number, (name, sizes) in enumerate(PROBES.items(), 1):
        form = " ".join("%#lx" if size == 8 else "%d" for size in sizes)
        values = ", ".join(f"$_probe_arg{i}" for i in range(len(sizes)))
        yield f"break -probe-stap hugenuma:{name}\ncommands\nsilent\nprintf \"HIT {name} {form}\\n\", {values}\n"
        yield f"set $n{number} = $n{number} + 1\nif $n{number} >= {HITS}\ndelete {number}\nend\ncontinue\nend\n"
    for number in range(1, len(PROBES) + 1):
        yield f"set $n{number} = 0\n"
    yield "run\n"


def hits(build):
    """Name -> [arguments], as gdb saw them; and the program's own last words."""
    script = os.path.join(build, "tests", "live", "tracing.gdb")
    with open(script, "w", encoding="ascii") as f:
        f.write("".join(commands()))
    done = subprocess.run([os.path.join(build, "hugenuma"), "run", "-q", "--topology", "node:4 pu:2", "--period-ms", "100",
                           "--start-now", "--", "gdb", "-q", "-nx", "-batch", "-x", script, "--args", *example(build)],
                          env=environment(build), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=200)
    found = {name: [] for name in PROBES}
    for name, text in re.findall(r"^HIT (\w+) (.*)$", done.stdout, re.M):
        found[name].append([int(v, 0) for v in text.split()])
    return found, done.stdout


def node(n):
    return 0 <= n < 4


def check_hits(found, said):
    for name in PROBES:
        want(found[name], f"probe {name} was never hit:\n{said[-3000:]}")
    threads = {a[1] for a in found["fault"]}
    for haddr, wanted, armed, error in found["arm"]:
        want(haddr % HUGE == 0 and 1 <= wanted <= 32 and armed <= wanted, f"arm {haddr:#x} {wanted} {armed}")
        want((error == 5) == (armed == wanted), f"arm: {armed} of {wanted}, error {error}")
    for haddr, cause in found["disarm"]:
        want(haddr % HUGE == 0 and 0 <= cause < 4, f"disarm {haddr:#x} {cause}")
    for haddr, tid, source, target, reason in found["migrate_start"]:
        want(haddr % HUGE == 0 and tid and node(source) and node(target) and source != target and 0 <= reason < 8,
             f"migrate_start {haddr:#x} {tid} {source} {target} {reason}")
    ends = {(a[0], a[1], a[2], a[3]) for a in found["migrate_end"]}
    want(ends & {tuple(a[:4]) for a in found["migrate_start"]}, "no migrate_end belongs to a migrate_start")
    want(any(a[4] == MIGRATED for a in found["migrate_end"]), "no migrate_end says migrated")
    want(threads & {a[1] for a in found["verdict"]}, "no verdict is about a thread whose fault was seen")
    for haddr, tid, thread, page, outcome, reason in found["verdict"]:
        want(haddr % HUGE == 0 and outcome in OUTCOMES, f"verdict {haddr:#x} {outcome}")
        if outcome in (LOCAL, REFUSED, MIGRATED):
            want(node(thread) and node(page) and (thread == page) == (outcome == LOCAL),
                 f"verdict {outcome}: thread on {thread}, page on {page}")
    for haddr, tid, outcome, service in found["served"]:
        want((service == 0) == (outcome == WAITED), f"served {outcome} in {service} ns")
    want({a[0] for a in found["served"]} & {a[0] for a in found["verdict"]}, "verdict and served are about other pages")


def test_values(build):
    if not shutil.which("gdb"):
        raise Skip("gdb is not installed")
    found, said = hits(build)
    want("0 corrupt" in said, f"the program did not end well:\n{said[-3000:]}")
    check_hits(found, said)


def one_liners():
    """The bpftrace programs of the document."""
    with open(os.path.join(ROOT, "docs", "tracing.md"), encoding="utf-8") as f:
        return re.findall(r"^    bpftrace -e '(.*?)'$", f.read(), re.M | re.S)


def test_one_liners_parse(build):
    """They are checked against the probes in the file, kernel or no kernel."""
    if not shutil.which("bpftrace"):
        raise Skip("bpftrace is not installed")
    programs = one_liners()
    want(len(programs) >= 4, f"the document has {len(programs)} one-liners")
    for text in programs:
        text = text.replace("$LIB", os.path.join(build, "libhugenuma-agent.so"))
        done = subprocess.run(["bpftrace", "-d", "-e", text], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=60)
        want(done.returncode == 0, f"bpftrace does not take {text!r}:\n{done.stdout[-1500:]}")


def test_one_liners_run(build):
    if not shutil.which("bpftrace"):
        raise Skip("bpftrace is not installed")
    if not os.access(EVENTS, os.W_OK):
        raise Skip(f"this kernel, or this user, has no uprobes ({EVENTS})")
    for text in one_liners():
        text = text.replace("$LIB", os.path.join(build, "libhugenuma-agent.so"))
        command = [os.path.join(build, "hugenuma"), "run", "-q", "--topology", "node:4 pu:2", "--", *example(build)]
        done = subprocess.run(["bpftrace", "-e", text, "-c", " ".join(f"'{c}'" if " " in c else c for c in command)],
                              env=environment(build), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        want(done.returncode == 0 and re.search(r"^@.*: \S", done.stdout, re.M),
             f"bpftrace printed nothing for {text!r}:\n{done.stdout[-1500:]}")


def main():
    parser = argparse.ArgumentParser(description="test the probes of the agent library")
    parser.add_argument("--build", default=os.environ.get("HN_BUILD") or os.path.join(ROOT, "build"))
    build = os.path.abspath(parser.parse_args().build)
    if not shutil.which("readelf"):
        print("readelf is not installed")
        return SKIP_STATUS
    if not notes(os.path.join(build, "libhugenuma-agent.so")) and not os.path.exists("/usr/include/sys/sdt.h"):
        print("built without probes: <sys/sdt.h> is not installed")
        return SKIP_STATUS
    tests = [(name[5:], fn) for name, fn in globals().items() if name.startswith("test_")]
    failed = 0
    print(f"1..{len(tests)}")
    for number, (name, fn) in enumerate(tests, 1):
        try:
            fn(build)
            print(f"ok {number} - {name}", flush=True)
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}", flush=True)
        except (AssertionError, subprocess.TimeoutExpired) as why:
            failed += 1
            print(f"# {str(why).replace(chr(10), chr(10) + '# ')}\nnot ok {number} - {name}", flush=True)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
