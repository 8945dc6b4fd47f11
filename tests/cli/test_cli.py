#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The hugenuma command from outside: exit statuses, options, signals, table, report, doctor.

    test_cli.py [HUGENUMA [WORD...]]    default: $HUGENUMA, else build/hugenuma; with words only tests that have one in
                                        their name

The agent is a stand-in (fake_agent.c) with known counters, so what is shown of them is checked to the digit.
"""
import csv
import ctypes
import fcntl
import html.parser
import json
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import time

import in_step

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SRC = os.path.join(ROOT, "src")
HUGENUMA = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("HUGENUMA", ROOT + "/build/hugenuma"))
XML = os.path.join(HERE, "three-nodes.xml")
TMP = tempfile.mkdtemp(prefix="hugenuma-test-cli.")
AGENT = os.path.join(TMP, "fake-agent.so")
HOSTILE = os.path.join(TMP, "hostile")
TIMEOUT = 60
LAST = []  # process ids of the commands run
STARTED = []  # runs that a failing test may leave


Skip = in_step.Skip  # raised where a check cannot be made; its text says why


def same(got, wanted, what=""):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, wanted {wanted!r}")


def found(pattern, text, what="output"):
    m = re.search(pattern, text, re.M)
    if not m:
        raise AssertionError(f"{what} has no match for {pattern!r}:\n{text}")
    return m


def absent(pattern, text, what="output"):
    if re.search(pattern, text, re.M):
        raise AssertionError(f"{what} has a match for {pattern!r}:\n{text}")


def environment(**extra):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("FAKE_", "HUGENUMA", "LD_PRELOAD", "HWLOC_"))}
    env.update(HUGENUMA_AGENT=AGENT, HUGENUMA_CONFIG="", LC_ALL="C")
    env.update(extra)
    return {k: v for k, v in env.items() if v is not None}


def as_in_a_shell(status):
    return status if status >= 0 else 128 - status


def command(*args, env=None, **kw):
    """Run `hugenuma ARGS`; returns the completed process, text captured."""
    p = subprocess.Popen([HUGENUMA, *args], env=environment(**(env or {})), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, **kw)
    LAST.append(p.pid)
    out, err = p.communicate(timeout=TIMEOUT)
    return subprocess.CompletedProcess(p.args, as_in_a_shell(p.returncode), out, err)


def run(*args, env=None, **kw):
    return command("run", *args, env=env, **kw)


def path(name):
    return os.path.join(TMP, name)


def run_dirs():
    """Run directories that the last command has left."""
    return [d for d in os.listdir("/dev/shm") if d.startswith(f"hugenuma.{os.geteuid()}.{LAST[-1]}.")]


def report_of(*args, env=None, status=0):
    """The report of a run, as JSON, and its standard error."""
    file = path("report.json")
    if os.path.exists(file):
        os.unlink(file)
    r = run("--report", file, *args, env=env)
    same(r.returncode, status, "exit status")
    with open(file, encoding="utf-8") as f:
        return json.load(f), r.stderr


def passed(*args, env=None):
    """What the agent was passed by `run ARGS -- true`, as a dictionary of strings."""
    dump = path("dump")
    if os.path.exists(dump):
        os.unlink(dump)
    r = run(*args, "--", "true", env=dict(env or {}, FAKE_DUMP=dump, FAKE_MODE="idle"))
    same(r.returncode, 0, r.stderr)
    with open(dump, encoding="ascii") as f:
        return dict(line.rstrip("\n").split("=", 1) for line in f)


# ---- exit statuses and signals ----

def test_status_of_program():
    for status in (0, 1, 3, 125, 255):
        same(run("--", "sh", "-c", f"exit {status}").returncode, status)


def test_status_of_signal():
    for sig in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGINT):
        same(run("--", "sh", "-c", f"ulimit -c 0; kill -{int(sig)} $$").returncode, 128 + sig)


def test_a_signal_that_ends_the_program_ends_us():
    """Service managers and shells' loops look whether it was one, shells make 128 + N of it. The core is the program's."""
    for sig in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGINT, signal.SIGRTMIN):
        p = subprocess.Popen([HUGENUMA, "run", "-q", "--", "sh", "-c", f"ulimit -c 0; kill -{int(sig)} $$"], env=environment())
        _, raw = os.waitpid(p.pid, 0)
        p.returncode = 0
        same((os.WIFSIGNALED(raw), os.WTERMSIG(raw), os.WCOREDUMP(raw)), (True, sig, False))
    r = subprocess.run(["sh", "-c", f"{HUGENUMA} run -q -- sh -c 'kill -TERM $$'; echo $?"], env=environment(),
                       capture_output=True, text=True)
    same(r.stdout, "143\n")
    same(run("-q", "--", "sh", "-c", "exit 143").returncode, 143)


def test_not_found_is_127():
    for program in ("no-such-program", "./no/such/program"):
        r = run("--", program)
        same(r.returncode, 127)
        found(f"^hugenuma: cannot run {program}: No such file or directory$", r.stderr)
        absent("managed", r.stderr)


def test_not_executable_is_126():
    plain = path("plain")
    with open(plain, "w", encoding="ascii") as f:
        f.write("text\n")
    os.chmod(plain, 0o644)
    for program in (plain, TMP):
        r = run("--", program)
        same(r.returncode, 126)
        found(f"^hugenuma: cannot run {program}: ", r.stderr)


def test_own_failure_is_125():
    marker = path("marker")
    for agent in ("/nonexistent.so", path("with space.so"), path("with:colon.so")):
        if "with" in agent:
            shutil.copy(AGENT, agent)
        r = run("--", "touch", marker, env={"HUGENUMA_AGENT": agent})
        same(r.returncode, 125)
        found(re.escape(agent), r.stderr)
        same(os.path.exists(marker), False, "program started")


def test_options_after_program_are_its_own():
    r = run("-q", "sh", "-c", "exit 4", "-q", "--report")
    same((r.returncode, r.stderr), (4, ""))
    r = run("-q", "echo", "--period-ms=0", "--", "x")
    same((r.returncode, r.stdout), (0, "--period-ms=0 -- x\n"))


def until_made(p, file):
    while not os.path.exists(file):
        same(p.poll(), None, "ended early")
        time.sleep(0.01)


def patiently(condition, what, seconds=10):
    """Wait for what comes to be in a moment, however busy the machine is."""
    end = time.monotonic() + seconds
    while not condition():
        same(time.monotonic() < end, True, what)
        time.sleep(0.02)


def listed(pid):
    """The lines of `hugenuma list` for a process: one as soon as its agent has a slot."""
    return [line for line in command("list").stdout.splitlines() if line.split()[0] == str(pid)]


def started(script, before="", args=(), env=None, **kw):
    """A run of a shell script, returned when the shell has got past `before`."""
    ready = path("ready")
    p = subprocess.Popen([HUGENUMA, "run", "-q", *args, "--", "sh", "-c", f"{before} : > {ready}; {script}"],
                         env=environment(**(env or {})), start_new_session=True, **kw)
    STARTED.append(p)
    until_made(p, ready)
    os.unlink(ready)
    return p


def test_sigterm_and_sighup_are_passed_on():
    for sig, status in ((signal.SIGTERM, 7), (signal.SIGHUP, 9)):
        p = started("while :; do sleep 0.05; done", "trap 'exit 7' TERM; trap 'exit 9' HUP;")
        p.send_signal(sig)
        same(p.wait(TIMEOUT), status, f"after {sig!r}")


def test_a_signal_that_is_ignored_stays_so():
    """As after nohup: it is passed on, and the program, which has inherited that, runs on."""
    p = started("exec sleep 60", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    p.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    same(p.poll(), None, "after SIGHUP")
    p.terminate()
    same(p.wait(TIMEOUT), -signal.SIGTERM)


# Stops in the function that is named for as long as it takes to send a signal.
HERE_C = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void here(const char *name)
{
	if (strcmp(name, getenv("SLOW_IN")) != 0 || access(getenv("SLOW_GO"), F_OK) == 0)
		return;
	close(creat(getenv("SLOW_MARK"), 0600));
	for (int i = 0; i < 6000 && access(getenv("SLOW_GO"), F_OK) != 0; i++)
		usleep(10000);
}
"""
SLOW = HERE_C + """
pid_t fork(void)
{
	here("fork");
	return ((pid_t (*)(void))dlsym(RTLD_NEXT, "fork"))();
}
int setenv(const char *name, const char *value, int overwrite)
{
	here(name);
	return ((int (*)(const char *, const char *, int))dlsym(RTLD_NEXT, "setenv"))(name, value, overwrite);
}
"""


def signalled_on_the_way(sig, send, *args, env, then=":", **kw):
    """The exit status of a run that gets a signal when it has made `mark`, and whether the program has run, which goes on so."""
    mark, go, ran = path("mark"), path("go"), path("ran")
    p = subprocess.Popen([HUGENUMA, "run", "-q", *args, "--", "sh", "-c", f": >{ran}; {then}"], start_new_session=True,
                         env=environment(SLOW_MARK=mark, SLOW_GO=go, **env), **kw)
    STARTED.append(p)
    LAST.append(p.pid)
    until_made(p, mark)
    send(p.pid, sig)
    time.sleep(0.1)
    open(go, "w", encoding="ascii").close()
    status = as_in_a_shell(p.wait(TIMEOUT)), os.path.exists(ran)
    for file in (mark, go, ran):
        if os.path.exists(file):
            os.unlink(file)
    same(run_dirs(), [], "run directories left")
    return status


def test_no_signal_is_lost_before_the_program_runs():
    """^C goes to the whole group, which may be us alone, or us and a child that is not yet the program."""
    slow = compiled("slow.so", SLOW, include="")
    policy = compiled("slow-policy.so", HERE_C + """
#include "hugenuma/policy.h"
__attribute__((constructor)) static void wait_for_it(void)
{
	here("policy");
}
""" + policy_source(), include="")
    places = (((), {"SLOW_IN": "fork", "LD_PRELOAD": slow}), ((), {"SLOW_IN": "HUGENUMA_SHM", "LD_PRELOAD": slow}),
              (("--policy", policy), {"SLOW_IN": "policy"}))
    for args, env in places:
        for sig in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
            same(signalled_on_the_way(sig, os.killpg, *args, env=env), (128 + sig, False), (args, env, sig))
        # While we wait for the child to become the program we pass nothing on: it may be a little ahead of the signal.
        waits = env["SLOW_IN"] == "HUGENUMA_SHM"
        status, ran = signalled_on_the_way(signal.SIGTERM, os.kill, *args, env=env, then="exec sleep 60")
        same((status, ran and not waits), (128 + signal.SIGTERM, False), (args, env))
        for sig in (signal.SIGINT, signal.SIGHUP):
            got = signalled_on_the_way(sig, os.killpg, *args, env=env, preexec_fn=lambda: signal.signal(sig, signal.SIG_IGN))
            same(got, (0, True), (args, env, sig, "ignored"))


# Writes down each signal that it gets, and whether it is from the kernel, until there is a file.
HEAR = """
import os, signal, sys
heard, enough = sys.argv[1:3]
wanted = set(range(1, signal.NSIG)) - {32, 33, signal.SIGCHLD, signal.SIGCONT}
signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
with open(heard, "w", buffering=1) as f:
    f.write("ready\\n")
    if sys.argv[3:]:
        os.killpg(0, int(sys.argv[3]))
    while not os.path.exists(enough):
        info = signal.sigtimedwait(wanted, 0.05)
        if info:
            f.write(f"{info.si_signo} {'kernel' if info.si_code == 0x80 else info.si_code}\\n")
"""


def signals_heard(send, wanted, *args, terminal=False, before=(), late=False):
    """What a program hears of what send(the run, the terminal) sends: as soon as it is `wanted` lines, and a moment more.

    late: the run itself gets it only then. Two signals of a kind that come at the same time are one.
    """
    heard, enough = path("heard"), path("enough")
    ours, theirs = os.openpty() if terminal else (None, subprocess.DEVNULL)

    def with_terminal():
        os.setsid()
        if terminal:
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    p = subprocess.Popen([*before, HUGENUMA, "run", "-q", "--", sys.executable, "-c", HEAR, heard, enough, *args], stdin=theirs,
                         stdout=subprocess.PIPE, env=environment(), preexec_fn=with_terminal)
    STARTED.append(p)

    def lines():
        with open(heard, encoding="ascii") as f:
            return f.read().splitlines()[1:]

    if terminal:
        os.close(theirs)
    try:
        patiently(lambda: os.path.exists(heard) and os.path.getsize(heard) > 5, "the program runs")
        if late:
            p.send_signal(signal.SIGSTOP)
        ours = send(p, ours)
        patiently(lambda: len(lines()) >= wanted, "signals heard")
        if late:
            p.send_signal(signal.SIGCONT)
        time.sleep(0.3)  # one too many would come later
    finally:
        open(enough, "w", encoding="ascii").close()
        p.communicate(timeout=TIMEOUT)  # the end of all who have its standard output
        if ours is not None:
            os.close(ours)  # a hangup
    got = sorted(lines())
    os.unlink(heard)
    os.unlink(enough)
    return got


def test_a_signal_by_kill_is_passed_on():
    """As service managers and log rotation send them: to us alone."""
    signals = sorted({signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
                      signal.SIGALRM, signal.SIGPWR, signal.SIGWINCH, signal.SIGRTMIN, signal.SIGRTMIN + 5, signal.SIGRTMAX})

    def send(p, _terminal):
        for sig in signals:
            p.send_signal(sig)

    same(signals_heard(send, len(signals)), sorted(f"{int(sig)} 0" for sig in signals))


def test_a_queued_signal_is_passed_on_as_often_with_its_value():
    """Real-time signals are counted and carry a number."""
    program = compiled("queued", """
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
int main(void)
{
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < 3; i++)
		sigqueue(getppid(), SIGRTMIN + 2, (union sigval){ .sival_int = i }); /* our own: not passed on */
	puts("ready");
	fflush(stdout);
	for (int i = 0; i < 3 && sigwaitinfo(&set, &info) > 0; i++)
		printf("%d %d\\n", info.si_code == SI_QUEUE, info.si_value.sival_int);
	return 0;
}
""", include="", flags=())
    p = subprocess.Popen([HUGENUMA, "run", "-q", "--", program], env=environment(), stdout=subprocess.PIPE, text=True)
    STARTED.append(p)
    same(p.stdout.readline(), "ready\n")
    libc = ctypes.CDLL(None)
    for value in (7, 7, 9):
        same(libc.sigqueue(p.pid, signal.SIGRTMIN + 1, ctypes.c_void_p(value)), 0)
    same(p.communicate(timeout=TIMEOUT)[0], "1 7\n1 7\n1 9\n")


def test_what_the_program_sends_to_its_group_it_gets_once():
    same(signals_heard(lambda p, _: None, 1, str(int(signal.SIGUSR1))), [f"{int(signal.SIGUSR1)} 0"])


def test_what_the_terminal_sends_comes_once():
    def send(_p, terminal):
        os.write(terminal, b"\x03")
        os.write(terminal, b"\x1c")
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
        return terminal

    wanted = [f"{int(sig)} kernel" for sig in (signal.SIGINT, signal.SIGWINCH, signal.SIGQUIT)]
    same(signals_heard(send, 3, terminal=True, late=True), sorted(wanted))


def test_a_hangup_comes_once():
    """The kernel tells the session's leader alone; when that has ended, everybody."""
    def hang_up(_p, terminal):
        os.close(terminal)

    for before, how in (((), "0"), (("sh", "-c", '"$@"; :', "sh"), "kernel")):
        same(signals_heard(hang_up, 1, terminal=True, before=before), [f"{int(signal.SIGHUP)} {how}"], before)


SIGNAL_STATE = "import re; print(re.findall('(?m)^Sig(?:Blk|Ign|Cgt).*', open('/proc/self/status').read()))"


def test_program_gets_signals_as_they_were():
    def ignore_some():
        for sig in (signal.SIGHUP, signal.SIGCHLD, signal.SIGINT):
            signal.signal(sig, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])

    program = [sys.executable, "-c", SIGNAL_STATE]
    for prepare in (None, ignore_some):
        bare = subprocess.run(program, capture_output=True, text=True, preexec_fn=prepare, check=True).stdout
        same(run("-q", "--", *program, preexec_fn=prepare).stdout, bare, "signal state")


def test_ignored_sigchld_loses_no_status():
    r = run("-q", "--", "sh", "-c", "exit 6", preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    same(r.returncode, 6)


def test_program_gets_no_descriptor_of_ours():
    bare = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True, check=True,
                          stdin=subprocess.DEVNULL).stdout
    same(run("-q", "--report", path("fd.json"), "--", "ls", "/proc/self/fd").stdout, bare)


