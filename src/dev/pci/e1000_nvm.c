/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 82545EM's EEPROM (a 64-word Microwire part, read bit by bit through EECD
 * or word by word through EERD; it cannot be written) and its 88E1011 PHY,
 * whose link is the back end's.
 */
#include "dev/pci/e1000_impl.h"

#include <string.h>

#define EECD_SK   0x001u
#define EECD_CS   0x002u
#define EECD_DI   0x004u
#define EECD_DO   0x008u
#define EECD_FWE  0x030u
#define EECD_REQ  0x040u
#define EECD_GNT  0x080u
#define EECD_PRES 0x100u

#define EERD_START 0x01u
#define EERD_DONE  0x10u

#define MICROWIRE_COMMAND_BITS 9u /* start bit, two of operation, six of address */
#define MICROWIRE_READ         6u /* start bit and operation */

/* EEPROM words (5.6.1). */
#define WORD_INIT_CONTROL_1 0x0au
#define WORD_SUBSYSTEM      0x0bu
#define WORD_SUBVENDOR      0x0cu
#define WORD_DEVICE         0x0du
#define WORD_VENDOR         0x0eu
#define WORD_INIT_CONTROL_2 0x0fu
#define WORD_CHECKSUM       0x3fu
#define EEPROM_SUM          0xbabau

#define MDIC_OP_WRITE 1u
#define MDIC_OP_READ  2u
#define MDIC_READY    0x10000000u
#define MDIC_INTERRUPT 0x20000000u
#define MDIC_ERROR    0x40000000u
#define PHY_ADDRESS   1u

#define PHY_CONTROL        0u
#define PHY_STATUS         1u
#define PHY_SPECIFIC       17u
#define PHY_CONTROL_RESET  0x8000u
#define PHY_CONTROL_RENEG  0x0200u
#define PHY_STATUS_DONE    0x0020u
#define PHY_STATUS_LINK    0x0004u
#define PHY_SPECIFIC_LINK  0x0c00u /* link, and what follows is resolved */

void
e1000_eeprom_init(struct e1000_eeprom *rom, const uint8_t mac[6], const struct pci_ids *ids)
{
        uint16_t sum = 0;

        for (unsigned i = 0; i < 3; i++)
                rom->word[i] = (uint16_t)(mac[2 * i] | mac[2 * i + 1] << 8);
        rom->word[WORD_INIT_CONTROL_1] = 0x4408;
        rom->word[WORD_SUBSYSTEM] = ids->subdevice;
        rom->word[WORD_SUBVENDOR] = ids->subvendor;
        rom->word[WORD_DEVICE] = ids->device;
        rom->word[WORD_VENDOR] = ids->vendor;
        rom->word[WORD_INIT_CONTROL_2] = 0x3040; /* pause frames both ways */
        for (unsigned i = 0; i < WORD_CHECKSUM; i++)
                sum = (uint16_t)(sum + rom->word[i]);
        rom->word[WORD_CHECKSUM] = (uint16_t)(EEPROM_SUM - sum);
}

/* A command begins with the first 1; its last bit decides whether words are to be shifted out. */
static void
eeprom_shift_in(struct e1000_eeprom *rom, bool bit)
{
        if (rom->bits == MICROWIRE_COMMAND_BITS || (rom->bits == 0 && !bit))
                return;
        rom->shift = rom->shift << 1 | bit;
        if (++rom->bits != MICROWIRE_COMMAND_BITS)
                return;
        rom->reading = rom->shift >> 6 == MICROWIRE_READ;
        rom->address = rom->shift & (E1000_EEPROM_WORDS - 1);
        rom->out_bits = 0;
}

static void
eeprom_shift_out(struct e1000_eeprom *rom)
{
        rom->out = rom->word[rom->address] >> (15 - rom->out_bits) & 1;
        if (++rom->out_bits < 16)
                return;
        rom->out_bits = 0;
        rom->address = (rom->address + 1) % E1000_EEPROM_WORDS;
}

