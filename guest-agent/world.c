/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.c - the files and variables that a step finds. Owns what it writes below /etc and
 * /run/kiln and the memory of the environment; starts nothing.
 */
#include "world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "wire_msg.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define PROXY_URL "http://127.0.0.1:3128"

_Static_assert(WORLD_PROXY_PORT == 3128, "the port stands in PROXY_URL");

static const struct {
	const char *path, *text;
} etc_files[] = {
	{ "/etc/hosts", "127.0.0.1\tlocalhost kiln\n::1\tlocalhost ip6-localhost ip6-loopback\n" },
	{ "/etc/hostname", "kiln\n" },
	/* nobody answers there: a look-up fails at once instead of after seconds */
	{ "/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n" },
};

static const char *const fixed_env[] = {
	"CI=true", "KILN=1", "LANG=C.UTF-8", "TERM=dumb",
	"http_proxy=" PROXY_URL, "https_proxy=" PROXY_URL,
	"HTTP_PROXY=" PROXY_URL, "HTTPS_PROXY=" PROXY_URL,
	"no_proxy=localhost,127.0.0.1,::1", "NO_PROXY=localhost,127.0.0.1,::1",
};

/* How OpenSSL, curl, git, Python, Node and cargo are told of a CA bundle. */
static const char *const ca_env[] = {
	"SSL_CERT_FILE=" WORLD_CA_PATH, "CURL_CA_BUNDLE=" WORLD_CA_PATH,
	"GIT_SSL_CAINFO=" WORLD_CA_PATH, "REQUESTS_CA_BUNDLE=" WORLD_CA_PATH,
	"NODE_EXTRA_CA_CERTS=" WORLD_CA_PATH, "CARGO_HTTP_CAINFO=" WORLD_CA_PATH,
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The environment under construction; a copy of it is made by fork. */
static struct {
	char *var[WORLD_ENV_MAX + 1];
	size_t count, at;
	int full;
	char bytes[WORLD_ENV_BYTES];
} env;

/* "NAME=value" replaces what has the same name. */
static void env_set(const char *name, size_t name_n, const char *value, size_t value_n)
{
	size_t need = name_n + value_n + 2, i;
	char *to = env.bytes + env.at;

	for (i = 0; i < env.count; i++)
		if (strncmp(env.var[i], name, name_n) == 0 && env.var[i][name_n] == '=')
			break;
	if (i == WORLD_ENV_MAX || need > sizeof(env.bytes) - env.at) {
		env.full = 1;
		return;
	}
	memcpy(to, name, name_n);
	to[name_n] = '=';
	memcpy(to + name_n + 1, value, value_n);
	to[name_n + 1 + value_n] = '\0';
	env.at += need;
	env.var[i] = to;
	if (i == env.count)
		env.var[++env.count] = NULL;
}

static void env_put(const char *pair)
{
	const char *eq = strchr(pair, '=');

	env_set(pair, (size_t)(eq - pair), eq + 1, strlen(eq + 1));
}

static void env_named(const char *name, const char *value)
{
	env_set(name, strlen(name), value, strlen(value));
}

/* A line of /etc/environment: [export ]NAME=value or NAME="value". pam_env(8) */
static int parse_env_line(const char *p, size_t n, size_t *name_at, size_t *name_n,
			  size_t *value_at, size_t *value_n)
{
	const char *eq;
	size_t skip = n > 7 && strncmp(p, "export ", 7) == 0 ? 7 : 0;

	eq = memchr(p, '=', n);
	if (!n || p[0] == '#' || !eq || eq == p + skip)
		return -1;
	*name_at = skip;
	*name_n = (size_t)(eq - p) - skip;
	*value_at = (size_t)(eq - p) + 1;
	*value_n = n - *value_at;
	if (*value_n >= 2 && (eq[1] == '"' || eq[1] == '\'') && p[n - 1] == eq[1]) {
		*value_at += 1;
		*value_n -= 2;
	}
	return 0;
}

static void env_from_image(const char *text)
{
	size_t name, name_n, value, value_n;

	while (*text) {
		size_t n = strcspn(text, "\n");

		if (parse_env_line(text, n, &name, &name_n, &value, &value_n) == 0)
			env_set(text + name, name_n, text + value, value_n);
		text += n + (text[n] == '\n');
	}
}

static void find_path(struct world *w)
{
	snprintf(w->path, sizeof(w->path), "%s", DEFAULT_PATH);
	env.count = env.at = 0;
	env_from_image(w->image_env);
	for (size_t i = 0; i < env.count; i++)
		if (strncmp(env.var[i], "PATH=", 5) == 0 && env.var[i][5])
			snprintf(w->path, sizeof(w->path), "%s", env.var[i] + 5);
}

static int make_workspace(const struct world *w, const struct job *job, struct fail *f)
{
	const struct passwd_user *u = &w->user.entry;

	if (chown(job->workspace, u->uid, u->gid) < 0 || chmod(job->workspace, 0755) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot give %s to %s", job->workspace, u->name);
	return 0;
}

int world_make(struct world *w, const struct job *job, const uint8_t *ca, size_t ca_bytes,
	       struct fail *f)
{
	memset(w, 0, sizeof(*w));
	w->shell = access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh";
	if (access(w->shell, X_OK) < 0)
		return fail_errno(f, WIRE_CLASS_USER, "the image %s has no /bin/sh to run steps with",
				  job->image);
	if (user_make(job->user, w->shell, &w->user, f) < 0)
		return -1;
	for (size_t i = 0; i < COUNT(etc_files); i++)
		if (file_write(etc_files[i].path, etc_files[i].text, strlen(etc_files[i].text), 0644,
			       f) < 0)
			return -1;
	if (sethostname("kiln", 4) < 0)
		return fail_errno(f, WIRE_CLASS_AGENT, "cannot set the host name");
	w->image_env = file_read("/etc/environment");
	if (!w->image_env)
		return fail_set(f, WIRE_CLASS_AGENT, "no memory for the environment");
	find_path(w);
	snprintf(w->commit, sizeof(w->commit), "%s", job->commit);
	snprintf(w->branch, sizeof(w->branch), "%.256s", job->branch);
	w->has_ca = ca_bytes > 0;
	if (w->has_ca && file_write(WORLD_CA_PATH, ca, ca_bytes, 0644, f) < 0)
		return -1;
	return make_workspace(w, job, f);
}

char *const *world_env(const struct world *w, const struct job *job, const char *step_name)
{
	const struct passwd_user *u = &w->user.entry;

	env.count = env.at = 0;
	env.full = 0;
	env.var[0] = NULL;
	for (size_t i = 0; i < COUNT(fixed_env); i++)
		env_put(fixed_env[i]);
	for (size_t i = 0; w->has_ca && i < COUNT(ca_env); i++)
		env_put(ca_env[i]);
	env_from_image(w->image_env);
	env_named("PATH", w->path);
	env_named("HOME", u->home[0] ? u->home : "/");
	env_named("USER", u->name);
	env_named("LOGNAME", u->name);
	env_named("SHELL", w->shell);
	env_named("PWD", job->workspace);
	env_named("KILN_BUILD_ID", job->build_id);
	env_named("KILN_REPO_URL", job->repo_url);
	env_named("KILN_BRANCH", w->branch);
	env_named("KILN_COMMIT", w->commit);
	env_named("KILN_WORKSPACE", job->workspace);
	env_named("KILN_STEP", step_name);
	for (size_t i = 0; job->env[i]; i++)
		env_put(job->env[i]);
	return env.full ? NULL : env.var;
}

void world_resolved(struct world *w, const struct job *job, const char *ref)
{
	static const char heads[] = "refs/heads/";

	if (*job->branch || *job->tag)
		return;
	if (strncmp(ref, heads, sizeof(heads) - 1) == 0)
		ref += sizeof(heads) - 1;
	snprintf(w->branch, sizeof(w->branch), "%.256s", ref);
}

int world_has_tool(const struct world *w, const char *tool)
{
	const char *p = w->path;
	char full[4352];

	while (*p) {
		size_t n = strcspn(p, ":");
		struct stat st;

		if (n && n < sizeof(full) - 200 && strlen(tool) < 128) {
			snprintf(full, sizeof(full), "%.*s/%s", (int)n, p, tool);
			if (stat(full, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111))
				return 1;
		}
		p += n + (p[n] == ':');
	}
	return 0;
}
