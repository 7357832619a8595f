/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/md5.h"
#include "base/bytes.h"

#define MD5_BLOCK 64u

/* RFC 1321, 3.4: the integer part of 2^32 times |sin(i + 1)|. */
static const uint32_t md5_sines[64] = {
        0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a,
        0xa8304613, 0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be,
        0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340,
        0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
        0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8,
        0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c,
        0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa,
        0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
        0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92,
        0xffeff47d, 0x85845dd1, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1,
        0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

static const uint8_t md5_shifts[4][4] = {
        { 7, 12, 17, 22 },
        { 5, 9, 14, 20 },
        { 4, 11, 16, 23 },
        { 6, 10, 15, 21 },
};

static uint32_t
rotate_left(uint32_t v, unsigned bits)
{
        return v << bits | v >> (32 - bits);
}

/* The round's function of three words, and the index of the input word. */
static uint32_t
md5_mix(unsigned i, const uint32_t s[4], unsigned *ret_word)
{
        switch (i / 16) {
        case 0:
                *ret_word = i;
                return (s[1] & s[2]) | (~s[1] & s[3]);
        case 1:
                *ret_word = (5 * i + 1) % 16;
                return (s[3] & s[1]) | (~s[3] & s[2]);
        case 2:
                *ret_word = (3 * i + 5) % 16;
                return s[1] ^ s[2] ^ s[3];
        default:
                *ret_word = 7 * i % 16;
                return s[2] ^ (s[1] | ~s[3]);
        }
}

static void
md5_block(uint32_t state[4], const uint8_t *block)
{
        uint32_t s[4] = { state[0], state[1], state[2], state[3] };

        for (unsigned i = 0; i < 64; i++) {
                unsigned word;
                uint32_t f = md5_mix(i, s, &word) + s[0] + md5_sines[i] + get_le32(block + 4 * word);

                s[0] = s[3];
                s[3] = s[2];
                s[2] = s[1];
                s[1] += rotate_left(f, md5_shifts[i / 16][i % 4]);
        }
        for (unsigned i = 0; i < 4; i++)
                state[i] += s[i];
}

void
md5_digest(const void *data, size_t len, uint8_t ret_digest[16])
{
        uint32_t state[4] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476 };
        const uint8_t *p = data;
        size_t left = len;
        uint8_t tail[2 * MD5_BLOCK] = { 0 };
        size_t tail_len;

        for (; left >= MD5_BLOCK; left -= MD5_BLOCK, p += MD5_BLOCK)
                md5_block(state, p);
        memcpy(tail, p, left);
        tail[left] = 0x80;
        tail_len = left + 9 <= MD5_BLOCK ? MD5_BLOCK : 2 * MD5_BLOCK;
        put_le64(tail + tail_len - 8, (uint64_t)len * 8);
        for (size_t i = 0; i < tail_len; i += MD5_BLOCK)
                md5_block(state, tail + i);
        for (unsigned i = 0; i < 4; i++)
                put_le32(ret_digest + 4 * i, state[i]);
}
