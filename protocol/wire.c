/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.c - encoder and decoder of the vsock protocol, driven by wire_specs.
 *
 * Owns: nothing. Touches only the buffers it is given. Grammar:
 *
 *	frame   = length:u32 type:u16 reserved:u16(0) payload[length]
 *	payload = the fields of the message in table order
 *	field   = u8 | u16 | u32 | u64 | i32 | length:u32 bytes[length]
 *
 * All integers are little-endian. A payload must be used up exactly.
 */
#include "wire.h"

#include <string.h>

static uint64_t get_le(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

static void put_le(uint8_t *p, unsigned n, uint64_t v)
{
	for (unsigned i = 0; i < n; i++, v >>= 8)
		p[i] = (uint8_t)v;
}

static unsigned int_width(enum wire_field_type t)
{
	switch (t) {
	case WIRE_U8: return 1;
	case WIRE_U16: return 2;
	case WIRE_U32:
	case WIRE_I32: return 4;
	case WIRE_U64: return 8;
	default: return 0;
	}
}

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF; and no NUL. */
static int is_text(const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n) {
		uint8_t c = p[i];
		uint32_t cp;
		unsigned more;

		if (c == 0)
			return 0;
		if (c < 0x80) {
			i++;
			continue;
		}
		if (c >= 0xc2 && c <= 0xdf)
			more = 1;
		else if ((c & 0xf0) == 0xe0)
			more = 2;
		else if (c >= 0xf0 && c <= 0xf4)
			more = 3;
		else
			return 0;
		if (n - i <= more)
			return 0;
		cp = c & (0x3fu >> more);
		for (unsigned k = 1; k <= more; k++) {
			if ((p[i + k] & 0xc0) != 0x80)
				return 0;
			cp = cp << 6 | (p[i + k] & 0x3f);
		}
		if ((more == 2 && cp < 0x800) || (cp >= 0xd800 && cp <= 0xdfff) ||
		    (more == 3 && (cp < 0x10000 || cp > 0x10ffff)))
			return 0;
		i += more + 1;
	}
	return 1;
}

static uint64_t load_int(const void *at, enum wire_field_type t)
{
	uint8_t v8;
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;

	switch (t) {
	case WIRE_U8: memcpy(&v8, at, 1); return v8;
	case WIRE_U16: memcpy(&v16, at, 2); return v16;
	case WIRE_U32:
	case WIRE_I32: memcpy(&v32, at, 4); return v32;
	default: memcpy(&v64, at, 8); return v64;
	}
}

static void store_int(void *at, enum wire_field_type t, uint64_t v)
{
	uint8_t v8 = (uint8_t)v;
	uint16_t v16 = (uint16_t)v;
	uint32_t v32 = (uint32_t)v;

	switch (t) {
	case WIRE_U8: memcpy(at, &v8, 1); break;
	case WIRE_U16: memcpy(at, &v16, 2); break;
	case WIRE_U32:
	case WIRE_I32: memcpy(at, &v32, 4); break;
	default: memcpy(at, &v, 8); break;
	}
}

static enum wire_status check_view(const struct wire_field *f, const struct wire_bytes *b)
{
	if (b->n > f->max)
		return WIRE_ETOOLONG;
	if (b->n < f->min)
		return WIRE_EVALUE;
	if (f->type == WIRE_TEXT && !is_text(b->p, b->n))
		return WIRE_ETEXT;
	return WIRE_OK;
}

static enum wire_status check_int(const struct wire_field *f, uint64_t v)
{
	if (f->type == WIRE_I32) /* exit codes: any value */
		return WIRE_OK;
	return v < f->min || v > f->max ? WIRE_EVALUE : WIRE_OK;
}

static enum wire_status decode_field(const struct wire_field *f, const uint8_t **p, size_t *left,
				     struct wire_msg *msg)
{
	unsigned w = int_width(f->type);
	unsigned head = w ? w : 4;
	uint64_t v;
	enum wire_status st;

	if (*left < head)
		return WIRE_ESHORT;
	v = get_le(*p, head);
	*p += head;
	*left -= head;
	if (w) {
		st = check_int(f, v);
		if (st == WIRE_OK)
			store_int((char *)msg + f->offset, f->type, v);
		return st;
	}
	if (v > f->max)
		return WIRE_ETOOLONG;
	if (v > *left)
		return WIRE_ESHORT;
	struct wire_bytes b = { *p, (uint32_t)v };
	st = check_view(f, &b);
	if (st != WIRE_OK)
		return st;
	memcpy((char *)msg + f->offset, &b, sizeof(b));
	*p += v;
	*left -= v;
	return WIRE_OK;
}

