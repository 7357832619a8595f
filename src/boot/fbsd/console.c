/* SPDX-License-Identifier: BSD-2-Clause */
/* The loader's console.  See console.h. */
#include "boot/fbsd/console.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CTRL(c) ((c) & 0x1f)

/* Keys that arrive as escape sequences. */
enum key {
        KEY_NONE = 0x100,
        KEY_UP,
        KEY_DOWN,
        KEY_LEFT,
        KEY_RIGHT,
        KEY_HOME,
        KEY_END,
        KEY_DELETE,
};

struct line {
        struct console *con;
        char text[CONSOLE_LINE_MAX];
        size_t len, cursor;
        unsigned history_at; /* history_count: the line being typed */
        char typed[CONSOLE_LINE_MAX];
};

void
console_init(struct console *con, const struct console_ops *ops, void *ctx, bool interactive)
{
        *con = (struct console){
            .ops = ops,
            .ctx = ctx,
            .interactive = interactive,
            .unget = CONSOLE_TIMEOUT,
        };
}

void
console_finish(struct console *con)
{
        for (unsigned i = 0; i < con->history_count; i++)
                free(con->history[i]);
        con->history_count = 0;
}

void
console_vprintf(struct console *con, const char *fmt, va_list ap)
{
        char *text;
        int len = vasprintf(&text, fmt, ap);

        if (len < 0)
                return;
        con->ops->put(con->ctx, text, (size_t)len);
        free(text);
}

void
console_printf(struct console *con, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        console_vprintf(con, fmt, ap);
        va_end(ap);
}

int
console_get(struct console *con, int timeout_ms)
{
        if (con->unget != CONSOLE_TIMEOUT) {
                int c = con->unget;
                con->unget = CONSOLE_TIMEOUT;
                return c;
        }
        return con->ops->get(con->ctx, timeout_ms);
}

/* --- Line editing --- */

static void
put_text(struct line *l, const char *text, size_t len)
{
        l->con->ops->put(l->con->ctx, text, len);
}

static void
move_left(struct line *l, size_t n)
{
        while (n-- > 0)
                put_text(l, "\b", 1);
}

/* Shows the text from the cursor on, wiping @extra columns behind it, and goes back. */
static void
redraw_tail(struct line *l, size_t extra)
{
        size_t tail = l->len - l->cursor;

        put_text(l, l->text + l->cursor, tail);
        for (size_t i = 0; i < extra; i++)
                put_text(l, " ", 1);
        move_left(l, tail + extra);
}

static void
go_to(struct line *l, size_t pos)
{
        if (pos < l->cursor)
                move_left(l, l->cursor - pos);
        else
                put_text(l, l->text + l->cursor, pos - l->cursor);
        l->cursor = pos;
}

static void
insert_char(struct line *l, char c)
{
        if (l->len + 1 >= sizeof(l->text)) {
                put_text(l, "\a", 1);
                return;
        }
        memmove(l->text + l->cursor + 1, l->text + l->cursor, l->len - l->cursor);
        l->text[l->cursor] = c;
        l->len++;
        l->cursor++;
        put_text(l, &c, 1);
        redraw_tail(l, 0);
}

/* Removes @n characters before the cursor. */
static void
delete_before(struct line *l, size_t n)
{
        if (n > l->cursor)
                n = l->cursor;
        move_left(l, n);
        memmove(l->text + l->cursor - n, l->text + l->cursor, l->len - l->cursor);
        l->cursor -= n;
        l->len -= n;
        redraw_tail(l, n);
}

static void
delete_after(struct line *l, size_t n)
{
        if (n > l->len - l->cursor)
                n = l->len - l->cursor;
        memmove(l->text + l->cursor, l->text + l->cursor + n, l->len - l->cursor - n);
        l->len -= n;
        redraw_tail(l, n);
}

static size_t
word_before(const struct line *l)
{
        size_t at = l->cursor;

        while (at > 0 && l->text[at - 1] == ' ')
                at--;
        while (at > 0 && l->text[at - 1] != ' ')
                at--;
        return l->cursor - at;
}

static void
replace_line(struct line *l, const char *text)
{
        go_to(l, l->len);
        delete_before(l, l->len);
        l->len = l->cursor = strnlen(text, sizeof(l->text) - 1);
        memcpy(l->text, text, l->len);
        put_text(l, l->text, l->len);
}

static void
go_history(struct line *l, int step)
{
        struct console *con = l->con;

        if ((step < 0 && l->history_at == 0) || (step > 0 && l->history_at == con->history_count))
                return;
        if (l->history_at == con->history_count) {
                memcpy(l->typed, l->text, l->len);
                l->typed[l->len] = '\0';
        }
        l->history_at += (unsigned)step;
        replace_line(
            l, l->history_at == con->history_count ? l->typed : con->history[l->history_at]);
}

