#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does the injection see what it is there for?

Each planted/NAME.patch breaks a copy of the agent's source. Linked with inject.c, it must come to grief under one of the
rules that the patch's header names ("Rule: KIND@N[/K]:WHAT", N may be FIRST-LAST: each of these until one does), as
the header says ("Sees: hung", or a part of what is printed); and the real agent must not. "Scene:" names another one of
scenes.py than the plain one. Prints TAP.

    planted.py [--build DIR] [NAME...]
"""
import argparse
import glob
import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the source tree stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
FLAGS = ["-std=gnu11", "-O2", "-w", "-fPIC", "-fno-stack-protector", "-fvisibility=hidden", "-D_GNU_SOURCE", "-pthread"]
LINK = ["-shared", "-Wl,-z,now", "-Wl,-z,defs", "-Wl,--wrap=hn_syscall6", "-Wl,--wrap=hn_sys_clone"]
HUNG_S = 20


def load_inject():
    loader = importlib.machinery.SourceFileLoader("inject", os.path.join(HERE, "inject"))
    spec = importlib.util.spec_from_loader("inject", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def header_of(patch):
    with open(patch, encoding="utf-8") as f:
        head = f.read().split("\n\n", 1)[0]
    return {key: re.findall(rf"^{key}:\s*(.*)$", head, re.M) for key in ("Plants", "Rule", "Sees", "Scene")}


def rules_of(header):
    for rule in header["Rule"]:
        m = re.fullmatch(r"(\w+)@(\d+)-(\d+)(.*)", rule)
        if m:
            yield from (f"{m.group(1)}@{n}{m.group(4)}" for n in range(int(m.group(2)), int(m.group(3)) + 1))
        else:
            yield rule


def build(patch, scratch):
    """The agent with the bug, or what went wrong."""
    shutil.copytree(os.path.join(SOURCE, "src"), os.path.join(scratch, "src"))
    with open(patch, encoding="utf-8") as f:
        done = subprocess.run(["patch", "-p1", "--batch", "--forward", "--fuzz=0"], cwd=scratch, stdin=f,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        return None, done.stdout
    agent = os.path.join(scratch, "agent.so")
    sources = [f for layer in ("core", "linux", "agent") for f in sorted(glob.glob(os.path.join(scratch, "src", layer, "*.c")))]
    done = subprocess.run(["cc", *FLAGS, "-I", os.path.join(scratch, "src"), "-I", os.path.join(SOURCE, "include"), *LINK,
                           *sources, os.path.join(HERE, "inject.c"), "-o", agent], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    return (agent, "") if done.returncode == 0 else (None, done.stdout)


def check(tap, inject, module, patch):
    name, header = os.path.basename(patch)[:-len(".patch")], header_of(patch)
    real = inject.agent
    scene = next((s for s in module.scenes.SCENES if s.name in header["Scene"]), module.PLAIN)
    with tempfile.TemporaryDirectory(prefix="hugenuma-planted-") as scratch:
        agent, why = build(patch, scratch)
        if not tap.check(agent, f"{name}: builds"):
            return tap.note(why)
        found = None
        for rule in rules_of(header):
            inject.agent = agent
            wrong = module.judge_by_rule(rule, inject.run(rule, scene))
            inject.agent = real
            if wrong and any(sees in wrong for sees in header["Sees"]):
                found = rule
                tap.note(f"{rule}: {next((l for l in wrong.splitlines() if 'victim:' in l), wrong.splitlines()[0])}")
                break
        if tap.check(found, f"{name}: found: {header['Plants'][0]}"):
            tap.check(module.judge_by_rule(found, inject.run(found, scene)) is None, f"{name}: the real agent comes through the same")


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    module = load_inject()
    parser.add_argument("--build", default=module.harness.default_build())
    parser.add_argument("name", nargs="*")
    args = parser.parse_args(argv)
    build_dir = module.harness.Build(args.build, torture="/bin/true")
    build_dir.require()
    module.harness.skip_unless_possible(build_dir)
    module.TIMEOUT_S = HUNG_S
    inject, tap = module.Inject(build_dir), module.harness.Tap()
    for patch in sorted(glob.glob(os.path.join(HERE, "planted", "*.patch"))):
        if not args.name or os.path.basename(patch)[:-len(".patch")] in args.name:
            check(tap, inject, module, patch)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
