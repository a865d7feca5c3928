/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gitfetch.c - chooses refspecs by what the server advertises, fetches, sets HEAD.
 *
 * Owns the remote while it runs; the repository is the caller's. git_clone() is not used: it
 * knows neither single commits nor tags, and says less when something is not there.
 *
 * Order: connect (the refs are advertised) -> plan -> fetch -> find the commit -> check out.
 */
#include "gitfetch.h"

#include <stdio.h>
#include <string.h>

#include <git2/sys/errors.h>
#include <git2/sys/remote.h>

#include "gitstream.h"
#include "gitwords.h"
#include "wire_msg.h"

#define REF_BYTES 600u     /* "refs/remotes/origin/" and a name of at most 512 bytes */
#define NAME_MAX_BYTES 512u
/*
 * Bits of enum git_remote_capability. Only the enum is in the library's headers; the function is
 * in the library, and linking fails when a later one has it no more.
 */
int git_remote_capabilities(unsigned int *out, git_remote *remote);

#define ALL_BRANCHES "+refs/heads/*:refs/remotes/origin/*"
#define KEPT_REF "refs/kiln/commit" /* holds a commit that no ref names while it is fetched */
#define WHAT "cannot clone"
#define NO_SINGLE_COMMITS "does not serve single commits"

struct fetch {
	git_repository *repo;
	git_remote *remote;
	const struct gitfetch_want *want;
	const struct gitfetch_say *say;
	char branch[REF_BYTES];      /* to check out, "" when detached */
	char specs[2][2 * REF_BYTES];
	size_t specs_count;
	int depth;
	int by_id;                   /* a refspec names the commit itself */
	int id_certain;              /* the server serves every commit that it has */
	int cred_fits;               /* the server may hear want->cred */
	int cred_said;               /* and has, since it was connected to */
};

/* libgit2 asks once the server demands it, and again when the server did not like the answer. */
static int on_credentials(git_credential **out, const char *url, const char *user_from_url,
			  unsigned int allowed, void *ctx)
{
	struct fetch *x = ctx;

	(void)url;
	(void)user_from_url;
	if (!(allowed & GIT_CREDENTIAL_USERPASS_PLAINTEXT)) {
		git_error_set_str(GIT_ERROR_HTTP, "the server takes no user name and password");
		return GIT_EAUTH;
	}
	if (x->cred_said) {
		git_error_set_str(GIT_ERROR_HTTP, "the server refused the user name or password of "
						  "'credentials'");
		return GIT_EAUTH;
	}
	x->cred_said = 1;
	return git_credential_userpass_plaintext_new(out, x->want->cred->username,
						     x->want->cred->password);
}

static void set_callbacks(struct fetch *x, git_remote_callbacks *callbacks)
{
	callbacks->payload = x;
	if (x->cred_fits)
		callbacks->credentials = on_credentials;
}

static int fetch_options(struct fetch *x, git_fetch_options *o, int depth)
{
	if (git_fetch_options_init(o, GIT_FETCH_OPTIONS_VERSION) < 0)
		return -1;
	set_callbacks(x, &o->callbacks);
	o->depth = depth;
	o->update_fetchhead = 0;
	/* A shallow clone gets the tags of the commits it has; a whole one gets all. */
	o->download_tags = depth ? GIT_REMOTE_DOWNLOAD_TAGS_AUTO : GIT_REMOTE_DOWNLOAD_TAGS_ALL;
	o->proxy_opts.type = GIT_PROXY_NONE; /* gitstream.c is the way out */
	o->follow_redirects = GIT_REMOTE_REDIRECT_INITIAL;
	return 0;
}

static int open_remote(struct fetch *x, struct fail *f)
{
	git_remote_connect_options o;

	git_remote_connect_options_init(&o, GIT_REMOTE_CONNECT_OPTIONS_VERSION);
	o.proxy_opts.type = GIT_PROXY_NONE;
	o.follow_redirects = GIT_REMOTE_REDIRECT_INITIAL;
	set_callbacks(x, &o.callbacks);
	x->cred_said = 0;
	if (!x->remote && git_remote_lookup(&x->remote, x->repo, "origin") < 0 &&
	    git_remote_create(&x->remote, x->repo, "origin", x->want->url) < 0)
		return gitwords_fail_local(f, "cannot name the remote");
	if (git_remote_connect_ext(x->remote, GIT_DIRECTION_FETCH, &o) < 0)
		return gitwords_fail(f, WHAT, x->want->url);
	return 0;
}

