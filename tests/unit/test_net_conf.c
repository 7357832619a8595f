/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses, rc.conf variables, and what they say about networks. */
#include "base/ip.h"
#include "base/util.h"
#include "config/netconf.h"
#include "config/rcvars.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

static struct ip_prefix
prefix_of(const char *text)
{
        struct ip_prefix prefix;

        assert_int_equal(ip_prefix_parse(text, &prefix), 0);
        return prefix;
}

static void
ip_prefix_parse_good_and_bad(void **state)
{
        static const char *const bad[] = { "", "/", "1.2.3", "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/-1",
                "1.2.3.4/ 4", "fd00::/129", "1.2.3.4/8x", "::1::/3", "1.2.3.4/0000", "host/8" };
        struct ip_prefix prefix = prefix_of("192.168.16.1/24");
        char text[IP_TEXT_MAX];

        assert_int_equal(prefix.family, AF_INET);
        assert_int_equal(prefix.len, 24);
        assert_string_equal(ip_prefix_format(&prefix, text), "192.168.16.1/24");
        prefix = prefix_of("fd00:1::7/64");
        assert_string_equal(ip_prefix_format(&prefix, text), "fd00:1::7/64");
        prefix = ip_prefix_network(&prefix);
        assert_string_equal(ip_prefix_format(&prefix, text), "fd00:1::/64");
        assert_int_equal(prefix_of("10.0.0.1").len, 32);
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                assert_int_not_equal(ip_prefix_parse(bad[i], &prefix), 0);
}

static void
ip_prefix_overlap_follows_shorter_length(void **state)
{
        struct ip_prefix a = prefix_of("192.168.16.1/24"), wide = prefix_of("192.168.0.0/16");
        struct ip_prefix next = prefix_of("192.168.17.1/24"), v6 = prefix_of("::/0"),
                         odd = prefix_of("10.0.0.9/29");

        assert_true(ip_prefix_overlaps(&a, &wide));
        assert_true(ip_prefix_overlaps(&wide, &a));
        assert_false(ip_prefix_overlaps(&a, &next));
        assert_false(ip_prefix_overlaps(&a, &v6));
        assert_true(ip_prefix_contains(&odd, AF_INET, prefix_of("10.0.0.15").addr));
        assert_false(ip_prefix_contains(&odd, AF_INET, prefix_of("10.0.0.16").addr));
        assert_true(ip_prefix_is_edge(&wide));
        assert_false(ip_prefix_is_edge(&a));
        odd = prefix_of("10.0.0.15/29");
        assert_true(ip_prefix_is_edge(&odd));
}

static void
ip_netmask_with_holes_refused(void **state)
{
        unsigned len = 99;

        assert_int_equal(ip_netmask_parse("255.255.255.0", &len), 0);
        assert_int_equal(len, 24);
        assert_int_equal(ip_netmask_parse("0xfffffff0", &len), 0);
        assert_int_equal(len, 28);
        assert_int_equal(ip_netmask_parse("0.0.0.0", &len), 0);
        assert_int_equal(len, 0);
        assert_int_not_equal(ip_netmask_parse("255.0.255.0", &len), 0);
        assert_int_not_equal(ip_netmask_parse("0xffxfffff", &len), 0);
        assert_int_not_equal(ip_netmask_parse("24", &len), 0);
}

/* Variables */

static void
count_error(void *ctx, unsigned line, const char *text)
{
        unsigned *lines = ctx;

        lines[0]++;
        if (lines[0] < 16)
                lines[lines[0]] = line;
}

static const char *
value_of(const struct rcvars *vars, const char *name)
{
        const struct rcvar *var = rcvars_find(vars, name);

        return var != NULL ? var->value : "(unset)";
}

