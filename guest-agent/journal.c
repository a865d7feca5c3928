/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.c - the ring of unacknowledged frames. Owns its memory and the numbering of
 * messages; sends nothing itself.
 *
 * Positions only grow; the byte at position p lies at ring[p % JOURNAL_BYTES]. The same
 * pages are mapped a second time behind the first, so a frame that wraps is contiguous
 * too. Every journal message begins with its seq, which is how acknowledgements are
 * matched with frames without a second index.
 */
#include "journal.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert((JOURNAL_BYTES & (JOURNAL_BYTES - 1)) == 0, "positions are taken modulo");

#define LOG_HEAD_BYTES (WIRE_HEADER_BYTES + 8 + 8 + 4) /* seq, offset, length of data */

static uint8_t *at(const struct journal *j, uint64_t pos)
{
	return j->ring + (pos & (JOURNAL_BYTES - 1));
}

static uint64_t get_le(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

static uint64_t frame_bytes(const struct journal *j, uint64_t pos)
{
	return WIRE_HEADER_BYTES + get_le(at(j, pos), 4);
}

static uint64_t frame_seq(const struct journal *j, uint64_t pos)
{
	return get_le(at(j, pos) + WIRE_HEADER_BYTES, 8);
}

static int map_twice(struct journal *j, int fd)
{
	uint8_t *base = mmap(NULL, 2 * JOURNAL_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		return -1;
	for (int half = 0; half < 2; half++)
		if (mmap(base + (size_t)half * JOURNAL_BYTES, JOURNAL_BYTES, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
			munmap(base, 2 * JOURNAL_BYTES);
			return -1;
		}
	/* shared memory: a worker that was taken over must not rewrite the log */
	madvise(base, 2 * JOURNAL_BYTES, MADV_DONTFORK);
	j->ring = base;
	return 0;
}

int journal_init(struct journal *j, struct fail *f)
{
	int fd = memfd_create("journal", MFD_CLOEXEC);
	int rc;

	memset(j, 0, sizeof(*j));
	j->next_seq = 1;
	if (fd < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot make the journal");
	rc = ftruncate(fd, JOURNAL_BYTES) < 0 ? -1 : map_twice(j, fd);
	if (rc < 0)
		rc = fail_errno(f, WIRE_CLASS_AGENT, "cannot map the journal");
	close(fd);
	return rc;
}

void journal_fini(struct journal *j)
{
	if (j->ring)
		munmap(j->ring, 2 * JOURNAL_BYTES);
	j->ring = NULL;
}

size_t journal_room(const struct journal *j)
{
	return (size_t)(JOURNAL_BYTES - (j->head - j->tail));
}

int journal_put(struct journal *j, struct wire_msg *msg)
{
	size_t used;

	switch (msg->type) {
	case WIRE_STATE: msg->u.state.seq = j->next_seq; break;
	case WIRE_SOURCE: msg->u.source.seq = j->next_seq; break;
	case WIRE_STEP_BEGIN: msg->u.step_begin.seq = j->next_seq; break;
	case WIRE_STEP_END: msg->u.step_end.seq = j->next_seq; break;
	case WIRE_NOTE: msg->u.note.seq = j->next_seq; break;
	case WIRE_RESULT: msg->u.result.seq = j->next_seq; break;
	case WIRE_LOG:
		msg->u.log.seq = j->next_seq;
		msg->u.log.offset = j->log_bytes;
		break;
	default: return -1;
	}
	if (wire_encode(msg, at(j, j->head), journal_room(j), &used) != WIRE_OK)
		return -1;
	j->head += used;
	j->next_seq++;
	if (msg->type == WIRE_LOG)
		j->log_bytes += msg->u.log.data.n;
	return 0;
}

uint8_t *journal_log_reserve(struct journal *j, size_t frame_max, size_t *cap)
{
	size_t room = journal_room(j);

	*cap = 0;
	room = room > JOURNAL_KEEP_LOG ? room - JOURNAL_KEEP_LOG : 0;
	if (room > frame_max)
		room = frame_max;
	if (room <= LOG_HEAD_BYTES)
		return NULL;
	*cap = room - LOG_HEAD_BYTES;
	if (*cap > WIRE_MAX_DATA)
		*cap = WIRE_MAX_DATA;
	return at(j, j->head) + LOG_HEAD_BYTES;
}

void journal_log_commit(struct journal *j, size_t n)
{
	struct wire_msg msg = { .type = WIRE_LOG };
	size_t used;

	msg.u.log.seq = j->next_seq;
	msg.u.log.offset = j->log_bytes;
	msg.u.log.data.p = at(j, j->head) + LOG_HEAD_BYTES;
	msg.u.log.data.n = (uint32_t)n;
	if (wire_encode_head(&msg, at(j, j->head), LOG_HEAD_BYTES, &used) != WIRE_OK)
		return; /* n was 0 or above the cap: nothing is sent */
	j->head += used + n;
	j->next_seq++;
	j->log_bytes += n;
}

size_t journal_unsent(const struct journal *j, const uint8_t **p)
{
	*p = at(j, j->sent);
	return (size_t)(j->head - j->sent);
}

void journal_sent(struct journal *j, size_t n)
{
	j->sent += n;
}

uint64_t journal_first_seq(const struct journal *j)
{
	return j->tail == j->head ? j->next_seq : frame_seq(j, j->tail);
}

/* The position behind the frame with this seq, limit at most. -1: there is none such. */
static int drop_to(struct journal *j, uint64_t seq, uint64_t limit)
{
	uint64_t pos = j->tail;

	if (seq >= j->next_seq)
		return -1;
	while (pos < j->head && frame_seq(j, pos) <= seq)
		pos += frame_bytes(j, pos);
	if (pos > limit)
		return -1;
	j->tail = pos;
	return 0;
}

int journal_ack(struct journal *j, uint64_t seq)
{
	return drop_to(j, seq, j->sent);
}

int journal_replay(struct journal *j, uint64_t acked_seq)
{
	if (drop_to(j, acked_seq, j->head) < 0)
		return -1;
	j->sent = j->tail;
	return 0;
}

int journal_recent_has(const struct journal *j, size_t back_bytes, const char *needle)
{
	if (back_bytes > JOURNAL_BYTES)
		back_bytes = JOURNAL_BYTES;
	if (back_bytes > j->head)
		back_bytes = (size_t)j->head;
	return memmem(at(j, j->head - back_bytes), back_bytes, needle, strlen(needle)) != NULL;
}