def test_the_program_is_the_service():
    """What is for the process that the service manager has started is for the program; what is for another stays so."""
    names = ("WATCHDOG_PID", "LISTEN_PID", "LISTEN_PIDFDID")
    show = f"echo $$ {' '.join('${' + name + '-none}' for name in names)}"
    for value, wanted in (("$$", "{0} {0} none"), ("1$$", "1{1} 1{1} 5"), ("", "none none 5")):
        p = subprocess.Popen(["sh", "-c", f"WATCHDOG_PID={value} LISTEN_PID={value} LISTEN_PIDFDID=5; "
                              "export WATCHDOG_PID LISTEN_PID LISTEN_PIDFDID; exec \"$@\"", "sh", HUGENUMA, "run", "-q", "--",
                              "sh", "-c", show.replace("-none", ":-none")], env=environment(), stdout=subprocess.PIPE, text=True)
        pid, said = p.communicate(timeout=TIMEOUT)[0].split(maxsplit=1)
        same(said.strip(), wanted.format(pid, p.pid), value)


def test_the_first_process_of_a_container_takes_orphans_away():
    need_root()
    script = f"""
sh -c 'sleep 0.3 & echo $! >{path("orphan")}'
for i in $(seq 100); do
	sleep 0.1
	state=$(cut -d' ' -f3 /proc/$(cat {path("orphan")})/stat 2>/dev/null)
	[ "$state" ] || break
done
echo ${{state:-gone}}
exit 7"""
    r = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", HUGENUMA, "run", "-q", "--", "sh", "-c", script],
                       env=environment(), capture_output=True, text=True, timeout=TIMEOUT)
    if "unshare:" in r.stderr:
        raise Skip(r.stderr.strip())
    same((r.returncode, r.stdout, r.stderr), (7, "gone\n", ""))


def test_broken_stderr_harms_nobody():
    """The pipe breaks at the first line; the program runs to its end and nothing is left behind."""
    r = subprocess.run(f"sh -c 'echo $$ >{path('pid')}; exec {HUGENUMA} run --progress -- sh -c \"sleep 1.3; echo ran "
                       f">{path('ran')}\"' 2>&1 | true; while [ ! -e {path('ran')} ]; do sleep 0.1; done",
                       shell=True, env=environment(), timeout=TIMEOUT)
    same(r.returncode, 0)
    with open(path("pid"), encoding="ascii") as f:
        LAST.append(int(f.read()))
    patiently(lambda: not run_dirs(), "run directories left")


def test_closed_stderr_harms_nobody():
    """Lines meant for standard error do not end up in a file of ours, and the program finds it closed."""
    r = subprocess.run(f"{HUGENUMA} run --report {path('closed.json')} -- sh -c 'ls /proc/self/fd; exit 8' 2>&-; echo $?; "
                       "exec 2>&-; ls /proc/self/fd",
                       shell=True, env=environment(), stdout=subprocess.PIPE, text=True, timeout=TIMEOUT)
    inside, outside = r.stdout.split("8\n")
    same(inside, outside, "descriptors")
    with open(path("closed.json"), encoding="utf-8") as f:
        report = json.load(f)
    same((report["exit_status"], report["managed_count"]), (8, 2))


# ---- the environment of the program ----

def test_preload_and_run_file():
    script = ("echo $LD_PRELOAD; echo $HUGENUMA_SHM; stat -c '%a %F' $(dirname $HUGENUMA_SHM) $HUGENUMA_SHM; "
              "stat -c %s $HUGENUMA_SHM")
    lines = run("-q", "--", "sh", "-c", script).stdout.splitlines()
    same(lines[0], AGENT)
    found(rf"^/dev/shm/hugenuma\.{os.geteuid()}\.\d+\.[0-9a-f]{{16}}/run$", lines[1])
    same(lines[2:4], ["700 directory", "600 regular file"])
    if int(lines[4]) < 1 << 20:
        raise AssertionError(f"run file of {lines[4]} bytes")
    same(run_dirs(), [], "run directories left")


def test_existing_preload_is_kept():
    other = path("other.so")
    shutil.copy(AGENT, other)
    script = ["-q", "--", "sh", "-c", "echo $LD_PRELOAD"]
    same(run(*script, env={"LD_PRELOAD": other, "FAKE_MODE": "unloaded"}).stdout, f"{AGENT}:{other}\n")
    both = f"{other}:{AGENT}"
    same(run(*script, env={"LD_PRELOAD": both, "FAKE_MODE": "unloaded"}).stdout, both + "\n", "not twice")


def test_umask_does_not_open_the_run_file():
    r = run("-q", "--", "sh", "-c", "stat -c %a $HUGENUMA_SHM", preexec_fn=lambda: os.umask(0))
    same(r.stdout, "600\n")


# ---- options ----

NUMBERS = {"--period-ms": (1, 600000), "--window-mib": (2, 1048576), "--handlers": (1, 16),
           "--max-armed-mib": (2, 65536), "--min-mib": (2, 1048576), "--seed": (0, 4294967295), "--settle-ms": (0, 3600000), "--period-min-ms": (1, 600000), "--period-max-ms": (1, 600000),
           "--cpu-percent": (0, 1600), "--budget-mib-s": (0, 1048576), "--max-stall-us": (0, 10000000)}


def test_bad_numbers():
    for option, (low, high) in NUMBERS.items():
        for bad in ("", "x", "1x", " 5", "+5", "-1", "0x10", "5.5", str(low - 1), str(high + 1), "18446744073709551617"):
            r = run(f"{option}={bad}", "--", "touch", path("marker"))
            same(r.returncode, 125, f"{option}={bad}")
            found(re.escape(f"{option}: '{bad}': expected a whole number"), r.stderr)
            found(rf"from {low} to {high}$", r.stderr)
            same(os.path.exists(path("marker")), False, "program started")


def test_bad_words():
    for option, words in (("--mover", "copy or kernel"), ("--arm", "auto, move or rwp"),
                          ("--initial-node", "first or interleave"),
                          ("--policy", "automatic, kernel, two-stage, first-touch, observe, always, alternate or random")):
        for bad in ("", "x", "Copy", "two"):
            r = run(f"{option}={bad}", "--", "true")
            same(r.returncode, 125, f"{option}={bad}")
            found(re.escape(f"{option}: '{bad}': expected {words}"), r.stderr)


def test_bad_topologies():
    for bad, text in (("", "expected an hwloc"), ("x", "'x' is no topology: expected an hwloc synthetic"),
                      ("node:0 pu:2", "is no topology"), ("node:65 pu:1", "more than 64 NUMA nodes"),
                      ("/none.xml", "cannot read topology file /none.xml: No such"), (path("bad.xml"), "is no topology")):
        with open(path("bad.xml"), "w", encoding="ascii") as f:
            f.write("<topology><object/>\n")
        r = run(f"--topology={bad}", "--", "true")
        same(r.returncode, 125, f"--topology={bad}")
        found(f"^hugenuma run: --topology: .*{text}", r.stderr)
    # hwloc falls on the one (2.9, without libxml2), and counts the other to the end of memory and patience
    with open(path("falls.xml"), "w", encoding="ascii") as f:
        f.write('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE topology SYSTEM "hwloc2.dtd">\n<topology version="2.0"')
    for bad in (path("falls.xml"), "pu:99999999"):
        r = run(f"--topology={bad}", "--", "true")
        same(r.returncode, 125, f"--topology={bad}")
        found(f"^hugenuma run: --topology: '{bad}'(: hwloc makes no machine of it| is no topology)", r.stderr)


def test_usage_errors():
    for args, text in (((), "expected a command"), (("nonsense",), "'nonsense': no such command"),
                       (("--nonsense",), "unrecognized option"), (("run",), "expected a program"),
                       (("run", "--"), "expected a program"), (("run", "--nonsense", "true"), "unrecognized option"),
                       (("run", "--period-ms"), "requires an argument"), (("doctor", "x"), "expected no argument"),
                       (("doctor", "--nonsense"), "unrecognized option"), (("help", "nonsense"), "no such command"),
                       (("help", "run", "run"), "expected one command"), (("list", "x"), "expected no argument"),
                       (("stop",), "expected a PID"), (("pause", "1x"), "'1x': expected a PID"),
                       (("resume", "0"), "'0': expected a PID"), (("stop", "1", "2"), "'2': expected one PID"),
                       (("stop", "99999999999999999999"), "expected a PID")):
        r = command(*args)
        same((r.returncode, r.stdout), (125, ""), f"hugenuma {args}")
        found(re.escape(text), r.stderr)
        found(r"^Try `hugenuma.* --help' or `hugenuma.* --usage' for more\sinformation\.$", r.stderr, f"hugenuma {args}")


def test_help_everywhere():
    for args, words in ((("--help",), ("run", "doctor", "help")), (("help",), ("run", "doctor", "help")),
                        (("help", "help"), ("run", "doctor")), (("help", "doctor"), ("--json",)),
                        (("doctor", "--help"), ("--json",))):
        r = command(*args)
        same((r.returncode, r.stderr), (0, ""), f"hugenuma {args}")
        for word in words:
            found(re.escape(word), r.stdout, f"hugenuma {args}")
    same(command("help", "run").stdout, command("run", "--help").stdout)
    commands = re.findall(r"(?m)^  (\w+) +\w", command("help").stdout)
    same({"run", "top", "report", "explain", "advise", "metrics", "serve", "list"} <= set(commands), True, commands)
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        readme = f.read()
    for name in commands:
        if name not in ("help", "check"):  # these have no status of their own to tell
            found("Exit status: ", command(name, "--help").stdout, f"hugenuma {name} --help")
        if name != "help":
            found(rf"^    hugenuma .*\b{name}\b", readme, "README.md")
    text = re.sub(r"\s+", " ", command("run", "--help").stdout)
    for option, (low, high) in NUMBERS.items():
        found(rf"{option}=N .*?{low}\.\.{high}.*?\(default \d+\)", text)
    for option in ("topology", "mover", "arm", "policy", "initial-node", "start-now", "explicit-policy", "progress", "report",
                   "quiet"):
        found(f"--{option}", text)


def test_help_of_policies():
    """Too many names for the column of options: none of its lines is longer than the others, or blank."""
    text = command("run", "--help").stdout
    found(r"^ +--policy=NAME\|FILE\.so +when pages migrate", text)
    same([line for line in text.splitlines() if len(line) > 80], [], "long lines")
    about = re.sub(r"\s+", " ", text[text.index("--policy="):text.index("--promote-mib-s=")])
    found("NAME: automatic, kernel, two-stage, first-touch, observe, always, alternate, random .default automatic.", about)


def test_output_that_cannot_be_written():
    """One line and 125, whatever the command, and whoever ends it; of a large result, too."""
    with Living() as p:
        report = path("large.json")
        with open(report, "w", encoding="utf-8") as f:
            f.write(command("report", "--format=json", p.pid).stdout)
        commands = [("list",), ("ctl",), ("ctl", p.pid, "get"), ("metrics",), ("explain", p.pid, hex(ARENA)), ("advise", p.pid),
                    ("top",), ("top", "-b", "-d0.1"), ("top", "-p", p.pid, "--screen=nodes"), ("doctor",), ("doctor", "--json"),
                    ("help",), ("--help",), ("--usage",), ("--version",), ("help", "run"), ("run", "--help"), ("top", "--help")]
        commands += [("report", f"--format={f}", what) for f in ("text", "json", "csv", "html") for what in (p.pid, report)]
        for args in commands:
            with open("/dev/full", "wb") as full:
                r = subprocess.run([HUGENUMA, *args], env=environment(), stdout=full, stderr=subprocess.PIPE, text=True,
                                   timeout=TIMEOUT)
            same((r.returncode, r.stderr), (125, "hugenuma: cannot write the result: No space left on device\n"), args)
    with open("/dev/full", "wb") as full:  # what is the program's, is none of our business
        r = subprocess.run([HUGENUMA, "run", "-q", "--", "sh", "-c", "exit 3"], env=environment(), stdout=full, stderr=subprocess.PIPE,
                           text=True, timeout=TIMEOUT)
    same((r.returncode, r.stderr), (3, ""))


def test_version():
    r = command("--version")
    same((r.returncode, bool(re.fullmatch(r"hugenuma \d+\.\d+\.\d+\n", r.stdout))), (0, True), r.stdout)
    same(command("run", "--version").stdout, r.stdout)


# ---- what the agent is passed ----

def test_configuration_is_passed():
    got = passed()
    same(got["magic_ok"], "1 sizes_ok=1")
    same(got["config"], "1000 256 2 0 0 1 1024 16 0 0 0 0 60000 250 60000 10 1024 0 0 0", "defaults")
    got = passed("--topology=node:64 pu:1", "--period-ms=1", "--window-mib=1048576", "--handlers=16", "--mover=kernel", "--policy=random",
                 "--seed=4294967295", "--max-armed-mib=65536", "--min-mib=2", "--start-now",
                 "--initial-node=interleave", "--explicit-policy", "--shared=spread", "--settle-ms=5",
                 "--period-min-ms=6", "--period-max-ms=7", "--cpu-percent=8", "--budget-mib-s=9", "--max-stall-us=10", "--nodes=0,2,5,63", "--arm=move")
    same(got["config"], "1 1048576 16 1 7 4294967295 65536 2 1 1 1 1 5 6 7 8 9 10 8000000000000025 1", "all set")
    for i, policy in enumerate(("automatic", "kernel", "two-stage", "first-touch", "observe", "always", "alternate",
                                "random")):
        same(passed("--policy", policy)["config"].split()[4], str(i), policy)


NODES_64 = "--topology=node:64 pu:1"
NODES_0_2_7 = {"HWLOC_XMLFILE": XML, "HWLOC_THISSYSTEM": "1"}  # real ones, as far as anybody can tell


def test_nodes():
    for text, nodes in (("all", 0), ("0", 1), ("63", 1 << 63), ("0-63", (1 << 64) - 1), ("1-3,5", 0b101110), ("2,2-2", 4)):
        same(int(passed(NODES_64, "--nodes", text)["config"].split()[-2], 16), nodes, text)
    for bad in ("", "64", "1-", "-1", "3-1", "1,", ",1", "1 2", "x", "all,1", "0-64", "000"):
        r = run(f"--nodes={bad}", "--", "true")
        same(r.returncode, 125, bad)
        found(re.escape(f"--nodes: '{bad}': expected nodes from 0 to 63 as in 0-2,5, or all"), r.stderr)


def test_nodes_must_be_there():
    """By the numbers of the kernel, which may have holes; wherever they were named."""
    four, there = "--topology=node:4 pu:1", "there is no node {}; there are 0-3"
    for args, env, text in (((four, "--nodes=9"), {}, "--nodes (node.allowed): " + there.format(9)),
                            ((four, "--nodes=0-4"), {}, "--nodes (node.allowed): " + there.format(4)),
                            ((four, "--nodes=63"), {}, "--nodes (node.allowed): " + there.format(63)),
                            ((four, "--set=node.allowed=9"), {}, "--nodes (node.allowed): " + there.format(9)),
                            ((four,), {"HUGENUMA_NODE_ALLOWED": "9"}, "--nodes (node.allowed): " + there.format(9)),
                            ((four, "--slow-nodes=9"), {}, "--slow-nodes (tier.slow): " + there.format(9)),
                            ((four, "--slow-nodes=0-3"), {}, "--slow-nodes (tier.slow): expected one node at least"),
                            (("--nodes=0-2",), NODES_0_2_7, "there is no node 1 with memory; there are 0,2,7"),
                            (("--slow-nodes=3",), NODES_0_2_7, "there is no node 3 with memory; there are 0,2,7")):
        r = run(*args, "--", "touch", path("marker"), env=env)
        same((r.returncode, os.path.exists(path("marker"))), (125, False), args)
        found("^hugenuma: .*" + re.escape(text), r.stderr)
    for args, env in (((four, "--nodes=0-3"), {}), ((four, "--nodes=3", "--slow-nodes=3"), {}), (("--nodes=2,7",), NODES_0_2_7),
                      (("--slow-nodes=7",), NODES_0_2_7)):
        same(passed(*args, env=env)["magic_ok"], "1 sizes_ok=1", args)
    same(passed("--slow-nodes=7", env=NODES_0_2_7)["slow_nodes"], "2", "the second of three")


def test_nodes_of_a_living_process_must_be_there():
    """Refused whole, before the agent hears of it: this one never answers."""
    with Living() as p:
        for bad, text in (("node.allowed=2", "node.allowed: there is no node 2; there are 0-1"),
                          ("node.allowed=0-63", "node.allowed: there is no node 2; there are 0-1")):
            r = command("ctl", p.pid, "set", "scan.period_ms=7", bad)
            same((r.returncode, r.stdout), (1, ""), bad)
            found("^hugenuma: " + re.escape(text), r.stderr)
        found("^scan.period_ms = 1000$", command("ctl", p.pid, "get").stdout)


def config_file(name, text):
    with open(path(name), "w", encoding="ascii") as f:
        f.write(text)
    return path(name)


def settings(*args, **env):
    """Period, window and handlers, as the agent gets them."""
    return passed(*args, env=env)["config"].split()[:3]


