#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The live backend and the agent on the real kernel.

    test_live.py [--build DIR] [--only TEXT]... [--part K/N] [--real-nodes] [--arm move|rwp]

DIR: where it is built ($HN_BUILD, else build/). --part 2/5: the second fifth of the tests.

Plain C programs (the .c files beside this one), one case per process, run under `hugenuma run` with a scan period of
2 ms, so that whatever they do not touch for a moment has been taken away. They verify their data themselves; here their
exit status is looked at, and the counters of every run must add up.

LIVE_SLOW=N in the environment: the machine is N times slower than most (an emulated one), so everybody is given N times
as long to do something, and what is only repeated for good measure is repeated less often.
"""
import argparse
import ctypes
import glob
import json
import os
import re
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from swap import Swap  # noqa: E402  pylint: disable=wrong-import-position

ROOT = os.path.dirname(os.path.dirname(HERE))
SKIP_STATUS = 77
SLOW = max(1, int(os.environ.get("LIVE_SLOW") or 1))
TIMEOUT = 60 * SLOW
HANDLERS = 2
ARM_BATCH = 32  # a process that ends in the middle of arming has counted half of it
VIRTUAL = ["--topology", "node:4 pu:2"]
FAST = [*VIRTUAL, "--period-ms", "2", "--window-mib", "1024"]
EAGER = [*FAST, "--start-now", "--min-mib", "2"]
MALLOC_HUGE = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
NOBODY = 65534
NO_PTRACE = ["setpriv", "--inh-caps", "-sys_ptrace", "--bounding-set", "-sys_ptrace"]
DEAF = "without CAP_SYS_PTRACE the kernel does not tell of forks"


class Skip(Exception):
    """The check cannot be made here; the text says why."""


def want(cond, what):
    if not cond:
        raise AssertionError(what)


def same(got, wanted, what):
    want(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


class Result:
    def __init__(self, status, out, err, report):
        self.status, self.out, self.err, self.report = status, out, err, report

    def __str__(self):
        return f"status {self.status}\n{self.out}{self.err}{self.counted()}"

    def counted(self):
        """What was counted of each process, a line each."""
        keys = ("pid", "command", "managed_peak_pages", "armed_count", "armed_now_pages", "arm_refused", "migrated_pages",
                "refused", "failed", "lost_huge_pages", "agent")
        report = self.report or {"processes": [], "messages": []}
        lines = [{k: p[k] for k in keys} for p in report["processes"]]
        lines += [{k: v for k, v in report.items() if k.endswith("_count")}, *report["messages"]]
        return "".join(f"{line}\n" for line in lines)

    def processes(self):
        return [p for p in self.report["processes"] if p["managed_peak_pages"] > 0]


class Bench:
    """Where things are, and how they are run."""

    def __init__(self, build, real_nodes=False):
        self.build = os.path.abspath(build)
        self.hugenuma = os.path.join(self.build, "hugenuma")
        self.agent = os.path.join(self.build, "libhugenuma-agent.so")
        self.programs = os.path.join(self.build, "tests", "live")
        self.real_nodes = real_nodes
        self.tmp = tempfile.mkdtemp(prefix="hugenuma-live-", dir=self.programs)
        self.children = []

    def program(self, name):
        return os.path.join(self.programs, "live-" + name)

    def environment(self, extra=None):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HUGENUMA", "LD_PRELOAD", "LIVE_", "GLIBC_"))}
        env.update(HUGENUMA_AGENT=self.agent, HUGENUMA_CONFIG="", LC_ALL="C", TMPDIR=self.tmp, LIVE_SLOW=str(SLOW))
        if os.environ.get("LIVE_HWPOISON"):  # this machine may lose memory for good
            env["LIVE_HWPOISON"] = "1"
        env.update(extra or {})
        return env

    def start(self, command, env=None, **kw):
        child = subprocess.Popen(command, env=self.environment(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True, **kw)
        self.children.append(child)
        return child

    def end_children(self):
        """What a test that failed has left would load the machine for those after it. Of one waited for the number may be
        another's by now."""
        for child in self.children:
            if child.returncode is None:
                try:
                    os.killpg(child.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                child.wait()
                for d in glob.glob(f"/dev/shm/hugenuma.*.{child.pid}.*"):
                    shutil.rmtree(d, ignore_errors=True)
        self.children.clear()

    def finish(self, child, timeout=TIMEOUT):
        try:
            out, err = child.communicate(timeout=timeout)
            return child.returncode if child.returncode >= 0 else 128 - child.returncode, out, err
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, err = child.communicate()
            return None, out, err + "killed: took too long\n"

    def bare(self, command, env=None, **kw):
        return Result(*self.finish(self.start(command, env, **kw)), None)

    def run(self, options, command, env=None, quiet=True, wrap=(), hugenuma=None, timeout=TIMEOUT, **kw):
        """Run `hugenuma run OPTIONS -- COMMAND`; the counters are checked, and that nothing is left behind."""
        path = os.path.join(self.tmp, "report.json")
        if os.path.exists(path):
            os.unlink(path)
        child = self.start([*wrap, hugenuma or self.hugenuma, "run", *(["--quiet"] if quiet else []), *options,
                            "--report", path, "--", *command], env, **kw)
        result = Result(*self.finish(child, timeout), None)
        left = glob.glob(f"/dev/shm/hugenuma.*.{child.pid}.*")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                result.report = json.load(f)
            conserved(result.report)
        for d in left:
            shutil.rmtree(d)
        want(not left or result.status is None or result.report["running_count"], f"left behind: {left}")
        return result


def conserved(report):
    """What was counted adds up in every process, but for what was in flight at its end; one that still runs counts on meanwhile."""
    totals = [] if report["running_count"] else [report["totals"]]
    for p in [*(p for p in report["processes"] if not p["running"]), *totals]:
        count = len(report["processes"]) if p is report["totals"] else 1
        outcomes = p["local_count"] + p["refused_count"] + p["migrated_pages"] + p["failed_count"] + p["raced_count"]
        causes = p["disarmed"]
        spare = HANDLERS * max(count, 1)
        want(abs(p["samples_count"] - outcomes) <= spare, f"samples {p['samples_count']} are not outcomes {outcomes}")
        want(abs(p["disarmed_count"] - sum(causes.values())) <= spare, f"disarmed {p['disarmed_count']}: {causes}")
        want(abs(causes["fault_count"] - p["samples_count"]) <= spare, f"samples {p['samples_count']}: {causes}")
        left = p["armed_count"] - p["disarmed_count"] - p["armed_now_pages"]
        want(abs(left) <= spare + ARM_BATCH * max(count, 1), f"armed {p['armed_count']} is not disarmed "
             f"{p['disarmed_count']} + now {p['armed_now_pages']}")


def recorded(report):
    """The record of a process that has ended tells of the same faults as its counters."""
    for p in report["processes"]:
        if not p["nodes"] or p["running"]:
            continue
        from_nodes, outcomes = sum(n["samples_count"] for n in p["nodes"]), {}
        for d in p["decisions"]:
            outcomes[d["outcome"]] = outcomes.get(d["outcome"], 0) + 1
        want(abs(from_nodes - sum(p["samples_from_node_count"])) <= HANDLERS, f"samples by node: {p['nodes']}")
        moved = p["migrated_pages"] + p["demoted_pages"]
        want(abs(sum(n["migrated_to_pages"] for n in p["nodes"]) - moved) <= HANDLERS, f"migrated: {p['nodes']}")
        want(abs(sum(n["local_count"] for n in p["nodes"]) - p["local_count"]) <= HANDLERS, f"local: {p['nodes']}")
        judged = p["decisions_total_count"] - p["waited_count"] - p["demoted_pages"]
        want(abs(judged - p["samples_count"]) <= 2 * HANDLERS, f"{judged} decisions, {p['samples_count']} samples")
        in_heat = sum(v for row in p["heat"]["rows"] for point in row["samples_from_node_count"] for v in point)
        want(abs(in_heat + p["decisions_missed_count"] - from_nodes) <= p["waited_count"] + 2 * HANDLERS,
             f"{in_heat} samples in the heat map, {p['decisions_missed_count']} missed, {from_nodes} counted")
        if p["decisions_total_count"] <= 256:
            # Those that were just being written down at the end are not shown.
            want(0 <= p["decisions_total_count"] - sum(outcomes.values()) <= HANDLERS,
                 f"{p['decisions_total_count']} decisions, of which are shown: {outcomes}")
            want(abs(outcomes.get("local", 0) - p["local_count"]) <= HANDLERS, f"outcomes {outcomes}")


def good(result):
    """The program ended well, or cannot make its check here."""
    if result.status == SKIP_STATUS:
        raise Skip((result.err.strip().splitlines() or ["no reason given"])[-1])
    want(result.status == 0, str(result))
    if result.report:
        recorded(result.report)
    return result


# ---- the programs' own cases ----

def cases_of(b, name):
    done = subprocess.run([b.program(name), "--list"], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


# Cases after which the agent may not come back, or not as it was, and what it then says.
MAY_SAY = {
    "a change of user": f"no permission for userfaultfd|{DEAF}",
    "a change of user first": f"no permission for userfaultfd|{DEAF}",
    "changes of user, often": f"no permission for userfaultfd|{DEAF}|changes its user or its namespaces all the time",
    "a user namespace": DEAF,
    "a PID namespace": "/proc is that of another PID namespace",
    "a system call filter of all threads": "system call filter on all its threads",
}


def run_swapped(b, program, case, options):
    with Swap(b.tmp) as swap:
        if swap.missing:
            raise Skip(swap.missing)
        run_case(b, program, case, options)


def run_case(b, program, case, options):
    result = b.run(options, [b.program(program), case])
    if result.status not in (0, SKIP_STATUS):
        # A test that fails without anybody's help accuses nobody.
        bare = b.bare([b.program(program), case], {"LIVE_BARE": "1"})
        raise AssertionError(f"{result}(without hugenuma: status {bare.status})")
    good(result)
    said = [m["text"] for m in result.report["messages"] if not re.search(MAY_SAY.get(case, "$^"), m["text"])]
    same(said, [], "what the agent had to say")


def case_tests(b):
    tests = []
    policies = {
        "jumps": (["always"],),
        "mapping": (["always"], ["alternate", "--mover", "kernel"]),
        "moves": (["alternate"], ["observe"]),
        "pieces": (["always"], ["observe"]),
        "access": (["always"],),
        "change": (["always"],),
        "eyes": (["always"],),
        "fds": (["random"],),
        "hwpoison": (["always"], ["observe"]),
        "forks": (["always"], ["random", "--mover", "kernel"]),
        "pressure": (["always"],),
        "signals": (["always"],),
        "stacks": (["observe"],),
        "streams": (["always"],),
    }
    for program, variants in policies.items():
        for variant in variants:
            for case in [c for c in cases_of(b, program) if c not in WATCHED_ENDS]:
                name = f"{program}: {case}" + (f" ({' '.join(variant)})" if variant is not variants[0] else "")
                options = [*EAGER, "--policy", *variant]
                run = run_swapped if "swap" in case else run_case
                tests.append((name, lambda r=run, p=program, c=case, o=options: r(b, p, c, o)))
    return tests


# ---- starting late ----

def nothing_started(b, command, strace=True):
    """Same output and status as without us, and no thread of ours."""
    bare = b.bare(command)
    result = b.run(FAST, command)
    same((result.status, result.out, result.err), (bare.status, bare.out, bare.err), "status and output")
    r = result.report
    same((r["managed_count"], r["idle_count"], r["unmanaged_count"], r["slots_missed_count"]), (0, 0, 0, 0), "agents")
    want(r["loaded_count"] >= 1, "the agent was not even loaded")
    if not strace or not shutil.which("strace"):
        return
    log = os.path.join(b.tmp, "strace")
    traced = b.run(FAST, ["strace", "-f", "-qq", "-o", log, "-e", "trace=process", "-e", "signal=none", *command])
    same(traced.status, bare.status, "status")
    with open(log, encoding="utf-8", errors="replace") as f:
        threads = [line for line in f if "CLONE_THREAD" in line]
    want(not threads, f"threads were started: {threads}")


def test_late_ls(b):
    nothing_started(b, ["ls", "-l", "/etc"])


def test_late_shell(b):
    nothing_started(b, ["sh", "-c", "sleep 0.3; echo done; exit 3"])


def test_late_burn(b):
    nothing_started(b, [b.program("start"), "burn"])


def test_late_small_pages(b):
    nothing_started(b, [b.program("start"), "small pages"])


def test_late_python(b):
    nothing_started(b, [sys.executable, "-c", "x = sum(i * i for i in range(3000000)); print(x)"])


def test_late_pipeline(b):
    nothing_started(b, ["sh", "-c", "seq 1 20000 | sort -rn | head -n 3; exit 4"])


def proc_files(pattern):
    """(path, text) of each of these files of /proc; processes and threads may end while they are looked at."""
    for path in glob.glob(pattern):
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                yield path, f.read().strip()
        except OSError:
            pass


def thread_names(pid):
    return [name for _, name in proc_files(f"/proc/{pid}/task/*/comm")]


def children_of(pid):
    return [child for _, text in proc_files(f"/proc/{pid}/task/*/children") for child in text.split()]


def test_late_threads_seen(b):
    """The agent's threads carry its name: none in a small program, some in a managed one."""
    for command, expected in ((["sleep", "1"], False), ([b.program("control"), "work until told"], True)):
        child = b.start([b.hugenuma, "run", "-q", *FAST, "--", *command])
        seen, end = set(), time.monotonic() + 30 * SLOW
        while child.poll() is None and time.monotonic() < end and not any(n.startswith("hugenuma-") for n in seen):
            seen.update(n for pid in children_of(child.pid) for n in thread_names(pid))
            time.sleep(0.02)
        if expected:
            child.send_signal(signal.SIGTERM)
        status, out, err = b.finish(child)
        same(status, 0, out + err)
        ours = {n for n in seen if n.startswith("hugenuma-")}
        want(bool(ours) == expected, f"{command}: threads {sorted(seen)}")


def managed(b, case, processes=1, env=None, options=None):
    result = good(b.run(options or FAST, [b.program("start"), case], dict(env or MALLOC_HUGE, LIVE_UNTIL_TAKEN="1")))
    same(len(result.processes()), processes, f"{result}processes managed")
    for p in result.processes():
        want(p["armed_count"] > 0, f"process {p['pid']}: {p['managed_peak_pages']} pages managed, none armed")
    return result


def test_start_malloc(b):
    managed(b, "malloc")


def test_start_brk(b):
    managed(b, "brk")


def test_start_workers(b):
    managed(b, "joinable workers")


def test_start_detached(b):
    managed(b, "detached workers")


def test_start_children(b):
    result = managed(b, "forked children", 2)
    same(len({p["pid"] for p in result.processes()}), 2, "process ids")


def test_start_children_of_managed(b):
    result = managed(b, "forked by managed", 3)
    same(len({p["pid"] for p in result.processes()}), 3, "process ids")


def test_start_double_fork(b):
    managed(b, "double fork")


def test_start_exec(b):
    result = managed(b, "exec again", 2)
    same(len({p["pid"] for p in result.processes()}), 1, "process ids")


def test_start_after_bursts(b):
    """With the default period: with short ones all is managed at first sight."""
    good(b.run([*VIRTUAL, "--start-now"], [b.program("start"), "filled in bursts"]))


def test_start_many_threads(b):
    result = managed(b, "many threads", options=EAGER)
    same([m["text"][:16] for m in result.report["messages"]], ["too many threads"], "messages")


def test_start_cancel(b):
    """Thread cancellation has the signal that the late start borrows."""
    good(b.run(FAST, [b.program("start"), "cancel"]))
    managed(b, "cancel while managed")


def test_start_descriptors(b):
    """A child made while another thread looks whether its process is worth managing must not keep what the look has open."""
    result = good(b.run(FAST, [b.program("start"), "forks while looked at"]))
    same(result.processes(), [], "managed processes")


def test_start_forks_in_signals(b):
    """A handler that forks in the middle of the agent's start, on the thread that starts it."""
    result = good(b.run(FAST, [b.program("start"), "forks in signals"]))
    # With few rounds on a slow machine all looks may have been too short to see enough.
    want(SLOW > 1 or result.report["managed_count"] + result.report["idle_count"] > 0, f"{result}no agent was started")


def test_spark(b):
    """System calls that a signal would end early, while the timers fire that are not to be noticed."""
    for case in cases_of(b, "spark"):
        result = good(b.run(FAST, [b.program("spark"), case]))
        calls, disturbed = map(int, re.search(r"calls (\d+) disturbed (\d+)", result.out).groups())
        want(calls >= 50 and disturbed == 0, str(result))
        same(result.report["idle_count"] + result.report["managed_count"], 0, "agents started")


def test_spark_fires(b):
    if not shutil.which("strace"):
        raise Skip("no strace")
    log = os.path.join(b.tmp, "strace")
    good(b.run(FAST, ["strace", "-f", "-qq", "-o", log, "-e", "trace=none", b.program("spark"), "other thread"]))
    with open(log, encoding="utf-8", errors="replace") as f:
        fired = sum("si_code=SI_TIMER" in line for line in f)
    want(fired >= 5, f"the timers fired {fired} times only")


# ---- failing open ----

def unmanaged(result, pattern):
    """The program ran unmanaged, one line said why, and its status came through."""
    same((result.status, result.out), (7, "hello\n"), f"status and output: {result}")
    r = result.report
    same((r["managed_count"], r["unmanaged_count"]), (0, 1), "managed, unmanaged")
    lines = [line for line in result.err.splitlines() if re.search(pattern, line)]
    same(len(lines), 1, f"lines like {pattern!r} in {result.err!r}")


# Long enough to be noticed, then a line and a status to be passed on.
def then_status_7(b):
    return ["sh", "-c", '"$0" malloc && exec "$0" "status 7"', b.program("start")]


def test_fail_seccomp(b):
    rules = {
        "userfaultfd,device": "userfaultfd",
        "api": "UFFDIO_RWPROTECT" if "rwp" in FAST else "UFFDIO_MOVE",
        "move": "UFFDIO_MOVE",
        "register": "userfaultfd",
        "close_range": "close_range",
    }
    for rule, pattern in rules.items():
        result = b.run(FAST, [b.program("jail"), rule, *then_status_7(b)], MALLOC_HUGE, quiet=False)
        if result.status == SKIP_STATUS:
            raise Skip(result.err.strip())
        unmanaged(result, pattern)


def test_fail_helpers(b):
    """What is only nice to have may be missing."""
    until_taken = dict(MALLOC_HUGE, LIVE_UNTIL_TAKEN="1")
    for rule in ("robust", "mempolicy", "move_pages"):
        result = b.run(FAST, [b.program("jail"), rule, *then_status_7(b)], until_taken)
        same((result.status, result.out), (7, "hello\n"), str(result))
        same(result.report["unmanaged_count"], 0, rule)
        same(len(result.processes()), 1, rule)
    if "rwp" in FAST:
        return
    # A kernel that offers to protect pages in place, and then does not know the call.
    result = b.run(FAST, [b.program("jail"), "rwprotect", *then_status_7(b)], until_taken)
    same([p["arm"] for p in result.processes()], ["move"], f"{result}ways to arm")


def test_fail_quietly(b):
    """Without these the process is never seen to be worth managing."""
    for rule in ("pagemap", "timer"):
        result = b.run(FAST, [b.program("jail"), rule, *then_status_7(b)], MALLOC_HUGE)
        same((result.status, result.out, result.err), (7, "hello\n", ""), rule)
        same(result.report["managed_count"], 0, rule)


def test_filter_born(b):
    """A filter that ends whoever makes one of the agent's system calls: not managed, and not ended."""
    for rule in ("userfaultfd", "timer", "move", "pagemap", "close_range", "robust", "queueinfo", "mempolicy",
                 "move_pages"):
        result = b.run(FAST, [b.program("jail"), "kill," + rule, *then_status_7(b)], MALLOC_HUGE, quiet=False)
        if result.status == SKIP_STATUS:
            raise Skip(result.err.strip())
        same((result.status, result.out), (7, "hello\n"), f"{rule}: {result}")
        same((result.report["managed_count"], result.report["unmanaged_count"]), (0, 0), rule)
        want(result.report["filtered_count"] >= 2, f"{rule}: filtered {result.report['filtered_count']}")
        want("system call filters" in result.err, f"{rule}: no line says why: {result.err}")
    # Where that is written may be far behind.
    groups = ["setpriv", "--groups", ",".join(str(1000000000 + i) for i in range(300))] if os.geteuid() == 0 else []
    result = b.run(FAST, [*groups, b.program("jail"), "kill,close_range", *then_status_7(b)], MALLOC_HUGE)
    same((result.status, result.out), (7, "hello\n"), f"behind 300 groups: {result}")
    # One that does not concern the agent changes nothing.
    result = b.run(FAST, [b.program("jail"), "kill,mount", *then_status_7(b)], dict(MALLOC_HUGE, LIVE_UNTIL_TAKEN="1"))
    same((result.status, result.out), (7, "hello\n"), str(result))
    same((len(result.processes()), result.report["filtered_count"]), (1, 1), "managed, filtered (the jail itself)")


def test_filter_first(b):
    """A filter installed before the program has huge pages: it is not looked at any more."""
    result = good(b.run(FAST, [b.program("change"), "a system call filter first"]))
    same((result.report["managed_count"], result.report["filtered_count"]), (0, 1), "managed, filtered")


def test_filter_all_threads(b):
    """A filter for all threads: the agent has gone before, and says so. One for a thread leaves it where it is."""
    for case, says in (("a system call filter of all threads", 1), ("a system call filter of one thread", 0)):
        result = good(b.run(EAGER, [b.program("change"), case]))
        said = [m["text"] for m in result.report["messages"] if "no longer managed" in m["text"]]
        same(len(said), says, f"{case}: messages {result.report['messages']}")
        same(len(result.processes()), 1, f"{case}: processes managed")


def test_change_user_message(b):
    """Who may not have a userfaultfd as the user it has become is told so."""
    if os.geteuid() != 0:
        raise Skip("needs root")
    result = good(b.run(EAGER, [b.program("change"), "a change of user"]))
    texts = " ".join(m["text"] for m in result.report["messages"])
    want("no permission for userfaultfd" in texts or len(result.processes()) > 1, texts)


def test_change_user_first(b):
    """Who may not be looked at any more is not said to have no huge pages."""
    result = good(b.run(FAST, [b.program("change"), "a change of user first"], quiet=False))
    same((result.report["managed_count"], result.report["unreadable_count"]), (0, 1), "managed, unreadable")
    same(len(re.findall("may not read /proc/self/pagemap", result.err)), 1, result.err)
    # Who may is none of these, whatever it has.
    result = good(b.run(FAST, [b.program("start"), "small pages"], quiet=False))
    same((result.report["managed_count"], result.report["unreadable_count"]), (0, 0), "managed, unreadable")
    want("none had huge pages worth managing" in result.err, result.err)


def test_pid_namespace(b):
    """A process with another number inside: it keeps its slot as long as it lives, and its counters."""
    unshare = ["unshare", "--pid", "--fork"]
    if os.geteuid() != 0 or b.bare([*unshare, "true"]).status != 0:
        raise Skip("needs root, unshare and PID namespaces")
    result = good(b.run(FAST, [*unshare, "--mount-proc", b.program("start"), "cancel while managed"],
                        dict(MALLOC_HUGE, LIVE_UNTIL_TAKEN="1")))
    same([p["command"] for p in result.processes()], ["live-start"], "processes")
    p = result.processes()[0]
    want(p["pid"] < 10 and p["elapsed_ms"] > 300, f"pid {p['pid']}, {p['elapsed_ms']} ms")
    want(p["armed_count"] > 0, f"armed {p['armed_count']}")
    # With the /proc of another namespace threads cannot be told apart.
    result = good(b.run(FAST, [*unshare, b.program("start"), "malloc"], MALLOC_HUGE, quiet=False))
    same((result.report["managed_count"], result.report["unmanaged_count"]), (0, 1), "managed, unmanaged")
    want("/proc is that of another PID namespace" in result.err, result.err)


class MemoryGroup:
    """A memory control group of our own, cgroup v1 or v2, with a limit on memory and swap."""

    def __init__(self, mib):
        for root, limit, swap in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
                                  ("/sys/fs/cgroup", "memory.max", "memory.swap.max")):
            self.path = os.path.join(root, f"hugenuma-test-{os.getpid()}")
            try:
                os.mkdir(self.path)
                self.write(limit, mib << 20)
            except OSError:
                self.close()
                continue
            try:
                self.write(swap, mib << 20 if "memsw" in swap else 0)
            except OSError:
                pass  # no swap to be limited
            return
        raise Skip("no memory control group to be had")

    def write(self, name, value):
        with open(os.path.join(self.path, name), "w", encoding="ascii") as f:
            f.write(str(value))

    def around(self, command):
        return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', self.path, *command]

    def close(self):
        for _ in range(50):
            try:
                os.rmdir(self.path)
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.1)  # its last process is not quite gone


