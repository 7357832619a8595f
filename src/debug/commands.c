/* SPDX-License-Identifier: BSD-2-Clause */
/* What each packet does.  A packet that is not known here gets the empty reply, as the protocol wants. */
#include "base/util.h"
#include "debug/private.h"
#include "debug/regs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define READ_MAX (PACKET_MAX / 2 - 8)

/* Replies: an error number, OK, or what was put. */
#define EBAD "E16" /* malformed */
#define EMEM "E0e" /* no such memory */
#define EFULL "E1c" /* no debug register for it */

/* True: a reply was put. */
typedef bool command_fn(struct stub *stub, const char *args, struct packet_writer *w);

static bool
reply(struct packet_writer *w, const char *text)
{
        packet_put(w, text);
        return true;
}

/* ---- registers ---- */

static bool
cmd_read_all(struct stub *stub, const char *args, struct packet_writer *w)
{
        uint8_t bytes[DEBUG_REG_BYTES_MAX];

        for (unsigned i = 0; i < debug_reg_count(); i++) {
                unsigned len = debug_reg_read(stub_state(stub), i, bytes);

                packet_put_hex(w, bytes, len);
        }
        return true;
}

static bool
finish_write(struct stub *stub, struct packet_writer *w)
{
        return reply(w, stub_state_changed(stub) == 0 ? "OK" : EBAD);
}

static bool
cmd_write_all(struct stub *stub, const char *args, struct packet_writer *w)
{
        uint8_t bytes[DEBUG_REG_BYTES_MAX];

        for (unsigned i = 0; i < debug_reg_count() && *args != '\0'; i++) {
                if (!packet_hex_bytes(&args, bytes, debug_reg_bytes(i))) {
                        stub->st_vcpu = -1;
                        return reply(w, EBAD);
                }
                debug_reg_write(stub_state(stub), i, bytes);
        }
        return finish_write(stub, w);
}

static bool
cmd_read_reg(struct stub *stub, const char *args, struct packet_writer *w)
{
        uint8_t bytes[DEBUG_REG_BYTES_MAX];
        uint64_t reg;
        unsigned len;

        if (!packet_hex_u64(&args, &reg) || reg >= debug_reg_count())
                return reply(w, EBAD);
        len = debug_reg_read(stub_state(stub), (unsigned)reg, bytes);
        packet_put_hex(w, bytes, len);
        return true;
}

static bool
cmd_write_reg(struct stub *stub, const char *args, struct packet_writer *w)
{
        uint8_t bytes[DEBUG_REG_BYTES_MAX];
        uint64_t reg;

        if (!packet_hex_u64(&args, &reg) || reg >= debug_reg_count() || !packet_word(&args, "=") ||
            !packet_hex_bytes(&args, bytes, debug_reg_bytes((unsigned)reg)) || *args != '\0')
                return reply(w, EBAD);
        debug_reg_write(stub_state(stub), (unsigned)reg, bytes);
        return finish_write(stub, w);
}

/* ---- memory ---- */

static bool
address_and_length(const char **args, uint64_t *ret_address, uint64_t *ret_len)
{
        return packet_hex_u64(args, ret_address) && packet_word(args, ",") && packet_hex_u64(args, ret_len);
}

static bool
read_memory(struct stub *stub, const char *args, struct packet_writer *w, bool binary)
{
        uint64_t address, len;
        size_t done;
        uint8_t *buf;

        if (!address_and_length(&args, &address, &len) || *args != '\0')
                return reply(w, EBAD);
        if (len > READ_MAX)
                len = READ_MAX;
        buf = malloc(len + 1);
        if (buf == NULL)
                return reply(w, EMEM);
        if (stub_read(stub, address, buf, len, &done) != 0) {
                packet_put(w, EMEM);
        } else if (binary) {
                packet_put(w, "b");
                packet_put_binary(w, buf, done);
        } else {
                packet_put_hex(w, buf, done);
        }
        free(buf);
        return true;
}

static bool
cmd_read_memory(struct stub *stub, const char *args, struct packet_writer *w)
{
        return read_memory(stub, args, w, false);
}

