/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire_specs.c - the table of all messages: names, senders, fields, caps.
 *
 * Owns the layout of version 1. PROTOCOL.md has the same table in words, and a test
 * compares the two. Numbers are never reused; a new field means a new version.
 */
#include "wire.h"

#include <stddef.h>

#define AT(member) offsetof(struct wire_msg, u.member)
#define COUNT(a) (uint8_t)(sizeof(a) / sizeof((a)[0]))

static const struct wire_field f_hello[] = {
	{ "magic", WIRE_U32, WIRE_MAGIC, WIRE_MAGIC, AT(hello.magic) },
	{ "version_min", WIRE_U16, 1, UINT16_MAX, AT(hello.version_min) },
	{ "version_max", WIRE_U16, 1, UINT16_MAX, AT(hello.version_max) },
	{ "capabilities", WIRE_U64, 0, UINT64_MAX, AT(hello.capabilities) },
	{ "next_seq", WIRE_U64, 1, UINT64_MAX, AT(hello.next_seq) },
	{ "secret", WIRE_BYTES, 0, WIRE_MAX_SECRET, AT(hello.secret) },
	{ "agent", WIRE_TEXT, 1, 64, AT(hello.agent) },
	{ "kernel", WIRE_TEXT, 0, WIRE_MAX_NAME, AT(hello.kernel) },
	{ "arch", WIRE_TEXT, 0, 32, AT(hello.arch) },
};
static const struct wire_field f_welcome[] = {
	{ "version", WIRE_U16, 1, UINT16_MAX, AT(welcome.version) },
	{ "send_max_bytes", WIRE_U32, 1024, 1048576, AT(welcome.send_max_bytes) },
	{ "heartbeat_ms", WIRE_U32, 100, 600000, AT(welcome.heartbeat_ms) },
	{ "acked_seq", WIRE_U64, 0, UINT64_MAX, AT(welcome.acked_seq) },
};
static const struct wire_field f_job[] = {
	{ "time_ns", WIRE_U64, 0, UINT64_MAX, AT(job.time_ns) },
	{ "entropy", WIRE_BYTES, 0, WIRE_MAX_ENTROPY, AT(job.entropy) },
	{ "secret", WIRE_BYTES, WIRE_MAX_SECRET, WIRE_MAX_SECRET, AT(job.secret) },
	{ "spec", WIRE_TEXT, 2, WIRE_MAX_SPEC, AT(job.spec) },
	{ "ca_bundle", WIRE_BYTES, 0, WIRE_MAX_CA, AT(job.ca_bundle) },
};
static const struct wire_field f_state[] = {
	{ "seq", WIRE_U64, 1, UINT64_MAX, AT(state.seq) },
	{ "at_ms", WIRE_U64, 0, UINT64_MAX, AT(state.at_ms) },
	{ "state", WIRE_U8, 1, 3, AT(state.state) },
};
static const struct wire_field f_source[] = {
	{ "seq", WIRE_U64, 1, UINT64_MAX, AT(source.seq) },
	{ "shallow", WIRE_U8, 0, 1, AT(source.shallow) },
	{ "submodules", WIRE_U32, 0, UINT32_MAX, AT(source.submodules) },
	{ "commit", WIRE_TEXT, 0, 64, AT(source.commit) },
	{ "ref", WIRE_TEXT, 0, 256, AT(source.ref) },
};
static const struct wire_field f_step_begin[] = {
	{ "seq", WIRE_U64, 1, UINT64_MAX, AT(step_begin.seq) },
	{ "at_ms", WIRE_U64, 0, UINT64_MAX, AT(step_begin.at_ms) },
	{ "index", WIRE_U32, 0, 1023, AT(step_begin.index) },
	{ "name", WIRE_TEXT, 1, WIRE_MAX_NAME, AT(step_begin.name) },
	{ "command", WIRE_TEXT, 0, WIRE_MAX_TEXT, AT(step_begin.command) },
};
static const struct wire_field f_step_end[] = {
	{ "seq", WIRE_U64, 1, UINT64_MAX, AT(step_end.seq) },
	{ "at_ms", WIRE_U64, 0, UINT64_MAX, AT(step_end.at_ms) },
	{ "index", WIRE_U32, 0, 1023, AT(step_end.index) },
	{ "exit_code", WIRE_I32, 0, 0, AT(step_end.exit_code) },
	{ "signal", WIRE_U32, 0, 64, AT(step_end.signal) },
	{ "oom", WIRE_U8, 0, 1, AT(step_end.oom) },
	{ "wall_ms", WIRE_U64, 0, UINT64_MAX, AT(step_end.wall_ms) },
	{ "cpu_us", WIRE_U64, 0, UINT64_MAX, AT(step_end.cpu_us) },
	{ "peak_bytes", WIRE_U64, 0, UINT64_MAX, AT(step_end.peak_bytes) },
};
static const struct wire_field f_log[] = {
	{ "seq", WIRE_U64, 1, UINT64_MAX, AT(log.seq) },
	{ "offset", WIRE_U64, 0, UINT64_MAX, AT(log.offset) },
	{ "data", WIRE_BYTES, 1, WIRE_MAX_DATA, AT(log.data) },
};
static const struct wire_field f_ack[] = {
	{ "seq", WIRE_U64, 0, UINT64_MAX, AT(ack.seq) },
	{ "log_bytes", WIRE_U64, 0, UINT64_MAX, AT(ack.log_bytes) },
};
static const struct wire_field f_heartbeat[] = {
	{ "at_ms", WIRE_U64, 0, UINT64_MAX, AT(heartbeat.at_ms) },
	{ "memory_bytes", WIRE_U64, 0, UINT64_MAX, AT(heartbeat.memory_bytes) },
	{ "scratch_bytes", WIRE_U64, 0, UINT64_MAX, AT(heartbeat.scratch_bytes) },
};
static const struct wire_field f_cancel[] = {
	{ "reason", WIRE_U8, 1, 3, AT(cancel.reason) },
	{ "grace_ms", WIRE_U32, 0, 3600000, AT(cancel.grace_ms) },
	{ "message", WIRE_TEXT, 0, WIRE_MAX_TEXT, AT(cancel.message) },
};
static const struct wire_field f_result[] = {
	{ "seq", WIRE_U64, 1, UINT64_MAX, AT(result.seq) },
	{ "class", WIRE_U8, 0, 6, AT(result.class_) },
	{ "step", WIRE_U32, 0, UINT32_MAX, AT(result.step) },
	{ "exit_code", WIRE_I32, 0, 0, AT(result.exit_code) },
	{ "signal", WIRE_U32, 0, 64, AT(result.signal) },
	{ "log_bytes", WIRE_U64, 0, UINT64_MAX, AT(result.log_bytes) },
	{ "peak_bytes", WIRE_U64, 0, UINT64_MAX, AT(result.peak_bytes) },
	{ "cpu_us", WIRE_U64, 0, UINT64_MAX, AT(result.cpu_us) },
	{ "message", WIRE_TEXT, 0, WIRE_MAX_TEXT, AT(result.message) },
};
static const struct wire_field f_result_ack[] = {
	{ "seq", WIRE_U64, 1, UINT64_MAX, AT(result_ack.seq) },
};
static const struct wire_field f_error[] = {
	{ "code", WIRE_U16, 1, UINT16_MAX, AT(error.code) },
	{ "message", WIRE_TEXT, 0, WIRE_MAX_TEXT, AT(error.message) },
};
static const struct wire_field f_note[] = {
	{ "seq", WIRE_U64, 1, UINT64_MAX, AT(note.seq) },
	{ "key", WIRE_TEXT, 1, 64, AT(note.key) },
	{ "value", WIRE_TEXT, 0, WIRE_MAX_TEXT, AT(note.value) },
};
static const struct wire_field f_open[] = {
	{ "magic", WIRE_U32, WIRE_MAGIC, WIRE_MAGIC, AT(open.magic) },
	{ "version", WIRE_U16, 1, UINT16_MAX, AT(open.version) },
	{ "kind", WIRE_U8, 1, 3, AT(open.kind) },
	{ "port", WIRE_U16, 0, UINT16_MAX, AT(open.port) },
	{ "secret", WIRE_BYTES, WIRE_MAX_SECRET, WIRE_MAX_SECRET, AT(open.secret) },
	{ "host", WIRE_TEXT, 0, WIRE_MAX_HOST, AT(open.host) },
};
static const struct wire_field f_opened[] = {
	{ "total_bytes", WIRE_U64, 0, UINT64_MAX, AT(opened.total_bytes) },
};
static const struct wire_field f_refused[] = {
	{ "code", WIRE_U16, 1, UINT16_MAX, AT(error.code) },
	{ "message", WIRE_TEXT, 0, WIRE_MAX_TEXT, AT(error.message) },
};
static const struct wire_field f_data[] = {
	{ "data", WIRE_BYTES, 1, WIRE_MAX_DATA, AT(data.data) },
};
static const struct wire_field f_end[] = {
	{ "total_bytes", WIRE_U64, 0, UINT64_MAX, AT(end.total_bytes) },
	{ "xxh3", WIRE_U64, 0, UINT64_MAX, AT(end.xxh3) },
};
static const struct wire_field f_stream_ack[] = {
	{ "total_bytes", WIRE_U64, 0, UINT64_MAX, AT(stream_ack.total_bytes) },
	{ "entries", WIRE_U32, 0, UINT32_MAX, AT(stream_ack.entries) },
	{ "refused", WIRE_U32, 0, UINT32_MAX, AT(stream_ack.refused) },
	{ "sha256", WIRE_BYTES, 0, 32, AT(stream_ack.sha256) },
};
static const struct wire_field f_reset[] = {
	{ "code", WIRE_U16, 1, UINT16_MAX, AT(error.code) },
	{ "message", WIRE_TEXT, 0, WIRE_MAX_TEXT, AT(error.message) },
};

