#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""redis-server in huge pages: values written, overwritten, deleted and compared while redis-benchmark hammers it.

The server forks once (BGSAVE) while everything is being armed and moved; a second, bare server loads what the child
wrote and must hold the same data.
"""
import os
import random
import subprocess
import tempfile
import threading
import time

import programs
import resp

KEYS = 9000
CHUNK = 64
# Values of all sizes between the two, 270 MiB together.
SMALLEST, LARGEST = 100, 60_000
LEAST_HUGE_MIB = 200
BENCHMARK_SECONDS = 7
CHILDREN = 3

# Debian's redis uses the system's jemalloc, which reads MALLOC_CONF. Freed memory goes back to the kernel a few seconds
# later, so that some of it does during the test; sooner, and little stays huge.
ENVIRONMENT = {"MALLOC_CONF": "thp:always,dirty_decay_ms:5000"}
SETTINGS = ["--port", "0", "--save", "", "--appendonly", "no", "--disable-thp", "no", "--daemonize", "no",
            "--enable-debug-command", "local",
            "--stop-writes-on-bgsave-error", "no", "--dbfilename", "dump.rdb", "--logfile", "",
            # A slow disk shall not set the pace.
            "--rdb-save-incremental-fsync", "no", "--aof-rewrite-incremental-fsync", "no"]


class Server:
    def __init__(self, folder, managed, options=(), settings=()):
        self.socket = os.path.join(folder, "managed.sock" if managed else "bare.sock")
        command = ["redis-server", *SETTINGS, *settings, "--dir", folder, "--unixsocket", self.socket]
        self.run = programs.Run(command, managed, env=ENVIRONMENT, options=options)

    def connect(self, seconds=120):
        end = time.monotonic() + seconds
        while True:
            try:
                client = resp.Client(self.socket)
                client.call("PING")
                return client
            except (OSError, resp.Error):
                # Also "LOADING": the server answers so until its data is there.
                if time.monotonic() > end or self.run.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self):
        """Shut down in peace if possible; the finished run."""
        try:
            client = self.connect(1)
            client.send([("SHUTDOWN", "NOSAVE")])
            client.close()
        except (OSError, resp.Error):
            if self.run.process.poll() is None:
                self.run.process.terminate()
        return self.run.wait(120)


class Values:
    """What was written: each key has a version, and from both its value follows. Version None: deleted."""

    def __init__(self):
        self.versions = {}

    @staticmethod
    def value(key, version):
        size = random.Random(key).randint(SMALLEST, LARGEST)
        return random.Random(f"{key}/{version}").randbytes(size)

    def write(self, client, keys, version):
        keys = list(keys)
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start:start + CHUNK]
            client.pipeline([("SET", f"key:{key}", self.value(key, version)) for key in chunk])
            self.versions.update((key, version) for key in chunk)

    def delete(self, client, keys):
        keys = list(keys)
        client.pipeline([("DEL", f"key:{key}") for key in keys])
        self.versions.update((key, None) for key in keys)

    def differences(self, client):
        """Up to ten descriptions of values that are not what was written last."""
        found = []
        keys = list(self.versions)
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start:start + CHUNK]
            for key, seen in zip(chunk, client.pipeline([("GET", f"key:{key}") for key in chunk])):
                version = self.versions[key]
                expected = None if version is None else self.value(key, version)
                if seen != expected:
                    found.append(difference(key, version, seen, expected))
                    if len(found) >= 10:
                        return found
        return found


def difference(key, version, seen, expected):
    if seen is None or expected is None:
        return f"key {key}, version {version}: {'missing' if seen is None else 'back from the dead'}"
    if len(seen) != len(expected):
        return f"key {key}, version {version}: {len(seen)} bytes, expected {len(expected)}"
    wrong = [i for i, (a, b) in enumerate(zip(seen, expected)) if a != b]
    return f"key {key}, version {version}: {len(wrong)} of {len(seen)} bytes wrong, the first at {wrong[0]}"


class Benchmark(threading.Thread):
    """redis-benchmark in the background, again and again until told to stop; keys of its own."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.command = ["redis-benchmark", "-s", path, "-q", "-c", "16", "-P", "8", "-n", "10000", "-r", "20000",
                        "-d", "700", "-t", "set,get,incr,lpush,lpop,sadd,hset,zadd,mset"]
        self.stopping = threading.Event()
        self.rounds = 0
        self.output = ""
        self.failed = False
        self.start()

    def run(self):
        while not self.stopping.is_set() and not self.failed:
            done = subprocess.run(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  check=False)
            self.output = done.stdout.replace("\r", "\n")
            self.failed = done.returncode != 0 or "Error" in done.stdout
            self.rounds += 1

    def stop(self):
        self.stopping.set()
        self.join(60)


