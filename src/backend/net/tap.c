/* SPDX-License-Identifier: BSD-2-Clause */
#include "backend/net/tap.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_arp.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TUN_DEVICE "/dev/net/tun"

static struct ifreq
ifreq_for(const char *name)
{
        struct ifreq ifr = { 0 };

        memcpy(ifr.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
        return ifr;
}

/* A socket for interface requests; -errno. */
static int
control_open(void)
{
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        return fd < 0 ? -errno : fd;
}

static int
attach(int fd, const char *name, unsigned tun_flags)
{
        struct ifreq ifr = ifreq_for(name);

        ifr.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | tun_flags);
        return ioctl(fd, TUNSETIFF, &ifr) < 0 ? -errno : 0;
}

static int
device_open(void)
{
        int fd = open(TUN_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static int
queue_open(const char *name, unsigned tun_flags)
{
        int fd = device_open();
        int error;

        if (fd < 0)
                return fd;
        error = attach(fd, name, tun_flags);
        if (error != 0) {
                close(fd);
                return error;
        }
        return fd;
}

static bool
link_is_up(int control, const char *name)
{
        struct ifreq ifr = ifreq_for(name);

        return ioctl(control, SIOCGIFFLAGS, &ifr) == 0 && (ifr.ifr_flags & IFF_UP) != 0;
}

static int
link_set_up(int control, const char *name)
{
        struct ifreq ifr = ifreq_for(name);

        if (ioctl(control, SIOCGIFFLAGS, &ifr) < 0)
                return -errno;
        if ((ifr.ifr_flags & IFF_UP) != 0)
                return 0;
        ifr.ifr_flags |= IFF_UP;
        return ioctl(control, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

/* Asks rtnetlink for one link; the answer's size, or -errno. */
static ssize_t
link_query(unsigned index, void *answer, size_t bytes)
{
        struct {
                struct nlmsghdr hdr;
                struct ifinfomsg info;
        } ask = {
                .hdr = { .nlmsg_len = sizeof(ask),
                    .nlmsg_type = RTM_GETLINK,
                    .nlmsg_flags = NLM_F_REQUEST },
                .info = { .ifi_family = AF_UNSPEC, .ifi_index = (int)index },
        };
        int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        ssize_t n;

        if (fd < 0)
                return -errno;
        n = send(fd, &ask, sizeof(ask), 0);
        if (n >= 0)
                n = recv(fd, answer, bytes, 0);
        if (n < 0)
                n = -errno;
        close(fd);
        return n;
}

/*
 * Copies one attribute of a link; false where it has none.  Asked over
 * rtnetlink because /sys may show another network namespace.
 */
static bool
link_attribute(const char *name, unsigned type, void *value, size_t bytes)
{
        union {
                struct nlmsghdr hdr;
                char bytes[8192];
        } answer;
        ssize_t n = link_query(if_nametoindex(name), &answer, sizeof(answer));
        struct rtattr *attr;
        int left;

        if (n < 0 || !NLMSG_OK(&answer.hdr, (size_t)n) || answer.hdr.nlmsg_type != RTM_NEWLINK)
                return false;
        left = (int)IFLA_PAYLOAD(&answer.hdr);
        attr = IFLA_RTA((struct ifinfomsg *)NLMSG_DATA(&answer.hdr));
        for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left))
                if (attr->rta_type == type && RTA_PAYLOAD(attr) >= bytes) {
                        memcpy(value, RTA_DATA(attr), bytes);
                        return true;
                }
        return false;
}

/* The bridge that @name is a member of now; empty for none. */
static void
link_bridge(const char *name, char bridge[IFNAMSIZ])
{
        unsigned master;

        bridge[0] = '\0';
        if (link_attribute(name, IFLA_MASTER, &master, sizeof(master)))
                if_indextoname(master, bridge);
}

/* A tap has a carrier while a process has it open. */
static bool
link_has_carrier(const char *name)
{
        uint8_t carrier = 0;

        return link_attribute(name, IFLA_CARRIER, &carrier, sizeof(carrier)) && carrier != 0;
}

/*
 * A tap's first queue.  The kernel lets several processes open a tap with
 * several queues, and shares the frames out among them; that is refused here
 * as it refuses it for other taps.
 */
static int
first_queue_open(const char *name, unsigned tun_flags, bool multi_queue)
{
        bool busy = multi_queue && link_has_carrier(name);
        int fd = queue_open(name, tun_flags | (multi_queue ? IFF_MULTI_QUEUE : 0));

        if (fd < 0 || !busy)
                return fd;
        close(fd);
        return -EBUSY;
}

/*
 * The kernel refuses an existing tap whose kind of queues differs from the
 * wish, so the other kind is tried too.  Sets fd and multi_queue.
 */
static int
tap_attach(struct tap *tap, unsigned flags)
{
        unsigned tun_flags = (flags & TAP_VNET_HDR) != 0 ? IFF_VNET_HDR : 0;

        tap->multi_queue = (flags & TAP_MULTI_QUEUE) != 0;
        tap->fd = first_queue_open(tap->name, tun_flags, tap->multi_queue);
        if (tap->fd == -EINVAL) {
                tap->multi_queue = !tap->multi_queue;
                tap->fd = first_queue_open(tap->name, tun_flags, tap->multi_queue);
        }
        if (tap->fd < 0)
                return tap->fd;
        tap->vnet_hdr_bytes = (flags & TAP_VNET_HDR) != 0 ? sizeof(struct virtio_net_hdr) : 0;
        return 0;
}

static int
bridge_join(int control, const char *bridge, const char *name)
{
        struct ifreq ifr = ifreq_for(bridge);

        ifr.ifr_ifindex = (int)if_nametoindex(name);
        if (ifr.ifr_ifindex == 0)
                return -ENODEV;
        return ioctl(control, SIOCBRADDIF, &ifr) < 0 ? -errno : 0;
}

static const char *
join_remedy(int error)
{
        switch (error) {
        case -ENODEV:
                return "the bridge does not exist: run `bhyvenet up'";
        case -EBUSY:
                return "it is a member of another bridge";
        case -EPERM:
                return "run as root, or make the tap with `bhyvenet up'";
        default:
                return strerror(-error);
        }
}

static void
tap_join(struct tap *tap, int control, const struct netconf *conf)
{
        const struct netconf_bridge *bridge =
            conf != NULL ? netconf_bridge_of(conf, tap->name) : NULL;
        int error;

        link_bridge(tap->name, tap->bridge);
        if (bridge == NULL || strcmp(bridge->name, tap->bridge) == 0)
                return;
        error = bridge_join(control, bridge->name, tap->name);
        if (error == 0)
                memcpy(tap->bridge, bridge->name, IFNAMSIZ);
        else if (tap->bridge[0] != '\0')
                log_warn("%s stays on %s, though net.conf names it for %s", tap->name, tap->bridge,
                    bridge->name);
        else
                log_warn("%s: cannot join %s, the guest has no link: %s", tap->name, bridge->name,
                    join_remedy(error));
}

int
tap_open_with(const char *name, unsigned flags, const struct netconf *conf, struct tap *ret_tap)
{
        struct tap tap = { .fd = -1 };
        int control, error;

        if (!netconf_ifname_is_tap(name))
                return -EINVAL;
        snprintf(tap.name, sizeof(tap.name), "%s", name);
        control = control_open();
        if (control < 0)
                return control;
        tap.created = if_nametoindex(name) == 0;
        error = tap_attach(&tap, flags);
        if (error == 0) {
                tap_join(&tap, control, conf);
                error = link_set_up(control, name);
                tap.up = link_is_up(control, name);
                if (error != 0)
                        log_warn("%s: cannot bring it up, the guest has no link: %s", name,
                            strerror(-error));
                *ret_tap = tap;
                error = 0;
        }
        close(control);
        return error;
}

/* The description in force, else the one that would be; NULL if there is none that is sound. */
static struct netconf *
conf_in_force(void)
{
        struct netconf *conf = NULL;
        char path[PATH_MAX];

        netconf_state_path("net.conf", path);
        if (netconf_load(path, &conf) != 0 && netconf_load(netconf_path(), &conf) != 0)
                return NULL;
        if (conf->error_count == 0)
                return conf;
        log_warn("%s has mistakes and is left alone; see `bhyvenet check'", netconf_path());
        netconf_destroy(conf);
        return NULL;
}

int
tap_open(const char *name, unsigned flags, struct tap *ret_tap)
{
        struct netconf *conf = conf_in_force();
        int error = tap_open_with(name, flags, conf, ret_tap);

        netconf_destroy(conf);
        return error;
}

int
tap_open_queue(const struct tap *tap, int *ret_fd)
{
        int fd;

        if (!tap->multi_queue)
                return -EOPNOTSUPP;
        fd = queue_open(tap->name, IFF_MULTI_QUEUE | (tap->vnet_hdr_bytes != 0 ? IFF_VNET_HDR : 0));
        if (fd < 0)
                return fd;
        *ret_fd = fd;
        return 0;
}

int
tap_attach_queue(int fd, bool attached)
{
        struct ifreq ifr = { .ifr_flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

        return ioctl(fd, TUNSETQUEUE, &ifr) < 0 ? -errno : 0;
}

int
tap_set_vnet_hdr_bytes(struct tap *tap, unsigned bytes)
{
        int value = (int)bytes;

        if (tap->vnet_hdr_bytes == 0)
                return -EINVAL;
        if (ioctl(tap->fd, TUNSETVNETHDRSZ, &value) < 0)
                return -errno;
        tap->vnet_hdr_bytes = bytes;
        return 0;
}

int
tap_set_offload(const struct tap *tap, unsigned tun_f_flags)
{
        return ioctl(tap->fd, TUNSETOFFLOAD, (unsigned long)tun_f_flags) < 0 ? -errno : 0;
}

void
tap_close(struct tap *tap)
{
        if (tap->fd >= 0)
                close(tap->fd);
        tap->fd = -1;
}

const char *
tap_explain(const char *name, int error, char *buf, size_t bytes)
{
        switch (error) {
        case -EINVAL:
                if (!netconf_ifname_is_tap(name))
                        snprintf(buf, bytes, "%s: not a tap; use tapN or vmnetN, N being a number",
                            name);
                else
                        snprintf(buf, bytes,
                            "%s: another kind of interface has this name; choose another", name);
                break;
        case -EBUSY:
                snprintf(buf, bytes,
                    "%s: another process has it open (another guest?); give each guest its own tap",
                    name);
                break;
        case -EPERM:
        case -EACCES:
                snprintf(buf, bytes,
                    "%s: not allowed; run as root, or let root name you in tap_owner or tap_group "
                    "of " NETCONF_PATH " and run `bhyvenet up', or use slirp",
                    name);
                break;
        case -ENOENT:
        case -ENODEV:
        case -ENXIO:
                snprintf(buf, bytes,
                    "%s: the host has no " TUN_DEVICE
                    "; load the module with `modprobe tun', or use "
                    "slirp",
                    name);
                break;
        default:
                snprintf(buf, bytes, "%s: %s", name, strerror(-error));
                break;
        }
        return buf;
}

static int
link_set_mac(int control, const char *name, const unsigned char mac[6])
{
        struct ifreq ifr = ifreq_for(name);

        ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
        memcpy(ifr.ifr_hwaddr.sa_data, mac, 6);
        return ioctl(control, SIOCSIFHWADDR, &ifr) < 0 ? -errno : 0;
}

static int
set_owner_and_keep(int fd, int uid, int gid)
{
        if (uid != -1 && ioctl(fd, TUNSETOWNER, (unsigned long)uid) < 0)
                return -errno;
        if (gid != -1 && ioctl(fd, TUNSETGROUP, (unsigned long)gid) < 0)
                return -errno;
        return ioctl(fd, TUNSETPERSIST, 1ul) < 0 ? -errno : 0;
}

int
tap_create_persistent(const char *name, bool multi_queue, int uid, int gid, const unsigned char mac[6])
{
        int control, fd, error;

        if (!netconf_ifname_is_tap(name))
                return -EINVAL;
        if (if_nametoindex(name) != 0)
                return -EEXIST;
        fd = queue_open(name, multi_queue ? IFF_MULTI_QUEUE : 0);
        if (fd < 0)
                return fd;
        control = control_open();
        error = control < 0 ? control : link_set_mac(control, name, mac);
        if (error == 0)
                error = set_owner_and_keep(fd, uid, gid);
        if (control >= 0)
                close(control);
        close(fd);
        return error;
}
