# SPDX-License-Identifier: MIT
"""One guest: what qemu is told, and the time from its start to its end.

Nothing is written to a disk: the initramfs and all that comes back live in memory files, which end with their
processes. The guest ends when this process does, however it ends.
"""
import ctypes
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time

import tsc

PORTS = ("up", "out", "err", "files", "status")
POLL_SECONDS = 0.1
# From the guest's last word to the end of qemu, which is then ended by force.
END_SECONDS = 10
CONSOLE_LINES = 30
PR_SET_PDEATHSIG = 1
CMDLINE = "console=ttyS0 quiet panic=-1 tsc=reliable mitigations=off no_timer_check"
libc = ctypes.CDLL(None)


class Failed(Exception):
    """The guest, or what surrounds it, failed; the text says how."""


class NeverUp(Failed):
    """The guest's kernel ended before the first process had begun: nothing of the command has happened."""


class TimedOut(Exception):
    pass


class Shape:
    """Nodes, their CPUs, memory and distances."""

    def __init__(self, cpus, memory_mib, distances):
        self.cpus, self.memory_mib, self.distances = cpus, memory_mib, distances

    def arguments(self):
        args, first = [], 0
        for node, (cpus, mib) in enumerate(zip(self.cpus, self.memory_mib)):
            text = f"node,nodeid={node}"
            if mib:
                args += ["-object", f"memory-backend-ram,id=m{node},size={mib}M"]
                text += f",memdev=m{node}"
            if cpus:
                text += f",cpus={first}-{first + cpus - 1}"
            first += cpus
            args += ["-numa", text]
        for i, row in enumerate(self.distances or ()):
            for j, distance in enumerate(row):
                if i != j:
                    args += ["-numa", f"dist,src={i},dst={j},val={distance}"]
        # A socket per node where that is what the nodes are, else a socket per CPU: qemu wants sockets whole.
        sockets = len(self.cpus) if len(set(self.cpus)) == 1 else first
        return [*args, "-m", f"{sum(self.memory_mib)}M",
                "-smp", f"{first},sockets={sockets},cores={first // sockets},threads=1"]


def clock_arguments(clock, accel, shift):
    if accel == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    # Newer models than Nehalem, and cmpxchg16b, crash under some versions' emulation. rdrand: else there is no
    # randomness when init starts, and python waits for none.
    cpu = ["-cpu", "Nehalem,-cx16,+rdrand"]
    if clock == "icount":
        # Guest time is executed instructions; all CPUs in one thread of the host.
        return [*cpu, "-accel", "tcg,thread=single", "-icount", f"shift={shift},sleep=off",
                "-rtc", "base=2030-01-01T00:00:00,clock=vm"]
    return [*cpu, "-accel", "tcg,thread=multi"]


def clock_words(clock, accel):
    """What the guest's kernel is told of its time stamp counter."""
    khz = tsc.khz() if clock == "parallel" and accel == "tcg" else None
    return f" tsc_early_khz={khz}" if khz else ""


class MemoryFile:
    """A file without a name; others open it by the path while this process lives."""

    def __init__(self, name):
        self.fd = os.memfd_create(name)
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"
        self.at = 0

    def new(self):
        """What was added since the last call."""
        data = os.pread(self.fd, max(os.fstat(self.fd).st_size - self.at, 0), self.at)
        self.at += len(data)
        return data

    def all(self):
        return os.pread(self.fd, os.fstat(self.fd).st_size, 0)

    def write(self, data):
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view):]


class Guest:
    def __init__(self, qemu, kernel, archives, shape, clock="parallel", accel="tcg", cmdline="", shift=1):
        self.initrd = MemoryFile("initrd")
        for archive in archives:
            self.initrd.write(archive)
        self.port = {name: MemoryFile(name) for name in PORTS}
        self.console, self.words = MemoryFile("console"), MemoryFile("qemu")
        self.command = [
            *qemu, "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
            "-name", "hugenuma-test-guest", "-kernel", kernel, "-initrd", self.initrd.path,
            "-append", f"{CMDLINE}{clock_words(clock, accel)} {cmdline}".rstrip(), *shape.arguments(), *clock_arguments(clock, accel, shift),
            "-chardev", f"file,id=console,path={self.console.path}", "-serial", "chardev:console",
            "-device", f"virtio-serial-pci,max_ports={len(PORTS) + 1}",
        ]
        for name in PORTS:
            self.command += ["-chardev", f"file,id={name},path={self.port[name].path}",
                             "-device", f"virtserialport,chardev={name},name={name}"]
        self.child = None

    def start(self):
        parent = os.getpid()

        def die_with_parent():
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        # A session of its own: Ctrl-C is for us, and we end the guest.
        self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.words.fd,
                                      stderr=self.words.fd, start_new_session=True, preexec_fn=die_with_parent)

    def end(self):
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def status(self):
        """What the guest said at its end; None: nothing yet."""
        said = self.port["status"].all()
        return json.loads(said) if said.endswith(b"\n") else None

    def wait(self, seconds, out, err):
        """Until the guest has said its status or is gone; its output goes to the descriptors meanwhile."""
        end = time.monotonic() + seconds
        while True:
            gone = self.child.poll() is not None
            for name, fd in (("out", out), ("err", err)):
                write_all(fd, self.port[name].new())
            status = self.status()
            if status:
                self.wait_end()
                return status
            if gone:
                how = Failed if self.port["up"].all() else NeverUp
                raise how(f"the guest ended without a status; its last words:\n{self.last_words()}")
            if time.monotonic() > end:
                raise TimedOut(self.last_words())
            time.sleep(POLL_SECONDS)

    def wait_end(self):
        try:
            self.child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.end()

    def last_words(self):
        text = (self.words.all() + self.console.all()).decode(errors="replace").replace("\r", "")
        return "\n".join(text.splitlines()[-CONSOLE_LINES:])

    def unpack(self, number, place):
        """File or folder `number` of the job's "get" list, to the path `place` or into the folder `place/`."""
        with tarfile.open(fileobj=io.BytesIO(self.port["files"].all())) as tar:
            for member in tar:
                top, _, rest = member.name.partition("/")
                name, _, inner = rest.partition("/")
                if top != str(number) or ".." in rest.split("/"):
                    continue
                target = os.path.join(place, name) if place.endswith("/") else place
                unpack_member(tar, member, os.path.join(target, inner) if inner else target)


def unpack_member(tar, member, path):
    if member.isdir():
        os.makedirs(path, exist_ok=True)
        return
    if member.isreg():
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "wb") as f:
            shutil.copyfileobj(tar.extractfile(member), f)
        os.chmod(path, member.mode & 0o777)


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]