static void
rcvars_quotes_comments_and_expansion(void **state)
{
        static const char text[] = "# comment\n"
                                   "a=\"one two\" # behind\n"
                                   "b='$a' ; c=plain\r\n"
                                   "  d=\"${a} th\\\"ree $c\"\n"
                                   "e=\"first\n second\"\n"
                                   "f=x#y\n"
                                   "a=\"$a again\"\n"
                                   "g=";
        struct rcvars vars;
        unsigned errors[16] = { 0 };

        assert_int_equal(rcvars_parse(text, strlen(text), count_error, errors, &vars), 0);
        assert_int_equal(errors[0], 0);
        assert_string_equal(value_of(&vars, "a"), "one two again");
        assert_string_equal(value_of(&vars, "b"), "$a");
        assert_string_equal(value_of(&vars, "c"), "plain");
        assert_string_equal(value_of(&vars, "d"), "one two th\"ree plain");
        assert_string_equal(value_of(&vars, "e"), "first\n second");
        assert_string_equal(value_of(&vars, "f"), "x#y");
        assert_string_equal(value_of(&vars, "g"), "");
        assert_int_equal(rcvars_find(&vars, "a")->line, 8);
        rcvars_finish(&vars);
}

static void
rcvars_mistakes_named_with_their_lines(void **state)
{
        static const char text[] = "a=bridge0 tap0\n"
                                   "good=1\n"
                                   "b=$(reboot)\n"
                                   "c=`reboot`\n"
                                   "d+=x\n"
                                   "if true; then\n"
                                   "e=\"$nowhere\"\n"
                                   "f=a|b\n"
                                   "last=2\n"
                                   "g=\"open\n";
        struct rcvars vars;
        unsigned lines[16] = { 0 };
        static const unsigned expected[] = { 1, 3, 4, 5, 6, 7, 8, 10 };

        assert_int_equal(rcvars_parse(text, strlen(text), count_error, lines, &vars), 0);
        assert_int_equal(lines[0], ARRAY_LEN(expected));
        for (size_t i = 0; i < ARRAY_LEN(expected); i++)
                assert_int_equal(lines[i + 1], expected[i]);
        assert_string_equal(value_of(&vars, "good"), "1");
        assert_string_equal(value_of(&vars, "last"), "2");
        assert_null(rcvars_find(&vars, "a"));
        assert_null(rcvars_find(&vars, "g"));
        rcvars_finish(&vars);
}

static void
rcvars_every_prefix_of_a_file_is_survived(void **state)
{
        static const char text[] = "a=\"x ${b} \\\" $a\"'q'\\\nz; b=`c` $( \\";
        struct rcvars vars;

        for (size_t len = 0; len < sizeof(text); len++) {
                char *copy = malloc(len + 1);
                unsigned errors[16] = { 0 };

                memcpy(copy, text, len);
                assert_int_equal(rcvars_parse(copy, len, count_error, errors, &vars), 0);
                rcvars_finish(&vars);
                free(copy);
        }
}

/* Networks */

static struct netconf *
conf_of(const char *text)
{
        struct netconf *conf = NULL;

        assert_int_equal(netconf_parse(text, strlen(text), &conf), 0);
        return conf;
}

static void
assert_note(const char *text, unsigned line, bool error, const char *words)
{
        struct netconf *conf = conf_of(text);
        bool found = false;

        for (size_t i = 0; i < conf->note_count; i++) {
                const struct netconf_note *note = &conf->notes[i];

                found |=
                    note->line == line && note->error == error && strstr(note->text, words) != NULL;
        }
        if (!found) {
                for (size_t i = 0; i < conf->note_count; i++)
                        print_message("%u %d %s\n", conf->notes[i].line, conf->notes[i].error,
                            conf->notes[i].text);
                fail_msg("no note at line %u with '%s' for:\n%s", line, words, text);
        }
        netconf_destroy(conf);
}

static void
netconf_bridged_example_is_understood(void **state)
{
        struct netconf *conf = conf_of("autobridge_interfaces=\"bridge0\"\n"
                                       "autobridge_bridge0=\"re0 tap*\"\n"
                                       "cloned_interfaces=\"bridge0 tap0 tap1 tap2\"\n");

        assert_int_equal(conf->note_count, 0);
        assert_int_equal(conf->bridge_count, 1);
        assert_true(conf->bridges[0].cloned && conf->bridges[0].autobridge);
        assert_int_equal(conf->tap_count, 3);
        assert_string_equal(conf->taps[2].name, "tap2");
        assert_ptr_equal(netconf_bridge_of(conf, "tap77"), &conf->bridges[0]);
        assert_ptr_equal(netconf_bridge_of(conf, "re0"), &conf->bridges[0]);
        assert_null(netconf_bridge_of(conf, "re1"));
        assert_null(netconf_bridge_of(conf, "bridge0"));
        netconf_destroy(conf);
}