enum wire_status wire_decode(enum wire_sender from, const uint8_t *buf, size_t len,
			     struct wire_msg *msg, size_t *used)
{
	const struct wire_spec *spec;
	const uint8_t *p = buf + WIRE_HEADER_BYTES;
	struct wire_msg out;
	size_t left;

	*used = 0;
	if (len < WIRE_HEADER_BYTES) {
		*used = WIRE_HEADER_BYTES;
		return WIRE_MORE;
	}
	left = (size_t)get_le(buf, 4);
	spec = wire_spec_of((uint16_t)get_le(buf + 4, 2));
	if (!spec || !(spec->sender & from))
		return WIRE_EUNKNOWN;
	if (get_le(buf + 6, 2) != 0)
		return WIRE_EVALUE;
	if (left > wire_payload_max(spec))
		return WIRE_ETOOLONG;
	if (len - WIRE_HEADER_BYTES < left) {
		*used = WIRE_HEADER_BYTES + left;
		return WIRE_MORE;
	}
	memset(&out, 0, sizeof(out));
	out.type = spec->type;
	for (unsigned i = 0; i < spec->fields; i++) {
		enum wire_status st = decode_field(&spec->field[i], &p, &left, &out);

		if (st != WIRE_OK)
			return st;
	}
	if (left)
		return WIRE_ETRAILING;
	*msg = out;
	*used = (size_t)(p - buf);
	return WIRE_OK;
}

/* head_only: leave out the bytes (not the length) of the last field. */
static enum wire_status encode(const struct wire_msg *msg, uint8_t *out, size_t cap, size_t *used,
			       int head_only)
{
	const struct wire_spec *spec = wire_spec_of(msg->type);
	size_t at = WIRE_HEADER_BYTES, payload = 0;

	if (!spec)
		return WIRE_EUNKNOWN;
	if (cap < at)
		return WIRE_ENOSPACE;
	for (unsigned i = 0; i < spec->fields; i++) {
		const struct wire_field *f = &spec->field[i];
		const char *member = (const char *)msg + f->offset;
		unsigned w = int_width(f->type);
		struct wire_bytes b = { 0 };
		enum wire_status st;
		size_t body;

		if (!w)
			memcpy(&b, member, sizeof(b));
		st = w ? check_int(f, load_int(member, f->type)) : check_view(f, &b);
		if (st != WIRE_OK)
			return st;
		body = head_only && i + 1u == spec->fields ? 0 : b.n;
		payload += w ? w : 4 + (size_t)b.n;
		if (cap - at < (w ? w : 4 + body))
			return WIRE_ENOSPACE;
		put_le(out + at, w ? w : 4, w ? load_int(member, f->type) : b.n);
		at += w ? w : 4;
		if (body)
			memcpy(out + at, b.p, body);
		at += body;
	}
	put_le(out, 4, payload);
	put_le(out + 4, 2, spec->type);
	put_le(out + 6, 2, 0);
	*used = at;
	return WIRE_OK;
}

enum wire_status wire_encode(const struct wire_msg *msg, uint8_t *out, size_t cap, size_t *used)
{
	return encode(msg, out, cap, used, 0);
}

enum wire_status wire_encode_head(const struct wire_msg *msg, uint8_t *out, size_t cap,
				  size_t *used)
{
	return encode(msg, out, cap, used, 1);
}

struct wire_bytes wire_text(const char *s)
{
	struct wire_bytes b = { (const uint8_t *)s, s ? (uint32_t)strlen(s) : 0 };

	return b;
}

const char *wire_strerror(enum wire_status st)
{
	static const char *const text[WIRE_STATUS_COUNT] = {
		[WIRE_OK] = "no error",
		[WIRE_MORE] = "the frame is not complete",
		[WIRE_EUNKNOWN] = "a message type that this side does not expect",
		[WIRE_ETOOLONG] = "a frame or field above its cap",
		[WIRE_ESHORT] = "a payload that ends inside a field",
		[WIRE_ETRAILING] = "bytes after the last field",
		[WIRE_EVALUE] = "a field with a value that is not allowed",
		[WIRE_ETEXT] = "a text field that is not UTF-8 or holds a NUL byte",
		[WIRE_ENOSPACE] = "no room for the frame",
	};

	return (unsigned)st < WIRE_STATUS_COUNT ? text[st] : "an unknown error";
}