static bool
cmd_read_binary(struct stub *stub, const char *args, struct packet_writer *w)
{
        return read_memory(stub, args, w, true);
}

static bool
write_memory(struct stub *stub, gva_t address, const void *bytes, size_t len, struct packet_writer *w)
{
        return reply(w, stub_write(stub, address, bytes, len) == 0 ? "OK" : EMEM);
}

static bool
cmd_write_memory(struct stub *stub, const char *args, struct packet_writer *w)
{
        uint64_t address, len;
        uint8_t *buf;

        if (!address_and_length(&args, &address, &len) || !packet_word(&args, ":") || len > PACKET_MAX / 2 ||
            strlen(args) != 2 * len)
                return reply(w, EBAD);
        buf = malloc(len + 1);
        if (buf == NULL)
                return reply(w, EMEM);
        if (packet_hex_bytes(&args, buf, len))
                write_memory(stub, address, buf, len, w);
        else
                packet_put(w, EBAD);
        free(buf);
        return true;
}

static bool
cmd_write_binary(struct stub *stub, const char *args, struct packet_writer *w)
{
        const char *end = (const char *)stub->reader.data + stub->reader.len;
        uint64_t address, len;

        if (!address_and_length(&args, &address, &len) || !packet_word(&args, ":") || len != (size_t)(end - args))
                return reply(w, EBAD);
        return write_memory(stub, address, args, len, w);
}

/* ---- breakpoints ---- */

struct point {
        struct cpu_breakpoint bp;
        bool soft;
};

static bool
parse_point(const char *args, struct point *p)
{
        static const uint8_t kinds[] = { CPU_BP_EXEC, CPU_BP_EXEC, CPU_BP_WRITE, CPU_BP_READ, CPU_BP_ACCESS };
        unsigned type = (unsigned)(*args - '0');
        uint64_t length;

        if (type >= ARRAY_LEN(kinds))
                return false;
        args++;
        if (!packet_word(&args, ",") || !address_and_length(&args, &p->bp.address, &length) || length > UINT32_MAX)
                return false;
        p->bp.kind = kinds[type];
        p->bp.length = p->bp.kind == CPU_BP_EXEC ? 1 : (uint32_t)length;
        p->soft = type == 0;
        return true;
}

static size_t
find_point(const struct stub *stub, const struct point *p)
{
        size_t i;

        for (i = 0; i < stub->point_count; i++) {
                const struct cpu_breakpoint *b = &stub->points[i];

                if (b->address == p->bp.address && b->length == p->bp.length && b->kind == p->bp.kind &&
                    stub->soft_points[i] == p->soft)
                        break;
        }
        return i;
}

static int
grow_points(struct stub *stub)
{
        size_t room = stub->point_room == 0 ? 16 : 2 * stub->point_room;
        struct cpu_breakpoint *points;
        bool *soft_points;

        if (stub->point_count < stub->point_room)
                return 0;
        points = realloc(stub->points, room * sizeof(*points));
        if (points == NULL)
                return -ENOMEM;
        stub->points = points;
        soft_points = realloc(stub->soft_points, room * sizeof(*soft_points));
        if (soft_points == NULL)
                return -ENOMEM;
        stub->soft_points = soft_points;
        stub->point_room = room;
        return 0;
}

/* What debug registers cannot watch: SDM 3B 17.2.5. */
static bool
point_fits(const struct stub *stub, const struct cpu_breakpoint *b)
{
        bool length = b->length == 1 || b->length == 2 || b->length == 4 || b->length == 8;

        if (stub->config.points_max == 0)
                return true;
        return stub->point_count < stub->config.points_max && length && b->address % b->length == 0;
}

static bool
cmd_insert(struct stub *stub, const char *args, struct packet_writer *w)
{
        struct point p;
        uint8_t byte;
        size_t done;

        if (!parse_point(args, &p))
                return *args >= '0' && *args <= '4' ? reply(w, EBAD) : true;
        if (p.bp.length == 0)
                return reply(w, EBAD);
        /* A software breakpoint stands in memory that is there; a hardware one may wait for it. */
        if (p.soft && stub_read(stub, p.bp.address, &byte, 1, &done) != 0)
                return reply(w, EMEM);
        if (find_point(stub, &p) < stub->point_count)
                return reply(w, "OK");
        if (!point_fits(stub, &p.bp))
                return reply(w, EFULL);
        if (grow_points(stub) != 0)
                return reply(w, EMEM);
        stub->points[stub->point_count] = p.bp;
        stub->soft_points[stub->point_count++] = p.soft;
        stub->points_dirty = true;
        return reply(w, "OK");
}

