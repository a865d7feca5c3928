/* SPDX-License-Identifier: Apache-2.0 */
/*
 * artifact_hash.c - the hashing thread. Owns the digest context and the ring of views; reads the
 * producer's buffers, never writes them. `queued` and `done` count views; one lock guards both
 * and the ring; the digest is touched by the thread only while views are under way.
 */
#include "artifact_hash.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

#include "lockdown.h"

#define RING        256u
#define STACK_BYTES (256u * 1024u)

struct hasher {
	pthread_mutex_t lock;
	pthread_cond_t more, less; /* views were queued; views were hashed */
	uint64_t queued, done;
	struct {
		const void *p;
		size_t n;
	} ring[RING];
	EVP_MD_CTX *ctx;
	int dir_fd, ready, failed; /* failed: the thread could not lock itself down */
	struct err error;
};

static void *thread(void *arg)
{
	struct hasher *h = arg;
	struct lockdown_facts facts;

	pthread_mutex_lock(&h->lock);
	h->failed = lockdown_enter(LOCKDOWN_ARTIFACT, h->dir_fd, &facts, &h->error) < 0;
	h->ready = 1;
	pthread_cond_signal(&h->less);
	while (!h->failed) {
		uint64_t from = h->done, to;

		while (h->queued == from)
			pthread_cond_wait(&h->more, &h->lock);
		to = h->queued;
		pthread_mutex_unlock(&h->lock);
		for (; from < to; from++)
			EVP_DigestUpdate(h->ctx, h->ring[from % RING].p, h->ring[from % RING].n);
		pthread_mutex_lock(&h->lock);
		h->done = to;
		pthread_cond_signal(&h->less);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

static int start(struct hasher *h)
{
	pthread_attr_t attr;
	pthread_t id;
	int rc;

	if (pthread_attr_init(&attr) != 0)
		return -1;
	rc = pthread_attr_setstacksize(&attr, STACK_BYTES) != 0 ||
	     pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) != 0 ||
	     pthread_create(&id, &attr, thread, h) != 0;
	pthread_attr_destroy(&attr);
	return rc ? -1 : 0;
}

int hasher_new(struct hasher **out, int dir_fd, struct err *e)
{
	struct hasher *h = calloc(1, sizeof(*h));

	if (!h)
		return err_set(e, "internal", "no memory to hash artifacts");
	h->dir_fd = dir_fd;
	h->ctx = EVP_MD_CTX_new();
	if (!h->ctx || pthread_mutex_init(&h->lock, NULL) != 0 ||
	    pthread_cond_init(&h->more, NULL) != 0 || pthread_cond_init(&h->less, NULL) != 0 ||
	    start(h) < 0) {
		EVP_MD_CTX_free(h->ctx);
		free(h);
		return err_set(e, "internal", "cannot start the thread that hashes artifacts");
	}
	pthread_mutex_lock(&h->lock);
	while (!h->ready)
		pthread_cond_wait(&h->less, &h->lock);
	pthread_mutex_unlock(&h->lock);
	if (h->failed) {
		*e = h->error;
		return -1; /* the thread has ended; the process is about to */
	}
	*out = h;
	return 0;
}

int hasher_begin(struct hasher *h)
{
	hasher_wait(h, h->queued);
	return EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) == 1 ? 0 : -1;
}

void hasher_add(struct hasher *h, const void *p, size_t n)
{
	pthread_mutex_lock(&h->lock);
	while (h->queued - h->done == RING)
		pthread_cond_wait(&h->less, &h->lock);
	h->ring[h->queued % RING].p = p;
	h->ring[h->queued % RING].n = n;
	h->queued++;
	pthread_cond_signal(&h->more);
	pthread_mutex_unlock(&h->lock);
}

uint64_t hasher_mark(const struct hasher *h)
{
	return h->queued; /* only the producer writes it */
}

void hasher_wait(struct hasher *h, uint64_t mark)
{
	pthread_mutex_lock(&h->lock);
	while (h->done < mark)
		pthread_cond_wait(&h->less, &h->lock);
	pthread_mutex_unlock(&h->lock);
}

int hasher_end(struct hasher *h, uint8_t sum[32])
{
	hasher_wait(h, h->queued);
	return EVP_DigestFinal_ex(h->ctx, sum, NULL) == 1 ? 0 : -1;
}