def test_settings_go_before_each_other():
    one = config_file("one.conf", "# a comment\n\n  scan.period_ms = 7   # another\nscan.window_mib=8\nagent.handlers=3\n")
    same(settings(HUGENUMA_CONFIG=one), ["7", "8", "3"], "a file")
    same(settings(HUGENUMA_CONFIG=one, HUGENUMA_SCAN_WINDOW_MIB="9"), ["7", "9", "3"], "a file, environment")
    same(settings("--handlers=4", HUGENUMA_CONFIG=one, HUGENUMA_AGENT_HANDLERS="5"), ["7", "8", "4"], "and an option")
    same(settings("--set", "scan.period_ms=11", "--period-ms=12", "--set=scan.window_mib = 13"), ["12", "13", "2"],
         "the last of several")


def test_settings_of_the_user():
    os.mkdir(path("home"))
    os.mkdir(path("home/.config"))
    config_file("home/.config/hugenuma.conf", "scan.period_ms = 21")
    same(settings(HUGENUMA_CONFIG=None, HOME=path("home"), XDG_CONFIG_HOME=None)[0], "21", "~/.config")
    same(settings(HUGENUMA_CONFIG=None, HOME="/", XDG_CONFIG_HOME=path("home/.config"))[0], "21", "XDG_CONFIG_HOME")
    same(settings(HUGENUMA_CONFIG=None, HOME="/", XDG_CONFIG_HOME=None)[0], "1000", "no file")
    if os.geteuid() == 0:  # somebody else's home, as services have it
        os.chmod(path("home"), 0o700)
        r = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", HUGENUMA, "run", "-q", "--", "true"],
                           env=environment(HUGENUMA_CONFIG=None, HOME=path("home"), XDG_CONFIG_HOME=None),
                           capture_output=True, text=True, timeout=TIMEOUT)
        absent("hugenuma.conf", r.stderr, "a home that may not be looked into")


def test_bad_settings():
    for text, error in (("scan.period_ms 5\n", ":1: 'scan.period_ms 5': expected KEY=VALUE"),
                        ("\nscan.period = 5\n", ":2: 'scan.period': no such setting"),
                        ("scan.period_ms = 0", ":1: scan.period_ms: '0': expected a whole number of ms from 1 to 600000"),
                        ("move.mover = both", ":1: move.mover: 'both': expected copy or kernel"),
                        ("agent.start_now = yes", ":1: agent.start_now: 'yes': expected on or off"),
                        ("#" * 600, ":1: expected a line of less than 512 characters")):
        name = config_file("bad.conf", text)
        r = run("--", "touch", path("marker"), env={"HUGENUMA_CONFIG": name})
        same(r.returncode, 125, text)
        found(re.escape(f"hugenuma: {name}{error}"), r.stderr)
    for env, error in (({"HUGENUMA_CONFIG": "/none.conf"}, "/none.conf: cannot be read: No such file"),
                       ({"HUGENUMA_CONFIG": "/"}, "/: cannot be read: Is a directory"),
                       ({"HUGENUMA_MOVE_MOVER": ""}, "environment: HUGENUMA_MOVE_MOVER: '': expected copy or kernel")):
        r = run("--", "touch", path("marker"), env=env)
        same(r.returncode, 125, env)
        found(re.escape(error), r.stderr)
    for value, error in (("x", "--set: 'x': expected KEY=VALUE"), ("=", "--set: '': no such setting"),
                         ("x=" + "y" * 600, "expected KEY=VALUE in less than")):
        r = run("--set", value, "--", "touch", path("marker"))
        same(r.returncode, 125, value)
        found(re.escape(error), r.stderr)
    same(os.path.exists(path("marker")), False, "program started")


def test_settings_are_listed():
    keys = re.findall(r"^(\S+) = (\S+)$", command("ctl").stdout, re.M)
    same(len(keys) > 10, True, keys)
    text = "".join(f"{key} = {value}\n" for key, value in keys)
    same(passed(env={"HUGENUMA_CONFIG": config_file("all.conf", text)})["config"], passed()["config"], "defaults, written out")
    for args, status, error in ((("0",), 125, "'0': expected a PID"), (("1",), 125, "expected get or set"),
                                (("1", "put"), 125, "'put': expected get or set"),
                                (("1", "set"), 125, "expected KEY=VALUE"), (("1", "get"), 1, "1: no managed process")):
        r = command("ctl", *args)
        same((r.returncode, r.stdout), (status, ""), args)
        found(re.escape(error), r.stderr)


def cpus_of_this_machine():
    """hwloc shows what the control group allows; so does the affinity of a process that nobody has narrowed."""
    return sorted(os.sched_getaffinity(0))


def test_virtual_nodes():
    cpus = cpus_of_this_machine()
    for topology, nodes in (("node:2 pu:1", 2), ("numa:3 pu:4", 3), ("pack:2 node:2 pu:8", 4), ("node:64 pu:1", 64)):
        got = passed("--topology", topology)
        same((got["nr_nodes"], got["is_virtual"]), (str(nodes), "1"), topology)
        same(got["os_nid"].split(), ["0"] * nodes)
        same(got["deal_threads"], "1" if len(cpus) < nodes else "0", topology)
        distances = [10 if i == j else 20 for i in range(nodes) for j in range(nodes)]
        same([int(d) for d in got["distance"].split()], distances, topology)
        dealt = [int(n) for n in got["cpu_node"].split()]
        same(dealt[cpus[0]], 0, "first CPU")
        same(len(set(dealt) - {-1}), min(nodes, len(cpus)), "nodes that have a CPU")
        if dealt != sorted(dealt):
            raise AssertionError(f"{topology}: CPUs not dealt in blocks: {dealt}")


def test_virtual_nodes_from_xml():
    """Its last node has memory only, so no CPU is dealt to it."""
    got = passed("--topology", XML)
    same((got["nr_nodes"], got["is_virtual"]), ("3", "1"))
    same(got["distance"].split(), "10 21 22 21 10 23 22 23 10".split())
    absent("2", got["cpu_node"], "CPU dealt to the memory node")


def test_real_nodes():
    """hwloc lets a file stand for this machine: the way through that machines with several nodes take."""
    env = {"HWLOC_XMLFILE": XML, "HWLOC_THISSYSTEM": "1"}
    got = passed(env=env)
    same((got["nr_nodes"], got["is_virtual"], got["deal_threads"]), ("3", "0", "0"))
    same(got["os_nid"].split(), ["0", "7", "2"])
    same(got["cpu_node"].split(), ["0", "0", "1", "1"])
    same(got["distance"].split(), "10 21 22 21 10 23 22 23 10".split())
    absent("virtual", run("--", "true", env=env).stderr)
    found("real NUMA nodes not used: balancing over 2 virtual", run("--topology=node:2 pu:1", "--", "true",
                                                                   env=env).stderr)
    r = run("--", "true", env={"HWLOC_XMLFILE": XML})
    same(r.returncode, 125)
    found("HWLOC_XMLFILE", r.stderr)


def xml_with_memory(latency, bandwidth):
    """The same machine, where the firmware says so much of nodes 0, 7 (with CPUs) and 2; None: it does not."""
    with open(XML, encoding="ascii") as f:
        text = f.read()
    attributes = ""
    for name, flags, values in (("Latency", 6, latency), ("Bandwidth", 5, bandwidth)):
        attributes += f'<memattr name="{name}" flags="{flags}">\n'
        for gp_index, cpus, value in zip((5, 9, 10), ("0x3", "0xc", "0x3"), values):
            if value is not None:
                attributes += (f'<memattr_value target_obj_type="NUMANode" target_obj_gp_index="{gp_index}" value="{value}"'
                               f' initiator_cpuset="{cpus}"/>\n')
        attributes += "</memattr>\n"
    name = path("memory.xml")
    with open(name, "w", encoding="ascii") as f:
        f.write(text.replace("</topology>", attributes + "</topology>"))
    return name


def test_slow_nodes_by_memory_attributes():
    """Memory without CPUs is slow, unless it is said to be no slower than the slowest that CPUs have beside them."""
    unknown = (None, None, None)
    for latency, bandwidth, slow in ((unknown, unknown, True), ((80, 90, 300), unknown, True), ((80, 90, 90), unknown, False),
                                     ((80, 90, 95), unknown, False), ((80, 90, 102), unknown, True),
                                     ((80, None, 85), unknown, True),  # of one it is not known
                                     (unknown, (9000, 8000, 20000), False), (unknown, (9000, 8000, 3000), True),
                                     ((80, 90, 110), (9000, 8000, 40000), False),  # HBM: a little later, but much more
                                     ((80, 90, 250), (9000, 8000, 9000), True),    # CXL over many lanes
                                     ((80, 90, None), (9000, 8000, 8500), False),
                                     ((None, None, 500), (9000, 8000, None), True)):
        xml = xml_with_memory(latency, bandwidth)
        for args, env in ((("--topology", xml), None), ((), {"HWLOC_XMLFILE": xml, "HWLOC_THISSYSTEM": "1"})):
            got = passed(*args, env=env)
            same((got["nr_nodes"], got["slow_nodes"]), ("3", "4" if slow else "0"), f"{latency}, {bandwidth}, {args}")
            same(passed(*args, "--slow-nodes", "none", env=env)["slow_nodes"], "0")


def test_first_line_says_virtual():
    r = run("--topology=node:3 pu:1", "--", "true")
    first = r.stderr.splitlines()[0]
    found(r"^hugenuma: .*: balancing over 3 virtual nodes \(everything is real but the latency\)$", first)


# ---- the table ----

BLOCK = """\
true (pid PID)
  pages managed     1,700 (3,400 MiB)
  hint faults       90
  local share       25.0 % at start, 87.5 % at end
  migrated          12 (24 MiB)
  refused           22   20 second sample wanted, 2 failed a moment ago
  failed            4   3 no huge page free there, 1 could not be put in place
  raced             2
  waited            8
  stale             7
  not armed         4   3 in use by the kernel or a child, 1 unlike other memory
  no longer huge    2   pages found split
"""


def test_table_of_one_process():
    r = run("--topology=node:2 pu:1", "--", "true")
    text = re.sub(r"\(pid \d+\)", "(pid PID)", r.stderr)
    if BLOCK not in text:
        raise AssertionError(f"wanted\n{BLOCK}\ngot\n{text}")
    found(r"^hugenuma: 2 virtual NUMA nodes", text)
    found(r"^  fault service +p50 (10\.\d|11\.[012]) us +p99 2\.00 ms +max 2\.00 ms$", text)
    found(r"^  migration stall +p50 300 us +p99 300 us +max 300 us$", text)
    found(r"^  agent CPU +0\.02 s, ([\d.]+ %|-) of \d+\.\d s$", text)
    absent("^all ", text)


def test_table_of_several_processes():
    r = run("--", "sh", "-c", "true; /bin/true; /bin/true; :", env={"FAKE_ONLY": "true"})
    same(len(re.findall(r"(?m)^true \(pid \d+\)$", r.stderr)), 2)
    total = r.stderr[r.stderr.index("all 2 processes\n"):]
    for line in (r"peaks added up +3,400 \(6,800 MiB\)", "hint faults +180", "local share +25.0 % at start, 87.5 % at end",
                 r"migrated +24 \(48 MiB\)", "refused +44   40 second sample wanted, 4 failed a moment ago",
                 "failed +8   6 ", "raced +4", "waited +16", "stale +14", "fault service +p50 1.* us +p99 2.00 ms",
                 r"agent CPU +0\.04 s, "):
        found(f"^  {line}", total, "totals")


def test_reasons_for_no_table():
    for mode, text in (("unloaded", "the agent library was never loaded"),
                       ("idle", "none had huge pages worth managing \\(99 MiB"),
                       ("unmanaged", "(?s)true\\): out of luck$.*no process was managed, for the reason given above$"),
                       ("missed", r"(?s)no slot was free$.*1 process found no free slot .* a run has 512, ")):
        r = run("--min-mib=99", "--", "true", env={"FAKE_MODE": mode,
                                                   "FAKE_TEXT": "out of luck" if mode == "unmanaged" else None})
        same(r.returncode, 0)
        found(text, r.stderr, mode)
        found("^hugenuma: no process was managed", r.stderr, mode)
        absent("pages managed", r.stderr, mode)


def test_quiet_is_silent():
    r = run("--quiet", "--", "sh", "-c", "/bin/true; exit 3", env={"FAKE_TEXT": "hello"})
    same((r.returncode, r.stdout, r.stderr), (3, "", ""))


# ---- messages ----

def test_messages_are_printed_once():
    r = run("--", "sh", "-c", "/bin/true; /bin/true; /bin/true; :", env={"FAKE_ONLY": "true", "FAKE_TEXT": "a\tb\033c"})
    same(len(re.findall(r"(?m)^hugenuma: \d+ \(true\): a\?b\?c$", r.stderr)), 1, r.stderr)
    found(r"^hugenuma: 3 processes: a\?b\?c$", r.stderr)
    r = run("--", "true", env={"FAKE_TEXT": "only one"})
    absent("processes: only one", r.stderr)


def test_messages_are_printed_at_once():
    p = subprocess.Popen([HUGENUMA, "run", "--", "sleep", "20"], env=environment(FAKE_TEXT="early"),
                         stderr=subprocess.PIPE, text=True)
    lines = [p.stderr.readline(), p.stderr.readline()]
    p.terminate()
    p.communicate()
    found(r"^hugenuma: \d+ \(sleep\): early$", lines[1])
    same(p.returncode, -signal.SIGTERM)


# ---- progress ----

class Progress:
    """The lines of a run with --progress, as they come; it is ended when the block is left."""
    def __init__(self, *program, **env):
        self.run = subprocess.Popen([HUGENUMA, "run", "--progress", "-q", "--", *program], env=environment(**env),
                                    stderr=subprocess.PIPE, text=True, start_new_session=True)
        STARTED.append(self.run)
        self.lines = []

    def until(self, nr):
        """The next line that tells of so many processes, and the whole seconds since the one before it."""
        while True:
            line = self.run.stderr.readline()
            m = found(r"^hugenuma: +(\d+) s  (\d+) process", line)
            seconds = int(m.group(1)) - (self.lines[-1][0] if self.lines else 0)
            same(seconds > 0, True, f"one line a second at most: {line}")
            self.lines.append((int(m.group(1)), line))
            same(len(self.lines) < 60, True, self.lines)
            if int(m.group(2)) == nr:
                return line, seconds

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.run.terminate()
        self.run.communicate(timeout=TIMEOUT)


def test_progress():
    with Progress("sleep", "60") as p:
        line, seconds = p.until(1)
        m = found(r" s  1 process +128 MiB managed +55\.6 % local +4 armed +(\d+) migrated/s  worst stall 2\.00 ms$", line)
        # 12 of them; a line may have been late by less than a second, and so may the one before
        if not 12 // (seconds + 1) <= int(m.group(1)) or (len(p.lines) == 1 and int(m.group(1)) > 12):
            raise AssertionError(line)
        found(r" s  1 process +128 MiB managed +- local +4 armed +0 migrated/s  worst stall 2\.00 ms$", p.until(1)[0])


def test_progress_adds_up_and_forgets_no_counter():
    """Two at a time; then none, and their migrations do not count twice or backwards."""
    os.symlink(shutil.which("sleep"), path("rest"))
    script = (f"sleep 60 & a=$!; sleep 60 & b=$!; while [ ! -e {path('over')} ]; do {path('rest')} 0.05; done; kill $a $b; wait; "
              f"exec {path('rest')} 60")
    with Progress("sh", "-c", script, FAKE_ONLY="sleep") as p:
        found(r" s  2 processes +256 MiB managed +55\.6 % local +8 armed ", p.until(2)[0])
        at = len(p.lines)
        with open(path("over"), "w", encoding="ascii"):
            pass
        found(r" s  0 processes +0 MiB managed +- local +0 armed +0 migrated/s", p.until(0)[0])
        for _, line in p.lines[at:]:
            found(r" +- local .* +0 migrated/s", line)


# ---- slots ----

def test_slots_are_harvested():
    """More processes than there are slots, one after the other."""
    script = "i=0; while [ $i -lt 150 ]; do /bin/true; /bin/true; /bin/true; /bin/true; sleep 0.005; i=$((i+1)); done"
    report, text = report_of("--", "sh", "-c", script, env={"FAKE_ONLY": "true"})
    same((report["managed_count"], report["slots_missed_count"]), (600, 0))
    same((len(report["processes"]), report["totals"]["samples_count"]), (600, 600 * 90))
    absent("free slot", text)


SLOTS = 512


def until_all_have_come(gate, nr):
    """A script: so many processes at a time, each with a slot of its own, that go when the gate is opened."""
    return (f"i=0; while [ $i -lt {nr} ]; do cat <{gate} >/dev/null & i=$((i+1)); done; "
            f"exec 3>{gate}; touch {path('all-there')}; while [ -e {path('all-there')} ]; do sleep 0.05; done; exec 3>&-; wait")


def missed_so_far(run_pid):
    return json.loads(command("report", "--format=json", str(run_pid)).stdout)["slots_missed_count"]


