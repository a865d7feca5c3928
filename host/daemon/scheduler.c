/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler.c - the queue and the room. Owns the order of queued builds and the sums of what
 * running ones take. Must not know how a build is run (run.h has one verb for it).
 *
 * In order of arrival; a build that does not fit is passed by smaller ones, but at most
 * PASS_MAX times: then all wait for it, so that it is not starved. Only pick() knows that.
 */
#include "scheduler.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "run.h"

#define PASS_MAX 16
#define RESERVE_MIB 512 /* for the host itself, at least */

struct scheduler {
	struct kilnd *k;
	struct build *head, *tail;
	unsigned queued, queue_max;
	unsigned running, running_max;
	int64_t vcpus, vcpus_max;
	int64_t memory_mib, memory_mib_max;
	unsigned passed;   /* how often the head was passed by */
	int busy;          /* inside scheduler_kick */
};

/* 0 in the configuration: what the host has. A default job must fit, whatever that is. */
static void find_capacity(struct scheduler *s, const struct config *cfg)
{
	int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	int64_t all_mib = pages * page / (1 << 20);

	s->running_max = (unsigned)config_int(cfg, CONFIG_CAPACITY_MAX_RUNNING);
	s->vcpus_max = config_int(cfg, CONFIG_CAPACITY_VCPUS);
	s->memory_mib_max = config_int(cfg, CONFIG_CAPACITY_MEMORY_MIB);
	if (s->running_max == 0)
		s->running_max = UINT_MAX;
	if (s->vcpus_max == 0) {
		s->vcpus_max = sysconf(_SC_NPROCESSORS_ONLN);
		if (s->vcpus_max < config_int(cfg, CONFIG_DEFAULTS_VCPUS))
			s->vcpus_max = config_int(cfg, CONFIG_DEFAULTS_VCPUS);
	}
	if (s->memory_mib_max == 0)
		s->memory_mib_max = all_mib - (all_mib / 8 > RESERVE_MIB ? all_mib / 8 : RESERVE_MIB);
}

struct scheduler *scheduler_new(struct kilnd *k)
{
	struct scheduler *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->k = k;
	s->queue_max = (unsigned)config_int(k->cfg, CONFIG_QUEUE_MAX);
	find_capacity(s, k->cfg);
	return s;
}

void scheduler_free(struct scheduler *s)
{
	free(s);
}

int scheduler_admit(const struct scheduler *s, int64_t vcpus, int64_t memory_mib, struct err *e)
{
	if (vcpus > s->vcpus_max)
		return err_field(e, "never_fits", "vcpus", "vcpus is %" PRId64 ", this host runs builds of at "
				 "most %" PRId64 " in all", vcpus, s->vcpus_max);
	if (memory_mib > s->memory_mib_max)
		return err_field(e, "never_fits", "memory_mib", "memory_mib is %" PRId64 ", this host runs "
				 "builds of at most %" PRId64 " in all", memory_mib, s->memory_mib_max);
	if (s->queued >= s->queue_max)
		return err_set(e, "queue_full", "%u builds are queued already, which is the limit",
			       s->queued);
	return 0;
}

void scheduler_enqueue(struct scheduler *s, struct build *b)
{
	struct build *after = s->tail;

	/* Nearly always the last; one that comes back to the queue finds its old place. */
	while (after && after->seq > b->seq)
		after = after->prev;
	b->prev = after;
	b->next = after ? after->next : s->head;
	if (b->next)
		b->next->prev = b;
	else
		s->tail = b;
	if (after)
		after->next = b;
	else
		s->head = b;
	s->queued++;
}

static int is_queued(const struct scheduler *s, const struct build *b)
{
	return b->prev || b->next || s->head == b;
}

static void unlink_build(struct scheduler *s, struct build *b)
{
	if (b == s->head)
		s->passed = 0;
	*(b->prev ? &b->prev->next : &s->head) = b->next;
	*(b->next ? &b->next->prev : &s->tail) = b->prev;
	b->prev = NULL;
	b->next = NULL;
	s->queued--;
}

void scheduler_occupy(struct scheduler *s, struct build *b)
{
	b->holds_room = 1;
	s->running++;
	s->vcpus += b->vcpus;
	s->memory_mib += b->memory_mib;
}

void scheduler_leave(struct scheduler *s, struct build *b)
{
	if (is_queued(s, b))
		unlink_build(s, b);
	if (!b->holds_room)
		return;
	b->holds_room = 0;
	s->running--;
	s->vcpus -= b->vcpus;
	s->memory_mib -= b->memory_mib;
}

static int fits(const struct scheduler *s, const struct build *b)
{
	return s->running < s->running_max && s->vcpus + b->vcpus <= s->vcpus_max &&
	       s->memory_mib + b->memory_mib <= s->memory_mib_max;
}

static struct build *pick(struct scheduler *s)
{
	if (!s->head || fits(s, s->head))
		return s->head;
	if (s->running >= s->running_max || s->passed >= PASS_MAX)
		return NULL;
	for (struct build *b = s->head->next; b; b = b->next) {
		if (fits(s, b)) {
			s->passed++;
			return b;
		}
	}
	return NULL;
}

static void on_starting(void *arg, const struct record *r, const struct err *e)
{
	struct kilnd *k = arg;
	struct build *b = builds_find(k->builds, r->id);

	if (!b || b->state != STATE_STARTING_VM)
		return;
	if (e)
		builds_finish_with(k->builds, b, "host", e->text);
	else if (!k->stopping) /* else the next kilnd finds it without run.json and queues it */
		run_begin(k->runs, b);
}

void scheduler_kick(struct scheduler *s)
{
	struct build *b;

	if (s->busy || s->k->stopping)
		return;
	s->busy = 1;
	while ((b = pick(s))) {
		unlink_build(s, b);
		scheduler_occupy(s, b);
		builds_set_state(s->k->builds, b, STATE_STARTING_VM, 0, on_starting);
	}
	s->busy = 0;
}
