/* SPDX-License-Identifier: BSD-2-Clause */
/* The block back end, with io_uring and with threads. */
#include "loop_rig.h"

#include "backend/block/block.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define IMAGE_BYTES (1 * MIB)

struct fixture {
        struct loop_rig rig;
        char *path;
        struct block *block;
};

struct call {
        struct block_request request;
        struct fixture *f;
        int submitted;
        int error;
        bool done;
};

static void
call_done(struct block_request *request, int error)
{
        struct call *c = container_of(request, struct call, request);

        c->error = error;
        c->done = true;
}

static void
call_submit(void *ctx)
{
        struct call *c = ctx;

        c->request.done = call_done;
        c->submitted = block_submit(c->f->block, &c->request);
        if (c->submitted != 0) {
                c->error = c->submitted;
                c->done = true;
        }
        block_kick(c->f->block);
}

static bool
call_is_done(void *ctx)
{
        return ((struct call *)ctx)->done;
}

/* Submits on the loop's thread and waits; what done() got. */
static int
call_run(struct fixture *f, struct call *c)
{
        c->f = f;
        c->done = false;
        loop_post(f->rig.loop, call_submit, c);
        assert_true(loop_rig_wait(&f->rig, call_is_done, c));
        return c->error;
}

static int
run(struct fixture *f, enum block_op op, uint64_t offset, uint64_t length, void *buf)
{
        struct iovec iov = { buf, length };
        struct call c = { .request = { .op = op, .offset = offset, .length = length } };

        if (buf != NULL) {
                c.request.iov = &iov;
                c.request.iov_count = 1;
        }
        return call_run(f, &c);
}

static void
fixture_open(struct fixture *f, const struct block_options *options)
{
        struct block_options o = *options;

        loop_rig_start(&f->rig);
        f->path = rig_image(IMAGE_BYTES);
        o.path = f->path;
        f->block = NULL;
        assert_int_equal(block_open(&o, f->rig.loop, &f->block), 0);
}

static void
fixture_close(struct fixture *f)
{
        loop_rig_stop(&f->rig);
        block_close(f->block);
        loop_rig_finish(&f->rig);
        rig_image_free(f->path);
}

static const struct block_options engines[] = {
        { .engine = BLOCK_ENGINE_AUTO },
        { .engine = BLOCK_ENGINE_THREADS },
};

static void
block_read_returns_written_bytes(void **state)
{
        for (unsigned e = 0; e < ARRAY_LEN(engines); e++) {
                struct fixture f;
                unsigned char out[4096];
                unsigned char in[4096];

                fixture_open(&f, &engines[e]);
                for (unsigned i = 0; i < sizeof(out); i++)
                        out[i] = (unsigned char)(i * 7 + e);
                assert_int_equal(run(&f, BLOCK_WRITE, 8192, sizeof(out), out), 0);
                assert_int_equal(run(&f, BLOCK_FLUSH, 0, 0, NULL), 0);
                assert_int_equal(run(&f, BLOCK_READ, 8192, sizeof(in), in), 0);
                assert_memory_equal(in, out, sizeof(in));
                assert_int_equal(run(&f, BLOCK_READ, 512, 512, in), 0);
                assert_int_equal(in[5], (512 + 5) / 512 + (unsigned char)(512 + 5));
                fixture_close(&f);
        }
}

static void
block_scattered_buffers_keep_their_order(void **state)
{
        for (unsigned e = 0; e < ARRAY_LEN(engines); e++) {
                struct fixture f;
                unsigned char part[3][1024];
                unsigned char all[3072];
                struct iovec iov[3] = { { part[0], 1024 }, { part[1], 512 }, { part[2], 1024 } };
                struct call c = { .request = { .op = BLOCK_READ, .offset = 4096, .length = 2560, .iov = iov,
                                      .iov_count = 3 } };

                fixture_open(&f, &engines[e]);
                assert_int_equal(call_run(&f, &c), 0);
                assert_int_equal(run(&f, BLOCK_READ, 4096, 2560, all), 0);
                assert_memory_equal(part[0], all, 1024);
                assert_memory_equal(part[1], all + 1024, 512);
                assert_memory_equal(part[2], all + 1536, 1024);
                fixture_close(&f);
        }
}