static bool
cmd_remove(struct stub *stub, const char *args, struct packet_writer *w)
{
        struct point p;
        size_t i;

        if (!parse_point(args, &p))
                return *args >= '0' && *args <= '4' ? reply(w, EBAD) : true;
        i = find_point(stub, &p);
        if (i == stub->point_count)
                return reply(w, "OK");
        stub->point_count--;
        stub->points[i] = stub->points[stub->point_count];
        stub->soft_points[i] = stub->soft_points[stub->point_count];
        stub->points_dirty = true;
        return reply(w, "OK");
}

/* ---- threads ---- */

static bool
is_thread(const struct stub *stub, int64_t thread)
{
        return thread >= 1 && thread <= (int64_t)stub->config.vcpus;
}

static bool
cmd_set_thread(struct stub *stub, const char *args, struct packet_writer *w)
{
        char which = *args;
        int64_t thread;

        if (which != 'g' && which != 'c')
                return reply(w, EBAD);
        args++;
        if (!packet_thread(&args, &thread) || *args != '\0' || (thread > 0 && !is_thread(stub, thread)))
                return reply(w, EBAD);
        if (thread > 0 && which == 'g')
                stub->vcpu = (unsigned)(thread - 1);
        else if (thread > 0)
                stub->step_vcpu = (unsigned)(thread - 1);
        return reply(w, "OK");
}

static bool
cmd_thread_alive(struct stub *stub, const char *args, struct packet_writer *w)
{
        int64_t thread;

        return reply(w, packet_thread(&args, &thread) && is_thread(stub, thread) ? "OK" : EBAD);
}

static void
put_thread_list(struct stub *stub, struct packet_writer *w)
{
        for (unsigned i = 0; i < stub->config.vcpus; i++)
                packet_printf(w, "%c%x", i == 0 ? 'm' : ',', i + 1);
}

static void
put_thread_info(struct stub *stub, const char *args, struct packet_writer *w)
{
        static const char *const states[] = { "running", "waits for INIT", "waits for SIPI", "halted" };
        unsigned keep = stub->vcpu;
        const struct x86_state *st;
        int64_t thread;
        char text[64];

        if (!packet_thread(&args, &thread) || !is_thread(stub, thread)) {
                packet_put(w, EBAD);
                return;
        }
        stub->vcpu = (unsigned)(thread - 1);
        st = stub_state(stub);
        snprintf(text, sizeof(text), "vCPU %u, CPL %u, %s", stub->vcpu, x86_cpl(st),
            st->mp_state < ARRAY_LEN(states) ? states[st->mp_state] : "?");
        stub->vcpu = keep;
        packet_put_hex(w, text, strlen(text));
}

/* ---- going on ---- */

static bool
go(struct stub *stub, const char *args, struct packet_writer *w, enum stub_action action)
{
        enum stub_action actions[STUB_VCPUS_MAX];
        uint64_t address;

        if (*args != '\0') {
                if (!packet_hex_u64(&args, &address) || *args != '\0')
                        return reply(w, EBAD);
                stub_state(stub)->rip = address;
                if (stub_state_changed(stub) != 0)
                        return reply(w, EBAD);
        }
        for (unsigned i = 0; i < STUB_VCPUS_MAX; i++)
                actions[i] = action == STUB_STEP ? STUB_HOLD : STUB_CONTINUE;
        if (action == STUB_STEP)
                actions[stub->step_vcpu] = STUB_STEP;
        stub_go(stub, actions);
        return false;
}

static bool
cmd_continue(struct stub *stub, const char *args, struct packet_writer *w)
{
        return go(stub, args, w, STUB_CONTINUE);
}

