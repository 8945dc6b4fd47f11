# SPDX-License-Identifier: MIT
"""The guest's root file system: cpio archives, one behind the other, which the kernel unpacks in turn.

The base (tools of this machine, python) is packed once and cached. What changes (the built tree, the tests, the files
of one run) goes into a second archive. Every ELF file brings the shared libraries that ldd names.
"""
import glob
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
FORMAT = 1  # of the base archive: another number makes everybody pack it anew
GUEST_ROOT = "/hugenuma"
FOLDERS = ("bin", "dev", "etc", "out", "proc", "root", "run", "sbin", "sys", "tmp", "usr/bin", "usr/sbin", "var/tmp")
# Those that are missing here are missing there.
TOOLS = """awk bash cat chmod chown chrt cp cut date dd dmesg echo env expr false find free getconf grep head hostname
id kill ln ls lstopo-no-graphics migratepages mkdir mktemp mount mv nproc numactl numastat od ps pwd readlink rm rmdir
sed seq setpriv sh sleep sort stat strace sync sysctl tail tar taskset tee test timeout touch tr true umount uname uniq
unshare wc xargs""".split()
# Loaded by name, so no ldd shows it: thread cancellation needs it.
LATE_LIBRARIES = ("libgcc_s.so.1",)
NOT_OF_PYTHON = re.compile(r"^(test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|(site|dist)-packages|"
                           r"distutils|pydoc_data|sqlite3|config-.*|_(tkinter|sqlite3|ssl|curses|test|dbm|gdbm).*\.so)$|"
                           r"\.(a|exe)$")
ASK_PYTHON = ("import json, sys, sysconfig; print(json.dumps([sys.executable, sysconfig.get_path('stdlib'), "
              "sys.implementation.cache_tag, sys.version]))")
# What is in a build directory for the build's sake.
NOT_OF_BUILD = re.compile(r"\.(p|a|o|d|h|c|stamp|ninja|json|log|txt)$|^(meson-.*|test-logs|fuzz|\..*)$")


class Archive:
    """Collects files, then writes them as one cpio archive ("newc")."""

    def __init__(self, without=None):
        self.items = {}  # guest path without the leading slash: (mode, mtime, content as bytes or host path)
        self.without = without.items if without else {}

    def folder(self, path):
        path = path.strip("/")
        if path and path not in self.items and path not in self.without:
            self.folder(os.path.dirname(path))
            self.items[path] = (stat.S_IFDIR | 0o755, 0, b"")

    def data(self, path, content, mode=0o644):
        self.folder(os.path.dirname(path))
        self.items[path.strip("/")] = (stat.S_IFREG | mode, 0, content)

    def link(self, path, target):
        self.folder(os.path.dirname(path))
        self.items[path.strip("/")] = (stat.S_IFLNK | 0o777, 0, target.encode())

    def file(self, host, path, libraries=True):
        """A file, and the libraries of an ELF file, each under its own path."""
        self.folder(os.path.dirname(path))
        status = os.stat(host)
        self.items[path.strip("/")] = (stat.S_IFREG | status.st_mode & 0o777, int(status.st_mtime), host)
        if libraries:
            for library in libraries_of(host):
                if library.strip("/") not in self.items and library.strip("/") not in self.without:
                    self.file(library, library, libraries=False)

    def tree(self, host, path, leave=lambda name: False):
        """A folder. Links are followed; what `leave` says of a name stays out."""
        self.folder(path)
        for name in sorted(os.listdir(host)):
            inner = os.path.join(host, name)
            if leave(name) or not os.path.exists(inner):
                continue
            if os.path.isdir(inner):
                self.tree(inner, os.path.join(path, name), leave)
            elif os.path.isfile(inner):
                self.file(inner, os.path.join(path, name))

    def write(self, out):
        items = [(path, *item) for path, item in sorted(self.items.items())] + [("TRAILER!!!", 0, 0, b"")]
        for number, (path, mode, mtime, content) in enumerate(items, 1):
            if isinstance(content, str):
                with open(content, "rb") as f:
                    content = f.read()
            name = path.encode() + b"\0"
            fields = (number, mode, 0, 0, 1, mtime, len(content), 0, 0, 0, 0, len(name), 0)
            head = b"070701" + b"".join(b"%08X" % f for f in fields) + name
            out.write(head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4))


