# SPDX-License-Identifier: BSD-2-Clause
# The differential test of the soft engine: make fuzz-cpu [SECONDS=600] [SEED=...]
#
# The native side runs in signal handlers on bare state: no sanitizer there.

DIFF_SRCS := $(wildcard tests/diff/*.c)
DIFF_OBJS := $(DIFF_SRCS:tests/diff/%.c=$(BUILD)/tests/diff/%.o)
SECONDS   ?= 600
SEED      ?=

$(BUILD)/tests/diff/native.o: SANFLAGS :=

$(BUILD)/tests/diff/%.o: tests/diff/%.c
	@mkdir -p $(@D)
	@[ $(V) != 0 ] || echo "CC $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -fno-stack-protector -MMD -MP -c -o $@ $<

$(BUILD)/tests/diff/fuzz_cpu: $(DIFF_OBJS) $(LIB)
	@[ $(V) != 0 ] || echo "LD $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $(DIFF_OBJS) $(LIB) -lZydis $(LDLIBS)

.PHONY: fuzz-cpu
fuzz-cpu: $(BUILD)/tests/diff/fuzz_cpu ## compare the soft engine with the processor for SECONDS=600
	$(BUILD)/tests/diff/fuzz_cpu -t $(SECONDS) $(if $(SEED),-s $(SEED))

-include $(DIFF_OBJS:.o=.d)
