#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PostgreSQL: sessions that sort and hash in huge pages while pgbench runs; the same answers as bare, balances that add up,
and every table, index and checksum verified by its own tools. Backends are forked children that live long, each managed.
"""
import difflib
import glob
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time

import programs

SESSIONS, ROUNDS = 3, 2 if programs.FULL else 1
ROWS = "150000" if programs.FULL else "100000"
PGBENCH_SCALE = "4"
LEAST_HUGE_MIB = 60
# Memory that all backends share is a shared mapping, which is left alone; so little of it, and much for each backend.
SETTINGS = """
listen_addresses = ''
fsync = off
shared_buffers = 64MB
work_mem = 128MB
maintenance_work_mem = 128MB
max_wal_size = 512MB
autovacuum_naptime = 1s
log_checkpoints = off
"""


def binaries():
    """Folder of the newest installation, Debian's first."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
    if found:
        return found[-1]
    postgres = programs.which("postgres")
    return os.path.dirname(os.path.realpath(postgres)) if postgres else None


class Cluster:
    def __init__(self, user, folder, name):
        self.user, self.bin = user, binaries()
        self.data = user.make_folder(os.path.join(folder, name))
        self.call("initdb", "--no-sync", "--data-checksums", "--auth=trust", "--encoding=UTF8", "--locale=C", "-D",
                  self.data)
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="ascii") as f:
            f.write(SETTINGS + f"unix_socket_directories = '{self.data}'\n")
        self.run = None

    def command(self, name, *arguments):
        return [*self.user.become, os.path.join(self.bin, name), *arguments]

    def call(self, name, *arguments, timeout=400):
        done = subprocess.run(self.command(name, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, cwd="/", env=dict(os.environ, PGHOST=self.data, PGUSER="postgres"),
                              timeout=timeout)
        if done.returncode != 0:
            raise RuntimeError(f"{name}: status {done.returncode}: {done.stdout[-1500:]}")
        return done.stdout

    def start(self, managed, options):
        command = [os.path.join(self.bin, "postgres"), "-D", self.data]
        self.run = programs.Run(command, managed, env=programs.GLIBC_HUGE, options=options, cwd="/",
                                prefix=self.user.become_able, hugenuma=self.user.hugenuma)
        end = time.monotonic() + 120
        while True:
            try:
                self.call("pg_isready", "-q")
                return
            except RuntimeError:
                if time.monotonic() > end or self.run.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def stop(self):
        if self.run.process.poll() is None:
            try:
                self.call("pg_ctl", "stop", "-D", self.data, "-m", "fast")
            except (RuntimeError, subprocess.TimeoutExpired):
                pass
        return self.run.wait(120)


def session(cluster, number, answers):
    """All rounds in one backend, which so lives long; the answers as lines, errors and notices among them."""
    script = os.path.join(programs.HERE, "postgres.sql")
    workers = "2" if number == 0 else "0"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(script, folder)
        os.chmod(folder, 0o755)
        here = os.path.join(folder, "postgres.sql")
        os.chmod(here, 0o644)
        arguments = ["-X", "-q", "-d", "postgres", "-v", f"rows={ROWS}", "-v", f"seed={number}", "-v", f"workers={workers}"]
        for _ in range(ROUNDS):
            arguments += ["-f", here]
        try:
            answers[number] = cluster.call("psql", *arguments, timeout=400).replace(folder, "").splitlines()
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            answers[number] = [f"session {number}: {error}"]


class Pgbench(threading.Thread):
    def __init__(self, cluster):
        super().__init__()
        self.cluster, self.stopping, self.output, self.error = cluster, threading.Event(), "", None
        self.transactions = 0

    def run(self):
        while not self.stopping.is_set() and not self.error:
            try:
                self.output = self.cluster.call("pgbench", "-n", "-c", "3", "-j", "1", "-T", "3", "postgres")
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                self.error = error
                return
            m = re.search(r"transactions actually processed: (\d+)", self.output)
            self.transactions += int(m.group(1)) if m else 0


BALANCE = ("SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history), "
           "(SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history), "
           "(SELECT sum(bbalance) FROM pgbench_branches) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history), "
           "(SELECT count(*) FROM pgbench_history)")


def work(tap, name, cluster):
    """(answers of the sessions, seconds they took)"""
    cluster.call("pgbench", "-i", "-q", "-s", PGBENCH_SCALE, "postgres")
    bench = Pgbench(cluster)
    bench.start()
    answers, start = {}, time.monotonic()
    threads = [threading.Thread(target=session, args=(cluster, number, answers)) for number in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - start
    bench.stopping.set()
    bench.join()
    tap.check(f"{name}: pgbench ran without an error", bench.transactions > 0 and not bench.error, bench.error)
    tap.equal(f"{name}: pgbench's balances add up, no transaction lost",
              cluster.call("psql", "-X", "-A", "-t", "-d", "postgres", "-c", BALANCE).strip(), f"t|t|t|{bench.transactions}")
    if programs.FULL:
        cluster.call("pg_amcheck", "--all", "--install-missing", "--heapallindexed", "--parent-check", timeout=300)
    else:
        cluster.call("pg_amcheck", "-d", "postgres", "--install-missing", timeout=300)
    tap.check(f"{name}: pg_amcheck finds nothing", True)
    print(f"# {bench.transactions} transactions, sessions took {seconds:.1f} s")
    return answers, seconds


def differences(answers, expected):
    """Lines of sessions that are not as expected, a few."""
    found = []
    for number in range(SESSIONS):
        found += difflib.unified_diff(expected.get(number, []), answers.get(number, []), "bare", f"session {number}", "", "",
                                      0, "")
    return found[:40]


def run_cluster(tap, name, user, managed, options=()):
    with tempfile.TemporaryDirectory(prefix="hn-postgres-", dir=programs.memory_folder()) as folder:
        os.chmod(folder, 0o755)
        cluster = Cluster(user, folder, "data")
        answers, seconds = {}, 1.0
        try:
            cluster.start(managed, options)
            answers, seconds = work(tap, name, cluster)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            tap.check(f"{name}: the server does all", False, error)
        run = cluster.stop()
        tap.equal(f"{name}: exit status", run.status, 0)
        # A backend that is told to end says so, as one does that comes too early.
        crashes = r"PANIC|FATAL:(?!.*(starting up|due to administrator command))|terminated by signal|TRAP|invalid page"
        tap.check(f"{name}: nothing crashed", not re.search(crashes, run.stderr), run.stderr[-2000:])
        try:
            cluster.call("pg_checksums", "--check", "-D", cluster.data)
            tap.check(f"{name}: pg_checksums finds nothing", True)
        except RuntimeError as error:
            tap.check(f"{name}: pg_checksums finds nothing", False, error)
    return run, answers, seconds


def main():
    programs.need_huge_pages()
    programs.need_manageable()
    if not binaries():
        programs.skip("postgresql is not installed")
    user = programs.OtherUser("postgres")
    tap = programs.Tap()
    version = subprocess.run([os.path.join(binaries(), "postgres"), "--version"], stdout=subprocess.PIPE,
                             text=True).stdout.split()[2]
    bare, expected, bare_seconds = run_cluster(tap, "postgresql, bare", user, False)
    tap.check("postgresql, bare: the sessions have answers",
              all(sum("NOTICE:  total" in line for line in expected.get(number, [])) == ROUNDS
                  for number in range(SESSIONS)), expected)
    tap.check("postgresql: bare run used huge pages", bare.huge_bytes >= programs.mib(LEAST_HUGE_MIB),
              bare.huge_bytes >> 20)
    for policy, options in programs.POLICIES:
        name = f"postgresql, {policy}"
        run, answers, seconds = run_cluster(tap, name, user, True, options)
        tap.equal(f"{name}: same answers as bare", differences(answers, expected), [])
        programs.check_managed(tap, name, run, LEAST_HUGE_MIB)
        backends = [p for p in run.report["processes"] if p["migrated_pages"] > 0] if run.report else []
        tap.check(f"{name}: {SESSIONS} backends or more had pages migrated", len(backends) >= SESSIONS, len(backends))
        tap.record("PostgreSQL", version, "sorting and hashing sessions, pgbench, pg_amcheck, pg_checksums", policy, run,
                   seconds / bare_seconds)
    tap.finish()


if __name__ == "__main__":
    main()
