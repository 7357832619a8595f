/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/parse.h"
#include "base/util.h"
#include "config/cmdline.h"
#include "config/schema.h"
#include "config/vm_config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct rig {
        struct config *config;
        struct config_error err;
        struct vm_config vm;
};

static int
setup(void **state)
{
        static struct rig rig;

        memset(&rig, 0, sizeof(rig));
        *state = &rig;
        return config_create(&rig.config);
}

static int
teardown(void **state)
{
        config_destroy(((struct rig *)*state)->config);
        return 0;
}

static int
set(struct rig *rig, const char *assignment)
{
        return config_assign(rig->config, assignment, &rig->err);
}

static int
parse_line(struct rig *rig, const char *line)
{
        char copy[512], *argv[32] = { "bhyve" }, *cursor = copy, *word;
        enum cmdline_action action;
        int argc = 1;

        snprintf(copy, sizeof(copy), "%s", line);
        while ((word = strsep(&cursor, " ")) != NULL)
                argv[argc++] = word;
        argv[argc] = NULL;
        return cmdline_parse(rig->config, argc, argv, &action, &rig->err);
}

static int
fill(struct rig *rig)
{
        int error = config_check(rig->config, &rig->err);

        return error != 0 ? error : vm_config_fill(rig->config, &rig->vm, &rig->err);
}

static void
parse_size_suffixes_and_limits(void **state)
{
        uint64_t v = 7;

        assert_int_equal(parse_size("16", &v), 0);
        assert_int_equal(v, 16);
        assert_int_equal(parse_size("2k", &v), 0);
        assert_int_equal(v, 2048);
        assert_int_equal(parse_size("3GB", &v), 0);
        assert_int_equal(v, 3 * GIB);
        assert_int_equal(parse_size("0x10M", &v), 0);
        assert_int_equal(v, 16 * MIB);
        v = 7;
        assert_int_equal(parse_size("", &v), -EINVAL);
        assert_int_equal(parse_size("-1", &v), -EINVAL);
        assert_int_equal(parse_size("1Q", &v), -EINVAL);
        assert_int_equal(parse_size("1MM", &v), -EINVAL);
        assert_int_equal(parse_size("99999999999T", &v), -ERANGE);
        assert_int_equal(parse_size("18446744073709551616", &v), -ERANGE);
        assert_int_equal(v, 7);
}

static void
parse_cpuset_ranges(void **state)
{
        cpu_set_t set;

        assert_int_equal(parse_cpuset("0-2,5", &set), 0);
        assert_int_equal(CPU_COUNT(&set), 4);
        assert_true(CPU_ISSET(5, &set));
        assert_int_equal(parse_cpuset("2-1", &set), -EINVAL);
        assert_int_equal(parse_cpuset("1,", &set), -EINVAL);
        assert_int_equal(parse_cpuset("99999", &set), -EINVAL);
}

static void
parse_uuid_form(void **state)
{
        uint8_t uuid[16];

        assert_int_equal(parse_uuid("00112233-4455-6677-8899-aabbccddeeff", uuid), 0);
        assert_int_equal(uuid[0], 0);
        assert_int_equal(uuid[15], 0xff);
        assert_int_equal(parse_uuid("00112233-4455-6677-8899-aabbccddeefg", uuid), -EINVAL);
        assert_int_equal(parse_uuid("00112233-4455-6677-8899-aabbccddeeff0", uuid), -EINVAL);
        assert_int_equal(parse_uuid("", uuid), -EINVAL);
}

static void
config_later_value_replaces(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(set(rig, "cpus=2"), 0);
        assert_int_equal(set(rig, "cpus=3"), 0);
        assert_int_equal(config_check(rig->config, &rig->err), 0);
        assert_int_equal(config_get_uint(rig->config, "cpus"), 3);
}

static void
config_default_without_value(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(config_check(rig->config, &rig->err), 0);
        assert_int_equal(config_get_uint(rig->config, "memory.size"), 256 * MIB);
        assert_true(config_get_bool(rig->config, "x86.strictmsr"));
        assert_null(config_get(rig->config, "boot.kernel"));
        assert_false(config_is_set(rig->config, "memory.size"));
}

static void
config_substitutes_nested(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(set(rig, "name=web"), 0);
        assert_int_equal(set(rig, "boot.cmdline=%(boot.kernel)-100%%"), 0);
        assert_int_equal(set(rig, "boot.kernel=/k/%(name)"), 0);
        assert_int_equal(config_check(rig->config, &rig->err), 0);
        assert_string_equal(config_get(rig->config, "boot.cmdline"), "/k/web-100%");
}

static void
config_substitution_circle_is_refused(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(set(rig, "boot.kernel=%(boot.initrd)"), 0);
        assert_int_equal(set(rig, "boot.initrd=%(boot.kernel)"), 0);
        assert_int_equal(config_check(rig->config, &rig->err), -EINVAL);
        assert_non_null(strstr(rig->err.text, "circle"));
}

static void
config_unknown_key_names_nearest(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(set(rig, "x86.strictoi=1"), -EINVAL);
        assert_non_null(strstr(rig->err.text, "'x86.strictio'"));
        assert_int_equal(set(rig, "pci.0.3.0.pth=1"), -EINVAL);
        assert_non_null(strstr(rig->err.text, "'pci.0.3.0.path'"));
}

