# SPDX-License-Identifier: MIT
"""Help, manual pages and completion say the same: what one has, all have. A check that fails names the file to edit.

test_cli.py runs these; `in_step.py [HUGENUMA]` runs them alone.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HUGENUMA = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("HUGENUMA", ROOT + "/build/hugenuma"))
sys.path.insert(0, ROOT + "/tools")
import command_tables  # noqa: E402

NO_PAGE = ("help",)  # hugenuma(1) has it


class Skip(Exception):
    """The check cannot be made here; the text says why."""


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as f:
        return f.read()


def agree(problems):
    if problems:
        raise AssertionError("\n".join(problems))


def documented(page):
    """{option: the line that begins its description} of a page."""
    section = re.search(r"(?ms)^# OPTIONS\n(.*?)^# ", read(page))
    lines = re.findall(r"(?m)^(\*-.*)$", section[1] if section else "")
    return {m[1]: line for line in lines if (m := re.search(r"\*--([a-z-]+)\*", line))}


def heading(o):
    """How a page has to begin the description of an option."""
    value = "" if o.value is None else f"[=_{o.value}_]" if o.optional else f"=_{o.value}_"
    return (f"*-{o.short}*, " if o.short else "") + f"*--{o.long}*{value}"


def differences(command, page, ours):
    theirs = documented(page)
    for o in ours:
        if theirs.get(o.long, "").replace("\\", "") != heading(o):
            yield (f"{page}: under OPTIONS there is no line '{heading(o)}' for --{o.long} of `hugenuma {command}' "
                   f"(it has {theirs.get(o.long)!r}): describe the option there")
    for name in theirs.keys() - {o.long for o in ours}:
        yield f"{page}: --{name} is no option of `hugenuma {command}' (any more): remove it there"


def test_every_option_has_its_place_in_its_manual_page():
    problems = []
    settings = {s.option for s in command_tables.settings(HUGENUMA)}
    for command in command_tables.commands(HUGENUMA):
        page = f"man/hugenuma-{command}.1.scd"
        ours = command_tables.options(HUGENUMA, command)
        if command == "run":  # make-man puts those there that are settings
            ours = [o for o in ours if o.long not in settings]
            if "\n@setting-options@\n" not in read(page):
                problems.append(f"{page}: has no line @setting-options@ for tools/make-man to fill in")
        if command in NO_PAGE:
            continue
        if not os.path.exists(os.path.join(ROOT, page)):
            problems.append(f"{page}: missing; write the page of `hugenuma {command}', and add it to man/meson.build")
        else:
            problems += differences(command, page, ours)
    agree(problems)


def test_every_command_is_in_the_first_manual_page():
    page = read("man/hugenuma.1.scd")
    problems = []
    for command, summary in command_tables.commands(HUGENUMA).items():
        text = summary[0].upper() + summary[1:]
        if command not in NO_PAGE and f"\n*{command}*\n\t{text}: *hugenuma-{command}*(1).\n" not in page:
            problems.append(f"man/hugenuma.1.scd: under COMMANDS there is no '*{command}*' with '{text}: *hugenuma-{command}*(1).'")
    there = {os.path.basename(p)[len("hugenuma-"):-len(".1.scd")] for p in glob.glob(ROOT + "/man/hugenuma-*.1.scd")}
    for command in there - set(command_tables.commands(HUGENUMA)):
        problems.append(f"man/hugenuma-{command}.1.scd: there is no command `{command}' (any more): remove the page")
    agree(problems)


def test_every_page_is_built_and_whole():
    wanted = {"1": ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "SEE ALSO"],
              "5": ["NAME", "SYNOPSIS", "DESCRIPTION", "SETTINGS", "FILES", "EXAMPLES", "SEE ALSO"],
              "7": ["NAME", "DESCRIPTION", "FILES", "EXAMPLES", "SEE ALSO"]}
    listed = set(re.findall(r"'(hugenuma[a-z.-]*\.\d)'", read("man/meson.build")))
    there = {os.path.basename(p)[:-len(".scd")] for p in glob.glob(ROOT + "/man/*.scd")}
    problems = [f"man/meson.build: add '{p}' to man_pages" for p in there - listed]
    problems += [f"man/meson.build: '{p}' has no man/{p}.scd" for p in listed - there]
    for page in there:
        text = read(f"man/{page}.scd")
        problems += [f"man/{page}.scd: has no section '{s}'" for s in wanted[page[-1]] if f"\n# {s}\n" not in text]
        problems += [f"man/{page}.scd: refers to {m}, which is not there" for m in
                     {f"{n}.{s}" for n, s in re.findall(r"\*(hugenuma[a-z.-]*)\*\((\d)\)", text)} - there]
    agree(problems)


def filled(page):
    return subprocess.run([ROOT + "/tools/make-man", HUGENUMA, f"{ROOT}/man/{page}.scd"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def test_every_setting_is_in_its_manual_pages():
    problems = []
    conf, run = filled("hugenuma.conf.5"), filled("hugenuma-run.1").replace("\\", "")
    ours = command_tables.settings(HUGENUMA)
    if len(ours) < 20:
        problems.append(f"tools/command_tables.py: `hugenuma ctl' is not understood, only {len(ours)} settings found")
    for s in ours:
        key = s.key.replace("_", "\\_")
        if f"\n*{key}* = _value_\n" not in conf:
            problems.append(f"man/hugenuma.conf.5.scd: {s.key} is missing; is its line @settings@ there?")
        if f"\n*--{s.option}*" not in run or f"Setting *{s.key}*." not in run:
            problems.append(f"man/hugenuma-run.1.scd: --{s.option} is missing; is its line @setting-options@ there?")
    agree(problems)


def test_manual_pages_have_no_mistakes():
    if not shutil.which("scdoc"):
        raise Skip("scdoc is not installed")
    problems = []
    with tempfile.TemporaryDirectory() as tmp:
        for scd in sorted(glob.glob(ROOT + "/man/*.scd")):
            page = os.path.basename(scd)[:-len(".scd")]
            r = subprocess.run(["scdoc"], input=filled(page), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            said = r.stderr
            if r.returncode == 0:
                with open(f"{tmp}/{page}", "w", encoding="utf-8") as f:
                    f.write(r.stdout)
                said = warnings(f"{tmp}/{page}")
            if said or r.returncode:
                problems.append(f"man/{page}.scd: {said}")
    agree(problems)


def warnings(page):
    said = ""
    if shutil.which("man"):
        said += subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, env=dict(os.environ, LC_ALL="C.UTF-8")).stderr
    if shutil.which("mandoc"):
        said += subprocess.run(["mandoc", "-T", "lint", "-W", "error", page], stdout=subprocess.PIPE, text=True).stdout
    return said


# ---- completion ----

def completion(shell):
    r = subprocess.run([ROOT + "/tools/make-completion", HUGENUMA, shell], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True)
    agree([r.stderr] if r.returncode else [])
    return r.stdout


BASH_ASK = r"""
PATH=$(dirname "$1"):$PATH
compopt() { :; }
. "$2"
shift 2
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_hugenuma
printf '%s\n' "${COMPREPLY[@]}"
"""


def bash_offers(script, *words):
    r = subprocess.run(["bash", "-c", BASH_ASK, "bash", HUGENUMA, script, "hugenuma", *words], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, check=True)
    agree([f"tools/make-completion: bash says: {r.stderr}"] if r.stderr else [])
    return r.stdout.split()


def test_bash_completes_what_there_is():
    problems = []
    with tempfile.NamedTemporaryFile("w", suffix=".bash") as f:
        f.write(completion("bash"))
        f.flush()

        def expect(wanted, *words):
            got = set(bash_offers(f.name, *words))
            if got != set(wanted):
                problems.append(f"tools/make-completion: bash: {' '.join(words)}<Tab>: too much {got - set(wanted)}, "
                                f"missing {set(wanted) - got}")

        commands = command_tables.commands(HUGENUMA)
        expect(commands, "")
        expect([c for c in commands if c.startswith("re")], "re")
        expect(commands, "help", "")
        for command in commands:
            common = ["--help", "--usage"] + (["--version"] if command != "check" else [])
            expect([f"--{o.long}" + ("=" if o.value and not o.optional else "")
                    for o in command_tables.options(HUGENUMA, command)] + common, command, "--")
        expect(["copy", "kernel"], "run", "--mover", "=", "")
        expect(["kernel"], "run", "-q", "--mover", "k")
        expect(["get", "set"], "ctl", "17", "")
        expect(["policy.name="], "ctl", "17", "set", "policy.n")
        expect(["policy.name="], "run", "--set", "=", "policy.n")
    agree(problems)


def test_zsh_and_fish_complete_what_there_is():
    problems = []
    zsh, fish = completion("zsh"), completion("fish")
    for command in command_tables.commands(HUGENUMA):
        part = re.search(rf"(?ms)^\t{command}\)\n(.*?)^\t\t;;$", zsh)
        wanted = {o.long for o in command_tables.options(HUGENUMA, command)} | {"help", "usage"}
        wanted |= {"version"} if command != "check" else set()
        found = {"zsh": set(re.findall(r"['),]--([a-z-]+)[=\[}]", re.sub(r"=-?", "=", part[1]))) if part else set(),
                 "fish": set(re.findall(rf"(?m)seen_subcommand_from {command}'.* -l ([a-z-]+)", fish))}
        problems += [f"tools/make-completion: {shell}: {command}: too much {got - wanted}, missing {wanted - got}"
                     for shell, got in found.items() if got != wanted]
    for shell, text, check in (("zsh", zsh, ["zsh", "-n"]), ("fish", fish, ["fish", "-n"])):
        if shutil.which(shell):
            with tempfile.NamedTemporaryFile("w") as f:
                f.write(text)
                f.flush()
                r = subprocess.run([*check, f.name], stderr=subprocess.PIPE, text=True)
                problems += [f"tools/make-completion: {shell} says: {r.stderr}"] if r.returncode or r.stderr else []
    agree(problems)


TESTS = {n: f for n, f in globals().items() if n.startswith("test_")}

if __name__ == "__main__":
    for test_name, test in TESTS.items():
        test()
        print(f"{test_name}: ok")
