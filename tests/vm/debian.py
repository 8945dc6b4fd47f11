# SPDX-License-Identifier: MIT
"""What guests need of Debian: fetched once, kept in the cache, offline from then on.

apt works on a state of its own; the machine's package lists, sources and installed packages stay as they are.
"""
import contextlib
import fcntl
import os
import subprocess
import tempfile

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DEFAULT_MIRROR = "http://deb.debian.org/debian"


class Unavailable(Exception):
    """What a guest needs cannot be had on this machine; the text says why."""


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("HUGENUMA_VM_CACHE") or os.path.join(base, "hugenuma-vm")


@contextlib.contextmanager
def locked_cache():
    """The cache, nobody else changing it meanwhile."""
    folder = cache_folder()
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def quiet_run(command, why, **kw):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, errors="replace", **kw)
    except OSError as error:
        raise Unavailable(f"{why}: {error}") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        # apt's first error is the cause, its last a summary.
        raise Unavailable(f"{why}: {next((line for line in said if line.startswith('E: ')), said[-1])}")
    return done.stdout


def mirror():
    """The Debian mirror this machine uses."""
    with contextlib.suppress(Unavailable):
        for line in quiet_run(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(COMPONENT)|$(REPO_URI)",
                               "Created-By: Packages"], "apt-get").splitlines():
            origin, component, uri = line.split("|")
            if (origin, component) == ("Debian", "main") and "security" not in uri:
                return uri
    return DEFAULT_MIRROR


class Apt:
    """apt-get and apt-cache on a state of their own."""

    def __init__(self, folder, suites):
        for sub in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(folder, sub))
        sources = os.path.join(folder, "sources.list")
        signed = f"[signed-by={KEYRING}] " if os.path.exists(KEYRING) else ""
        with open(sources, "w", encoding="ascii") as f:
            f.writelines(f"deb {signed}{mirror()} {suite} main\n" for suite in suites)
        with open(os.path.join(folder, "status"), "w", encoding="ascii"):
            pass
        self.folder = folder
        self.options = ["-qq"]
        for name, value in (("Dir::Etc::SourceList", sources), ("Dir::Etc::SourceParts", "/dev/null"),
                            ("Dir::State", folder), ("Dir::State::Lists", os.path.join(folder, "lists")),
                            ("Dir::State::status", os.path.join(folder, "status")),
                            ("Dir::Cache", os.path.join(folder, "cache")), ("APT::Architecture", "amd64"),
                            ("APT::Architectures", "amd64"), ("APT::Sandbox::User", "root"),
                            ("APT::Update::Error-Mode", "any"), ("Acquire::Retries", "3"),
                            ("Acquire::http::Timeout", "30"), ("Acquire::https::Timeout", "30")):
            self.options += ["-o", f"{name}={value}"]

    def run(self, tool, *args, **kw):
        return quiet_run([tool, *self.options, *args], f"{tool} {args[0]}", **kw)

    def unpacked(self, packages, folder):
        """Download packages, and unpack them to a folder."""
        self.run("apt-get", "download", *packages, cwd=self.folder)
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(".deb"):
                quiet_run(["dpkg-deb", "-x", os.path.join(self.folder, name), folder], "unpacking")


@contextlib.contextmanager
def work_folder():
    """For a while, in the cache, which is locked."""
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache_folder()) as folder:
        yield folder
