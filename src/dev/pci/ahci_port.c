/* SPDX-License-Identifier: BSD-2-Clause */
#include "dev/pci/ahci_port.h"
#include "base/bytes.h"

/* Port registers (3.3). */
#define PORT_CLB  0x00
#define PORT_CLBU 0x04
#define PORT_FB   0x08
#define PORT_FBU  0x0c
#define PORT_IS   0x10
#define PORT_IE   0x14
#define PORT_CMD  0x18
#define PORT_TFD  0x20
#define PORT_SIG  0x24
#define PORT_SSTS 0x28
#define PORT_SCTL 0x2c
#define PORT_SERR 0x30
#define PORT_SACT 0x34
#define PORT_CI   0x38

#define SIG_ATA   0x00000101u
#define SIG_ATAPI 0xeb140101u
#define SSTS_UP   0x00000133u /* device there, link up, generation 3, active (3.3.10) */
#define TFD_NONE  0x7fu
#define IE_MASK   0xfdc000ffu
#define SCTL_DET_MASK  0x0fu
#define SCTL_DET_RESET 0x01u
#define SERR_DIAG_X    0x04000000u

/* ATAPI, ALPE, ASP, DLAE are remembered and mean nothing here. */
#define CMD_GUEST_BITS                                                                             \
        (AHCI_CMD_ST | AHCI_CMD_SUD | AHCI_CMD_POD | AHCI_CMD_FRE | AHCI_CMD_ATAPI | 0x0e000000u)
#define CMD_CCS_SHIFT 8
#define CMD_CCS_MASK  (0x1fu << CMD_CCS_SHIFT)

#define HEADER_BYTES    32u
#define HEADER_ATAPI    0x20u
#define TABLE_PACKET    0x40u
#define FIS_H2D         0x27
#define FIS_H2D_COMMAND 0x80u
#define FIS_CONTROL     15
#define CONTROL_SRST    0x04u
#define ATA_READ_FPDMA  0x60
#define ATA_WRITE_FPDMA 0x61

/* Waits for commands under way and forgets the waiting ones (10.3.2: ST cleared). */
static void
port_stop(struct ahci_port *port)
{
        port->failed = true; /* nothing starts while we wait */
        if (port->block != NULL)
                block_drain(port->block);
        port->ci = 0;
        port->sact = 0;
        port->running = 0;
        port->exclusive = false;
        port->failed = false;
        port->tfd &= ~(ATA_STATUS_BSY | ATA_STATUS_DRQ);
        port->cmd &= ~(AHCI_CMD_CR | CMD_CCS_MASK);
}

/* What a device shows after a link or software reset. */
static void
device_ready(struct ahci_port *port)
{
        port->mult_sectors = 16;
        port->transfer_mode = 0x46; /* UDMA 6 */
        port->sense_key = 0;
        port->sense_asc = 0;
        port->soft_reset = false;
        port->sig = port->atapi ? SIG_ATAPI : SIG_ATA;
        port->ssts = SSTS_UP;
        port->tfd = 1u << 8 | ATA_STATUS_DRDY | ATA_STATUS_DSC;
}

void
ahci_port_reset(struct ahci_port *port)
{
        port_stop(port);
        port->clb = port->clbu = port->fb = port->fbu = 0;
        port->is = port->ie = 0;
        port->cmd = AHCI_CMD_SUD | AHCI_CMD_POD;
        port->sctl = 0;
        port->serr = 0;
        port->ssts = 0;
        port->sig = UINT32_MAX;
        port->tfd = TFD_NONE;
        if (port->present)
                device_ready(port);
}

/* COMRESET ends when software takes DET back from 1 to 0 (10.4.2). */
static void
write_sctl(struct ahci_port *port, uint32_t value)
{
        bool was = (port->sctl & SCTL_DET_MASK) == SCTL_DET_RESET;
        bool is = (value & SCTL_DET_MASK) == SCTL_DET_RESET;

        port->sctl = value & 0xfff;
        if (is && !was) {
                port_stop(port);
                port->ssts = 0;
                port->tfd = TFD_NONE;
        }
        if (!was || (value & SCTL_DET_MASK) != 0 || !port->present)
                return;
        device_ready(port);
        port->serr |= SERR_DIAG_X;
        ahci_send_signature(port);
        ahci_post(port, AHCI_IS_PCS);
}

static void
write_cmd(struct ahci_port *port, uint32_t value)
{
        bool was_started = (port->cmd & AHCI_CMD_ST) != 0;

        port->cmd = (port->cmd & ~(CMD_GUEST_BITS | AHCI_CMD_FR)) | (value & CMD_GUEST_BITS);
        if (value & AHCI_CMD_FRE)
                port->cmd |= AHCI_CMD_FR;
        if (value & AHCI_CMD_CLO)
                port->tfd &= ~(ATA_STATUS_BSY | ATA_STATUS_DRQ);
        if (was_started && !(value & AHCI_CMD_ST))
                port_stop(port);
        if (value & AHCI_CMD_ST)
                port->cmd |= AHCI_CMD_CR;
}

