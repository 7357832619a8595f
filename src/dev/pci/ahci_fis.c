/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/bytes.h"
#include "base/util.h"
#include "dev/pci/ahci_port.h"

#include <errno.h>

/* Received FIS area (4.2.1). */
#define RX_PIO_SETUP 0x20u
#define RX_D2H       0x40u
#define RX_SDB       0x58u

#define FIS_D2H       0x34
#define FIS_PIO_SETUP 0x5f
#define FIS_SDB       0xa1
#define FIS_INTERRUPT 0x40
#define FIS_TO_HOST   0x20

/* Command header and table (4.2.2, 4.2.3). */
#define HEADER_BYTES 32u
#define HEADER_PRDBC 4u
#define TABLE_PRDT   0x80u
#define PRD_BYTES    16u
#define PRD_DBC_MASK 0x3fffffu

/* The interrupt reason, in a FIS's count field: command done, to the host (ACS 7.18). */
#define PACKET_REASON_DONE 0x03

void
ahci_post(struct ahci_port *port, uint32_t is_bits)
{
        port->is |= is_bits;
        port->raise(port);
}

/* With FRE off the FIS goes nowhere (3.3.7). */
static void
fis_store(struct ahci_port *port, unsigned offset, const uint8_t *fis, size_t len)
{
        gpa_t base = (gpa_t)port->fbu << 32 | port->fb;

        if ((port->cmd & AHCI_CMD_FRE) && mem_write(port->mem, base + offset, fis, len) != 0)
                port->is |= AHCI_IS_HBFS;
}

/* The registers that a device-to-host and a PIO setup FIS give back. */
static void
fis_registers(uint8_t *fis, uint8_t type, const uint8_t *command_fis, uint8_t status, uint8_t error)
{
        memcpy(fis, command_fis, 14);
        fis[0] = type;
        fis[1] = FIS_INTERRUPT;
        fis[2] = status;
        fis[3] = error;
        fis[11] = 0;
}

static void
send_d2h(struct ahci_port *port, const uint8_t *command_fis, uint8_t status, uint8_t error)
{
        uint8_t fis[20] = { 0 };

        fis_registers(fis, FIS_D2H, command_fis, status, error);
        port->tfd = (uint32_t)error << 8 | status;
        fis_store(port, RX_D2H, fis, sizeof(fis));
        ahci_post(port, AHCI_IS_DHRS | (status & ATA_STATUS_ERR ? AHCI_IS_TFES : 0));
}

static void
send_pio_setup(struct ahci_command *c, uint8_t status, size_t len)
{
        uint8_t fis[20] = { 0 };

        fis_registers(fis, FIS_PIO_SETUP, c->fis, status | ATA_STATUS_DRQ, 0);
        fis[1] |= FIS_TO_HOST;
        fis[15] = status;
        put_le16(fis + 16, (uint16_t)len);
        fis_store(c->port, RX_PIO_SETUP, fis, sizeof(fis));
        ahci_post(c->port, AHCI_IS_PSS);
}

/* BSY and DRQ stay as they are (5.3.13). */
static void
send_set_device_bits(struct ahci_port *port, uint32_t finished, uint8_t status, uint8_t error)
{
        uint8_t fis[8] = { FIS_SDB, FIS_INTERRUPT, status & 0x77, error };

        put_le32(fis + 4, finished);
        port->tfd = (port->tfd & (ATA_STATUS_BSY | ATA_STATUS_DRQ)) | (uint32_t)error << 8 | (status & 0x77u);
        port->sact &= ~finished;
        fis_store(port, RX_SDB, fis, sizeof(fis));
        ahci_post(port, AHCI_IS_SDBS | (status & ATA_STATUS_ERR ? AHCI_IS_TFES : 0));
}

