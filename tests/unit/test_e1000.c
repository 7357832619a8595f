/* SPDX-License-Identifier: BSD-2-Clause */
/* The 82545EM as drivers use it, two of them on one cable, and as a hostile guest does. */
#include "virtio_rig.h"

#include "dev/pci/e1000_impl.h"

#define TX_RING 0x100000u
#define TX_COUNT 64u
#define RX_RING 0x110000u
#define RX_COUNT 16u
#define TX_DATA RIG_DATA_AT
#define RX_DATA (RIG_DATA_AT + 0x40000u)
#define RX_BUFFER 2048u

#define CMD_EOP  0x01000000u
#define CMD_IC   0x04000000u
#define CMD_TSE  0x04000000u
#define CMD_RS   0x08000000u
#define CMD_DEXT 0x20000000u
#define CMD_VLE  0x40000000u
#define DTYP_DATA 0x00100000u

#define ETHER 14u
#define IPV4  20u
#define TCP   20u

struct nic {
        struct pci_rig r;
        uint64_t bar, ports;
        unsigned tx_tail, rx_next, rx_tail;
};

static const uint8_t mac_a[6] = { 0x02, 0, 0, 0, 0, 0x0a };
static const uint8_t mac_b[6] = { 0x02, 0, 0, 0, 0, 0x0b };

static uint32_t
get(struct nic *n, unsigned offset)
{
        uint64_t value = 0;

        assert_true(io_space_read(n->r.mmio, n->bar + offset, 4, &value));
        return (uint32_t)value;
}

static void
put(struct nic *n, unsigned offset, uint32_t value)
{
        assert_true(io_space_write(n->r.mmio, n->bar + offset, 4, value));
}

static void
nic_start(struct nic *n, const char *path, const char *mac)
{
        memset(n, 0, sizeof(*n));
        pci_rig_start(&n->r);
        if (path != NULL) {
                pci_rig_set(&n->r, "backend", "unix");
                pci_rig_set(&n->r, "path", path);
        }
        if (mac != NULL)
                pci_rig_set(&n->r, "mac", mac);
        assert_int_equal(pci_rig_create(&n->r, "e1000"), 0);
        n->bar = rig_config_read(&n->r, PCI_CFG_BAR0, 4) & ~15u;
        n->ports = rig_config_read(&n->r, PCI_CFG_BAR0 + 8, 4) & ~3u;
}

/* Rings of good descriptors, as a driver's open makes them. */
static void
nic_open(struct nic *n, uint32_t rctl)
{
        put(n, E1000_TDBAL, TX_RING);
        put(n, E1000_TDBAL + RING_LEN, TX_COUNT * 16);
        put(n, E1000_TDH, 0);
        put(n, E1000_TDT, 0);
        put(n, E1000_RDBAL, RX_RING);
        put(n, E1000_RDBAL + RING_LEN, RX_COUNT * 16);
        memset(mem_at(n->r.mem, RX_RING, RX_COUNT * 16), 0, RX_COUNT * 16);
        for (unsigned i = 0; i < RX_COUNT; i++)
                put_le64(mem_at(n->r.mem, RX_RING + 16 * i, 8), RX_DATA + i * RX_BUFFER);
        put(n, E1000_RDH, 0);
        put(n, E1000_RDT, RX_COUNT - 1);
        put(n, E1000_TCTL, TCTL_EN | TCTL_PSP);
        put(n, E1000_RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC | rctl);
        n->tx_tail = n->rx_next = 0;
        n->rx_tail = RX_COUNT - 1;
}

static void
pair_start(struct nic *a, struct nic *b)
{
        char path[64];

        snprintf(path, sizeof(path), "/tmp/bhyve-e1000-test-%d", (int)getpid());
        nic_start(a, path, "02:00:00:00:00:0a");
        nic_start(b, path, "02:00:00:00:00:0b");
        nic_open(a, 0);
        nic_open(b, 0);
}

static void
pair_finish(struct nic *a, struct nic *b)
{
        pci_rig_finish(&a->r);
        pci_rig_finish(&b->r);
}

