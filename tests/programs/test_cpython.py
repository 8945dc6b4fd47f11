#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Parts of python's own test suite, with every object in malloc's huge pages: what passes bare passes.

They are those about memory: buffers, mappings, containers, the kernel's reads and writes, fork.
"""
import re
import subprocess
import tempfile

import programs

PYTHON = "/usr/bin/python3"
MODULES = ["test_bytes", "test_memoryview", "test_array", "test_mmap", "test_hashlib", "test_zlib", "test_struct",
           "test_dict", "test_list", "test_deque", "test_heapq", "test_fork1"]
# A test makes huge pages only when its objects are many: a ballast in the first process gives all of them some.
BALLAST = ("import sys; ballast = [bytearray(b'%08d' % i) * 40 for i in range(300000)]; "
           "sys.argv = ['regrtest'] + sys.argv[1:]; "
           "import atexit; atexit.register(lambda: print('ballast', all(ballast[i] == b'%08d' % i * 40 "
           "for i in range(300000)))); "
           "from test.libregrtest import main; main()")
LEAST_HUGE_MIB = 60


def run_suite(managed, options=()):
    with tempfile.TemporaryDirectory(prefix="hn-cpython-") as folder:
        env = dict(programs.GLIBC_HUGE, PYTHONMALLOC="malloc", TMPDIR=folder)
        return programs.Run([PYTHON, "-c", BALLAST, "-v", *MODULES], managed, env=env, options=options, cwd=folder).wait(700)


def results(run):
    """Outcome of each test by its full name."""
    found, name = {}, None
    for line in (run.stdout + "\n" + run.stderr).splitlines():
        m = re.match(r"^\w+ \((test\.[\w.]+)\)", line)
        if m:
            name = m.group(1)
        m = re.search(r"\b(ok|FAIL|ERROR|skipped '.*'|expected failure)$", line)
        if m and name:
            found[name], name = m.group(1), None
    return found


def main():
    programs.need_full()
    programs.need_program(PYTHON)
    if subprocess.run([PYTHON, "-c", "import test.test_mmap"], stderr=subprocess.DEVNULL).returncode:
        programs.skip("python's test suite is not installed")
    programs.need_huge_pages()
    programs.need_manageable()
    tap = programs.Tap()
    version = subprocess.run([PYTHON, "-V"], stdout=subprocess.PIPE, text=True).stdout.split()[1]

    bare = run_suite(False)
    expected = results(bare)
    passed = [name for name, outcome in expected.items() if outcome == "ok"]
    tap.check("python's tests: some hundred pass bare", len(passed) >= 500, f"{len(passed)} passed\n{bare.stdout[-3000:]}")
    print(f"# bare: {len(passed)} pass, {len(expected) - len(passed)} fail or are skipped")
    for policy, options in programs.POLICIES:
        name = f"python's tests, {policy}"
        run = run_suite(True, options)
        seen = results(run)
        worse = sorted(test for test in passed if seen.get(test) != "ok")
        tap.equal(f"{name}: exit status", run.status, bare.status)
        tap.check(f"{name}: what passes bare passes ({len(passed)})", not worse,
                  "\n".join(f"{test}: {seen.get(test)}" for test in worse[:20]) + "\n" + run.stdout[-2000:])
        tap.check(f"{name}: the objects beside are intact", "ballast True" in run.stdout, run.stdout[-500:])
        programs.check_managed(tap, name, run, LEAST_HUGE_MIB)
        tap.record("python3", version, f"{len(MODULES)} modules of its own test suite", policy, run,
                   run.seconds / bare.seconds)
    tap.finish()


if __name__ == "__main__":
    main()