static void
remember(struct console *con, const char *text)
{
        unsigned n = con->history_count;

        if (text[0] == '\0' || (n > 0 && strcmp(con->history[n - 1], text) == 0))
                return;
        char *copy = strdup(text);
        if (!copy)
                return;
        if (n == CONSOLE_HISTORY) {
                free(con->history[0]);
                memmove(con->history, con->history + 1, (n - 1) * sizeof(con->history[0]));
                n--;
        }
        con->history[n] = copy;
        con->history_count = n + 1;
}

/* What follows ESC: "[A", "OA", "[3~" and the like. */
static int
read_escape(struct console *con)
{
        static const struct {
                char final;
                int key;
        } keys[] = {{'A', KEY_UP}, {'B', KEY_DOWN}, {'C', KEY_RIGHT}, {'D', KEY_LEFT},
            {'H', KEY_HOME}, {'F', KEY_END}};
        int c = console_get(con, 50);

        if (c != '[' && c != 'O')
                return c < 0 ? c : KEY_NONE;
        int digits = 0;
        for (c = console_get(con, 50); c >= '0' && c <= ';'; c = console_get(con, 50))
                digits = c >= '0' && c <= '9' ? (digits * 10 + c - '0') % 1000 : digits;
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
                if (c == keys[i].final)
                        return keys[i].key;
        }
        if (c == '~')
                return digits == 3 ? KEY_DELETE : digits == 1 ? KEY_HOME : digits == 4 ? KEY_END
                                                                                   : KEY_NONE;
        return c == CONSOLE_STOP || c == CONSOLE_END ? c : KEY_NONE;
}

static void
edit(struct line *l, int c)
{
        switch (c) {
        case CTRL('H'):
        case 0x7f:
                delete_before(l, 1);
                break;
        case CTRL('U'):
                delete_before(l, l->cursor);
                break;
        case CTRL('W'):
                delete_before(l, word_before(l));
                break;
        case CTRL('K'):
                delete_after(l, l->len);
                break;
        case CTRL('D'):
        case KEY_DELETE:
                delete_after(l, 1);
                break;
        case CTRL('A'):
        case KEY_HOME:
                go_to(l, 0);
                break;
        case CTRL('E'):
        case KEY_END:
                go_to(l, l->len);
                break;
        case CTRL('B'):
        case KEY_LEFT:
                go_to(l, l->cursor - (l->cursor > 0));
                break;
        case CTRL('F'):
        case KEY_RIGHT:
                go_to(l, l->cursor + (l->cursor < l->len));
                break;
        case CTRL('P'):
        case KEY_UP:
                go_history(l, -1);
                break;
        case CTRL('N'):
        case KEY_DOWN:
                go_history(l, 1);
                break;
        case '\t':
                insert_char(l, ' ');
                break;
        default:
                if (c >= ' ' && c < 0x100)
                        insert_char(l, (char)c);
        }
}

int
console_read_line(struct console *con, const char *prompt, char *line, size_t size)
{
        struct line l = {.con = con, .history_at = con->history_count};

        console_printf(con, "%s", prompt);
        for (;;) {
                int c = console_get(con, -1);
                if (c == 0x1b)
                        c = read_escape(con);
                if (c == CONSOLE_STOP || (c == CONSOLE_END && l.len == 0))
                        return c;
                if (c == '\r' || c == '\n' || c == CONSOLE_END)
                        break;
                edit(&l, c);
        }
        l.text[l.len] = '\0';
        console_printf(con, "\n");
        remember(con, l.text);
        snprintf(line, size, "%s", l.text);
        return 0;
}

/* --- Pager --- */

void
console_page_start(struct console *con, unsigned lines_per_page)
{
        con->lines_per_page = con->interactive ? lines_per_page : 0;
        con->lines_shown = 0;
        con->page_quit = false;
}

static void
ask_for_more(struct console *con)
{
        static const char ask[] = "--more--  <space> page down <enter> line down <q> quit ";

        console_printf(con, "%s", ask);
        for (;;) {
                int c = console_get(con, -1);
                con->page_quit = c == 'q' || c == 'Q' || c == CTRL('C') || c < 0;
                con->lines_shown = c == '\r' || c == '\n' ? con->lines_per_page - 2 : 0;
                if (con->page_quit || c == ' ' || c == '\r' || c == '\n')
                        break;
        }
        console_printf(con, "\r%*s\r", (int)sizeof(ask) - 1, "");
}

bool
console_page(struct console *con, const char *fmt, ...)
{
        char *text;
        va_list ap;

        va_start(ap, fmt);
        int len = vasprintf(&text, fmt, ap);
        va_end(ap);
        if (len < 0)
                return false;
        const char *at = text;
        while (*at && !con->page_quit) {
                size_t n = strcspn(at, "\n");
                bool full = at[n] == '\n';
                n += full;
                con->ops->put(con->ctx, at, n);
                at += n;
                if (full && con->lines_per_page > 2 &&
                    ++con->lines_shown >= con->lines_per_page - 1)
                        ask_for_more(con);
        }
        free(text);
        return !con->page_quit;
}
