#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Recordings: `run --record`, `record`, and what `report` and `explain` make of the file. test_record.py [HUGENUMA]

The file is also read here by docs/record-format.md alone, with nothing of hugenuma in between.
"""
import ctypes
import ctypes.util
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time

import test_cli as cli
from test_cli import ARENA, PAGE, Living, Skip, absent, command, found, path, run, same

MAGIC = b"\x89HNREC\r\n"
DECISIONS, REPORT, DROPPED, END = 1, 2, 3, 4
# of every process of the stand-in: thread, page, outcome
KNOWN = [(101, 0, 5), (101, 0, 6), (102, 1, 4), (103, 2, 7), (102, 0, 2), (103, 65, 4)]


# ---- the format, as documented ----

def unpacked(packed, size):
    zstd = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    buf = ctypes.create_string_buffer(size + 1)
    same(zstd.ZSTD_decompress(buf, ctypes.c_size_t(size), packed, ctypes.c_size_t(len(packed))), size, "unpacked size")
    return buf.raw[:size]


def frames(data):
    """[(kind, content, decisions, lost)] of a whole recording."""
    same((data[:8], struct.unpack("<II", data[8:16])), (MAGIC, (1, 0)), "header")
    at, all_frames = 16, []
    while at < len(data):
        kind, raw, size, decisions, lost, check = struct.unpack("<6I", data[at:at + 24])
        same(check, 0x4D415246 ^ kind ^ raw ^ size ^ decisions ^ lost, "check")
        content = unpacked(data[at + 24:at + 24 + size], raw) if raw else b""
        all_frames.append((kind, content, decisions, lost))
        at += 24 + size
    same(at, len(data), "frames fill the file")
    return all_frames


def packed(data):
    zstd = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
    zstd.ZSTD_compress.restype = ctypes.c_size_t
    buf = ctypes.create_string_buffer(len(data) + 1024)
    size = zstd.ZSTD_compress(buf, ctypes.c_size_t(len(buf)), data, ctypes.c_size_t(len(data)), 1)
    return buf.raw[:size]


def rewritten(name, change):
    """A copy of a recording; change(kind, content) gives what each frame is to have."""
    out = MAGIC + struct.pack("<II", 1, 0)
    for kind, old, nr, lost in frames(content(name)):
        new = change(kind, old)
        small = packed(new) if new else b""
        head = (kind, len(new), len(small), nr, lost)
        check = 0x4D415246
        for number in head:
            check ^= number
        out += struct.pack("<6I", *head, check) + small
    with open(path("rewritten.rec"), "wb") as f:
        f.write(out)
    return path("rewritten.rec")


def decisions(all_frames):
    """{(pid, command): [(thread, address, outcome)]}"""
    by_process = {}
    for kind, content, nr, lost in all_frames:
        if kind != DECISIONS:
            continue
        pid, nr2, _started, lost2, entry, comm = struct.unpack("<IIQII16s", content[:40])
        same((nr, lost), (nr2, lost2), "frame and batch agree")
        for i in range(nr):
            _t, addr, tid, _last, _ns, *_nodes, outcome, _reason, _rule, _0 = struct.unpack(
                "<QQIII4b4B", content[40 + i * entry:76 + i * entry])
            by_process.setdefault((pid, comm.rstrip(b"\0").decode()), []).append((tid, addr, outcome))
    return by_process


def content(name):
    with open(name, "rb") as f:
        return f.read()


def recorded(*program, env=None, options=(), status=0):
    """A run with --record; its file and its standard error."""
    name = path("run.rec")
    r = run("--record", name, *options, "--", *program, env=env)
    same(r.returncode, status, r.stderr)
    return name, r.stderr


def totals(name):
    """What `report` says of the recording as such."""
    r = command("report", "--format=json", name)
    same(r.returncode, 0, r.stderr)
    return json.loads(r.stdout)["recording"], r.stderr


# ---- recording ----

def test_a_run_is_recorded_as_documented():
    report = path("run.json")
    name, err = recorded("sh", "-c", "sleep 0.2; exit 3", options=("--report", report), status=3)
    whole = frames(content(name))
    by_process = decisions(whole)
    same(sorted(c for _, c in by_process), ["sh", "sleep"])
    for got in by_process.values():
        same([(t, (a - ARENA) // PAGE, o) for t, a, o in got], KNOWN)
    found(r"^hugenuma: recorded 12 decisions of 2 processes to .*/run\.rec$", err)
    same([f[0] for f in whole][-2:], [REPORT, END], "the end")
    with open(report, encoding="utf-8") as f:
        same(json.loads([f[1] for f in whole if f[0] == REPORT][-1]), json.load(f), "the last report")
    same(os.stat(name).st_mode & 0o777, 0o600, "mode")


def test_report_reads_it_in_every_format():
    report = path("run.json")
    name, _ = recorded("sleep", "0.1", options=("--report", report))
    for kind in ("text", "csv", "html"):
        a, b = command("report", f"--format={kind}", name), command("report", f"--format={kind}", report)
        same((a.returncode, a.stderr), (0, ""), kind)
        same(a.stdout, b.stdout, kind)
    ours = json.loads(command("report", "--format=json", name).stdout)
    same(ours.pop("recording"), {"decisions_count": 6, "lost_count": 0, "dropped_count": 0, "complete": True})
    with open(report, encoding="utf-8") as f:
        same(ours, json.load(f))


def test_explain_reads_it():
    name, _ = recorded("sleep", "0.1")
    r = command("explain", name, hex(ARENA + 4711))
    same((r.returncode, r.stderr), (0, ""))
    for line in (r"^0x7f0000001267: in the 2 MiB page at 0x7f0000000000 of sleep \(pid \d+\), recorded\.$",
                 r"^Its region 0x7f0000000000-0x7f0008000000: 60 pages managed, \d+ samples,",
                 r"^Decided about it, the latest last \(3 recorded\):$",
                 r"^  after      0\.1 s  thread 101 on node 1 touched the page on node 0: it was left there, because this",
                 r"^  after      0\.2 s  thread 101 on node 1 touched the page on node 0: it was moved to node 1, because",
                 r"^  after      1\.0 s  thread 102 touched the page while it was being decided about"):
        found(line, r.stdout)
    short = command("explain", "--decisions=1", name, hex(ARENA)).stdout
    same(short.count("touched"), 1)
    found(r"no decision about the 2 MiB page at 0x7f7000000000 is in this recording", command(
        "explain", name, "7f7000000000").stdout)


def test_explain_has_a_sentence_for_every_rule():
    name, _ = recorded("sleep", "0.1", env={"FAKE_DECISIONS": "all"})
    cli.explained(name, list(cli.sentences()))


def test_explain_knows_the_rules_of_a_plugin():
    """They are in the file: the number with each decision, names and words in the report; control characters in neither."""
    name, _ = recorded("sleep", "0.1", env={"FAKE_PLUGIN": "1"})
    rules = [c[75 + 36 * i] for kind, c, nr, _ in frames(content(name)) if kind == DECISIONS for i in range(nr)]
    same(rules, [0, 0, 0, 0, 1, 2, 0, 0], "byte 35")
    out = command("explain", name, hex(ARENA + 3 * PAGE)).stdout
    found(r"it was left there, because it is used\?\? often \(mine, rule often; the thread waited 7\.00 us\)\.$", out)
    found(r"it was moved to node 1, because others use it \(mine, rule other; the thread waited 8\.00 us\)\.$", out)
    # A recording of before: no numbers.
    old = rewritten(name, lambda kind, c: c if kind != DECISIONS else bytes(
        0 if i >= 40 and (i - 40) % 36 == 35 else b for i, b in enumerate(c)))
    found("because the plug-in policy said so \\(mine, rule policy; ", command("explain", old, hex(ARENA + 3 * PAGE)).stdout)
    # What is no number of a rule.
    bad = rewritten(name, lambda kind, c: c if kind != DECISIONS else bytes(
        255 if i >= 40 and (i - 40) % 36 == 35 else b for i, b in enumerate(c)))
    found("because the plug-in policy said so \\(mine, rule policy; ", command("explain", bad, hex(ARENA + 3 * PAGE)).stdout)


def test_record_attaches_and_disturbs_nobody():
    name = path("attached.rec")
    with Living() as p:
        r = subprocess.Popen([cli.HUGENUMA, "record", "-o", name, p.pid], env=cli.environment(), stderr=subprocess.PIPE,
                             text=True)
        cli.patiently(lambda: os.path.exists(name) and os.path.getsize(name) > 100, "nothing is recorded")
        r.send_signal(signal.SIGINT)
        _, err = r.communicate(timeout=cli.TIMEOUT)
        same(r.returncode, 0, err)
        found(r"^hugenuma: recorded 6 decisions of 1 process to ", err)
        same(p.run.poll(), None, "the program runs on")
        same([(t, (a - ARENA) // PAGE, o) for (pid, _), ds in decisions(frames(content(name))).items()
              for t, a, o in ds if str(pid) == p.pid], KNOWN)
        # in place of an earlier recording, by the pid of the run, to the default name, for a time
        q = command("record", "-q", "--seconds=1", str(p.run.pid), cwd=cli.TMP)
        same((q.returncode, q.stdout, q.stderr), (0, "", ""))
        same(totals(path(f"hugenuma.{p.run.pid}.rec"))[0]["decisions_count"], 6)
        same(command("record", "--seconds=1", "-o", name, p.pid).returncode, 0)
        same(totals(name)[0]["decisions_count"], 6, "written anew")


def test_an_ignored_signal_ends_no_recording():
    """As after nohup."""
    name = path("nohup.rec")
    with Living() as p:
        r = subprocess.Popen([cli.HUGENUMA, "record", "-o", name, p.pid], env=cli.environment(), stderr=subprocess.PIPE,
                             text=True, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        cli.patiently(lambda: os.path.exists(name), "nothing is recorded")
        r.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        same(r.poll(), None, "after SIGHUP")
        r.terminate()
        _, err = r.communicate(timeout=cli.TIMEOUT)
        same((r.returncode, totals(name)[0]["complete"]), (0, True), err)


def test_record_ends_with_the_process():
    name = path("ends.rec")
    p = cli.started("sleep 6; exit 0", env={"FAKE_ONLY": "sleep", "FAKE_MORE": "3000 50 20000"})
    while not re.search(r"(?m)^ *\d+ +sleep ", command("list").stdout):
        same(p.poll(), None)
    r = command("record", "-o", name, str(p.pid))
    same(p.wait(cli.TIMEOUT), 0)
    same(r.returncode, 0, r.stderr)
    about, err = totals(name)
    same((err, about["complete"]), ("", True))
    # by its own pid or the run's, whatever it decided until the last look before its end is there
    if about["decisions_count"] + about["lost_count"] < 3006:
        raise AssertionError(f"{about}: of 3006")


def test_record_has_the_last_words_of_a_run():
    """The program decides until it is killed, and its run ends with it: every decision is recorded or counted."""
    name, report = path("last.rec"), path("last.json")
    p = cli.started("exec sleep 60", args=["--report", report], env={"FAKE_ONLY": "sleep", "FAKE_MORE": "1000000 10 1000"})
    while not re.search(r"(?m)^ *\d+ +sleep ", command("list").stdout):
        same(p.poll(), None)
    r = subprocess.Popen([cli.HUGENUMA, "record", "-q", "-o", name, str(p.pid)], env=cli.environment())
    while not os.path.exists(name) or os.path.getsize(name) < 100:
        same(r.poll(), None)
        time.sleep(0.01)
    time.sleep(0.1)
    r.send_signal(signal.SIGSTOP)  # as if it got no CPU
    time.sleep(0.05)
    p.terminate()
    same(p.wait(cli.TIMEOUT), -signal.SIGTERM)
    r.send_signal(signal.SIGCONT)
    same(r.wait(cli.TIMEOUT), 0)
    with open(report, encoding="utf-8") as f:
        decided = json.load(f)["processes"][0]["decisions_total_count"]
    about = totals(name)[0]
    first = min(t for ds in decisions(frames(content(name))).values() for t, a, _ in ds if t not in (101, 102, 103))
    if first == 0:  # the ring was not full when the recording began: that has all of it
        same(about["decisions_count"] + about["lost_count"], decided)
    elif not decided - first - 8 <= about["decisions_count"] + about["lost_count"] <= decided:
        raise AssertionError(f"{about}, from the {first}th of {decided}")


def test_what_is_lost_is_counted():
    """More at once than a ring holds: what could not be read is counted, to the last decision."""
    name, err = recorded("sleep", "1", env={"FAKE_ONLY": "sleep", "FAKE_MORE": "30000 30000 0"})
    about, _ = totals(name)
    same(about["decisions_count"] + about["lost_count"], 30006)
    if not about["lost_count"]:
        raise AssertionError("nothing was lost?")
    found(r"decisions of 1 process to .*, [0-9,]+ lost$", err)
    threads = [t for ds in decisions(frames(content(name))).values() for t, _, _ in ds][6:]
    same(threads, sorted(set(threads)), "in order, none twice")
    found(r"decisions were lost: the process was faster", command("explain", name, hex(ARENA)).stdout)


def test_a_recording_stays_small():
    """The older half makes room, and the newest is there."""
    name, err = recorded("sleep", "15", options=("--record-max-mib=4",),
                         env={"FAKE_ONLY": "sleep", "FAKE_MORE": "400000 1500 20000"})
    about, _ = totals(name)
    size = os.path.getsize(name)
    same(about["decisions_count"] + about["lost_count"] + about["dropped_count"], 400006)
    if not 0 < about["dropped_count"] < 350000 or not 1 << 20 < size <= 4 << 20:
        raise AssertionError(f"{about}, {size} bytes")
    found(r"dropped for want of room", err)
    whole = frames(content(name))
    same((whole[0][0], whole[0][2]), (DROPPED, about["dropped_count"]), "first frame")
    threads = [t for ds in decisions(whole).values() for t, _, _ in ds]
    same((threads, threads[-1]), (sorted(threads), 399999), "order, and the latest")
    found(r"had made room for later ones", command("explain", name, hex(ARENA)).stdout)


# ---- files that are not whole, or not ours ----

def test_cut_short_anywhere():
    name, _ = recorded("sleep", "4", env={"FAKE_ONLY": "sleep", "FAKE_MORE": "50 10 200000"})
    data, cut = content(name), path("cut.rec")
    last, readable = 0, 0
    for end in [*range(0, 80), *range(80, len(data), 97), *range(len(data) - 60, len(data))]:
        with open(cut, "wb") as f:
            f.write(data[:end])
        r = command("report", "--format=json", cut)
        if r.returncode == 0:
            readable += 1
            got = json.loads(r.stdout)["recording"]
            same(got["complete"], False, f"cut at {end}")
            found(r"^hugenuma: .*cut\.rec: cut short, or still being written; read so far: \d+ decisions$", r.stderr)
            if got["decisions_count"] < last:
                raise AssertionError(f"cut at {end}: fewer decisions than before")
            last = got["decisions_count"]
        else:
            same((r.returncode, r.stdout), (1, ""), f"cut at {end}: {r.stderr}")
            found(r"^hugenuma: .*cut\.rec: ", r.stderr)
    same(last, 56)
    if readable < 10:
        raise AssertionError(f"only {readable} cuts were readable")


def test_damaged_anywhere():
    name, _ = recorded("sleep", "0.1")
    data, bad, rng = content(name), path("bad.rec"), random.Random(1)
    commands = (("report", bad), ("explain", bad, hex(ARENA)))
    with open(bad, "wb") as f:
        f.write(data)
    whole = {args: command(*args).stdout for args in commands}
    noticed = 0
    for _ in range(150):
        at = rng.randrange(16, len(data))
        with open(bad, "wb") as f:
            f.write(data[:at] + bytes([data[at] ^ rng.randrange(1, 256)]) + data[at + 1:])
        for args in commands:
            r = command(*args)
            if r.returncode not in (0, 1):
                raise AssertionError(f"{args}, byte {at}: {r.returncode} {r.stderr}")
            if re.search(r"damaged after|cut short", r.stderr):
                noticed += 1
            else:  # zstd's window size, for one, may be another without any effect
                same((r.stderr, r.stdout), ("", whole[args]), f"{args}, byte {at}, damage that was not noticed")
    if noticed < 290:
        raise AssertionError(f"only {noticed} of 300 were noticed")


def test_what_is_no_recording():
    name, _ = recorded("sleep", "0.1")
    data = content(name)
    cases = {"newer.rec": (MAGIC + struct.pack("<II", 2, 0) + data[16:], r"a recording of another version of hugenuma"),
             "magic.rec": (b"X" + data[1:], "no JSON|no report|decode"), "empty.rec": (b"", "no JSON|no report|JSON"),
             "header.rec": (data[:16], "cut short before the first report")}
    for file, (what, why) in cases.items():
        with open(path(file), "wb") as f:
            f.write(what)
        r = command("report", path(file))
        same((r.returncode, r.stdout), (1, ""), file)
        found(rf"^hugenuma: .*{file}: .*({why})", r.stderr)
    r = command("explain", path("magic.rec"), "0x1000")
    same((r.returncode, r.stdout), (1, ""))
    found(r"magic\.rec: no recording of hugenuma$", r.stderr)
    r = command("explain", path("none.rec"), "0x1000")
    same(r.returncode, 1)
    found(r"none\.rec: No such file", r.stderr)
    found("expected a PID or a FILE", command("explain").stderr)


def test_where_nothing_can_be_recorded():
    os.makedirs(path("dir"), exist_ok=True)
    os.mkfifo(path("fifo"))
    letter, marker = path("letter.txt"), path("marker")
    with open(letter, "w", encoding="ascii") as f:
        f.write("Dear reader, this is no recording.\n")
    for place, why in ((path("dir"), "expected the name of a regular file"), (path("fifo"), "expected the name of a regular file"),
                       (path("no/such/dir.rec"), "No such file or directory"), ("/dev/full", "expected the name of a regular"),
                       (letter, "is there and is no recording: it is not overwritten")):
        r = run("--record", place, "--", "touch", marker)
        same(r.returncode, 125, place)
        found(rf"^hugenuma: cannot record to {re.escape(place)}: {why}", r.stderr)
        same(os.path.exists(marker), False, "program started")
    with Living() as p:
        r = command("record", "-o", letter, p.pid)
        same(r.returncode, 1)
        found("is there and is no recording", r.stderr)
        with open(path("nothing.rec"), "w", encoding="ascii"):
            pass  # an empty file is nobody's letter
        same(command("record", "-o", path("nothing.rec"), "--seconds=1", p.pid).returncode, 0, "an empty file")
    with open(letter, encoding="ascii") as f:
        found("^Dear reader", f.read())
    # a program that cannot be started leaves no file of ours, and an old one as it was
    same(run("--record", path("new.rec"), "--", "/no/such/program").returncode, 127)
    same(os.path.exists(path("new.rec")), False, "file left behind")
    name, _ = recorded("sleep", "0.1")
    before = content(name)
    same(run("--record", name, "--", "/no/such/program").returncode, 127)
    same(content(name) == before, True, "old recording")


def test_usage():
    for args, status, why in ((("record",), 125, "expected a PID"), (("record", "x"), 125, "'x': expected a PID"),
                              (("record", "-o", "", "1"), 125, "--output: '': expected a file name"),
                              (("record", "1"), 1, "1: no managed process"),
                              (("record", "--seconds=0", "1"), 125, "--seconds: '0': expected a whole number"),
                              (("record", "--record-max-mib=3", "1"), 125, "--record-max-mib: '3': expected a whole number"),
                              (("run", "--record", "", "true"), 125, "--record: '': expected a file name"),
                              (("run", "--record-max-mib=1025", "true"), 125, "expected a whole number")):
        r = command(*args, cwd=cli.TMP)
        same((r.returncode, r.stdout), (status, ""), args)
        found(re.escape(why), r.stderr)


def full(place, script, env):
    """The script in a mount namespace in which `place` is a tmpfs of 300 KiB."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        raise Skip("needs root, to mount a small file system")
    os.makedirs(place, exist_ok=True)
    mount = f"mount -t tmpfs -o size=300k none {place} || exit 77; "
    r = subprocess.run(["unshare", "-m", "sh", "-c", mount + script], env=cli.environment(**env), text=True,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=cli.TIMEOUT, stdin=subprocess.DEVNULL)
    if r.returncode == 77 or "unshare:" in r.stderr:
        raise Skip("a file system cannot be mounted here")
    return r