void
e1000_eeprom_write_pins(struct e1000_eeprom *rom, uint32_t value)
{
        uint32_t rising = value & ~rom->pins;

        rom->pins = value & (EECD_SK | EECD_CS | EECD_DI | EECD_FWE | EECD_REQ);
        if (!(value & EECD_CS) || (rising & EECD_CS)) {
                rom->shift = rom->bits = 0;
                rom->reading = false;
                rom->out = true; /* ready */
        }
        if (!(value & EECD_CS) || !(rising & EECD_SK))
                return;
        if (rom->reading)
                eeprom_shift_out(rom);
        else
                eeprom_shift_in(rom, value & EECD_DI);
}

uint32_t
e1000_eeprom_read_pins(const struct e1000_eeprom *rom)
{
        return rom->pins | EECD_PRES | (rom->pins & EECD_REQ ? EECD_GNT : 0) | (rom->out ? EECD_DO : 0);
}

uint32_t
e1000_eeprom_read_word(const struct e1000_eeprom *rom, uint32_t eerd)
{
        unsigned address = eerd >> 8 & 0xff;
        uint32_t word = address < E1000_EEPROM_WORDS ? rom->word[address] : 0xffff;

        return eerd & EERD_START ? word << 16 | (eerd & 0xff00) | EERD_DONE : eerd & 0xff00;
}

void
e1000_phy_reset(struct e1000 *nic)
{
        static const uint16_t values[E1000_PHY_REGS] = {
                [PHY_CONTROL] = 0x1140, /* negotiates; 1000 Mb/s, full duplex */
                [PHY_STATUS] = 0x7949,
                [2] = 0x0141,           /* 88E1011 */
                [3] = 0x0c20,
                [4] = 0x0de1,           /* what we offer, and the partner */
                [5] = 0x45e1,
                [9] = 0x0e00,
                [10] = 0x3c00,
                [15] = 0x3000,
                [16] = 0x0360,
                [PHY_SPECIFIC] = 0xa000,
                [20] = 0x0d60,
        };

        memcpy(nic->phy, values, sizeof(nic->phy));
}

static uint16_t
phy_read(const struct e1000 *nic, unsigned number)
{
        uint16_t value = nic->phy[number];

        if (!nic->link)
                return value;
        if (number == PHY_STATUS)
                return value | PHY_STATUS_DONE | PHY_STATUS_LINK;
        return number == PHY_SPECIFIC ? value | PHY_SPECIFIC_LINK : value;
}

static void
phy_write(struct e1000 *nic, unsigned number, uint16_t value)
{
        if (number == PHY_STATUS || number == 2 || number == 3 || number == PHY_SPECIFIC)
                return;
        if (number == PHY_CONTROL && (value & PHY_CONTROL_RESET))
                e1000_phy_reset(nic);
        else
                nic->phy[number] = number == PHY_CONTROL ? value & (uint16_t)~PHY_CONTROL_RENEG : value;
        /* The partner answers at once. */
        if (number == PHY_CONTROL && (value & (PHY_CONTROL_RESET | PHY_CONTROL_RENEG)))
                e1000_raise(nic, ICR_LSC);
}

/* MDI control (13.4.8): the access is done when the write is. */
void
e1000_mdic_write(struct e1000 *nic, uint32_t value)
{
        unsigned number = value >> 16 & 31;
        unsigned op = value >> 26 & 3;
        uint32_t answer = (value & 0x2fffffff) | MDIC_READY;

        if ((value >> 21 & 31) != PHY_ADDRESS)
                answer |= MDIC_ERROR;
        else if (op == MDIC_OP_READ)
                answer = (answer & 0xffff0000) | phy_read(nic, number);
        else if (op == MDIC_OP_WRITE)
                phy_write(nic, number, (uint16_t)value);
        *e1000_reg(nic, E1000_MDIC) = answer;
        if (value & MDIC_INTERRUPT)
                e1000_raise(nic, ICR_MDAC);
}
