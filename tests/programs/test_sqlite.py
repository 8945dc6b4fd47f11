#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sqlite3 builds a database of a few hundred MiB in memory, changes it, checks it; the same answers as bare."""
import os
import tempfile

import programs

ROWS = 320_000
LEAST_HUGE_MIB = 250

# Pages of an in-memory database come from malloc; the tunable makes glibc ask for huge pages.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

SCRIPT = f"""
.bail on
PRAGMA cache_size = -1000000;
CREATE TABLE item (id INTEGER PRIMARY KEY, key INTEGER, name TEXT, body BLOB);
INSERT INTO item
  SELECT value, value * 2654435761 % 1000003, printf('name-%08x', value * 40503 % 4294967291),
         printf('%0*d', 200 + value % 800, value * 7919)
  FROM generate_series(1, {ROWS});
CREATE INDEX item_key ON item (key);
CREATE INDEX item_name ON item (name, key);
UPDATE item SET body = body || '-' || key WHERE id % 7 = 3;
DELETE FROM item WHERE id % 11 = 5;
INSERT INTO item SELECT id + {ROWS}, key + 1, name || '+', body FROM item WHERE id % 13 = 1;
PRAGMA integrity_check;
SELECT count(*), sum(key), sum(length(body)), min(name), max(name) FROM item;
SELECT count(*), sum(a.id * b.key % 1000) FROM item a JOIN item b ON b.key = a.id % 1000003;
SELECT hex(sha3_query('SELECT * FROM item ORDER BY name, id'));
PRAGMA quick_check;
"""


def run_sqlite(managed, options=()):
    with tempfile.TemporaryFile("w+") as script:
        script.write(SCRIPT)
        script.flush()
        os.lseek(script.fileno(), 0, os.SEEK_SET)
        return programs.Run(["sqlite3", ":memory:"], managed, env=ENVIRONMENT, stdin=script,
                            options=options).wait()


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
    tap.finish()


if __name__ == "__main__":
    main()
