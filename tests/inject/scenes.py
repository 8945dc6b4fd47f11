# SPDX-License-Identifier: MIT
"""What each call can say, in which runs of victim.c the agent makes it, and whether all that it can make is among them."""
import glob
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "torture"))
import harness  # noqa: E402  pylint: disable=wrong-import-position

# From the manual pages and from what the kernel's userfaultfd does.
ERRORS = {
    "move": "EAGAIN EBUSY ENOENT EEXIST EINVAL ENOMEM ESRCH EFAULT short silent unread",
    "copy": "EAGAIN ENOENT EINVAL ENOMEM ESRCH EFAULT short there",
    "poison": "EAGAIN ENOENT EINVAL ENOMEM ESRCH there",
    "zeropage": "EAGAIN EEXIST EINVAL ENOENT ENOMEM ESRCH",
    "register": "EINVAL ENOMEM EBUSY EPERM",
    "unregister": "EINVAL ENOMEM",
    "rwprotect": "EAGAIN EINVAL ENOENT ENOMEM",
    "uffd_api": "EINVAL EPERM",
    "uffd_new": "EMFILE ENFILE ENOMEM EPERM",
    "userfaultfd": "EMFILE ENFILE ENOMEM EPERM ENOSYS",
    "pagemap_scan": "EINVAL ENOMEM EINTR EFAULT ENOTTY",
    "procmap_query": "ENOENT ENOTTY ESRCH ENOMEM",
    "futex_wait": "EAGAIN EINTR ETIMEDOUT",
    "clone": "EAGAIN ENOMEM EPERM",
    "wait4": "ECHILD",
    "read": "EAGAIN EINTR EIO ENOMEM short",
    "pread": "EINTR EIO ENOMEM EPERM short",
    "write": "EAGAIN EFAULT EINTR",
    "poll": "EINTR ENOMEM EINVAL",
    "openat": "EMFILE ENFILE ENOENT EACCES EPERM ENOMEM",
    "close": "EIO EINTR",
    "close_range": "EMFILE ENOMEM EINVAL ENOSYS",
    "fcntl": "EPERM EINVAL",
    "lseek": "EINVAL",
    "getdents": "ENOENT EINVAL short",
    "readlink": "EACCES ENOENT ENOMEM",
    "eventfd": "EMFILE ENFILE ENOMEM ENODEV",
    "mmap": "ENOMEM EAGAIN EPERM",
    "munmap": "ENOMEM",
    "mprotect": "ENOMEM EACCES",
    "madvise": "EAGAIN ENOMEM EINVAL EBUSY EIO",
    "munlock": "ENOMEM EPERM",
    "msync": "EBUSY ENOMEM",
    "mbind": "EIO ENOMEM EINVAL EPERM",
    "move_pages": "EACCES ENOMEM ENODEV EPERM left",
    "set_mempolicy": "EINVAL ENOMEM EPERM",
    "get_mempolicy": "EINVAL EPERM",
    "timer_create": "EAGAIN ENOMEM EINVAL",
    "timer_settime": "EINVAL",
    "timer_delete": "EINVAL",
    "clock_gettime": "EINVAL",
    "nanosleep": "EINTR",
    "get_robust_list": "EPERM ESRCH",
    "capset": "EPERM",
    "prctl": "EINVAL EPERM",
    "sched_setaffinity": "EPERM EINVAL ESRCH",
    "sched_setscheduler": "EPERM EINVAL",
    "setpriority": "EPERM EACCES ESRCH",
    "getpriority": "ESRCH EPERM",
    "sched_getaffinity": "EINVAL ESRCH EPERM",
    "sysinfo": "EFAULT",
    "getrusage": "EFAULT",
    "prlimit": "EPERM",
    "rt_sigaction": "EINVAL",
    "rt_sigqueueinfo": "EPERM EAGAIN",
    "tgkill": "ESRCH EPERM",
}