static void
netconf_private_example_is_understood(void **state)
{
        struct netconf *conf = conf_of("autobridge_interfaces=\"bridge0\"\n"
                                       "autobridge_bridge0=\"tap*\"\n"
                                       "cloned_interfaces=\"bridge0 tap0 tap1 tap2\"\n"
                                       "ifconfig_bridge0=\"inet 192.168.16.1/24\"\n"
                                       "ifconfig_bridge0_ipv6=\"inet6 fd00:16::1 prefixlen 64\"\n"
                                       "gateway_enable=\"YES\"\n"
                                       "natd_enable=\"YES\"\n"
                                       "natd_interface=\"wlan0\"\n"
                                       "dnsmasq_enable=\"YES\"\n"
                                       "dhcp_range=\"192.168.16.10,192.168.16.200,12h\"\n"
                                       "domain=\"vm.example\"\n");
        char text[IP_TEXT_MAX];

        assert_int_equal(conf->note_count, 0);
        assert_true(conf->gateway && conf->nat && conf->dnsmasq && !conf->gateway6);
        assert_string_equal(conf->nat_interface, "wlan0");
        assert_int_equal(conf->bridges[0].addr_count, 2);
        assert_string_equal(
            ip_prefix_format(&conf->bridges[0].addrs[0].prefix, text), "192.168.16.1/24");
        assert_string_equal(
            ip_prefix_format(&conf->bridges[0].addrs[1].prefix, text), "fd00:16::1/64");
        assert_int_equal(conf->range_count, 1);
        assert_string_equal(conf->ranges[0].lease, "12h");
        assert_string_equal(conf->domain, "vm.example");
        netconf_destroy(conf);
}

static void
netconf_ifconfig_forms_are_understood(void **state)
{
        struct netconf *conf =
            conf_of("cloned_interfaces=bridge1\n"
                    "ifconfig_bridge1=\"addm em0 addm tap3 mtu 9000 up\"\n"
                    "ifconfig_bridge1_alias0=\"inet 10.0.0.1 netmask 255.255.0.0\"\n"
                    "ifconfig_bridge1_alias1=\"10.1.0.1 netmask 0xffffff00\"\n");

        assert_int_equal(conf->error_count, 0);
        assert_int_equal(conf->bridges[0].mtu, 9000);
        assert_true(netconf_bridge_wants(&conf->bridges[0], "tap3"));
        assert_int_equal(conf->bridges[0].addrs[0].prefix.len, 16);
        assert_int_equal(conf->bridges[0].addrs[1].prefix.len, 24);
        netconf_destroy(conf);
}

#define BRIDGE "cloned_interfaces=\"bridge0\"\n"