static bool
cmd_step(struct stub *stub, const char *args, struct packet_writer *w)
{
        return go(stub, args, w, STUB_STEP);
}

/* C and S: signals mean nothing to a processor. */
static const char *
skip_signal(const char *args)
{
        const char *semicolon = strchr(args, ';');

        return semicolon == NULL ? "" : semicolon + 1;
}

static bool
cmd_continue_signal(struct stub *stub, const char *args, struct packet_writer *w)
{
        return go(stub, skip_signal(args), w, STUB_CONTINUE);
}

static bool
cmd_step_signal(struct stub *stub, const char *args, struct packet_writer *w)
{
        return go(stub, skip_signal(args), w, STUB_STEP);
}

/* One action of vCont; the leftmost that fits a thread counts. */
static bool
parse_action(struct stub *stub, const char **args, enum stub_action *actions, bool *decided)
{
        enum stub_action action;
        int64_t thread = -1;
        uint64_t signal;
        char letter = **args;

        if (letter != 'c' && letter != 'C' && letter != 's' && letter != 'S')
                return false;
        action = letter == 's' || letter == 'S' ? STUB_STEP : STUB_CONTINUE;
        (*args)++;
        if ((letter == 'C' || letter == 'S') && !packet_hex_u64(args, &signal))
                return false;
        if (packet_word(args, ":") && !packet_thread(args, &thread))
                return false;
        if (thread > 0 && !is_thread(stub, thread))
                return false;
        for (unsigned i = 0; i < stub->config.vcpus; i++) {
                bool fits = thread == -1 || thread == (int64_t)i + 1 || (thread == 0 && i == stub->step_vcpu);

                if (fits && !decided[i]) {
                        actions[i] = action;
                        decided[i] = true;
                }
        }
        return true;
}

static bool
cmd_vcont(struct stub *stub, const char *args, struct packet_writer *w)
{
        enum stub_action actions[STUB_VCPUS_MAX] = { STUB_HOLD };
        bool decided[STUB_VCPUS_MAX] = { false };
        bool any = false;

        while (packet_word(&args, ";")) {
                if (!parse_action(stub, &args, actions, decided))
                        return reply(w, EBAD);
                any = true;
        }
        if (!any || *args != '\0')
                return reply(w, EBAD);
        for (unsigned i = 0; i < stub->config.vcpus; i++)
                if (actions[i] != STUB_HOLD) {
                        stub_go(stub, actions);
                        return false;
                }
        return reply(w, EBAD); /* nothing would ever stop again */
}

static bool
cmd_why(struct stub *stub, const char *args, struct packet_writer *w)
{
        stub_put_stop(stub, w);
        return true;
}

static bool
cmd_detach(struct stub *stub, const char *args, struct packet_writer *w)
{
        stub_release(stub);
        return reply(w, "OK");
}

static bool
cmd_kill(struct stub *stub, const char *args, struct packet_writer *w)
{
        stub->config.ops->poweroff(stub->config.ctx);
        return false;
}

static bool
cmd_vkill(struct stub *stub, const char *args, struct packet_writer *w)
{
        stub->config.ops->poweroff(stub->config.ctx);
        return reply(w, "OK");
}

static bool
cmd_vctrlc(struct stub *stub, const char *args, struct packet_writer *w)
{
        /* Two replies: OK, and the stop. */
        packet_put(w, "OK");
        return true;
}

/* ---- queries ---- */

static bool
cmd_supported(struct stub *stub, const char *args, struct packet_writer *w)
{
        packet_printf(w,
            "PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;swbreak+;hwbreak+;vContSupported+;"
            "binary-upload+;multiprocess-;QNonStop-",
            PACKET_MAX);
        return true;
}

static bool
cmd_no_ack(struct stub *stub, const char *args, struct packet_writer *w)
{
        stub->no_ack = true;
        stub->reader.check = false;
        return reply(w, "OK");
}