/* Writes a descriptor without telling the device. */
static void
tx_put(struct nic *n, uint64_t low, uint32_t command, uint32_t rest)
{
        uint8_t *desc = mem_at(n->r.mem, TX_RING + 16 * n->tx_tail, 16);

        put_le64(desc, low);
        put_le32(desc + 8, command);
        put_le32(desc + 12, rest);
        n->tx_tail = (n->tx_tail + 1) % TX_COUNT;
}

static bool
tx_is_idle(void *ctx)
{
        struct nic *n = ctx;
        struct e1000 *nic = container_of(pci_bus_find(n->r.pci, 0, RIG_SLOT, 0), struct e1000, pci);

        return nic->reg[E1000_TDH / 4] == nic->reg[E1000_TDT / 4];
}

static void
tx_go(struct nic *n)
{
        put(n, E1000_TDT, n->tx_tail);
        assert_true(loop_rig_wait(&n->r.rig, tx_is_idle, n));
}

static void
make_frame(uint8_t *frame, const uint8_t *to, unsigned len)
{
        for (unsigned i = 0; i < len; i++)
                frame[i] = (uint8_t)(i * 7 + len);
        memcpy(frame, to, 6);
        memcpy(frame + 6, mac_a, 6);
        put_be16(frame + 12, 0x88b5);
}

static void
send_plain(struct nic *n, const uint8_t *frame, unsigned len)
{
        memcpy(mem_at(n->r.mem, TX_DATA, len), frame, len);
        tx_put(n, TX_DATA, CMD_EOP | CMD_RS | len, 0);
        tx_go(n);
}

static bool
rx_is_done(void *ctx)
{
        struct nic *n = ctx;
        const uint8_t *status = mem_at(n->r.mem, RX_RING + 16 * n->rx_next + 12, 1);

        return __atomic_load_n(status, __ATOMIC_SEQ_CST) & 1;
}

/* Waits for the next descriptor; copies it, gives the next one back to the device. */
static uint8_t *
rx_take(struct nic *n, uint8_t ret_desc[16])
{
        uint8_t *desc = mem_at(n->r.mem, RX_RING + 16 * n->rx_next, 16);
        unsigned index = n->rx_next;

        assert_true(loop_rig_wait(&n->r.rig, rx_is_done, n));
        memcpy(ret_desc, desc, 16);
        desc[12] = 0;
        n->rx_next = (n->rx_next + 1) % RX_COUNT;
        n->rx_tail = (n->rx_tail + 1) % RX_COUNT;
        put(n, E1000_RDT, n->rx_tail);
        return mem_at(n->r.mem, RX_DATA + index * RX_BUFFER, RX_BUFFER);
}

static void
expect_frame(struct nic *n, const uint8_t *frame, unsigned len)
{
        uint8_t desc[16];
        const uint8_t *got = rx_take(n, desc);

        assert_int_equal(get_le16(desc + 8), len < 60 ? 60 : len);
        assert_int_equal(desc[12] & 3, 3);
        assert_memory_equal(got, frame, len);
}

/* Both still work: a frame crosses. */
static void
expect_alive(struct nic *a, struct nic *b)
{
        uint8_t frame[100];

        make_frame(frame, mac_b, sizeof(frame));
        send_plain(a, frame, sizeof(frame));
        expect_frame(b, frame, sizeof(frame));
}

static void
e1000_frames_cross_in_order_and_wrap_the_rings(void **state)
{
        struct nic a;
        struct nic b;
        uint8_t frame[1518];

        pair_start(&a, &b);
        for (unsigned i = 0; i < 150; i++) {
                unsigned len = 14 + i * 10;

                make_frame(frame, mac_b, len);
                send_plain(&a, frame, len);
                expect_frame(&b, frame, len);
        }
        assert_int_equal(get(&a, E1000_GPTC), 150);
        assert_int_equal(get(&a, E1000_GPTC), 0);
        assert_int_equal(get(&b, E1000_GPRC), 150);
        pair_finish(&a, &b);
}

