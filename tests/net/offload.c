/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Switches a network interface's transmit offloads, in a guest that has no
 * ethtool(8); built static.
 *
 *      offload INTERFACE on|off        checksums, scatter-gather and segmentation
 */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int
command(const char *name, __u32 cmd, __u32 data, __u32 *ret_data)
{
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        struct ethtool_value value = { .cmd = cmd, .data = data };
        struct ifreq ifr = { .ifr_data = (void *)&value };

        strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
        if (ioctl(fd, SIOCETHTOOL, &ifr) < 0) {
                perror("offload");
                return 1;
        }
        if (ret_data != NULL)
                *ret_data = value.data;
        return 0;
}

int
main(int argc, char **argv)
{
        static const __u32 set[] = { ETHTOOL_STXCSUM, ETHTOOL_SSG, ETHTOOL_STSO };
        static const __u32 get[] = { ETHTOOL_GTXCSUM, ETHTOOL_GSG, ETHTOOL_GTSO };
        __u32 wanted = argc == 3 && strcmp(argv[2], "on") == 0;

        if (argc != 3)
                return 2;
        for (unsigned i = 0; i < 3; i++) {
                unsigned step = wanted ? i : 2 - i;
                __u32 now;

                if (command(argv[1], set[step], wanted, NULL) != 0 || command(argv[1], get[step], 0, &now) != 0)
                        return 1;
                if (!now != !wanted)
                        return 1;
        }
        printf("offloads: %s\n", argv[2]);
        return 0;
}
