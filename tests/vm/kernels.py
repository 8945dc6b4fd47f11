# SPDX-License-Identifier: MIT
"""Debian kernels for the guests. Debian's "cloud" kernels have everything a guest needs built in."""
import glob
import os
import re

from debian import Apt, Unavailable, cache_folder, locked_cache, work_folder

META_PACKAGE = "linux-image-cloud-amd64"
# Where to look, in this order. A release's backports follow the newest kernels.
SUITES = ("bookworm-backports", "trixie", "trixie-backports")


def release_key(name):
    return [int(n) for n in re.findall(r"\d+", name)]


def matches(release, wanted):
    return release == wanted or re.match(re.escape(wanted) + r"[^0-9]", release) is not None


def cached(wanted):
    """Newest kernel in the cache whose release starts with `wanted`; None: there is none."""
    prefix = os.path.join(cache_folder(), "vmlinuz-")
    found = [f for f in glob.glob(glob.escape(prefix) + "*") if matches(f[len(prefix):], wanted)]
    return max(found, key=release_key, default=None)


def packages_of(apt, wanted):
    """The packages of the newest kernel `wanted`; none: not in these suites."""
    found = []
    for record in apt.run("apt-cache", "show", META_PACKAGE).split("\n\n"):
        package = re.search(r"^Depends:.*?\b(linux-image-(\d\S*?)-cloud-amd64)\b", record, re.M)
        if package and matches(package.group(2), wanted):
            found.append((release_key(package.group(2)), package.group(1)))
    if not found:
        return []
    package = max(found)[1]
    # Newer ones have the kernel itself in a package of its own.
    depends = re.search(r"^Depends:.*?\b(linux-binary-\S+)", apt.run("apt-cache", "show", package), re.M)
    return [package, depends.group(1)] if depends else [package]


def fetch(wanted, say):
    """Download and unpack a kernel into the cache, which is locked."""
    reason = "no suite has it"
    for suite in SUITES:
        with work_folder() as folder:
            try:
                apt = Apt(folder, [suite])
                apt.run("apt-get", "update")
                packages = packages_of(apt, wanted)
                if not packages:
                    continue
                say(f"fetching {packages[-1]} from {suite} (once)")
                top = os.path.join(folder, "x")
                apt.unpacked(packages, top)
                keep(top)
                return
            except Unavailable as error:
                reason = str(error)
    raise Unavailable(f"no kernel {wanted} in {cache_folder()}, and it cannot be fetched: {reason}")


def keep(top):
    """The kernel of unpacked packages, to the cache. Newer packages have it beside its modules."""
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