static void
block_range_outside_of_the_image_is_refused(void **state)
{
        struct fixture f;
        unsigned char buf[1024];

        fixture_open(&f, &engines[0]);
        assert_int_equal(run(&f, BLOCK_READ, IMAGE_BYTES - 512, 1024, buf), -EINVAL);
        assert_int_equal(run(&f, BLOCK_WRITE, UINT64_MAX - 511, 1024, buf), -EINVAL);
        assert_int_equal(run(&f, BLOCK_DISCARD, IMAGE_BYTES, 512, NULL), -EINVAL);
        assert_int_equal(run(&f, BLOCK_READ, IMAGE_BYTES - 1024, 1024, buf), 0);
        fixture_close(&f);
}

static void
block_read_of_a_truncated_image_gives_zeros(void **state)
{
        for (unsigned e = 0; e < ARRAY_LEN(engines); e++) {
                struct fixture f;
                unsigned char buf[2048];
                unsigned char zeros[1024] = { 0 };

                fixture_open(&f, &engines[e]);
                assert_int_equal(truncate(f.path, 9216), 0);
                memset(buf, 0xee, sizeof(buf));
                assert_int_equal(run(&f, BLOCK_READ, 8192, sizeof(buf), buf), 0);
                assert_int_equal(buf[0], (unsigned char)(8192 / 512 + 8192));
                assert_memory_equal(buf + 1024, zeros, sizeof(zeros));
                fixture_close(&f);
        }
}

static void
block_discard_frees_space_and_reads_zeros(void **state)
{
        struct fixture f;
        struct stat before;
        struct stat after;
        unsigned char buf[65536];
        unsigned char zeros[65536] = { 0 };

        fixture_open(&f, &engines[0]);
        assert_int_equal(run(&f, BLOCK_FLUSH, 0, 0, NULL), 0);
        assert_int_equal(stat(f.path, &before), 0);
        assert_int_equal(run(&f, BLOCK_DISCARD, 65536, 65536, NULL), 0);
        assert_int_equal(run(&f, BLOCK_READ, 65536, 65536, buf), 0);
        assert_memory_equal(buf, zeros, sizeof(buf));
        assert_int_equal(stat(f.path, &after), 0);
        assert_true(after.st_blocks < before.st_blocks);
        assert_int_equal(after.st_size, before.st_size);
        assert_int_equal(run(&f, BLOCK_READ, 131072, 512, buf), 0);
        assert_int_equal(buf[1], (unsigned char)(131073 / 512 + 131073));
        fixture_close(&f);
}

static void
block_write_zeroes_clears_exactly_its_range(void **state)
{
        for (unsigned unmap = 0; unmap < 2; unmap++) {
                struct fixture f;
                unsigned char buf[4096];
                struct call c = { .request = { .op = BLOCK_WRITE_ZEROES, .may_unmap = unmap, .offset = 1024,
                                      .length = 1536 } };

                fixture_open(&f, &engines[0]);
                assert_int_equal(call_run(&f, &c), 0);
                assert_int_equal(run(&f, BLOCK_READ, 0, sizeof(buf), buf), 0);
                for (unsigned i = 0; i < sizeof(buf); i++)
                        assert_int_equal(buf[i],
                            i >= 1024 && i < 2560 ? 0 : (unsigned char)(i / 512 + i));
                fixture_close(&f);
        }
}

static void
block_read_only_refuses_changes(void **state)
{
        struct fixture f;
        unsigned char buf[512] = { 0 };

        fixture_open(&f, &(struct block_options){ .read_only = true });
        assert_true(block_info(f.block)->read_only);
        assert_false(block_info(f.block)->can_discard);
        assert_int_equal(run(&f, BLOCK_WRITE, 0, 512, buf), -EROFS);
        assert_int_equal(run(&f, BLOCK_DISCARD, 0, 512, NULL), -EROFS);
        assert_int_equal(run(&f, BLOCK_WRITE_ZEROES, 0, 512, NULL), -EROFS);
        assert_int_equal(run(&f, BLOCK_READ, 0, 512, buf), 0);
        assert_int_equal(run(&f, BLOCK_FLUSH, 0, 0, NULL), 0);
        fixture_close(&f);
}

static void
block_nodelete_refuses_discard(void **state)
{
        struct fixture f;

        fixture_open(&f, &(struct block_options){ .no_delete = true });
        assert_int_equal(run(&f, BLOCK_DISCARD, 0, 4096, NULL), -EOPNOTSUPP);
        fixture_close(&f);
}

