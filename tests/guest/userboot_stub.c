/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A loader object for bhyveload -l: uses each of the callbacks, says what it
 * got, and enters a few 32-bit instructions that print "ran" and power off.
 * The interface is written down here a second time, so that the test notices
 * when the two differ.
 */
#include <stddef.h>
#include <stdint.h>

struct callbacks {
        int (*getc)(void *);
        void (*putc)(void *, int);
        int (*poll)(void *);
        int (*open)(void *, const char *, void **);
        int (*close)(void *, void *);
        int (*isdir)(void *, void *);
        int (*read)(void *, void *, void *, size_t, size_t *);
        int (*readdir)(void *, void *, uint32_t *, uint8_t *, size_t *, char *);
        int (*seek)(void *, void *, uint64_t, int);
        int (*stat)(void *, void *, int *, int *, int *, uint64_t *);
        int (*diskread)(void *, int, uint64_t, void *, size_t, size_t *);
        int (*copyin)(void *, const void *, uint64_t, size_t);
        int (*copyout)(void *, uint64_t, void *, size_t);
        void (*setreg)(void *, int, uint64_t);
        void (*setmsr)(void *, int, uint64_t);
        void (*setcr)(void *, int, uint64_t);
        void (*setgdt)(void *, uint64_t, size_t);
        void (*exec)(void *, uint64_t);
        void (*delay)(void *, int);
        void (*exit)(void *, int);
        void (*getmem)(void *, uint64_t *, uint64_t *);
        int (*diskioctl)(void *, int, unsigned long, void *);
        const char *(*getenv)(void *, int);
};

static void
put(struct callbacks *cb, void *arg, const char *s)
{
        while (*s)
                cb->putc(arg, *s++);
}

static void
put_number(struct callbacks *cb, void *arg, const char *name, uint64_t v)
{
        char digits[24], *p = digits + sizeof(digits);

        *--p = '\0';
        do {
                *--p = (char)('0' + v % 10);
        } while (v /= 10);
        put(cb, arg, name);
        put(cb, arg, "=");
        put(cb, arg, p);
        put(cb, arg, "\n");
}

static void
show_host(struct callbacks *cb, void *arg)
{
        char text[64] = "", name[4096];
        int mode, uid, gid;
        uint64_t size;
        size_t resid, len;
        uint32_t ino;
        uint8_t type;
        void *h;

        put_number(cb, arg, "outside", (uint64_t)cb->open(arg, "/../../../etc/passwd", &h));
        if (cb->open(arg, "/hello", &h) == 0) {
                cb->stat(arg, h, &mode, &uid, &gid, &size);
                cb->seek(arg, h, 6, 0);
                cb->read(arg, h, text, sizeof(text) - 1, &resid);
                put_number(cb, arg, "size", size);
                put_number(cb, arg, "regular", (mode & 0170000) == 0100000);
                put_number(cb, arg, "resid", resid);
                put(cb, arg, text);
                cb->close(arg, h);
        }
        if (cb->open(arg, "/", &h) == 0) {
                put_number(cb, arg, "isdir", (uint64_t)cb->isdir(arg, h));
                while (cb->readdir(arg, h, &ino, &type, &len, name) == 0) {
                        put(cb, arg, "entry ");
                        put(cb, arg, name);
                        put(cb, arg, type == 4 ? " d\n" : " f\n");
                }
                cb->close(arg, h);
        }
}

static void
show_disk(struct callbacks *cb, void *arg)
{
        char text[5] = "";
        uint32_t sector = 0;
        uint64_t size = 0;
        size_t resid;

        cb->diskread(arg, 0, 512, text, 4, &resid);
        put(cb, arg, text);
        put(cb, arg, "\n");
        cb->diskioctl(arg, 0, 0x40046480, &sector);
        cb->diskioctl(arg, 0, 0x40086481, &size);
        put_number(cb, arg, "sector", sector);
        put_number(cb, arg, "media", size);
        put_number(cb, arg, "other", (uint64_t)cb->diskioctl(arg, 0, 1, &size));
        put_number(cb, arg, "beyond", (uint64_t)cb->diskread(arg, 1, 0, text, 4, &resid));
}

/* mov dx,0x3f8; out "ran\n"; mov dx,0x404; mov ax,0x3400; out dx,ax; hlt */
static const unsigned char code[] = { 0x66, 0xba, 0xf8, 0x03, 0xb0, 'r', 0xee, 0xb0, 'a', 0xee,
        0xb0, 'n', 0xee, 0xb0, '\n', 0xee, 0x66, 0xba, 0x04, 0x04, 0x66, 0xb8, 0x00, 0x34, 0x66,
        0xef, 0xf4, 0xeb, 0xfd };

void loader_main(struct callbacks *cb, void *arg, int version, int ndisks);

void
loader_main(struct callbacks *cb, void *arg, int version, int ndisks)
{
        unsigned char back[sizeof(code)] = {0};
        uint64_t low, high;

        put_number(cb, arg, "version", (uint64_t)version);
        put_number(cb, arg, "disks", (uint64_t)ndisks);
        for (int i = 0; cb->getenv(arg, i); i++) {
                put(cb, arg, cb->getenv(arg, i));
                put(cb, arg, "\n");
        }
        show_host(cb, arg);
        if (ndisks > 0)
                show_disk(cb, arg);
        cb->getmem(arg, &low, &high);
        put_number(cb, arg, "low", low);
        put_number(cb, arg, "high", high);
        cb->copyin(arg, code, 0xc0100000 & 0xffffffff, sizeof(code)); /* masked to 0x40100000 */
        put_number(
            cb, arg, "toofar", (uint64_t)cb->copyin(arg, code, 0x7ffff000, sizeof(code)) != 0);
        cb->copyin(arg, code, 0x80100000, sizeof(code));
        cb->copyout(arg, 0x100000, back, sizeof(back));
        put_number(cb, arg, "same", back[5] == 'r' && back[sizeof(back) - 1] == 0xfd);
        put(cb, arg, "key?\n");
        int c = cb->getc(arg);
        if (c == 'q')
                cb->exit(arg, 1);
        if (c == 'r')
                cb->exit(arg, 2);
        if (c == 'c')
                *(volatile int *)8 = 1;
        cb->setreg(arg, 4, 0x1ff0);
        cb->setgdt(arg, 0x3000, 32);
        cb->exec(arg, 0x100000);
}