static void
e1000_filters_pass_what_the_driver_asked_for(void **state)
{
        static const uint8_t other[6] = { 0x02, 0, 0, 0, 0, 0x0c };
        static const uint8_t group[6] = { 0x01, 0x00, 0x5e, 0x00, 0x12, 0x34 };
        static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
        unsigned hash = 0x3412 >> 4 & 0xfff;
        struct nic a;
        struct nic b;
        uint8_t frame[64];

        pair_start(&a, &b);
        make_frame(frame, other, 64);
        send_plain(&a, frame, 64);
        make_frame(frame, group, 64);
        send_plain(&a, frame, 64);
        make_frame(frame, all, 64);
        send_plain(&a, frame, 64);
        expect_frame(&b, frame, 64);
        put(&b, E1000_MTA + 4 * (hash / 32), 1u << hash % 32);
        put(&b, E1000_RA + 8, get_le32(other));
        put(&b, E1000_RA + 12, 0x80000000u | get_le16(other + 4));
        make_frame(frame, other, 64);
        send_plain(&a, frame, 64);
        expect_frame(&b, frame, 64);
        make_frame(frame, group, 64);
        send_plain(&a, frame, 64);
        expect_frame(&b, frame, 64);
        pair_finish(&a, &b);
}

static void
e1000_large_frame_is_spread_over_descriptors(void **state)
{
        struct nic a;
        struct nic b;
        uint8_t frame[600];
        uint8_t desc[16];

        pair_start(&a, &b);
        put(&b, E1000_RCTL, RCTL_EN | RCTL_SECRC | 3u << 16); /* buffers of 256 bytes */
        make_frame(frame, mac_b, sizeof(frame));
        send_plain(&a, frame, sizeof(frame));
        for (unsigned i = 0; i < 3; i++) {
                const uint8_t *got = rx_take(&b, desc);

                assert_int_equal(get_le16(desc + 8), i < 2 ? 256 : 600 - 512);
                assert_int_equal(desc[12] & 3, i < 2 ? 1 : 3);
                assert_memory_equal(got, frame + 256 * i, get_le16(desc + 8));
        }
        pair_finish(&a, &b);
}

static void
e1000_frame_without_descriptors_waits_for_them(void **state)
{
        struct nic a;
        struct nic b;
        uint8_t frame[64];

        pair_start(&a, &b);
        put(&b, E1000_RDT, 0);
        make_frame(frame, mac_b, 64);
        send_plain(&a, frame, 64);
        usleep(20000);
        assert_false(rx_is_done(&b));
        put(&b, E1000_RDT, b.rx_tail);
        expect_frame(&b, frame, 64);
        pair_finish(&a, &b);
}

static void
e1000_vlan_tag_is_inserted_and_stripped(void **state)
{
        struct nic a;
        struct nic b;
        uint8_t frame[64];
        uint8_t desc[16];
        const uint8_t *got;

        pair_start(&a, &b);
        make_frame(frame, mac_b, sizeof(frame));
        put(&a, E1000_CTRL, get(&a, E1000_CTRL) | CTRL_VME);
        memcpy(mem_at(a.r.mem, TX_DATA, sizeof(frame)), frame, sizeof(frame));
        tx_put(&a, TX_DATA, CMD_EOP | CMD_VLE | sizeof(frame), 0x0123u << 16);
        tx_go(&a);
        got = rx_take(&b, desc);
        assert_int_equal(get_le16(desc + 8), sizeof(frame) + 4);
        assert_int_equal(get_be32(got + 12), 0x81000123);
        assert_memory_equal(got + 16, frame + 12, sizeof(frame) - 12);
        put(&b, E1000_CTRL, get(&b, E1000_CTRL) | CTRL_VME);
        tx_put(&a, TX_DATA, CMD_EOP | CMD_VLE | sizeof(frame), 0x0123u << 16);
        tx_go(&a);
        got = rx_take(&b, desc);
        assert_int_equal(get_le16(desc + 8), sizeof(frame));
        assert_int_equal(desc[12] & 8, 8);
        assert_int_equal(get_le16(desc + 14), 0x123);
        assert_memory_equal(got, frame, sizeof(frame));
        pair_finish(&a, &b);
}

static uint32_t
ones_sum(const uint8_t *p, unsigned len, uint32_t sum)
{
        for (unsigned i = 0; i < len; i++)
                sum += i % 2 != 0 ? p[i] : (uint32_t)p[i] << 8;
        while (sum >> 16)
                sum = (sum & 0xffff) + (sum >> 16);
        return sum;
}

