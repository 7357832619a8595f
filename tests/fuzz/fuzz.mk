# SPDX-License-Identifier: BSD-2-Clause
# Fuzzing.  `make fuzz-check` drives every fuzzer for a few seconds over its
# corpus and random inputs, with any compiler; `make fuzz` runs each under
# clang's libFuzzer for FUZZ_SECONDS and keeps what it finds in build-fuzz/.

FUZZ_SECONDS ?= 600
FUZZ_CHECK_RUNS ?= 3000
FUZZ_CC ?= clang
FUZZ_SAN := address,undefined

FUZZERS := fs_ufs fs_cd9660 fs_fat fs_ext fs_zfs part elf conf loader netconf virtio_blk virtio_net virtio_rnd virtio_console ahci e1000 uart pit ioapic lapic pci isa gdb_packet
FUZZ_LIBS := -lz -lbz2 -lzstd -luring -lslirp -lnl-route-3 -lnl-3

FUZZ_SRC_fs := tests/fuzz/fuzz_fs.c $(wildcard src/boot/fs/*.c)
FUZZ_SRC_part := tests/fuzz/fuzz_part.c src/boot/fs/part.c src/boot/fs/blkdev.c
FUZZ_SRC_elf := tests/fuzz/fuzz_elf.c src/base/elf.c src/mem/mem.c \
    $(addprefix src/boot/fbsd/,env.c preload.c kernel.c kld.c modinfo.c metadata.c entry.c)
FUZZ_SRC_conf := tests/fuzz/fuzz_conf.c src/boot/fbsd/conf.c src/boot/fbsd/words.c \
    src/boot/fbsd/env.c src/boot/fs/unpack.c
FUZZ_SRC_gdb_packet := tests/fuzz/fuzz_gdb_packet.c src/instance/regs.c \
    $(wildcard src/base/*.c src/config/*.c src/mem/*.c src/x86/*.c src/bus/*.c src/irq/*.c src/debug/*.c)
FUZZ_SRC_dev := tests/fuzz/fuzz_device.c $(wildcard src/base/*.c) \
    $(filter-out %/net_tap.c,$(wildcard src/config/*.c src/mem/*.c src/bus/*.c src/backend/*/*.c src/dev/*.c src/dev/*/*.c))
FUZZ_SRC_virtio_blk = $(FUZZ_SRC_dev)
FUZZ_SRC_virtio_net = $(FUZZ_SRC_dev)
FUZZ_SRC_virtio_rnd = $(FUZZ_SRC_dev)
FUZZ_SRC_virtio_console = $(FUZZ_SRC_dev)
FUZZ_SRC_ahci = $(FUZZ_SRC_dev)
FUZZ_SRC_e1000 = $(FUZZ_SRC_dev)

FUZZ_SRC_netconf := tests/fuzz/fuzz_netconf.c src/config/netconf.c src/config/rcvars.c src/base/ip.c