/* The advertised ref of that name, or NULL. */
static const git_remote_head *find_ref(const struct fetch *x, const char *name)
{
	const git_remote_head **heads;
	size_t n;

	if (git_remote_ls(&heads, &n, x->remote) < 0)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(heads[i]->name, name) == 0)
			return heads[i];
	}
	return NULL;
}

/* An advertised branch or tag that is the commit, or NULL. */
static const char *find_tip(const struct fetch *x, const char *commit)
{
	const git_remote_head **heads;
	size_t n;

	if (git_remote_ls(&heads, &n, x->remote) < 0)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		char hex[GIT_OID_MAX_HEXSIZE + 1];

		git_oid_tostr(hex, sizeof(hex), &heads[i]->oid);
		if (strcmp(hex, commit) == 0 && strncmp(heads[i]->name, "refs/heads/", 11) == 0)
			return heads[i]->name;
	}
	return NULL;
}

/* Names beyond the cap are ones that the server cannot have advertised to us. */
static void add_spec(struct fetch *x, const char *from, const char *to)
{
	snprintf(x->specs[x->specs_count++], sizeof(x->specs[0]), "+%s:%s", from, to);
}

static void add_branch_spec(struct fetch *x, const char *branch)
{
	char from[REF_BYTES], to[REF_BYTES];

	snprintf(from, sizeof(from), "refs/heads/%.*s", (int)NAME_MAX_BYTES, branch);
	snprintf(to, sizeof(to), "refs/remotes/origin/%.*s", (int)NAME_MAX_BYTES, branch);
	add_spec(x, from, to);
}

static int plan_branch(struct fetch *x, struct fail *f)
{
	char name[REF_BYTES];

	snprintf(name, sizeof(name), "refs/heads/%s", x->want->branch);
	if (strlen(x->want->branch) > NAME_MAX_BYTES || !find_ref(x, name))
		return fail_set(f, WIRE_CLASS_USER, WHAT " %s: there is no branch '%.300s'",
				x->want->url, x->want->branch);
	snprintf(x->branch, sizeof(x->branch), "%s", x->want->branch);
	add_branch_spec(x, x->branch);
	return 0;
}

static int plan_tag(struct fetch *x, struct fail *f)
{
	char name[REF_BYTES];

	snprintf(name, sizeof(name), "refs/tags/%s", x->want->tag);
	if (strlen(x->want->tag) > NAME_MAX_BYTES || !find_ref(x, name))
		return fail_set(f, WIRE_CLASS_USER, WHAT " %s: there is no tag '%.300s'",
				x->want->url, x->want->tag);
	add_spec(x, name, name);
	return 0;
}

/* The remote's HEAD: its branch, or the commit when it is detached. */
static int plan_head(struct fetch *x, struct fail *f)
{
	const git_remote_head *head = find_ref(x, "HEAD");
	const git_remote_head **heads;
	size_t n;

	if (!head && git_remote_ls(&heads, &n, x->remote) == 0 && n > 0)
		return fail_set(f, WIRE_CLASS_USER,
				WHAT " %s: its HEAD names a branch that does not exist: name one",
				x->want->url);
	if (!head)
		return fail_set(f, WIRE_CLASS_USER,
				WHAT " %s: the repository is empty, there is no commit to build",
				x->want->url);
	if (head->symref_target && strncmp(head->symref_target, "refs/heads/", 11) == 0 &&
	    strlen(head->symref_target) - 11 <= NAME_MAX_BYTES) {
		snprintf(x->branch, sizeof(x->branch), "%s", head->symref_target + 11);
		add_branch_spec(x, x->branch);
		return 0;
	}
	add_spec(x, "HEAD", KEPT_REF);
	return 0;
}

/* Everything, for a server that does not serve single commits. */
static void plan_whole(struct fetch *x)
{
	x->specs_count = 0;
	snprintf(x->specs[x->specs_count++], sizeof(x->specs[0]), "%s", ALL_BRANCHES);
	x->depth = 0;
	x->by_id = 0;
}

static void say_whole(const struct fetch *x, const char *why)
{
	char text[128];

	snprintf(text, sizeof(text), "the server %s, fetching the whole history", why);
	x->say->line(x->say->ctx, text);
}

