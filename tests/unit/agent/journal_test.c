/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of unacknowledged frames: order, wrap, acknowledgement, replay, its limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "journal.h"

static int setup(void **state)
{
	struct journal *j = calloc(1, sizeof(*j));
	struct fail f;

	assert_non_null(j);
	assert_int_equal(journal_init(j, &f), 0);
	*state = j;
	return 0;
}

static int teardown(void **state)
{
	journal_fini(*state);
	free(*state);
	return 0;
}

/* The host's side: takes frames in order and remembers the last seq it has whole. */
struct reader {
	uint64_t seq, log_bytes;
	uint8_t next; /* the log is the bytes 0, 1, … 255, 0, … */
};

static void take_frames(struct reader *r, const uint8_t *p, size_t n)
{
	while (n) {
		struct wire_msg msg;
		size_t used;

		assert_int_equal(wire_decode(WIRE_FROM_GUEST, p, n, &msg, &used), WIRE_OK);
		assert_int_equal(msg.u.state.seq, r->seq + 1);
		r->seq++;
		if (msg.type == WIRE_LOG) {
			assert_int_equal(msg.u.log.offset, r->log_bytes);
			for (uint32_t i = 0; i < msg.u.log.data.n; i++)
				assert_int_equal(msg.u.log.data.p[i], r->next++);
			r->log_bytes += msg.u.log.data.n;
		}
		p += used;
		n -= used;
	}
}

static void send_all(struct journal *j, struct reader *r)
{
	const uint8_t *p;
	size_t n = journal_unsent(j, &p);

	take_frames(r, p, n);
	journal_sent(j, n);
}

static size_t write_log(struct journal *j, size_t n)
{
	size_t cap;
	uint8_t *to = journal_log_reserve(j, 16384, &cap);

	if (n > cap)
		n = cap;
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(j->log_bytes + i);
	if (n)
		journal_log_commit(j, n);
	return n;
}

static int put_state(struct journal *j, uint8_t state)
{
	struct wire_msg msg = { .type = WIRE_STATE };

	msg.u.state.state = state;
	return journal_put(j, &msg);
}

static void test_frames_come_out_in_order_with_seq_and_offset(void **state)
{
	struct journal *j = *state;
	struct reader r = { 0 };

	assert_int_equal(put_state(j, 2), 0);
	assert_int_equal(write_log(j, 100), 100);
	assert_int_equal(write_log(j, 1), 1);
	assert_int_equal(put_state(j, 3), 0);
	send_all(j, &r);
	assert_int_equal(r.seq, 4);
	assert_int_equal(r.log_bytes, 101);
	assert_int_equal(j->log_bytes, 101);
}

static void test_the_ring_wraps_many_times(void **state)
{
	struct journal *j = *state;
	struct reader r = { 0 };
	uint64_t total = 0;

	while (total < 5 * JOURNAL_BYTES) { /* sizes that never line up with the ring's end */
		total += write_log(j, 1 + (size_t)(total * 7919 % 16000));
		send_all(j, &r);
		assert_int_equal(journal_ack(j, r.seq), 0);
		assert_int_equal(journal_room(j), JOURNAL_BYTES);
	}
	assert_int_equal(r.log_bytes, total);
}

static void test_a_partial_send_goes_on_where_it_stopped(void **state)
{
	struct journal *j = *state;
	struct reader r = { 0 };
	const uint8_t *p;
	uint8_t got[4096];
	size_t n, at = 0;

	write_log(j, 1000);
	while ((n = journal_unsent(j, &p)) > 0) {
		n = n < 7 ? n : 7;
		memcpy(got + at, p, n);
		at += n;
		journal_sent(j, n);
	}
	take_frames(&r, got, at);
	assert_int_equal(r.log_bytes, 1000);
}

static void test_a_full_ring_stops_the_log_but_not_the_closing_messages(void **state)
{
	struct journal *j = *state;
	struct reader r = { 0 };
	size_t n;

	while ((n = write_log(j, 16384)) > 0)
		continue;
	assert_true(journal_room(j) >= JOURNAL_KEEP_LOG);
	assert_true(journal_room(j) < JOURNAL_KEEP_LOG + 64);
	for (int i = 0; i < 100; i++)
		assert_int_equal(put_state(j, 3), 0);
	send_all(j, &r);
	assert_int_equal(journal_ack(j, 1), 0);
	assert_true(write_log(j, 100) > 0);
}

