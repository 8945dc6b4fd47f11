#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""memcached in huge pages: values written, changed, deleted and compared by three clients at once, then libmemcached's own
checkers: memccapable for the protocol, memcaslap with every value verified.
"""
import hashlib
import os
import re
import socket
import subprocess
import tempfile
import threading
import time

import programs

KEYS = 9000 if programs.FULL else 5000
ROUNDS = 4 if programs.FULL else 2
CLIENTS = 3
LEAST_HUGE_MIB = 60
SLAP_OPERATIONS = "60000"
SLAP_SETTINGS = "key\n64 64 1\nvalue\n2048 4096 1\ncmd\n0 0.3\n1 0.7\n"


def value(key, version):
    size = 200 + int(hashlib.md5(str(key).encode()).hexdigest()[:6], 16) % 40_000
    return (hashlib.sha256(f"{key}/{version}".encode()).digest() * (size // 32 + 1))[:size]


class Client:
    """One connection, text protocol."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.file = self.socket.makefile("rb")

    def line(self, command):
        self.socket.sendall(command)
        return self.file.readline().strip()

    def set(self, key, data):
        return self.line(b"set key:%d 0 0 %d\r\n%s\r\n" % (key, len(data), data)) == b"STORED"

    def get(self, key):
        header = self.line(b"get key:%d\r\n" % key).split()
        if header[:1] != [b"VALUE"]:
            return None
        data = self.file.read(int(header[3]) + 2)[:-2]
        self.file.readline()
        return data


class Server:
    def __init__(self, managed, options=()):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", str(self.port), "-m", "512", "-t", "4", "-L"]
        self.run = programs.Run(command, managed, options=options)

    def connect(self):
        end = time.monotonic() + 120
        while True:
            try:
                return Client(self.port)
            except OSError:
                if time.monotonic() > end or self.run.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self):
        self.run.process.terminate()
        return self.run.wait(120)


def work(server, number, wrong):
    """A third of the keys, in rounds: set, change some, delete some, compare all."""
    client, versions = server.connect(), {}
    keys = range(number, KEYS, CLIENTS)
    for version in range(ROUNDS):
        for key in keys:
            if version and key % 7 == version:
                client.line(b"delete key:%d\r\n" % key)
                versions[key] = None
            elif version == 0 or key % 3 == version % 3:
                if not client.set(key, value(key, version)):
                    wrong.append(f"key {key}: not stored")
                versions[key] = version
        for key in keys:
            expected = None if versions[key] is None else value(key, versions[key])
            if client.get(key) != expected:
                wrong.append(f"key {key}, version {versions[key]}, round {version}")


def clients(server):
    """Seconds taken, and what was wrong."""
    wrong, start = [], time.monotonic()

    def guarded(number):
        try:
            work(server, number, wrong)
        except (OSError, ValueError, IndexError) as error:
            wrong.append(f"client {number}: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - start, wrong[:10]


def slap(port):
    """memcaslap verifies all that it gets; (status, number of its complaints)."""
    with tempfile.TemporaryDirectory() as folder:
        settings = os.path.join(folder, "settings")
        with open(settings, "w", encoding="ascii") as f:
            f.write(SLAP_SETTINGS)
        done = subprocess.run(["memcaslap", "-s", f"127.0.0.1:{port}", "-F", settings, "-T", "2", "-c", "16", "-x",
                               SLAP_OPERATIONS, "-v", "1.0"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=600)
    found = dict(re.findall(r"^(verify_misses|verify_failed|cmd_get|get_misses): (\d+)$", done.stdout, re.M))
    return done, {key: int(number) for key, number in found.items()}


def capable(port):
    done = subprocess.run(["memccapable", "-h", "127.0.0.1", "-p", str(port), "-a"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=240)
    return sorted(line.strip() for line in done.stdout.splitlines() if "[" in line)


def run_all(tap, name, managed, options=()):
    server = Server(managed, options)
    try:
        seconds, wrong = clients(server)
        tap.equal(f"{name}: values as written", wrong, [])
        protocol = []
        if programs.which("memcaslap"):
            done, counts = slap(server.port)
            tap.check(f"{name}: memcaslap verified what it got",
                      done.returncode == 0 and counts.get("cmd_get", 0) > 1000 and counts.get("verify_failed") == 0,
                      done.stdout[-1500:])
        if programs.which("memccapable"):
            protocol = capable(server.port)
        server.connect()
    except (OSError, subprocess.TimeoutExpired) as error:
        tap.check(f"{name}: the server answers", False, f"{type(error).__name__}: {error}")
        seconds, protocol = 1.0, []
    run = server.stop()
    return run, seconds, protocol


def main():
    programs.need_program("memcached")
    programs.need_huge_pages()
    programs.need_manageable()
    tap = programs.Tap()
    bare, bare_seconds, protocol = run_all(tap, "memcached, bare", False)
    tap.check("memcached: bare run used huge pages", bare.huge_bytes >= programs.mib(LEAST_HUGE_MIB),
              bare.huge_bytes >> 20)
    for policy, options in programs.POLICIES:
        name = f"memcached, {policy}"
        run, seconds, seen = run_all(tap, name, True, options)
        tap.equal(f"{name}: exit status as bare", run.status, bare.status)
        tap.equal(f"{name}: memccapable as bare ({len(protocol)} lines)", seen, protocol)
        programs.check_managed(tap, name, run, LEAST_HUGE_MIB)
        tap.record("memcached", programs.debian_version("memcached"), "verifying clients, memcaslap, memccapable", policy,
                   run, seconds / bare_seconds)
    tap.finish()


if __name__ == "__main__":
    main()
