#!/bin/bash
# do.sh NAME: build the tree with that mend taken out into /tmp/ha-broken/NAME
cd /tmp/ha-broken; rsync -a --exclude build --exclude .git /work/wt/ha/ src/; python3 brk.py $1 || exit 1
[ -e $1/build.ninja ] || meson setup $1 src >/dev/null; ninja -C $1 hugenuma libhugenuma-agent.so 2>&1 | grep -E "error:|FAILED|warning:"; ls -la $1/libhugenuma-agent.so
