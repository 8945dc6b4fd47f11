#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The Debian package, and a build from a fresh clone, on a bare Debian 12.

    test_package.py [--build FOLDER] [package|source]...       default: package

package: make-deb, then in a bare system apt installs the file, the command works, manual pages and completion are there,
         and after purging nothing is.
source:  `make deps && make` in a clone, then the unit tests and those of the command; installs some hundred packages.

The bare system is made by debootstrap from the mirror that apt uses here, and kept in ~/.cache/hugenuma. Needs root.
"""
import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RELEASE = "bookworm"


def skip(why):
    print(f"1..0 # SKIP {why}")
    print(why)
    sys.exit(77)


def mirror():
    for file in ["/etc/apt/sources.list", *glob.glob("/etc/apt/sources.list.d/*")]:
        with open(file, encoding="utf-8", errors="replace") as f:
            m = re.search(r"(?m)^(?:URIs: *|deb +(?:\[.*?\] *)?)(https?://\S*debian\.org/debian)/?(?:\s|$)", f.read())
        if m:
            return m[1]
    return "http://deb.debian.org/debian"


def bare_system():
    """The archive of a bare Debian, made once."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hugenuma")
    archive = os.path.join(cache, f"{RELEASE}-minbase.tar")
    if os.path.exists(archive):
        return archive
    if not shutil.which("debootstrap"):
        skip("debootstrap is not installed")
    os.makedirs(cache, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as tmp:
        r = subprocess.run(["debootstrap", "--variant=minbase", RELEASE, tmp + "/root", mirror()], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
        if r.returncode:
            skip(f"debootstrap from {mirror()} failed: {r.stdout.strip().splitlines()[-1]}")
        subprocess.run(["tar", "-C", tmp + "/root", "-cf", tmp + "/tar", "."], check=True)
        os.rename(tmp + "/tar", archive)
    return archive


class Chroot:
    """A bare system of our own, in a mount and PID namespace, gone afterwards with everything that was started in it."""

    def __enter__(self):
        self.top = tempfile.mkdtemp(prefix="hugenuma-package.")
        subprocess.run(["tar", "-C", self.top, "-xf", bare_system()], check=True)
        shutil.copy("/etc/resolv.conf", self.top + "/etc/resolv.conf")
        with open(self.top + "/usr/sbin/policy-rc.d", "w", encoding="ascii") as f:
            f.write("#!/bin/sh\nexit 101\n")
        os.chmod(self.top + "/usr/sbin/policy-rc.d", 0o755)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.top, ignore_errors=True)

    def run(self, script, timeout=300):
        """(status, output) of a shell script inside."""
        mounts = ("mount --bind $1 $1 && cd $1 && mount -t proc proc $1/proc && mount --rbind /sys $1/sys && mount --rbind /dev $1/dev && "
                  "mount -t tmpfs -o mode=1777 shm $1/dev/shm && exec chroot $1 /bin/sh -c \"$2\"")
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        r = subprocess.run(["unshare", "-m", "-p", "-f", "--kill-child", "--propagation", "private", "sh", "-c", mounts, "sh",
                            self.top, script], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           timeout=timeout, stdin=subprocess.DEVNULL)
        return r.returncode, r.stdout


def expect(chroot, script, wanted=0, pattern="", timeout=300):
    status, out = chroot.run(script, timeout)
    if status != wanted or not re.search(pattern, out, re.M):
        raise AssertionError(f"{script!r}: status {status} (wanted {wanted}), wanted /{pattern}/ in:\n{out[-3000:]}")
    return out


# A program of the bare system that has huge pages for a while.
MANAGED = ("GLIBC_TUNABLES=glibc.malloc.hugetlb=1 hugenuma run --report /tmp/r.json --min-mib 8 -- "
           "perl -e '$x = \"a\" x (64 << 20); for $i (1 .. 100) { substr($x, $_ * 4096, 1) = \"b\" for 0 .. 16383; "
           "select(undef, undef, undef, 0.03) }'")
# All that there is, but for what apt and dpkg keep about what they did.
EVERYTHING = ("find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /run -o -path /var/cache -o -path /var/log -o "
              "-path /var/lib/apt -o -path /var/lib/dpkg -o -path /root \\) -prune -o -print | sort")


def test_package(build):
    out = os.path.join(build, "deb")
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run([ROOT + "/tools/make-deb", out], check=True, stdout=sys.stderr)
    package, = glob.glob(out + "/hugenuma_*.deb")
    with Chroot() as c:
        shutil.copy(package, c.top + "/tmp/")
        if c.run("apt-get -q update")[0]:
            skip("the mirror cannot be reached from the bare system")
        # what the package needs, so that the comparison below is about the package alone
        needed = subprocess.run(["dpkg-deb", "-f", package, "Depends"], stdout=subprocess.PIPE, text=True, check=True).stdout
        names = " ".join(re.sub(r"\(.*?\)|\|.*", "", d).strip() for d in needed.split(","))
        expect(c, f"apt-get -q -y install --no-install-recommends {names}", timeout=600)
        before = expect(c, EVERYTHING)
        expect(c, "apt-get -q -y install --no-install-recommends /tmp/hugenuma_*.deb", timeout=600)
        expect(c, "hugenuma --version", pattern=r"^hugenuma \d")
        status, text = c.run("hugenuma doctor")
        if status not in (0, 1) or "would" not in text:
            raise AssertionError(f"doctor: {status}\n{text}")
        expect(c, "hugenuma run -- true")
        expect(c, "hugenuma run -q -- sh -c 'exit 7'", 7)
        if status == 0:
            expect(c, MANAGED + " && cat /tmp/r.json", pattern=r'"managed_count": 1')
            expect(c, "hugenuma report /tmp/r.json", pattern="managed huge, MiB")
        expect(c, "hugenuma check -q lock_vs_lock_vs_lock")
        expect(c, "for p in 1/hugenuma 1/hugenuma-run 1/hugenuma-record 5/hugenuma.conf 7/hugenuma; do "
                  "zcat /usr/share/man/man$p.*gz >/dev/null || exit 1; done")
        expect(c, "test -e /usr/share/bash-completion/completions/hugenuma -a -e /usr/share/zsh/vendor-completions/_hugenuma "
                  "-a -e /usr/share/fish/vendor_completions.d/hugenuma.fish")
        expect(c, "cd /usr/share/doc/hugenuma && test -s README.md -a -s docs/policy.md -a -s docs/report.md -a -s docs/head-to-head.svg && "
                  "hugenuma run --help", pattern="/usr/share/doc/hugenuma")
        expect(c, "cat /lib/udev/rules.d/60-hugenuma.rules && getent group hugenuma", pattern='GROUP="hugenuma"')
        expect(c, "apt-get -q -y install --reinstall /tmp/hugenuma_*.deb")
        expect(c, "echo 'scan.period_ms = 500' >/etc/hugenuma.conf; apt-get -q -y remove hugenuma; getent group hugenuma; "
                  "cat /etc/hugenuma.conf", pattern="^scan.period_ms = 500$")
        expect(c, "apt-get -q -y purge hugenuma; ! getent group hugenuma")
        after = expect(c, EVERYTHING)
        left = sorted(set(after.splitlines()) - set(before.splitlines()))
        gone = sorted(set(before.splitlines()) - set(after.splitlines()))
        # backups of the passwd family are made by addgroup, once
        left = [p for p in left if not re.fullmatch(r"/etc/(group|gshadow)-", p)]
        if left or gone:
            raise AssertionError(f"left behind: {left}, gone: {gone}")


def test_source(_build):
    with Chroot() as c:
        subprocess.run(["git", "clone", "-q", "--no-local", ROOT, c.top + "/root/hugenuma"], check=True)
        if c.run("apt-get -q update")[0]:
            skip("the mirror cannot be reached from the bare system")
        expect(c, "apt-get -q -y install --no-install-recommends make")
        expect(c, "cd /root/hugenuma && make deps && make", timeout=1800)
        expect(c, "cd /root/hugenuma && build/hugenuma run -- true && test -e build/man/hugenuma-run.1")
        expect(c, "cd /root/hugenuma && make test ONLY='layers cli record'", pattern=r"^\d+ passed, 0 failed", timeout=5400)
        units = " ".join(unit_tests(c))
        expect(c, f"cd /root/hugenuma && make test ONLY='{units}'", pattern=r"^\d+ passed, 0 failed", timeout=3600)


def unit_tests(chroot):
    listed = expect(chroot, "cd /root/hugenuma && tests/run-all --list")
    return [n for n in re.findall(r"unit-[\w-]+", listed) if n != "unit-planted"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("what", nargs="*", choices=[[], "package", "source"], default=[])
    args = parser.parse_args()
    tests = {"package": test_package, "source": test_source}
    names = args.what or ["package"]
    if os.geteuid() != 0:
        skip("needs root, for a system of its own")
    print(f"1..{len(names)}")
    failed = 0
    for i, name in enumerate(names, 1):
        try:
            tests[name](os.path.abspath(args.build))
            print(f"ok {i} - {name}", flush=True)
        except Exception as problem:  # an exception of any kind is a failed check
            failed += 1
            print(f"not ok {i} - {name}\n# " + f"{type(problem).__name__}: {problem}".replace("\n", "\n# "), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