/* The values that tell a disk from a packet device (ACS 4.4). */
void
ahci_send_signature(struct ahci_port *port)
{
        uint8_t command_fis[AHCI_FIS_BYTES] = { 0 };

        command_fis[4] = 1;
        command_fis[12] = 1;
        if (port->atapi) {
                command_fis[5] = 0x14;
                command_fis[6] = 0xeb;
        }
        send_d2h(port, command_fis, ATA_STATUS_DRDY | ATA_STATUS_DSC, 1);
}

static void
put_byte_count(struct ahci_command *c)
{
        struct ahci_port *port = c->port;
        gpa_t header = ((gpa_t)port->clbu << 32 | port->clb) + c->slot * HEADER_BYTES;
        uint8_t count[4];

        put_le32(count, c->moved);
        (void)mem_write(port->mem, header + HEADER_PRDBC, count, sizeof(count));
}

static void
command_ends(struct ahci_command *c)
{
        struct ahci_port *port = c->port;

        port->running &= ~(1u << c->slot);
        if (!c->queued) {
                port->exclusive = false;
                put_byte_count(c);
        }
}

void
ahci_done(struct ahci_command *c)
{
        struct ahci_port *port = c->port;
        uint8_t status = ATA_STATUS_DRDY | ATA_STATUS_DSC;

        command_ends(c);
        if (c->queued) {
                send_set_device_bits(port, 1u << c->slot, status, 0);
        } else {
                port->ci &= ~(1u << c->slot);
                send_d2h(port, c->fis, status, 0);
        }
}

void
ahci_done_pio(struct ahci_command *c, size_t len)
{
        send_pio_setup(c, ATA_STATUS_DRDY | ATA_STATUS_DSC, len);
        ahci_done(c);
}

/* CI of a command that is not queued stays set, so that the driver knows which one it was (6.2.2.1). */
void
ahci_fail(struct ahci_command *c, uint8_t error)
{
        struct ahci_port *port = c->port;
        uint8_t status = ATA_STATUS_DRDY | ATA_STATUS_DSC | ATA_STATUS_ERR;

        command_ends(c);
        port->failed = true;
        port->failed_queued = c->queued;
        port->failed_tag = c->slot;
        port->failed_status = status;
        port->failed_error = error;
        memcpy(port->failed_fis, c->fis, sizeof(port->failed_fis));
        if (c->queued)
                send_set_device_bits(port, 0, status, error);
        else
                send_d2h(port, c->fis, status, error);
}

void
ahci_done_packet(struct ahci_command *c)
{
        c->fis[12] = PACKET_REASON_DONE;
        c->port->sense_key = 0;
        c->port->sense_asc = 0;
        ahci_done(c);
}

void
ahci_fail_packet(struct ahci_command *c, uint8_t sense_key, uint8_t asc)
{
        c->fis[12] = PACKET_REASON_DONE;
        c->port->sense_key = sense_key;
        c->port->sense_asc = asc;
        ahci_fail(c, (uint8_t)(sense_key << 4 | ATA_ERROR_ABRT));
}

/* The length of one entry of the scatter list; 0 if there is none or it cannot be read. */
static uint32_t
prd_read(const struct ahci_command *c, uint32_t index, gpa_t *ret_addr)
{
        uint8_t prd[PRD_BYTES];

        if (index >= c->prd_count ||
            mem_read(c->port->mem, c->table + TABLE_PRDT + (gpa_t)index * PRD_BYTES, prd, sizeof(prd)) != 0)
                return 0;
        *ret_addr = get_le64(prd);
        return (get_le32(prd + 12) & PRD_DBC_MASK) + 1;
}

/* The next stretch of at most @len bytes, as host memory; NULL if the list is short or wild. */
static void *
next_stretch(struct ahci_command *c, uint64_t len, gpa_t *ret_gpa, uint32_t *ret_len)
{
        gpa_t addr = 0;
        uint32_t bytes = prd_read(c, c->prd_index, &addr);
        uint32_t n;
        void *p;

        /* The driver may have made the entry shorter meanwhile. */
        if (bytes <= c->prd_offset)
                return NULL;
        n = bytes - c->prd_offset;
        if (n > len)
                n = (uint32_t)len;
        p = mem_at(c->port->mem, addr + c->prd_offset, n);
        if (p == NULL)
                return NULL;
        *ret_gpa = addr + c->prd_offset;
        *ret_len = n;
        c->prd_offset += n;
        if (c->prd_offset == bytes) {
                c->prd_index++;
                c->prd_offset = 0;
        }
        return p;
}

