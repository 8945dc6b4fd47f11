#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What tests/vm/vm promises: status, output, files both ways, nodes as ordered, an end in time, nothing left behind."""
import glob
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import debian  # noqa: E402  pylint: disable=wrong-import-position
import emulator  # noqa: E402  pylint: disable=wrong-import-position
import kernels  # noqa: E402  pylint: disable=wrong-import-position

VM = [sys.executable, os.path.join(HERE, "vm")]
SKIP_STATUS, TIMEOUT_STATUS, FAILED_STATUS = 77, 124, 125
DISTANCES = "10,15,21,31,10,17,40,41,10"
GUEST_SECONDS = 180
KERNELS = ("6.12", "7.3")  # what tests/vm/run has use for


class Tap:
    def __init__(self):
        self.count = self.failed = 0

    def check(self, good, name, *seen):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}", flush=True)
        for thing in () if good else seen:
            print("\n".join(f"#   {line}" for line in str(thing).splitlines()), flush=True)


def vm(*args, env=None):
    done = subprocess.run([*VM, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, errors="replace", env=dict(os.environ, **(env or {})))
    return done.returncode, done.stdout, done.stderr


def guests_of(pid):
    """Process ids of qemu below a process."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task") if os.path.isdir(f"/proc/{pid}/task") else ():
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
            found += [int(p) for p in f.read().split()]
    return [p for p in found if is_guest(p)]


def is_guest(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return b"hugenuma-test-guest" in f.read()
    except OSError:
        return False


def is_gone(pid, seconds=10):
    end = time.monotonic() + seconds
    while is_guest(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def start_guest(folder, *args):
    """A guest that would live for long; (the script, qemu's pid) once it has said something."""
    child = subprocess.Popen([*VM, "--build", "", *args, "--", "echo running; sleep 1000"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                             env=dict(os.environ, TMPDIR=folder))
    line = child.stdout.readline()
    return child, (guests_of(child.pid) or [None])[0] if line == "running\n" else None


def check_round_trip(tap, folder):
    """One guest for most of it: nodes with different CPUs and memory, the last without CPUs, files, output, status."""
    os.makedirs(os.path.join(folder, "in", "sub"))
    for name, text in (("one", "1\n"), ("sub/two", "2\n")):
        with open(os.path.join(folder, "in", name), "w", encoding="ascii") as f:
            f.write(text)
    script = "; ".join([
        "for n in 0 1 2; do cd /sys/devices/system/node/node$n; echo node $n $(cat cpulist) / $(cat distance) / "
        "$(awk '/MemTotal/ {print int($4 / 1024)}' meminfo); done",
        "echo value $VALUE", "echo to stderr >&2", "cat /root/in/one /there/in/sub/two", "mkdir -p /out/a/b",
        "echo 3 > /out/a/b/three", "cp /bin/true /out/a", "ln -s three /out/a/b/link", "test -t 0 || echo no terminal",
        "sleep 1000 & kill -USR1 $$"])
    out = os.path.join(folder, "back")
    status, text, err = vm("--build", "", "--nodes", "3", "--cpus", "2,1,1", "--cpuless", "1",
                           "--memory", "384,256,320", "--distances", DISTANCES,
                           "--put", f"{folder}/in", "--put", f"{folder}/in:/there/",
                           "--get", f"/out/a:{out}/", "--get", f"/out/a/b/three:{out}/renamed", "--get", "/nothing",
                           "--env", "VALUE=a b", "--timeout", str(GUEST_SECONDS), "--", script)
    seen = f"status {status}\n{text}{err}"
    tap.check(status == 128 + signal.SIGUSR1, "a command ended by a signal has a shell's status", seen)
    for node, wanted in enumerate(("0-1 / 10 15 21", "2 / 31 10 17", "/ 40 41 10")):
        tap.check(re.search(rf"^node {node} {re.escape(wanted)} /", text, re.M),
                  f"node {node} has CPUs and distances as ordered", seen)
    memory = [int(m) for m in re.findall(r"^node .* / (\d+)$", text, re.M)]
    tap.check(len(memory) == 3 and all(0 <= size - m < 100 for size, m in zip((384, 256, 320), memory)),
              "and memory", memory)
    tap.check("\nvalue a b\n" in text and "no terminal" in text and "1\n2\n" in text, "environment and files go in",
              seen)
    tap.check("to stderr" in err and "to stderr" not in text, "standard error is kept apart", seen)
    got = {os.path.relpath(os.path.join(d, f), out) for d, _, names in os.walk(out) for f in names}
    tap.check({"a/b/three", "a/true", "renamed"} <= got and os.access(f"{out}/a/true", os.X_OK), "files come back",
              got, seen)
    tap.check("--get /nothing: not there" in err, "what is not there is named", err)


def check_clock(tap):
    """Seconds in the guest are seconds here: a test that gives a program ten of them means ten."""
    script = "cut -d' ' -f1 /proc/uptime; sleep 5; cut -d' ' -f1 /proc/uptime"
    with subprocess.Popen([*VM, "--build", "", "--nodes", "2", "--memory", "256", "--", script], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        seen = [(float(line), time.monotonic()) for line in child.stdout]
    inside, outside = (seen[1][i] - seen[0][i] for i in (0, 1)) if len(seen) == 2 else (0, 1)
    # A busy machine hands on what it prints late, at either end.
    tap.check(0.7 < inside / outside < 1.4, "its clock runs as fast as this machine's", f"{inside} s inside, {outside} s outside")


def check_time_is_up(tap, folder):
    for seconds in (25, 120):  # in which it has to boot, too
        start = time.monotonic()
        status, text, err = vm("--build", "", "--timeout", str(seconds), "--nodes", "2", "--memory", "256", "--",
                               "echo so far; sleep 1000", env={"TMPDIR": folder})
        took = time.monotonic() - start
        if text:
            break
    tap.check(status == TIMEOUT_STATUS and took < seconds + 35, "a guest that takes too long is ended",
              f"status {status}, {took:.0f} s\n{err}")
    tap.check(text == "so far\n", "what it said by then is there", repr(text))
    tap.check(f"the time of {seconds} s is up" in err, "and why it ended", err)


def check_nothing_left(tap, folder, name, end):
    child, pid = start_guest(folder, "--nodes", "1", "--memory", "384")
    if not pid:
        child.kill()
        tap.check(False, f"{name}: a guest was started")
        return
    end(child)
    child.stdout.close()
    status = child.wait(60)
    tap.check(is_gone(pid), f"{name}: the guest goes with the script (status {status})")
    tap.check(os.listdir(folder) == [], f"{name}: no file is left", os.listdir(folder))


def check_refusals(tap, folder):
    """Nothing of these boots a guest."""
    status, text, _ = vm("--build", "", "--", "true", env={"PATH": folder})
    tap.check(status == SKIP_STATUS and "qemu" in text, "without qemu it says so, and skips", status, text)
    # A PATH with qemu, and nothing to fetch a kernel with.
    os.symlink(emulator.installed(), f"{folder}/qemu-system-x86_64")
    status, text, _ = vm("--build", "", "--kernel", "0.1", "--", "true",
                         env={"HUGENUMA_VM_CACHE": f"{folder}/cache", "PATH": folder})
    tap.check(status == SKIP_STATUS and "no kernel 0.1" in text, "without a kernel it says so, and skips", status, text)
    for args in (["--nodes", "0"], ["--cpuless", "4"], ["--cpus", "1,2"], ["--distances", "1,2,3"], ["--memory", "x"],
                 []):
        status, text, err = vm("--build", "", *args, *([] if not args else ["--", "true"]))
        tap.check(status == FAILED_STATUS and err.startswith("vm: "), f"refused: {shlex.join(args) or 'no command'}",
                  status, err)
    status, _, err = vm("--build", "", "--put", "/does/not/exist", "--", "true")
    tap.check(status == FAILED_STATUS and "/does/not/exist" in err, "a file that is not there is named", err)


def in_cache():
    """What is kept there, and since when."""
    paths = [f for kind in ("base-*", "vmlinuz-*", "qemu") for f in glob.glob(f"{glob.escape(debian.cache_folder())}/{kind}")]
    return {f: os.stat(f).st_mtime_ns for f in paths}


def check_offline(tap, folder):
    """
    "Once": with everything in the cache nothing is asked of a package manager or of the network, neither to prepare nor to boot.
    In the PATH is qemu and, for what would fetch something, a script that says so.
    """
    asked = os.path.join(folder, "asked")
    for tool in ("apt-get", "apt-cache", "dpkg-deb", "curl", "wget"):
        path = os.path.join(folder, tool)
        with open(path, "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\necho {tool} \"$@\" >>{asked}\nexit 100\n")
        os.chmod(path, 0o755)
    os.symlink(emulator.installed(), f"{folder}/qemu-system-x86_64")
    offline = {"PATH": folder, **{f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https")}}
    before = in_cache()
    clocks = ["parallel"] + ["icount"] * emulator.is_at_hand("icount")
    for kernel in [k for k in KERNELS if kernels.cached(k)]:
        for clock in clocks:
            status, text, err = vm("--prepare", "--kernel", kernel, "--clock", clock, env=offline)
            tap.check(status == 0 and text.strip() == kernels.cached(kernel) and not err,
                      f"offline: Linux {kernel}, --clock {clock}, is prepared from the cache", status, text, err)
    status, text, err = vm("--build", "", "--nodes", "2", "--memory", "384", "--clock", clocks[-1], "--timeout", str(GUEST_SECONDS),
                           "--", "cat /sys/devices/system/node/online", env=offline)
    tap.check((status, text) == (0, "0-1\n"), f"offline: a guest is booted, --clock {clocks[-1]}", status, text, err)
    tap.check(not os.path.exists(asked), "offline: and nobody was asked for anything",
              open(asked, encoding="ascii").read() if os.path.exists(asked) else "")
    tap.check(in_cache() == before, "offline: nothing in the cache has changed", before, in_cache())
    # That they would have been seen: with an empty cache they are asked.
    status, text, _ = vm("--prepare", env=dict(offline, HUGENUMA_VM_CACHE=f"{folder}/cache"))
    tap.check(status == SKIP_STATUS and os.path.exists(asked), "without a cache somebody is asked, and it skips", status, text)


def check_kernel_that_fails(tap):
    """A kernel that comes to nothing is booted again, a few times; the command of a guest that was up is never run twice."""
    status, out, err = vm("--build", "", "--cmdline", "rdinit=/nothing", "--", "echo seen")
    tap.check(status == FAILED_STATUS and out == "", f"a kernel that fails: said (status {status})", out, err)
    tap.check(err.count("once more") == 2, "a kernel that fails: tried three times", err)
    for _ in range(3):
        status, out, err = vm("--build", "", "--", "echo seen; echo c > /proc/sysrq-trigger; sleep 100")
        if "once more" not in err:  # else one of the boots has failed by itself, as they do now and then
            break
    tap.check(status == FAILED_STATUS and out.count("seen") <= 1,
              f"a kernel that fails later: not tried again (status {status})", out, err)


def check_names(tap):
    for release, wanted, good in (("6.12.95+deb12-cloud-amd64", "6.12", True),
                                  ("6.12.95+deb12-cloud-amd64", "6.1", False),
                                  ("7.3.4+deb13-cloud-amd64", "7.3.4", True), ("7.3.4+deb13-cloud-amd64", "7", True)):
        tap.check(kernels.matches(release, wanted) == good, f"{release} is {'' if good else 'no '}{wanted}")


def main():
    done = vm("--prepare")
    if done[0] == SKIP_STATUS:
        print(done[1].strip())
        return SKIP_STATUS
    tap = Tap()
    tap.check(done[0] == 0, "kernel and tools are in the cache", done)
    check_names(tap)
    with tempfile.TemporaryDirectory(prefix="hugenuma-vm-test-") as folder:
        os.makedirs(f"{folder}/tmp")
        os.makedirs(f"{folder}/empty")
        check_refusals(tap, f"{folder}/empty")
        check_round_trip(tap, folder)
        check_clock(tap)
        os.makedirs(f"{folder}/offline")
        check_offline(tap, f"{folder}/offline")
        check_time_is_up(tap, f"{folder}/tmp")
        ends = [("killed", lambda child: child.kill())]
        check_kernel_that_fails(tap)
        if "--quick" not in sys.argv:
            ends += [("interrupted", lambda child: child.send_signal(signal.SIGINT)),
                     ("terminated", lambda child: child.terminate())]
        for name, end in ends:
            check_nothing_left(tap, f"{folder}/tmp", name, end)
    print(f"1..{tap.count}")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
