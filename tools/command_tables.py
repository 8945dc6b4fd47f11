# SPDX-License-Identifier: MIT
"""What the hugenuma command says of itself: its commands, their options, and the settings.

`hugenuma help`, `COMMAND --help` and `ctl` print tables of the source; manual pages and completion are made from, or
compared with, what they print, so that nothing is written down twice.
"""
import os
import re
import subprocess
from collections import namedtuple

Option = namedtuple("Option", "short long value optional doc")  # value: None, or as in --help: "N", "copy|kernel"
Setting = namedtuple("Setting", "key default doc option expected live")

# What argp gives every command; hugenuma(1) describes them once.
COMMON = ("help", "usage", "version")
OPTION = re.compile(r"^ {2}(?:-(\S), |    )--([a-z][a-z0-9-]*)(?:(\[=|=)(.*?))?(?: {2,}(\S.*))?$")


def ask(hugenuma, *args):
    # one line for each option, however long
    env = dict(os.environ, ARGP_HELP_FMT="rmargin=9000,opt-doc-col=100", LC_ALL="C", HUGENUMA_CONFIG="")
    return subprocess.run([hugenuma, *args], env=env, stdout=subprocess.PIPE, text=True, check=True).stdout


def commands(hugenuma):
    """{name: summary} in the order of the help."""
    return dict(re.findall(r"(?m)^  ([a-z]+) +(\S.*)$", ask(hugenuma, "help").split("Commands:")[1]))


def options(hugenuma, command):
    """The options of a command without the common ones."""
    found = []
    for line in ask(hugenuma, command, "--help").splitlines():
        m = OPTION.match(line)
        if m and m[2] not in COMMON:
            optional = m[3] == "[="
            found.append(Option(m[1], m[2], m[4].removesuffix("]") if optional else m[4], optional, m[5] or ""))
    return found


def settings(hugenuma):
    found = []
    for key, default, doc, how in re.findall(r"(?m)^(\S+) = (.*)\n    (.*)\n    (.*)$", ask(hugenuma, "ctl")):
        m = re.fullmatch(r"--([a-z-]+): (.*?)(; can be changed at run time)?", how)
        found.append(Setting(key, default, doc, m[1], m[2], m[3] is not None))
    return found
