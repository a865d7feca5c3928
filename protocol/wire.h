/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - codec of the vsock protocol (PROTOCOL.md).
 *
 * Pure: no I/O, no heap, no log, no clock. Bytes in, struct out, and back. The
 * layout of each message stands once, in the table wire_specs; encoder, decoder,
 * vectors, fuzzers and the test of PROTOCOL.md all read that table.
 */
#ifndef KILN_WIRE_H
#define KILN_WIRE_H

#include "wire_msg.h"

enum wire_status {
	WIRE_OK = 0,
	WIRE_MORE,      /* the frame is not whole yet: call again with more bytes */
	WIRE_EUNKNOWN,  /* type number that this version does not know */
	WIRE_ETOOLONG,  /* frame or field above its cap */
	WIRE_ESHORT,    /* payload ends inside a field */
	WIRE_ETRAILING, /* bytes left after the last field */
	WIRE_EVALUE,    /* a field has a value that is not allowed (enum, magic, reserved) */
	WIRE_ETEXT,     /* a text field is not UTF-8 or holds a NUL byte */
	WIRE_ENOSPACE,  /* the output buffer of an encoder is too small */
	WIRE_STATUS_COUNT
};

enum wire_field_type { WIRE_U8, WIRE_U16, WIRE_U32, WIRE_U64, WIRE_I32, WIRE_TEXT, WIRE_BYTES };

enum wire_sender { WIRE_FROM_GUEST = 1, WIRE_FROM_HOST = 2, WIRE_FROM_BOTH = 3 };

struct wire_field {
	const char *name;
	enum wire_field_type type;
	uint64_t min, max; /* of the value; for text and bytes: of the length in bytes */
	size_t offset;     /* in struct wire_msg */
};

struct wire_spec {
	uint16_t type;
	const char *name;
	enum wire_sender sender;
	uint8_t control; /* 1: control connection, 2: bulk stream, 3: both */
	uint8_t fields;
	const struct wire_field *field;
};

/* All messages, ordered by number. Ends with a record whose name is NULL. */
extern const struct wire_spec wire_specs[];

/* The record of a message type, or NULL when version 1 has no such type. */
const struct wire_spec *wire_spec_of(uint16_t type);

/* The largest payload that a message of this type may have, in bytes. */
uint32_t wire_payload_max(const struct wire_spec *spec);

/*
 * Take one frame from the front of buf[0..len).
 * from: WIRE_FROM_GUEST when the peer is the guest, WIRE_FROM_HOST when it is the host;
 * a message that this side never sends is WIRE_EUNKNOWN.
 * WIRE_OK: *msg is filled (views into buf) and *used is the length of the frame, header
 * included. WIRE_MORE: *used is the length the whole frame will have, or WIRE_HEADER_BYTES
 * while the header itself is not complete; a caller whose buffer is smaller than *used has
 * chosen its buffer too small. Anything else: the connection is beyond repair; *used is 0.
 */
enum wire_status wire_decode(enum wire_sender from, const uint8_t *buf, size_t len,
			     struct wire_msg *msg, size_t *used);

/*
 * Write one frame into out[0..cap). *used gets its length.
 * Errors: WIRE_ENOSPACE, or what wire_decode would say of such a message.
 */
enum wire_status wire_encode(const struct wire_msg *msg, uint8_t *out, size_t cap, size_t *used);

/*
 * The same without the bytes of the last field, which must be text or bytes (LOG, DATA):
 * *used gets the length of header and head, after which the caller sends the n bytes
 * that the last field's view names, so that bulk data is not copied.
 */
enum wire_status wire_encode_head(const struct wire_msg *msg, uint8_t *out, size_t cap,
				  size_t *used);

/* A sentence for people, e.g. "field above its cap". Never NULL. */
const char *wire_strerror(enum wire_status st);

/* Words for states and classes as they stand in PROTOCOL.md; NULL for an unknown number. */
const char *wire_state_name(uint8_t state);
const char *wire_class_name(uint8_t cls);

/* A view of a C string (without its NUL). s may be NULL: empty. */
struct wire_bytes wire_text(const char *s);

#endif