def test_memory_limit(b):
    """A process at its limit keeps its data, and one beyond it is killed as it would be without us."""
    mib = 48
    group = MemoryGroup(mib)
    try:
        env = {"LIVE_MIB": str(mib)}
        good(b.run([*EAGER, "--policy", "always"], group.around([b.program("pressure"), "at the limit"]), env))
        command = group.around([b.program("pressure"), "beyond the limit"])
        bare = b.bare(command, dict(env, LIVE_BARE="1"))
        result = b.run([*EAGER, "--policy", "always"], command, env)
        same(bare.status, 128 + signal.SIGKILL, f"without hugenuma: {bare}")
        same((result.status, result.out), (128 + signal.SIGKILL, ""), str(result))
    finally:
        group.close()


CORES = {"abort": signal.SIGABRT, "SIGSEGV": signal.SIGSEGV, "SIGQUIT from outside": signal.SIGQUIT,
         "a handler of its own": signal.SIGABRT, "a handler that is called once": signal.SIGABRT}


def in_core(f, address, length):
    """Bytes of a process at that address, from its core file; b"" where it has none."""
    f.seek(0)
    header = f.read(64)
    at, size, number = struct.unpack_from("<Q", header, 32)[0], *struct.unpack_from("<HH", header, 54)
    for i in range(number):
        f.seek(at + i * size)
        kind, _, offset, start, _, in_file = struct.unpack("<IIQQQQ", f.read(40))
        if kind == 1 and start <= address and address + length <= start + in_file:  # PT_LOAD
            f.seek(offset + address - start)
            return f.read(length)
    return b""


