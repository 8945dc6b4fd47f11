#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Documents name what there is: files, fields, scenarios, layers, tests; and what is meant to be run can be.

    test_documents.py [ROOT]      default: this tree

Prints TAP; each name that is not there (any more), or is missing, with the document. Then each check is seen to fail once, on a
copy with a name changed.
"""
import glob
import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "NEWS.md", "docs/*.md", "tests/*/README.md")
# Folders that paths in documents begin with. BUILD is what `make` makes.
TOPS = "bench debian docs examples include man src tests tools".split()
WORDS = "*.c *.h *.S *.py *.pml *.build *.scd".split()
SCRIPTS_ELSEWHERE = ("debian/",)  # dpkg runs them as it installs them


def read(root, name):
    with open(os.path.join(root, name), encoding="utf-8", errors="replace") as f:
        return f.read()


def documents(root):
    for pattern in DOCUMENTS:
        for path in sorted(glob.glob(os.path.join(root, pattern))):
            name = os.path.relpath(path, root)
            yield name, read(root, name)


def in_backticks(text):
    return re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^    .*?$|^```.*?^```$", "", text))


def check_paths(root):
    """Files of the tree that are named, also with {a,b} and *; programs by the name of their source, without .c."""
    for name, text in documents(root):
        for quoted in in_backticks(text):
            word = quoted.split()[0] if quoted.split() else ""
            if word.split("/")[0] not in TOPS or "/" not in word or re.search(r"[A-Z]{3,}(?!\.md)|\.\.\.|=", word):
                continue
            m = re.fullmatch(r"(.*)\{(.*)\}(.*)", word)
            for path in [m[1] + part + m[3] for part in m[2].split(",")] if m else [word]:
                if not glob.glob(os.path.join(root, path)) and not os.path.exists(os.path.join(root, path + ".c")):
                    yield f"{name}: there is no {path}"


def words_of(root, *folders):
    found = set()
    for folder in folders:
        for at, _, names in os.walk(os.path.join(root, folder)):
            for n in names:
                if any(n.endswith(w[1:]) for w in WORDS):
                    found.update(re.findall(r"\w+", read(root, os.path.relpath(os.path.join(at, n), root))))
    return found


def check_locking(root):
    """Every field, function and scenario that docs/locking.md names."""
    known = words_of(root, "src", "tests/unit", "tests/spin")
    for quoted in in_backticks(read(root, "docs/locking.md")):
        for word in re.findall(r"\*?\b\w+\b\*?", quoted):
            found = any(k.endswith(word[1:]) for k in known) if word[0] == "*" else \
                any(k.startswith(word[:-1]) for k in known) if word[-1] == "*" else word in known
            if not found and word != "sfence":  # an instruction
                yield f"docs/locking.md: nothing in src is called {word} (`{quoted}')"


def check_scenario_files(root):
    """docs/checker.md has a row for each file of scenarios."""
    there = {os.path.basename(p) for p in glob.glob(root + "/src/check/scenarios_*.c")}
    listed = set(re.findall(r"(?m)^\| `(scenarios_\w+\.c)` \|", read(root, "docs/checker.md")))
    yield from (f"docs/checker.md: there is no row for {n}" for n in there - listed)
    yield from (f"docs/checker.md: there is no {n} (any more)" for n in listed - there)


def module(path):
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader(os.path.basename(path).replace("-", "_"), path)
    m = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(m)
    return m


def rows_of_contributing(root):
    return {folder: line for line in read(root, "CONTRIBUTING.md").splitlines() if line.startswith("| `")
            for folder in re.findall(r"`([\w/-]+?)/?`", line.split("|")[1])}


def check_layers_listed(root):
    """CONTRIBUTING.md has a row for each layer and for each folder of tests, and layers are folders."""
    rows = rows_of_contributing(root)
    for layer, may in module(os.path.join(root, "tools", "check-layers")).LAYERS.items():
        if not os.path.isdir(os.path.join(root, layer)):
            yield f"tools/check-layers: there is no {layer} (any more)"
        elif layer not in rows:
            yield f"CONTRIBUTING.md: there is no row for {layer}"
        elif {"hugenuma.h", "hugenuma/policy.h"} & set(may) and not re.search("public headers|`hugenuma|control sees", rows[layer].split("|")[3]):
            yield f"CONTRIBUTING.md: {layer} may include public headers, too (tools/check-layers)"
    for folder in glob.glob(root + "/tests/*/"):
        name = os.path.relpath(folder, root)
        if name not in rows and not name.endswith("__pycache__"):
            yield f"CONTRIBUTING.md: there is no row for {name}"
    yield from (f"CONTRIBUTING.md: there is no {name} (any more)" for name in rows if not os.path.isdir(os.path.join(root, name))
                and "/" in name)


def check_guest_tests(root):
    """tests/vm/README.md has a row for each test that tests/vm/run knows."""
    there = set(re.findall(r'(?m)^    Test\("([\w-]+)"', read(root, "tests/vm/run")))
    listed = set(re.findall(r"(?m)^\| `([\w-]+)` \|", read(root, "tests/vm/README.md").split("| test | what it shows |")[1].split("\n\n")[0]))
    yield from (f"tests/vm/README.md: there is no row for {n}" for n in there - listed)
    yield from (f"tests/vm/README.md: tests/vm/run has no test {n} (any more)" for n in listed - there)


def check_executable(root):
    """Every script that names its interpreter can be run by its name."""
    done = subprocess.run(["git", "-C", root, "ls-files", "-z"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    names = done.stdout.decode().split("\0") if done.returncode == 0 else \
        [os.path.relpath(os.path.join(at, n), root) for top in TOPS for at, _, files in os.walk(os.path.join(root, top)) for n in files]
    for name in filter(None, names):
        path = os.path.join(root, name)
        if os.path.isfile(path) and not os.access(path, os.X_OK) and not name.startswith(SCRIPTS_ELSEWHERE):
            with open(path, "rb") as f:
                if f.read(2) == b"#!":
                    yield f"{name}: not executable: chmod +x, git update-index --chmod=+x"


def check_build_needs(root):
    """README.md names all that building needs; the name that tools/install-deps has for it, or the package's."""
    text = re.search(r"(?s)- To build: (.*?)\n\n", read(root, "README.md"))[1]
    for probe, package in re.findall(r"(?m)^build (\S+) (\S+) .+$", read(root, "tools/install-deps").split("END\n}")[0]):
        name = {"cmd:cc": "C compiler", "file:stdio.h": "C compiler", "cmd:nm": "binutils", "pc:libzstd": "zstd"}.get(probe, probe.split(":")[1])
        if name not in text:
            yield f"README.md: building needs {package} (tools/install-deps), and {name!r} is not under \"To build\""