MUCH = {"FAKE_ONLY": "sleep", "FAKE_MORE": "1000000 1000 20000"}  # to the end


def test_a_full_disk_harms_nobody():
    place = path("small")
    name = place + "/x.rec"
    r = full(place, f"{cli.HUGENUMA} run --record {name} -- sh -c 'sleep 1.5; exit 5'; echo status $?; cp {name} {path('full.rec')}",
             MUCH)
    found("^status 5$", r.stdout)
    said = found(rf"^hugenuma: recording to {name} ends here: No space left on device; the program runs on$", r.stderr)
    same(r.stderr.count(said[0]), 1, "said once")
    absent("recorded ", r.stderr)
    frames(content(path("full.rec")))  # no part of a frame is left at its end
    about, err = totals(path("full.rec"))
    found("cut short", err)
    same((about["complete"], about["decisions_count"] > 500), (False, True), about)


def test_a_limit_of_file_size_harms_nobody():
    name = path("limited.rec")
    r = subprocess.Popen([cli.HUGENUMA, "run", "--record", name, "--", "sh", "-c", "sleep 1.5; exit 5"],
                         env=cli.environment(**MUCH), text=True, stderr=subprocess.PIPE)
    while not os.path.exists(name) or os.path.getsize(name) < 20:
        same(r.poll(), None)
        time.sleep(0.01)
    resource.prlimit(r.pid, resource.RLIMIT_FSIZE, (65536, 65536))
    _, err = r.communicate(timeout=cli.TIMEOUT)
    same(r.returncode, 5, err)
    found(rf"^hugenuma: recording to {name} ends here: File too large; the program runs on$", err)
    frames(content(name))
    same(totals(name)[0]["complete"], False)


def test_two_recorders_of_one_file():
    name = path("two.rec")
    with Living() as p:
        first = subprocess.Popen([cli.HUGENUMA, "record", "-q", "-o", name, p.pid], env=cli.environment())
        while not os.path.exists(name) or os.path.getsize(name) < 20:
            same(first.poll(), None)
            time.sleep(0.02)
        r = command("record", "-o", name, p.pid)
        same(r.returncode, 1)
        found("another hugenuma records to it", r.stderr)
        first.terminate()
        same(first.wait(cli.TIMEOUT), 0)
    same(totals(name)[0]["complete"], True)


TESTS = {n: f for n, f in globals().items() if n.startswith("test_") and callable(f)}

if __name__ == "__main__":
    sys.exit(cli.main(TESTS))
