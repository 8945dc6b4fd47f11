#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""libhugenuma from outside: the cases of library.c, the examples, what other commands see of a process that uses it, what it
exports, and a program built against an installed copy.

    test_library.py [--build DIR] [--only TEXT]...      default: $HN_BUILD, else build/

Prints TAP.
"""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SKIP_STATUS = 77
TIMEOUT = 120
APART = ("preloaded", "demoted", "stay")  # cases that need something around them

# What the library is, to programs that were linked with it: only additions are allowed, under a new version.
ABI = """
can_manage get manage message nodes pause poll_events query_page query_range resume set start state statistics stop
strerror treat unmanage version
""".split()
# It never prints, ends its host, or takes its signals.
FORBIDDEN = re.compile(r"^(std(out|err|in)|f?puts|putchar|fputc|puts|perror|v?[fd]?printf|__v?[fd]?printf_chk|fwrite|"
                       r"_?exit|_Exit|quick_exit|abort|__assert_fail|signal|sigaction|atexit)$")


class Skip(Exception):
    """The check cannot be made here; the text says why."""


def want(cond, what):
    if not cond:
        raise AssertionError(what)


def same(got, wanted, what):
    want(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


class Bench:
    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.library = os.path.join(self.build, "libhugenuma.so")
        self.cases = os.path.join(self.build, "tests", "lib", "library-cases")
        self.hugenuma = os.path.join(self.build, "hugenuma")
        self.tmp = tempfile.mkdtemp(prefix="hugenuma-lib-")

    def environment(self, **extra):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HUGENUMA", "LD_PRELOAD"))}
        env.update(HUGENUMA_AGENT=os.path.join(self.build, "libhugenuma-agent.so"), HUGENUMA_CONFIG="", LC_ALL="C", **extra)
        return env

    def run(self, *command, status=0, **kw):
        """Standard output; the status must be as wanted, and no run may be left behind."""
        child = subprocess.Popen(command, env=self.environment(**kw), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        try:
            out, err = child.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise AssertionError(f"{command[-1]}: no end after {TIMEOUT} s")
        if child.returncode == SKIP_STATUS:
            raise Skip((out.strip().splitlines() or ["no reason given"])[-1])
        same(child.returncode, status, f"status of {' '.join(command)}\n{out}{err}")
        same(glob.glob(f"/dev/shm/hugenuma.*.{child.pid}.*"), [], "left behind")
        return out

    def command(self, *args, status=0):
        return self.run(self.hugenuma, *args, status=status)


def case_tests(b):
    names = subprocess.run([b.cases, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return [(name, lambda b, n=name: b.run(b.cases, n)) for name in names if name not in APART]


def test_preloaded(b):
    """Under `hugenuma run` the calls steer the agent that is there."""
    b.run(b.hugenuma, "run", "-q", "--topology", "node:2 pu:2", "--period-ms", "5", "--policy", "always", "--", b.cases,
          "preloaded")


def test_demoted(b):
    """A page that goes to a slow node is an event like any other, without a thread."""
    b.run(b.hugenuma, "run", "-q", "--topology", "pack:1 [numa(memory=32MB)] [numa(memory=1GB)] pu:2", "--slow-nodes", "1",
          "--period-ms", "5", "--cold-rounds", "2", "--low-permille", "300", "--", b.cases, "demoted")


def test_seen_by_commands(b):
    child = subprocess.Popen([b.cases, "stay"], env=b.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid = str(child.pid)
    try:
        address = child.stdout.readline().strip()
        want(address.startswith("0x"), f"said {address!r}")
        for _ in range(600):
            report = json.loads(b.command("report", pid, "--format", "json"))
            if report["processes"] and report["processes"][0]["migrated_pages"]:
                break
            time.sleep(0.05)
        process = report["processes"][0]
        same((process["pid"], len(process["nodes"])), (child.pid, 2), "process")
        want(process["migrated_pages"] > 0, "nothing was migrated")
        want(re.search(rf"\b{pid}\b.*library-cases", b.command("list")), "not in the list")
        want("pages migrated to" in b.command("report", pid), "no table")
        want("node" in b.command("explain", pid, address), "nothing explained")
        same(b.command("ctl", pid, "get", "scan.period_ms").strip().split()[-1], "50", "setting")
        b.command("ctl", pid, "set", "policy.name=observe")
        b.command("pause", pid)
        want("paused" in b.command("list"), "not paused")
        b.command("resume", pid)
        b.command("stop", pid)
    finally:
        child.stdin.close()
        status = child.wait(TIMEOUT)
    same(status, 0, "status")
    same(glob.glob(f"/dev/shm/hugenuma.*.{pid}.*"), [], "left behind")


def test_killed(b):
    """What a process that was killed has left is swept away by the next, once it is a minute old."""
    child = subprocess.Popen([b.cases, "stay"], env=b.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child.stdout.readline()
    child.kill()
    child.wait()
    left = glob.glob(f"/dev/shm/hugenuma.*.{child.pid}.*")
    same(len(left), 1, "runs of the killed process")
    want(str(child.pid) not in b.command("list"), "a dead process is listed")
    os.utime(left[0], (0, 0))
    b.run(b.cases, "settings")
    same(glob.glob(left[0]), [], "left behind")


def test_example_arena(b):
    out = b.run(os.path.join(b.build, "examples", "example-arena"), "4")
    want(re.search(r"balanced over \d+ nodes by libhugenuma", out), out)
    want(re.search(r"on node 0: 32 1: 32; ", out), f"the halves were not separated:\n{out}")
    want(re.search(r"[1-9]\d* words checked, 0 corrupt", out), out)


def test_example_decisions(b):
    out = b.run(os.path.join(b.build, "examples", "example-decisions"))
    want(re.search(r"bound to node 1: \d+ events, 8 pages moved; its first page is on node 1, last rule: ", out), out)
    want(re.search(r"observed: \d+ events, 0 pages moved; its first page is on node 0", out), out)
    want("left alone: 0 events, 0 pages moved\n" in out and "0 wrong bytes" in out, out)


def test_abi(b):
    out = subprocess.run(["nm", "-D", "--defined-only", b.library], check=True, stdout=subprocess.PIPE, text=True).stdout
    exported = [line.split()[-1] for line in out.splitlines() if " A " not in line]
    same(sorted(exported), [f"hugenuma_{name}@@HUGENUMA_0.1" for name in ABI], "exported")
    dynamic = subprocess.run(["readelf", "-dW", b.library], check=True, stdout=subprocess.PIPE, text=True).stdout
    same(re.findall(r"\(SONAME\).*\[(.*)\]", dynamic), ["libhugenuma.so.0"], "soname")
    same(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic), ["libc.so.6"], "needed")
    want("NODELETE" in dynamic, "the library could be unloaded under its threads")


def test_never_prints_nor_ends(b):
    out = subprocess.run(["nm", "-D", "--undefined-only", b.library], check=True, stdout=subprocess.PIPE, text=True).stdout
    names = [line.split()[-1].split("@")[0] for line in out.splitlines()]
    want("pthread_rwlock_rdlock" in names, "nm says nothing")
    same([n for n in names if FORBIDDEN.match(n)], [], "referred to")


def test_header_declares_the_abi(b):
    with open(os.path.join(ROOT, "include", "hugenuma.h"), encoding="utf-8") as f:
        declared = re.findall(r"^(?:int|long|uint32_t|const char \*|enum hugenuma_state) ?\*?hugenuma_(\w+)\(", f.read(), re.M)
    same(sorted(declared), sorted(ABI), "declared")


def test_installed(b):
    """What is installed is enough for a program elsewhere, in C and in C++, with pkg-config telling how."""
    root = os.path.join(b.tmp, "root")
    done = subprocess.run(["meson", "install", "-C", b.build, "--no-rebuild", "--destdir", root], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    same(done.returncode, 0, f"meson install\n{done.stdout}")
    pc = glob.glob(os.path.join(root, "**", "hugenuma.pc"), recursive=True)
    same(len(pc), 1, "pkg-config files")
    env = b.environment(PKG_CONFIG_PATH=os.path.dirname(pc[0]), PKG_CONFIG_SYSROOT_DIR=root)
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "hugenuma"], env=env, check=True, stdout=subprocess.PIPE,
                           text=True).stdout.split()
    libdir = os.path.dirname(glob.glob(os.path.join(root, "**", "libhugenuma.so.0"), recursive=True)[0])
    source, program = os.path.join(ROOT, "examples", "decisions.c"), os.path.join(b.tmp, "decisions")
    subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", source, "-o", program, *flags],
                   check=True, cwd=b.tmp)
    out = b.run(program, LD_LIBRARY_PATH=libdir)
    want("0 wrong bytes" in out, out)
    if not shutil.which("c++"):
        return
    with open(os.path.join(b.tmp, "v.cc"), "w", encoding="ascii") as f:
        f.write("#include <hugenuma.h>\n#include <cstdio>\nint main() { std::puts(hugenuma_version()); }\n")
    subprocess.run(["c++", "-std=c++11", "-Wall", "-Werror", os.path.join(b.tmp, "v.cc"), "-o", program, *flags], check=True)
    version = subprocess.run(["pkg-config", "--modversion", "hugenuma"], env=env, check=True, stdout=subprocess.PIPE,
                             text=True).stdout.strip()
    same(b.run(program, LD_LIBRARY_PATH=libdir).strip(), version, "version")


def test_documents_are_installed(b):
    """What help and manual pages name as documents is there, and so is what these show and link to."""
    root = os.path.join(b.tmp, "root-of-documents")
    subprocess.run(["meson", "install", "-C", b.build, "--no-rebuild", "--destdir", root], stdout=subprocess.DEVNULL, check=True)
    command, = glob.glob(os.path.join(root, "**", "bin", "hugenuma"), recursive=True)
    folder, = glob.glob(os.path.join(root, "**", "doc", "hugenuma"), recursive=True)
    named, env = set(), b.environment(HUGENUMA_CHECK=glob.glob(os.path.join(root, "**", "hugenuma-check"), recursive=True)[0])
    for what in ("run", "check"):
        text = subprocess.run([command, what, "--help"], env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
        named |= {place.rstrip(")") + "/" + name for name, place in re.findall(r"(docs/[\w-]+\.md),?\s+\(?in\s+(/\S+/hugenuma)\b", text)}
    for page in glob.glob(os.path.join(root, "**", "man?", "hugenuma*"), recursive=True):
        with open(page, encoding="utf-8") as f:
            named |= set(re.findall(r"/[\w./-]+/docs/[\w-]+\.md", f.read().replace("\\", "")))
    want(len(named) >= 5, f"found {named}")
    same([n for n in sorted(named) if not os.path.isfile(root + n)], [], "named, and not installed")
    for at in glob.glob(os.path.join(folder, "**", "*.md"), recursive=True):
        with open(at, encoding="utf-8") as f:
            links = re.findall(r"\]\((?!http)([^)#\s]+)\)", f.read())
        same([l for l in links if not os.path.exists(os.path.join(os.path.dirname(at), l))], [], f"links of {at}")


def main():
    parser = argparse.ArgumentParser(description="test libhugenuma")
    parser.add_argument("--build", default=os.environ.get("HN_BUILD") or os.path.join(ROOT, "build"))
    parser.add_argument("--only", action="append", default=[], metavar="TEXT")
    args = parser.parse_args()
    b = Bench(args.build)
    tests = case_tests(b) + [(name[5:].replace("_", " "), fn) for name, fn in globals().items() if name.startswith("test_")]
    tests = [t for t in tests if not args.only or any(text in t[0] for text in args.only)]
    failed = 0
    print(f"1..{len(tests)}")
    for number, (name, fn) in enumerate(tests, 1):
        try:
            fn(b)
            print(f"ok {number} - {name}", flush=True)
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}", flush=True)
        except (AssertionError, subprocess.SubprocessError, OSError, ValueError) as why:
            failed += 1
            print(f"# {str(why).replace(chr(10), chr(10) + '# ')}\nnot ok {number} - {name}", flush=True)
    shutil.rmtree(b.tmp)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