FUZZ_SRC_PLATFORM := tests/fuzz/fuzz_platform.c $(wildcard src/base/*.c src/config/*.c src/bus/*.c src/irq/*.c \
    src/backend/char/*.c) $(addprefix src/dev/,isa/acpi_pm.c isa/bvm.c isa/hpet.c isa/i8042.c isa/i8254.c isa/lpc.c \
    isa/mc146818.c isa/ns16550.c isa/pc.c isa/serial.c isa/sysports.c pci/hostbridge.c pci/pcireg.c pci/uart.c)
$(foreach f,uart pit ioapic lapic pci isa,$(eval FUZZ_SRC_$(f) := $(FUZZ_SRC_PLATFORM)))
FUZZ_SRC_loader := tests/fuzz/fuzz_loader.c $(wildcard src/boot/fs/*.c) $(filter-out %/userboot.c,$(wildcard src/boot/fbsd/*.c)) \
    $(wildcard src/boot/*.c) src/base/elf.c src/mem/mem.c src/config/config.c src/config/schema.c src/base/parse.c src/base/log.c \
    $(wildcard src/x86/state.c)

FUZZ_DEF_fs_ufs := -DFUZZ_OPS=ufs_ops -DFUZZ_IMAGES='"ufs1.img.zst","ufs2.img.zst"'
FUZZ_DEF_fs_cd9660 := -DFUZZ_OPS=cd9660_ops -DFUZZ_IMAGES='"rr.iso.zst","plain.iso.zst"'
FUZZ_DEF_fs_fat := -DFUZZ_OPS=fat_ops -DFUZZ_IMAGES='"fat12.img.zst","fat32.img.zst"'
FUZZ_DEF_fs_ext := -DFUZZ_OPS=ext_ops -DFUZZ_IMAGES='"ext2.img.zst","ext4.img.zst"'
FUZZ_DEF_fs_zfs := -DFUZZ_OPS=zfs_ops -DFUZZ_IMAGES='"zfs.img.zst","zfs_sa.img.zst"'
FUZZ_DEF_virtio_blk := -DFUZZ_DEVICE='"virtio-blk"'
FUZZ_DEF_virtio_net := -DFUZZ_DEVICE='"virtio-net"'
FUZZ_DEF_virtio_console := -DFUZZ_DEVICE='"virtio-console"'
FUZZ_DEF_virtio_rnd := -DFUZZ_DEVICE='"virtio-rnd"'
FUZZ_DEF_ahci := -DFUZZ_DEVICE='"ahci"'
FUZZ_DEF_e1000 := -DFUZZ_DEVICE='"e1000"'
FUZZ_DEF_uart := -DFUZZ_TARGET=TARGET_UART
FUZZ_DEF_pit := -DFUZZ_TARGET=TARGET_PIT
FUZZ_DEF_ioapic := -DFUZZ_TARGET=TARGET_IOAPIC
FUZZ_DEF_lapic := -DFUZZ_TARGET=TARGET_LAPIC
FUZZ_DEF_pci := -DFUZZ_TARGET=TARGET_PCI
FUZZ_DEF_isa := -DFUZZ_TARGET=TARGET_ISA

fuzz_sources = $(if $(FUZZ_SRC_$(1)),$(FUZZ_SRC_$(1)),$(FUZZ_SRC_fs))

# One fuzzer twice: with a plain main, and for libFuzzer.
define FUZZ_RULES
$$(BUILD)/fuzz/$(1): $$(call fuzz_sources,$(1)) tests/fuzz/standalone.c tests/fuzz/fuzz.h
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CPPFLAGS) $$(CFLAGS) -g -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION $$(FUZZ_DEF_$(1)) -o $$@ tests/fuzz/standalone.c $$(call fuzz_sources,$(1)) $$(FUZZ_LIBS)

build-fuzz/$(1): $$(call fuzz_sources,$(1)) tests/fuzz/fuzz.h
	@mkdir -p $$(@D)
	$$(Q)$$(FUZZ_CC) $$(CPPFLAGS) -std=gnu17 -O1 -g -fsanitize=fuzzer,$(FUZZ_SAN) -fno-sanitize-recover=all $$(FUZZ_DEF_$(1)) -o $$@ $$(call fuzz_sources,$(1)) $$(FUZZ_LIBS)
endef
$(foreach f,$(FUZZERS),$(eval $(call FUZZ_RULES,$(f))))

.PHONY: fuzz fuzz-check
fuzz: $(FUZZERS:%=build-fuzz/%) ## fuzz every reader for FUZZ_SECONDS with clang
	@for f in $(FUZZERS); do \
		mkdir -p build-fuzz/corpus/$$f tests/fuzz/corpus/$$f; \
		build-fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		    -artifact_prefix=build-fuzz/$$f- build-fuzz/corpus/$$f tests/fuzz/corpus/$$f \
		    >build-fuzz/$$f.log 2>&1 || { tail -30 build-fuzz/$$f.log; exit 1; }; \
		echo "fuzz $$f: $$(grep -h number_of_executed build-fuzz/$$f.log)"; \
	done

fuzz-check: $(FUZZERS:%=$(BUILD)/fuzz/%) ## a short run of every fuzzer over the kept corpus
	@for f in $(FUZZERS); do \
		$(BUILD)/fuzz/$$f -n $(FUZZ_CHECK_RUNS) $$(ls -d tests/fuzz/corpus/$$f/* 2>/dev/null) || { echo "fuzz $$f failed"; exit 1; }; \
	done; echo "fuzz-check: $(words $(FUZZERS)) fuzzers, no failure"