static void test_what_does_not_fit_is_refused_whole(void **state)
{
	struct journal *j = *state;
	struct reader r = { 0 };
	uint64_t before;

	while (put_state(j, 3) == 0)
		continue;
	before = j->next_seq;
	assert_int_equal(put_state(j, 3), -1);
	assert_int_equal(j->next_seq, before);
	send_all(j, &r);
	assert_int_equal(r.seq, before - 1);
}

static void test_replay_sends_again_what_was_not_acknowledged(void **state)
{
	struct journal *j = *state;
	struct reader r = { 0 }, again = { 0 };

	for (int i = 0; i < 10; i++)
		write_log(j, 10);
	send_all(j, &r);
	assert_int_equal(journal_ack(j, 3), 0);
	assert_int_equal(journal_first_seq(j), 4);
	write_log(j, 10); /* not sent yet when the connection goes */
	assert_int_equal(journal_replay(j, 6), 0);
	assert_int_equal(journal_first_seq(j), 7);
	again.seq = 6;
	again.log_bytes = again.next = 60;
	send_all(j, &again);
	assert_int_equal(again.seq, 11);
	assert_int_equal(again.log_bytes, 110);
}

static void test_replay_begins_in_the_middle_of_a_frame_that_was_half_sent(void **state)
{
	struct journal *j = *state;
	struct reader r = { 0 };

	write_log(j, 500);
	journal_sent(j, 100);
	assert_int_equal(journal_replay(j, 0), 0);
	send_all(j, &r);
	assert_int_equal(r.log_bytes, 500);
}

static void test_first_seq_of_an_empty_ring_is_the_next(void **state)
{
	struct journal *j = *state;
	struct reader r = { 0 };

	assert_int_equal(journal_first_seq(j), 1);
	put_state(j, 2);
	send_all(j, &r);
	assert_int_equal(journal_ack(j, 1), 0);
	assert_int_equal(journal_first_seq(j), 2);
}

static void test_acknowledging_what_was_not_sent_is_an_error(void **state)
{
	struct journal *j = *state;
	const uint8_t *p;

	put_state(j, 2);
	assert_int_equal(journal_ack(j, 1), -1);
	assert_int_equal(journal_ack(j, 2), -1);
	assert_int_equal(journal_replay(j, 9), -1);
	journal_sent(j, journal_unsent(j, &p) - 1);
	assert_int_equal(journal_ack(j, 1), -1);
	journal_sent(j, 1);
	assert_int_equal(journal_ack(j, 1), 0);
	assert_int_equal(journal_ack(j, 1), 0); /* twice is no harm */
}

static void test_recent_finds_words_in_the_tail_only(void **state)
{
	struct journal *j = *state;
	size_t cap;
	uint8_t *to = journal_log_reserve(j, 16384, &cap);

	memcpy(to, "no space", 8);
	journal_log_commit(j, 8);
	assert_true(journal_recent_has(j, 65536, "no space"));
	assert_false(journal_recent_has(j, 65536, "some space"));
	for (int i = 0; i < 10; i++)
		write_log(j, 1000);
	assert_false(journal_recent_has(j, 4096, "no space"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_frames_come_out_in_order_with_seq_and_offset),
		T(test_the_ring_wraps_many_times),
		T(test_a_partial_send_goes_on_where_it_stopped),
		T(test_a_full_ring_stops_the_log_but_not_the_closing_messages),
		T(test_what_does_not_fit_is_refused_whole),
		T(test_replay_sends_again_what_was_not_acknowledged),
		T(test_replay_begins_in_the_middle_of_a_frame_that_was_half_sent),
		T(test_first_seq_of_an_empty_ring_is_the_next),
		T(test_acknowledging_what_was_not_sent_is_an_error),
		T(test_recent_finds_words_in_the_tail_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
