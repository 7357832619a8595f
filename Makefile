# SPDX-License-Identifier: BSD-2-Clause
# bhyve for Linux.  `make help` lists the targets.
#
# Every program is one file in src/prog linked with libbhyve.a, which holds
# everything else; so a unit test links the same objects as the programs.

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= cc
OPT     ?= -O2 -g
SANITIZE ?=
V       ?= 0

ifneq ($(SANITIZE),)
comma   := ,
BUILD   := build-$(subst $(comma),-,$(SANITIZE))
SANFLAGS := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer
endif
ifneq ($(findstring thread,$(SANITIZE)),)
CPPFLAGS += -DSIGNALS_HELD_BACK # until a thread calls a function that the sanitizer knows
endif
ifeq ($(V),0)
Q := @
endif

WARN := -Wall -Wextra -Werror -Wshadow -Wimplicit-fallthrough -Wundef -Wstrict-prototypes -Wno-unused-parameter
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Isrc
CFLAGS  += -std=gnu17 $(OPT) $(WARN) -pthread -fno-strict-aliasing $(SANFLAGS)
LDFLAGS += -pthread $(SANFLAGS)
LDLIBS  += -luring -lslirp -lglib-2.0 -lz -lbz2 -lzstd

# The engine keeps the guest's vector registers live in the host's own while
# its C code runs, so that code may use general registers only.
GPRONLY_DIRS := src/x86 src/cpu/soft
# Guests access memory at any alignment, and a report of the sanitizer would use vector registers.
# REP STOS and REP MOVS, which GCC takes for structures then, need some 30 cycles to start.
GPRONLY_FLAGS := -mgeneral-regs-only -fno-tree-vectorize -fno-stack-protector -fno-sanitize=alignment,thread \
                 -mmemset-strategy=unrolled_loop:256:noalign,rep_8byte:-1:noalign \
                 -mmemcpy-strategy=unrolled_loop:256:noalign,rep_8byte:-1:noalign

SRCS  := $(shell find src -name '*.c' | LC_ALL=C sort)
ASMS  := $(shell find src -name '*.S' | LC_ALL=C sort)
PROGS := $(patsubst src/prog/%.c,%,$(filter src/prog/%.c,$(SRCS)))
OBJS  := $(patsubst src/%.c,$(BUILD)/obj/%.o,$(filter-out src/prog/%.c,$(SRCS))) \
         $(patsubst src/%.S,$(BUILD)/obj/%.S.o,$(ASMS))
LIB   := $(BUILD)/libbhyve.a
UNIT  := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))

.PHONY: all help clean
all: $(PROGS:%=$(BUILD)/%) ## build every program into build/

# Libraries that only one program needs.
$(BUILD)/obj/net/%.o: CPPFLAGS += -I/usr/include/libnl3
$(BUILD)/bhyvenet: LDLIBS += -lnl-route-3 -lnl-3 -lnftables

$(BUILD)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	@[ $(V) != 0 ] || echo "CC $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(if $(filter $(GPRONLY_DIRS:%=%/%),$<),$(GPRONLY_FLAGS)) $(CFLAGS_$(subst /,_,$*)) -MMD -MP -c -o $@ $<

$(BUILD)/obj/%.S.o: src/%.S
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(OBJS)
	@[ $(V) != 0 ] || echo "AR $@"
	$(Q)rm -f $@ && ar rcs $@ $(OBJS)

$(PROGS:%=$(BUILD)/%): $(BUILD)/%: $(BUILD)/obj/prog/%.o $(LIB)
	@[ $(V) != 0 ] || echo "LD $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS)

# A helper of the network tests.
$(BUILD)/tests/net/%: tests/net/%.c $(LIB)
	@mkdir -p $(@D)
	@[ $(V) != 0 ] || echo "LD $@"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(LIB)

.PHONY: net-tests
net-tests: $(BUILD)/bhyvenet $(BUILD)/tests/net/tapwire ## networks of guests, in namespaces (as root)
	@for t in tests/net/test_*.py; do echo "$$t"; BUILD=$(BUILD) python3 $$t || exit 1; done

$(BUILD)/tests/unit/%: tests/unit/%.c $(LIB)
	@mkdir -p $(@D)
	@[ $(V) != 0 ] || echo "LD $@"
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(LIB) -lcmocka -lZydis $(LDLIBS) -lnl-route-3 -lnl-3 -lnftables

.PHONY: unit
unit: $(UNIT) ## build and run the unit tests only
	@for t in $(UNIT); do $$t || exit 1; done

