/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protocol_md_test.c - the tables of PROTOCOL.md say what wire_specs says: every message, its
 * number and sender, every field, its type and limits, in the same order, and nothing more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

#define DOC "protocol/PROTOCOL.md"

static const char *const type_words[] = { [WIRE_U8] = "u8",	[WIRE_U16] = "u16",
					  [WIRE_U32] = "u32",	[WIRE_U64] = "u64",
					  [WIRE_I32] = "i32",	[WIRE_TEXT] = "text",
					  [WIRE_BYTES] = "bytes" };

/* What the column "limits" must hold for a field. */
static void limits_text(const struct wire_field *f, char *out, size_t size)
{
	static const uint64_t all[] = { [WIRE_U8] = UINT8_MAX, [WIRE_U16] = UINT16_MAX,
					[WIRE_U32] = UINT32_MAX, [WIRE_U64] = UINT64_MAX };

	if (f->type == WIRE_TEXT || f->type == WIRE_BYTES)
		snprintf(out, size, "%" PRIu64 "..%" PRIu64 " bytes", f->min, f->max);
	else if (f->type == WIRE_I32 || (f->min == 0 && f->max == all[f->type]))
		snprintf(out, size, "any");
	else if (f->min == f->max)
		snprintf(out, size, "0x%" PRIx64, f->min);
	else
		snprintf(out, size, "%" PRIu64 "..%" PRIu64, f->min, f->max);
}

/* The next line of section 9 that is a heading of a message or a row of a table. */
static int next_row(FILE *f, char *line, size_t size)
{
	while (fgets(line, (int)size, f)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "### ", 4) == 0)
			return 1;
		if (strncmp(line, "| ", 2) == 0 && strncmp(line, "| field |", 9) != 0)
			return 1;
	}
	return 0;
}

static void the_tables_are_those_of_the_codec(void **state)
{
	FILE *f = fopen(DOC, "r");
	char line[512], want[512], limits[96];

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) && strncmp(line, "## 9. Messages", 14) != 0)
		;
	for (const struct wire_spec *s = wire_specs; s->name; s++) {
		snprintf(want, sizeof(want), "### %u %s", s->type, s->name);
		assert_int_equal(next_row(f, line, sizeof(line)), 1);
		assert_string_equal(line, want);
		for (unsigned i = 0; i < s->fields; i++) {
			limits_text(&s->field[i], limits, sizeof(limits));
			snprintf(want, sizeof(want), "| %s | %s | %s |", s->field[i].name,
				 type_words[s->field[i].type], limits);
			assert_int_equal(next_row(f, line, sizeof(line)), 1);
			assert_string_equal(line, want);
		}
	}
	if (next_row(f, line, sizeof(line)))
		fail_msg("the document has more: %s", line);
	fclose(f);
}

/* "HELLO, STATE … come from the guest; …; ERROR … from either." */
static void the_senders_are_those_of_the_codec(void **state)
{
	static const char *const ends[] = { "come from the guest", "from the host", "from either" };
	static const enum wire_sender who[] = { WIRE_FROM_GUEST, WIRE_FROM_HOST, WIRE_FROM_BOTH };
	static char text[65536];
	FILE *f = fopen(DOC, "r");
	char *at, *end;
	size_t n;

	(void)state;
	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	at = strstr(text, "\nSender: ");
	assert_non_null(at);
	for (int part = 0; part < 3; part++) {
		end = strstr(at, ends[part]);
		assert_non_null(end);
		for (const struct wire_spec *s = wire_specs; s->name; s++) {
			size_t len = strlen(s->name);
			int named = 0;

			for (char *p = at; p < end && !named; p++)
				named = strncmp(p, s->name, len) == 0 && strchr(" ,\n", p[len]) &&
					strchr(" \n", p[-1]);
			if (named != (s->sender == who[part]))
				fail_msg("%s: '%s' in the document", s->name, ends[part]);
		}
		at = end;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_tables_are_those_of_the_codec),
		cmocka_unit_test(the_senders_are_those_of_the_codec),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
