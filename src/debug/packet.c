/* SPDX-License-Identifier: BSD-2-Clause */
#include "debug/packet.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { STATE_IDLE, STATE_DATA, STATE_SUM1, STATE_SUM2 };

#define ESCAPE '}'

static int
hex_digit(uint8_t c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

/* ---- reading ---- */

void
packet_reader_reset(struct packet_reader *reader)
{
        reader->state = STATE_IDLE;
        reader->len = 0;
        reader->check = true;
}

static void
begin_data(struct packet_reader *r)
{
        r->state = STATE_DATA;
        r->len = 0;
        r->sum = 0;
        r->escaped = r->overflow = false;
}

static enum packet_kind
feed_idle(struct packet_reader *r, uint8_t byte)
{
        switch (byte) {
        case '$':
                begin_data(r);
                return PACKET_NONE;
        case '+':
                return PACKET_ACK;
        case '-':
                return PACKET_NAK;
        case 3:
                return PACKET_BREAK;
        default:
                return PACKET_NONE; /* noise between packets */
        }
}

static void
feed_data(struct packet_reader *r, uint8_t byte)
{
        if (byte == '#') {
                r->state = STATE_SUM1;
                return;
        }
        /* An unescaped $ starts anew: what came before was cut off. */
        if (byte == '$') {
                begin_data(r);
                return;
        }
        r->sum = (uint8_t)(r->sum + byte);
        if (byte == ESCAPE && !r->escaped) {
                r->escaped = true;
                return;
        }
        if (r->escaped)
                byte ^= 0x20;
        r->escaped = false;
        if (r->len == PACKET_MAX)
                r->overflow = true;
        else
                r->data[r->len++] = byte;
}

static enum packet_kind
feed_sum(struct packet_reader *r, uint8_t byte)
{
        int digit = hex_digit(byte);

        if (r->state == STATE_SUM1) {
                r->given = (uint8_t)((unsigned)digit << 4);
                r->overflow = r->overflow || digit < 0;
                r->state = STATE_SUM2;
                return PACKET_NONE;
        }
        r->state = STATE_IDLE;
        r->data[r->len] = 0;
        if (r->overflow || digit < 0 || (r->check && (r->given | digit) != r->sum))
                return PACKET_BAD;
        return PACKET_DATA;
}

enum packet_kind
packet_feed(struct packet_reader *reader, uint8_t byte)
{
        switch (reader->state) {
        case STATE_IDLE:
                return feed_idle(reader, byte);
        case STATE_DATA:
                feed_data(reader, byte);
                return PACKET_NONE;
        default:
                return feed_sum(reader, byte);
        }
}

bool
packet_word(const char **text, const char *word)
{
        size_t len = strlen(word);

        if (strncmp(*text, word, len) != 0)
                return false;
        *text += len;
        return true;
}

bool
packet_hex_u64(const char **text, uint64_t *ret_value)
{
        const char *p = *text;
        uint64_t value = 0;

        for (; hex_digit((uint8_t)*p) >= 0; p++) {
                if (value >> 60)
                        return false;
                value = value << 4 | (uint64_t)hex_digit((uint8_t)*p);
        }
        if (p == *text)
                return false;
        *text = p;
        *ret_value = value;
        return true;
}

bool
packet_hex_bytes(const char **text, void *bytes, size_t len)
{
        const uint8_t *p = (const uint8_t *)*text;
        uint8_t *to = bytes;

        for (size_t i = 0; i < 2 * len; i++)
                if (hex_digit(p[i]) < 0)
                        return false;
        for (size_t i = 0; i < len; i++)
                to[i] = (uint8_t)(hex_digit(p[2 * i]) << 4 | hex_digit(p[2 * i + 1]));
        *text += 2 * len;
        return true;
}

bool
packet_thread(const char **text, int64_t *ret_thread)
{
        uint64_t value;

        if (packet_word(text, "-1")) {
                *ret_thread = -1;
                return true;
        }
        if (!packet_hex_u64(text, &value) || value > INT32_MAX)
                return false;
        *ret_thread = (int64_t)value;
        return true;
}

/* ---- writing ---- */

static void
put_byte(struct packet_writer *w, char c)
{
        /* Room for the checksum stays. */
        if (w->len + 4 > w->size)
                w->full = true;
        else
                w->data[w->len++] = c;
}

void
packet_begin(struct packet_writer *writer, char *buf, size_t size)
{
        *writer = (struct packet_writer){ .data = buf, .size = size };
        put_byte(writer, '$');
}

void
packet_put(struct packet_writer *writer, const char *text)
{
        packet_put_binary(writer, text, strlen(text));
}

void
packet_printf(struct packet_writer *writer, const char *fmt, ...)
{
        char text[512];
        va_list ap;

        va_start(ap, fmt);
        if (vsnprintf(text, sizeof(text), fmt, ap) >= (int)sizeof(text))
                writer->full = true;
        va_end(ap);
        packet_put(writer, text);
}

void
packet_put_hex(struct packet_writer *writer, const void *bytes, size_t len)
{
        static const char digits[] = "0123456789abcdef";
        const uint8_t *p = bytes;

        if (writer->len + 2 * len + 4 > writer->size) {
                writer->full = true;
                return;
        }
        for (size_t i = 0; i < len; i++) {
                writer->data[writer->len++] = digits[p[i] >> 4];
                writer->data[writer->len++] = digits[p[i] & 15];
        }
}

void
packet_put_binary(struct packet_writer *writer, const void *bytes, size_t len)
{
        const char *p = bytes;

        for (size_t i = 0; i < len; i++) {
                if (p[i] == '#' || p[i] == '$' || p[i] == ESCAPE || p[i] == '*') {
                        put_byte(writer, ESCAPE);
                        put_byte(writer, (char)(p[i] ^ 0x20));
                } else {
                        put_byte(writer, p[i]);
                }
        }
}

void
packet_end(struct packet_writer *writer)
{
        static const char digits[] = "0123456789abcdef";
        uint8_t sum = 0;

        if (writer->full) {
                memcpy(writer->data, "$E07", 4);
                writer->len = 4;
        }
        for (size_t i = 1; i < writer->len; i++)
                sum = (uint8_t)(sum + (uint8_t)writer->data[i]);
        writer->data[writer->len++] = '#';
        writer->data[writer->len++] = digits[sum >> 4];
        writer->data[writer->len++] = digits[sum & 15];
}
