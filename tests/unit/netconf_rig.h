/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For tests that need a network configuration: one parsed from a text without
 * faults.  The includer has cmocka.h in place; the caller destroys the result.
 */
#ifndef TESTS_UNIT_NETCONF_RIG_H
#define TESTS_UNIT_NETCONF_RIG_H

#include "config/netconf.h"

#include <string.h>

static inline struct netconf *
conf_of(const char *text)
{
        struct netconf *conf = NULL;

        assert_int_equal(netconf_parse(text, strlen(text), &conf), 0);
        assert_int_equal(conf->error_count, 0);
        return conf;
}

#endif