def what_they_do(pids):
    """State, CPU ticks and kernel function of every thread, for a message."""
    lines = []
    for pid in pids:
        for task in sorted(os.listdir(f"/proc/{pid}/task")):
            place = f"/proc/{pid}/task/{task}"
            try:
                with open(f"{place}/stat", encoding="ascii") as stat, open(f"{place}/wchan", encoding="ascii") as wchan:
                    words = stat.read().rsplit(")", 1)[1].split()
                    lines.append(f"{pid}/{task}: {words[0]}, {words[11]} + {words[12]} ticks, {wchan.read()}")
            except OSError:
                pass
    return "\n".join(lines)


def wait_for_save(client, timeout=300):
    """Seconds until the BGSAVE under way is done."""
    start = time.monotonic()
    while True:
        info = client.call("INFO", "persistence").decode()
        if "rdb_bgsave_in_progress:0" in info:
            break
        if time.monotonic() - start > timeout:
            pid = int(client.call("INFO", "server").decode().split("process_id:")[1].split()[0])
            raise resp.Error("BGSAVE does not end\n" + what_they_do(programs.children_of(pid)))
        time.sleep(0.05)
    if "rdb_last_bgsave_status:ok" not in info:
        raise resp.Error("BGSAVE failed")
    return time.monotonic() - start


def work(tap, name, server, values):
    """All that is done to the managed server; the digest of its data at the time of the BGSAVE."""
    client = server.connect()
    values.write(client, range(KEYS), 1)
    benchmark = Benchmark(server.socket)
    end = time.monotonic() + BENCHMARK_SECONDS
    version = 2
    while time.monotonic() < end and not benchmark.failed:
        values.write(client, range(version % 5, KEYS, 5), version)
        values.delete(client, range(version % 17, KEYS, 17))
        version += 1
    tap.equal(f"{name}: values as written, under redis-benchmark", values.differences(client), [])
    benchmark.stop()
    tap.check(f"{name}: redis-benchmark ran without an error", benchmark.rounds > 0 and not benchmark.failed,
              benchmark.output)
    print(f"# {version - 2} rounds of overwriting beside {benchmark.rounds} of redis-benchmark")

    # The digest, then a fork, then writes: the child must save what the digest saw.
    digest = client.call("DEBUG", "DIGEST")
    before = dict(values.versions)
    writer = threading.Thread(target=lambda: values.write(server.connect(), range(3, KEYS, 4), version))
    client.call("BGSAVE")
    writer.start()
    seconds = wait_for_save(client)
    writer.join()
    print(f"# BGSAVE took {seconds:.1f} s")
    tap.equal(f"{name}: values as written, after BGSAVE under writes", values.differences(client), [])
    client.call("FLUSHALL")
    tap.equal(f"{name}: nothing left after FLUSHALL", client.call("DBSIZE"), 0)
    values.versions = before
    return digest


def check_saved(tap, name, folder, values, digest):
    """A bare server loads what the forked child wrote, and has it all."""
    server = Server(folder, managed=False)
    try:
        client = server.connect()
        tap.equal(f"{name}: a bare server loads what the forked child saved", client.call("DEBUG", "DIGEST"), digest)
        tap.equal(f"{name}: values as saved", values.differences(client), [])
    finally:
        server.stop()


def wait_for_rewrite(client, seconds=300):
    end = time.monotonic() + seconds
    while True:
        info = client.call("INFO", "persistence")
        if b"aof_rewrite_in_progress:0" in info and b"aof_rewrite_scheduled:0" in info:
            if b"aof_last_bgrewrite_status:ok" not in info:
                raise resp.Error("BGREWRITEAOF failed")
            return
        if time.monotonic() > end:
            raise resp.Error("BGREWRITEAOF does not end")
        time.sleep(0.05)