def libraries_of(path):
    with open(path, "rb") as f:
        if f.read(4) != b"\x7fELF":
            return []
    done = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          env={k: v for k, v in os.environ.items() if not k.startswith("LD_")})
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", done.stdout, re.M)


# ---- the base ----

def tool_paths():
    path = os.pathsep.join(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])
    found = {tool: shutil.which(tool, path=path) for tool in TOOLS}
    return {tool: os.path.realpath(path) for tool, path in found.items() if path}


class Python:
    """The guest's python: the distribution's where there is one, else that which runs this."""

    def __init__(self):
        python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
        done = subprocess.run([python, "-I", "-c", ASK_PYTHON], stdout=subprocess.PIPE, text=True, check=True)
        path, self.library, self.tag, self.version = json.loads(done.stdout)
        self.path = os.path.realpath(path)

    def files(self):
        """The standard library, with its bytecode where this machine has it: compiling is slow in a guest."""
        found = []
        for folder, folders, names in os.walk(self.library):
            folders[:] = [d for d in folders if not NOT_OF_PYTHON.search(d)]
            found += [os.path.join(folder, n) for n in names if not NOT_OF_PYTHON.search(n) and
                      (not n.endswith(".pyc") or n.endswith(f".{self.tag}.pyc"))]
        return found


def pack_base(python):
    archive = Archive()
    for folder in FOLDERS:
        archive.folder(folder)
    for tool, path in tool_paths().items():
        archive.file(path, f"/usr/bin/{tool}")
        archive.link(f"/bin/{tool}", f"/usr/bin/{tool}")
    archive.file(python.path, python.path)
    for link in {"/usr/bin/python3", "/bin/python3"} - {python.path}:
        archive.link(link, python.path)
    for path in python.files():
        archive.file(path, path, libraries=".so" in path)
    for name in LATE_LIBRARIES:
        for path in [f for d in ("/lib/*-linux-gnu", "/lib64") for f in glob.glob(f"{d}/{name}")][:1]:
            archive.file(path, path)
    archive.data("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    archive.data("/etc/group", b"root:x:0:\nnogroup:x:65534:\n")
    archive.data("/etc/hosts", b"127.0.0.1 localhost\n")
    return archive


def base_key(python):
    """Changes when the base would."""
    what = [FORMAT, python.path, python.library, python.version, TOOLS]
    for path in [python.path, *tool_paths().values()]:
        status = os.stat(path)
        what.append((path, status.st_size, int(status.st_mtime)))
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def base(cache):
    """(path of the base archive, Archive that knows what is in it). The cache is locked."""
    python = Python()
    path = os.path.join(cache, f"base-{base_key(python)}.cpio")
    names = path + ".names"
    if not (os.path.exists(path) and os.path.exists(names)):
        for old in glob.glob(os.path.join(glob.escape(cache), "base-*")):
            os.unlink(old)
        archive = pack_base(python)
        with open(path + ".new", "wb") as f:
            archive.write(f)
        with open(names, "w", encoding="utf-8") as f:
            json.dump(sorted(archive.items), f)
        os.replace(path + ".new", path)
    known = Archive()
    with open(names, encoding="utf-8") as f:
        known.items = dict.fromkeys(json.load(f))
    return path, known


# ---- what changes ----

def put(archive, host, guest):
    """A file or folder of the user's. A guest path that ends in / is a folder to put it in."""
    guest = os.path.join("/root", guest or "./")
    if guest.endswith("/"):
        guest = os.path.join(guest, os.path.basename(os.path.abspath(host)))
    guest = os.path.normpath(guest)
    if os.path.isdir(host):
        archive.tree(host, guest)
    else:
        archive.file(host, guest)


def overlay(known, build, source, puts, job):
    """The archive of one run: the guest's init, its job, the built tree and the tests, the user's files."""
    archive = Archive(without=known)
    archive.file(os.path.join(HERE, "init"), "/init")
    archive.data("/run/job.json", json.dumps(job).encode())
    if build:
        archive.tree(build, f"{GUEST_ROOT}/build", NOT_OF_BUILD.search)
    archive.tree(os.path.join(source, "tests"), f"{GUEST_ROOT}/tests", lambda n: n.endswith(".c") or n == "__pycache__")
    for host, guest in puts:
        put(archive, host, guest)
    out = io.BytesIO()
    archive.write(out)
    return out.getvalue()