static int plan_commit(struct fetch *x)
{
	const char *tip = find_tip(x, x->want->commit);
	char name[REF_BYTES];
	unsigned caps = 0;

	/* A branch wanted with the commit is in the specs already; it may be the tip itself. */
	snprintf(name, sizeof(name), "refs/heads/%.*s", (int)NAME_MAX_BYTES, x->want->branch);
	if (tip && (!x->branch[0] || strcmp(tip, name) == 0)) {
		if (!x->branch[0])
			add_branch_spec(x, tip + strlen("refs/heads/"));
		return 0;
	}
	if (git_remote_capabilities(&caps, x->remote) == 0 &&
	    (tip || caps & (GIT_REMOTE_CAPABILITY_REACHABLE_OID | GIT_REMOTE_CAPABILITY_TIP_OID))) {
		if (tip)
			add_branch_spec(x, tip + strlen("refs/heads/"));
		else
			add_spec(x, x->want->commit, KEPT_REF);
		x->by_id = !tip;
		x->id_certain = (caps & GIT_REMOTE_CAPABILITY_REACHABLE_OID) != 0;
		return 0;
	}
	say_whole(x, NO_SINGLE_COMMITS);
	plan_whole(x);
	return 0;
}

static int plan(struct fetch *x, struct fail *f)
{
	const struct gitfetch_want *w = x->want;

	x->depth = (int)w->depth;
	if (*w->branch && plan_branch(x, f) < 0)
		return -1;
	if (*w->tag && plan_tag(x, f) < 0)
		return -1;
	if (!*w->branch && !*w->tag && !*w->commit && plan_head(x, f) < 0)
		return -1;
	if (w->depth == 0) {
		int only_head = x->specs_count == 1 && strstr(x->specs[0], KEPT_REF);

		if (!only_head)
			plan_whole(x);
		return 0;
	}
	return *w->commit ? plan_commit(x) : 0;
}

static int fetch_once(struct fetch *x)
{
	char *specs[2] = { x->specs[0], x->specs[1] };
	git_strarray list = { specs, x->specs_count };
	git_fetch_options o;

	if (fetch_options(x, &o, x->depth) < 0)
		return -1;
	return git_remote_fetch(x->remote, &list, &o, "clone");
}

static int no_commit(const struct fetch *x, struct fail *f)
{
	return fail_set(f, WIRE_CLASS_USER, WHAT " %s: there is no commit %s", x->want->url,
			x->want->commit);
}

/*
 * The server refuses the commit, because it lacks it or because it may not serve it. When a
 * depth is asked for, libgit2 hides the server's words ("not our ref") behind its own.
 */
static int refused_id(const struct fetch *x, const char *message)
{
	return x->by_id && (strstr(message, "not our ref") || strstr(message, "unexpected packet"));
}

static int fetch_all(struct fetch *x, struct fail *f)
{
	const git_error *e;
	const char *message;

	if (fetch_once(x) == 0)
		return 0;
	e = git_error_last();
	message = e && e->message ? e->message : "";
	if (refused_id(x, message) && x->id_certain)
		return no_commit(x, f);
	if (refused_id(x, message))
		say_whole(x, NO_SINGLE_COMMITS);
	else if (x->depth > 0 && strstr(message, "server doesn't support shallow"))
		say_whole(x, "knows no shallow clones");
	else
		return gitwords_fail(f, WHAT, x->want->url);
	plan_whole(x);
	if (open_remote(x, f) < 0)
		return -1;
	return fetch_once(x) < 0 ? gitwords_fail(f, WHAT, x->want->url) : 0;
}

/* The commit that was wanted, by the ref that was fetched or by its id. */
static int find_commit(const struct fetch *x, git_commit **out, struct fail *f)
{
	const struct gitfetch_want *w = x->want;
	char name[REF_BYTES];
	git_object *object = NULL;
	int rc;

	if (*w->commit) {
		git_oid id;

		if (git_oid_fromstr(&id, w->commit) < 0 ||
		    git_commit_lookup(out, x->repo, &id) < 0)
			return no_commit(x, f);
		return 0;
	}
	if (*w->tag)
		snprintf(name, sizeof(name), "refs/tags/%s", w->tag);
	else if (x->branch[0])
		snprintf(name, sizeof(name), "refs/remotes/origin/%.*s", (int)NAME_MAX_BYTES,
			 x->branch);
	else
		snprintf(name, sizeof(name), KEPT_REF);
	rc = git_revparse_single(&object, x->repo, name);
	if (rc == 0)
		rc = git_object_peel((git_object **)out, object, GIT_OBJECT_COMMIT);
	git_object_free(object);
	if (rc < 0 && *w->tag)
		return fail_set(f, WIRE_CLASS_USER, WHAT " %s: the tag '%.300s' is not of a commit",
				w->url, w->tag);
	return rc < 0 ? gitwords_fail_local(f, "cannot find what was fetched") : 0;
}