/* The pseudo-header's sum, with the length of TCP header and data. */
static uint32_t
pseudo_sum(const uint8_t *ip, unsigned tcp_bytes)
{
        return ones_sum(ip + 12, 8, 6 + tcp_bytes);
}

static void
make_tcp(uint8_t *frame, unsigned payload, unsigned pseudo_bytes)
{
        uint8_t *ip = frame + ETHER;
        uint8_t *tcp = ip + IPV4;

        make_frame(frame, mac_b, ETHER + IPV4 + TCP + payload);
        put_be16(frame + 12, 0x0800);
        memset(ip, 0, IPV4 + TCP);
        ip[0] = 0x45;
        put_be16(ip + 2, (uint16_t)(IPV4 + TCP + payload));
        put_be16(ip + 4, 0xfffe);
        ip[9] = 6;
        put_be32(ip + 12, 0x0a000001);
        put_be32(ip + 16, 0x0a000002);
        put_be32(tcp + 4, 0xfffffff0);
        tcp[12] = 0x50;
        tcp[13] = 0x19; /* ACK, PSH, FIN */
        put_be16(tcp + 16, (uint16_t)pseudo_sum(ip, pseudo_bytes));
}

static void
put_context(struct nic *n, uint32_t command, uint32_t rest)
{
        tx_put(n, (uint64_t)(ETHER + IPV4 + 16) << 40 | (uint64_t)(ETHER + IPV4) << 32 |
            (uint64_t)(ETHER + IPV4 - 1) << 16 | (ETHER + 10) << 8 | ETHER, command | CMD_DEXT | 0x03000000, rest);
}

static void
check_tcp(const uint8_t *frame, unsigned payload)
{
        const uint8_t *ip = frame + ETHER;

        assert_int_equal(get_be16(ip + 2), IPV4 + TCP + payload);
        assert_int_equal(ones_sum(ip, IPV4, 0), 0xffff);
        assert_int_equal(ones_sum(ip + IPV4, TCP + payload, pseudo_sum(ip, TCP + payload)), 0xffff);
}

static void
e1000_checksums_are_inserted(void **state)
{
        struct nic a;
        struct nic b;
        uint8_t frame[ETHER + IPV4 + TCP + 101];
        uint8_t desc[16];

        pair_start(&a, &b);
        make_tcp(frame, 101, TCP + 101);
        memcpy(mem_at(a.r.mem, TX_DATA, sizeof(frame)), frame, sizeof(frame));
        put_context(&a, 0, 0);
        tx_put(&a, TX_DATA, CMD_DEXT | DTYP_DATA | 60, 3u << 8);
        tx_put(&a, TX_DATA + 60, CMD_DEXT | DTYP_DATA | CMD_EOP | (sizeof(frame) - 60), 0);
        tx_go(&a);
        check_tcp(rx_take(&b, desc), 101);
        /* The old way: one sum by offsets in the descriptor. */
        make_tcp(mem_at(a.r.mem, TX_DATA, sizeof(frame)), 101, TCP + 101);
        tx_put(&a, TX_DATA, CMD_EOP | CMD_IC | (ETHER + 10) << 16 | sizeof(frame), ETHER << 8);
        tx_go(&a);
        assert_int_equal(ones_sum(rx_take(&b, desc) + ETHER, sizeof(frame) - ETHER, 0), 0xffff);
        assert_int_equal(get_le16(desc + 8), sizeof(frame));
        pair_finish(&a, &b);
}