#define SPEC(n, s, c, f) { WIRE_##n, #n, WIRE_FROM_##s, c, COUNT(f), f }

const struct wire_spec wire_specs[] = {
	SPEC(HELLO, GUEST, 1, f_hello),
	SPEC(WELCOME, HOST, 1, f_welcome),
	SPEC(JOB, HOST, 1, f_job),
	SPEC(STATE, GUEST, 1, f_state),
	SPEC(SOURCE, GUEST, 1, f_source),
	SPEC(STEP_BEGIN, GUEST, 1, f_step_begin),
	SPEC(STEP_END, GUEST, 1, f_step_end),
	SPEC(LOG, GUEST, 1, f_log),
	SPEC(ACK, HOST, 1, f_ack),
	SPEC(HEARTBEAT, GUEST, 1, f_heartbeat),
	SPEC(CANCEL, HOST, 1, f_cancel),
	SPEC(RESULT, GUEST, 1, f_result),
	SPEC(RESULT_ACK, HOST, 1, f_result_ack),
	SPEC(ERROR, BOTH, 1, f_error),
	SPEC(NOTE, GUEST, 1, f_note),
	SPEC(OPEN, GUEST, 2, f_open),
	SPEC(OPENED, HOST, 2, f_opened),
	SPEC(REFUSED, HOST, 2, f_refused),
	SPEC(DATA, BOTH, 2, f_data),
	SPEC(END, BOTH, 2, f_end),
	SPEC(STREAM_ACK, BOTH, 2, f_stream_ack),
	SPEC(RESET, BOTH, 2, f_reset),
	{ 0, NULL, 0, 0, 0, NULL },
};

