#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Do the tests see what they are there for?

Each bug below is planted in a copy of src/core; the test named with it, built with that copy, must fail. Built with the
real sources, the stress test must not. Prints TAP.

    planted.py [--seconds N] [--cc COMPILER] [--only WORD]
"""
import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
FOUNDING = os.path.join(SOURCE, "tests", "torture", "founding-bug.patch")
FLAGS = ["-std=gnu11", "-g", "-O1", "-w", "-D_GNU_SOURCE", "-pthread"]
# A thread that sleeps as long as this is reported as not woken; without a bug only a machine that stands still looks like that.
STUCK_SECONDS = 3
STUCK_SECONDS_REAL = 20

# (name, what to find it by in the output of stress_core, [(file, text, replacement)], options of stress_core); or instead
# of what to find it by the name of a unit test: for what the other threads of a busy program cover up before anybody
# notices.
BUGS = [
    ("the founding bug: policy asked before the page lock", r"I1", FOUNDING),
    ("page lock not respected", r"I[124]",
     [("fault.c", "if (!hn_page_trylock(hn, f->page)) {", "hn_page_trylock(hn, f->page);\n\tif (0) {")]),
    ("no generation check at the commit", r"I1",
     [("migrate.c", " || e->gen != f->gen)", ")")]),
    ("no recheck at all at the commit", r"I[1246]",
     [("migrate.c", "if (!e || e->state != HN_ARMED || e->page != f->page || e->gen != f->gen)", "if (!e)")]),
    ("no gate around the commit", "fault_test",
     [("migrate.c", "hn_gate_read_lock(hn);", ""), ("migrate.c", "hn_gate_read_unlock(hn);", "")]),
    ("no gate around arming", "scan_test",
     [("scan.c", "\thn_gate_read_lock(hn);\n\te = hn_entry_find(hn, haddr);", "\te = hn_entry_find(hn, haddr);"),
      ("scan.c", "\t\thn_unlock(&e[i].lock);\n\thn_gate_read_unlock(hn);", "\t\thn_unlock(&e[i].lock);")]),
    ("no quarantine", r"I1",
     [("entry.c", "c->removed_ms + c->par.quarantine_ms", "c->removed_ms"),
      ("event.c", "hn->core->removed_ms + hn->core->par.quarantine_ms", "hn->core->removed_ms")]),
    ("a remove event is forgotten too early", "entry_test",
     [("entry.c", "!hn_before(now_ms, *until_ms)", "!hn_before(now_ms, c->removed_ms + c->par.quarantine_ms / 2)")]),
    ("no quarantine for what was not managed", r"I1",
     [("entry.c", "return manage(hn, haddr, nid, true);", "return manage(hn, haddr, nid, false);")]),
    ("a dropped part is not zeroed", r"I1",
     [("event.c", "hn->ops->zero(hn->be, e->page,", "if (0) hn->ops->zero(hn->be, e->page,")]),
    ("waiters of a raced migration are not woken", "event_test",
     [("migrate.c", "if (out == HN_FAULT_STALE) {", "if (0) {")]),
    ("no wake-up in the event path or after a race", r"I3",
     [("migrate.c", "if (out == HN_FAULT_STALE) {", "if (0) {"),
      ("event.c", "hn->ops->wake(", "if (0) hn->ops->wake(")]),
    ("the last reader does not wake the writer", r"TIMEOUT|I3",
     [("gate.c", "if ((hn_load_relaxed(w) & GATE_READERS) == 0)", "if (0)")]),
    ("a reader that backs out does not wake the writer", "gate_test",
     [("gate.c", "\t\thn_gate_read_unlock(hn);\n", "\t\thn_add_masked(w, (uint32_t)-1, 0);\n")]),
    ("the writer that leaves takes a reader's addition with it", "gate_test",
     [("gate.c", "hn_and_acq_rel(w, GATE_READERS)", "hn_swap_acq_rel(w, 0)")]),
    ("a message is read outside the gate", r"I[126]",
     [("serve.c", "\thn_gate_write_lock(hn);\n\tif (hn->ops->read_message(hn->be, m)) {",
       "\tif (hn->ops->read_message(hn->be, m)) {\n\t\thn_gate_write_lock(hn);"),
      ("serve.c", "\t}\n\tif (got == GOT_NOTHING)\n\t\thn_order_settle(hn);\n\thn_gate_write_unlock(hn);\n\treturn got;",
       "\t\thn_gate_write_unlock(hn);\n\t}\n\treturn got;")]),
    ("an event is processed outside the gate", r"I[1246]",
     [("serve.c", "\t\tif (got == GOT_EVENT)\n\t\t\thn_order_event(hn, m);\n\t}\n", "\t}\n"),
      ("serve.c", "\thn_gate_write_unlock(hn);\n\treturn got;",
       "\thn_gate_write_unlock(hn);\n\tif (got == GOT_EVENT)\n\t\thn_order_event(hn, m);\n\treturn got;")]),
    ("a follower leaves its put-off fault to the leader", "serve_test",
     [("serve.c", "\tif (hn->leading) {\n\t\tdefer(", "\tif (1) {\n\t\tdefer(")]),
    ("a page is thought deserted by the users of its own node", "policy_test",
     [("policy.c", "\t\tif (nid == e->nid)\n\t\t\treturn false;", "")]),
    ("a page that has moved is sent on to each passer-by", "judge_test",
     [("judge.c", "j->deserted && !j->moved", "j->deserted")]),
    ("what has moved in a change of phase is asked about again", "scan_test",
     [("scan.c", "!(e->moved && !hn_before(e->moved_ms, w->since_ms))", "true")]),
    ("who was put off is never woken", r"I3",
     [("serve.c", "\t\thn->ops->wake(hn->be, hn_page_down(c->deferred[--c->nr_deferred]), HN_PAGE_SIZE);",
       "\t\tc->nr_deferred--;")]),
    ("who was put off waits until something else happens", "serve_test",
     [("serve.c", "return hn->core->nr_deferred || hn_displaced_any(hn) || hn_order_any(hn);", "return false;")]),
    ("who finds the table of deferred full is forgotten", "serve_test",
     [("serve.c", "\tif (c->deferred_to)\n\t\thn->ops->wake(hn->be, c->deferred_from, c->deferred_to - c->deferred_from);\n", "")]),
    ("who finds the table of deferred full is woken before the event is read", "serve_test",
     [("serve.c", "\tif (!c->deferred_to || haddr < c->deferred_from)\n",
       "\thn->ops->wake(hn->be, haddr, HN_PAGE_SIZE);\n\tif (!c->deferred_to || haddr < c->deferred_from)\n")]),
    ("what was put off is part of the budget", "limit_test",
     [("limit.c", "__atomic_fetch_sub(&c->begun[i], 1, __ATOMIC_RELAXED);", ";")]),
    ("failures of long ago count as failures in a row", "fault_test",
     [("fault.c", "e->fails = 0; /* only those in a row count */", ";")]),
    ("a copy is made although an event is unread", "fault_test",
     [("fault.c", "if (hn->ops->event_unread(hn->be)) {", "if (0) {")]),
    ("the lead is kept over a copy", "serve_test",
     [("serve.c", "\tif (!hn->leading)\n\t\treturn;", "\treturn;")]),
    ("a hole is filled without a look for an armed page", "hole_test",
     [("hole.c", "if (e && is_armed(e)) {", "if (0) {")]),
    ("a hole is filled without a look for a displaced part", "hole_test",
     [("hole.c", "if (hn_order_waits(hn) || hn_displaced_covers(hn, addr)) {", "if (0) {")]),
    ("a displaced part is freed before it is copied", r"I[124]|Sanitizer",
     [("displaced.c", "\tif (hn_order_waits(hn) || hn->ops->copy_in(", "\thn_page_put(hn, d.page);\n\tif (hn->ops->copy_in("),
      ("displaced.c", "\thn_page_unlock(hn, d.page);\n\thn_page_put(hn, d.page);\n\treturn 0;",
       "\thn_page_unlock(hn, d.page);\n\treturn 0;")]),
    ("a displaced part is put in place while a migration reads it", "displaced_test",
     [("displaced.c", "if (!hn_page_trylock(hn, d.page))\n", "hn_page_trylock(hn, d.page);\n\tif (0)\n")]),
    ("a displaced part that is dropped comes back", r"I[16]",
     [("event.c", "\thn_displaced_cut(hn, start, end);\n", "")]),
    ("a displaced part does not move with its place", "displaced_test",
     [("event.c", "\thn_displaced_remap(hn, from, to, len);\n", "")]),
    ("the count of a chunk's questions stays behind when the chunk moves", "scan_test",
     [("entry.c", "hn_chunks(hn)[to] = hn_chunks(hn)[from];", "hn_chunks(hn)[to].key = hn_chunks(hn)[from].key;")]),
    ("a page is armed around a part that waits for its place", "displaced_test",
     [("scan.c", "lock_run(e, without_parts(hn, haddr, got), hn_now_ms(hn))", "lock_run(e, got, hn_now_ms(hn))")]),
    ("what finds no room in the table of parts is lost", "displaced_test",
     [("displaced.c", "\thn->ops->copy_in(hn->be, lo(&d), d.page, d.from, d.to);\n", "")]),
    ("the migration's reference is leaked", r"I4",
     [("migrate.c", "\thn_page_put(hn, f->page);\n\treturn out;", "\treturn out;")]),
    ("the entry's reference is leaked by events", r"I4",
     [("event.c", "\tif (page != HN_NO_INDEX)\n\t\thn_page_put(hn, page);", "")]),
    ("the target is leaked when the migration fails", r"I4",
     [("migrate.c", "if (have && !used)", "if (0)")]),
    ("a page id is freed before the copy ends", r"I[124]|Sanitizer",
     [("fault.c", "hn_page_get(hn, f->page); /* the copy may outlive the mapping (R17) */", ""),
      ("migrate.c", "\thn_page_put(hn, f->page);\n\treturn out;", "\treturn out;")]),
    ("a hint is ended without being counted", r"I5",
     [("entry.c", "\tcount_disarm(hn, cause);\n", "")]),
    ("a stale fault is charged", r"I5",
     [("fault.c", "return HN_FAULT_STALE;", "return HN_FAULT_LOCAL;")]),
    ("an entry lock is not released", r"I[34]|TIMEOUT",
     [("scan.c", "for (i = 0; i < locked; i++) /* A4 */", "for (i = 0; i + 1 < locked; i++)")]),
    ("the rest of a partly unmapped page is lost", r"I1",
     [("event.c", "\thn_page_get(hn, page);\n\thn_displaced_add(", "\tif (0) hn_displaced_add(")]),
    ("a page is isolated without another look at its entry", "fault_test",
     [("migrate.c", "e->page == f->page && e->gen == f->gen && !hn_order_waits(hn) &&\n\t    !hn_entry_held(", "1 &&\n\t    !hn_entry_held("),
      ("migrate.c", "if (e && e->state == HN_ARMED && 1", "if (e && 1")]),
    ("a page is isolated in quarantine", "fault_test",
     [("migrate.c", "!hn_entry_held(e, HN_E_NO_ARM, hn_now_ms(hn))", "1")]),
    ("a second of the budget is half a second", "limit_test",
     [("limit.c", "STEP_MASK) < HN_BUDGET_STEPS)", "STEP_MASK) < HN_BUDGET_STEPS / 2)")]),
    ("what was given up is not put back", r"I[135]",
     [("migrate.c", "\tif (err)\n\t\treturn failed(hn, e, f, why);",
       "\tif (err == HN_ETIME) {\n\t\thn_page_unlock(hn, f->page);\n\t\treturn HN_FAULT_FAILED;\n\t}\n"
       "\tif (err)\n\t\treturn failed(hn, e, f, why);")]),
    ("what the ring has lost when a process ends is not counted", "record_test",
     [("record.c", "\tif (n < first) {\n\t\tr->missed += first - n;", "\tif (n < first) {")]),
    ("what may be in torn tables is taken in again", "record_test",
     [("record.c", "\tif (torn && n < r->taking)\n\t\tn = r->taking;\n", "")]),
    ("what is left of a map that is written anew counts", "record_test",
     [("record.c", "\tif (torn && !r->heat.nr_rows)\n\t\tclear_heat(&r->heat);\n", "")]),
    ("what was given up is tried again at once", "limit_test",
     [("migrate.c", "if (out == HN_FAULT_FAILED)\n", "if (out == HN_FAULT_FAILED && why != HN_FAIL_STALL)\n")]),
    ("a page is taken out although it is too late already", "limit_test",
     [("migrate.c", "if (until && hn->ops->now_ns(hn->be) >= until)", "if (0)")]),
    ("waiting behind another fault is not waiting", "limit_test",
     [("serve.c", "hn->core->behind_ns = read_ns;", "hn->core->behind_ns = 0;")]),
    ("one interruption keeps others from being migrated", "limit_test",
     [("limit.c", "(new < most ? new : most)", "new")]),
    ("migrations that are given up in a row are begun all the same", "limit_test",
     [("limit.c", "\tpoke(&c->given_up, row + 1 ? row + 1 : row);\n", "")]),
    ("none is ever begun again after several were given up", "limit_test",
     [("limit.c", "us - us / 16 - 1", "us - us / 16")]),
    ("one meeting makes a group", "threads_test", [("threads.c", "#define BONDED 4u", "#define BONDED 2u")]),
    ("samples of a thread do not decay", "threads_test",
     [("threads.c", "\t\thalve(&t->mem[n]);\n", "")]),
    ("pages are sent away from the node that their thread is to come to", "threads_test",
     [("threads.c", "if (hn_thread_is_home(t, page_nid))\n", "if (0)\n")]),
    ("pages move before it is decided who moves", "threads_test",
     [("threads.c", "if (peek(&t->follow) == HN_FOLLOW_UNDECIDED)", "if (0)")]),
    ("a thread that the program has bound takes no room", "place_test",
     [("place.c", "if (s->fixed && s->now >= 0)", "if (0)")]),
    ("what other programs keep on a node is not respected", "place_test",
     [("place.c", "p->taken[node] + others + load <=", "p->taken[node] + load <=")]),
    ("a thread without room at its memory wanders on", "place_test",
     [("place.c", "if (!s->ready || s->load < HN_BUSY || !s->samples)", "if (1)")]),
    ("threads are moved, and their pages are not asked about", "pace_test",
     [("pace.c", "if (plan.any < p->stirred)", "if (0)")]),
    ("a thread leaves home for any better node", "place_test",
     [("place.c", "at_home * 1000 >= total * HN_KEEP_SHARE", "0")]),
    ("a group's shared page follows every one of its threads", "judge_test",
     [("judge.c", "j->group_cpu[j->page_nid] * 3;", "j->group_cpu[j->page_nid];")]),
    ("a page that changes hands is taken for a shared one", "judge_test",
     [("tenure.h", "return ms < HN_TENURE_ONCE_MS || (t.unseen", "return ms < HN_TENURE_BRIEF_MS || (t.unseen")]),
    ("a page that was seen late is taken for a shared one", "judge_test",
     [("tenure.h", "t.unseen < HN_UNSEEN_MOST && ms + (t.unseen << 9)", "ms")]),
    ("pages are sent after users that come by turns", "judge_test",
     [("tenure.h", "\t\tdoubt += HN_DOUBT_BRIEF;", "\t\t;")]),
    ("a page that was shared once is so for good", "judge_test",
     [("tenure.h", "\t\tdoubt = hn_doubt_less(doubt, 1);", "\t\t;"),
      ("tenure.h", "hn_doubt_less(t.doubt, (", "hn_doubt_less(t.doubt, 0 * (")]),
    ("what did not pay once is not asked again for long", "pace_test", [("pace.c", ">= LATELY_MS)", "== UINT32_MAX)")]),
    ("pages are asked again though they have just answered", "scan_test",
     [("scan.c", "return hn_tenure_age_ms(e->tenure, w->now_ms) > w->now_ms - w->since_ms &&", "return")]),
    ("what was isolated is not noted", r"I[124]", [("migrate.c", "\t\thn_pages(hn)[f->page].content = 1;", "\t\t;")],
     "--rwp"),
    ("a page is isolated, and not put back when its copy fails", r"I[1234]",
     [("fault.c", "if (hn_order_waits(hn) || hn->ops->disarm(hn->be, f->haddr, f->page) != 0) {", "if (0) {")], "--rwp"),
    ("a page in its place is taken for one in staging when a part of it is dropped", "fault_test",
     [("scan.c", "p->content = !hn->ops->isolate;", "p->content = 1;")]),
    ("what was left protected must be stale many times first", "fault_test",
     [("migrate.c", "\t\t\te->stale = HN_STALE_LIMIT;", "\t\t\t;")]),
    ("a plug-in policy's node is believed", "plugin_test",
     [("plugin.c", "return a->node >= 0 && a->node < (int32_t)j->place->nr_nodes && (j->place->allowed >> a->node & 1);",
       "return true;")]),
    ("a plug-in policy may go where pages may not", "plugin_test", [("plugin.c", " && (j->place->allowed >> a->node & 1);", ";")]),
    ("a plug-in policy's rule is believed", "plugin_test", [("plugin.c", "a->rule >= HN_MAX_RULES", "0"),
                                                            ("plugin.c", "a->rule >= j->plugin->nr_rules || ", "")]),
    ("what is bound to nodes may go to others", "policy_test",
     [("policy.c", "(allowed ? allowed : ~(uint64_t)0) & (nodes ? nodes : ~(uint64_t)0)", "allowed ? allowed : ~(uint64_t)0")]),
    ("a policy that does not look where pages may go is believed", "policy_test",
     [("policy.c", "!(allowed_for(hn, e) >> r->target_nid & 1)", "0")]),
    ("what is bound to be balanced is brought to its nodes", "policy_test",
     [("policy.c", " || __atomic_load_n(&hn->core->wish[e->wish].soft, __ATOMIC_RELAXED))", ")")]),
    ("what memory is bound to is forgotten with mremap", "event_test",
     [("event.c", "wish < HN_USER_WISHES ? 0 : wish", "0")]),
    ("a page is demoted from the nodes that it is bound to, or though it is only observed", "tier_test",
     [("demote.c", " || !hn_policy_may_send(hn, e, to)", "")]),
    ("demotion ends as soon as a node is not low any more", "tier_test", [("tier.c", "is_in(m->demoting, i)", "0")]),
    ("a page that is cold is asked again in the midst of its use", "tier_test",
     [("policy.c", "if (knows_tiers(hn) &&", "if (0 &&")]),
    ("a page is hot by the last of several hints", "tier_test", [("policy.c", "e->idle * par->expiry_ms", "0")]),
    ("a page is demoted although it was touched meanwhile", "tier_test",
     [("migrate.c", "if (f->demotion && e->idle == 0) {", "if (0) {")]),
    ("who waits for a demotion that is put off is forgotten", "tier_test",
     [("demote.c", "\t\thn->ops->wake(hn->be, f.haddr, HN_PAGE_SIZE);\n", "")]),
    ("a page is demoted to a node that is short itself", "tier_test",
     [("tier.c", " || mem[i].free <= low_of(m, &mem[i])", "")]),
    ("the rate counts what was tried", "tier_test",
     [("fault.c", "if (outcome == HN_FAULT_MIGRATED && (v->reason == HN_REASON_HOT", "if ((v->reason == HN_REASON_HOT")]),
    ("what nobody could look at must be stale many times again", "fault_test",
     [("hole.c", "\t\te->stale = HN_STALE_LIMIT;", "\t\t;")]),
    ("a fallen thread keeps an entry", "recover_test", [("recover.c", "\t\tfree_word(&hn_entries(hn)[i].lock);", "\t\t;")]),
    ("a fallen thread keeps a page", "recover_test", [("recover.c", "\t\tfree_word(&hn_pages(hn)[i].lock);", "\t\t;")]),
    ("a fallen thread keeps the gate", "recover_test", [("recover.c", "\tfree_word(&c->gate);\n", "")]),
    ("a fallen thread keeps the lead", "recover_test", [("recover.c", "\tfree_word(&c->lead);\n", "")]),
    ("who waits for a fallen thread sleeps on", "recover_test", [("recover.c", "\thn_wake(w, INT32_MAX);\n", "")]),
    ("pages that were being armed are not looked for", "recover_test",
     [("recover.c", "\t\tif (!is_half_armed(hn, e, first + i))\n", "\t\tif (1)\n")]),
    ("a page that nobody was arming is taken for half armed", "recover_test",
     [("recover.c", "return e && hn_load_relaxed(&e->lock) != 0 && ", "return e && ")]),
    ("an armed page is taken for half armed", "recover_test", [("recover.c", "e->state == HN_MAPPED && ", "")]),
    ("a page that was being lifted is taken for one in its place", "recover_test", [("recover.c", "\t\tp->content = 1;\n", "\t\t;\n")]),
    ("a free id is taken for a page that was being lifted", "recover_test",
     [("recover.c", "(int32_t)hn_load_relaxed(&p->refs) > 0", "1")]),
    ("the event that a fallen thread had in hand is lost", "recover_test",
     [("serve.c", "const struct hn_message *m) { hn_order_event(hn, m); }", "const struct hn_message *m) { (void)hn, (void)m; }")]),
]
SYNC = ("block.c", "call_native.c", "sync_native.c")  # what binds sync.h to the kernel


def compile_core(args, core_parent, test, out):
    files = ["stress_core.c", "world.c"] if test == "stress_core" else [f"{test}.c", "fake.c"]
    libraries = [] if test == "stress_core" else ["-lcmocka"]
    sources = [os.path.join(HERE, f) for f in files] + [os.path.join(SOURCE, "src", "linux", f) for f in SYNC]
    core = os.path.join(core_parent, "core")
    sources += sorted(os.path.join(core, f) for f in os.listdir(core) if f.endswith(".c"))
    command = [args.cc, *FLAGS, "-I", core_parent, "-I", os.path.join(SOURCE, "src"), "-I",
               os.path.join(SOURCE, "include"), *sources, "-o", out, *libraries]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print("\n".join("# " + line for line in done.stdout.splitlines()))
    return done.returncode == 0


def plant(edits, tree):
    """False when an edit no longer fits the source."""
    if isinstance(edits, str):
        with open(edits, encoding="utf-8") as f:
            command = ["patch", "-p1", "-s", "--batch", "--forward", "--fuzz=0"]
            return subprocess.run(command, cwd=tree, stdin=f).returncode == 0
    for name, old, new in edits:
        path = os.path.join(tree, "src", "core", name)
        with open(path, encoding="utf-8") as f:
            text = f.read()
        if old not in text:
            print(f"# {name} has no \"{old}\" any more")
            return False
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace(old, new))
    return True


def run(program, seed, seconds, patience, options=()):
    """The failure it reports, or None when it is clean."""
    command = [program, "--seconds", str(seconds), "--seed", str(seed), "--stuck", str(STUCK_SECONDS), *options]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=seconds + patience)
    except subprocess.TimeoutExpired:
        return "TIMEOUT: the stress test hangs"
    if done.returncode == 0:
        return None
    lines = [line for line in done.stdout.splitlines() if "FAIL" in line or "ERROR" in line]
    return lines[0] if lines else f"exit status {done.returncode}"


def unit_failure(program):
    """The first failure of a unit test, which is then ended: the rest of it may hang."""
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")  # not every test asks for it, nor is every run one of run-all
    with subprocess.Popen([program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          env=env) as child:
        timer = threading.Timer(60, child.kill)
        timer.start()
        failure = next((line.rstrip() for line in child.stdout if line.startswith("not ok")), None)
        timer.cancel()
        if failure:
            child.kill()
    if not failure and child.returncode:  # it crashed, or hung
        failure = f"exit status {child.returncode}"
    return failure


def hunt(program, want, seconds, options):
    """The failure, or None when none of the wanted kind was reported in time."""
    start = time.monotonic()
    seed = 1
    while True:
        left = seconds - (time.monotonic() - start)
        if left <= 0:
            return None
        failure = run(program, seed, min(left + 1, 5), 4 * STUCK_SECONDS, options)
        if failure and (re.search(want, failure) or failure.startswith("exit status -")):
            return failure
        if failure:
            print(f"# seed {seed}: {failure}")
        seed += 1


def build(args, number, bug, scratch):
    """The name of the test and the program with the bug in it, None when there is no such program."""
    _, want, edits, *_ = bug
    tree, program = os.path.join(scratch, str(number)), os.path.join(scratch, f"stress-{number}")
    shutil.copytree(os.path.join(SOURCE, "src", "core"), os.path.join(tree, "src", "core"))
    test = want if want.endswith("_test") else "stress_core"
    good = plant(edits, tree) and compile_core(args, os.path.join(tree, "src"), test, program)
    return test, program if good else None


def check(args, number, bug, built):
    name, want, _, *options = bug
    test, program = built
    failure = None
    if program:
        start = time.monotonic()
        failure = hunt(program, want, args.seconds, options) if test == "stress_core" else unit_failure(program)
        if failure:
            print(f"# {test}, {time.monotonic() - start:.1f} s: {failure}")
    print(f"{'ok' if failure else 'not ok'} {number} - seen: {name}", flush=True)
    return failure is not None


def real_code(args, number, scratch):
    program = os.path.join(scratch, "stress-real")
    good = compile_core(args, os.path.join(SOURCE, "src"), "stress_core", program)
    patient = ["--stuck", str(STUCK_SECONDS_REAL)]
    failure = (run(program, 1, 3, 60, patient) or run(program, 1, 3, 60, [*patient, "--rwp"])) if good else "does not build"
    if failure:
        print(f"# {failure}")
    print(f"{'not ok' if failure else 'ok'} {number} - the real code is clean", flush=True)
    return not failure


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="how long to look for each, at most (120)")
    parser.add_argument("--cc", default=os.environ.get("CC", "cc"))
    parser.add_argument("--only", default="", help="only bugs whose name contains this")
    args = parser.parse_args(argv)
    bugs = [b for b in BUGS if args.only in b[0]]
    print(f"1..{len(bugs) + 1}")
    with tempfile.TemporaryDirectory(prefix="hugenuma-planted-") as scratch:
        # Built ahead, as many at once as there are CPUs; but one at a time hunts for its bug.
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            built = [pool.submit(build, args, i, bug, scratch) for i, bug in enumerate(bugs, 1)]
            good = [check(args, i, bug, built[i - 1].result()) for i, bug in enumerate(bugs, 1)]
        good.append(real_code(args, len(bugs) + 1, scratch))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
