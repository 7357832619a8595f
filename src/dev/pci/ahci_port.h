/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the AHCI controller's files share: a port with its device, and a
 * command on its way.
 *
 * Layers, upper ones calling lower ones: ahci.c (PCI function, HBA registers),
 * ahci_port.c (port registers, command slots), ahci_ata.c and ahci_atapi.c
 * (commands), ahci_fis.c (FISes, scatter lists, completion).
 * Section numbers are of Serial ATA AHCI 1.3.1, unless they say ACS (ATA/ATAPI
 * Command Set 3) or MMC (Multi-Media Commands 5).  Device lock held everywhere.
 */
#ifndef DEV_PCI_AHCI_PORT_H
#define DEV_PCI_AHCI_PORT_H

#include "backend/block/block.h"
#include "base/log.h"
#include "mem/mem.h"

#define AHCI_PORTS_MAX 32u
#define AHCI_SLOTS     32u
#define AHCI_IOV       256u /* buffers that one back-end request covers */
#define AHCI_FIS_BYTES 20u  /* of a host-to-device FIS */

/* Port interrupt bits (3.3.5). */
#define AHCI_IS_DHRS 0x00000001u /* device to host register FIS */
#define AHCI_IS_PSS  0x00000002u /* PIO setup FIS */
#define AHCI_IS_SDBS 0x00000008u /* set device bits FIS */
#define AHCI_IS_PCS  0x00000040u /* port connect change */
#define AHCI_IS_OFS  0x01000000u /* scatter list too short */
#define AHCI_IS_HBFS 0x20000000u /* host bus fatal error */
#define AHCI_IS_TFES 0x40000000u /* task file error */

/* Port command bits (3.3.7). */
#define AHCI_CMD_ST    0x00000001u
#define AHCI_CMD_SUD   0x00000002u
#define AHCI_CMD_POD   0x00000004u
#define AHCI_CMD_CLO   0x00000008u
#define AHCI_CMD_FRE   0x00000010u
#define AHCI_CMD_FR    0x00004000u
#define AHCI_CMD_CR    0x00008000u
#define AHCI_CMD_ATAPI 0x01000000u

/* ATA status and error (ACS 6). */
#define ATA_STATUS_ERR  0x01u
#define ATA_STATUS_DRQ  0x08u
#define ATA_STATUS_DSC  0x10u
#define ATA_STATUS_DRDY 0x40u
#define ATA_STATUS_BSY  0x80u
#define ATA_ERROR_ABRT  0x04u

struct ahci_port;

struct ahci_command {
        struct block_request io;
        struct ahci_port *port;
        uint8_t slot;
        bool queued;        /* NCQ: ends with a set device bits FIS */
        bool to_device;
        uint8_t fis[AHCI_FIS_BYTES];
        uint8_t packet[16];
        gpa_t table;        /* command table */
        uint32_t prd_count;
        uint32_t prd_index; /* where in the scatter list the next byte goes */
        uint32_t prd_offset;
        uint64_t disk_offset;
        uint64_t remaining; /* bytes of the transfer not yet given to the back end */
        uint32_t moved;     /* bytes moved, for PRDBC */
        uint8_t ranges[512]; /* of a trim */
        unsigned range_next;
        struct iovec iov[AHCI_IOV];
        gpa_t gpa[AHCI_IOV];
};

struct ahci_port {
        unsigned number;
        bool present;
        bool atapi;
        struct guest_mem *mem;
        struct block *block;        /* NULL: a CD drive without a medium */
        char serial[21], model[41], revision[9];
        uint16_t rotation_rate;     /* 1: not rotating */
        void (*raise)(struct ahci_port *port); /* interrupt bits came */
        void *raise_ctx;
        struct log_limit limit;

        uint32_t clb, clbu, fb, fbu, is, ie, cmd, tfd, sig, ssts, sctl, serr, sact, ci;
        uint32_t running;     /* slots whose commands are under way */
        bool exclusive;       /* one of them is not queued: nothing else starts */
        bool failed;          /* after an error nothing starts until ST is cleared (6.2.2) */
        bool soft_reset;      /* between the two FISes of a software reset */
        uint8_t mult_sectors;
        uint8_t transfer_mode;
        uint8_t sense_key, sense_asc;
        uint8_t failed_tag;   /* of the last command that failed */
        bool failed_queued;
        uint8_t failed_status, failed_error;
        uint8_t failed_fis[AHCI_FIS_BYTES];
        struct ahci_command command[AHCI_SLOTS];
};

/* ahci_port.c */
#define AHCI_PORT_BYTES 0x80u
uint32_t ahci_port_read(const struct ahci_port *port, unsigned offset);
/* True if commands may be waiting now: ahci_port_run is to be called on the loop's thread. */
bool ahci_port_write(struct ahci_port *port, unsigned offset, uint32_t value);
void ahci_port_run(struct ahci_port *port);
/* Power-on state; ends what is in flight. */
void ahci_port_reset(struct ahci_port *port);

/* ahci_ata.c, ahci_atapi.c: start one command. */
void ahci_ata_command(struct ahci_command *c);
void ahci_atapi_command(struct ahci_command *c);
void ahci_identify_text(uint8_t *dest, size_t bytes, const char *text);
void ahci_identify_checksum(uint8_t *data);
void ahci_identify_speeds(uint8_t *data, uint8_t transfer_mode);
/* Commands that disks and packet devices share; true if it was one. */
bool ahci_common_command(struct ahci_command *c);

/* ahci_fis.c */

/* Copies to or from the command's scatter list, from where it stands; false if that is too short or bad. */
bool ahci_data_put(struct ahci_command *c, const void *data, size_t len);
bool ahci_data_get(struct ahci_command *c, void *data, size_t len);
/* Moves @len bytes between the disk and the scatter list, then completes. */
void ahci_transfer(struct ahci_command *c, bool to_device, uint64_t disk_offset, uint64_t len);

/* The end of a command; every one comes to exactly one of these. */
void ahci_done(struct ahci_command *c);
void ahci_fail(struct ahci_command *c, uint8_t error);
/* Ends a PIO data-in command: @len bytes were put. */
void ahci_done_pio(struct ahci_command *c, size_t len);
void ahci_done_packet(struct ahci_command *c);
void ahci_fail_packet(struct ahci_command *c, uint8_t sense_key, uint8_t asc);

void ahci_post(struct ahci_port *port, uint32_t is_bits);
/* The FIS a device sends when it is ready after a reset. */
void ahci_send_signature(struct ahci_port *port);

#endif
