# SPDX-License-Identifier: MIT
"""qemu: the installed one, or where that is too old a newer one of Debian's backports, kept in the cache.

With guest time tied to executed instructions one CPU of the guest runs at a time, until the next timer. Before 8.1 the CPU
after it then has no time left, serves the timer and gives the next turn away: of two busy CPUs one can stand still for
seconds, with whatever the other waits for. Programs whose threads do not need each other do not notice.
"""
import os
import re
import shutil

from debian import Apt, Unavailable, cache_folder, locked_cache, quiet_run, work_folder

NAME = "qemu-system-x86_64"
FAIR = (8, 1)
SUITE = "bookworm-backports"
PACKAGES = ("qemu-system-x86", "qemu-system-data", "seabios")


def installed():
    found = shutil.which(NAME)
    if not found:
        raise Unavailable(f"{NAME} is not installed (Debian: qemu-system-x86)")
    return found


def version(path):
    """(major, minor)"""
    found = re.search(r"version (\d+)\.(\d+)", quiet_run([path, "--version"], f"{path} --version"))
    if not found:
        raise Unavailable(f"{path} --version: expected a version")
    return int(found.group(1)), int(found.group(2))


def kept(folder):
    """The command line of the one in the cache; the installed one's firmware is for what its packages leave out."""
    share = os.path.join(folder, "usr", "share")
    return [os.path.join(folder, "usr", "bin", NAME), "-L", f"{share}/qemu", "-L", f"{share}/seabios", "-L", "/usr/share/qemu"]


def fetch(folder, say):
    with work_folder() as work:
        try:
            apt = Apt(work, [SUITE])
            apt.run("apt-get", "update")
            say(f"fetching {PACKAGES[0]} from {SUITE} (once)")
            top = os.path.join(work, "x")
            apt.unpacked(PACKAGES, top)
            if version(kept(top)[0]) < FAIR:
                raise Unavailable(f"that of {SUITE} is as old")
            os.rename(top, folder)
        except Unavailable as error:
            raise Unavailable(f"the installed qemu is older than {FAIR[0]}.{FAIR[1]} and lets CPUs starve with --clock icount; "
                              f"a newer one cannot be had: {error}") from error


def place():
    """Where one of Debian's backports is kept."""
    return os.path.join(cache_folder(), "qemu")


def is_at_hand(clock):
    """Is a guest with this clock to be had without fetching anything?"""
    return clock != "icount" or version(installed()) >= FAIR or os.path.exists(place())


def command(clock, say):
    """The start of the command line."""
    path, folder = installed(), place()
    if clock != "icount" or version(path) >= FAIR:
        return [path]
    with locked_cache():
        if not os.path.exists(folder):
            fetch(folder, say)
    return kept(folder)
