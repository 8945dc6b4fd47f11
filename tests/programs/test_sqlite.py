#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sqlite3 builds a database of a few hundred MiB in memory, changes it, checks it; the same answers as bare."""
import os
import subprocess
import tempfile

import programs

ROWS = 320_000
LEAST_HUGE_MIB = 250

# Pages of an in-memory database come from malloc; the tunable makes glibc ask for huge pages.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def script(rows):
    """Builds a database, changes and checks it, and prints what is in it."""
    return f"""
.bail on
PRAGMA cache_size = -1000000;
CREATE TABLE item (id INTEGER PRIMARY KEY, key INTEGER, name TEXT, body BLOB);
INSERT INTO item
  SELECT value, value * 2654435761 % 1000003, printf('name-%08x', value * 40503 % 4294967291),
         printf('%0*d', 200 + value % 800, value * 7919)
  FROM generate_series(1, {rows});
CREATE INDEX item_key ON item (key);
CREATE INDEX item_name ON item (name, key);
UPDATE item SET body = body || '-' || key WHERE id % 7 = 3;
DELETE FROM item WHERE id % 11 = 5;
INSERT INTO item SELECT id + {rows}, key + 1, name || '+', body FROM item WHERE id % 13 = 1;
PRAGMA integrity_check;
SELECT count(*), sum(key), sum(length(body)), min(name), max(name) FROM item;
SELECT count(*), sum(a.id * b.key % 1000) FROM item a JOIN item b ON b.key = a.id % 1000003;
SELECT hex(sha3_query('SELECT * FROM item ORDER BY name, id'));
PRAGMA quick_check;
"""


def script_file():
    file = tempfile.TemporaryFile("w+")
    file.write(script(ROWS))
    file.flush()
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return file


def run_sqlite(managed, options=()):
    with script_file() as commands:
        return programs.Run(["sqlite3", ":memory:"], managed, env=ENVIRONMENT, stdin=commands,
                            options=options).wait()


# One of several processes that change one database file at a time, each with a page cache of its own in huge pages.
SHARED_SETUP = "PRAGMA journal_mode = WAL; CREATE TABLE item (id INTEGER PRIMARY KEY, who INTEGER, body TEXT);"
SHARED_WORK = """
.bail on
.timeout 60000
PRAGMA cache_size = -200000;
PRAGMA synchronous = OFF;
PRAGMA temp_store = MEMORY;
"""
SHARED_ROUND = """
BEGIN IMMEDIATE;
INSERT INTO item (who, body)
  SELECT {who}, printf('%0*d', 100 + value % 900, value * 7919 + {round}) FROM generate_series(1, 4000);
UPDATE item SET body = body || '+{round}' WHERE who = {who} AND id % 5 = {round} % 5;
DELETE FROM item WHERE who = {who} AND id % 9 = {round} % 9;
COMMIT;
CREATE TEMP TABLE sorted_{round} AS SELECT body, id FROM item ORDER BY body, id;
SELECT count(*) > 0 FROM sorted_{round};
DROP TABLE sorted_{round};
"""
SHARED_CHECK = """PRAGMA integrity_check;
SELECT count(*), count(DISTINCT who), max(length(body)) > 100 FROM item;
SELECT count(*) FROM item WHERE CAST(substr(body, 1, instr(body || '+', '+') - 1) AS INTEGER) % 7919 >= 20;"""
SHARERS, SHARED_ROUNDS = 4, 8


def run_shared(managed, options=()):
    """The sharers' run, and what a bare sqlite3 then finds in the file."""
    with tempfile.TemporaryDirectory(prefix="hn-sqlite-") as folder:
        database = os.path.join(folder, "shared.db")
        subprocess.run(["sqlite3", database, SHARED_SETUP], check=True, stdout=subprocess.DEVNULL)
        for who in range(SHARERS):
            with open(os.path.join(folder, f"{who}.sql"), "w", encoding="ascii") as f:
                f.write(SHARED_WORK + "".join(SHARED_ROUND.format(who=who, round=n) for n in range(SHARED_ROUNDS)))
        script = "".join(f"sqlite3 shared.db < {who}.sql & p{who}=$!; " for who in range(SHARERS))
        script += "true" + "".join(f" && wait $p{who}" for who in range(SHARERS))
        run = programs.Run(["sh", "-c", script], managed, env=programs.GLIBC_HUGE, options=options, cwd=folder).wait(600)
        found = subprocess.run(["sqlite3", database, SHARED_CHECK], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
        return run, found.stdout.splitlines()


def check_shared(tap):
    bare, found = run_shared(False)
    tap.equal("sqlite3, shared file: bare run", (bare.status, bare.stderr, found[:1], found[2:]), (0, "", ["ok"], ["0"]))
    for policy, options in programs.POLICIES:
        name = f"sqlite3, shared file, {policy}"
        run, seen = run_shared(True, options)
        tap.equal(f"{name}: exit status", run.status, 0)
        tap.equal(f"{name}: every query had its answer", run.stdout.splitlines(), bare.stdout.splitlines())
        # Which ids a process gets, and so how many rows stay, depends on the order of their turns.
        tap.equal(f"{name}: integrity_check, and every row as somebody wrote it", (seen[:1], seen[2:]), (["ok"], ["0"]))
        programs.check_managed(tap, name, run, 60)
        tap.record("sqlite3", programs.debian_version("sqlite3"), "four processes on one file, integrity_check", policy, run,
                   run.seconds / bare.seconds)


def main():
    programs.need_program("sqlite3")
    programs.need_huge_pages()
    programs.need_manageable()
    tap = programs.Tap()

    bare = run_sqlite(managed=False)
    if bare.status != 0:
        print(bare.stdout + bare.stderr)
        programs.skip("this sqlite3 does not run the script")
    tap.check("sqlite3: bare run used huge pages", bare.huge_bytes >= programs.mib(LEAST_HUGE_MIB), bare.huge_bytes)

    for policy, options in programs.POLICIES:
        name = f"sqlite3, {policy}"
        run = run_sqlite(managed=True, options=options)
        tap.equal(f"{name}: exit status", run.status, 0)
        lines = run.stdout.splitlines()
        tap.check(f"{name}: integrity_check and quick_check say ok", lines.count("ok") == 2, run.stdout + run.stderr)
        tap.equal(f"{name}: same answers as bare", lines, bare.stdout.splitlines())
        programs.check_managed(tap, name, run, LEAST_HUGE_MIB)
        tap.record("sqlite3", programs.debian_version("sqlite3"), "database in memory, checks and answers", policy, run,
                   run.seconds / bare.seconds)
    if programs.FULL:
        check_shared(tap)
    tap.finish()


if __name__ == "__main__":
    main()