def check_checks(root):
    """docs/benchmarks.md, the two checks of the protocol: what bench/results/checks.jsonl has."""
    lines = [json.loads(line) for line in read(root, "bench/results/checks.jsonl").splitlines()]
    spin = {(r["scenario"], r["mutant"]): r for r in lines if r.get("side") == "spin"}
    check = next(r for r in lines if r.get("side") == "check")
    held = check["result"]["scenarios"]
    rows = [(f"spin, {', '.join(names)}", [spin[n, None]["states"] for n in names], [spin[n, None]["cpu_seconds"] for n in names])
            for names in (["RACE"], ["DROP"], ["PART"], ["UNMAP"], ["REMAP"], ["FORK", "RAWFORK"])]
    rows.append(("spin, founding bug", [spin["RACE", "FOUNDING"]["states"]], [spin["RACE", "FOUNDING"]["cpu_seconds"]]))
    rows.append((f"`hugenuma check`, {len(held)} scenarios",
                 [sum(s["explored"] for s in held), sum(s["blocked"] for s in held)], [check["cpu_seconds"]]))
    text = read(root, "docs/benchmarks.md")
    for name, counts, seconds in rows:
        line = re.search(rf"(?m)^\| {re.escape(name)}\b[^|]*\|([^|]*)\|([^|]*)\|$", text)
        if not line:
            yield f"docs/benchmarks.md: there is no row for {name}"
        elif [int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d", line[1])] != counts or \
                [float(s) for s in re.findall(r"[\d.]+", line[2])] != [round(s, 1) for s in seconds]:
            yield f"docs/benchmarks.md: {name}: {line[1].strip()} in {line[2].strip()} s, bench/results/checks.jsonl has {counts} in {seconds} s"


CHECKS = {
    "files that documents name are there": (check_paths, "docs/policy.md", "`src/core/judge.c`", "`src/core/juror.c`"),
    "docs/locking.md names fields that there are": (check_locking, "docs/locking.md", "`pool_kick`", "`pool_push`"),
    "docs/checker.md has every file of scenarios": (check_scenario_files, "docs/checker.md", "scenarios_tier.c", "scenarios_tear.c"),
    "CONTRIBUTING.md has every layer": (check_layers_listed, "CONTRIBUTING.md", "| `src/lib` |", "| `src/lip` |"),
    "tests/vm/README.md has every test": (check_guest_tests, "tests/vm/README.md", "| `split` |", "| `spilt` |"),
    "docs/benchmarks.md has what bench/spin has measured": (check_checks, "docs/benchmarks.md", "659,223", "659,222"),
    "README.md has what building needs": (check_build_needs, "README.md", "cmocka", "cmockery"),
}


def copy_of(root, to):
    for name in [*TOPS, "README.md", "CONTRIBUTING.md", "NEWS.md"]:
        (shutil.copytree if os.path.isdir(os.path.join(root, name)) else shutil.copy)(os.path.join(root, name), os.path.join(to, name))


def main():
    root = os.path.abspath(sys.argv[1]) if len(sys.argv) == 2 else ROOT
    results = [(name, list(check(root))) for name, (check, *_) in CHECKS.items()]
    results.append(("scripts are executable", list(check_executable(root))))
    with tempfile.TemporaryDirectory() as tmp:
        copy_of(root, tmp)
        os.chmod(os.path.join(tmp, "tests", "run-all"), 0o644)
        results.append(("one that is not is found", [] if list(check_executable(tmp)) else ["it is not"]))
        for name, (check, document, was, planted) in CHECKS.items():
            text = read(tmp, document)
            with open(os.path.join(tmp, document), "w", encoding="utf-8") as f:
                f.write(text.replace(was, planted))
            found = was in text and list(check(tmp))
            results.append((f"a mistake is found: {name}", [] if found else [f"{document}: {was} made {planted}: nobody noticed"]))
    print(f"1..{len(results)}")
    for n, (name, problems) in enumerate(results, 1):
        print(f"{'not ' if problems else ''}ok {n} - {name}")
        for p in problems:
            print(f"#   {p}")
    return any(problems for _, problems in results)


if __name__ == "__main__":
    sys.exit(main())