def test_more_processes_at_one_time_than_there_are_slots():
    """Those that find none run all the same, and are counted; also in the documents the number is what it is."""
    os.mkfifo(path("gate"))
    file = path("crowd.json")
    p = subprocess.Popen([HUGENUMA, "run", "--report", file, "--", "sh", "-c", until_all_have_come(path("gate"), SLOTS + 9)],
                         env=environment(FAKE_ONLY="cat", FAKE_RECORD="0"), stderr=subprocess.PIPE, text=True, start_new_session=True)
    STARTED.append(p)
    for _ in range(1200):
        if os.path.exists(path("all-there")) and len(command("list").stdout.splitlines()) == 1 + SLOTS:
            break
        time.sleep(0.05)
    listed = command("list").stdout.splitlines()
    same(len({line.split()[0] for line in listed[1:]}), SLOTS, "processes in the list")
    patiently(lambda: missed_so_far(p.pid) == 9, "nine found no slot", 30)
    os.unlink(path("all-there"))
    text = p.communicate(timeout=TIMEOUT)[1]
    with open(file, encoding="utf-8") as f:
        report = json.load(f)
    same((p.returncode, report["managed_count"], report["slots_missed_count"]), (0, SLOTS, 9))
    same(report["totals"]["samples_count"], SLOTS * 90)
    found("^hugenuma: 9 processes found no free slot and ran unmanaged: a run has 512, for as many processes at one time", text)
    with open(os.path.join(SRC, "agent/layout.h"), encoding="utf-8") as f:
        found(rf"^#define HN_SHM_SLOTS {SLOTS} ", f.read())
    for name in ("README.md", "docs/compatibility.md", "man/hugenuma-run.1.scd"):
        with open(os.path.join(ROOT, name), encoding="utf-8") as f:
            found(rf"\b{SLOTS} processes\b", f.read(), name)


def crowd_of_agents(nr, look, enough):
    """The report of a run of so many processes at one time, with the real agent. Once enough are seen, look(the run, their pids)."""
    agent, gate, file = os.path.join(os.path.dirname(HUGENUMA), "libhugenuma-agent.so"), path("gate2"), path("crowd2.json")
    if not os.path.exists(agent):
        raise Skip("the agent library is not beside the command")
    os.mkfifo(gate)
    p = subprocess.Popen([HUGENUMA, "run", "-q", "--start-now", "--max-armed-mib=2", "--handlers=1", "--report", file,
                          "--", "sh", "-c", until_all_have_come(gate, nr)],
                         env=environment(HUGENUMA_AGENT=agent), stderr=subprocess.PIPE, text=True, start_new_session=True)
    STARTED.append(p)
    for _ in range(1200):
        pids = [line.split()[0] for line in command("list").stdout.splitlines() if " cat " in line]
        if os.path.exists(path("all-there")) and len(pids) >= enough:
            break
        time.sleep(0.05)
    look(p.pid, pids)
    os.unlink(path("all-there"))
    same((p.communicate(timeout=TIMEOUT)[1], p.returncode), ("", 0))
    os.unlink(gate)
    with open(file, encoding="utf-8") as f:
        return json.load(f)


def test_the_agent_opens_slots_that_were_not_ready():
    """In more processes than the controller has made sure of memory for."""
    def look(_, pids):
        same(len(pids), 140, "processes in the list")
        for pid, text in ((pids[0], "^$"), (pids[-1], f"^hugenuma: {pids[-1]}: has no record: .* came when 128 others had theirs$")):
            r = command("explain", pid, "0x400000")
            same(r.returncode, 0, pid)
            found(text, r.stderr)

    report = crowd_of_agents(140, look, 140)
    same((report["slots_missed_count"], report["unmanaged_count"]), (0, 0))


def resize_shared_memory(size):
    """Of our own only. True when it was done."""
    return OWN_SHARED_MEMORY and ctypes.CDLL(None).mount(b"hugenuma-test", b"/dev/shm", b"tmpfs", 0x20, size) == 0


def test_the_agent_opens_no_slot_without_memory():
    """/dev/shm has room for the slots that are ready, for no record, and for a few slots more: nobody falls on the others."""
    if not resize_shared_memory(b"size=3m"):
        raise Skip("/dev/shm is not ours to make smaller")
    def until_missed(run_pid, _):
        patiently(lambda: missed_so_far(run_pid), "some found no slot", 30)

    try:
        report = crowd_of_agents(160, until_missed, 120)
    finally:
        resize_shared_memory(b"size=50%")
    same(0 < report["slots_missed_count"] < 160 - 120, True, f"{report['slots_missed_count']} found no slot")


def test_slots_of_earlier_images_are_harvested():
    """150 executions in one process, each with a slot of its own."""
    script = path("again.sh")
    with open(script, "w", encoding="ascii") as f:
        f.write('n=$1; [ $n -gt 0 ] || exit 5\nexec sh "$0" $((n-1))\n')
    report, _ = report_of("--", "sh", script, "149", status=5)
    same((report["managed_count"] + report["slots_missed_count"], report["running_count"]), (150, 0))
    if report["managed_count"] < 140:
        raise AssertionError(f"only {report['managed_count']} of 150 images found a slot")
    same(len({p["pid"] for p in report["processes"]}), 1, "pids")


def test_programs_left_running():
    pid_file = path("pid")
    report, text = report_of("--", "sh", "-c", f"sleep 30 >/dev/null 2>&1 & echo $! > {pid_file}; sleep 1; exit 2",
                             env={"FAKE_ONLY": "sleep"}, status=2)
    with open(pid_file, encoding="ascii") as f:
        pid = int(f.read())
    left = run_dirs()
    os.kill(pid, signal.SIGKILL)
    for d in left:
        shutil.rmtree("/dev/shm/" + d)
    same(len(left), 1, "run directories left for it")
    same((report["running_count"], [p["pid"] for p in report["processes"] if p["running"]]), (1, [pid]))
    found(rf"^sleep \(pid {pid}\), still running$", text)


def test_list_and_orders():
    p = started("exec sleep 60", before=f"echo $$ >{path('pid')};", env={"FAKE_ONLY": "sleep"})
    with open(path("pid"), encoding="ascii") as f:
        pid = int(f.read())
    patiently(lambda: listed(pid), "no slot is taken")
    found(rf"^ *{pid}  sleep +running +\d+ +\d+ +\d+\.\d % +\d+ +\d+\.\d$", "".join(listed(pid)))
    p.terminate()
    p.wait(TIMEOUT)
    same(listed(pid), [], "after its end")
    for order in ("stop", "pause", "resume"):
        r = command(order, str(pid))
        same((r.returncode, r.stdout), (1, ""))
        found(f"hugenuma: {pid}: no managed process", r.stderr)


def test_reused_pids_are_not_taken_for_the_same_process():
    """The pid is there, but its process started at another time than the one in the slot."""
    p = started("sleep 30 >/dev/null 2>&1 & echo $! > " + path("pid") + "; sleep 1", args=["--report", path("r.json")],
                env={"FAKE_ONLY": "sleep", "FAKE_TICKS": "1"})
    p.wait(TIMEOUT)
    with open(path("pid"), encoding="ascii") as f:
        os.kill(int(f.read()), signal.SIGKILL)
    with open(path("r.json"), encoding="utf-8") as f:
        report = json.load(f)
    same((report["managed_count"], report["running_count"]), (2, 0))


def test_zombies_are_not_running():
    """A child that has ended and that its parent never waits for, while the parent lives on elsewhere."""
    script = ("import os,subprocess,time\n"
              "if os.fork() == 0:\n"
              "    subprocess.Popen(['sleep', '0.1'])\n"
              "    time.sleep(4); os._exit(0)\n"
              "time.sleep(2)\n")
    report, _ = report_of("--", sys.executable, "-c", script, env={"FAKE_ONLY": "sleep"})
    same((report["managed_count"], report["running_count"]), (1, 0))
    same(run_dirs(), [], "run directories left")


def test_stale_run_directories_are_swept():
    """Of runs whose directory is old: one goes on; of two the controller was killed, and of one of these the program."""
    def started_run(killed):
        p = started("exec sleep 60", before=f"echo $$ >{path('pid')};", env={"FAKE_ONLY": "sleep"})
        with open(path("pid"), encoding="ascii") as f:
            pid = int(f.read())
        patiently(lambda: listed(pid), "no slot is taken")
        LAST.append(p.pid)
        if killed:
            p.kill()
            p.wait()
        return pid, "/dev/shm/" + run_dirs()[0]

    runs = [started_run(False), started_run(True), started_run(True)]

    def dirs_after_a_run():
        run("-q", "--", "true")
        return [os.path.exists(d) for _, d in runs]

    os.kill(runs[2][0], signal.SIGKILL)
    same(dirs_after_a_run(), [True, True, True], "young directories")
    for _, d in runs:
        os.utime(d, (0, 0))
    patiently(lambda: dirs_after_a_run() != [True, True, True], "who was killed has ended")
    same(dirs_after_a_run(), [True, True, False], "old directories")
    os.kill(runs[1][0], signal.SIGKILL)
    patiently(lambda: dirs_after_a_run() == [True, False, False], "the other program has ended too")
    os.kill(runs[0][0], signal.SIGKILL)


# ---- the report ----

def test_report_numbers():
    report, _ = report_of("--topology=node:2 pu:1", "--period-ms=77", "--", "sh", "-c", "/bin/true; exit 3",
                          env={"FAKE_ONLY": "true", "FAKE_TEXT": "note"}, status=3)
    same((report["schema_version"], report["exit_status"], report["program"]), (1, 3, ["sh", "-c", "/bin/true; exit 3"]))
    same((report["loaded_count"], report["managed_count"], report["idle_count"], report["unmanaged_count"]), (2, 1, 0, 0))
    same((report["config"]["period_ms"], report["config"]["topology"]), (77, "node:2 pu:1"))
    same([n["distances"] for n in report["machine"]["nodes"]], [[10, 20], [20, 10]])
    same(report["messages"], [{"text": "note", "processes_count": 1}])
    p = report["processes"][0]
    same((p["command"], p["message"], p["mover"], p["running"]), ("true", "note", "copy", False))
    same((report["config"]["arm"], p["arm"]), ("auto", "rwp"))
    for key, value in {"managed_peak_pages": 1700, "armed_count": 100, "armed_now_pages": 4, "disarmed_count": 96,
                       "fault_messages_count": 112, "samples_count": 90, "local_count": 50, "migrated_pages": 12,
                       "refused_count": 22, "failed_count": 4, "raced_count": 2, "stale_count": 7, "waited_count": 8,
                       "deferred_count": 1, "unmanaged_faults_count": 6, "lost_huge_pages": 2, "local_start_percent": 25,
                       "local_start_samples_count": 40, "local_end_percent": 87.5, "local_end_samples_count": 40,
                       "samples_from_node_count": [60, 30], "migrated_to_node_pages": [0, 12]}.items():
        same(p[key], value, key)
        same(report["totals"][key], value, "totals." + key)
    same(p["refused"], {"filter_count": 20, "no_node_count": 0, "observe_count": 0, "held_count": 2, "shared_count": 0,
                        "settling_count": 0, "nodes_count": 0, "budget_count": 0, "stall_count": 0, "once_count": 0, "policy_count": 0,
                        "policy_invalid_count": 0, "thread_count": 0, "room_count": 0, "cold_count": 0, "rate_count": 0,
                        "tier_count": 0, "low_count": 0})
    same(p["failed"], {"target_count": 3, "isolate_count": 0, "copy_count": 0, "commit_count": 1, "stall_count": 0})
    same(p["disarmed"], {"fault_count": 90, "expiry_count": 5, "event_count": 1, "drain_count": 0})
    same((p["agent"]["cpu_ns"], p["agent"]["memory_bytes"], p["agent"]["scans_count"]), (20000000, 1000000, 5))
    same([s["time_ms"] for s in p["series"]], [500, 1000, 2000, 3000])
    same(p["series"][1], {"time_ms": 1000, "samples_count": 40, "local_count": 10, "migrated_pages": 4, "armed_count": 50})


