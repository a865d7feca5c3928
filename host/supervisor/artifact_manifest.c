/* SPDX-License-Identifier: Apache-2.0 */
/*
 * artifact_manifest.c - writes manifest.json and keeps the set of paths.
 *
 * The set holds hashes, not names: open addressing over 64 bits of XXH3 with a random seed, so
 * a build cannot aim at collisions, and one that happens only refuses an entry of that build.
 * Directories above an entry are in it too, so that nothing can be put below a link.
 */
#include "artifact_manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

#include "fileio.h"

#define NODES_FIRST 1024u

struct node { /* hash 0: empty */
	uint64_t hash;
	uint32_t index;
	uint32_t known; /* enum manifest_known */
};

struct manifest {
	int dir_fd, fd, finished;
	uint32_t next, entries_max;
	uint64_t seed;
	struct node *node;
	size_t nodes, used; /* nodes: a power of two */
	size_t n;           /* bytes in line */
	size_t written;     /* bytes before those of line */
	char line[MANIFEST_LINE_BYTES];
};

void manifest_free(struct manifest *m)
{
	if (!m)
		return;
	if (m->fd >= 0)
		close(m->fd);
	if (m->fd >= 0 && !m->finished)
		unlinkat(m->dir_fd, MANIFEST_TEMP, 0);
	free(m->node);
	free(m);
}

static int flush(struct manifest *m, struct err *e)
{
	size_t n = m->n;

	m->n = 0;
	m->written += n;
	if (fileio_write_full(m->fd, m->line, n, e) < 0)
		return err_prefix(e, MANIFEST_TEMP);
	return 0;
}

/* Append a JSON value; it is freed. */
static int put(struct manifest *m, const char *before, json_t *v, struct err *e)
{
	size_t head = strlen(before), n = 0;

	for (int turn = 0; v && turn < 2; turn++) {
		size_t room = sizeof(m->line) - m->n;

		if (turn && m->n && flush(m, e) < 0)
			break;
		room = sizeof(m->line) - m->n;
		n = room > head ? json_dumpb(v, m->line + m->n + head, room - head,
					     JSON_COMPACT | JSON_ENCODE_ANY) : 0;
		if (n && n <= room - head)
			break;
		n = 0;
	}
	json_decref(v);
	if (n == 0)
		return err_set(e, "internal", "cannot encode an entry of the manifest");
	memcpy(m->line + m->n, before, head);
	m->n += head + n;
	return 0;
}

int manifest_new(struct manifest **out, int dir_fd, const char *build_id, uint32_t entries_max,
		 struct err *e)
{
	struct manifest *m = calloc(1, sizeof(*m));

	if (!m)
		return err_set(e, "internal", "no memory for the manifest");
	m->fd = -1;
	m->dir_fd = dir_fd;
	m->entries_max = entries_max;
	m->nodes = NODES_FIRST;
	m->node = calloc(m->nodes, sizeof(*m->node));
	if (!m->node || getrandom(&m->seed, sizeof(m->seed), 0) != sizeof(m->seed)) {
		manifest_free(m);
		return err_set(e, "internal", "no memory for the manifest");
	}
	m->fd = openat(dir_fd, MANIFEST_TEMP, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		       0640);
	if (m->fd < 0) {
		err_errno(e, "io", "cannot create " MANIFEST_TEMP);
		manifest_free(m);
		return -1;
	}
	if (put(m, "{\"format\":1,\"build_id\":", json_string(build_id), e) < 0) {
		manifest_free(m);
		return -1;
	}
	m->n += (size_t)snprintf(m->line + m->n, sizeof(m->line) - m->n, ",\"files\":[");
	*out = m;
	return 0;
}

static uint64_t hash_of(const struct manifest *m, const char *path, size_t n)
{
	uint64_t h = XXH3_64bits_withSeed(path, n, m->seed);

	return h ? h : 1;
}

/* The node of this hash, or the empty one where it belongs. */
static struct node *locate(const struct manifest *m, uint64_t hash)
{
	size_t i = (size_t)hash & (m->nodes - 1);

	while (m->node[i].hash && m->node[i].hash != hash)
		i = (i + 1) & (m->nodes - 1);
	return &m->node[i];
}

static int grow(struct manifest *m, struct err *e)
{
	struct node *old = m->node;
	size_t n = m->nodes;

	if (m->used * 2 < n)
		return 0;
	m->node = calloc(n * 2, sizeof(*m->node));
	if (!m->node) {
		m->node = old;
		return err_set(e, "internal", "no memory for %zu artifact paths", n);
	}
	m->nodes = n * 2;
	for (size_t i = 0; i < n; i++)
		if (old[i].hash)
			*locate(m, old[i].hash) = old[i];
	free(old);
	return 0;
}

