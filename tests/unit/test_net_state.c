/* SPDX-License-Identifier: BSD-2-Clause */
/* What bhyvenet keeps and writes: the journal, and the texts for other programs. */
#include "base/util.h"
#include "config/netconf.h"
#include "net/change.h"
#include "net/dnsmasq.h"
#include "net/journal.h"
#include "net/nat.h"
#include "net/run.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "netconf_rig.h"

#define PRIVATE                                                                                    \
        "cloned_interfaces=\"bridge0 bridge1\"\n"                                                  \
        "ifconfig_bridge0=\"inet 192.168.16.1/24\"\n"                                              \
        "ifconfig_bridge0_ipv6=\"inet6 fd00:16::1/64\"\n"                                          \
        "gateway_enable=YES\nnatd_enable=YES\ndnsmasq_enable=YES\n"                                \
        "dhcp_range=192.168.16.10,192.168.16.200,12h\ndomain=vm.example\n"

static char run_dir[] = "/tmp/bhyvenet-test.XXXXXX";

static int
make_run_dir(void **state)
{
        return mkdtemp(run_dir) == NULL || setenv("BHYVE_RUN", run_dir, 1) != 0;
}

static int
remove_run_dir(void **state)
{
        static const char *const files[] = { "journal", "lock", "" };
        char path[PATH_MAX];

        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
                netconf_state_path(files[i], path);
                remove(path);
        }
        return rmdir(run_dir);
}

static struct journal *
opened(void)
{
        struct journal *journal = NULL;

        assert_int_equal(journal_open(true, &journal), 0);
        return journal;
}

static void
add(struct journal *journal, const char *kind, const char *name, const char *arg,
    const char *before)
{
        struct journal_record record = { .arg = (char *)arg, .before = (char *)before };

        strcpy(record.kind, kind);
        strcpy(record.name, name);
        assert_int_equal(journal_add(journal, &record), 0);
}

static void
journal_records_survive_reopening(void **state)
{
        struct journal *journal = opened();

        assert_int_equal(journal_count(journal), 0);
        add(journal, "bridge", "bridge0", "02:00:00:00:00:01", NULL);
        add(journal, "forward", "ipv4", "", "a=0 b=1 ");
        add(journal, "up", "tap0", NULL, NULL);
        journal_close(journal);
        journal = opened();
        assert_int_equal(journal_count(journal), 3);
        assert_string_equal(journal_find(journal, "forward", "ipv4")->before, "a=0 b=1 ");
        assert_string_equal(journal_at(journal, 0)->arg, "02:00:00:00:00:01");
        assert_null(journal_find(journal, "up", "tap1"));
        assert_int_equal(journal_remove(journal, 1), 0);
        journal_close(journal);
        journal = opened();
        assert_int_equal(journal_count(journal), 2);
        assert_string_equal(journal_at(journal, 1)->name, "tap0");
        assert_int_equal(journal_remove(journal, 1), 0);
        assert_int_equal(journal_remove(journal, 0), 0);
        journal_close(journal);
}

