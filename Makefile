# SPDX-License-Identifier: MIT
# The commands people type; meson and ninja do the work.
#
#   make              build into build/; the command is build/hugenuma
#   make deps         install what building needs (Debian 12 or later, as root or through sudo)
#   make run          install what is missing, build, run the example under hugenuma
#   make test         install what is missing, build, run all tests
#   make test-vm      the tests that need several NUMA nodes, in emulated guests; KERNELS="6.12 7.3" says in which
#   make test-programs  programs and allocators of the distribution, the long form of their tests
#   make soak         torture, live programs and faults at random for MINUTES=10; SEED=n repeats a walk
#   make fuzz         every parser of outside input, for MINUTES=10 in all; ONLY="NAME..." some of them
#   make inject       every system call of the agent made to fail in turn, all of it
#   make deb          a Debian package, in BUILD/deb
#   make test-package the package in a bare Debian 12: install, use, purge; WHAT="package source": also a build from a clone
#   make install      into PREFIX (default /usr/local), below DESTDIR if set
#   make bench        measure; make sanitize: unit tests under ASan, UBSan and TSan
#   make check-layers include directions and symbols of the layers; part of every build
#   make clean
#
# BUILD=DIR builds elsewhere, MESON_FLAGS adds to `meson setup`, ONLY="NAME..." restricts `make test`.

BUILD ?= build
MESON_FLAGS ?=
ONLY ?=
KERNELS ?= 6.12
MINUTES ?= 10
SEED ?=
WHAT ?= package
prefix_flag = $(if $(PREFIX),-Dprefix=$(PREFIX))

.PHONY: all deps test-deps run test test-programs test-vm test-package soak fuzz inject deb install bench sanitize delays check-layers clean

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@tools/install-deps --check build || { echo "Install them with 'make deps'." >&2; exit 1; }
	meson setup $(BUILD) $(prefix_flag) $(MESON_FLAGS)

deps:
	tools/install-deps build

test-deps:
	tools/install-deps build test

# The sub-makes start after the dependencies are there.
run: deps
	@$(MAKE) --no-print-directory all
	BUILD=$(BUILD) tools/run-example

test: test-deps
	@$(MAKE) --no-print-directory all
	tests/run-all --build $(BUILD) $(if $(ONLY),--only $(ONLY))

test-programs:
	tools/install-deps build test programs
	@$(MAKE) --no-print-directory all
	@rm -f $(BUILD)/program-results.jsonl
	@status=0; HN_PROGRAMS=full HN_PROGRAM_RESULTS=$(abspath $(BUILD))/program-results.jsonl \
		tests/run-all --build $(BUILD) --suite programs $(if $(ONLY),--only $(ONLY)) || status=1; \
		[ ! -e $(BUILD)/program-results.jsonl ] || tests/programs/table --print $(BUILD)/program-results.jsonl; \
		exit $$status

test-vm: test-deps
	@$(MAKE) --no-print-directory all
	tests/vm/run --build $(BUILD) $(KERNELS:%=--kernel %) $(ONLY:%=--only %) || [ $$? = 77 ]

deb:
	tools/install-deps build package
	tools/make-deb $(BUILD)/deb

test-package:
	tools/install-deps build package
	tests/package/test_package.py --build $(BUILD) $(WHAT) || [ $$? = 77 ]

soak: test-deps
	@$(MAKE) --no-print-directory all
	tests/soak/soak --build $(BUILD) --minutes $(MINUTES) $(SEED:%=--seed %)

fuzz: test-deps
	@$(MAKE) --no-print-directory all
	tests/fuzz/fuzz --build $(BUILD) --minutes $(MINUTES) $(if $(ONLY),--only $(ONLY))

inject: test-deps
	@$(MAKE) --no-print-directory all
	tests/inject/inject --build $(BUILD) --full $(ONLY:%=--only %)
	$(if $(ONLY),,tests/inject/planted.py --build $(BUILD))

install: all
	$(if $(PREFIX),meson configure $(BUILD) $(prefix_flag) && ninja -C $(BUILD))
	DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

bench: test-deps
	@$(MAKE) --no-print-directory all
	bench/run --build $(BUILD)

sanitize: deps
	tools/sanitize $(BUILD)

delays: test-deps
	tools/delays $(BUILD) $(ONLY:%=--only '%')

check-layers:
	tools/check-layers

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-clang $(BUILD)-delays
