/* SPDX-License-Identifier: Apache-2.0 */
/* api_health.c - GET /health: version, VMM, load, room on the disk. Owns nothing. */
#include <sys/statvfs.h>

#include "api.h"
#include "builds.h"
#include "http.h"
#include "probe.h"
#include "view.h"

static void add_vmm(json_t *o, const struct kilnd *k)
{
	static const char *const names[] = { "vmm", "accel", "vsock", "emulated", "reason" };
	const json_t *facts = probe_facts(k->probe);
	const char *error = probe_error(k->probe);
	int emulated = json_is_true(json_object_get(facts, "emulated"));

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		json_t *v = json_object_get(facts, names[i]);

		json_object_set_new(o, names[i], v ? json_incref(v) : json_null());
	}
	json_object_set(o, "vmm_version", json_object_get(facts, "version"));
	json_object_set_new(o, "emulation_factor", json_integer(
		emulated ? config_int(k->cfg, CONFIG_EMULATION_FACTOR) : 1));
	json_object_set_new(o, "probing", json_boolean(!facts && !error));
	if (error)
		json_object_set_new(o, "reason", json_string(error));
}

void api_health(struct request *r)
{
	const struct kilnd *k = r->k;
	json_t *o = json_object();
	unsigned running = 0;
	struct statvfs fs;
	char since[VIEW_TIME_BYTES];

	for (int s = STATE_STARTING_VM; s <= STATE_COLLECTING_ARTIFACTS; s++)
		running += builds_count(k->builds, (enum build_state)s);
	view_time(k->started_ms, since);
	json_object_set_new(o, "ok", json_boolean(!probe_error(k->probe)));
	json_object_set_new(o, "version", json_string(KILN_VERSION));
	add_vmm(o, k);
	json_object_set_new(o, "running", json_integer(running));
	json_object_set_new(o, "queued", json_integer(builds_count(k->builds, STATE_QUEUED)));
	json_object_set_new(o, "started_at", json_string(since));
	if (fstatvfs(k->builds_fd, &fs) == 0)
		json_object_set_new(o, "disk_free_bytes", json_integer(
			(json_int_t)fs.f_bavail * (json_int_t)fs.f_frsize));
	reply_json(r, 200, o);
}