static void
block_nocache_carries_unaligned_requests_too(void **state)
{
        for (unsigned e = 0; e < ARRAY_LEN(engines); e++) {
                struct block_options o = engines[e];
                struct fixture f;
                unsigned char *aligned = aligned_alloc(4096, 8192);
                unsigned char odd[1024 + 3];

                o.nocache = true;
                fixture_open(&f, &o);
                assert_int_equal(run(&f, BLOCK_READ, 4096, 8192, aligned), 0);
                memset(aligned, 0x5a, 8192);
                assert_int_equal(run(&f, BLOCK_WRITE, 0, 8192, aligned), 0);
                memset(odd, 0xa5, sizeof(odd));
                assert_int_equal(run(&f, BLOCK_WRITE, 512, 1024, odd + 3), 0);
                assert_int_equal(run(&f, BLOCK_READ, 0, 8192, aligned), 0);
                assert_int_equal(aligned[511], 0x5a);
                assert_int_equal(aligned[512], 0xa5);
                assert_int_equal(aligned[1535], 0xa5);
                assert_int_equal(aligned[1536], 0x5a);
                fixture_close(&f);
                free(aligned);
        }
}

static int
open_again(struct fixture *f, bool read_only)
{
        struct block_options o = { .path = f->path, .read_only = read_only };
        struct block *block = NULL;
        int error = block_open(&o, f->rig.loop, &block);

        block_close(block);
        return error;
}

static void
block_writer_excludes_all_others(void **state)
{
        struct fixture f;

        fixture_open(&f, &engines[0]);
        assert_int_equal(open_again(&f, false), -EBUSY);
        assert_int_equal(open_again(&f, true), -EBUSY);
        block_close(f.block);
        f.block = NULL;
        assert_int_equal(open_again(&f, false), 0);
        fixture_close(&f);
}

static void
block_readers_share_and_exclude_writers(void **state)
{
        struct fixture f;

        fixture_open(&f, &(struct block_options){ .read_only = true });
        assert_int_equal(open_again(&f, true), 0);
        assert_int_equal(open_again(&f, false), -EBUSY);
        fixture_close(&f);
}