static void
e1000_tcp_is_segmented(void **state)
{
        const unsigned payload = 3100, mss = 1000, header = ETHER + IPV4 + TCP;
        struct nic a;
        struct nic b;
        uint8_t desc[16];

        pair_start(&a, &b);
        make_tcp(mem_at(a.r.mem, TX_DATA, header + payload), payload, 0);
        put_context(&a, CMD_TSE | payload, mss << 16 | header << 8);
        tx_put(&a, TX_DATA, CMD_DEXT | DTYP_DATA | CMD_TSE | header, 3u << 8);
        tx_put(&a, TX_DATA + header, CMD_DEXT | DTYP_DATA | CMD_TSE | CMD_EOP | CMD_RS | payload, 0);
        tx_go(&a);
        for (unsigned i = 0; i < 4; i++) {
                unsigned part = i < 3 ? mss : 100;
                const uint8_t *got = rx_take(&b, desc);

                assert_int_equal(get_le16(desc + 8), header + part);
                check_tcp(got, part);
                assert_int_equal(get_be16(got + ETHER + 4), (uint16_t)(0xfffe + i));
                assert_int_equal(get_be32(got + ETHER + IPV4 + 4), 0xfffffff0u + i * mss);
                assert_int_equal(got[ETHER + IPV4 + 13], i < 3 ? 0x10 : 0x19);
                assert_memory_equal(got + header, mem_at(a.r.mem, TX_DATA + header + i * mss, part), part);
        }
        pair_finish(&a, &b);
}

static bool
line_is_up(void *ctx)
{
        return ((struct nic *)ctx)->r.line;
}

static void
e1000_interrupts_follow_cause_and_mask(void **state)
{
        struct nic a;
        struct nic b;

        pair_start(&a, &b);
        get(&b, E1000_ICR);
        expect_alive(&a, &b);
        assert_false(line_is_up(&b));
        put(&b, E1000_IMS, ICR_RXT0);
        assert_true(loop_rig_wait(&b.r.rig, line_is_up, &b));
        assert_int_equal(get(&b, E1000_ICR) & ICR_RXT0, ICR_RXT0);
        assert_false(line_is_up(&b));
        assert_int_equal(get(&b, E1000_ICR), 0);
        put(&b, E1000_IMC, ICR_RXT0);
        put(&b, E1000_ICS, ICR_RXT0);
        assert_false(line_is_up(&b));
        pair_finish(&a, &b);
}

static void
e1000_interrupts_come_no_faster_than_itr(void **state)
{
        struct nic n;

        nic_start(&n, NULL, NULL);
        put(&n, E1000_ITR, 0xffff); /* 16.8 ms */
        put(&n, E1000_IMS, ICR_LSC);
        put(&n, E1000_ICS, ICR_LSC);
        assert_true(line_is_up(&n));
        get(&n, E1000_ICR);
        put(&n, E1000_ICS, ICR_LSC);
        assert_false(line_is_up(&n));
        assert_true(loop_rig_wait(&n.r.rig, line_is_up, &n));
        pci_rig_finish(&n.r);
}

/* One word through EECD, as drivers clock it. */
static uint16_t
eeprom_word(struct nic *n, unsigned address)
{
        unsigned command = 6u << 6 | address;
        uint16_t word = 0;

        put(n, E1000_EECD, 0x40);
        assert_int_equal(get(n, E1000_EECD) & 0x80, 0x80);
        put(n, E1000_EECD, 0x42);
        for (unsigned bit = 9; bit-- != 0;) {
                unsigned pins = 0x42 | (command >> bit & 1) << 2;

                put(n, E1000_EECD, pins);
                put(n, E1000_EECD, pins | 1);
                put(n, E1000_EECD, pins);
        }
        for (unsigned bit = 0; bit < 16; bit++) {
                put(n, E1000_EECD, 0x43);
                word = (uint16_t)(word << 1 | (get(n, E1000_EECD) >> 3 & 1));
                put(n, E1000_EECD, 0x42);
        }
        put(n, E1000_EECD, 0x40);
        return word;
}

static void
e1000_eeprom_holds_address_and_sum_both_ways(void **state)
{
        struct nic n;
        uint16_t sum = 0;

        nic_start(&n, NULL, "02:11:22:33:44:55");
        for (unsigned i = 0; i < 64; i++) {
                uint16_t word = eeprom_word(&n, i);

                put(&n, E1000_EERD, i << 8 | 1);
                assert_int_equal(get(&n, E1000_EERD), (uint32_t)word << 16 | i << 8 | 0x10);
                sum = (uint16_t)(sum + word);
        }
        assert_int_equal(sum, 0xbaba);
        assert_int_equal(eeprom_word(&n, 0), 0x1102);
        assert_int_equal(get(&n, E1000_RA), 0x33221102);
        assert_int_equal(get(&n, E1000_RA + 4), 0x80005544);
        pci_rig_finish(&n.r);
}

