/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that keeps one server running.
 *
 * It holds a lock on "supervisor" in the state directory for as long as it
 * lives, with its process id in that file: so whoever finds the lock taken
 * knows the id to be right.  Should it be killed, the server that it leaves
 * behind is found by its command line and ended by the next start or stop.
 */
#ifndef NET_SUPERVISOR_H
#define NET_SUPERVISOR_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Called every few seconds in the supervisor, before each start too: brings
 * files of the server up to date.  1: they changed, and the server is sent
 * SIGHUP; 0 or -errno: not.
 */
typedef int supervisor_refresh_fn(void *ctx);

/*
 * Starts a supervisor with the server @argv, which must stay in the
 * foreground and write its process id to "dnsmasq.pid" once it serves; waits
 * for that.  0; -EADDRINUSE: it says that an address is in use; -EIO: it
 * ended for another reason; else -errno.  What it said is in @ret_words.
 */
int supervisor_start(const char *const argv[], supervisor_refresh_fn *refresh, void *ctx,
    char *ret_words, size_t words_bytes);

/* Ends it and its server; none is no error.  0 or -errno. */
int supervisor_stop(void);

/* 0 for none. */
pid_t supervisor_pid(void);

/* What the file @name of the state directory holds; 0 when there is none. */
pid_t supervisor_read_pid(const char *name);

#endif