# Calls that there is no way on from, or that cannot fail; docs/compatibility.md says why for each.
NOT_FAILED = {"event", "wake", "futex_wake", "sched_yield", "rt_sigprocmask", "sigaltstack", "unshare"}
# The same, not even counted. seccomp(2) is the program's own, passed on.
NOT_COUNTED = {"exit", "exit_group", "getpid", "gettid", "geteuid", "kill", "rt_tgsigqueueinfo", "seccomp"}

# There is no way on without messages, nor where neither a move nor a copy is ever let through.
NOT_FOR_EVER = ("read", "copy")

# When: the first, a later one, every one, and some all the time.
MODES = ("1", "{mid}", "1/1", "{mid}/1", "2/3")
EACH = 40  # with --full: of kinds of which there are no more calls than this, each one by itself
# After a fall what is done once more comes last.
MODES_OF_RESCUE = ("{late}", "1/3", "{late}/2")

EAGER = ["--start-now", "--min-mib", "2", "--period-ms", "2", "--window-mib", "1024", "--policy", "always"]
REAL = ["--start-now", "--min-mib", "2", "--period-ms", "20", "--window-mib", "1024", "--policy", "always"]


class Scene:
    """
    A way to run the victim. kinds: what it must reach, and what is made to fail in it; None: all that it reaches.
    standing: an order to inject.c that holds in each of its runs. not_for_ever: what may not fail each time.
    most: {kind: calls}, how many there may be when nothing fails.
    """

    def __init__(self, name, kinds, options, victim=("500",), standing="", modes=MODES, not_for_ever=NOT_FOR_EVER,
                 most=None):
        self.name, self.kinds, self.options = name, kinds, list(options)
        self.victim, self.standing, self.modes, self.not_for_ever = victim, standing, modes, not_for_ever
        self.most = most or {}


# The kernel refuses to tell of forks: then a bare one is not right, and docs/compatibility.md says so.
NOT_PLAIN = {"uffd_api"}
PLAIN = Scene("plain", None, [*harness.VIRTUAL, *EAGER])
# Not one of SCENES: what is slow in it is in the rule.
SLOW = Scene("slow", (), PLAIN.options, ("45000", "still"))
SCENES = (
    PLAIN,
    Scene("forks not told", ("uffd_api",), PLAIN.options, ("500", "libc")),
    # Leaving, for a moment: threads end, areas are unmapped, and a second one waits for its turn.
    Scene("users", ("write", "munmap", "unregister", "nanosleep", "munlock", "close", "tgkill"), PLAIN.options, ("300", "users"),
          not_for_ever=(*NOT_FOR_EVER, "write")),  # or the handlers would never end their poll
    # Without --start-now it is for timers to see that there are huge pages.
    Scene("by timer", ("timer_create", "timer_settime", "timer_delete", "getrusage", "rt_sigaction"),
          [*harness.VIRTUAL, *EAGER[1:]], ("700",)),
    # A first EPERM is taken for the word of forks being refused.
    Scene("no device", ("userfaultfd",), PLAIN.options, ("500", "libc"), standing="uffd_new@1/1:1"),
    # As many virtual CPUs as there are: threads' control blocks are read.
    Scene("control blocks", ("write", "read", "get_robust_list"), ["--topology", "node:2 pu:1", *EAGER]),
    Scene("threads moved", ("sched_getaffinity", "sched_setaffinity", "capset"),
          ["--topology", "node:2 pu:1", "--move-threads", *EAGER], ("900",)),
    # A child of a bare fork is given its pages, and the kernel has it wait.
    Scene("late children", ("nanosleep", "fcntl"), PLAIN.options, standing="copy@1/3:11"),
    # 32 pages of 512 base pages that a child does not have: each is tried twice.
    Scene("kept back", ("copy",), PLAIN.options, ("100", "kept back"), most={"copy": 40000, "read": 32 * 512}),
    # Between a look at a mapping and its registration the program takes a part of it away and puts another there.
    Scene("beside", ("register",), PLAIN.options, ("1500", "beside"), standing="register@1/1:sleep=6"),
    Scene("born with a filter", ("wait4",), PLAIN.options, ("300", "filter")),
    Scene("signals", ("rt_sigqueueinfo",), PLAIN.options, ("300", "signals")),
    # A base page of what is in staging has a hardware memory error, again and again.
    Scene("memory lost", ("poison", "move", "copy", "madvise", "unregister"), PLAIN.options, ("500", "lost"), standing="move@20/5:lost",
          not_for_ever=(*NOT_FOR_EVER, "poison", "move", "madvise")),  # the last tells such an error from others
    Scene("rescue", ("write", "nanosleep", "move", "copy", "read", "unregister", "close", "futex_wait", "madvise", "pagemap_scan"),
          PLAIN.options, standing="pagemap_scan@400:segv", modes=MODES_OF_RESCUE),
    # Handlers of the program that are called once (SA_RESETHAND), not used up by a fault of ours; others go round meanwhile.
    Scene("one shot", ("futex_wait",), PLAIN.options, ("500", "one shot"), standing="move@300:segv+", modes=MODES_OF_RESCUE),
)