static uint32_t
phy(struct nic *n, unsigned number)
{
        put(n, E1000_MDIC, 2u << 26 | 1u << 21 | number << 16);
        return get(n, E1000_MDIC);
}

static void
e1000_phy_says_what_the_back_end_does(void **state)
{
        struct nic a;
        struct nic b;
        struct nic none;

        pair_start(&a, &b);
        assert_int_equal(phy(&a, 2) & 0x1000ffff, 0x10000141);
        assert_int_equal(phy(&a, 1) & 0x24, 0x24);
        assert_int_equal(get(&a, E1000_STATUS) & 2, 2);
        put(&a, E1000_MDIC, 2u << 26 | 2u << 21);
        assert_int_equal(get(&a, E1000_MDIC) & 0x50000000, 0x50000000);
        nic_start(&none, NULL, NULL);
        assert_int_equal(phy(&none, 1) & 0x24, 0);
        assert_int_equal(get(&none, E1000_STATUS) & 2, 0);
        pci_rig_finish(&none.r);
        pair_finish(&a, &b);
}

static void
e1000_reset_through_the_ports_restores_registers(void **state)
{
        struct nic n;

        nic_start(&n, NULL, "02:11:22:33:44:55");
        put(&n, E1000_RA, 0);
        put(&n, E1000_RCTL, RCTL_EN);
        assert_true(io_space_write(n.r.ports, n.ports, 4, E1000_CTRL));
        assert_true(io_space_write(n.r.ports, n.ports + 4, 4, CTRL_RST));
        assert_int_equal(get(&n, E1000_RCTL), 0);
        assert_int_equal(get(&n, E1000_CTRL) & CTRL_RST, 0);
        assert_int_equal(get(&n, E1000_RA), 0x33221102);
        pci_rig_finish(&n.r);
}

static void
e1000_hostile_transmit_descriptors_are_dropped(void **state)
{
        static const uint32_t header = ETHER + IPV4 + TCP;
        struct nic a;
        struct nic b;

        pair_start(&a, &b);
        tx_put(&a, UINT64_MAX - 7, CMD_EOP | CMD_RS | 100, 0);
        tx_put(&a, 0xc0000000, CMD_EOP | 1000, 0);
        tx_put(&a, TX_DATA, CMD_EOP | 5, 0);
        tx_put(&a, TX_DATA, CMD_EOP, 0);
        tx_put(&a, TX_DATA, CMD_DEXT | DTYP_DATA | CMD_EOP | 0xfffff, 0);
        /* Segments without size, with headers past the frame, and far too many. */
        put_context(&a, CMD_TSE, header << 8);
        tx_put(&a, TX_DATA, CMD_DEXT | DTYP_DATA | CMD_TSE | CMD_EOP | 4000, 3u << 8);
        put_context(&a, CMD_TSE, 100u << 16 | 255u << 8);
        tx_put(&a, TX_DATA, CMD_DEXT | DTYP_DATA | CMD_TSE | CMD_EOP | 200, 3u << 8);
        tx_put(&a, UINT64_MAX, CMD_DEXT | CMD_TSE | 0x03000000, 100u << 16 | 60u << 8);
        tx_put(&a, TX_DATA, CMD_DEXT | DTYP_DATA | CMD_TSE | CMD_EOP | 200, 3u << 8);
        put_context(&a, CMD_TSE, 1u << 16 | header << 8);
        tx_put(&a, TX_DATA, CMD_DEXT | DTYP_DATA | CMD_TSE | CMD_EOP | 60000, 3u << 8);
        /* A frame that grows without end. */
        for (unsigned i = 0; i < 20; i++)
                tx_put(&a, TX_DATA, 0xffff, 0);
        tx_put(&a, TX_DATA, CMD_EOP | CMD_RS | 100, 0);
        tx_go(&a);
        assert_int_equal(get(&a, E1000_GPTC), 0);
        assert_int_equal(*(uint8_t *)mem_at(a.r.mem, TX_RING + 12, 1) & 1, 1);
        expect_alive(&a, &b);
        pair_finish(&a, &b);
}