uint32_t
ahci_port_read(const struct ahci_port *port, unsigned offset)
{
        switch (offset) {
        case PORT_CLB:
                return port->clb;
        case PORT_CLBU:
                return port->clbu;
        case PORT_FB:
                return port->fb;
        case PORT_FBU:
                return port->fbu;
        case PORT_IS:
                return port->is;
        case PORT_IE:
                return port->ie;
        case PORT_CMD:
                return port->cmd;
        case PORT_TFD:
                return port->tfd;
        case PORT_SIG:
                return port->sig;
        case PORT_SSTS:
                return port->ssts;
        case PORT_SCTL:
                return port->sctl;
        case PORT_SERR:
                return port->serr;
        case PORT_SACT:
                return port->sact;
        case PORT_CI:
                return port->ci;
        default:
                return 0;
        }
}

bool
ahci_port_write(struct ahci_port *port, unsigned offset, uint32_t value)
{
        switch (offset) {
        case PORT_CLB:
                port->clb = value & ~0x3ffu;
                break;
        case PORT_CLBU:
                port->clbu = value;
                break;
        case PORT_FB:
                port->fb = value & ~0xffu;
                break;
        case PORT_FBU:
                port->fbu = value;
                break;
        case PORT_IS:
                port->is &= ~value;
                break;
        case PORT_IE:
                port->ie = value & IE_MASK;
                ahci_post(port, 0);
                break;
        case PORT_CMD:
                write_cmd(port, value);
                break;
        case PORT_SCTL:
                write_sctl(port, value);
                break;
        case PORT_SERR:
                port->serr &= ~value;
                break;
        case PORT_SACT:
                if (port->cmd & AHCI_CMD_ST)
                        port->sact |= value;
                break;
        case PORT_CI:
                if (!(port->cmd & AHCI_CMD_ST) || !port->present)
                        break;
                port->ci |= value;
                return true;
        default:
                break;
        }
        return false;
}

/* Two control FISes, SRST on and off, reset the device (10.4.1). */
static void
control_fis(struct ahci_command *c)
{
        struct ahci_port *port = c->port;

        port->ci &= ~(1u << c->slot);
        port->running &= ~(1u << c->slot);
        port->exclusive = false;
        if (c->fis[FIS_CONTROL] & CONTROL_SRST) {
                port->soft_reset = true;
        } else if (port->soft_reset) {
                device_ready(port);
                ahci_send_signature(port);
        }
}

/* A command list or table that cannot be read is a fatal bus error (6.2.1). */
static void
bus_error(struct ahci_command *c)
{
        struct ahci_port *port = c->port;

        log_guest(&port->limit, "ahci: port %u: there is no command in memory for slot %u", port->number,
            c->slot);
        port->running &= ~(1u << c->slot);
        port->exclusive = false;
        port->failed = true;
        ahci_post(port, AHCI_IS_HBFS);
}

static bool
command_load(struct ahci_command *c)
{
        struct ahci_port *port = c->port;
        gpa_t list = (gpa_t)port->clbu << 32 | port->clb;
        uint8_t header[HEADER_BYTES];

        if (mem_read(port->mem, list + c->slot * HEADER_BYTES, header, sizeof(header)) != 0)
                return false;
        c->prd_count = get_le16(header + 2);
        c->table = get_le64(header + 8) & ~(gpa_t)0x7f;
        c->prd_index = 0;
        c->prd_offset = 0;
        c->moved = 0;
        return mem_read(port->mem, c->table, c->fis, sizeof(c->fis)) == 0 &&
            mem_read(port->mem, c->table + TABLE_PACKET, c->packet, sizeof(c->packet)) == 0 &&
            c->fis[0] == FIS_H2D;
}

static void
command_dispatch(struct ahci_command *c)
{
        struct ahci_port *port = c->port;

        if (!(c->fis[1] & FIS_H2D_COMMAND)) {
                control_fis(c);
                return;
        }
        c->queued = !port->atapi && (c->fis[2] == ATA_READ_FPDMA || c->fis[2] == ATA_WRITE_FPDMA);
        if (c->queued) {
                /* The device took the command: only SActive tells of its end (5.3.12). */
                port->exclusive = false;
                port->ci &= ~(1u << c->slot);
        } else {
                port->tfd |= ATA_STATUS_BSY;
        }
        if (port->atapi)
                ahci_atapi_command(c);
        else
                ahci_ata_command(c);
}

static void
command_start(struct ahci_port *port, unsigned slot)
{
        struct ahci_command *c = &port->command[slot];

        c->port = port;
        c->slot = (uint8_t)slot;
        c->queued = false;
        port->cmd = (port->cmd & ~CMD_CCS_MASK) | slot << CMD_CCS_SHIFT;
        port->running |= 1u << slot;
        port->exclusive = true;
        if (command_load(c))
                command_dispatch(c);
        else
                bus_error(c);
}

void
ahci_port_run(struct ahci_port *port)
{
        unsigned first = ((port->cmd & CMD_CCS_MASK) >> CMD_CCS_SHIFT) + 1;

        for (unsigned i = 0; i < AHCI_SLOTS; i++) {
                unsigned slot = (first + i) % AHCI_SLOTS;
                uint32_t bit = 1u << slot;

                if (!(port->cmd & AHCI_CMD_ST) || port->failed || port->exclusive)
                        break;
                /* A tag that still runs is the driver's mistake: it waits. */
                if ((port->ci & bit) && !(port->running & bit))
                        command_start(port, slot);
        }
        if (port->block != NULL)
                block_kick(port->block);
}
