#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
hugenuma sees the machine as the kernel does: nodes, CPUs, distances, a node without CPUs; and empties the latter for
the threads that use it.
"""
import re
import sys

import harness
from harness import NODES, Tap, check_ended_well, check_nodes, check_whole, read, run

PAGES = 8


def check_machine(tap, report, nodes):
    machine = report["machine"]["nodes"]
    tap.check(not report["machine"]["virtual"], "the nodes are real ones")
    tap.check([n["os_node"] for n in machine] == nodes, "all nodes are there", machine)
    tap.check([set(n["cpus"]) for n in machine] == [harness.node_cpus(n) for n in nodes], "each has its CPUs", machine)
    distances = [[int(d) for d in read(f"{NODES}/node{n}/distance").split()] for n in nodes]
    tap.note(f"the kernel's distances: {distances}")
    tap.check([n["distances"] for n in machine] == distances, "distances are the kernel's", machine)


def main():
    tap = Tap()
    harness.kernel_balancing(False)
    nodes = harness.online_nodes()
    bare = [n for n in nodes if not harness.node_cpus(n)]
    full = [n for n in nodes if n not in bare]
    text = harness.require_managed(tap)
    tap.check(f"{len(nodes)} real NUMA nodes" in text, "doctor counts the nodes", text)
    for node in nodes:
        line = re.search(rf"^ok\s+node {node}\s+(.*)$", text, re.M)
        tap.check(line is not None, f"doctor has node {node}: {line and line.group(1)}", text)
    tap.check(f"cpuless={len(bare)}" in sys.argv, "CPU-less nodes are seen", bare)

    far = (bare or full)[-1]
    # Threads of every node use memory that lies on the CPU-less node; the last part is at home already.
    parts = [f"{n}:{PAGES}:{far}" for n in full] + [f"{full[0]}:{PAGES}:{full[0]}"]
    worker = run(parts, 90, [], until_local=True)
    if check_ended_well(tap, worker, "far memory"):
        check_machine(tap, worker.report, nodes)
        check_nodes(tap, worker, [*full, full[0]], "memory of the CPU-less node goes to its users")
        check_whole(tap, worker, "far memory")
        arrived = worker.process()["migrated_to_node_pages"]
        tap.check(all(arrived[n] == 0 for n in bare), "nothing goes to a node without CPUs", arrived)
    tap.finish()


if __name__ == "__main__":
    main()