def test_report_percentiles():
    times = report_of("--", "true")[0]["processes"][0]["fault_service"]
    same((times["faults_count"], times["max_ns"], times["mean_ns"]), (90, 2000000, (80 * 10000 + 9 * 100000 + 2000000) // 90))
    for key, exact in (("p50_ns", 10000), ("p90_ns", 100000), ("p99_ns", 2000000), ("p999_ns", 2000000)):
        if not exact <= times[key] <= exact * 1.125:
            raise AssertionError(f"{key} is {times[key]}, should be {exact} to {exact * 1.125}")


def test_report_without_processes():
    report, _ = report_of("--", "true", env={"FAKE_MODE": "idle"})
    same((report["processes"], report["idle_count"], report["totals"]["samples_count"]), ([], 1, 0))
    same((report["totals"]["local_start_percent"], report["totals"]["local_end_percent"]), (None, None))


def test_report_survives_odd_arguments():
    report, _ = report_of("--", "sh", "-c", "exit 0", b"\xff\xfe")
    same(report["program"][3], "??")


def key_paths(value, prefix=""):
    """All key paths of a JSON value; elements of an array share one, ending in []."""
    if isinstance(value, dict):
        return {p for k, v in value.items() for p in key_paths(v, f"{prefix}.{k}" if prefix else k)}
    if isinstance(value, list):
        return {p for v in value for p in key_paths(v, prefix + "[]")}
    return {prefix}


def documented_paths(text):
    paths = set()
    for section in text.split("\n## ")[1:]:
        m = re.search(r"^Keys below start with (`.*?`) and (`.*?`);", section, re.M)
        prefixes = [g.strip("`") for g in m.groups()] if m else [""]
        for key, meaning in re.findall(r"^\| `([^`]+)` \| (.*?) \|$", section, re.M):
            if not meaning.strip():
                raise AssertionError(f"{key} has no meaning")
            paths |= {p + key for p in prefixes}
    return paths


def test_report_keys_are_documented():
    report, _ = report_of("--", "true", env={"FAKE_TEXT": "x", "FAKE_PLUGIN": "1"})
    with Living() as p:
        live = json.loads(command("report", "--format=json", p.pid).stdout)
    with open(os.path.join(ROOT, "docs", "report.md"), encoding="utf-8") as f:
        documented = documented_paths(f.read())
    reported = key_paths(report) | key_paths(live)
    same(sorted(reported - documented), [], "reported, not documented")
    same(sorted(documented - reported), [], "documented, not reported")


def test_outcomes_are_documented():
    """Those of the engine that can be on record, by name and by number; and in the library's header."""
    with open(os.path.join(SRC, "core/types.h"), encoding="utf-8") as f:
        outcomes = re.findall(r"HN_FAULT_(\w+),", f.read().split("enum hn_outcome {")[1].split("HN_NR_OUTCOMES")[0])
    def row(name, start):
        with open(os.path.join(ROOT, name), encoding="utf-8") as f:
            return next(line for line in f if line.startswith(start))
    with open(os.path.join(ROOT, "include/hugenuma.h"), encoding="utf-8") as f:
        header = f.read()
    report, tracing = row("docs/report.md", "| `processes[].decisions[].outcome`"), row("docs/tracing.md", "| outcome ")
    recorded = [o for o in outcomes if o not in ("UNMANAGED", "STALE", "DEFERRED")]
    same(len(recorded), 7, outcomes)
    for outcome in recorded:
        found(f"`{outcome.lower()}`", report, "docs/report.md")
        found(rf"\b{outcomes.index(outcome)} {outcome.lower()}\b", tracing, "docs/tracing.md")
        found(rf"HUGENUMA_{outcome} = {outcomes.index(outcome)},", header, "hugenuma.h")


def test_report_goes_to_its_place():
    """Through a symbolic link, over an old report; nothing else is left in the directory."""
    d = path("reports")
    os.mkdir(d)
    with open(d + "/real.json", "w", encoding="ascii") as f:
        f.write("old")
    os.symlink("real.json", d + "/link.json")
    same(run("-q", "--report=" + d + "/link.json", "--", "true").returncode, 0)
    same(sorted(os.listdir(d)), ["link.json", "real.json"])
    same(os.path.islink(d + "/link.json"), True, "still a link")
    with open(d + "/real.json", encoding="ascii") as f:
        same(json.load(f)["exit_status"], 0)


def test_unwritable_report_is_refused_early():
    marker = path("marker")
    device = path("null")
    os.mkfifo(device)
    for bad in (path("none/report.json"), TMP, device, "", "/proc/report.json"):
        r = run(f"--report={bad}", "--", "touch", marker)
        same(r.returncode, 125, bad)
        found("--report: ", r.stderr)
        same(os.path.exists(marker), False, f"program started with {bad!r}")
    same(stat.S_ISFIFO(os.stat(device).st_mode), True, "still a fifo")


def test_report_lost_later_keeps_the_status():
    d = path("gone")
    os.mkdir(d)
    r = run(f"--report={d}/report.json", "--", "sh", "-c", f"rmdir {d}; exit 3")
    same(r.returncode, 3)
    found(f"^hugenuma: --report: cannot write {d}/report.json: No such file", r.stderr)


# ---- ways to arm ----

def test_arm_rwp_is_refused_where_the_kernel_cannot():
    """Then nothing is started; where it can, the program runs."""
    ways = [c["found"] for c in json.loads(command("doctor", "--json").stdout)["checks"] if c["name"] == "arming"]
    r = run("--arm=rwp", "--", "sh", "-c", "echo started")
    if ways and ways[0].startswith("move"):
        same((r.returncode, r.stdout), (125, ""))
        found("--arm rwp: .*Linux 7.3 or later", r.stderr)
    else:
        same((r.returncode, r.stdout), (0, "started\n"))
    same(run("--arm=move", "--", "sh", "-c", "exit 4").returncode, 4)
# ---- explain ----

class Living:
    """A managed `sleep` with a record; its pid is known, and it has ended when the block is left."""
    def __init__(self, args=("--topology=node:2 pu:1",), **env):
        self.args, self.env = args, {"FAKE_ONLY": "sleep", "FAKE_PLACE": "1", **env}

    def __enter__(self):
        self.run = started("exec sleep 60", before=f"echo $$ >{path('pid')};", args=self.args, env=self.env)
        with open(path("pid"), encoding="ascii") as f:
            self.pid = f.read().strip()
        while not any(line.split()[0] == self.pid for line in command("list").stdout.splitlines()):
            same(self.run.poll(), None, "ended early")
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.run.terminate()
        self.run.wait(TIMEOUT)


ARENA = 0x7F0000000000
PAGE = 1 << 21


def test_explain_a_managed_page():
    with Living() as p:
        r = command("explain", p.pid, hex(ARENA + 4711))
        same((r.returncode, r.stderr), (0, ""))
        for line in (rf"0x7f0000001267: in the 2 MiB page at 0x7f0000000000 of sleep \(pid {p.pid}\)\.",
                     r"The page is managed and lies on node 1; it is in place, without a hint\.",
                     r"The last sample of it: thread 101 on node 0\.",
                     r"It is not moved for another 2\.5 s: moving it has failed 3 times in a row\.",
                     r"Its region 0x7f0000000000-0x7f0008000000: 60 pages managed, 4 samples in the last 10 to 20 s, "
                     r"25\.0 % of them local\.",
                     r"Decided about it, the latest last \(3 on record\):",
                     r" +[\d.]+ s ago  thread 101 on node 1 touched the page on node 0: it was left there, because this was the "
                     r"first sample of it and two in a row from one node are wanted \(automatic, rule filter; the thread waited "
                     r"20\.0 us\)\.",
                     r" +[\d.]+ s ago  thread 101 on node 1 touched the page on node 0: it was moved to node 1, because the sample "
                     r"before came from there too \(automatic, rule node; the thread waited 310 us\)\.",
                     r" +[\d.]+ s ago  thread 102 touched the page while it was being decided about, and waited for that\.",
                     r"What would change it: one more sample from node 0 in a row moves it there\."):
            found(f"^{line}$", r.stdout)
        one = command("explain", "--decisions=1", p.pid, f"{ARENA:x}").stdout
        found(r"\(3 on record\):\n +[\d.]+ s ago  thread 102 touched", one)
        absent("was moved", one)
        failed = command("explain", p.pid, hex(ARENA + 2 * PAGE)).stdout
        found("it was to move to node 1 and did not: no huge page was free there; it is where it was", failed)
        found("^No decision about this page is on record", command("explain", p.pid, hex(ARENA + 9 * PAGE)).stdout)
        absent("has bound it", r.stdout)
    for bound, text, change in (("0x2", "node 1", "two samples in a row from one other node of these move it there"),
                                ("0x23", "nodes 0, 1, 5", "one more sample from node 0 in a row moves it there")):
        with Living(FAKE_PLACE="1", FAKE_BOUND=bound) as p:
            out = command("explain", p.pid, hex(ARENA)).stdout
            found(rf"^The program has bound it to {text}\.$", out)
            found(rf"^What would change it: {change}\.$", out)


def test_explain_a_page_on_a_slow_node():
    with Living(args=("--topology=node:2 pu:1", "--slow-nodes=1"), FAKE_PLACE="1") as p:
        found(r"^What would change it: it is on a slow node; touched within \d+ ms of its next hint, from a fast node that is not "
              r"low on memory, it moves there\.$", command("explain", p.pid, hex(ARENA)).stdout)


REFUSED = {  # what explain says of each rule, by the names of the counters
    "filter": "because this was the first sample of it and two in a row from one node are wanted",
    "no_node": "because the node of the thread or of the page is not known",
    "observe": "because the policy only observes; else it had been moved",
    "held": "because it had failed to move a moment ago",
    "shared": "because threads of several nodes use it",
    "settling": "because it came a moment ago, and somebody has had it for a moment only: four samples in a row over a second are wanted then",
    "nodes": "because pages may not go there (--nodes, the program's cpuset, or what it has bound the memory to)",
    "budget": "because as much as may be had been migrated in that second",
    "stall": "because migrations took longer than a thread may be kept waiting, or were given up",
    "once": "because --policy first-touch moves a page with its first sample only",
    "policy": "because the plug-in policy said so",
    "policy_invalid": "because what the plug-in policy said made no sense: there is no such node or rule, or pages may not go there",
    "thread": "because with --move-threads the thread or its group is to come to that node, or it is not decided yet who moves",
    "room": "because the thread's node had less free than its high watermark and a huge page",
    "cold": "because it was not touched soon enough after its hint to be promoted from a slow node",
    "rate": "because as much as may be had been promoted in that second",
    "tier": "because the thread's node is a slow one",
    "low": "because nothing is promoted to the thread's node while it is low on memory (tier.low_permille) and demotes",
}
FAILED = {
    "target": "no huge page was free there", "isolate": "a device uses the page, or it was split",
    "copy": "it could not be copied", "commit": "the new page could not be put in place",
    "stall": "the thread had waited as long as move.max_stall_us allows, so it was given up",
}
MOVED = {
    "first": "because this was the first sample of it",
    "thread": "because the sample before came from the same thread there",
    "node": "because the sample before came from there too",
    "majority": "because none of its last samples came from its own node, though several nodes use it",
    "group": "because the threads that share it use that node far more",
    "spread": "because several nodes use it, and such pages are spread over them",
    "bound": "because the program has bound this range to that node or group of nodes",
    "test": "as a policy for tests has it",
    "policy": "because the plug-in policy said so",
    "hot": "because it was on a slow node, and touched soon after its hint",
    "room": "because it was on a slow node, and there is much room on this one",
}


def sentences():
    """Of each decision that there can be, in the order of the stand-in's pages; by the counters that the report has."""
    report, _ = report_of("--", "true")
    names = {what: [n[:-len("_count")] for n in report["processes"][0][what]] for what in ("refused", "failed", "migrated_for")}
    by_name = {"refused": REFUSED, "failed": FAILED, "migrated_for": MOVED}
    for what, texts in by_name.items():
        same(sorted(names[what]), sorted(texts), what)
    touched = "thread 101 on node 1 touched the page on node 0: "
    unknown = "for a reason this version does not know"
    yield from (f"{touched}it was left there, {REFUSED[n]} (automatic, rule {n}; " for n in names["refused"])
    yield f"{touched}it was left there, {unknown} (automatic"
    failed = f"{touched}it was to move to node 1 and did not: "
    yield from (f"{failed}{FAILED[n]}; it is where it was (automatic, rule {n}; " for n in names["failed"])
    yield f"{failed}{unknown}; it is where it was (automatic"
    yield from (f"{touched}it was moved to node 1, {MOVED[n]} (automatic, rule {n}; " for n in names["migrated_for"])
    yield f"{touched}it was moved to node 1, {unknown} (automatic"
    yield f"{touched}it was to move, but the program changed the memory meanwhile (automatic"
    yield ("nobody had touched the page for several hints, and node 0 was low on memory: it was demoted to node 1 (automatic, "
           "rule cold)")


def explained(subject, wanted):
    """wanted: a sentence for each page from ARENA on."""
    for i, text in enumerate(wanted):
        r = command("explain", subject, hex(ARENA + i * PAGE))
        same((r.returncode, r.stderr), (0, ""))
        if text not in r.stdout:
            raise AssertionError(f"page {i}: wanted {text!r}\n{r.stdout}")


def test_explain_has_a_sentence_for_every_rule():
    with Living(FAKE_PLACE="1", FAKE_DECISIONS="all") as p:
        explained(p.pid, list(sentences()))


def test_plugin_policy_is_shown():
    """Its rules in the table, the report, the metrics and in what is explained; control characters in none."""
    with Living(FAKE_PLACE="1", FAKE_PLUGIN="1") as p:
        out = command("explain", p.pid, hex(ARENA + 3 * PAGE)).stdout
        found(r"it was left there, because it is used\?\? often \(mine, rule often; the thread waited 7\.00 us\)\.$", out)
        found(r"it was moved to node 1, because others use it \(mine, rule other; the thread waited 8\.00 us\)\.$", out)
        metrics = command("metrics").stdout
        found('^hugenuma_policy_stayed_total{pid="%s",command="sleep",policy="mine",rule="often"} 31$' % p.pid, metrics)
        found('^hugenuma_policy_moved_total{pid="%s",command="sleep",policy="mine",rule="other"} 5$' % p.pid, metrics)
    report, r = report_of("--", "true", env={"FAKE_PLUGIN": "1"})
    same(report["processes"][0]["plugin"],
         {"name": "mine", "file": "", "rules": [{"name": "often", "text": "it is used?? often", "stayed_count": 31, "moved_pages": 0},
                                                {"name": "other", "text": "others use it", "stayed_count": 2, "moved_pages": 5}]})
    same([d["plugin_rule"] for d in report["processes"][0]["decisions"] if d["rule"] == "plugin"], ["often", "other"])
    found("^  policy rules      mine   often 31 stayed, other 2 stayed 5 moved$", run("--", "true", env={"FAKE_PLUGIN": "1"}).stderr)


def compiled(name, source, include='#include "hugenuma/policy.h"\n', flags=("-fPIC", "-shared")):
    """A shared object of a few lines, or with other flags a program."""
    file = path(name)
    with open(file + ".c", "w", encoding="ascii") as f:
        f.write(include + source)
    subprocess.run(["cc", "-O1", *flags, "-I" + os.path.join(ROOT, "include"), "-o", file, file + ".c"], check=True)
    os.chmod(file, 0o755)
    return file


POLICY = """
static const struct hugenuma_rule rules[] = {{ "only", "it is so" }};
static void judge(const struct hugenuma_fault *f, struct hugenuma_answer *a) {{ {judge} }}
const struct hugenuma_policy {symbol} = {{ {abi}, {size}, "mine", "for a test", rules, 1, 0, judge }};
"""


def policy_source(symbol="hugenuma_policy", abi=1, size="sizeof(struct hugenuma_policy)", judge="a->node = -1; a->rule = 0;"):
    return POLICY.format(symbol=symbol, abi=abi, size=size, judge=judge)


def test_policies_that_cannot_be_used():
    """Nothing is started: the command has tried the object in a child of its own."""
    good = compiled("good.so", policy_source())
    cases = [(compiled("no-symbol.so", policy_source(symbol="other")), "it exports no hugenuma_policy, expected"),
             (compiled("abi.so", policy_source(abi=99)), "its abi is another, expected HUGENUMA_POLICY_ABI 1"),
             (compiled("size.so", policy_source(size="8")), "its size is another, expected sizeof"),
             (compiled("undefined.so", "void nowhere(void);" + policy_source(judge="nowhere();")), "undefined symbol: nowhere"),
             (compiled("crash.so", policy_source(judge="*(volatile int *)0 = 1;")), "it crashed when it was asked (Segmentation"),
             (compiled("tls.so", "__thread int x;\n" + policy_source(judge="a->node = x++; a->rule = 0;")),
              "it crashed when it was asked"),
             (compiled("hang.so", policy_source(judge="for (;;) __asm__ volatile (\"\");")), "it did not answer within 5 s"),
             (compiled("exit.so", "#include <unistd.h>\n__attribute__((constructor)) static void f(void) { _exit(3); }" +
                       policy_source()), "it ended the process that tried it (status 3)"),
             (path("nothing.so"), "cannot be read: No such file or directory"), ("/etc/passwd", "invalid ELF header"),
             (TMP, "it is no regular file, expected a shared object")]
    shutil.copy(good, path("writable.so"))
    os.chmod(path("writable.so"), 0o775)
    cases.append((path("writable.so"), "others may write to it, expected"))
    if os.geteuid() == 0:
        shutil.copy(good, path("stranger.so"))
        os.chown(path("stranger.so"), 1234, 0)
        cases.append((path("stranger.so"), "it belongs to somebody else, expected"))
    for file, words in cases:
        r = run("--policy", file, "--", "touch", path("marker"))
        same(r.returncode, 125, file)
        found("^hugenuma: policy " + re.escape(f"{file}: {words}"), r.stderr)
        same(os.path.exists(path("marker")), False, "program started")


def test_policies_by_path_and_name():
    good = compiled("good.so", policy_source())
    for text in (good, os.path.relpath(good), os.path.join(TMP, "..", os.path.basename(TMP), "good.so")):
        got = passed("--policy", text)
        same((got["config"].split()[4], got["plugin"]), ("8", good), text)
    got = passed("--policy", "good", env={"HUGENUMA_POLICIES": TMP})
    same((got["config"].split()[4], got["plugin"]), ("8", good), "by name")
    got = passed("--policy", good, "--policy=observe")
    same(got["config"].split()[4], "4", "the last one wins")
    r = run("--policy", "nosuch", "--", "true", env={"HUGENUMA_POLICIES": TMP})
    same(r.returncode, 125)
    found(re.escape("--policy: 'nosuch': expected ") + ".*, the path of a shared object, or its NAME in " + re.escape(TMP), r.stderr)
    r = run("--policy", "/" + "x" * 300, "--", "true")
    same(r.returncode, 125)
    with Living() as p:
        r = command("ctl", p.pid, "set", "policy.name=" + good)
        same(r.returncode, 1)
        found("shared objects are loaded by `hugenuma run --policy' only; process .* has none", r.stderr)


def test_explain_what_is_not_managed():
    """The reason is the agent's where it has one, else what the kernel says of the mapping."""
    places = {2: "it belongs to the agent itself", 4: "is no huge page now", 5: "since a moment ago", 7: "smaller than one",
              8: "memory policy of its own", 9: "too few huge", 10: "more than a quarter", 11: "still growing",
              12: "given back to the kernel", 13: "told to stop", 14: "as many other sets of nodes as the agent can keep apart",
              15: "has not named this range"}
    for place, why in places.items():
        with Living(FAKE_PLACE=str(place)) as p:
            r = command("explain", p.pid, "0x1000")
            same(r.returncode, 0)
            found(f"^The page is not managed: .*{why}", r.stdout)
            found("^What would change it: .*, in 2.5 s at the earliest|^Nothing would change that", r.stdout)


def test_explain_mappings():
    with Living(FAKE_PLACE="6") as p:
        with open(f"/proc/{p.pid}/maps", encoding="ascii") as f:
            maps = [line.split() for line in f]
        cases = (("r-xp", "/", "it is mapped from a file"), ("rw-p", "[stack]", "it is the stack of the first thread"),
                 ("r-xp", "[vdso]", "it is the kernel's own mapping"), ("rw-s", "/dev/shm", "it is shared memory"))
        for perms, name, why in cases:
            start = next(m[0].split("-")[0] for m in maps if m[1] == perms and len(m) > 5 and m[5].startswith(name))
            found(f"^The page is not managed: {re.escape(why)}", command("explain", p.pid, start).stdout, name)
        found("not managed: nothing is mapped there", command("explain", p.pid, "1000").stdout)


def test_explain_errors():
    for args, text in ((("explain",), "expected a PID or a FILE, and an address"),
                       (("explain", "1"), "expected a PID or a FILE, and an address"),
                       (("explain", "0", "0"), "'0': expected a PID"), (("explain", "1", "0x"), "'0x': expected an address"),
                       (("explain", "1", "-1"), "'-1': "), (("explain", "1", "0x0x1"), "expected an address"),
                       (("explain", "1", "0x800000000000"), "expected an address"),
                       (("explain", "1", "2", "3"), "'3': expected a PID or a FILE, and one address"),
                       (("explain", "--decisions=65", "1", "2"), "--decisions: '65': expected a whole number from 1 to 64")):
        r = command(*args)
        same((r.returncode, r.stdout), (125, ""), args)
        if text != "'-1': ":
            found(re.escape(text), r.stderr)
    r = command("explain", "999999999", "0")
    same((r.returncode, r.stdout), (1, ""))
    found("^hugenuma: 999999999: no managed process has this PID", r.stderr)
    with Living(FAKE_RECORD="0") as p:
        r = command("explain", p.pid, "0")
        same(r.returncode, 0)
        found("has no record: its agent found no memory for one", r.stderr)


def test_ended_processes_are_kept_as_long_as_the_run():
    """Killed, harvested, and still explained; when the run is over nothing is left."""
    p = started("exec sleep 61", before=f"sleep 60 & echo $! >{path('pid')};", args=["--topology=node:2 pu:1"],
                env={"FAKE_ONLY": "sleep"})
    with open(path("pid"), encoding="ascii") as f:
        pid = f.read().strip()
    patiently(lambda: listed(pid), "no slot is taken")
    os.kill(int(pid), signal.SIGKILL)
    LAST.append(p.pid)
    patiently(lambda: "ended.0" in os.listdir("/dev/shm/" + run_dirs()[0]), "not kept")
    r = command("explain", pid, hex(ARENA))
    same((r.returncode, r.stderr), (0, ""))
    found(rf"of sleep \(pid {pid}\), which has ended\.$", r.stdout)
    found("it was moved to node 1", r.stdout)
    p.terminate()
    p.wait(TIMEOUT)
    LAST.append(p.pid)
    same(run_dirs(), [], "run directories left")
    same(command("explain", pid, hex(ARENA)).returncode, 1)


def test_records_give_their_memory_back():
    """A hundred processes one after the other, each with a record in a slot that had one before; few stay on file."""
    most = 2300 + 16 * 600
    r = run("-q", "--", "sh", "-c", "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done; used() { du -sk $(dirname $HUGENUMA_SHM); }; "
            f"n=0; while sleep 0.3; [ $n -lt 30 -a $(used | cut -f1) -ge {most} ]; do n=$((n+1)); done; used", env={"FAKE_ONLY": "true"})
    kib = int(r.stdout.split()[0])
    if not 2000 < kib < most:
        raise AssertionError(f"{kib} KiB")


# ---- reports to look at ----

def test_report_text_of_a_living_process():
    with Living() as p:
        r = command("report", p.pid)
    same((r.returncode, r.stderr), (0, ""))
    for line in (r"2 virtual NUMA nodes, policy automatic, period 1000 ms, 1 process managed pages, \d+\.\d s",
                 rf"sleep \(pid {p.pid}\), running, \d+\.\d s",
                 " +node 0 +node 1 +total", "  managed huge, MiB +80 +42 +122", "  samples from +1 +4 +5", "    of them local +1 +1 +2",
                 "  pages migrated to +0 +1 +1", "  pages migrated from +1 +0 +1",
                 r"  local share +25\.0 % at start, 87\.5 % lately",
                 "  hint faults +90: 50 local, 12 migrated, 22 refused, 4 failed, 2 raced",
                 r"  the kernel says +\d+ MiB resident, 0 MiB of it in transparent huge pages",
                 r"  0x7f0000000000 -0x7f0008000000 +120 +25\.0 % +4 +1  40\+20; 1\+3",
                 r"  0x7f0008200000 -0x7f0008400000 +2 +100\.0 % +1 +0  0\+1; 0\+1",
                 r" +0\.100  0x7f0000000000 +101 +1 +0 +-  refused   filter +20\.0 us",
                 r" +0\.200  0x7f0000000000 +101 +1 +0 +1  migrated  node +310 us",
                 r" +0\.700  0x7f0000400000 +103 +1 +0 +1  failed    target +40\.0 us",
                 r" +1\.000  0x7f0000000000 +102 +- +- +-  waited +0 ns"):
        found(f"^{line}$", r.stdout)


def test_report_of_real_nodes_has_the_kernels_word():
    """Its node 0 is the machine's; the others are not, and the kernel says nothing of them."""
    with Living(args=(), HWLOC_XMLFILE=XML, HWLOC_THISSYSTEM="1") as p:
        text = command("report", p.pid).stdout
    found(" +node 0 +node 7 +node 2 +total$", text)
    found("^  managed huge, MiB +80 +42 +0 +122$", text)
    m = found(r"^  kernel: all, MiB +(\d+) +(\d+) +(\d+) +(\d+)$", text)
    same(int(m.group(1)) + int(m.group(2)) + int(m.group(3)), int(m.group(4)))


def test_report_json_is_the_same_live_and_from_a_file():
    file = path("again.json")
    with Living() as p:
        live = json.loads(command("report", "--format=json", p.pid).stdout)
        same(json.loads(command("report", "--format=json", str(p.run.pid)).stdout)["processes"][0]["pid"], int(p.pid), "by run")
    run("-q", "--report", file, "--topology=node:2 pu:1", "--", "true")
    with open(file, encoding="utf-8") as f:
        written = json.load(f)
    same(json.loads(command("report", "--format=json", file).stdout), written, "read and printed again")
    same((live["exit_status"], live["processes"][0]["running"]), (None, True))
    for key in ("nodes", "regions", "decisions", "heat", "samples_count", "series", "regions_total_count"):
        same(live["processes"][0][key], written["processes"][0][key], key)
    p = written["processes"][0]
    same(p["nodes"], [{"managed_pages": 40, "samples_count": 1, "local_count": 1, "migrated_to_pages": 0,
                       "migrated_from_pages": 1},
                      {"managed_pages": 21, "samples_count": 4, "local_count": 1, "migrated_to_pages": 1,
                       "migrated_from_pages": 0}])
    same(p["regions"][0], {"start": "0x7f0000000000", "end": "0x7f0008000000", "managed_pages": 60, "pages_on_node": [40, 20],
                           "samples_from_node_count": [1, 3], "local_count": 1, "remote_count": 3, "recent_local_count": 1,
                           "recent_remote_count": 3, "migrated_pages": 1, "first_touches_count": 7})
    same((p["heat"]["step_ms"], p["heat"]["points_count"], p["heat"]["row_bytes"]), (250, 5, PAGE))
    same([(r["start"], r["samples_from_node_count"], r["local_count"]) for r in p["heat"]["rows"]],
         [(hex(ARENA), [[0, 2], [0, 0], [0, 0], [0, 0], [0, 0]], [0] * 5),
          (hex(ARENA + PAGE), [[0, 0], [0, 0], [1, 0], [0, 0], [0, 0]], [0, 0, 1, 0, 0]),
          (hex(ARENA + 2 * PAGE), [[0, 0], [0, 0], [0, 1], [0, 0], [0, 0]], [0] * 5),
          (hex(ARENA + 65 * PAGE), [[0, 0], [0, 0], [0, 0], [0, 0], [0, 1]], [0, 0, 0, 0, 1])])
    same([d["outcome"] for d in p["decisions"]], ["refused", "migrated", "local", "failed", "waited", "local"])
    same(p["decisions"][1], {"time_ms": 200, "address": hex(ARENA), "thread_id": 101, "thread_node": 1, "page_node": 0,
                             "target_node": 1, "previous_node": 1, "previous_thread_id": 101, "outcome": "migrated",
                             "reason": "node", "rule": "automatic", "plugin_rule": None, "service_ns": 310000})
    same((p["kernel"], p["decisions_total_count"], p["decisions_missed_count"]), (None, 6, 0))


def test_what_an_ended_process_decided_last_is_shown_or_missed():
    """More than the ring holds since the last look of its scanner: the controller counts what is gone."""
    report, _ = report_of("--topology=node:2 pu:1", "--", "sleep", "1", env={"FAKE_ONLY": "sleep", "FAKE_MORE": "5000 5000 0"})
    p = report["processes"][0]
    on_the_map = sum(n for row in p["heat"]["rows"] for point in row["samples_from_node_count"] for n in point)
    same((p["decisions_total_count"], p["decisions_missed_count"], on_the_map), (5006, 5000 - 4096, 5 + 4096))
    same(on_the_map + p["decisions_missed_count"], sum(n["samples_count"] for n in p["nodes"]))


NASTY = '=cmd("<b>&\x1b[31m'  # 15 bytes at most: a formula, markup, an escape sequence


def nasty_report():
    """A report of a program with a name that means something to spreadsheets, browsers and terminals."""
    program, file = path(NASTY), path("nasty.json")
    shutil.copy(shutil.which("true"), program)
    run("-q", "--report", file, "--topology=node:2 pu:1", "--", program)
    with open(file, encoding="utf-8") as f:
        report = json.load(f)
    report["processes"][0]["command"] = NASTY  # as one might find it in a file from elsewhere
    with open(file, "w", encoding="utf-8") as f:
        json.dump(report, f)
    return file


def test_report_csv():
    file = nasty_report()
    r = command("report", "--format=csv", file)
    rows = list(csv.reader(r.stdout.splitlines()))
    same((r.returncode, rows[0]), (0, ["pid", "command", "key", "value"]))
    same({len(row) for row in rows}, {4}, "fields")
    same({row[1] for row in rows[1:]}, {"'" + NASTY.replace("\x1b", "?")}, "command")
    values = {row[2]: row[3] for row in rows[1:]}
    for key, value in (("samples_count", "90"), ("regions[0].pages_on_node[1]", "20"), ("decisions[3].reason", "target"),
                       ("local_end_percent", "87.5"), ("running", "false"), ("kernel", ""), ("decisions[1].address", hex(ARENA))):
        same(values[key], value, key)
    absent("\x1b", command("report", file).stdout, "text with an escape sequence")


def odd_report():
    """A file that is a report as far as one can tell, with values of all the wrong kinds."""
    with open(path("odd.json"), "w", encoding="ascii") as f:
        json.dump({"schema_version": 1, "machine": {"nodes": [1]}, "processes": [
            3, {"nodes": [[], {"managed_pages": "x"}], "regions": {"a": 1}, "decisions": [{"thread_node": -5}, None], "heat": {
                "rows": [{"samples_from_node_count": [1, [-2]]}, 7], "points_count": 99999999999, "step_ms": -1}, "series": [[]],
                "fault_service": {"buckets": [{"from_ns": -1, "faults_count": 1e300}]}, "command": 5}]}, f)
    return path("odd.json")


def test_report_of_bad_files():
    for name, text in (("none.json", None), ("text.json", "hello"), ("list.json", "[1]"), ("old.json", '{"schema_version": 0}'),
                       ("half.json", '{"schema_version": 1, "processes": [')):
        if text:
            with open(path(name), "w", encoding="ascii") as f:
                f.write(text)
        r = command("report", path(name))
        same((r.returncode, r.stdout), (1, ""), name)
        found(f"^hugenuma: .*{name}: ", r.stderr)
    for name, text in ((path("none.json"), ": cannot be read: No such file or directory"), (TMP, ": is a directory: expected a report"),
                       (path("text.json"), ": no JSON and no recording")):
        same(command("report", name).stderr.startswith(f"hugenuma: {name}{text}"), True, name)
    for fmt in ("text", "json", "csv", "html"):
        same(command("report", "--format", fmt, odd_report()).returncode, 0, f"odd values as {fmt}")
    for args, text in (((), "expected a PID or a FILE"), (("1", "2"), "'2': expected one PID or FILE"),
                       (("--format=xml", "1"), "--format: 'xml': expected text, json, csv or html")):
        r = command("report", *args)
        same((r.returncode, r.stdout), (125, ""), args)
        found(re.escape(text), r.stderr)
    for pid in ("999999999", "0", "99999999999999999999"):
        same(command("report", pid).returncode, 1, pid)


class Page(html.parser.HTMLParser):
    """What a page consists of; every element must be closed in its order."""
    EMPTY = ("meta",)

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.rows, self.text = [], [], [], [], ""
        self.feed(text)
        same(self.open, [], "elements left open")

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data", "action") or k.startswith("on")]
        self.links += re.findall(r"url\(.*?\)", dict(attrs).get("style", ""))
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        same(self.open.pop(), tag, "element closed")

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] == "td":
            self.rows[-1][-1] += data


def test_report_html():
    text = command("report", "--format=html", nasty_report()).stdout
    page = Page(text)
    same(("script" in page.tags, page.links), (False, []), "scripts and links to elsewhere")
    absent("<b>&|\x1b|@import|url\\(|http", text, "page")
    found(re.escape('=cmd("<b>&?[31m (pid'), page.text)
    for row in (["0", "40", "1", "1", "0", "1"], ["1", "21", "4", "1", "1", "0"], ["total", "61", "5", "2", "1", "1"],
                ["0x7f0000000000", "60", "25.0 %", "25.0 %", "4", "1", "40 + 20", "1 + 3"],
                ["0.200", "0x7f0000000000", "101", "1", "0", "1", "1", "migrated", "node", "automatic", "310 us"],
                ["0.700", "0x7f0000400000", "103", "1", "0", "1", "1", "failed", "target", "automatic", "40.0 us"]):
        same(page.rows.count(row), 1, f"{row} in {page.rows}")
    for words in ("25.0 %local at start", "87.5 %local at end", "3,400MiB managed at most", "90hint faults", "12pages migrated"):
        found(re.escape(words), re.sub(r"\n", "", page.text))
    # points at 500 (9 of 10 local), 1000 (1 of 30), 2000 (5 of 10), 3000 ms (10 of 10) of 3000
    found(re.escape('d="M0.0 10.0H166.7L166.7 96.7H333.3L333.3 50.0H666.7L666.7 0.0H1000.0"'), text)
    # the heat map: four rows of 250 ms points; 0 of 2 local at 0, 1 of 1 at 500, 0 of 1 at 500, 1 of 1 at 1000
    same(re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="[\d.]+" height="10.2" fill="#(?:b2182b|2166ac)"', text),
         [("0.0", "0.0"), ("400.0", "10.0"), ("400.0", "20.0"), ("800.0", "30.0")])
    same(len(re.findall(r'fill="#e69f00"', text)), 3, "cells of node 1")
    empty = Page(command("report", "--format=html", odd_report()).stdout)
    found("no samples", empty.text)


def test_report_html_in_a_browser():
    """Nothing sticks out of the page at the width of a phone or of a desktop; wide tables scroll by themselves."""
    if not shutil.which("chromium"):
        raise Skip("chromium is not installed")
    page = path("page.html")
    probe = ("<script>document.title=JSON.stringify([innerWidth,document.documentElement.scrollWidth,"
             "[...document.querySelectorAll('svg')].every(e=>e.getBoundingClientRect().width>200)])</script>")
    with open(page, "w", encoding="utf-8") as f:
        f.write(command("report", "--format=html", nasty_report()).stdout.replace("</body>", probe + "</body>"))
    for width in (500, 1280):
        r = subprocess.run(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                            f"--user-data-dir={path('chromium')}", f"--window-size={width},900", "--dump-dom", "file://" + page],
                           capture_output=True, text=True, timeout=TIMEOUT, env=environment(HOME=TMP))
        inner, scroll, visible = json.loads(found(r"<title>(\[.*?\])</title>", r.stdout).group(1))
        same((scroll <= inner, visible), (True, True), f"{width}: {inner} {scroll}")


