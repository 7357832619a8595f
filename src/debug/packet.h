/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packets of GDB's remote protocol: framing, checksums, escapes, hexadecimal.
 * Pure: no descriptors, no guest.  The reader takes one byte at a time from
 * whoever is out there; whatever arrives, it never holds more than PACKET_MAX bytes.
 */
#ifndef DEBUG_PACKET_H
#define DEBUG_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACKET_MAX 0x20000u /* bytes between $ and #, both ways */

enum packet_kind {
        PACKET_NONE,  /* more is needed */
        PACKET_DATA,  /* a packet: data, len */
        PACKET_ACK,   /* + */
        PACKET_NAK,   /* - */
        PACKET_BREAK, /* 0x03 outside a packet */
        PACKET_BAD,   /* a packet with a wrong checksum, or one that is too long */
};

struct packet_reader {
        uint8_t data[PACKET_MAX + 1]; /* with escapes undone and a 0 behind it */
        size_t len;
        uint8_t state;
        uint8_t sum;
        uint8_t given;
        bool escaped;
        bool overflow;
        bool check; /* verify checksums: off once acknowledgements are */
};

void packet_reader_reset(struct packet_reader *reader);
enum packet_kind packet_feed(struct packet_reader *reader, uint8_t byte);

/* A reply being put together. */
struct packet_writer {
        char *data;
        size_t len, size;
        bool full; /* something did not fit: packet_end makes it an error reply */
};

void packet_begin(struct packet_writer *writer, char *buf, size_t size);
void packet_put(struct packet_writer *writer, const char *text);
/* %s and the like of printf. */
void packet_printf(struct packet_writer *writer, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void packet_put_hex(struct packet_writer *writer, const void *bytes, size_t len);
void packet_put_binary(struct packet_writer *writer, const void *bytes, size_t len);
/* Adds the checksum; the packet is writer->data, writer->len. */
void packet_end(struct packet_writer *writer);

/* ---- reading a packet's text; each moves *text on, and is false (with nothing stored) if it is malformed ---- */
bool packet_word(const char **text, const char *word);
bool packet_hex_u64(const char **text, uint64_t *ret_value);
/* @len bytes from 2 * @len digits. */
bool packet_hex_bytes(const char **text, void *bytes, size_t len);
/* A thread: -1 all, 0 any, else a number from 1. */
bool packet_thread(const char **text, int64_t *ret_thread);

#endif
