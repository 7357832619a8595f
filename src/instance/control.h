/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket of a running VM.
 *
 * A client connects and sends one line, "verb argument..."; the answer is any
 * number of lines, then "ok" or "error TEXT" as the last, and the connection ends.
 * The protocol is private to one version of bhyve and bhyvectl.
 */
#ifndef INSTANCE_CONTROL_H
#define INSTANCE_CONTROL_H

#include "base/loop.h"
#include "instance/instance.h"

#include <stdio.h>

#define CONTROL_LINE_MAX 512

struct control;

/*
 * Answers one request on the loop's thread, with the loop's lock held: writes
 * lines to @out.  0, or -EINVAL with @err.
 */
typedef int control_fn(void *ctx, char *line, FILE *out, struct config_error *err);

int control_listen(struct instance *instance, struct loop *loop, control_fn *fn, void *ctx,
    struct control **ret_control, struct config_error *err);
void control_close(struct control *control);

/*
 * Sends @line to the process that runs the VM, and copies the answer's lines to @out.
 * -ECONNREFUSED if no process runs it; -EPROTO with @err for "error TEXT".
 */
int control_request(struct instance *instance, const char *line, FILE *out, struct config_error *err);

#endif