def test_core_dump(b, case, number):
    """The core of a process that ended while its pages were absent has what was in them, where the program has them."""
    with open("/proc/sys/kernel/core_pattern", encoding="ascii") as f:
        if f.read().strip() != "core":
            raise Skip("cores go elsewhere here")
    place = os.path.join(b.tmp, "core-here")
    os.makedirs(place, exist_ok=True)
    result = b.run([*EAGER, "--policy", "observe"], [b.program("ends"), f"core by {case}"], cwd=place)
    same(result.status, 128 + number, str(result))
    cores = glob.glob(os.path.join(place, "core*"))
    want(cores, f"no core: {result}")
    want(os.path.getsize(cores[0]) < 256 << 20, f"a core of {os.path.getsize(cores[0]) >> 20} MiB: has it our empty areas?")
    lines = [line.split() for line in result.out.splitlines()]
    with open(cores[0], "rb") as f:
        missing = [line for line in lines if in_core(f, int(line[0], 16), len(line[1]) // 2) != bytes.fromhex(line[1])]
    same(missing, [], "pages that are not as they were, in the core")
    same(len(lines), 8, "pages to look for")
    shutil.rmtree(place)


def test_setuid(b):
    """Nothing is loaded into a program that runs as somebody else, and that is said."""
    if os.geteuid() != 0:
        raise Skip("needs root")
    program = os.path.join(b.tmp, "setuid")
    shutil.copy(b.program("start"), program)
    os.chown(program, NOBODY, NOBODY)
    os.chmod(program, 0o4755)
    os.chmod(b.tmp, 0o755)
    result = b.run(FAST, [program, "malloc"], MALLOC_HUGE, quiet=False)
    if result.report["loaded_count"]:
        raise Skip("no setuid programs here (nosuid)")
    same(result.status, 0, str(result))
    same(len(re.findall("never loaded .a static or setuid program", result.err)), 1, result.err)
    # from a managed process that executes it
    result = b.run(FAST, [b.program("ends"), "exec"], dict(MALLOC_HUGE, LIVE_EXEC=program))
    same((result.status, result.report["loaded_count"], result.report["managed_count"]), (0, 1, 1), str(result))


def test_daemon(b):
    """A daemon that has closed everything goes on, managed, when nobody waits for it any more."""
    path = os.path.join(b.tmp, "daemon-fine")
    result = good(b.run([*EAGER, "--policy", "always"], [b.program("ends"), "daemon"], {"LIVE_FILE": path}))
    want(wait_for(lambda: os.path.exists(path), 60), f"the daemon did not come to its end\n{result}")


PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_CONT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 7, 17, 0x40000000
SYS_FUTEX = 202


def agent_thread(pid, name):
    return next((int(path.split("/")[4]) for path, text in proc_files(f"/proc/{pid}/task/*/comm") if text == name), None)


def program_of(child, name):
    """Its process id, once `hugenuma run` has started it; before, that has children of its own, who look at the machine."""
    def find():
        return next((pid for pid in children_of(child.pid) if name in thread_names(pid)), None)

    want(wait_for(find, 60), f"{name} has not started")
    return find()


def stop_asleep(libc, pid, tid):
    """Stop a thread of the agent that is seized, where it holds nothing: in its sleep."""
    end = time.monotonic() + 60 * SLOW
    while True:
        libc.ptrace(PTRACE_INTERRUPT, tid, None, None)
        os.waitpid(tid, WALL)
        with open(f"/proc/{pid}/task/{tid}/syscall", encoding="ascii") as f:
            if f.read().startswith(f"{SYS_FUTEX} "):
                return
        want(time.monotonic() < end, "the scanner never sleeps")
        libc.ptrace(PTRACE_CONT, tid, None, None)
        time.sleep(0.003)


def deaf_agent(b, wrap=()):
    """Fork while the scanner does not answer; the child's wait status."""
    libc = ctypes.CDLL(None, use_errno=True)
    child = b.start([*wrap, b.hugenuma, "run", "-q", *EAGER, "--policy", "observe", "--", b.program("forks"),
                     "a fork on request"])
    try:
        pid = program_of(child, "live-forks")
        want(wait_for(lambda: agent_thread(pid, "hugenuma-scan"), 60), "the agent has not started")
        tid = agent_thread(pid, "hugenuma-scan")
        want(child.stdout.readline() == "absent\n", "the program did not get as far as its fork")
        if libc.ptrace(PTRACE_SEIZE, tid, None, None):
            raise Skip("no ptrace here")
        stop_asleep(libc, pid, tid)
        os.kill(int(pid), signal.SIGUSR1)
        want(select.select([child.stdout], [], [], 60 * SLOW)[0], "the fork does not come to its end")
        line = child.stdout.readline()
        if libc.ptrace(PTRACE_DETACH, tid, None, None):
            os.waitpid(tid, WALL)  # the program has ended since, and waits for us to know
        status, out, err = b.finish(child)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    waited, ended = map(int, re.match(r"(\d+) (\d+)$", line).groups())
    want(waited >= 10000, f"the fork did not wait for the agent: {waited} ms")
    same(status, 0, out + err)
    return ended


def test_deaf_agent(b):
    """A fork waits for an agent that does not answer, then goes ahead; the child is served, as after a bare fork."""
    if os.geteuid() != 0:
        raise Skip("only root can be told about bare forks")
    same(deaf_agent(b), 0, "the child's wait status")


def test_deaf_agent_unprivileged(b):
    """The same where the kernel does not tell of forks: the child must not run, it would read zeros."""
    if os.geteuid() != 0 or not shutil.which("setpriv") or not os.path.exists("/dev/userfaultfd"):
        raise Skip("needs root, setpriv and /dev/userfaultfd")
    same(deaf_agent(b, NO_PTRACE), signal.SIGKILL, "the child's wait status")


def test_slow_child(b):
    """A child of a bare fork that goes on changing its memory is waited for, however long it takes to be on a CPU each time."""
    injector = os.path.join(b.build, "tests", "inject", "libinject-agent.so")
    if os.geteuid() != 0 or not os.path.exists(injector):
        raise Skip("needs root, to be told about bare forks, and the agent of tests/inject")
    good(b.run([*EAGER, "--policy", "observe"], [b.program("forks"), "a child of a bare fork changes its memory at once"],
               {"HUGENUMA_AGENT": injector, "HUGENUMA_INJECT": "nanosleep@1/1:sleep=30"}, timeout=2 * TIMEOUT))


def test_forks_not_told(b):
    """Where the kernel refuses to tell of forks that is said, once for all processes and lives; where it does, nothing is."""
    if os.geteuid() != 0 or not shutil.which("setpriv") or not os.path.exists("/dev/userfaultfd"):
        raise Skip("needs root, setpriv and /dev/userfaultfd")
    for wrap, case, processes, times in ((NO_PTRACE, "forked children", 2, 1), ((), "joinable workers", 1, 0)):
        result = good(b.run(FAST, [b.program("start"), case], dict(MALLOC_HUGE, LIVE_UNTIL_TAKEN="1"), quiet=False, wrap=wrap))
        same(len(result.processes()), processes, f"{result}processes managed")
        same(result.err.count(DEAF), times, f"lines in {result.err!r}")
        same([m["text"].startswith(DEAF) for m in result.report["messages"]], [True] * times, "messages")


def test_leave_is_over_when_no_thread_is_left(b):
    """
    The kernel takes a thread off the list of its process's a moment after it has said that it is over. Here that moment is
    long: it keeps threads that are traced until the tracer has heard of it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    child = b.start([b.hugenuma, "run", "-q", *EAGER, "--", b.program("change"), "a user namespace on request"])
    pid = program_of(child, "live-change")
    want(child.stdout.readline() == "absent\n", "the program did not get as far as that")
    ours = [path.split("/")[4] for path, name in proc_files(f"/proc/{pid}/task/*/comm") if name.startswith("hugenuma-")]
    want(len(ours) >= 4, f"threads of the agent: {ours}")
    if any(libc.ptrace(PTRACE_SEIZE, int(tid), None, None) for tid in ours):
        raise Skip("no ptrace here")
    os.kill(int(pid), signal.SIGUSR1)
    want(wait_for(lambda: sum(") Z " in text for _, text in proc_files(f"/proc/{pid}/task/*/stat")) >= len(ours), 20),
         "the agent does not leave")
    time.sleep(0.3)
    for tid in ours:
        os.waitpid(int(tid), WALL)
    status, out, err = b.finish(child)
    if status == SKIP_STATUS:
        raise Skip(err.strip())
    same(status, 0, out + err)


def limited(b, limit_mib, reserve_mib, wrap=()):
    """A program that is noticed, and then takes most of the address space it is allowed."""
    script = f'ulimit -v {limit_mib * 1024}; start=$0; "$@" "$start" "reserve after malloc" && exec "$start" "status 7"'
    return b.run(FAST, ["sh", "-c", script, b.program("start"), *wrap], dict(MALLOC_HUGE, LIVE_MIB=str(reserve_mib)),
                 quiet=False)


def test_fail_address_space(b):
    """With little address space the program gets all of it."""
    for limit in (500, 1600, 3000):
        unmanaged(limited(b, limit, limit - 200), "address space")


def test_fail_gives_back(b):
    """What the agent took before it gave up is the program's again."""
    unmanaged(limited(b, 18 << 10, (18 << 10) - 500, [b.program("jail"), "move"]), "UFFDIO_MOVE")


def test_fail_nobody(b):
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        raise Skip("needs root and setpriv, to become nobody")
    try:
        mode = os.stat("/dev/userfaultfd").st_mode
    except OSError:
        mode = 0
    with open("/proc/sys/vm/unprivileged_userfaultfd", encoding="ascii") as f:
        if f.read().strip() != "0" or mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Skip("everybody has the permission here")
    with tempfile.TemporaryDirectory(prefix="hugenuma-nobody-") as place:
        for f in (b.hugenuma, b.agent, b.program("start")):
            shutil.copy(f, place)
        os.chmod(place, 0o755)
        path = os.path.join(place, "out")
        os.mkdir(path)
        os.chown(path, NOBODY, NOBODY)
        os.chmod(path, 0o700)
        report = os.path.join(path, "r.json")
        start = os.path.join(place, os.path.basename(b.program("start")))
        result = b.bare(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                         os.path.join(place, "hugenuma"), "run", *FAST, "--report", report, "--", "sh", "-c",
                         '"$0" malloc && exec "$0" "status 7"', start],
                        dict(MALLOC_HUGE, HUGENUMA_AGENT=os.path.join(place, os.path.basename(b.agent)), TMPDIR=path),
                        cwd=path)
        with open(report, encoding="utf-8") as f:
            result.report = json.load(f)
        unmanaged(result, "no permission for userfaultfd")


def test_fail_no_proc(b):
    if os.geteuid() != 0 or not shutil.which("unshare"):
        raise Skip("needs root and unshare, to hide /proc")
    script = 'mount -t tmpfs none /proc && "$0" malloc && exec "$0" "status 7"'
    result = b.run(FAST, ["unshare", "-m", "sh", "-c", script, b.program("start")], MALLOC_HUGE)
    if result.status == 1 and "unshare" in result.err:
        raise Skip("no mount namespaces here")
    same((result.status, result.out), (7, "hello\n"), str(result))
    same(result.report["managed_count"], 0, "managed")


def test_static(b):
    if not os.path.exists(b.program("static")):
        raise Skip("no static libc to build such a program with")
    result = b.run(FAST, [b.program("static")])
    same((result.status, result.out), (5, "static\n"), str(result))
    same((result.report["loaded_count"], result.report["managed_count"]), (0, 0), "loaded, managed")
    result = b.run(FAST, [b.program("static")], quiet=False)
    same(len(re.findall("never loaded .a static or setuid program", result.err)), 1, result.err)


def test_preload(b):
    own = os.path.join(b.programs, "liblive-preload.so")
    managed(b, "preloaded", env=dict(MALLOC_HUGE, LD_PRELOAD=own))


# ---- descriptors ----

def test_standard_output_ends(b):
    """The reader of a pipe sees the end when the program closes it, though the agent lives on."""
    script = '"$0" "closes standard output and lives on" | { cat; echo "eof $(date +%s%N)"; }'
    result = good(b.run(EAGER, ["sh", "-c", script + '; echo "end $(date +%s%N)"', b.program("fds")]))
    eof = int(re.search(r"eof (\d+)", result.out).group(1))
    end = int(re.search(r"end (\d+)", result.out).group(1))
    want(result.out.startswith("done\n"), result.out)
    want(end - eof > 1000000000, f"the pipe ended only {(end - eof) / 1e6:.0f} ms before the program")


# ---- pages stay huge, and go where they are used ----

def test_stay_huge(b, case, mover):
    result = good(b.run([*EAGER, "--policy", "always", "--mover", mover], [b.program("workers"), case]))
    totals = {k: v for k, v in result.report["totals"].items() if isinstance(v, (int, dict))}
    want(totals["migrated_pages"] > 20, f"hardly anything migrated: {result}")
    same(totals["lost_huge_pages"], 0, "pages found split")
    same(result.report["totals"]["agent"]["collapses_count"], 0, "pages that had to be made huge again")


def test_given_up(b):
    """A copy that takes longer than a thread may wait is given up: the page is back, whole, and the same."""
    result = good(b.run([*EAGER, "--policy", "always", "--max-stall-us", "20"],
                        [b.program("workers"), "stay huge when written"]))
    totals = result.report["totals"]
    given_up = totals["failed"]["stall_count"]
    want(given_up > 10, f"{given_up} migrations were given up: {result}")
    timed = totals["migration_stall"]["faults_count"]
    want(abs(timed - given_up - totals["migrated_pages"]) <= HANDLERS, f"waits that were timed: {timed}, given up {given_up}, "
         f"migrated {totals['migrated_pages']}")
    same(totals["lost_huge_pages"], 0, "pages found split")
    same(totals["agent"]["collapses_count"], 0, "pages that had to be made huge again")


def node_of_cpu(cpu):
    return [os.path.basename(path) for path in glob.glob(f"/sys/devices/system/cpu/cpu{cpu}/node[0-9]*")]


def test_two_halves(b):
    """Each thread's node is known from the processor it runs on, and its pages come to it, and only they."""
    if b.real_nodes and (node_of_cpu(0), node_of_cpu(1)) != (["node0"], ["node1"]):
        raise Skip("made for processors 0 and 1 on nodes 0 and 1")
    options = [*EAGER, *([] if b.real_nodes else ["--topology", "node:2 pu:1"]), "--period-ms", "10"]
    result = good(b.run(options, [b.program("workers"), "two halves"]))
    p = result.processes()[0]
    local = p["local_end_percent"]
    want(local is not None and local > 90, f"{local} % local at the end")
    want(14 <= p["migrated_pages"] <= 20, f"{p['migrated_pages']} pages migrated, not about 16\n{result}{p['nodes']}")
    want(p["migrated_to_node_pages"][1] >= 14, f"to nodes: {p['migrated_to_node_pages']}")
    share = [n / p["samples_count"] for n in p["samples_from_node_count"][:2]]
    want(min(share) > 0.1, f"samples from nodes: {p['samples_from_node_count']}")


def tiered(b, mib, *options, case="half cold"):
    """A node of so much memory, and a slow one; 16 pages are used for 6 s and 16 are not. The process, as reported."""
    if b.real_nodes:
        raise Skip("the nodes are those of this machine")
    # Hints run out after a second, whatever the period.
    result = good(b.run([*EAGER, "--topology", f"pack:1 [numa(memory={mib}MB)] [numa(memory=1GB)] pu:2", "--cold-rounds", "2",
                         "--policy", "automatic", *options], [b.program("workers"), case]))
    same([n["slow"] for n in result.report["machine"]["nodes"]], [False, True], "slow nodes")
    return result.processes()[0], result


def test_cold_pages_are_demoted(b):
    """32 pages fill a node of which 9 are to be free: 14 go, all of them cold ones. They come back when they are used."""
    p, result = tiered(b, 64, "--low-permille", "300")
    want(12 <= p["demoted_pages"] <= 16, f"{p['demoted_pages']} pages demoted, not about 14\n{result}")
    want(p["refused"]["cold_count"] + p["refused"]["low_count"] + p["migrated_pages"] >= 8, f"at the end: {p['refused']}")
    same(p["nodes"][1]["migrated_to_pages"], p["demoted_pages"], "pages that came to the slow node")
    p, result = tiered(b, 64, "--low-permille", "300", "--policy", "observe")
    same((p["demoted_pages"], p["migrated_pages"]), (0, 0), "observed: pages moved")


def test_hot_pages_are_promoted(b):
    """Every other page starts on the slow node; 8 of these are in use. The node for them is neither full nor empty."""
    p, result = tiered(b, 128, "--low-permille", "300", "--initial-node", "interleave", case="half cold, then a glance")
    came = p["migrated_for"]["hot_count"]
    # A hint that is young at the end says nothing of those before it where the scanner had no CPU for a while.
    want(8 <= came <= 12, f"{came} pages promoted, not 8\n{result}")
    want(p["refused"]["cold_count"] >= 4, f"the others: {p['refused']}\n{result}")
    same((p["demoted_pages"], p["migrated_for"]["room_count"]), (0, 0), "demoted, promoted for want of use")


# ---- ends ----

ENDS = {
    "exit": 21, "exit by another thread": 22, "_exit": 23, "the last thread ends": 0, "abort": 128 + signal.SIGABRT,
    "SIGKILL": 128 + signal.SIGKILL, "SIGSEGV": 128 + signal.SIGSEGV, "quick_exit": 24, "exec": 25,
    "exec by another thread": 26, "the last thread ends by the system call": 27,
}
WATCHED_ENDS = {"SIGSEGV without a handler": signal.SIGSEGV, "SIGBUS sent, without a handler": signal.SIGBUS}
RUN_AT_EXIT = ("exit", "exit by another thread", "the last thread ends")


def test_end(b, case):
    result = b.run(EAGER, [b.program("ends"), case], quiet=False)
    same(result.status, ENDS[case], str(result))
    same(result.out, "at exit\n" if case in RUN_AT_EXIT else "", "output")
    want(re.search(r"^live-ends \(pid \d+\)$", result.err, re.M), f"no table for the program:\n{result.err}")
    want(any(p["command"] == "live-ends" and p["armed_count"] > 0 for p in result.processes()), f"never armed: {result}")


def test_kill_controller(b):
    """The program runs on, managed, and notices nothing."""
    path = os.path.join(b.tmp, "fine")
    command = [b.program("ends"), "outlive the controller"]
    child = b.start([b.hugenuma, "run", "-q", *EAGER, "--policy", "always", "--", *command], {"LIVE_FILE": path, "LIVE_ORPHAN": "1"})
    program_of(child, "live-ends")
    time.sleep(0.4 * SLOW)
    want(child.poll() is None, "ended at once")
    os.kill(child.pid, signal.SIGKILL)
    wait_for(lambda: os.path.exists(path), 60)
    _, out, err = b.finish(child, 10 * SLOW)
    for d in glob.glob(f"/dev/shm/hugenuma.*.{child.pid}.*"):
        shutil.rmtree(d)
    want(os.path.exists(path), f"the program did not come to its end\n{out}{err}")


def test_end_watched(b, case, number):
    """By a signal that the program has no handler for: with its code and address, and as often as without us."""
    result = b.run(EAGER, [b.program("signals"), case])
    same((result.status, result.out), (128 + number, "as it should\n"), str(result))
    want(any(p["armed_count"] > 0 for p in result.processes()), f"never armed: {result}")


# ---- steered from outside ----

class Steered:
    """A program at work under hugenuma, and what `hugenuma list` says of it."""

    def __init__(self, b, policy="always", case="work until told"):
        self.b = b
        self.child = b.start([b.hugenuma, "run", "-q", *EAGER, "--policy", policy, "--", b.program("control"), case])
        want(wait_for(lambda: self.line() and self.migrated() > 0, 60), "nothing is migrated")

    def line(self):
        """PID, command, state, nodes, MiB, share, ..., or None; of the one process of this run."""
        lines = [line.split() for line in self.b.bare([self.b.hugenuma, "list"]).out.splitlines()[1:]]
        mine = [line for line in lines if parent_of(int(line[0])) == self.child.pid]
        return mine[0] if mine else None

    def pid(self):
        return int(self.line()[0])

    def state(self):
        return self.line()[2]

    def migrated(self):
        return int(self.line()[-2])

    def registered(self):
        """Mappings of the program that somebody's userfaultfd watches: "um" among their flags."""
        with open(f"/proc/{self.pid()}/smaps", encoding="ascii") as f:
            return sum("um" in line.split() for line in f if line.startswith("VmFlags:"))

    def order(self, what, pid=None):
        done = self.b.bare([self.b.hugenuma, what, str(pid or self.pid())])
        same(done.status, 0, f"{what}: {done}")

    def rests(self):
        """Not the first time, perhaps: what a handler has done it counts, and the scanner tells, when they get a processor."""
        before = self.migrated()
        time.sleep(0.3)
        return self.migrated() == before

    def end(self):
        self.child.send_signal(signal.SIGTERM)
        status, out, err = self.b.finish(self.child)
        same(status, 0, f"the program: {out}{err}")


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return int(f.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


def wait_for(condition, seconds):
    end = time.monotonic() + seconds * SLOW
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_pause_and_resume(b):
    s = Steered(b)
    s.order("pause")
    same(s.state(), "paused", "state")
    want(wait_for(s.rests, 20), "pages migrate in a paused process")
    want(s.registered() > 0, "a paused process is not watched any more")
    before = s.migrated()
    s.order("resume")
    want(wait_for(lambda: s.migrated() > before, 60), "nothing migrates after resume")
    s.end()


def test_stop_and_resume(b):
    s = Steered(b)
    s.order("stop")
    same((s.state(), s.registered()), ("stopped", 0), "state, mappings watched")
    want(wait_for(s.rests, 20), "pages migrate in a stopped process")
    before = s.migrated()
    s.order("resume")
    want(wait_for(lambda: s.migrated() > before, 60), "nothing migrates after resume")
    s.order("stop", s.child.pid)  # all processes of this `hugenuma run`
    same((s.state(), s.registered()), ("stopped", 0), "state, mappings watched")
    s.end()


def test_stop_what_grows(b):
    """A mapping is given back with what it has grown by, or it would be two mappings."""
    s = Steered(b, case="grow until told")
    for _ in range(5):
        s.order("stop")
        same((s.state(), s.registered()), ("stopped", 0), "state, mappings watched")
        s.order("resume")
        want(wait_for(lambda: s.registered() > 0, 60), "not watched after resume")
    s.end()


def test_settings_at_run_time(b):
    s = Steered(b)

    def ctl(*args):
        return b.bare([b.hugenuma, "ctl", str(s.pid()), *args])

    same(ctl("get", "scan.period_ms", "policy.name").out, "scan.period_ms = 2\npolicy.name = always\n", "get")
    same(ctl("set", "policy.name=observe", "scan.period_ms=5").status, 0, "set")
    same(ctl("get", "scan.period_ms", "policy.name").out, "scan.period_ms = 5\npolicy.name = observe\n", "get")
    want(wait_for(s.rests, 20), "pages migrate, though the policy only observes")
    for bad, text in (("policy.name=x", "policy.name: 'x': expected"), ("agent.handlers=5", "cannot be changed"),
                      ("nonsense=1", "no such setting")):
        r = ctl("set", "scan.period_ms=6", bad)
        want(r.status == 1 and text in r.err, f"{bad}: {r}")
    same(ctl("get", "scan.period_ms").out, "scan.period_ms = 5\n", "after bad settings")
    before = s.migrated()
    same(ctl("set", "policy.name=always").status, 0, "set")
    want(wait_for(lambda: s.migrated() > before, 60), "nothing migrates after the change")
    s.end()


# ---- threads that are moved to their memory ----

TWO_NODES = ["--topology", "node:2 pu:1"]
MOVE_THREADS = ["--move-threads", "--period-ms", "200"]


def cpus_of_threads(pid):
    return [re.search(r"^Cpus_allowed_list:\s*(\S+)", text, re.M).group(1)
            for _, text in proc_files(f"/proc/{pid}/task/*/status") if not re.match(r"Name:\s*hugenuma", text)]


def kept_until(b, what, *order):
    """One thread or both are kept on the only CPU of the node that their memory is on, until that order."""
    child = b.start([b.hugenuma, "run", "-q", *TWO_NODES, *MOVE_THREADS, "--", b.program("roam"), "2"])
    try:
        pid = program_of(child, "live-roam")
        want(wait_for(lambda: len(set(cpus_of_threads(pid))) > 1, 40), f"{what}: no thread is kept")
        same(b.bare([b.hugenuma, *(pid if word == "PID" else word for word in order)]).status, 0, what)
        want(wait_for(lambda: len(set(cpus_of_threads(pid))) == 1, 10), f"{what}: they are still kept")
    finally:
        child.send_signal(signal.SIGTERM)
        status = b.finish(child)[0]
    same(status, 0, "the program")


def need_two_cpus(b):
    if b.real_nodes or len(os.sched_getaffinity(0)) < 2:
        raise Skip("needs two virtual nodes with a CPU each")


def test_move_threads(b):
    """The first thread only sleeps, and is never kept: so the CPUs differ while others are."""
    need_two_cpus(b)
    kept_until(b, "the setting", "ctl", "PID", "set", "move.threads=off")
    kept_until(b, "pause", "pause", "PID")
    kept_until(b, "stop", "stop", "PID")


def test_move_threads_inherits_nothing(b):
    need_two_cpus(b)
    result = good(b.run([*TWO_NODES, *MOVE_THREADS], [b.program("roam"), "inherit"], timeout=300 * SLOW))
    want("own choice respected" in result.out, f"{result}")


def test_move_threads_needs_cpus(b):
    r = b.bare([b.hugenuma, "run", "--topology", "node:64 pu:1", "--move-threads", "--", "true"])
    want(r.status == 125 and "--move-threads: there are fewer CPUs than virtual nodes" in r.err, f"{r}")


# ---- policies that are shared objects ----

def sticky(b):
    return os.path.join(b.build, "examples", "policy-sticky.so")


def nonsense(b):
    return os.path.join(b.programs, "policy-nonsense.so")


def rules_of(process):
    return {rule["name"]: rule for rule in process["plugin"]["rules"]}


def test_plugin_policy(b):
    """The example places as well as the default does, each page by a rule of its own."""
    options = [*EAGER, *([] if b.real_nodes else ["--topology", "node:2 pu:1"]), "--period-ms", "10"]
    result = good(b.run([*options, "--policy", sticky(b)], [b.program("workers"), "two halves"]))
    p = result.processes()[0]
    rules = rules_of(p)
    want(p["local_end_percent"] is not None and p["local_end_percent"] > 90, f"{p['local_end_percent']} % local at the end")
    want(14 <= p["migrated_pages"] <= 20, f"{p['migrated_pages']} pages migrated, not about 16")
    same(rules["three_in_a_row"]["moved_pages"], p["migrated_pages"], "moved by the rule")
    same(rules["too_few"]["stayed_count"], p["refused"]["policy_count"], "stayed by the rule")
    want(rules["too_few"]["stayed_count"] >= 28, f"every page was refused twice before: {rules}")
    on_record = {d["plugin_rule"] for d in p["decisions"] if d["outcome"] in ("local", "refused", "migrated")}
    want("local" in on_record and on_record <= {*rules, None}, f"rules on record: {on_record}")


def test_plugin_policy_in_children(b):
    result = managed(b, "forked by managed", 3, options=[*FAST, "--policy", sticky(b)])
    for p in result.processes():
        same(p["plugin"]["name"], "sticky", f"policy of {p['pid']}")


def test_plugin_policy_that_makes_no_sense(b):
    result = good(b.run([*EAGER, "--policy", nonsense(b)], [b.program("start"), "joinable workers"]))
    refused = sum(p["refused"]["policy_invalid_count"] for p in result.processes())
    moved = sum(rules_of(p)["anything"]["moved_pages"] for p in result.processes())
    want(refused > 100 / SLOW, f"only {refused} verdicts were nonsense")
    same(moved, sum(p["migrated_pages"] for p in result.processes()), "moved by the rule")


def test_plugin_policy_at_run_time(b):
    s = Steered(b, nonsense(b))

    def ctl(*args):
        return b.bare([b.hugenuma, "ctl", str(s.pid()), *args])

    same(ctl("get", "policy.name").out, f"policy.name = {nonsense(b)}\n", "get")
    same(ctl("set", "policy.name=observe").status, 0, "set")
    want(wait_for(s.rests, 20), "pages migrate, though the policy only observes")
    r = ctl("set", f"policy.name={sticky(b)}")
    want(r.status == 1 and f"'{sticky(b)}': shared objects are loaded by" in r.err, f"another object: {r}")
    before = s.migrated()
    same(ctl("set", f"policy.name={nonsense(b)}").status, 0, "set back")
    want(wait_for(lambda: s.migrated() > before, 60), "nothing migrates after the change")
    s.end()


def test_plugin_policy_that_is_gone(b):
    """What was there at the start is not any more when a program of the run is executed: that one runs unmanaged."""
    copy = os.path.join(b.tmp, "mine.so")
    shutil.copy(sticky(b), copy)
    command = ["sh", "-c", 'rm "$1"; shift; "$@"', "sh", copy, b.program("start"), "joinable workers"]
    result = b.run([*EAGER, "--policy", copy], command, quiet=False)
    same(result.status, 0, str(result))
    want(re.search(rf"not managed: policy {re.escape(copy)}: it cannot be read here", result.err), f"not said: {result}")
    same(result.processes(), [], "managed processes")


def test_orders_in_any_order(b):
    s = Steered(b)
    for what in ("stop", "resume", "pause", "stop", "pause", "resume"):
        s.order(what)
    want(wait_for(lambda: s.registered() > 0, 60), "not watched after resume")
    s.end()


# ---- all of them ----

def all_tests(b):
    tests = [(name[5:].replace("_", " "), lambda f=f: f(b)) for name, f in globals().items()
             if name.startswith("test_") and f.__code__.co_argcount == 1]
    tests += [(f"{case}, {mover} mover", lambda c=case, m=mover: test_stay_huge(b, c, m))
              for case in ("stay huge when read", "stay huge when written") for mover in ("copy", "kernel")]
    tests += [(f"end by {case}", lambda c=case: test_end(b, c)) for case in ENDS]
    tests += [(f"end by {case}", lambda c=case, n=n: test_end_watched(b, c, n)) for case, n in WATCHED_ENDS.items()]
    tests += [(f"core dump by {case}", lambda c=case, n=n: test_core_dump(b, c, n)) for case, n in CORES.items()]
    return tests + case_tests(b)


def skip_unless_possible(b):
    done = subprocess.run([b.hugenuma, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=b.environment(), timeout=60)
    if done.returncode != 0:
        print("\n".join("# " + line for line in done.stdout.splitlines()))
        print("`hugenuma doctor` says that nothing can be managed here")
        sys.exit(SKIP_STATUS)


def pages_split_by_reclaim():
    """Huge pages that the kernel has split, anywhere, because somebody wanted them swapped out."""
    with open("/proc/vmstat", encoding="ascii") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("thp_swpout_fallback "))


def run_undisturbed(test):
    """
    A proactive reclaimer (DAMON's pageout, say) splits huge pages of anybody at any time, and what is no huge page is
    not managed. A test that failed while that happened is tried again; but never one that has seen wrong data.
    """
    for last in (False, False, True):
        before = pages_split_by_reclaim()
        try:
            test()
            return
        except Skip:
            raise
        except AssertionError as error:
            if last or " instead of " in str(error) or pages_split_by_reclaim() == before:
                raise
            print("#   again: the kernel has split huge pages meanwhile")


def run_all(b, tests):
    failed = 0
    for n, (name, test) in enumerate(tests, 1):
        start, skipped, note = time.monotonic(), None, ""
        try:
            run_undisturbed(test)
            good_one = True
        except Skip as skip:
            good_one, skipped = True, str(skip)
        except Exception as error:  # pylint: disable=broad-except
            good_one, note = False, f"{type(error).__name__}: {error}"
        b.end_children()
        failed += not good_one
        print(f"{'ok' if good_one else 'not ok'} {n} - {name}" + (f" # SKIP {skipped}" if skipped else ""))
        print(f"#   {time.monotonic() - start:.1f} s")
        for line in note.splitlines():
            print(f"#   {line}")
        sys.stdout.flush()
    print(f"1..{len(tests)}")
    return 1 if failed or not tests else 0


def part(text):
    number, _, parts = text.partition("/")
    if not number.isdecimal() or not parts.isdecimal() or not 1 <= int(number) <= int(parts):
        raise argparse.ArgumentTypeError(f"'{text}': expected K/N with K from 1 to N")
    return int(number), int(parts)


def main(argv=None):
    parser = argparse.ArgumentParser(description="test the live backend and the agent")
    parser.add_argument("--build", default=os.environ.get("HN_BUILD", os.path.join(ROOT, "build")))
    parser.add_argument("--only", action="append", default=[], metavar="TEXT",
                        help="run the tests with this in their names; of several, any")
    parser.add_argument("--part", type=part, default=(1, 1), metavar="K/N", help="only the K-th of N parts of the tests")
    parser.add_argument("--real-nodes", action="store_true", help="on this machine's own nodes, not on virtual ones")
    parser.add_argument("--arm", choices=("move", "rwp"), help="how pages are armed (as the kernel can)")
    args = parser.parse_args(argv)
    b = Bench(args.build, args.real_nodes)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    for options in (FAST, EAGER):
        if args.real_nodes:
            del options[:len(VIRTUAL)]
        if args.arm:
            options.extend(("--arm", args.arm))
    try:
        skip_unless_possible(b)
        tests = [t for t in all_tests(b) if not args.only or any(text in t[0] for text in args.only)]
        number, parts = args.part
        return run_all(b, tests[len(tests) * (number - 1) // parts:len(tests) * number // parts])
    finally:
        b.end_children()
        shutil.rmtree(b.tmp)


if __name__ == "__main__":
    sys.exit(main())
