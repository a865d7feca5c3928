/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe_cache.c - keeps verdicts of the probe on disk. Owns <cache_dir>/vmm-<hash>.json and
 * vmm.lock. The whole key stands in the file, the hash only names it.
 */
#include "probe_cache.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "cleanup.h"
#include "fileio.h"
#include "jsonx.h"

#define CACHE_FILE_BYTES 8192

/* "path size mtime" of a file; a changed one has another verdict. */
static void add_file(char *key, size_t n, const char *path)
{
	size_t used = strlen(key);
	struct stat st = { 0 };

	stat(path, &st);
	snprintf(key + used, n - used, "|%.300s %jd %jd.%09ld", path, (intmax_t)st.st_size,
		 (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void cpu_model(char *out, size_t n)
{
	_cleanup_file_ FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];

	out[0] = '\0';
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "model name", 10) == 0) {
			line[strcspn(line, "\n")] = '\0';
			snprintf(out, n, "%.190s", line);
			return;
		}
}

static uint64_t hash(const char *s) /* FNV-1a, a name and no more */
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
	return h;
}

static void load(const struct probe_cache *c, struct probe_verdict *v)
{
	_cleanup_free_ char *text = NULL;
	const char *key = "", *version = "", *reason = "";
	json_t *o = NULL;
	int tried = 0, kvm = 0;
	size_t n;

	if (fileio_read(AT_FDCWD, c->path, CACHE_FILE_BYTES, &text, &n, NULL) < 0 ||
	    jsonx_parse_object(text, n, CACHE_FILE_BYTES, &o, NULL) < 0)
		return;
	if (jsonx_str(o, "key", sizeof(c->key), &key, NULL) == 0 && strcmp(key, c->key) == 0 &&
	    jsonx_str(o, "version", sizeof(v->version) - 1, &version, NULL) == 0 &&
	    jsonx_str(o, "reason", sizeof(v->reason) - 1, &reason, NULL) == 0 &&
	    jsonx_bool(o, "kvm_tried", &tried, NULL) == 0 && jsonx_bool(o, "kvm", &kvm, NULL) == 0) {
		snprintf(v->version, sizeof(v->version), "%s", version);
		snprintf(v->reason, sizeof(v->reason), "%s", reason);
		v->kvm_tried = tried;
		v->kvm = kvm;
	}
	json_decref(o);
}

void probe_cache_open(struct probe_cache *c, const struct supjob_vmm *vmm, const char *qemu,
		      struct probe_verdict *v)
{
	char cpu[200], lock[4200];
	struct utsname u;

	*v = (struct probe_verdict){ .kvm = false };
	*c = (struct probe_cache){ .lock_fd = -1 };
	if (!*vmm->cache_dir || fileio_mkdirs(vmm->cache_dir, 0755, NULL) < 0)
		return;
	uname(&u);
	cpu_model(cpu, sizeof(cpu));
	snprintf(c->key, sizeof(c->key), "1|%s|%s|%s", u.release, u.version, cpu);
	add_file(c->key, sizeof(c->key), qemu);
	add_file(c->key, sizeof(c->key), vmm->kernel);
	add_file(c->key, sizeof(c->key), vmm->probe_initramfs);
	snprintf(c->path, sizeof(c->path), "%s/vmm-%016" PRIx64 ".json", vmm->cache_dir, hash(c->key));
	snprintf(lock, sizeof(lock), "%s/vmm.lock", vmm->cache_dir);
	load(c, v);
	if (v->version[0] && v->kvm_tried)
		return;
	c->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (c->lock_fd >= 0 && flock(c->lock_fd, LOCK_EX) == 0) /* its holder is bounded */
		load(c, v);
}

void probe_cache_store(const struct probe_cache *c, const struct probe_verdict *v)
{
	_cleanup_free_ char *text = NULL;
	json_t *o;

	if (!c->path[0])
		return;
	o = json_pack("{s:s, s:s, s:b, s:b, s:s}", "key", c->key, "version", v->version, "kvm_tried",
		      v->kvm_tried, "kvm", v->kvm, "reason", v->reason);
	text = o ? json_dumps(o, JSON_INDENT(1)) : NULL;
	json_decref(o);
	if (text)
		fileio_replace(AT_FDCWD, c->path, text, strlen(text), 0644, NULL);
}

void probe_cache_close(struct probe_cache *c)
{
	cleanup_fd(&c->lock_fd);
	c->lock_fd = -1;
}