# In a guest only: several real nodes; the last with a kernel that has the call.
SCENES_OF_NODES = (
    Scene("nodes", ("mbind", "move_pages", "get_mempolicy", "set_mempolicy"), REAL, ("1000",)),
    Scene("kernel's mover", ("mbind", "move_pages", "madvise"), [*REAL, "--mover", "kernel"], ("1000",)),
)
SCENES_OF_RWP = (
    Scene("armed in place", ("rwprotect", "msync", "move", "pagemap_scan"), [*REAL, "--arm", "rwp"], ("1000",)),
    Scene("armed in place, rescue", ("rwprotect", "move"), [*REAL, "--arm", "rwp"], ("1000",), standing="pagemap_scan@400:segv",
          modes=MODES_OF_RESCUE),
)


def kinds_of_injector():
    """{name: what the sources call it}, as inject.c has it."""
    with open(os.path.join(HERE, "inject.c"), encoding="utf-8") as f:
        rows = re.findall(r'^\t\{ "(\w+)", (?:SYS_)?(\w+), (\w+) \},', f.read(), re.M)
    return {name: request.removeprefix("HN_") if call == "ioctl" else call for name, call, request in rows}


# ---- are these all? ----

def calls_in(paths):
    """System calls and requests of ioctl(2) that these sources make."""
    found = set()
    for path in paths:
        with open(path, encoding="utf-8") as f:
            text = re.sub(r"/\*.*?\*/|//[^\n]*", "", f.read(), flags=re.S)
        found |= set(re.findall(r"\bSYS_([a-z]\w*)", text)) - {"ioctl"}
        found |= set(re.findall(r"\b(?:HN_)?(UFFDIO_[A-Z]+|PAGEMAP_SCAN|PROCMAP_QUERY|USERFAULTFD_IOC_NEW)\b", text))
    return found


def check_tables(tap, kinds):
    """The sources against the tables. Not where there are no sources (a guest)."""
    source = os.path.join(SOURCE, "src")
    if not os.path.isdir(source):
        return
    paths = [p for layer in ("linux", "agent") for p in sorted(glob.glob(os.path.join(source, layer, "*.[ch]")))]
    trial = [p for p in paths if os.path.basename(p) == "filter.c"]
    made = calls_in(p for p in paths if p not in trial)
    unknown = made - set(kinds.values()) - NOT_COUNTED
    if not tap.check(made and not unknown, "every call of the agent can be made to fail, or is known not to"):
        tap.note(f"neither in inject.c nor in NOT_COUNTED: {', '.join(sorted(unknown))}")
    # unshare(2) is the program's own, getpid(2) comes with the trial's kill(2).
    untried = made - calls_in(trial) - {"unshare", "getpid"}
    if not tap.check(not untried, "and is tried first in a process born with a filter"):
        tap.note(f"not in src/agent/filter.c: {', '.join(sorted(untried))}")
    stale = set(kinds.values()) - calls_in(paths) - {"NO_CALL"}
    if not tap.check(not stale, "and no other is in the table"):
        tap.note(f"never made by the agent: {', '.join(sorted(stale))}")