static void
netconf_mistakes_are_named(void **state)
{
        assert_note("cloned_interfaces=\"lo1\"\n", 1, true, "only bridgeN, tapN and vmnetN");
        assert_note(
            "cloned_interfaces=\"bridge0123456789\"\n", 1, true, "cannot be an interface's name");
        assert_note("cloned_interfaces=\"tap0 tap0\"\n", 1, false, "twice");
        assert_note("\nautobridge_bridge0=tap0\n", 2, true, "autobridge_interfaces");
        assert_note("autobridge_interfaces=bridge0\n", 1, false, "gets no members");
        assert_note("ifconfig_re0=DHCP\n", 1, false, "left alone");
        assert_note(BRIDGE "ifconfig_bridge0=\"inet 192.168.16.1\"\n", 2, true, "192.168.16.1/24");
        assert_note(
            BRIDGE "ifconfig_bridge0=\"inet 300.1.1.1/24\"\n", 2, true, "not an IPv4 address");
        assert_note(
            BRIDGE "ifconfig_bridge0=\"inet fd00::1/64\"\n", 2, true, "not an IPv4 address");
        assert_note(BRIDGE "ifconfig_bridge0=\"inet6\"\n", 2, true, "missing");
        assert_note(BRIDGE "ifconfig_bridge0=\"inet 192.168.16.0/24\"\n", 2, true, "broadcast");
        assert_note(BRIDGE "ifconfig_bridge0=\"DHCP\"\n", 2, true, "DHCP");
        assert_note(BRIDGE "ifconfig_bridge0=\"mtu 5\"\n", 2, true, "MTU");
        assert_note(BRIDGE "ifconfig_bridge0=\"stp re0\"\n", 2, true, "'stp'");
        assert_note("gateway_enable=maybe\n", 1, true, "neither YES nor NO");
        assert_note("gatway_enable=YES\n", 1, false, "not a variable");
        assert_note("natd_enable=YES\n", 1, true, "no bridge has an address");
        assert_note("natd_interface=192.0.2.1\n", 1, true, "name the interface");
        assert_note("domain=\"a b\"\n", 1, true, "domain name");
        assert_note("domain=\"-a\"\n", 1, true, "domain name");
        assert_note("dhcp_range=\"10.0.0.1\"\n", 1, true, "FIRST,LAST");
        assert_note("dhcp_range=\"10.0.0.1,fd00::1\"\n", 1, true, "FIRST,LAST");
        assert_note("dhcp_range=\"10.0.0.1,10.0.0.2,soon\"\n", 1, true, "lease time");
}

static void
netconf_subnets_and_ranges_are_compared(void **state)
{
        assert_note("cloned_interfaces=\"bridge0 bridge1\"\n"
                    "ifconfig_bridge0=\"inet 192.168.16.1/24\"\n"
                    "ifconfig_bridge1=\"inet 192.168.16.129/25\"\n", 3, true, "overlaps");
        assert_note(BRIDGE "ifconfig_bridge0=\"inet 192.168.16.1/24\"\ndnsmasq_enable=YES\n"
                           "dhcp_range=192.168.17.10,192.168.17.20\n",
            4, true, "no bridge's subnet");
        assert_note(BRIDGE "ifconfig_bridge0=\"inet 192.168.16.1/24\"\ndnsmasq_enable=YES\n"
                           "dhcp_range=192.168.16.10,192.168.17.20\n",
            4, true, "no bridge's subnet");
        assert_note(BRIDGE "ifconfig_bridge0=\"inet 192.168.16.1/24\"\ndnsmasq_enable=YES\n"
                           "dhcp_range=192.168.16.20,192.168.16.10\n", 4, true, "is behind");
        assert_note("cloned_interfaces=\"bridge0 bridge1 tap0\"\nautobridge_interfaces=\"bridge0 "
                    "bridge1\"\n"
                    "autobridge_bridge0=tap*\nautobridge_bridge1=tap0\n",
            4, true, "cannot join bridge1");
}

static void
netconf_file_that_is_absent_or_too_large(void **state)
{
        char path[] = "/tmp/netconf.XXXXXX";
        struct netconf *conf = NULL;
        int fd = mkstemp(path);
        FILE *file = fdopen(fd, "w");

        assert_int_equal(netconf_load("/nonexistent/net.conf", &conf), -2);
        for (unsigned i = 0; i < 200000; i++)
                fputs("# 0123456789\n", file);
        fclose(file);
        assert_int_equal(netconf_load(path, &conf), -27);
        assert_null(conf);
        remove(path);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ip_prefix_parse_good_and_bad),
                cmocka_unit_test(ip_prefix_overlap_follows_shorter_length),
                cmocka_unit_test(ip_netmask_with_holes_refused),
                cmocka_unit_test(rcvars_quotes_comments_and_expansion),
                cmocka_unit_test(rcvars_mistakes_named_with_their_lines),
                cmocka_unit_test(rcvars_every_prefix_of_a_file_is_survived),
                cmocka_unit_test(netconf_bridged_example_is_understood),
                cmocka_unit_test(netconf_private_example_is_understood),
                cmocka_unit_test(netconf_ifconfig_forms_are_understood),
                cmocka_unit_test(netconf_mistakes_are_named),
                cmocka_unit_test(netconf_subnets_and_ranges_are_compared),
                cmocka_unit_test(netconf_file_that_is_absent_or_too_large),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