# ---- top ----

def top_lines(*args, status=0):
    r = command("top", "-b", "-n1", *args)
    same((r.returncode, r.stderr), (status, ""), args)
    return r.stdout


def test_top_tables():
    with Living() as p:
        text = top_lines()
        found(r"^hugenuma top: \d+ process", text)
        found(r"^ +PID  COMMAND +STATE +HUGE MiB +LOCAL % +SAMPLES/S +MIGR/S +P99  TIME ->$", text)
        found(rf"^ +{p.pid}  sleep +running +128 +87\.5 +[\d.]+ +[\d.]+ +2\.00 ms  ", text)
        text = top_lines("--pid", p.pid, "--screen=threads")
        found(rf"^hugenuma top: threads of sleep \(pid {p.pid}\)$", text)
        same([line.split()[:7] for line in text.splitlines()[2:]],
             [["101", "(ended)", "1", "2", "0.0", "1", "0.3"], ["103", "(ended)", "1", "2", "50.0", "0", "0.0"],
              ["102", "(ended)", "0", "1", "100.0", "0", "0.0"]])
        text = top_lines("--pid", p.pid, "--screen=nodes")
        same([line.split()[:6] for line in text.splitlines()[2:]],
             [["0", "80", "1", "100.0", "0", "1"], ["1", "42", "4", "25.0", "1", "0"]])
        text = top_lines("--pid", p.pid, "--screen=regions")
        same([line.split()[:8] for line in text.splitlines()[2:]],
             [["0x7f0000000000", "128", "60", "25.0", "25.0", "4", "1", "1"],
              ["0x7f0008200000", "2", "1", "100.0", "100.0", "1", "0", "1"]])
        # points of 250 ms: two remote samples, nothing, one local and one remote (600 and 700 ms), nothing; one local
        same([re.split(r" {3,}|\\d  +(?=\\D)", line)[-1].strip() for line in text.splitlines()[2:]], [". -", "#"], "strips")
        text = top_lines("--pid", p.pid, "--screen=regions", "--sort=local %")
        same([line.split()[0] for line in text.splitlines()[2:]], ["0x7f0008200000", "0x7f0000000000"], "sorted")


def test_top_without_a_terminal():
    """One plain table, no escape sequences; more when asked, and rates from the second on."""
    with Living() as p:
        r = command("top")
        same((r.returncode, r.stderr), (0, ""))
        found(rf"^ +{p.pid}  sleep ", r.stdout)
        absent("\x1b", r.stdout)
        text = command("top", "-b", "-n2", "-d0.1").stdout
        same(len(re.findall(rf"(?m)^ +{p.pid}  sleep ", text)), 2)
        found(rf"^ +{p.pid}  sleep +running +128 +87\.5 +0\.0 +0\.0 ", text)
        for screen in ("processes", "threads", "nodes", "regions"):
            r = command("top", "-b", "-n1", f"--screen={screen}", "--pid=999999999")
            same((r.returncode, r.stdout), (1, ""), screen)
            found("^hugenuma: --pid: 999999999: no managed process has this PID", r.stderr, screen)
            same(command("top", "-b", "-n1", f"--screen={screen}", "--pid", p.pid).returncode, 0, screen)


