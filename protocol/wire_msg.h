/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire_msg.h - the vsock protocol: messages and caps. PROTOCOL.md is the contract, wire.h the codec.
 *
 * Decoded strings and bytes are views into the buffer they were decoded from and live as
 * long as it does.
 */
#ifndef KILN_WIRE_MSG_H
#define KILN_WIRE_MSG_H

#include <stddef.h>
#include <stdint.h>

#define WIRE_MAGIC 0x4e4c494bu /* "KILN" as little-endian bytes */
#define WIRE_VERSION 1u
#define WIRE_PORT 1024u /* host (CID 2) port for every connection */
#define WIRE_HEADER_BYTES 8u

/* Caps, in bytes. Each is checked before anything is allocated or copied. */
#define WIRE_MAX_DATA 65536u
#define WIRE_MAX_SPEC 262144u
#define WIRE_MAX_CA 1048576u
#define WIRE_MAX_SECRET 32u
#define WIRE_MAX_ENTROPY 64u
#define WIRE_MAX_TEXT 1024u
#define WIRE_MAX_NAME 128u
#define WIRE_MAX_HOST 255u
#define WIRE_SEND_DEFAULT 16384u /* one send() of an agent, unless WELCOME says more */
#define WIRE_UNACKED_MAX 1048576u /* journal bytes an agent may keep unacknowledged */
#define WIRE_ACK_BYTES 262144u   /* the host acknowledges at least this often … */
#define WIRE_ACK_MS 200u         /* … or after this time */
/* The largest frame there is (JOB), and the largest that a guest may send. */
#define WIRE_MAX_FRAME (WIRE_HEADER_BYTES + WIRE_MAX_SPEC + WIRE_MAX_CA + 256u)
#define WIRE_MAX_GUEST_FRAME (WIRE_HEADER_BYTES + WIRE_MAX_DATA + 64u)

enum wire_type { /* numbers are never reused */
	WIRE_HELLO = 1, WIRE_WELCOME = 2, WIRE_JOB = 3, WIRE_STATE = 4, WIRE_SOURCE = 5,
	WIRE_STEP_BEGIN = 6, WIRE_STEP_END = 7, WIRE_LOG = 8, WIRE_ACK = 9, WIRE_HEARTBEAT = 10,
	WIRE_CANCEL = 11, WIRE_RESULT = 12, WIRE_RESULT_ACK = 13, WIRE_ERROR = 14, WIRE_NOTE = 15,
	WIRE_OPEN = 16, WIRE_OPENED = 17, WIRE_REFUSED = 18, WIRE_DATA = 19, WIRE_END = 20,
	WIRE_STREAM_ACK = 21, WIRE_RESET = 22
};

enum wire_state { WIRE_STATE_CLONING = 1, WIRE_STATE_RUNNING = 2, WIRE_STATE_COLLECTING = 3 };

enum wire_class { /* of RESULT: what an agent can tell; the host knows more classes */
	WIRE_CLASS_OK = 0, WIRE_CLASS_USER = 1, WIRE_CLASS_TIMEOUT = 2, WIRE_CLASS_OOM = 3,
	WIRE_CLASS_DISK_FULL = 4, WIRE_CLASS_CANCELLED = 5, WIRE_CLASS_AGENT = 6
};

enum wire_kind { WIRE_KIND_ARTIFACTS = 1, WIRE_KIND_SOURCE = 2, WIRE_KIND_TCP = 3 };

enum wire_reason { WIRE_REASON_USER = 1, WIRE_REASON_TIMEOUT = 2, WIRE_REASON_HOST = 3 };

enum wire_code { /* of ERROR, REFUSED and RESET */
	WIRE_CODE_VERSION = 1, WIRE_CODE_PROTOCOL = 2, WIRE_CODE_SECRET = 3, WIRE_CODE_LIMIT = 4,
	WIRE_CODE_POLICY = 5, WIRE_CODE_RESOLVE = 6, WIRE_CODE_CONNECT = 7, WIRE_CODE_PEER = 8,
	WIRE_CODE_INTERNAL = 9
};

#define WIRE_NO_STEP 0xffffffffu

struct wire_bytes {
	const uint8_t *p;
	uint32_t n;
};

struct wire_hello {
	uint32_t magic;
	uint16_t version_min, version_max;
	uint64_t capabilities; /* none defined in version 1: 0 */
	uint64_t next_seq;     /* first journal message it can still send; 1 on the first HELLO */
	struct wire_bytes secret; /* empty on the first HELLO, JOB's secret when it dials again */
	struct wire_bytes agent, kernel, arch;
};
struct wire_welcome { uint16_t version; uint32_t send_max_bytes, heartbeat_ms; uint64_t acked_seq; };
struct wire_job { uint64_t time_ns; struct wire_bytes entropy, secret, spec, ca_bundle; };
struct wire_state_msg { uint64_t seq, at_ms; uint8_t state; };
struct wire_source { uint64_t seq; uint8_t shallow; uint32_t submodules; struct wire_bytes commit, ref; };
struct wire_step_begin { uint64_t seq, at_ms; uint32_t index; struct wire_bytes name, command; };
struct wire_step_end {
	uint64_t seq, at_ms;
	uint32_t index;
	int32_t exit_code; /* -1 when a signal ended it */
	uint32_t signal;
	uint8_t oom;
	uint64_t wall_ms, cpu_us, peak_bytes;
};
struct wire_log { uint64_t seq, offset; struct wire_bytes data; };
struct wire_ack { uint64_t seq, log_bytes; };
struct wire_heartbeat { uint64_t at_ms, memory_bytes, scratch_bytes; };
struct wire_cancel { uint8_t reason; uint32_t grace_ms; struct wire_bytes message; };
struct wire_result {
	uint64_t seq;
	uint8_t class_;
	uint32_t step; /* WIRE_NO_STEP when no step is to blame */
	int32_t exit_code;
	uint32_t signal;
	uint64_t log_bytes, peak_bytes, cpu_us;
	struct wire_bytes message;
};
struct wire_result_ack { uint64_t seq; };
struct wire_error { uint16_t code; struct wire_bytes message; };
struct wire_note { uint64_t seq; struct wire_bytes key, value; };
struct wire_open {
	uint32_t magic;
	uint16_t version;
	uint8_t kind;
	uint16_t port;             /* TCP only, else 0 */
	struct wire_bytes secret, host; /* host: TCP only, else empty */
};
struct wire_opened { uint64_t total_bytes; };
struct wire_data { struct wire_bytes data; };
struct wire_end { uint64_t total_bytes, xxh3; };
struct wire_stream_ack { uint64_t total_bytes; uint32_t entries, refused; struct wire_bytes sha256; };

struct wire_msg {
	uint16_t type;
	union {
		struct wire_hello hello;
		struct wire_welcome welcome;
		struct wire_job job;
		struct wire_state_msg state;
		struct wire_source source;
		struct wire_step_begin step_begin;
		struct wire_step_end step_end;
		struct wire_log log;
		struct wire_ack ack;
		struct wire_heartbeat heartbeat;
		struct wire_cancel cancel;
		struct wire_result result;
		struct wire_result_ack result_ack;
		struct wire_error error; /* ERROR, REFUSED and RESET */
		struct wire_note note;
		struct wire_open open;
		struct wire_opened opened;
		struct wire_data data;
		struct wire_end end;
		struct wire_stream_ack stream_ack;
	} u;
};
#endif
