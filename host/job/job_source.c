/* SPDX-License-Identifier: Apache-2.0 */
/* job_source.c - the part of a request that says what to build. Pure. */
#include <ctype.h>
#include <string.h>

#include "job_parts.h"
#include "jsonx.h"
#include "repo_url.h"

#define REF_MAX 250u

/* git-check-ref-format(1), and what a command line or a log must not get. */
static const char *ref_fault(const char *ref)
{
	size_t n = strlen(ref);

	if (n == 0)
		return "is empty";
	if (ref[0] == '-' || ref[0] == '/' || ref[0] == '.')
		return "begins with '-', '/' or '.'";
	if (ref[n - 1] == '/' || ref[n - 1] == '.' || (n > 5 && strcmp(ref + n - 5, ".lock") == 0))
		return "ends with '/', '.' or '.lock'";
	if (!job_plain(ref) || strpbrk(ref, " ~^:?*[\\"))
		return "holds a space, a control character or one of ~^:?*[\\";
	if (strstr(ref, "..") || strstr(ref, "//") || strstr(ref, "/.") || strstr(ref, "@{") ||
	    strcmp(ref, "@") == 0)
		return "is no name that git allows";
	return NULL;
}

static int put_ref(struct job_ctx *c, const char *key, struct err *e)
{
	const char *ref = NULL, *fault;

	if (jsonx_str(c->body, key, REF_MAX, &ref, e) < 0)
		return -1;
	if (ref && (fault = ref_fault(ref)))
		return err_field(e, "bad_value", key, "%s %s", key, fault);
	return job_put(c, key, json_string(ref ? ref : ""), e);
}

static int put_commit(struct job_ctx *c, struct err *e)
{
	const char *text = NULL;
	char id[65] = "";
	size_t n;

	if (jsonx_str(c->body, "commit", 1024, &text, e) < 0)
		return -1;
	n = text ? strlen(text) : 0;
	if (text && ((n != 40 && n != 64) || strspn(text, "0123456789abcdefABCDEF") != n))
		return err_field(e, "bad_value", "commit",
				 "commit must be a whole commit id: 40 (or 64) hexadecimal digits");
	for (size_t i = 0; i < n; i++)
		id[i] = (char)tolower((unsigned char)text[i]);
	return job_put(c, "commit", json_string(id), e);
}

/* None of these means anything without a repository. */
static int only_for_git(struct job_ctx *c, const char *source, struct err *e)
{
	static const char *const keys[] = { "repo_url", "branch", "tag", "commit", "depth",
					    "submodules", "credentials" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const json_t *v = json_object_get(c->body, keys[i]);

		if (v && !json_is_null(v))
			return err_field(e, "bad_value", keys[i], "%s has no meaning with source '%s'",
					 keys[i], source);
	}
	return 0;
}

static int put_source(struct job_ctx *c, const char **source, struct err *e)
{
	*source = "git";
	if (jsonx_str(c->body, "source", 16, source, e) < 0)
		return -1;
	if (strcmp(*source, "git") != 0 && strcmp(*source, "tar") != 0 &&
	    strcmp(*source, "none") != 0)
		return err_field(e, "bad_value", "source", "source must be git, tar or none");
	if (strcmp(*source, "tar") == 0 && !c->has_stream)
		return err_field(e, "bad_value", "source", "source 'tar' needs a source stream, which "
				 "this interface does not take: use `kiln run DIRECTORY`");
	if (strcmp(*source, "git") != 0 && only_for_git(c, *source, e) < 0)
		return -1;
	return job_put(c, "source", json_string(*source), e);
}

static int put_url(struct job_ctx *c, int needed, struct err *e)
{
	const char *text = NULL;
	struct repo_url url;

	if (jsonx_str(c->body, "repo_url", REPO_URL_MAX, &text, e) < 0)
		return -1;
	if (!text && needed)
		return err_field(e, "missing_field", "repo_url", "repo_url is missing: which "
				 "repository is to be built?");
	if (text && repo_url_parse(text, &url, e) < 0)
		return -1;
	return job_put(c, "repo_url", json_string(text ? text : ""), e);
}

static int put_submodules(struct job_ctx *c, struct err *e)
{
	const char *word = "recursive";

	if (jsonx_str(c->body, "submodules", 16, &word, e) < 0)
		return -1;
	if (strcmp(word, "recursive") != 0 && strcmp(word, "top") != 0 && strcmp(word, "none") != 0)
		return err_field(e, "bad_value", "submodules",
				 "submodules must be recursive, top or none");
	return job_put(c, "submodules", json_string(word), e);
}

static int put_credentials(struct job_ctx *c, struct err *e)
{
	static const char *const known[] = { "username", "password" };
	const char *user = "", *password = "";
	json_t *given = NULL;

	if (jsonx_object(c->body, "credentials", &given, e) < 0)
		return -1;
	if (!given)
		return job_put(c, "credentials", json_object(), e);
	if (jsonx_only(given, known, 2, e) < 0 || jsonx_str(given, "username", 256, &user, e) < 0 ||
	    jsonx_str(given, "password", 4096, &password, e) < 0)
		return job_inside(e, "credentials");
	if (!job_plain(user) || !job_plain(password) || !*password)
		return err_field(e, "bad_value", "credentials", "credentials need a password, and hold "
				 "no control character");
	return job_put(c, "credentials", json_pack("{s:s, s:s}", "username", user, "password",
						   password), e);
}

int job_part_source(struct job_ctx *c, struct err *e)
{
	const char *source;
	int64_t depth = 1;

	if (put_source(c, &source, e) < 0 || put_url(c, strcmp(source, "git") == 0, e) < 0 ||
	    put_ref(c, "branch", e) < 0 || put_ref(c, "tag", e) < 0 || put_commit(c, e) < 0)
		return -1;
	if (*json_string_value(json_object_get(c->job, "branch")) &&
	    *json_string_value(json_object_get(c->job, "tag")))
		return err_field(e, "bad_value", "tag", "give a branch or a tag, not both");
	if (jsonx_int(c->body, "depth", 0, 1000000, &depth, e) < 0 ||
	    job_put(c, "depth", json_integer(depth), e) < 0)
		return -1;
	if (put_submodules(c, e) < 0)
		return -1;
	return put_credentials(c, e);
}