bool
ahci_data_put(struct ahci_command *c, const void *data, size_t len)
{
        size_t done = 0;

        while (done < len) {
                uint32_t n;
                gpa_t gpa;
                void *p = next_stretch(c, len - done, &gpa, &n);

                if (p == NULL)
                        return false;
                memcpy(p, (const uint8_t *)data + done, n);
                mem_written(c->port->mem, gpa, n);
                done += n;
                c->moved += n;
        }
        return true;
}

bool
ahci_data_get(struct ahci_command *c, void *data, size_t len)
{
        size_t done = 0;

        while (done < len) {
                uint32_t n;
                gpa_t gpa;
                void *p = next_stretch(c, len - done, &gpa, &n);

                if (p == NULL)
                        return false;
                memcpy((uint8_t *)data + done, p, n);
                done += n;
                c->moved += n;
        }
        return true;
}

static uint64_t
take_buffers(struct ahci_command *c, uint64_t len)
{
        uint64_t done = 0;
        unsigned count = 0;

        while (done < len && count < AHCI_IOV) {
                uint32_t n;
                void *p = next_stretch(c, len - done, &c->gpa[count], &n);

                if (p == NULL)
                        break;
                c->iov[count++] = (struct iovec){ p, n };
                done += n;
        }
        c->io.iov = c->iov;
        c->io.iov_count = count;
        return done;
}

static void
transfer_fails(struct ahci_command *c, int error)
{
        struct ahci_port *port = c->port;

        log_guest(&port->limit, "ahci: port %u: %s of %llu bytes at %llu failed: %s", port->number,
            c->to_device ? "write" : "read", (unsigned long long)c->remaining,
            (unsigned long long)c->disk_offset, strerror(-error));
        if (port->atapi)
                ahci_fail_packet(c, 0x03, 0x11); /* medium error, unrecovered read error */
        else
                ahci_fail(c, ATA_ERROR_ABRT);
}

static void transfer_step(struct ahci_command *c);

static void
transfer_step_done(struct block_request *io, int error)
{
        struct ahci_command *c = container_of(io, struct ahci_command, io);

        if (error != 0) {
                transfer_fails(c, error);
                return;
        }
        for (unsigned i = 0; i < io->iov_count && !c->to_device; i++)
                mem_written(c->port->mem, c->gpa[i], c->iov[i].iov_len);
        c->moved += (uint32_t)io->length;
        c->disk_offset += io->length;
        c->remaining -= io->length;
        if (c->remaining != 0)
                transfer_step(c);
        else if (c->port->atapi)
                ahci_done_packet(c);
        else
                ahci_done(c);
}

/* One request of the back end: what is left, or as many buffers as it takes. */
static void
transfer_step(struct ahci_command *c)
{
        uint64_t len = take_buffers(c, c->remaining);
        int error;

        if (len == 0) {
                c->port->is |= AHCI_IS_OFS;
                transfer_fails(c, -EFAULT);
                return;
        }
        c->io.op = c->to_device ? BLOCK_WRITE : BLOCK_READ;
        c->io.offset = c->disk_offset;
        c->io.length = len;
        c->io.done = transfer_step_done;
        error = block_submit(c->port->block, &c->io);
        if (error != 0)
                transfer_fails(c, error);
}

void
ahci_transfer(struct ahci_command *c, bool to_device, uint64_t disk_offset, uint64_t len)
{
        c->to_device = to_device;
        c->disk_offset = disk_offset;
        c->remaining = len;
        transfer_step(c);
}