def write_beside(server, values, keys, version, stopping):
    client = server.connect()
    while not stopping.is_set():
        values.write(client, keys, version)
        version += 1
    client.close()


def save_and_rewrite(server, values):
    """Child after child, each forked while half of the keys are being overwritten; the digest of what is there at last."""
    client = server.connect()
    values.write(client, range(KEYS), 1)
    for number in range(CHILDREN):
        stopping = threading.Event()
        writer = threading.Thread(target=write_beside, args=(server, values, range(number % 2, KEYS, 2), 100 * number + 2,
                                                             stopping))
        writer.start()
        try:
            client.call("BGREWRITEAOF" if number % 2 else "BGSAVE")
            time.sleep(0.2)
            wait_for_rewrite(client) if number % 2 else wait_for_save(client)
        finally:
            stopping.set()
            writer.join()
    # What the last child saves is what is there, and the log holds it, too.
    client.call("BGSAVE")
    wait_for_save(client)
    return client.call("DEBUG", "DIGEST")


def checked(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def check_persistence(tap, policy, options):
    """The log is on, and rewritten and saved again and again: redis' own checkers and a bare server read it all."""
    name, values = f"redis with log, {policy}", Values()
    settings = ["--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"]
    with tempfile.TemporaryDirectory(prefix="hn-redis-", dir=programs.memory_folder()) as folder:
        server, digest = Server(folder, True, options, settings), None
        try:
            digest = save_and_rewrite(server, values)
            tap.equal(f"{name}: values as written, beside {CHILDREN} children",
                      values.differences(server.connect()), [])
        except (OSError, resp.Error) as error:
            tap.check(f"{name}: the server answers", False, f"{type(error).__name__}: {error}")
        run = server.stop()
        tap.equal(f"{name}: exit status", run.status, 0)
        tap.check(f"{name}: no bug report", "BUG REPORT" not in run.stdout, run.stdout)
        status, output = checked(["redis-check-rdb", os.path.join(folder, "dump.rdb")])
        tap.check(f"{name}: redis-check-rdb finds nothing", status == 0 and "RDB looks OK" in output, output[-1000:])
        status, output = checked(["redis-check-aof", os.path.join(folder, "appendonlydir", "appendonly.aof.manifest")])
        tap.check(f"{name}: redis-check-aof finds nothing", status == 0, output[-1000:])
        for file, more in (("log", settings), ("dump", [])):
            bare = Server(folder, False, settings=more)
            try:
                tap.equal(f"{name}: a bare server finds all in the {file}", bare.connect().call("DEBUG", "DIGEST"), digest)
            finally:
                bare.stop()
        programs.check_managed(tap, name, run, LEAST_HUGE_MIB)
        tap.record("redis", programs.debian_version("redis-server"), "BGSAVE and AOF rewrites under writes, "
                   "redis-check-rdb, redis-check-aof", policy, run)


def check_policy(tap, policy, options):
    name = f"redis, {policy}"
    values = Values()
    with tempfile.TemporaryDirectory(prefix="hn-redis-", dir=programs.memory_folder()) as folder:
        server = Server(folder, True, options)
        digest = None
        try:
            digest = work(tap, name, server, values)
        except (OSError, resp.Error) as error:
            tap.check(f"{name}: the server answers", False, f"{type(error).__name__}: {error}")
        run = server.stop()
        print("# " + run.stdout.strip().replace("\n", "\n# "))
        tap.equal(f"{name}: exit status", run.status, 0)
        tap.check(f"{name}: no bug report", "BUG REPORT" not in run.stdout, run.stdout)
        if digest is not None:
            check_saved(tap, name, folder, values, digest)
        programs.check_managed(tap, name, run, LEAST_HUGE_MIB)
        tap.record("redis", programs.debian_version("redis-server"), "verified values beside redis-benchmark, BGSAVE",
                   policy, run)


def main():
    programs.need_program("redis-server")
    programs.need_program("redis-benchmark")
    programs.need_huge_pages()
    programs.need_manageable()
    tap = programs.Tap()
    for policy, options in programs.POLICIES:
        check_policy(tap, policy, options)
    if programs.FULL:
        for policy, options in programs.POLICIES:
            check_persistence(tap, policy, options)
    tap.finish()


if __name__ == "__main__":
    main()