static bool
cmd_features(struct stub *stub, const char *args, struct packet_writer *w)
{
        uint64_t offset, len;
        size_t left;

        if (!address_and_length(&args, &offset, &len) || *args != '\0')
                return reply(w, EBAD);
        if (offset > stub->target_xml_len)
                return reply(w, EBAD);
        left = stub->target_xml_len - offset;
        if (len > PACKET_MAX / 2 - 8)
                len = PACKET_MAX / 2 - 8;
        packet_put(w, len < left ? "m" : "l");
        packet_put_binary(w, stub->target_xml + offset, len < left ? len : left);
        return true;
}

static bool
cmd_rcmd(struct stub *stub, const char *args, struct packet_writer *w)
{
        size_t len = strlen(args) / 2, out_len = 0;
        char *line, *text = NULL;
        FILE *out;

        if (len == 0 || len > 1024)
                return reply(w, EBAD);
        line = calloc(1, len + 1);
        out = open_memstream(&text, &out_len);
        if (line == NULL || out == NULL || !packet_hex_bytes(&args, line, len) || *args != '\0') {
                packet_put(w, EBAD);
        } else {
                stub_monitor(stub, line, out);
                fflush(out);
                if (out_len > READ_MAX)
                        out_len = READ_MAX;
                if (out_len == 0)
                        packet_put(w, "OK");
                else
                        packet_put_hex(w, text, out_len);
        }
        if (out != NULL)
                fclose(out);
        free(text);
        free(line);
        return true;
}

static bool
cmd_attached(struct stub *stub, const char *args, struct packet_writer *w)
{
        return reply(w, "1");
}

static bool
cmd_current(struct stub *stub, const char *args, struct packet_writer *w)
{
        packet_printf(w, "QC%x", stub->vcpu + 1);
        return true;
}

static bool
cmd_first_threads(struct stub *stub, const char *args, struct packet_writer *w)
{
        put_thread_list(stub, w);
        return true;
}

static bool
cmd_more_threads(struct stub *stub, const char *args, struct packet_writer *w)
{
        return reply(w, "l");
}

static bool
cmd_thread_info(struct stub *stub, const char *args, struct packet_writer *w)
{
        put_thread_info(stub, args, w);
        return true;
}

static bool
cmd_vcont_query(struct stub *stub, const char *args, struct packet_writer *w)
{
        return reply(w, "vCont;c;C;s;S");
}

/* Longer words first where one begins with another. */
static const struct {
        const char *word;
        bool exact; /* nothing may follow it */
        command_fn *fn;
} commands[] = {
        { "?", true, cmd_why },
        { "g", true, cmd_read_all },
        { "G", false, cmd_write_all },
        { "p", false, cmd_read_reg },
        { "P", false, cmd_write_reg },
        { "m", false, cmd_read_memory },
        { "x", false, cmd_read_binary },
        { "M", false, cmd_write_memory },
        { "X", false, cmd_write_binary },
        { "Z", false, cmd_insert },
        { "z", false, cmd_remove },
        { "H", false, cmd_set_thread },
        { "T", false, cmd_thread_alive },
        { "c", false, cmd_continue },
        { "C", false, cmd_continue_signal },
        { "s", false, cmd_step },
        { "S", false, cmd_step_signal },
        { "D", true, cmd_detach },
        { "k", true, cmd_kill },
        { "vKill;", false, cmd_vkill },
        { "vCtrlC", true, cmd_vctrlc },
        { "vCont?", true, cmd_vcont_query },
        { "vCont", false, cmd_vcont },
        { "qSupported", false, cmd_supported },
        { "QStartNoAckMode", true, cmd_no_ack },
        { "qXfer:features:read:target.xml:", false, cmd_features },
        { "qRcmd,", false, cmd_rcmd },
        { "qAttached", false, cmd_attached },
        { "qfThreadInfo", true, cmd_first_threads },
        { "qsThreadInfo", true, cmd_more_threads },
        { "qThreadExtraInfo,", false, cmd_thread_info },
        { "qC", true, cmd_current },
};

bool
stub_command(struct stub *stub, struct packet_writer *w)
{
        const char *text = (const char *)stub->reader.data;

        for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
                const char *args = text;

                if (packet_word(&args, commands[i].word) && (!commands[i].exact || *args == '\0'))
                        return commands[i].fn(stub, args, w);
        }
        return true;
}
