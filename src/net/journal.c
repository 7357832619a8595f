/* SPDX-License-Identifier: BSD-2-Clause */
#include "net/journal.h"
#include "config/netconf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOURNAL_VERSION 1
#define HEADER_MAX      128

struct journal {
        int lock_fd; /* -1: read only */
        struct journal_record *records;
        size_t count;
        char header[HEADER_MAX];
};

/* This boot and this network namespace, as the first line of the file says them. */
static void
header_now(char header[HEADER_MAX])
{
        char boot[40] = "-";
        struct stat ns = { 0 };
        FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

        if (file != NULL) {
                if (fscanf(file, "%39s", boot) != 1)
                        strcpy(boot, "-");
                fclose(file);
        }
        (void)stat("/proc/self/ns/net", &ns);
        snprintf(header, HEADER_MAX, "bhyvenet %d %s %llu", JOURNAL_VERSION, boot,
            (unsigned long long)ns.st_ino);
}

static void
record_finish(struct journal_record *record)
{
        free(record->arg);
        free(record->before);
}

static int
record_copy(const struct journal_record *from, struct journal_record *to)
{
        *to = *from;
        to->arg = strdup(from->arg != NULL ? from->arg : "");
        to->before = strdup(from->before != NULL ? from->before : "");
        if (to->arg != NULL && to->before != NULL)
                return 0;
        record_finish(to);
        return -ENOMEM;
}

static int
append(struct journal *journal, const struct journal_record *record)
{
        struct journal_record *grown;
        int error;

        grown = realloc(journal->records, (journal->count + 1) * sizeof(*grown));
        if (grown == NULL)
                return -ENOMEM;
        journal->records = grown;
        error = record_copy(record, &grown[journal->count]);
        if (error == 0)
                journal->count++;
        return error;
}

/* One line without its end; a line that is not a record is an unfinished write and ends the file.
 */
static int
parse_line(struct journal *journal, char *line)
{
        struct journal_record record = { 0 };
        char *by = strsep(&line, "\t");
        char *kind = strsep(&line, "\t");
        char *name = strsep(&line, "\t");

        record.arg = strsep(&line, "\t");
        record.before = line;
        if (record.before == NULL || strlen(kind) >= sizeof(record.kind) ||
            strlen(name) >= sizeof(record.name))
                return -EINVAL;
        record.by_hand = strcmp(by, "hand") == 0;
        strcpy(record.kind, kind);
        strcpy(record.name, name);
        return append(journal, &record);
}

/* The first line decides whether the rest counts. */
static int
check_header(const struct journal *journal, const char *line)
{
        char now[HEADER_MAX];
        size_t boot_chars;

        if (strcmp(line, journal->header) == 0)
                return 0;
        /* The namespace is the last word; if all before it agrees, it is that which differs. */
        snprintf(now, sizeof(now), "%s", journal->header);
        boot_chars = (size_t)(strrchr(now, ' ') - now);
        return strncmp(line, now, boot_chars + 1) == 0 ? -EXDEV : -ESTALE;
}

static int
load(struct journal *journal, FILE *file)
{
        char *line = NULL;
        size_t bytes = 0;
        ssize_t n;
        bool first = true;
        int error = 0;

        while (error == 0 && (n = getline(&line, &bytes, file)) > 0 && line[n - 1] == '\n') {
                line[n - 1] = '\0';
                error = first ? check_header(journal, line) : parse_line(journal, line);
                first = false;
        }
        free(line);
        return error == -ESTALE || error == -EINVAL ? 0 : error;
}

static int
load_if_present(struct journal *journal)
{
        char path[PATH_MAX];
        FILE *file;
        int error;

        netconf_state_path("journal", path);
        file = fopen(path, "re");
        if (file == NULL)
                return errno == ENOENT ? 0 : -errno;
        error = load(journal, file);
        fclose(file);
        return error;
}

/*
 * dnsmasq, which is not root, and users who ask for the status must pass
 * through the directory of all virtual machines; each of these is closed.
 */
