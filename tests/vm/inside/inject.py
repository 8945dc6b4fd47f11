#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests/inject for the calls that take several real nodes, and for those that take a kernel which can arm in place.

    inject.py [--quick] [--only TEXT]...

The kernel balances meanwhile, so that managed mappings are fenced off by a policy of their own.
"""
import os
import subprocess
import sys

import harness

INJECT = "/hugenuma/tests/inject/inject"


def run(stage, words):
    """The number of its TAP lines, and how many say that something failed; inject names its scenes itself."""
    with subprocess.Popen([sys.executable, INJECT, stage, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          errors="replace", env=dict(os.environ, LIVE_SLOW=os.environ.get("LIVE_SLOW", "4"))) as child:
        checks = failed = 0
        for line in child.stdout:
            if line.startswith(("ok", "not ok")):
                checks += 1
                failed += line.startswith("not")
            if not line.startswith("1.."):
                print(line, end="", flush=True)
    if child.returncode not in (0, 1) or not checks:
        print(f"not ok - {os.path.basename(INJECT)} {stage}: exit status {child.returncode}")
        failed += 1
    return failed


def main():
    words = [w for w in sys.argv[1:] if w != "--quick"] + ([] if "--quick" in sys.argv else ["--full"])
    doctor = subprocess.run([harness.HUGENUMA, "doctor"], stdout=subprocess.PIPE, text=True).stdout
    harness.kernel_balancing(True)
    failed = run("--nodes", words)
    if "rwp: " in doctor:
        failed += run("--rwp", words)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