/* Replaces @from, of one line, in the journal's file by @to. */
static void
edit_journal(const char *from, const char *to)
{
        char path[PATH_MAX], text[4096], edited[8192];
        char *at;

        netconf_state_path("journal", path);
        assert_int_equal(file_read(path, text, sizeof(text)), 0);
        at = strstr(text, from);
        assert_non_null(at);
        snprintf(edited, sizeof(edited), "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
        assert_int_equal(file_replace(path, edited), 0);
}

static void
journal_of_another_boot_is_void(void **state)
{
        char boot[64];
        struct journal *journal = opened();

        add(journal, "up", "tap0", NULL, NULL);
        journal_close(journal);
        assert_int_equal(file_read("/proc/sys/kernel/random/boot_id", boot, sizeof(boot)), 0);
        boot[strcspn(boot, "\n")] = '\0';
        edit_journal(boot, "00000000-0000-0000-0000-000000000000");
        journal = opened();
        assert_int_equal(journal_count(journal), 0);
        add(journal, "up", "tap1", NULL, NULL);
        assert_int_equal(journal_count(journal), 1);
        assert_int_equal(journal_remove(journal, 0), 0);
        journal_close(journal);
}

static void
journal_of_another_namespace_is_refused(void **state)
{
        struct journal *journal = opened();

        add(journal, "up", "tap0", NULL, NULL);
        journal_close(journal);
        edit_journal("\n", "9\n");
        assert_int_equal(journal_open(true, &journal), -EXDEV);
        edit_journal("9\n", "\n");
        journal = opened();
        assert_int_equal(journal_remove(journal, 0), 0);
        journal_close(journal);
}

static void
journal_line_cut_short_is_passed_over(void **state)
{
        struct journal *journal = opened();

        add(journal, "up", "tap0", NULL, NULL);
        add(journal, "up", "tap1", NULL, NULL);
        journal_close(journal);
        edit_journal("tap1\t\t\n", "ta");
        journal = opened();
        assert_int_equal(journal_count(journal), 1);
        assert_int_equal(journal_remove(journal, 0), 0);
        journal_close(journal);
}

/* Texts */

static void
assert_lines(const char *text, const char *const lines[], bool present)
{
        for (size_t i = 0; lines[i] != NULL; i++)
                if ((strstr(text, lines[i]) != NULL) != present)
                        fail_msg("%s: %s\n%s", present ? "missing" : "unwanted", lines[i], text);
}

static void
dnsmasq_conf_binds_its_bridges_only(void **state)
{
        static const char *const wanted[] = { "domain-needed\n", "bogus-priv\n",
                "interface=bridge0\n", "except-interface=lo\n", "bind-dynamic\n",
                "domain=vm.example\n", "local=/vm.example/\n",
                "dhcp-range=192.168.16.10,192.168.16.200,12h\n",
                "dhcp-range=fd00:16::,ra-stateless,ra-names\n", "ra-param=bridge0,60,0\n",
                "resolv-file=/some/resolv.conf\n", NULL };
        static const char *const unwanted[] = { "interface=bridge1", NULL };
        struct netconf *conf = conf_of(PRIVATE);
        char text[4096] = "";
        FILE *out = fmemopen(text, sizeof(text), "w");

        dnsmasq_print_conf(conf, "/some/resolv.conf", out);
        fclose(out);
        assert_lines(text, wanted, true);
        assert_lines(text, unwanted, false);
        netconf_destroy(conf);
}

static void
dnsmasq_hosts_are_sifted(void **state)
{
        static const char hosts[] =
            "127.0.0.1 localhost\n127.0.1.1\tme\n::1 ip6-localhost\nff02::1 ip6-allnodes\n"
            "203.0.113.9  printer  lp # first floor\nnonsense\n\n2001:db8::9 six";
        static const char *const wanted[] = { "203.0.113.9 printer lp\n", "2001:db8::9 six\n",
                "192.168.16.1 me\n", "fd00:16::1 me\n", NULL };
        static const char *const unwanted[] = { "127.", "localhost", "allnodes", "floor",
                "nonsense", NULL };
        struct netconf *conf = conf_of(PRIVATE);
        char text[4096] = "";
        FILE *out = fmemopen(text, sizeof(text), "w");

        dnsmasq_print_hosts(conf, hosts, "me", out);
        fclose(out);
        assert_lines(text, wanted, true);
        assert_lines(text, unwanted, false);
        netconf_destroy(conf);
}

static void
dnsmasq_leases_are_read(void **state)
{
        char text[] = "1700000000 02:00:00:00:00:01 192.168.16.10 vm0 *\n"
                      "garbage\n"
                      "duid 00:01:00:01\n"
                      "0 02:00:00:00:00:02 192.168.16.11 * ff:00\n";
        FILE *file = fmemopen(text, strlen(text), "r");
        struct dnsmasq_lease lease;

        assert_true(dnsmasq_read_lease(file, &lease));
        assert_string_equal(lease.name, "vm0");
        assert_true(lease.expires == 1700000000);
        assert_true(dnsmasq_read_lease(file, &lease));
        assert_string_equal(lease.name, "");
        assert_string_equal(lease.address, "192.168.16.11");
        assert_false(dnsmasq_read_lease(file, &lease));
        fclose(file);
}

static void
nat_rules_name_subnets_and_the_outside(void **state)
{
        static const char *const any[] = {
                "ip saddr 192.168.16.0/24 oifname != { \"bridge0\", \"bridge1\" } masquerade",
                "ip6 saddr fd00:16::/64 oifname", "table inet bhyve {", NULL
        };
        static const char *const one[] = { "ip saddr 192.168.16.0/24 oifname \"wlan0\" masquerade",
                NULL };
        struct netconf *conf = conf_of(PRIVATE);
        char text[4096] = "";
        FILE *out = fmemopen(text, sizeof(text), "w");

        nat_print_rules(conf, out);
        fclose(out);
        assert_lines(text, any, true);
        strcpy(conf->nat_interface, "wlan0");
        out = fmemopen(text, sizeof(text), "w");
        nat_print_rules(conf, out);
        fclose(out);
        assert_lines(text, one, true);
        netconf_destroy(conf);
}

static void
link_is_owned_by_alias_or_first_address(void **state)
{
        const struct journal_record record = {
                .kind = "bridge", .name = "bridge0", .arg = "02:00:00:00:00:01"
        };
        struct link link = { .mac = { 2, 0, 0, 0, 0, 1 } };

        assert_true(change_owns_link(&record, &link));
        link.mac[5] = 2;
        assert_false(change_owns_link(&record, &link));
        strcpy(link.alias, "bhyvenet");
        assert_true(change_owns_link(&record, &link));
        assert_null(change_ops_find("nonsense"));
        assert_non_null(change_ops_find("resolver"));
}

static void
run_gives_status_and_output(void **state)
{
        const char *const fails[] = { "sh", "-c", "cat; echo words >&2; exit 3", NULL };
        const char *const missing[] = { "no-such-program-here", NULL };
        char said[64];

        assert_int_equal(run(fails, "input ", said, sizeof(said)), 3);
        assert_string_equal(said, "input words\n");
        assert_int_equal(run(missing, NULL, said, sizeof(said)), -ENOENT);
        assert_int_equal(run(fails, "0123456789", said, 6), 3);
        assert_string_equal(said, "01234");
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(journal_records_survive_reopening),
                cmocka_unit_test(journal_of_another_boot_is_void),
                cmocka_unit_test(journal_of_another_namespace_is_refused),
                cmocka_unit_test(journal_line_cut_short_is_passed_over),
                cmocka_unit_test(dnsmasq_conf_binds_its_bridges_only),
                cmocka_unit_test(dnsmasq_hosts_are_sifted),
                cmocka_unit_test(dnsmasq_leases_are_read),
                cmocka_unit_test(nat_rules_name_subnets_and_the_outside),
                cmocka_unit_test(link_is_owned_by_alias_or_first_address),
                cmocka_unit_test(run_gives_status_and_output),
        };

        return cmocka_run_group_tests(tests, make_run_dir, remove_run_dir);
}