static void
e1000_checksum_places_outside_the_frame_are_left_alone(void **state)
{
        struct nic a;
        struct nic b;
        uint8_t frame[100];

        pair_start(&a, &b);
        make_frame(frame, mac_b, sizeof(frame));
        memcpy(mem_at(a.r.mem, TX_DATA, sizeof(frame)), frame, sizeof(frame));
        tx_put(&a, TX_DATA, CMD_EOP | CMD_IC | 99u << 16 | sizeof(frame), 0);
        tx_go(&a);
        expect_frame(&b, frame, sizeof(frame));
        tx_put(&a, TX_DATA, CMD_EOP | CMD_IC | 20u << 16 | sizeof(frame), 255u << 8);
        tx_go(&a);
        expect_frame(&b, frame, sizeof(frame));
        tx_put(&a, UINT64_MAX, CMD_DEXT | 0x03000000, 0);
        tx_put(&a, TX_DATA, CMD_DEXT | DTYP_DATA | CMD_EOP | sizeof(frame), 3u << 8);
        tx_go(&a);
        expect_frame(&b, frame, sizeof(frame));
        pair_finish(&a, &b);
}

static void
e1000_hostile_rings_stop_nothing_else(void **state)
{
        struct nic a;
        struct nic b;
        uint8_t frame[64];

        pair_start(&a, &b);
        make_frame(frame, mac_b, sizeof(frame));
        /* Indices past the ring, no ring, a ring that is not in memory. */
        put(&a, E1000_TDT, TX_COUNT);
        put(&a, E1000_TDBAL + RING_LEN, 0);
        put(&a, E1000_TDBAL + RING_LEN, UINT32_MAX);
        put(&a, E1000_TDBAL + RING_BAH, 0xffffffff);
        put(&a, E1000_TDT, 60000);
        assert_true(loop_rig_wait(&a.r.rig, tx_is_idle, &a));
        put(&a, E1000_TDBAL + RING_BAH, 0);
        nic_open(&a, 0);
        put(&b, E1000_RDBAL + RING_BAH, 0xffffffff);
        send_plain(&a, frame, sizeof(frame));
        usleep(20000);
        put(&b, E1000_RDBAL + RING_BAH, 0);
        put(&b, E1000_RDT, 0xffff);
        send_plain(&a, frame, sizeof(frame));
        usleep(20000);
        put(&b, E1000_RCTL, 0);
        usleep(20000);
        nic_open(&b, 0);
        expect_alive(&a, &b);
        /* Receive buffers that are not memory lose their bytes only. */
        for (unsigned i = 0; i < RX_COUNT; i++)
                put_le64(mem_at(b.r.mem, RX_RING + 16 * i, 8), UINT64_MAX - i);
        send_plain(&a, frame, sizeof(frame));
        assert_true(loop_rig_wait(&b.r.rig, rx_is_done, &b));
        pair_finish(&a, &b);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(e1000_frames_cross_in_order_and_wrap_the_rings),
                cmocka_unit_test(e1000_filters_pass_what_the_driver_asked_for),
                cmocka_unit_test(e1000_large_frame_is_spread_over_descriptors),
                cmocka_unit_test(e1000_frame_without_descriptors_waits_for_them),
                cmocka_unit_test(e1000_vlan_tag_is_inserted_and_stripped),
                cmocka_unit_test(e1000_checksums_are_inserted),
                cmocka_unit_test(e1000_tcp_is_segmented),
                cmocka_unit_test(e1000_interrupts_follow_cause_and_mask),
                cmocka_unit_test(e1000_interrupts_come_no_faster_than_itr),
                cmocka_unit_test(e1000_eeprom_holds_address_and_sum_both_ways),
                cmocka_unit_test(e1000_phy_says_what_the_back_end_does),
                cmocka_unit_test(e1000_reset_through_the_ports_restores_registers),
                cmocka_unit_test(e1000_hostile_transmit_descriptors_are_dropped),
                cmocka_unit_test(e1000_checksum_places_outside_the_frame_are_left_alone),
                cmocka_unit_test(e1000_hostile_rings_stop_nothing_else),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
