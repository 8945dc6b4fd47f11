#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the user or the program has said about placement is respected: mbind, numactl, cpusets."""
import os
import shutil
import sys

import harness
from harness import Tap, check_ended_well, check_nodes, check_whole, mapped_nodes, nodes_of, policy_of, read, run, write

PAGES = 8
SECONDS = 10
SETTLE_SECONDS = 60
LINGER = [] if "--quick" in sys.argv else ["--linger", "8"]  # for what should not move, and does
QUICK = "--quick" in sys.argv
CGROUPS = "/sys/fs/cgroup"


def check_mbind(tap, kind):
    """The part with a policy of its own stays; the other one shows that pages do move here."""
    name = f"mbind {kind}"
    worker = run([f"1:{PAGES}:0:{kind}", f"2:{PAGES}:0"], SETTLE_SECONDS, [], until_local=True, worker_options=LINGER)
    if not check_ended_well(tap, worker, name):
        return
    check_nodes(tap, worker, [0, 2], f"{name}: only the other part moves")
    check_whole(tap, worker, name)
    # "prefer (many):0" and "weighted interleave:0": the first word of them.
    wanted = {"bind": "bind:0", "preferred": "prefer:0", "interleave": "interleave:0", "many": "prefer",
              "weighted": "weighted"}[kind]
    tap.check(policy_of(worker.part(0)) == policy_of(worker.part(0), "first") == wanted,
              f"{name}: the policy is kept", worker)
    tap.check(policy_of(worker.part(1)) == policy_of(worker.part(1), "first"),
              f"{name}: the other part's is kept too", worker)


def check_balanced(tap, kind):
    """Bound to be balanced among nodes: to those of them that use it, never to another, nor brought there from another."""
    name = f"mbind {kind}"
    worker = run([f"1:{PAGES}:0:{kind}=0,1", f"2:{PAGES}:0:{kind}=0,1", f"2:{PAGES}:3:{kind}=0,1", f"1:{PAGES}:3:{kind}=0,1",
                  f"2:{PAGES}:0"], 2 * SETTLE_SECONDS, ["--cpu-percent", "0"], until_local=True, worker_options=LINGER)
    if not check_ended_well(tap, worker, name):
        return
    check_nodes(tap, worker, [1, 0, 3, 1, 2], f"{name}: within its nodes pages follow their users")
    check_whole(tap, worker, name)
    tap.check(worker.total("refused")["nodes_count"] > 0, f"{name}: who may not have them is refused, with the reason", worker)
    policies = [(policy_of(p, "first"), policy_of(p)) for p in worker.data["parts"]]
    tap.check(all(first == last for first, last in policies), f"{name}: the policies are kept", policies)


def check_explicit_policy(tap):
    """Managed when asked for; what the program set is what it finds afterwards."""
    name = "--explicit-policy"
    worker = run([f"1:{PAGES}:0:bind"], SECONDS, ["--explicit-policy"])
    if check_ended_well(tap, worker, name):
        tap.check(worker.total("armed_count") > 0, f"{name}: the memory is managed", worker)
        tap.check(policy_of(worker.part(0)) == "bind:0", f"{name}: its policy is kept", worker)
        check_whole(tap, worker, name)


def check_numactl(tap, options, allowed, wrap, moves=False):
    """A policy of the whole program, given inside or outside of `hugenuma run`. No page leaves its nodes; do they move?"""
    name = f"numactl {' '.join(options)} {'around' if wrap else 'inside'} hugenuma run"
    # What is to move is filled on node 0, which no part wants.
    policy = ["numactl", *options, *(["taskset", "-c", "0"] if moves else [])]
    worker = run([f"1:{PAGES}:-1", f"2:{PAGES}:-1"], SECONDS, [], wrap=policy if wrap else (),
                 inner=() if wrap else policy)
    if not check_ended_well(tap, worker, name):
        return
    parts = worker.data["parts"]
    seen = set().union(*map(nodes_of, parts), *map(mapped_nodes, parts))
    tap.check(seen <= allowed, f"{name}: pages are on nodes {sorted(allowed)} only", f"they are on {sorted(seen)}",
              worker)
    tap.check((worker.total("migrated_pages") > 0) == moves, f"{name}: pages are {'' if moves else 'not '}balanced", worker)
    check_whole(tap, worker, name)


def cpuset(mems):
    """A cgroup that may use these memory nodes, as a command to put before another; None: not possible here."""
    if "cpuset" not in read(f"{CGROUPS}/cgroup.controllers").split():
        return None
    write(f"{CGROUPS}/cgroup.subtree_control", "+cpuset")
    place = f"{CGROUPS}/mems-{mems}"
    os.makedirs(place, exist_ok=True)
    write(f"{place}/cpuset.mems", mems)
    return ["sh", "-c", f'echo $$ >{place}/cgroup.procs && exec "$@"', "sh"]


def check_cpuset(tap, mover):
    """Threads run on all nodes, memory may be on two: what wants to go elsewhere stays, with a reason."""
    name = f"cpuset.mems=0-1, {mover} mover"
    wrap = cpuset("0-1")
    if not wrap:
        tap.skip(name, "no cpuset controller")
        return
    worker = run([f"1:{PAGES}:0", f"2:{PAGES}:0:stays", f"3:{PAGES}:1:stays"], SETTLE_SECONDS, ["--mover", mover],
                 until_local=True, wrap=wrap, worker_options=["--linger", "8"])
    if not check_ended_well(tap, worker, name):
        return
    check_nodes(tap, worker, [1, 0, 1], f"{name}: pages go to allowed nodes only")
    check_whole(tap, worker, name)
    stayed = worker.total("refused_count") + worker.total("failed_count")
    tap.check(stayed > 0, f"{name}: what stayed is counted, with a reason", worker)


def main():
    tap = Tap()
    harness.kernel_balancing(False)
    harness.require_managed(tap)
    check_mbind(tap, "bind")
    check_balanced(tap, "balanced")
    check_cpuset(tap, "copy")
    if not QUICK:
        for kind in ("preferred", "interleave", "many", "weighted"):
            check_mbind(tap, kind)
        check_balanced(tap, "many-balanced")
        check_cpuset(tap, "kernel")
        check_explicit_policy(tap)
        if not shutil.which("numactl"):
            tap.skip("numactl", "it is not installed")
            tap.finish()
        for wrap in (True, False):
            check_numactl(tap, ["--membind=0"], {0}, wrap)
            check_numactl(tap, ["--interleave=0,3"], {0, 3}, wrap)
            check_numactl(tap, ["--preferred=3"], {3}, wrap)
            check_numactl(tap, ["--balancing", "--membind=0,1"], {0, 1}, wrap, moves=True)
    tap.finish()


if __name__ == "__main__":
    main()