# The project's own smallest guest, for hosts that cannot fetch Debian's kernel and for tests.
$(BUILD)/hello.elf: tests/guest/hello.S
	@mkdir -p $(@D)
	$(Q)$(CC) -m32 -c -o $(BUILD)/hello.o $<
	$(Q)$(LD) -m elf_i386 -N --no-warn-rwx-segments -Ttext=0x100010 --section-start=.multiboot=0x100000 -e _start -o $@ $(BUILD)/hello.o

include $(wildcard tests/diff/*.mk)

.PHONY: run check bench soak install format lint
run: ## boot Debian's kernel in this terminal (KERNEL= INITRD= DISK= ENGINE= CPUS= MEMORY=)
	@SANITIZE="$(SANITIZE)" KERNEL="$(KERNEL)" INITRD="$(INITRD)" DISK="$(DISK)" sh tools/run.sh

check: ## set up what tests need, and run every test
	@SANITIZE="$(SANITIZE)" sh tools/check.sh

bench: ## compare with QEMU (-accel tcg, and kvm where the host has it): boot and workloads
	@tools/setup.sh build guest bench
	@$(MAKE) -s all
	@tools/guest.sh $(BUILD)/guest
	@python3 tests/bench/bench.py --bhyve $(BUILD)/bhyve --guest $(BUILD)/guest $(BENCH)

MINUTES ?= 30
soak: ## a guest of two processors under mixed load for MINUTES=30
	@tools/setup.sh build guest
	@$(MAKE) -s all
	@tools/guest.sh $(BUILD)/guest
	@python3 tests/soak/soak.py --bhyve $(BUILD)/bhyve --guest $(BUILD)/guest --minutes $(MINUTES) $(SOAK)

# The list of keys in bhyve_config(5) is printed from the schema.
$(BUILD)/keys: tools/keys.c $(LIB)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS)

$(BUILD)/man/bhyve_config.5: man/bhyve_config.5.in tools/keys.c src/config/schema.c | $(BUILD)/keys
	@mkdir -p $(@D)
	$(Q)$(BUILD)/keys >$(BUILD)/keys.mdoc
	$(Q)sed -e '/@KEYS@/r $(BUILD)/keys.mdoc' -e '/@KEYS@/d' $< >$@

.PHONY: man
man: $(BUILD)/man/bhyve_config.5 ## make bhyve_config.5 from the schema

MAN8 := $(wildcard man/*.8)
MAN5 := $(wildcard man/*.5) $(BUILD)/man/bhyve_config.5

install: all man ## programs, manual pages, completions, systemd units to $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 755 $(PROGS:%=$(BUILD)/%) $(DESTDIR)$(PREFIX)/sbin
	install -m 755 share/vmrun.sh $(DESTDIR)$(PREFIX)/sbin/vmrun.sh
	[ -z "$(MAN8)" ] || install -m 644 $(MAN8) $(DESTDIR)$(PREFIX)/share/man/man8
	[ -z "$(MAN5)" ] || install -m 644 $(MAN5) $(DESTDIR)$(PREFIX)/share/man/man5
	if [ -d share/completions ]; then \
		install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions; \
		install -m 644 share/completions/* $(DESTDIR)$(PREFIX)/share/bash-completion/completions; \
	fi
	if [ -d share/systemd ]; then \
		install -d $(DESTDIR)$(PREFIX)/lib/systemd/system; \
		install -m 644 share/systemd/* $(DESTDIR)$(PREFIX)/lib/systemd/system; \
	fi

format: ## reformat the C sources
	clang-format -i $$(git ls-files '*.c' '*.h')

SHELL_FILES := .ci/run share/vmrun.sh $(wildcard tools/*.sh) tests/boot/test_fuzz_readers.sh tests/diff/test_soft_cpu

# SC3013: every sh that Debian offers knows -nt.
lint: man ## manual pages, shell scripts and completions, clang-tidy over FILES="src/a.c ..." or all of src
	@tools/setup.sh lint
	mandoc -T lint -W warning $(MAN8) $(MAN5)
	shellcheck -S warning -e SC3013 $(SHELL_FILES)
	shellcheck -S warning -s dash tools/guest-init
	shellcheck -S warning -s bash share/completions/*
	clang-tidy --quiet $(or $(FILES),$(SRCS)) -- $(CPPFLAGS) -I/usr/include/libnl3 -std=gnu17 -Wall -Wextra -Wno-unused-parameter

clean: ## remove what was built
	rm -rf build build-*

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */	/' | LC_ALL=C sort | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

-include $(OBJS:.o=.d) $(PROGS:%=$(BUILD)/obj/prog/%.d) $(UNIT:=.d)

-include tests/fuzz/fuzz.mk
