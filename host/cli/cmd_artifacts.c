/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_artifacts.c - `kiln artifacts`: lists them, or fetches them into a directory. */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "builddir.h"
#include "cleanup.h"
#include "cli.h"
#include "extract.h"
#include "fileio.h"

#define PATH_ROOM (3u * 4096u + 128u)

static const struct opt options[] = {
	{ "--output", 'o', "DIR", "fetch them into DIR" },
	{ "--force", 'f', NULL, "replace DIR even if it holds something" },
	{ "--json", 0, NULL, "the manifest as JSON" },
	{ 0 },
};

struct source {
	struct cli *cli;
	const char *id;
	int dirfd;       /* the build directory, or -1: by the API */
	struct api *api;
};

struct download {
	int fd;
	EVP_MD_CTX *hash;
	struct err *e;
	int failed;
};

static int on_data(void *arg, const char *data, size_t n)
{
	struct download *d = arg;

	d->failed = EVP_DigestUpdate(d->hash, data, n) != 1 || fileio_write_full(d->fd, data, n, d->e) < 0;
	return d->failed;
}

static void hex(const unsigned char *md, unsigned n, char *out)
{
	for (unsigned i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", md[i]);
}

static int check_digest(EVP_MD_CTX *hash, const json_t *entry, struct err *e)
{
	const char *want = json_string_value(json_object_get(entry, "sha256"));
	unsigned char md[EVP_MAX_MD_SIZE];
	char got[2 * EVP_MAX_MD_SIZE + 1];
	unsigned n = 0;

	if (EVP_DigestFinal_ex(hash, md, &n) != 1)
		return err_set(e, "io", "SHA-256 failed");
	hex(md, n, got);
	if (want && strcmp(want, got) != 0)
		return err_set(e, "io", "%.200s did not come over as the manifest says (sha256)",
			       json_string_value(json_object_get(entry, "path")));
	return 0;
}

static int copy_remote(struct source *s, const json_t *entry, int fd, struct err *e)
{
	struct download d = { .fd = fd, .e = e };
	char path[PATH_ROOM];
	int n = snprintf(path, sizeof(path), "/build/%s/artifacts/", s->id), rc;

	if (api_escape_path(json_string_value(json_object_get(entry, "path")), path + n,
			    sizeof(path) - (size_t)n) < 0)
		return err_set(e, "io", "the name of an artifact is too long");
	d.hash = EVP_MD_CTX_new();
	if (!d.hash || EVP_DigestInit_ex(d.hash, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(d.hash);
		return err_set(e, "io", "SHA-256 is not there");
	}
	rc = api_stream(s->api, path, on_data, &d, e);
	if (rc == 0)
		rc = d.failed ? -1 : check_digest(d.hash, entry, e);
	EVP_MD_CTX_free(d.hash);
	return rc;
}

static int copy(void *arg, const json_t *entry, int fd, struct err *e)
{
	struct source *s = arg;

	return s->dirfd >= 0 ? extract_copy_local(s->dirfd, entry, fd, e) : copy_remote(s, entry, fd, e);
}

static void left_out(void *arg, const char *path, const char *why)
{
	term_say(&((struct source *)arg)->cli->term, TERM_PLAIN, "left out: %s: %s", path, why);
}

static int fetch(struct source *s, const json_t *manifest, const char *output, struct err *e)
{
	_cleanup_free_ char *target = strdup(output);
	struct extract x = { .target = target, .copy = copy, .refused = left_out, .arg = s,
			     .replace = opt_get(&s->cli->opts, "--force") != NULL };
	size_t n = target ? strlen(target) : 0;

	if (n == 0)
		return err_set(e, "usage", "--output needs the name of a directory");
	while (n > 1 && target[n - 1] == '/')
		target[--n] = '\0';
	if (extract_manifest(&x, manifest, e) < 0)
		return -1;
	term_say(&s->cli->term, TERM_GOOD, "%zu artifact%s in %s", x.files, x.files == 1 ? "" : "s", target);
	return CLI_OK;
}

static void list(struct cli *c, const json_t *manifest)
{
	const json_t *files = json_object_get(manifest, "files"), *f;
	char path[4200], line[4400], size[32], kind[16];
	size_t i;

	json_array_foreach(files, i, f) {
		const char *name = json_string_value(json_object_get(f, "path"));
		const char *target = json_string_value(json_object_get(f, "target"));
		const char *type = json_string_value(json_object_get(f, "type"));
		int n;

		filter_line(name ? name : "", path, sizeof(path));
		filter_line(type ? type : "file", kind, sizeof(kind));
		term_size((unsigned long long)json_integer_value(json_object_get(f, "size")), size,
			  sizeof(size));
		n = snprintf(line, sizeof(line), "%10s  %s%s\n",
			     strcmp(kind, "file") != 0 ? kind : size, path, target ? " (a link)" : "");
		term_raw(&c->term, line, (size_t)n);
	}
}

static int act(struct source *s, struct err *e)
{
	const char *output = opt_get(&s->cli->opts, "--output");
	json_t *manifest = NULL;
	char path[128];
	int rc;

	snprintf(path, sizeof(path), "/build/%s/artifacts", s->id);
	rc = s->dirfd >= 0 ? builddir_json(s->dirfd, "manifest.json", &manifest, e)
			   : api_call(s->api, "GET", path, NULL, &manifest, e);
	if (rc < 0 && s->dirfd >= 0 && strcmp(e->code, "not_found") == 0)
		return err_set(e, "not_found", "the build has collected no artifacts");
	if (rc < 0)
		return -1;
	rc = CLI_OK;
	if (output) {
		rc = fetch(s, manifest, output, e);
	} else if (opt_get(&s->cli->opts, "--json")) {
		term_json(&s->cli->term, manifest, JSON_INDENT(2));
	} else {
		list(s->cli, manifest);
	}
	json_decref(manifest);
	return rc;
}

static int run(struct cli *c)
{
	char id[JOB_ID_BYTES];
	struct source s = { .cli = c, .id = c->opts.args[0], .dirfd = -1 };
	struct err e = { 0 };
	int rc = 0;

	if (!*config_str(c->cfg, CONFIG_URL) && builddir_resolve(c->cfg, s.id, id, &e) == 0 &&
	    builddir_open(c->cfg, id, &s.dirfd, &e) == 0)
		s.id = id;
	else if (!job_id_ok(s.id))
		rc = e.code ? -1 : err_set(&e, "not_found", "kilnd wants the whole id of a build");
	else
		rc = api_open(c->cfg, &s.api, &e);
	if (rc == 0)
		rc = act(&s, &e);
	api_close(s.api);
	cleanup_fd(&s.dirfd);
	return rc < 0 ? cli_fail(c, &e) : rc;
}

const struct command cmd_artifacts = {
	.name = "artifacts", .usage = "<build> [--output DIR]",
	.summary = "List what a build left, or fetch it",
	.details = "\n<build> is an id, the beginning of one, or `last`.\n",
	.options = options, .min_args = 1, .max_args = 1, .run = run,
};
