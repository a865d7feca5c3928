/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_version.c - `kiln version`. */
#include <stdio.h>

#include "cli.h"

static const struct opt options[] = { { 0 } };

static int run(struct cli *c)
{
	(void)c;
	printf("kiln %s\n", KILN_VERSION);
	return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

const struct command cmd_version = {
	.name = "version", .usage = "", .summary = "Say which kiln this is", .details = "",
	.options = options, .min_args = 0, .max_args = 0, .run = run,
};