static int
open_to_all(const char *path)
{
        struct stat st;

        if (stat(path, &st) < 0)
                return -errno;
        if ((st.st_mode & 0011) == 0011 || st.st_uid != geteuid())
                return 0;
        return chmod(path, (st.st_mode & 07777) | 0011) < 0 ? -errno : 0;
}

static int
make_directory(const char *path)
{
        char parent[PATH_MAX];
        char *slash;
        int error;

        snprintf(parent, sizeof(parent), "%s", path);
        slash = strrchr(parent, '/');
        if (slash != NULL && slash != parent) {
                *slash = '\0';
                if (mkdir(parent, 0755) < 0 && errno != EEXIST)
                        return -errno;
                error = open_to_all(parent);
                if (error != 0)
                        return error;
        }
        return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int
take_lock(int *ret_fd)
{
        char path[PATH_MAX];
        int error, fd;

        netconf_state_path("", path);
        error = make_directory(path);
        if (error != 0)
                return error;
        netconf_state_path("lock", path);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
                return -errno;
        while (flock(fd, LOCK_EX) < 0)
                if (errno != EINTR) {
                        error = -errno;
                        close(fd);
                        return error;
                }
        *ret_fd = fd;
        return 0;
}

int
journal_open(bool write_it, struct journal **ret_journal)
{
        struct journal *journal = calloc(1, sizeof(*journal));
        int error = 0;

        if (journal == NULL)
                return -ENOMEM;
        journal->lock_fd = -1;
        header_now(journal->header);
        if (write_it)
                error = take_lock(&journal->lock_fd);
        if (error == 0)
                error = load_if_present(journal);
        if (error != 0) {
                journal_close(journal);
                return error;
        }
        *ret_journal = journal;
        return 0;
}

void
journal_close(struct journal *journal)
{
        if (journal == NULL)
                return;
        for (size_t i = 0; i < journal->count; i++)
                record_finish(&journal->records[i]);
        free(journal->records);
        if (journal->lock_fd >= 0)
                close(journal->lock_fd);
        free(journal);
}

size_t
journal_count(const struct journal *journal)
{
        return journal->count;
}

const struct journal_record *
journal_at(const struct journal *journal, size_t index)
{
        return &journal->records[index];
}

const struct journal_record *
journal_find(const struct journal *journal, const char *kind, const char *name)
{
        for (size_t i = 0; i < journal->count; i++)
                if (strcmp(journal->records[i].kind, kind) == 0 &&
                    strcmp(journal->records[i].name, name) == 0)
                        return &journal->records[i];
        return NULL;
}

/* The whole file anew, put in place in one step; no file for no records. */
static int
rewrite(const struct journal *journal)
{
        char path[PATH_MAX], fresh[PATH_MAX];
        FILE *file;
        int error = 0;

        netconf_state_path("journal", path);
        if (journal->count == 0)
                return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
        netconf_state_path("journal.new", fresh);
        file = fopen(fresh, "we");
        if (file == NULL)
                return -errno;
        fprintf(file, "%s\n", journal->header);
        for (size_t i = 0; i < journal->count; i++)
                fprintf(file, "%s\t%s\t%s\t%s\t%s\n", journal->records[i].by_hand ? "hand" : "file",
                    journal->records[i].kind, journal->records[i].name, journal->records[i].arg,
                    journal->records[i].before);
        if (ferror(file))
                error = -EIO;
        if (fclose(file) != 0)
                error = -errno;
        if (error == 0 && rename(fresh, path) < 0)
                error = -errno;
        return error;
}

int
journal_add(struct journal *journal, const struct journal_record *record)
{
        int error = append(journal, record);

        if (error != 0)
                return error;
        error = rewrite(journal);
        if (error != 0)
                record_finish(&journal->records[--journal->count]);
        return error;
}

int
journal_remove(struct journal *journal, size_t index)
{
        record_finish(&journal->records[index]);
        memmove(&journal->records[index], &journal->records[index + 1],
            (journal->count - index - 1) * sizeof(*journal->records));
        journal->count--;
        return rewrite(journal);
}
