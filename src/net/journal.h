/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What bhyvenet has changed on this host, so that it can be undone by a
 * later run, also when the run that changed it was killed half-way.
 *
 * One record a change, written before the change is made: its kind, the
 * link or file it is about, an argument, and what was there before.  A
 * record thus says "this may have been done"; undoing one that was not done
 * must do nothing.  The file is in bhyvenet's state directory, with a lock
 * that is held while a journal is open for writing.
 *
 * Records of an earlier boot are void: the kernel forgot the changes.
 */
#ifndef NET_JOURNAL_H
#define NET_JOURNAL_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

struct journal_record {
        char kind[16];
        char name[IFNAMSIZ]; /* what it is about */
        char *arg;           /* none of these strings holds a tab or a newline */
        char *before;
        bool by_hand; /* asked for on the command line, not by the file */
};

struct journal;

/*
 * Opens the journal of the state directory, which is made if it is missing.
 * With @write_it the lock is taken, waiting for another run to end; without,
 * nothing is made and a missing journal is an empty one.
 * 0; -EXDEV: it belongs to another network namespace; else -errno.
 */
int journal_open(bool write_it, struct journal **ret_journal);
void journal_close(struct journal *journal);

size_t journal_count(const struct journal *journal);
/* Valid until the journal changes. */
const struct journal_record *journal_at(const struct journal *journal, size_t index);
/* NULL where there is none. */
const struct journal_record *journal_find(const struct journal *journal, const char *kind,
    const char *name);

/* Copies @record and writes it out before returning.  0 or -errno. */
int journal_add(struct journal *journal, const struct journal_record *record);
/* Drops the record at @index, on disk too.  0 or -errno. */
int journal_remove(struct journal *journal, size_t index);

#endif