static int note(struct manifest *m, const char *path, size_t n, enum manifest_known known,
		uint32_t index, struct err *e)
{
	struct node *at;

	if (grow(m, e) < 0)
		return -1;
	at = locate(m, hash_of(m, path, n));
	if (at->hash && known == MANIFEST_DIR_ABOVE)
		return 0;
	m->used += at->hash == 0;
	*at = (struct node){ hash_of(m, path, n), index, known };
	return 0;
}

enum manifest_known manifest_find(const struct manifest *m, const char *path, uint32_t *index)
{
	const struct node *at = locate(m, hash_of(m, path, strlen(path)));

	if (!at->hash)
		return MANIFEST_NEW;
	*index = at->index;
	return (enum manifest_known)at->known;
}

const char *manifest_judge(const struct manifest *m, const char *path, enum tarin_type type)
{
	uint32_t index;
	enum manifest_known known = manifest_find(m, path, &index);

	if (known != MANIFEST_NEW && !(known == MANIFEST_DIR_ABOVE && type == TARIN_DIR))
		return "an entry of this path came before";
	for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
		const struct node *at = locate(m, hash_of(m, path, (size_t)(p - path)));

		if (at->hash && (at->known == MANIFEST_FILE || at->known == MANIFEST_LINK))
			return "it lies below something that is no directory";
	}
	if (m->used > 2 * (size_t)m->entries_max + 4096)
		return "there are too many directories";
	if (m->written + m->n + 2 * MANIFEST_LINE_BYTES > MANIFEST_BYTES_MAX)
		return "the manifest is full: the names are too long and too many";
	return NULL;
}

uint32_t manifest_next(const struct manifest *m)
{
	return m->next;
}

static json_t *entry_json(const struct manifest_entry *x)
{
	static const char *const words[] = { [TARIN_FILE] = "file", [TARIN_DIR] = "dir",
					     [TARIN_SYMLINK] = "symlink",
					     [TARIN_HARDLINK] = "hardlink" };
	char mode[8];

	snprintf(mode, sizeof(mode), "%04o", x->tar->mode & 0777);
	return json_pack("{s:I, s:s, s:s, s:I, s:s, s:I, s:s*, s:s*}", "index", (json_int_t)x->index,
			 "path", x->path, "type", words[x->tar->type], "size",
			 (json_int_t)x->tar->size, "mode", mode, "mtime", (json_int_t)x->tar->mtime,
			 "sha256", x->sha256, "target", x->target);
}

int manifest_add(struct manifest *m, const struct manifest_entry *x, struct err *e)
{
	static const enum manifest_known known[] = { [TARIN_FILE] = MANIFEST_FILE,
						     [TARIN_DIR] = MANIFEST_DIR,
						     [TARIN_SYMLINK] = MANIFEST_LINK,
						     [TARIN_HARDLINK] = MANIFEST_FILE };

	for (const char *p = strchr(x->path, '/'); p; p = strchr(p + 1, '/'))
		if (note(m, x->path, (size_t)(p - x->path), MANIFEST_DIR_ABOVE, 0, e) < 0)
			return -1;
	if (note(m, x->path, strlen(x->path), known[x->tar->type], x->index, e) < 0 ||
	    put(m, m->next ? ",\n" : "\n", entry_json(x), e) < 0)
		return -1;
	m->next++;
	return 0;
}

int manifest_finish(struct manifest *m, const char *sha256, uint64_t stream_bytes,
		    uint64_t total_bytes, struct err *e)
{
	char end[256];
	int n = snprintf(end, sizeof(end), "],\n\"sha256\":\"%s\",\"stream_bytes\":%llu,"
			 "\"total_bytes\":%llu}\n", sha256, (unsigned long long)stream_bytes,
			 (unsigned long long)total_bytes);

	if (flush(m, e) < 0 || fileio_write_full(m->fd, end, (size_t)n, e) < 0)
		return -1;
	if (renameat(m->dir_fd, MANIFEST_TEMP, m->dir_fd, MANIFEST_NAME) < 0)
		return err_errno(e, "io", "cannot rename " MANIFEST_TEMP);
	m->finished = 1;
	return 0;
}

int manifest_sync(struct manifest *m, struct err *e)
{
	if (fdatasync(m->fd) < 0 || fsync(m->dir_fd) < 0)
		return err_errno(e, "io", "cannot sync " MANIFEST_NAME);
	return 0;
}