static void
config_device_keys_belong_to_devices(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(set(rig, "pci.0.3.0.mtu=9000"), 0);
        assert_int_equal(set(rig, "pci.0.3.0.device=virtio-net"), 0);
        assert_int_equal(config_check(rig->config, &rig->err), 0);
        assert_int_equal(set(rig, "pci.0.3.0.device=virtio-rnd"), 0);
        assert_int_equal(config_check(rig->config, &rig->err), -EINVAL);
}

static void
config_schema_defaults_are_valid(void **state)
{
        for (size_t i = 0; i < config_key_count; i++) {
                const struct config_key *key = &config_keys[i];
                uint64_t value;
                bool flag;

                assert_non_null(key->help);
                if (key->fallback == NULL)
                        continue;
                if (key->type == CONFIG_BOOL)
                        assert_int_equal(parse_bool(key->fallback, &flag), 0);
                if (key->type == CONFIG_UINT || key->type == CONFIG_SIZE) {
                        assert_int_equal(parse_size(key->fallback, &value), 0);
                        assert_true(value >= key->min && value <= key->max);
                }
        }
}

static void
cmdline_bare_memory_is_megabytes(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(parse_line(rig, "-m 512 vm"), 0);
        assert_int_equal(fill(rig), 0);
        assert_int_equal(rig->vm.memory_bytes, 512 * MIB);
        assert_int_equal(parse_line(rig, "-m 268435456 vm"), 0);
        assert_int_equal(fill(rig), 0);
        assert_int_equal(rig->vm.memory_bytes, 256 * MIB);
}

static void
cmdline_topology(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(parse_line(rig, "-c 4 vm"), 0);
        assert_int_equal(fill(rig), 0);
        assert_int_equal(rig->vm.cpus, 4);
        assert_int_equal(rig->vm.sockets * rig->vm.cores * rig->vm.threads, 4);
        assert_int_equal(parse_line(rig, "-c cpus=8,sockets=2,cores=2,threads=2 vm"), 0);
        assert_int_equal(fill(rig), 0);
        assert_int_equal(rig->vm.cores, 2);
        assert_int_equal(parse_line(rig, "-c cpus=8,sockets=3 vm"), 0);
        assert_int_equal(fill(rig), -EINVAL);
}

static void
cmdline_slot_forms(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(parse_line(rig, "-s 5,virtio-rnd -s 4:0,virtio-blk,/a=b,ro,ser=x -s 1:2:0,uart,tcp=h:1,2 vm"), 0);
        assert_int_equal(fill(rig), 0);
        assert_int_equal(rig->vm.pci_count, 3);
        assert_string_equal(rig->vm.pci[0].device, "virtio-blk");
        assert_string_equal(config_node_get(&rig->vm.pci[0].node, "path"), "/a=b");
        assert_string_equal(config_node_get(&rig->vm.pci[0].node, "ser"), "x");
        assert_true(config_node_bool(&rig->vm.pci[0].node, "ro"));
        assert_false(config_node_bool(&rig->vm.pci[0].node, "nocache"));
        assert_int_equal(rig->vm.pci[2].bus, 1);
        assert_string_equal(config_node_get(&rig->vm.pci[2].node, "path"), "tcp=h:1,2");
}

static void
cmdline_pins_accumulate(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(parse_line(rig, "-c 2 -p 1:0 -p 1:3 vm"), 0);
        assert_int_equal(fill(rig), 0);
        assert_false(rig->vm.pinned[0]);
        assert_true(rig->vm.pinned[1]);
        assert_int_equal(CPU_COUNT(&rig->vm.cpuset[1]), 2);
}

static void
cmdline_flags_reach_the_machine(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(parse_line(rig, "-CDeHPSuwWxY -U 00112233-4455-6677-8899-aabbccddeeff vm"), 0);
        assert_int_equal(fill(rig), 0);
        assert_true(rig->vm.memory_in_core && rig->vm.destroy_on_poweroff && rig->vm.strict_io);
        assert_true(rig->vm.exit_on_pause && rig->vm.memory_wired && !rig->vm.rtc_localtime);
        assert_true(!rig->vm.strict_msr && !rig->vm.virtio_msix && rig->vm.x2apic && !rig->vm.mptable);
        assert_true(rig->vm.has_uuid);
}

static void
vm_name_bad_forms(void **state)
{
        struct rig *rig = *state;

        assert_int_equal(vm_name_check("a.b-c_9", &rig->err), 0);
        assert_int_equal(vm_name_check("", &rig->err), -EINVAL);
        assert_int_equal(vm_name_check("..", &rig->err), -EINVAL);
        assert_int_equal(vm_name_check("a/b", &rig->err), -EINVAL);
        assert_int_equal(vm_name_check("a b", &rig->err), -EINVAL);
        assert_int_equal(vm_name_check("-x", &rig->err), -EINVAL);
}

#define RIG(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parse_size_suffixes_and_limits),
                cmocka_unit_test(parse_cpuset_ranges),
                cmocka_unit_test(parse_uuid_form),
                RIG(config_later_value_replaces),
                RIG(config_default_without_value),
                RIG(config_substitutes_nested),
                RIG(config_substitution_circle_is_refused),
                RIG(config_unknown_key_names_nearest),
                RIG(config_device_keys_belong_to_devices),
                cmocka_unit_test(config_schema_defaults_are_valid),
                RIG(cmdline_bare_memory_is_megabytes),
                RIG(cmdline_topology),
                RIG(cmdline_slot_forms),
                RIG(cmdline_pins_accumulate),
                RIG(cmdline_flags_reach_the_machine),
                RIG(vm_name_bad_forms),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
