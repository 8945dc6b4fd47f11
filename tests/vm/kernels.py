# SPDX-License-Identifier: MIT
"""Debian kernels for the guests: fetched once, kept in the cache, offline from then on.

Debian's "cloud" kernels have everything a guest needs built in. They come from the suites below through an apt state of
its own; the machine's package lists, sources and installed packages stay as they are.
"""
import contextlib
import fcntl
import glob
import os
import re
import subprocess
import tempfile

META_PACKAGE = "linux-image-cloud-amd64"
# Where to look, in this order. A release's backports follow the newest kernels.
SUITES = ("bookworm-backports", "trixie", "trixie-backports")
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


def release_key(name):
    return [int(n) for n in re.findall(r"\d+", name)]


def matches(release, wanted):
    return release == wanted or re.match(re.escape(wanted) + r"[^0-9]", release) is not None


def cached(wanted):
    """Newest kernel in the cache whose release starts with `wanted`; None: there is none."""
    prefix = os.path.join(cache_folder(), "vmlinuz-")
    found = [f for f in glob.glob(glob.escape(prefix) + "*") if matches(f[len(prefix):], wanted)]
    return max(found, key=release_key, default=None)


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

    def kernel_packages(self, wanted):
        """The packages of the newest kernel `wanted`; none: not in these suites."""
        found = []
        for record in self.run("apt-cache", "show", META_PACKAGE).split("\n\n"):
            package = re.search(r"^Depends:.*?\b(linux-image-(\d\S*?)-cloud-amd64)\b", record, re.M)
            if package and matches(package.group(2), wanted):
                found.append((release_key(package.group(2)), package.group(1)))
        if not found:
            return []
        package = max(found)[1]
        # Newer ones have the kernel itself in a package of its own.
        depends = re.search(r"^Depends:.*?\b(linux-binary-\S+)", self.run("apt-cache", "show", package), re.M)
        return [package, depends.group(1)] if depends else [package]


def fetch(wanted, say):
    """Download and unpack a kernel into the cache, which is locked."""
    reason = "no suite has it"
    for suite in SUITES:
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache_folder()) as folder:
            try:
                apt = Apt(folder, [suite])
                apt.run("apt-get", "update")
                packages = apt.kernel_packages(wanted)
                if not packages:
                    continue
                say(f"fetching {packages[-1]} from {suite} (once)")
                apt.run("apt-get", "download", *packages, cwd=folder)
                unpack(folder)
                return
            except Unavailable as error:
                reason = str(error)
    raise Unavailable(f"no kernel {wanted} in {cache_folder()}, and it cannot be fetched: {reason}")


def unpack(folder):
    """The kernel of the packages in a folder, to the cache. Newer packages have it beside its modules."""
    top = os.path.join(folder, "x")
    for deb in glob.glob(os.path.join(glob.escape(folder), "*.deb")):
        quiet_run(["dpkg-deb", "-x", deb, top], "unpacking the kernel")
    named = {os.path.basename(f)[len("vmlinuz-"):]: f for f in glob.glob(f"{glob.escape(top)}/boot/vmlinuz-*")}
    beside = glob.glob(f"{glob.escape(top)}/usr/lib/modules/*/vmlinuz")
    named.update({os.path.basename(os.path.dirname(f)): f for f in beside})
    if not named:
        raise Unavailable("there is no kernel in the package")
    for release, path in named.items():
        os.replace(path, os.path.join(cache_folder(), f"vmlinuz-{release}"))


def kernel(wanted, say):
    """Path of a kernel `wanted`, such as "6.12"; from the cache, else fetched."""
    found = cached(wanted)
    if not found:
        with locked_cache():
            if not cached(wanted):
                fetch(wanted, say)
        found = cached(wanted)
    if not found:
        raise Unavailable(f"no kernel {wanted}")
    return found
