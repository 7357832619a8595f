/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 82545EM's parts, for its own files: e1000.c (PCI function, registers,
 * interrupts), e1000_nvm.c (EEPROM and PHY), e1000_tx.c and e1000_rx.c.
 *
 * Sections are those of Intel's "PCI/PCI-X Family of Gigabit Ethernet
 * Controllers Software Developer's Manual" (317453).  All state is guarded by
 * the device lock.
 */
#ifndef DEV_PCI_E1000_IMPL_H
#define DEV_PCI_E1000_IMPL_H

#include "backend/net/net.h"
#include "base/log.h"
#include "base/loop.h"
#include "bus/pci.h"
#include "mem/mem.h"

/* Registers (13.4): byte offsets in BAR 0. */
#define E1000_CTRL     0x0000u
#define E1000_STATUS   0x0008u
#define E1000_EECD     0x0010u
#define E1000_EERD     0x0014u
#define E1000_CTRL_EXT 0x0018u
#define E1000_MDIC     0x0020u
#define E1000_FCAL     0x0028u
#define E1000_FCT      0x0030u
#define E1000_VET      0x0038u
#define E1000_ICR      0x00c0u
#define E1000_ITR      0x00c4u
#define E1000_ICS      0x00c8u
#define E1000_IMS      0x00d0u
#define E1000_IMC      0x00d8u
#define E1000_RCTL     0x0100u
#define E1000_FCTTV    0x0170u
#define E1000_TXCW     0x0178u
#define E1000_TCTL     0x0400u
#define E1000_TIPG     0x0410u
#define E1000_AIFS     0x0458u
#define E1000_LEDCTL   0x0e00u
#define E1000_PBA      0x1000u
#define E1000_FCRTL    0x2160u
#define E1000_FCRTH    0x2168u
#define E1000_RDBAL    0x2800u
#define E1000_RDH      0x2810u
#define E1000_RDT      0x2818u
#define E1000_RADV     0x282cu
#define E1000_TDBAL    0x3800u
#define E1000_TDH      0x3810u
#define E1000_TDT      0x3818u
#define E1000_TSPMT    0x3830u
#define E1000_STATS    0x4000u
#define E1000_GPRC     0x4074u
#define E1000_BPRC     0x4078u
#define E1000_MPRC     0x407cu
#define E1000_GPTC     0x4080u
#define E1000_GORC     0x4088u
#define E1000_GOTC     0x4090u
#define E1000_TPR      0x40d0u
#define E1000_TPT      0x40d4u
#define E1000_STATS_END 0x4128u
#define E1000_RXCSUM   0x5000u
#define E1000_MTA      0x5200u
#define E1000_RA       0x5400u
#define E1000_VFTA     0x5600u
#define E1000_WUC      0x5800u
#define E1000_WUFC     0x5808u
#define E1000_MANC     0x5820u
#define E1000_REG_END  0x5840u

/* A ring's registers, from its first. */
#define RING_BAL  0x00u
#define RING_BAH  0x04u
#define RING_LEN  0x08u
#define RING_HEAD 0x10u
#define RING_TAIL 0x18u

#define CTRL_SLU     0x00000040u
#define CTRL_RST     0x04000000u
#define CTRL_VME     0x40000000u
#define CTRL_PHY_RST 0x80000000u

/* Interrupt causes (13.4.17). */
#define ICR_TXDW   0x00000001u
#define ICR_TXQE   0x00000002u
#define ICR_LSC    0x00000004u
#define ICR_RXDMT0 0x00000010u
#define ICR_RXT0   0x00000080u
#define ICR_MDAC   0x00000200u

#define RCTL_EN    0x00000002u
#define RCTL_UPE   0x00000008u
#define RCTL_MPE   0x00000010u
#define RCTL_LPE   0x00000020u
#define RCTL_BAM   0x00008000u
#define RCTL_VFE   0x00040000u
#define RCTL_BSEX  0x02000000u
#define RCTL_SECRC 0x04000000u

#define TCTL_EN  0x00000002u
#define TCTL_PSP 0x00000008u