static void
block_lock_of_a_killed_process_is_not_in_the_way(void **state)
{
        struct fixture f;
        char *path = rig_image(4096);
        int ready[2];
        char byte;
        pid_t pid;

        loop_rig_start(&f.rig);
        f.path = path;
        assert_int_equal(pipe(ready), 0);
        pid = fork();
        if (pid == 0) {
                struct flock lock = { .l_type = F_WRLCK };
                int fd = open(path, O_RDWR | O_CLOEXEC);

                if (fcntl(fd, F_OFD_SETLK, &lock) != 0 || write(ready[1], "x", 1) != 1)
                        _exit(1);
                for (;;)
                        pause();
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        assert_int_equal(open_again(&f, false), -EBUSY);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        assert_int_equal(open_again(&f, false), 0);
        close(ready[0]);
        close(ready[1]);
        f.block = NULL;
        fixture_close(&f);
}

static void
block_open_reports_what_is_wrong(void **state)
{
        struct fixture f;
        struct block *block = NULL;
        char *empty = rig_image(100);

        fixture_open(&f, &engines[0]);
        assert_int_equal(block_open(&(struct block_options){ .path = "/nonexistent/disk" }, f.rig.loop, &block),
            -ENOENT);
        assert_int_equal(block_open(&(struct block_options){ .path = "/", .read_only = true }, f.rig.loop,
                             &block), -EINVAL);
        assert_int_equal(block_open(&(struct block_options){ .path = empty }, f.rig.loop, &block), -EINVAL);
        assert_null(block);
        rig_image_free(empty);
        fixture_close(&f);
}

static void
block_size_is_whole_sectors(void **state)
{
        struct fixture f;

        fixture_open(&f, &(struct block_options){ .sector_bytes = 4096, .physical_bytes = 8192 });
        assert_int_equal(block_info(f.block)->sector_bytes, 4096);
        assert_int_equal(block_info(f.block)->physical_bytes, 8192);
        assert_int_equal(block_info(f.block)->size_bytes, IMAGE_BYTES);
        fixture_close(&f);
}

static void
block_sector_size_accepts_powers_of_two_only(void **state)
{
        uint32_t logical = 0;
        uint32_t physical = 0;

        assert_int_equal(block_parse_sector_size("512/4096", &logical, &physical), 0);
        assert_int_equal(logical, 512);
        assert_int_equal(physical, 4096);
        assert_int_equal(block_parse_sector_size("4096", &logical, &physical), 0);
        assert_int_equal(physical, 4096);
        for (const char *const *bad = (const char *const[]){ "", "x", "513", "256", "4096/512", "512/", "512x",
                 "131072", "/512", "-512", NULL }; *bad != NULL; bad++)
                assert_int_equal(block_parse_sector_size(*bad, &logical, &physical), -EINVAL);
}

#define DRAIN_COUNT 300

static void
block_drain_completes_everything_in_flight(void **state)
{
        for (unsigned e = 0; e < ARRAY_LEN(engines); e++) {
                static struct call calls[DRAIN_COUNT];
                static unsigned char buf[DRAIN_COUNT][512];
                struct iovec iov[DRAIN_COUNT];
                struct fixture f;

                fixture_open(&f, &engines[e]);
                pthread_mutex_lock(&f.rig.lock);
                for (unsigned i = 0; i < DRAIN_COUNT; i++) {
                        iov[i] = (struct iovec){ buf[i], 512 };
                        calls[i] = (struct call){ .f = &f, .request = { .op = i % 8 ? BLOCK_WRITE : BLOCK_FLUSH,
                                                                .offset = 512ull * i, .length = 512,
                                                                .iov = &iov[i], .iov_count = 1 } };
                        call_submit(&calls[i]);
                }
                block_drain(f.block);
                for (unsigned i = 0; i < DRAIN_COUNT; i++) {
                        assert_true(calls[i].done);
                        assert_int_equal(calls[i].error, 0);
                }
                pthread_mutex_unlock(&f.rig.lock);
                fixture_close(&f);
        }
}

/* Without io_uring a poll has nothing to see, and the loop hears of it. */
#define POLL_MS 1000u

struct chain {
        struct call write, flush;
};

/* As a device does for a driver that does not flush by itself. */
static void
write_done(struct block_request *request, int error)
{
        struct chain *chain = container_of(container_of(request, struct call, request), struct chain, write);

        chain->write.done = true;
        chain->flush.request.done = call_done;
        assert_int_equal(block_submit(chain->flush.f->block, &chain->flush.request), 0);
}

/* The write ends here, not when the loop hears of it. */
static void
submit_and_poll(void *ctx)
{
        struct chain *chain = ctx;
        struct block *block = chain->write.f->block;

        assert_int_equal(block_submit(block, &chain->write.request), 0);
        block_kick(block);
        for (unsigned ms = 0; ms < POLL_MS && !chain->write.done; ms++) {
                usleep(1000);
                block_poll(block);
        }
}

static void
block_poll_sends_what_completions_submit(void **state)
{
        static unsigned char data[512];
        struct iovec iov = { data, sizeof(data) };
        struct fixture f;
        struct chain chain = { .write = { .f = &f, .request = { .op = BLOCK_WRITE, .length = sizeof(data), .iov = &iov, .iov_count = 1, .done = write_done } },
                .flush = { .f = &f, .request = { .op = BLOCK_FLUSH } } };

        fixture_open(&f, &engines[0]);
        loop_post(f.rig.loop, submit_and_poll, &chain);
        assert_true(loop_rig_wait(&f.rig, call_is_done, &chain.flush));
        assert_true(chain.write.done);
        assert_int_equal(chain.flush.error, 0);
        fixture_close(&f);
}

int
main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(block_read_returns_written_bytes),
                cmocka_unit_test(block_scattered_buffers_keep_their_order),
                cmocka_unit_test(block_range_outside_of_the_image_is_refused),
                cmocka_unit_test(block_read_of_a_truncated_image_gives_zeros),
                cmocka_unit_test(block_discard_frees_space_and_reads_zeros),
                cmocka_unit_test(block_write_zeroes_clears_exactly_its_range),
                cmocka_unit_test(block_read_only_refuses_changes),
                cmocka_unit_test(block_nodelete_refuses_discard),
                cmocka_unit_test(block_nocache_carries_unaligned_requests_too),
                cmocka_unit_test(block_writer_excludes_all_others),
                cmocka_unit_test(block_readers_share_and_exclude_writers),
                cmocka_unit_test(block_lock_of_a_killed_process_is_not_in_the_way),
                cmocka_unit_test(block_open_reports_what_is_wrong),
                cmocka_unit_test(block_size_is_whole_sectors),
                cmocka_unit_test(block_sector_size_accepts_powers_of_two_only),
                cmocka_unit_test(block_drain_completes_everything_in_flight),
                cmocka_unit_test(block_poll_sends_what_completions_submit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