def test_top_where_nothing_is_managed():
    if command("list").stdout.count("\n") > 1:
        raise Skip("somebody else's processes are managed here, and cannot be hidden")
    for screen in ("threads", "nodes", "regions"):
        r = command("top", "--screen", screen)
        same((r.returncode, r.stdout), (1, ""), screen)
        found("^hugenuma: no managed process: start one with `hugenuma run'$", r.stderr)
    r = command("top")
    same((r.returncode, r.stderr), (0, ""))
    found("^hugenuma top: 0 processes$", r.stdout)


def test_top_has_no_thread_for_what_none_has_touched():
    with Living(FAKE_DECISIONS="1") as p:
        text = top_lines("--pid", p.pid, "--screen=threads")
        same([line.split()[0] for line in text.splitlines()[2:]], ["101"], text)


def test_top_usage():
    for args, text in ((("x",), "'x': expected no argument"), (("--screen=x",), "expected processes, threads, nodes or regions"),
                       (("--sort=x",), "screen `processes' has no such column"), (("-d0.05",), "expected seconds from 0.1 to 3600"),
                       (("-dnan",), "expected seconds"), (("-n0",), "from 1 to 1000000"), (("-p0",), "--pid: '0': expected a PID"),
                       (("--pid=x",), "--pid: 'x': expected a PID")):
        r = command("top", *args)
        same((r.returncode, r.stdout), (125, ""), args)
        found(re.escape(text), r.stderr)


class Screen:
    """`hugenuma top` in a terminal of tmux; each has a server of its own, as the one before may be about to end."""
    number = 0

    def __init__(self, *args, x=110, y=20):
        if not shutil.which("tmux"):
            raise Skip("tmux is not installed")
        Screen.number += 1
        self.socket = path(f"tmux{Screen.number}")
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(x), "-y", str(y),
                  " ".join((HUGENUMA, "top", *args)) + f"; echo $? >{path('top-status')}; exec sleep 60", ";",
                  "set", "status", "off")

    def tmux(self, *args):
        return subprocess.run(["tmux", "-S", self.socket, *args], env=environment(TERM="xterm-256color"), check=True,
                              stdout=subprocess.PIPE, text=True, timeout=TIMEOUT).stdout

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def shows(self, *patterns):
        """The screen, once it has all of them."""
        for _ in range(200):
            text = self.tmux("capture-pane", "-p")
            if all(re.search(p, text, re.M) for p in patterns):
                return text
            time.sleep(0.05)
        raise AssertionError(f"screen has not {patterns}:\n{text}")

    def status(self):
        """The exit status, once there is one."""
        patiently(lambda: os.path.exists(path("top-status")) and os.path.getsize(path("top-status")), "no exit status")
        with open(path("top-status"), encoding="ascii") as f:
            return f.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tmux("kill-server")
        if os.path.exists(path("top-status")):
            os.unlink(path("top-status"))


def test_top_on_a_terminal():
    with Living() as p, Screen("-d0.2") as s:
        s.shows(r"^hugenuma top: \d+ process", rf"^ +{p.pid}  sleep +running +128 +87\.5", r"^q quit  arrows select  Enter into")
        s.keys("Home")
        while not re.search(rf"threads of sleep \(pid {p.pid}\)", s.tmux("capture-pane", "-p")):
            s.keys("Escape")
            s.shows("^ +PID ")
            s.keys("Down", "Enter") if s.tmux("capture-pane", "-p").count("\n ") > 3 else s.keys("Enter")
            time.sleep(0.3)
        s.shows(r"^ +101  \(ended\) +1 +2 +0\.0 +1 +0\.3")
        s.keys("n")
        s.shows("nodes of sleep", r"^ +0 +80 +1 +100\.0 +0 +1", r"^ +1 +42 +4 +25\.0 +1 +0")
        s.keys("r")
        text = s.shows("regions of sleep", r"^0x7f0000000000 +128 +60 +25\.0 +25\.0 +4 +1 +1 ")
        same(text.index("0x7f0000000000") < text.index("0x7f0008200000"), True, "by address")
        s.keys("i")
        s.shows(r"(?s)0x7f0008200000.*0x7f0000000000")
        s.keys("i", ">", ">")  # by pages, most first
        s.shows(r"(?s)0x7f0000000000.*0x7f0008200000")
        s.keys(">")  # by local share, biggest first
        s.shows(r"(?s)0x7f0008200000.*0x7f0000000000")
        s.keys("Escape")
        s.shows(r"^ +PID  COMMAND")
        s.keys("n")
        s.shows("nodes of sleep")
        s.keys("BSpace")
        s.shows(r"^ +PID  COMMAND")
        s.keys("q")
        s.shows(r"\A(?!(?s:.*)q quit)")
        same(s.status(), "0\n", "exit status")


def test_top_on_a_terminal_of_what_is_not_there():
    with Screen("--pid=999999999") as s:
        s.shows("^hugenuma: --pid: 999999999: no managed process has this PID")
        same(s.status(), "1\n", "exit status")
    if command("list").stdout.count("\n") == 1:
        with Screen("--screen=nodes") as s:  # where one can be waited for
            absent("is gone", s.shows("^hugenuma top: 0 processes", "^no managed process: start one with `hugenuma run'"))


def test_top_follows_the_size_of_its_terminal():
    with Living() as p, Screen("-d0.2", x=100, y=20) as s:
        s.shows(rf"^ +{p.pid}  sleep ", "^q quit.*r regions.*< >")
        s.tmux("resize-window", "-x", "40", "-y", "6")
        text = s.shows(rf"^ +{p.pid}  sleep +run", "^q quit  arrows select")
        same(max(len(line) for line in text.splitlines()) <= 40, True)
        s.tmux("resize-window", "-x", "5", "-y", "2")
        time.sleep(0.5)
        s.tmux("resize-window", "-x", "120", "-y", "30")
        s.shows(rf"^ +{p.pid}  sleep +running +128 +87\.5 .* ms", "- delay$", r"every 0\.2 s$")


def test_top_sees_processes_end():
    with Screen("-d0.1") as s:
        with Living() as p:
            s.shows(rf"^ +{p.pid}  sleep ")
            s.keys("n")
            s.shows(rf"nodes of sleep \(pid {p.pid}\)")
        s.shows(r"^hugenuma top: \d+ process")


def test_top_hears_a_signal_at_any_time():
    """Also one that comes when it has just looked whether there was one, with nothing to do for an hour."""
    slow = compiled("slow-draw.so", HERE_C + """
int wrefresh(void *w)
{
	int ret = ((int (*)(void *))dlsym(RTLD_NEXT, "wrefresh"))(w);

	here("wrefresh");
	return ret;
}
""", include="")
    mark, go = path("drawn"), path("go-on")
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        screen, terminal = os.openpty()
        p = subprocess.Popen([HUGENUMA, "top", "-d3600"], stdin=terminal, stdout=terminal, start_new_session=True,
                             env=environment(TERM="xterm", LD_PRELOAD=slow, SLOW_IN="wrefresh", SLOW_MARK=mark, SLOW_GO=go))
        STARTED.append(p)
        until_made(p, mark)
        p.send_signal(sig)
        time.sleep(0.1)
        open(go, "w", encoding="ascii").close()
        same(p.wait(10), 0, sig)
        for fd in (screen, terminal):
            os.close(fd)
        for file in (mark, go):
            os.unlink(file)


# ---- advise ----

def test_advise():
    """Sixty pages of two nodes: what each kind of use recommends, at its limits."""
    cases = (("5 5 0 0  15 16  40 20", "leave alone: too few samples"),
             ("50 50 0 0  20 80  40 20", "bind to node 1"), ("50 50 0 0  21 79  40 20", "leave alone: no clear picture yet"),
             ("50 50 0 0  25 75  40 20", "interleave over nodes 0,1"),
             ("50 50 0 0  20 80  6 54", "leave alone: it is where it is used"),
             ("79 21 0 0  50 50  30 30", "leave alone: no clear picture yet"),
             ("80 20 0 0  50 50  30 30", "leave alone: its parts are each where they are used"),
             ("99 1 10 22  50 50  30 30", "interleave over nodes 0,1"), ("99 1 10 21  50 50  30 30", "leave alone: its parts"),
             ("60 40 0 0  50 50  30 30", "leave alone: no clear"))
    for region, advice in cases:
        with Living(FAKE_REGION=region) as p:
            r = command("advise", p.pid)
            same((r.returncode, r.stderr), (0, ""))
            found(rf"^  0x7f0000000000-0x7f0008000000, 120 MiB managed: {advice}", r.stdout, region)
    found(r"^    evidence: 100 samples \(node 0: 50, node 1: 50\), 60 % local lately; pages: 30 on node 0, 30 on node 1; "
          r"1 migrated$", r.stdout)
    found(r"^  0x7f0008200000-0x7f0008400000, 2 MiB managed: leave alone: too few samples$", r.stdout)
    found("the nodes are virtual", r.stdout)
    for args, status in (((), 125), (("x",), 125), (("1", "2"), 125), (("999999999",), 1)):
        same(command("advise", *args).returncode, status, args)
    with Living(FAKE_RECORD="0") as p:
        same(command("advise", p.pid).returncode, 1)


# ---- metrics ----