#define SPECS (sizeof(wire_specs) / sizeof(wire_specs[0]) - 1)
_Static_assert(SPECS == WIRE_RESET, "one record a message, in the order of the numbers");

const struct wire_spec *wire_spec_of(uint16_t type)
{
	return type >= 1 && type <= SPECS ? &wire_specs[type - 1] : NULL;
}

uint32_t wire_payload_max(const struct wire_spec *spec)
{
	static const uint8_t width[] = { [WIRE_U8] = 1, [WIRE_U16] = 2, [WIRE_U32] = 4,
					 [WIRE_U64] = 8, [WIRE_I32] = 4 };
	uint64_t sum = 0;

	for (unsigned i = 0; i < spec->fields; i++) {
		const struct wire_field *f = &spec->field[i];

		sum += f->type == WIRE_TEXT || f->type == WIRE_BYTES ? 4 + f->max : width[f->type];
	}
	return (uint32_t)sum;
}

const char *wire_state_name(uint8_t state)
{
	static const char *const name[] = { NULL, "cloning_repo", "running_build",
					    "collecting_artifacts" };

	return state < sizeof(name) / sizeof(name[0]) ? name[state] : NULL;
}

const char *wire_class_name(uint8_t cls)
{
	static const char *const name[] = { "ok", "user", "timeout", "oom", "disk_full",
					    "cancelled", "agent" };

	return cls < sizeof(name) / sizeof(name[0]) ? name[cls] : NULL;
}
