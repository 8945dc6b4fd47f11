#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each rule of tools/check-layers is seen to fail once, on a copy of the source with a planted violation."""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHECK = os.path.join(ROOT, "tools", "check-layers")

# File (made if it is not there), line planted at its end, what the complaint must contain; None: no complaint.
PLANTED = [
    ("src/core/planted.c", '#include "core/types.h"', None),
    ("src/core/planted.c", '#include "linux/sys.h"', "src/core may not include linux/sys.h"),
    ("src/core/planted.c", '#include "../linux/sys.h"', "src/core may not include linux/sys.h"),
    ("src/core/planted.c", "#include <linux/sys.h>", "src/core may not include linux/sys.h"),
    ("src/core/planted.c", '#  include "agent/layout.h"', "src/core may not include agent/layout.h"),
    ("src/core/planted.c", "#include <stdlib.h>", "core may not include <stdlib.h>"),
    ("src/core/planted.c", "#include <unistd.h>", "core may not include <unistd.h>"),
    ("src/core/planted.c", "#include HEADER", "only plain #include"),
    ("src/core/planted.c", "#ifdef HN_CHECKER", "no conditional code"),
    ("src/core/planted.c", "/* #include <stdio.h> */", None),
    ("src/core/planted.c", "/* a\n#include <stdio.h>\n*/", None),
    ("src/linux/planted.c", '#include "uapi/uapi.h"', None),
    ("src/linux/planted.c", '#include "agent/layout.h"', "src/linux may not include agent/layout.h"),
    ("src/linux/planted.c", "#include <stdio.h>", "no heap, no stdio"),
    ("src/agent/planted.c", '#include "linux/sys.h"', None),
    ("src/agent/planted.c", '#include "control/say.h"', "src/agent may not include control/say.h"),
    ("src/agent/planted.c", "#include <hwloc.h>", "no heap, no stdio"),
    ("src/agent/planted.c", "#include <jansson.h>", "no heap, no stdio"),
    ("src/agent/planted.c", "#include <malloc.h>", "no heap, no stdio"),
    ("src/control/planted.c", '#include "agent/layout.h"', None),
    ("src/control/planted.c", '#include "core/core.h"', "src/control may not include core/core.h"),
    ("src/control/planted.c", '#include "linux/sys.h"', "src/control may not include linux/sys.h"),
    ("src/control/planted.h", '#include "cli/planted.h"', "not a file of the project"),
    ("src/cli/planted.c", '#include "core/ops.h"', "src/cli may not include core/ops.h"),
    ("src/cli/planted.c", '#include "uapi/uapi.h"', "src/cli may not include uapi/uapi.h"),
    ("src/uapi/uapi.h", '#include "core/types.h"', "src/uapi may not include core/types.h"),
    ("src/novel/planted.c", "int planted;", "belongs to no layer"),
    ("src/planted.c", "int planted;", "belongs to no layer"),
    ("include/planted.h", '#include "core/types.h"', "include may not include core/types.h"),
    ("examples/planted.c", '#include "core/core.h"', "examples may not include core/core.h"),
]

# Source of a would-be member of the engine's library, what the complaint must contain.
CORE_OBJECTS = [
    ("int hn_planted(int a) { return a + 1; }", None),
    ("unsigned hn_load_acquire(const void *); unsigned hn_planted(void *p) { return hn_load_acquire(p); }", None),
    ("extern int hn_stranger(void); int hn_planted(void) { return hn_stranger(); }", "refers to hn_stranger"),
    ("#include <stdlib.h>\nvoid *hn_planted(void) { return malloc(1); }", "refers to malloc"),
    ("static int state; int *hn_planted(void) { return &state; }", "variable state in .bss"),
    ("static int state = 1; int *hn_planted(void) { return &state; }", "variable state in .data"),
    ("static const char *const names[] = {\"a\", \"b\"}; const char *hn_planted(int i) { return names[i]; }", None),
]

AGENT_OBJECTS = [
    ("int hn_planted(void) { return 1; }", [], None),
    ("#include <stdlib.h>\nvoid *hn_planted(void) { return calloc(1, 2); }", [], "refers to calloc"),
    ("#include <stdio.h>\nvoid hn_planted(int i) { printf(\"%d\", i); }", [], "refers to printf"),
    ("#include <stdlib.h>\nvoid hn_planted(void) { abort(); }", [], "refers to abort"),
    ("#include <math.h>\ndouble hn_planted(double a) { return sin(a); }", ["-lm"], "needs libm.so.6"),
]


class Tap:
    def __init__(self, planned):
        self.number = self.failed = 0
        print(f"1..{planned}")

    def check(self, name, good, seen):
        self.number += 1
        print(f"{'' if good else 'not '}ok {self.number} - {name}")
        if not good:
            self.failed += 1
            print("# saw: " + seen.strip().replace("\n", "\n#      "))


def check_layers(*args):
    done = subprocess.run([sys.executable, CHECK, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def agrees(status, output, complaint):
    return (status == 0) if complaint is None else (status == 1 and complaint in output)


def plant(tap, tree, path, line, complaint):
    full = os.path.join(tree, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    before = None
    if os.path.exists(full):
        with open(full, encoding="utf-8") as f:
            before = f.read()
    with open(full, "a", encoding="utf-8") as f:
        f.write(line + "\n")
    status, output = check_layers(tree)
    tap.check(f"{path}: {line.splitlines()[-1]}", agrees(status, output, complaint), f"status {status}\n{output}")
    if before is None:
        os.remove(full)
    else:
        with open(full, "w", encoding="utf-8") as f:
            f.write(before)
    if os.path.dirname(path) == "src/novel":
        os.rmdir(os.path.dirname(full))


def compile_c(folder, source, *args):
    path = os.path.join(folder, "planted.c")
    with open(path, "w", encoding="utf-8") as f:
        f.write(source + "\n")
    subprocess.run(["cc", "-O1", "-fPIC", "-fno-stack-protector", "-U_FORTIFY_SOURCE", "-o", *args[:1], path, *args[1:]],
                   check=True)


def main():
    tap = Tap(1 + len(PLANTED) + len(CORE_OBJECTS) + len(AGENT_OBJECTS))
    with tempfile.TemporaryDirectory() as tree:
        for part in ("src", "include", "examples"):
            if os.path.isdir(os.path.join(ROOT, part)):
                shutil.copytree(os.path.join(ROOT, part), os.path.join(tree, part))
        status, output = check_layers(tree)
        tap.check("the source as it is", status == 0, output)
        for path, line, complaint in PLANTED:
            plant(tap, tree, path, line, complaint)
        for source, complaint in CORE_OBJECTS:
            member, archive = os.path.join(tree, "planted.o"), os.path.join(tree, "planted.a")
            compile_c(tree, source, member, "-c")
            if os.path.exists(archive):
                os.remove(archive)
            subprocess.run(["ar", "rcs", archive, member], check=True)
            status, output = check_layers("--symbols", archive, tree)
            tap.check(f"core: {source.splitlines()[-1]}", agrees(status, output, complaint), output)
        for source, libraries, complaint in AGENT_OBJECTS:
            library = os.path.join(tree, "planted.so")
            compile_c(tree, source, library, "-shared", *libraries)
            status, output = check_layers("--agent", library, tree)
            tap.check(f"agent: {source.splitlines()[-1]}", agrees(status, output, complaint), output)
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
