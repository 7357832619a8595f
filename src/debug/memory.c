/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest memory as the debugger asks for it: by linear address of the current vCPU, or physical. */
#include "base/util.h"
#include "debug/private.h"
#include "x86/paging.h"

#include <errno.h>

/* The physical address of @address and how many bytes from there lie in one mapping. */
static int
translate(struct stub *stub, gva_t address, gpa_t *ret_gpa, uint64_t *ret_room)
{
        struct x86_walk walk;

        *ret_room = MEM_PAGE_SIZE - address % MEM_PAGE_SIZE;
        *ret_gpa = address;
        if (stub->physical)
                return 0;
        if (x86_walk(stub->config.mem, stub_state(stub), address, X86_WALK_AC, &walk) != 0)
                return -EFAULT;
        *ret_gpa = walk.gpa;
        return 0;
}

int
stub_read(struct stub *stub, gva_t address, void *buf, size_t len, size_t *ret_done)
{
        size_t done = 0;

        while (done < len) {
                uint64_t room;
                gpa_t gpa;
                size_t part;

                if (translate(stub, address + done, &gpa, &room) != 0)
                        break;
                part = len - done < room ? len - done : room;
                if (mem_read(stub->config.mem, gpa, (uint8_t *)buf + done, part) != 0)
                        break;
                done += part;
        }
        *ret_done = done;
        return done == 0 && len != 0 ? -EFAULT : 0;
}

/* Every page is looked at before a byte is written. */
int
stub_write(struct stub *stub, gva_t address, const void *buf, size_t len)
{
        for (int pass = 0; pass < 2; pass++) {
                for (size_t done = 0; done < len;) {
                        uint64_t room;
                        gpa_t gpa;
                        size_t part;

                        if (translate(stub, address + done, &gpa, &room) != 0)
                                return -EFAULT;
                        part = len - done < room ? len - done : room;
                        if (mem_kind(stub->config.mem, gpa) != MEM_RAM)
                                return -EFAULT;
                        if (pass == 1 && mem_write(stub->config.mem, gpa, (const uint8_t *)buf + done, part) != 0)
                                return -EFAULT;
                        done += part;
                }
        }
        return 0;
}