#define E1000_DESC_BYTES    16u
#define E1000_FRAME_MIN     60u /* without its CRC */
#define E1000_CRC_BYTES     4u
#define E1000_EEPROM_WORDS  64u
#define E1000_PHY_REGS      32u
#define E1000_HEADER_BYTES  14u

/* The serial EEPROM as a driver sees it through EECD (5.3.1). */
struct e1000_eeprom {
        uint16_t word[E1000_EEPROM_WORDS];
        uint32_t pins;      /* what EECD was last written */
        uint32_t shift;     /* bits of the command so far */
        unsigned bits;      /* how many, start bit included */
        unsigned out_bits;  /* bits read so far */
        bool reading, out;
        unsigned address;
};

/* A transmit context descriptor (3.3.6). */
struct e1000_tx_context {
        uint8_t ip_start, ip_offset;
        uint16_t ip_end;
        uint8_t tcp_start, tcp_offset;
        uint16_t tcp_end;
        bool tcp, ipv4;
        uint8_t header_bytes;
        uint16_t mss;
};

/* The frame that is being put together from descriptors. */
struct e1000_tx {
        struct e1000_tx_context context[2]; /* plain, segmenting */
        size_t len;
        bool started, bad, extended, segment;
        uint8_t options;      /* POPTS of its first descriptor */
        uint8_t frame[NET_FRAME_MAX];
        uint8_t piece[NET_FRAME_MAX];
};

struct e1000_rx {
        size_t len;           /* of a frame that waits for descriptors; 0: none */
        bool tagged;
        uint16_t tag;
        uint8_t frame[NET_FRAME_MAX + E1000_FRAME_MIN + E1000_CRC_BYTES];
};

struct e1000 {
        struct pci_device pci;
        struct guest_mem *mem;
        struct net_backend *nb;
        int bell_fd;          /* wakes the loop's thread for rings */
        struct loop_fd *bell_watch;
        struct loop_timer *throttle;
        uint64_t next_irq_ns; /* ITR: not earlier than this */
        bool irq_level, link, listening;
        uint32_t io_address;  /* IOADDR */
        uint32_t reg[E1000_REG_END / 4];
        uint16_t phy[E1000_PHY_REGS];
        struct e1000_eeprom eeprom;
        struct e1000_tx tx;
        struct e1000_rx rx;
        struct log_limit limit;
};

/* A ring as its registers describe it, checked; count is 0 if they make no sense. */
struct e1000_ring {
        gpa_t base;
        uint32_t count, head, tail;
};

static inline uint32_t *
e1000_reg(struct e1000 *nic, unsigned offset)
{
        return &nic->reg[offset / 4];
}

struct e1000_ring e1000_ring_get(struct e1000 *nic, unsigned first_register);
bool e1000_may_dma(struct e1000 *nic);
/* Sets causes in ICR and the interrupt pin with them. */
void e1000_raise(struct e1000 *nic, uint32_t causes);
/* Counts a frame: @good is GPRC or GPTC, the others stand in the same relation. */
void e1000_count(struct e1000 *nic, unsigned packets, unsigned total, unsigned octets, size_t len);
/* The rings are to be looked at on the loop's thread. */
void e1000_ring_bell(struct e1000 *nic);

void e1000_eeprom_init(struct e1000_eeprom *rom, const uint8_t mac[6], const struct pci_ids *ids);
void e1000_eeprom_write_pins(struct e1000_eeprom *rom, uint32_t value);
uint32_t e1000_eeprom_read_pins(const struct e1000_eeprom *rom);
/* EERD: the register's new value. */
uint32_t e1000_eeprom_read_word(const struct e1000_eeprom *rom, uint32_t eerd);
void e1000_phy_reset(struct e1000 *nic);
void e1000_mdic_write(struct e1000 *nic, uint32_t value);

/* Works through descriptors; true if it stopped to give others their turn. */
bool e1000_tx_run(struct e1000 *nic);
void e1000_tx_reset(struct e1000 *nic);
void e1000_rx_run(struct e1000 *nic);

#endif