def parsed_metrics(text):
    """{(name, labels): value} of OpenMetrics text, which must be right to the letter."""
    lines = text.split("\n")
    same(lines[-2:], ["# EOF", ""], "end")
    values, family, kind, seen = {}, None, None, set()
    for line in lines[:-2]:
        m = re.fullmatch(r"# (TYPE|UNIT|HELP) ([a-z_]+) (.+)", line)
        if m:
            what, name, rest = m.groups()
            if what == "TYPE":
                same(name in seen, False, f"{name} twice")
                seen.add(name)
                family, kind = name, rest
                same(kind in ("gauge", "counter", "histogram") and not name.endswith("_total"), True, line)
            same(name, family, "line of another family")
            if what == "UNIT":
                same(name.endswith("_" + rest), True, line)
            continue
        m = re.fullmatch(r'([a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\} (-?\d+(?:\.\d+)?)', line)
        if not m or m.group(2).endswith(","):
            raise AssertionError(f"no line of OpenMetrics: {line!r}")
        suffix = m.group(1)[len(family):]
        same(m.group(1).startswith(family) and suffix in {"gauge": ("",), "counter": ("_total",),
                                                          "histogram": ("_bucket", "_sum", "_count")}[kind], True, line)
        key = (m.group(1), tuple(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', m.group(2))))
        same(key in values, False, f"{key} twice")
        values[key] = float(m.group(3))
    return values


def test_metrics():
    with Living() as p:
        r = command("metrics")
        same((r.returncode, r.stderr), (0, ""))
        classic = command("metrics", "--format=prometheus").stdout
    values = parsed_metrics(r.stdout)
    who = (("pid", p.pid), ("command", "sleep"))

    def value(name, *more):
        return values[("hugenuma_" + name, who + more)]

    for name, wanted in (("managed_bytes", 64 * PAGE), ("samples_total", 90), ("local_samples_total", 50), ("armed_pages", 4),
                         ("migrated_pages_total", 12), ("waited_total", 8), ("agent_cpu_seconds_total", 0.02), ("balancing", 1),
                         ("agent_memory_bytes", 1000000), ("lost_huge_pages_total", 2), ("fault_service_seconds_count", 90),
                         ("fault_service_seconds_sum", (80 * 10 + 9 * 100 + 2000) / 1e6)):
        same(value(name), wanted, name)
    same(value("refused_total", ("reason", "filter")), 20)
    same(value("failed_total", ("reason", "target")), 3)
    for node, wanted in (("0", (40 * PAGE, 1, 1, 0, 1)), ("1", (21 * PAGE, 4, 1, 1, 0))):
        same(tuple(value(n, ("node", node)) for n in ("node_managed_bytes", "node_samples_total", "node_local_samples_total",
                                                      "node_migrated_to_pages_total", "node_migrated_from_pages_total")), wanted)
    buckets = [(float(dict(k[1])["le"]), v) for k, v in values.items()
               if k[0] == "hugenuma_fault_service_seconds_bucket" and k[1][:2] == who]
    same(buckets, sorted(buckets), "cumulative")
    same([n for le, n in buckets if le >= 16383e-9][0], 80, "up to 16 us")
    same([n for le, n in buckets if le >= 262143e-9][0], 89, "up to 262 us")
    same(buckets[-1], (float("inf"), 90))
    same(re.sub(r"# (TYPE|HELP) (\w+)_total ", r"# \1 \2 ", classic), re.sub("# UNIT .*\n|# EOF\n", "", r.stdout),
         "the older format differs in names of counters only")


def test_metrics_of_nasty_names():
    program = path('a"b\\c{}\n\x1b')
    shutil.copy(shutil.which("sleep"), program)
    p = subprocess.Popen([HUGENUMA, "run", "-q", "--", program, "60"], env=environment())
    patiently(lambda: 'command="a' in command("metrics").stdout, "not managed")
    values = parsed_metrics(command("metrics").stdout)
    p.terminate()
    p.wait(TIMEOUT)
    same(any(dict(k[1])["command"] == 'a\\"b\\\\c{}??' for k in values), True, "escaped")


PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")


def promtool_accepts(text):
    """Without a word: it also complains of names and help that are not as they should be."""
    r = subprocess.run([PROMTOOL, "check", "metrics"], input=text, text=True, capture_output=True, timeout=TIMEOUT)
    same((r.returncode, r.stdout + r.stderr), (0, ""), "promtool check metrics")


def test_metrics_for_other_parsers():
    """Prometheus' own, where they are installed."""
    with Living():
        openmetrics, classic = (command("metrics", f"--format={f}").stdout for f in ("openmetrics", "prometheus"))
    used = 0
    if PROMTOOL:
        promtool_accepts(classic)
        used += 1
    try:
        from prometheus_client.openmetrics.parser import text_string_to_metric_families
    except ImportError:
        text_string_to_metric_families = None
    if text_string_to_metric_families:
        names = {f.name for f in text_string_to_metric_families(openmetrics)}
        same({"hugenuma_samples", "hugenuma_fault_service_seconds", "hugenuma_managed_bytes"} <= names, True, names)
        used += 1
    if not used:
        raise Skip("neither promtool nor python3-prometheus-client is installed")


def test_dashboard_asks_for_what_there_is():
    with Living():
        names = {name for name, _ in parsed_metrics(command("metrics").stdout)}
    with open(os.path.join(ROOT, "tools", "grafana-dashboard.json"), encoding="utf-8") as f:
        board = json.load(f)
    asked = {m for panel in board["panels"] for t in panel["targets"] for m in re.findall(r"hugenuma_\w+", t["expr"])}
    same(sorted(asked - names), [], "asked for, not printed")
    same(len(asked) > 5 and len({p["id"] for p in board["panels"]}) == len(board["panels"]), True)


def http(port, request, host="127.0.0.1"):
    """(status, headers, body) of one raw request."""
    with socket.create_connection((host, port), timeout=10) as c:
        c.sendall(request.encode())
        data = b"".join(iter(lambda: c.recv(65536), b""))
    head, _, body = data.decode().partition("\r\n\r\n")
    return int(head.split()[1]), head, body


def test_serve():
    p = subprocess.Popen([HUGENUMA, "serve", "--listen=127.0.0.1:0"], env=environment(), stderr=subprocess.PIPE, text=True)
    port = int(found(r"^hugenuma: answering on http://127\.0\.0\.1:(\d+)/metrics$", p.stderr.readline()).group(1))

    def get(target, method="GET", accept=""):
        return http(port, f"{method} {target} HTTP/1.1\r\nHost: x\r\n{accept}Connection: close\r\n\r\n")

    try:
        with Living() as living:
            status, head, body = get("/metrics", accept="Accept: application/openmetrics-text; version=1.0.0\r\n")
            same(status, 200)
            found("(?i)^content-type: application/openmetrics-text; version=1.0.0; charset=utf-8", head)
            same(any(dict(k[1])["pid"] == living.pid for k in parsed_metrics(body)), True, "the process")
            if PROMTOOL:
                promtool_accepts(get("/metrics")[2])
        status, head, body = get("/metrics")
        found("(?i)^content-type: text/plain; version=0.0.4", head)
        found("^# TYPE hugenuma_samples_total counter$", body)
        same((get("/metrics", "HEAD")[0], get("/metrics", "HEAD")[2]), (200, ""))
        same([get("/x")[0], get("/metrics/../etc/passwd")[0], get("/metrics", "DELETE")[0], get("/")[0]], [404, 404, 405, 200])
        same(http(port, "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")[0], 405)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as c:
            c.sendall(b"nonsense\r\n\r\n" + b"\xff" * 1000)
        same(get("/")[0], 200, "after nonsense")
        r = command("serve", f"--listen=127.0.0.1:{port}")
        same(r.returncode, 125)
        found(rf"^hugenuma: cannot listen on 127\.0\.0\.1:{port}: Address already in use; --listen=", r.stderr)
        r = command("serve", f"--listen=[2001:db8::1]:{port}")
        found(rf"^hugenuma: cannot listen on \[2001:db8::1\]:{port}: .*; --listen=", r.stderr)
    finally:
        p.terminate()
    same(p.wait(TIMEOUT), 0)
    # as a shell in the background starts it: ^C is meant for others
    p = subprocess.Popen([HUGENUMA, "serve", "--listen=127.0.0.1:0"], env=environment(), stderr=subprocess.PIPE, text=True,
                         start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    STARTED.append(p)
    port = int(found(r":(\d+)/metrics$", p.stderr.readline()).group(1))
    p.send_signal(signal.SIGINT)
    time.sleep(0.2)
    same((p.poll(), get("/")[0]), (None, 200), "after an ignored signal")
    p.terminate()
    same(p.wait(TIMEOUT), 0)
    for bad in ("", "127.0.0.1", "localhost:1", "127.0.0.1:65536", "127.0.0.1:-1", "[::1:1", "::1:9", "1.2.3.4:"):
        same(command("serve", f"--listen={bad}").returncode, 125, bad)


# ---- doctor ----

def doctor_checks(**env):
    r = command("doctor", "--json", env=env)
    answer = json.loads(r.stdout)
    same(r.returncode, 0 if answer["would_manage"] else 1)
    same(answer["would_manage"], all(c["verdict"] != "FAIL" for c in answer["checks"]))
    return answer, {c["name"]: c for c in answer["checks"]}


def test_doctor_status_and_text_agree():
    answer, checks = doctor_checks()
    for name in ("kernel", "permission", "userfaultfd", "fork event", "move", "pagemap scan", "close_range", "huge pages",
                 "thp disable", "nodes", "kernel balancing", "map count", "agent library", "shared memory"):
        if name not in checks:
            raise AssertionError(f"no check of {name}")
    for c in answer["checks"]:
        if c["verdict"] not in ("ok", "warn", "FAIL") or not c["found"] or (c["verdict"] != "ok" and not c["mend"]):
            raise AssertionError(c)
    r = command("doctor")
    same(r.returncode, 0 if answer["would_manage"] else 1)
    for c in answer["checks"]:
        found(f"^{c['verdict']:4}  {c['name']:17} ", r.stdout)
        for words in (c["meaning"], c["mend"]):
            found(re.escape(words or ""), re.sub(r"\s+", " ", r.stdout))
    if max(len(line) for line in r.stdout.splitlines() if line.startswith(" ")) > 100:
        raise AssertionError(f"lines too long:\n{r.stdout}")
    found("would manage a program here" if answer["would_manage"] else "would not manage", r.stdout)


def test_doctor_misses_the_agent():
    answer, checks = doctor_checks(HUGENUMA_AGENT="/nonexistent.so")
    same((answer["would_manage"], checks["agent library"]["verdict"]), (False, "FAIL"))
    found("/nonexistent.so", checks["agent library"]["found"])


def test_doctor_sees_huge_pages_disabled():
    script = ("import ctypes,os,sys; ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) and sys.exit(99); "
              f"os.execv('{HUGENUMA}', ['hugenuma', 'doctor', '--json'])")
    r = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=TIMEOUT)
    same(r.returncode, 1, r.stderr)
    checks = {c["name"]: c["verdict"] for c in json.loads(r.stdout)["checks"]}
    same((checks["thp disable"], checks["move"]), ("FAIL", "FAIL"))


def test_doctor_without_permission():
    if os.geteuid() != 0:
        raise Skip("needs root, to give it up")
    with open("/proc/sys/vm/unprivileged_userfaultfd", encoding="ascii") as f:
        open_to_all = f.read().strip() != "0"
    device = "/dev/userfaultfd"
    if open_to_all or (os.path.exists(device) and os.stat(device).st_mode & 0o006 == 0o006):
        raise Skip("everybody may use userfaultfd here")
    copy = path("hugenuma")
    shutil.copy(HUGENUMA, copy)
    os.chmod(TMP, 0o755)

    def drop():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    r = subprocess.run([copy, "doctor", "--json"], env=environment(), capture_output=True, text=True, timeout=TIMEOUT,
                       preexec_fn=drop)
    same(r.returncode, 1, r.stderr)
    checks = {c["name"]: c for c in json.loads(r.stdout)["checks"]}
    same(checks["permission"]["verdict"], "FAIL")
    found('KERNEL=="userfaultfd", MODE="0666"', checks["permission"]["mend"])


# ---- shared memory that somebody else has prepared ----

NOBODY = 65534
CONTROL_CHARACTERS = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root, to be somebody else")


class Hostile:
    """A run directory of another user (or our own) with a `run' of some kind in it, alive while the block lasts."""
    number = 0

    def __init__(self, kind, pid="", seed=0, uid=NOBODY):
        Hostile.number += 1
        self.dir = f"/dev/shm/hugenuma.{uid}.{os.getpid()}.{Hostile.number:016x}"
        self.file = self.dir + "/run"
        self.args, self.uid = [kind, str(pid), str(seed)], uid

    def as_owner(self):
        if self.uid != os.geteuid():
            os.setgroups([])
            os.setgid(self.uid)
            os.setuid(self.uid)

    def __enter__(self):
        os.chmod(TMP, 0o755)
        os.mkdir(self.dir, 0o700)
        os.chown(self.dir, self.uid, self.uid)
        self.child = subprocess.Popen([HOSTILE, self.file, *self.args], stdout=subprocess.PIPE, text=True,
                                      preexec_fn=self.as_owner)
        self.pid = self.child.pid
        same(self.child.stdout.readline(), "ready\n")
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.communicate()
        shutil.rmtree(self.dir, ignore_errors=True)

    def loaded(self):
        return int(subprocess.run([HOSTILE, self.file, "loaded"], stdout=subprocess.PIPE, check=True, text=True).stdout)


def test_a_user_can_claim_only_his_own_processes():
    """root looks at everybody's runs: what a user says about a process that is not in his run is not believed."""
    need_root()
    with Hostile("valid") as other:
        found(rf"^ *{other.pid} +claims ", command("list").stdout)
        found("claims", command("report", str(other.pid)).stdout)
    for pid in ("1", str(os.getpid())):
        with Hostile("valid", pid):
            absent(rf"^ *{pid} ", command("list").stdout)
            for args in (("report", pid), ("explain", pid, "0"), ("pause", pid), ("ctl", pid, "get"), ("advise", pid)):
                same(command(*args).returncode, 1, args)
            absent(f'pid="{pid}"', command("metrics").stdout)
    with Living() as p, Hostile("valid", p.pid):
        lines = [line for line in command("list").stdout.splitlines() if line.split()[0] == p.pid]
        same(len(lines), 1, lines)
        found(f"^ *{p.pid} +sleep ", lines[0])


def test_an_unprivileged_user_sees_only_his_own():
    need_root()
    copy = path("hugenuma-of-nobody")
    shutil.copy(HUGENUMA, copy)
    with Living() as p, Hostile("valid") as own:
        r = subprocess.run([copy, "list"], env=environment(), capture_output=True, text=True, timeout=TIMEOUT,
                           preexec_fn=own.as_owner)
        same((r.returncode, r.stderr), (0, ""))
        found(rf"^ *{own.pid} +claims ", r.stdout)
        absent(rf"^ *{p.pid} ", r.stdout)


def told(h, why):
    """list says that this is not looked at, ends as ever, and shows nothing of it."""
    r = command("list")
    same(r.returncode, 0, r.stderr)
    found(rf"^hugenuma: {re.escape(h.dir)}: not looked at: it {re.escape(why)}$", r.stderr)
    absent("claims", r.stdout)
    r = command("report", str(h.pid))
    same(r.returncode, 1)
    found(f"^hugenuma: {re.escape(h.dir)}: not looked at: .*\n^hugenuma: {h.pid}: no managed process", r.stderr)


def test_what_is_not_trusted_is_named_and_not_looked_at():
    need_root()
    for uid in (NOBODY, os.geteuid()):
        for kind, why in (("magic", "is of another version of hugenuma"), ("machine", "describes no machine that can be"),
                          ("short", "has not the size of a run of this version of hugenuma"),
                          ("long", "has not the size of a run of this version of hugenuma")):
            with Hostile(kind, uid=uid) as h:
                told(h, why)
        with Hostile("valid", uid=uid) as h:
            os.chmod(h.file, 0o604)
            told(h, "is open to other users (expected mode 0600, of directories 0700)")
            os.chmod(h.file, 0o600)
            os.chmod(h.dir, 0o750)
            told(h, "is open to other users (expected mode 0600, of directories 0700)")
            os.chmod(h.dir, 0o700)
            os.link(h.file, h.dir + "/other")
            told(h, "has more than one name (a hard link)")
            os.unlink(h.dir + "/other")
            os.rename(h.file, h.dir + "/other")
            os.symlink("other", h.file)
            told(h, "is a symbolic link")
            os.unlink(h.file)
            os.mkfifo(h.file, 0o600)
            os.chown(h.file, uid, uid)
            told(h, "is no regular file")
            os.unlink(h.file)
            os.rename(h.dir + "/other", h.file)
            found("claims", command("list").stdout)
            os.rename(h.dir, h.dir + "x")
            os.symlink(h.dir + "x", h.dir)
            r = command("list")
            found(f"{re.escape(h.dir)}: not looked at: it is a symbolic link$", r.stderr)
            same(r.stdout.count("claims"), 1, r.stdout)  # the real one is there under its other name
            os.unlink(h.dir)
            os.rename(h.dir + "x", h.dir)


def test_many_that_are_not_trusted_are_told_in_short():
    need_root()
    made = [f"/dev/shm/hugenuma.{NOBODY}.\x1b[2J{i}" for i in range(9)]
    try:
        for name in made:
            os.mkdir(name, 0o755)
        r = command("list")
        same((r.returncode, len(r.stderr.splitlines())), (0, 5), r.stderr)
        found(r"^hugenuma: \.\.\. and 5 more$", r.stderr)
        absent(CONTROL_CHARACTERS, r.stderr)
    finally:
        for name in made:
            os.rmdir(name)


def look_at(pid):
    """Every command that looks at a process, in every format."""
    commands = [("list",), ("explain", pid, hex(ARENA)), ("advise", pid), ("metrics",), ("ctl", pid, "get"), ("top", "-b", "-n1")]
    commands += [("report", f"--format={f}", pid) for f in ("text", "json", "csv", "html")]
    commands += [("top", "-b", "-n1", f"--screen={s}", f"--pid={pid}") for s in ("threads", "nodes", "regions")]
    for args in commands:
        # as `explain' waits for an agent to answer, and there is none
        p = subprocess.Popen([HUGENUMA, *args], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             stdin=subprocess.DEVNULL)
        try:
            out, err = p.communicate(timeout=0.4 if args[0] == "explain" else TIMEOUT)
        except subprocess.TimeoutExpired:
            same(args[0], "explain", "hangs")
            p.terminate()
            out, err = p.communicate()
        if p.returncode not in (-signal.SIGTERM, 0, 1):
            raise AssertionError(f"{args}: exit status {p.returncode}: {err[-500:]}")
        absent(CONTROL_CHARACTERS, (out + err).decode("utf-8"), f"output of {args}")


def test_wild_contents_hurt_nobody():
    need_root()
    for seed in range(5):
        with Hostile("wild", seed=seed) as h:
            look_at(str(h.pid))


def test_contents_that_change_meanwhile_hurt_nobody():
    need_root()
    for kind in ("flicker", "shrink"):
        with Hostile(kind) as h:
            for _ in range(3):
                look_at(str(h.pid))


def test_files_of_ended_processes_are_not_trusted():
    """A FIFO would hold root's command, contents of any kind break it."""
    need_root()
    with Hostile("valid") as h:
        ended = h.dir + "/ended.0"
        os.mkfifo(ended, 0o600)
        look_at(str(h.pid))
        os.unlink(ended)
        with Living() as p:
            own = os.path.dirname(next(f for d in os.listdir("/dev/shm") for f in [f"/dev/shm/{d}/run"]
                                       if d.startswith(f"hugenuma.{os.geteuid()}.{p.run.pid}.")))
            os.symlink(own + "/run", ended)
            look_at(str(h.pid))
        os.unlink(ended)
        with open("/dev/urandom", "rb") as f:
            noise = f.read(1 << 20)
        with open(ended, "wb") as f:
            f.write(noise)
        look_at(str(h.pid))


def test_the_agent_trusts_only_what_is_its_users():
    """The real agent, told of a file: it counts itself in there, or it keeps away and the program runs all the same."""
    need_root()
    agent = os.path.join(os.path.dirname(HUGENUMA), "libhugenuma-agent.so")
    me = os.geteuid()

    def counted(h, file=None):
        before = h.loaded()
        r = subprocess.run(["/bin/echo", "runs"], env={"LD_PRELOAD": agent, "HUGENUMA_SHM": file or h.file},
                           capture_output=True, text=True, timeout=TIMEOUT)
        same((r.returncode, r.stdout, r.stderr), (0, "runs\n", ""))
        return h.loaded() - before

    with Hostile("valid", uid=me) as h:
        same(counted(h), 1, "our own")
        os.chmod(h.file, 0o660)
        same(counted(h), 0, "open to others")
        os.chmod(h.file, 0o600)
        os.symlink("run", h.dir + "/link")
        same(counted(h, h.dir + "/link"), 0, "a symbolic link")
        os.link(h.file, h.dir + "/hard")
        same(counted(h), 0, "two names")
        os.unlink(h.dir + "/hard")
        os.chown(h.file, NOBODY, NOBODY)
        same(counted(h), 0, "another user's")
    for kind in ("magic", "machine", "short", "long"):
        with Hostile(kind, uid=me) as h:
            # a machine that is none is found when there is something to manage, see scanner.c
            same(counted(h), 1 if kind == "machine" else 0, kind)
    os.mkfifo(path("fifo"), 0o600)
    for odd in (path("fifo"), "/dev/zero", "/dev/tty", TMP, ""):
        r = subprocess.run(["/bin/echo", "runs"], env={"LD_PRELOAD": agent, "HUGENUMA_SHM": odd}, capture_output=True,
                           text=True, timeout=TIMEOUT)
        same((r.returncode, r.stdout, r.stderr), (0, "runs\n", ""), odd)


# ---- running them ----

def build_helpers():
    cc = os.environ.get("CC", "cc").split()
    for what in (["-shared", "-fPIC", "-o", AGENT, HERE + "/fake_agent.c"], ["-o", HOSTILE, HERE + "/hostile.c"]):
        subprocess.run([*cc, "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-I" + SRC,
                        "-I" + ROOT + "/include", *what, SRC + "/core/stats.c", SRC + "/core/record.c",
                        SRC + "/linux/sync_native.c", SRC + "/linux/call_native.c",
                        SRC + "/linux/block.c"], check=True)


OWN_SHARED_MEMORY = False


def have_shared_memory_of_our_own():
    """Where we may: what other runs on this machine have there would be counted among ours."""
    global OWN_SHARED_MEMORY
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0 and libc.unshare(0x20000) == 0 and libc.mount(b"none", b"/", None, 0x44000, None) == 0:
        OWN_SHARED_MEMORY = libc.mount(b"hugenuma-test", b"/dev/shm", b"tmpfs", 0, b"mode=1777") == 0


def have_signals_as_a_terminal_gives_them():
    """Not as nohup or a shell in the background does, which ignore some: that is inherited by what we start."""
    for sig in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD):
        if signal.getsignal(sig) == signal.SIG_IGN:
            signal.signal(sig, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def end_what_was_started():
    """What a test has left that failed would be found by the next one. Of a run that we wait for, the number is its own."""
    for p in STARTED:
        if p.poll() is None:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
    STARTED.clear()


def main(functions):
    tests = [(n[len("test_"):].replace("_", " "), f) for n, f in functions.items() if n.startswith("test_")]
    tests = [t for t in tests if len(sys.argv) < 3 or any(word in t[0] for word in sys.argv[2:])]
    failed = 0
    have_signals_as_a_terminal_gives_them()
    try:
        build_helpers()
        have_shared_memory_of_our_own()
        print(f"1..{len(tests)}")
        for i, (name, test) in enumerate(tests, 1):
            try:
                test()
                print(f"ok {i} - {name}", flush=True)
            except Skip as reason:
                print(f"ok {i} - {name} # SKIP {reason}", flush=True)
            except Exception as problem:  # an exception of any kind is a failed check
                failed += 1
                text = f"{type(problem).__name__}: {problem}".replace("\n", "\n# ")
                print(f"not ok {i} - {name}\n# {text}", flush=True)
            finally:
                end_what_was_started()
    finally:
        shutil.rmtree(TMP, ignore_errors=True)
    if failed:
        print(f"# {failed} of {len(tests)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main({**globals(), **in_step.TESTS}))