/* A local branch at the commit that tracks the remote one, and HEAD on it. */
static int set_branch(const struct fetch *x, const git_commit *commit)
{
	char name[REF_BYTES], upstream[REF_BYTES];
	git_reference *ref = NULL;
	int rc;

	snprintf(name, sizeof(name), "refs/heads/%.*s", (int)NAME_MAX_BYTES, x->branch);
	snprintf(upstream, sizeof(upstream), "origin/%.*s", (int)NAME_MAX_BYTES, x->branch);
	rc = git_branch_create(&ref, x->repo, x->branch, commit, 1);
	if (rc == 0)
		rc = git_branch_set_upstream(ref, upstream);
	git_reference_free(ref);
	return rc < 0 ? rc : git_repository_set_head(x->repo, name);
}

/* refs/remotes/origin/HEAD, where the server's HEAD is a branch that was fetched. */
static void set_origin_head(const struct fetch *x, const char *target)
{
	char name[REF_BYTES];
	git_reference *ref = NULL;
	git_oid id;

	if (!*target)
		return;
	snprintf(name, sizeof(name), "refs/remotes/origin/%.*s", (int)NAME_MAX_BYTES, target);
	if (git_reference_name_to_id(&id, x->repo, name) == 0 &&
	    git_reference_symbolic_create(&ref, x->repo, "refs/remotes/origin/HEAD", name, 1,
					  "clone") == 0)
		git_reference_free(ref);
}

static int check_out(const struct fetch *x, const git_commit *commit, struct fail *f)
{
	git_checkout_options o;
	git_reference *kept = NULL;
	int rc;

	git_checkout_options_init(&o, GIT_CHECKOUT_OPTIONS_VERSION);
	o.checkout_strategy = GIT_CHECKOUT_FORCE;
	if (git_checkout_tree(x->repo, (const git_object *)commit, &o) < 0)
		return gitwords_fail_local(f, "cannot check the commit out");
	if (x->branch[0])
		rc = set_branch(x, commit);
	else
		rc = git_repository_set_head_detached(x->repo, git_commit_id(commit));
	if (rc < 0)
		return gitwords_fail_local(f, "cannot set HEAD");
	if (git_reference_lookup(&kept, x->repo, KEPT_REF) == 0) {
		git_reference_delete(kept); /* HEAD holds the commit now */
		git_reference_free(kept);
	}
	return 0;
}

static int run(struct fetch *x, struct gitfetch_got *got, struct fail *f)
{
	char origin_head[NAME_MAX_BYTES + 1] = "";
	const git_remote_head *head;
	git_commit *commit = NULL;
	int rc;

	if (open_remote(x, f) < 0)
		return -1;
	head = find_ref(x, "HEAD");
	if (head && head->symref_target && strncmp(head->symref_target, "refs/heads/", 11) == 0)
		snprintf(origin_head, sizeof(origin_head), "%s", head->symref_target + 11);
	if (plan(x, f) < 0 || fetch_all(x, f) < 0 || find_commit(x, &commit, f) < 0)
		return -1;
	rc = check_out(x, commit, f);
	if (rc == 0) {
		set_origin_head(x, origin_head);
		git_oid_tostr(got->commit, sizeof(got->commit), git_commit_id(commit));
		snprintf(got->ref, sizeof(got->ref), "%.*s", (int)sizeof(got->ref) - 1,
			 x->branch[0] ? x->branch : x->want->tag);
		got->shallow = git_repository_is_shallow(x->repo) == 1;
		got->whole = x->want->depth > 0 && x->depth == 0;
	}
	git_commit_free(commit);
	return rc;
}

int gitfetch_run(git_repository *repo, const struct gitfetch_want *want,
		 const struct gitfetch_say *say, struct gitfetch_got *got, struct fail *f)
{
	struct fetch x = { .repo = repo, .want = want, .say = say };
	int rc;

	x.cred_fits = gitcred_fits(want->cred, want->url);
	gitstream_stay(x.cred_fits);
	rc = run(&x, got, f);
	git_remote_free(x.remote);
	return rc;
}
