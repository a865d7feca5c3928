/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - the operator's settings: one table, four sources.
 *
 * A value comes from a flag, else the environment, else the file, else the default; where it
 * came from is kept. All programs read the same table (docs/configuration.md).
 */
#ifndef KILN_CONFIG_H
#define KILN_CONFIG_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define CONFIG_FILE_DEFAULT "/etc/kiln/kiln.yaml"

enum config_key { /* in the order of the table in config_table.c */
	CONFIG_DIR, CONFIG_SOCKET, CONFIG_HOST, CONFIG_PORT, CONFIG_ALLOWED_HOSTS, CONFIG_TOKEN_FILE,
	CONFIG_URL, CONFIG_LOG, CONFIG_KERNEL, CONFIG_INITRAMFS, CONFIG_PROBE_INITRAMFS,
	CONFIG_IMAGE, CONFIG_IMAGES_DIR, CONFIG_SUPERVISOR, CONFIG_CA_FILE,
	CONFIG_UID_FIRST, CONFIG_UID_COUNT, CONFIG_EMULATION_FACTOR, CONFIG_BUILD_SYSTEMS,
	CONFIG_VMM_KIND, CONFIG_VMM_ACCEL, CONFIG_VMM_QEMU, CONFIG_VMM_VSOCK,
	CONFIG_VMM_VHOST_DEVICE_VSOCK, CONFIG_VMM_CMDLINE_APPEND,
	CONFIG_DEADLINES_BOOT_S, CONFIG_DEADLINES_CLONE_S, CONFIG_DEADLINES_UPLOAD_S,
	CONFIG_DEADLINES_JOB_S, CONFIG_DEADLINES_HEARTBEAT_S, CONFIG_DEADLINES_GRACE_S,
	CONFIG_LIMITS_LOG_BYTES, CONFIG_LIMITS_ARTIFACT_BYTES, CONFIG_LIMITS_ARTIFACT_FILES,
	CONFIG_LIMITS_CONSOLE_BYTES, CONFIG_LIMITS_EVENTS, CONFIG_LIMITS_BODY_BYTES,
	CONFIG_QUEUE_MAX,
	CONFIG_CAPACITY_MAX_RUNNING, CONFIG_CAPACITY_VCPUS, CONFIG_CAPACITY_MEMORY_MIB,
	CONFIG_DEFAULTS_VCPUS, CONFIG_DEFAULTS_MEMORY_MIB, CONFIG_DEFAULTS_DISK_MIB,
	CONFIG_DEFAULTS_TIMEOUT_S, CONFIG_DEFAULTS_USER, CONFIG_DEFAULTS_EGRESS,
	CONFIG_CEILINGS_VCPUS, CONFIG_CEILINGS_MEMORY_MIB, CONFIG_CEILINGS_DISK_MIB,
	CONFIG_CEILINGS_TIMEOUT_S, CONFIG_CEILINGS_EGRESS, CONFIG_CEILINGS_EGRESS_ALLOW,
	CONFIG_CEILINGS_USERS, CONFIG_CEILINGS_IMAGES,
	CONFIG_EGRESS_ALLOW, CONFIG_EGRESS_DENY, CONFIG_EGRESS_PRIVATE,
	CONFIG_KEY_COUNT
};

enum config_type {
	CONFIG_TYPE_STR,   /* text, or one of choices */
	CONFIG_TYPE_PATH,  /* text; "~/" is the home directory, a relative one is made absolute */
	CONFIG_TYPE_INT,   /* min..max */
	CONFIG_TYPE_BYTES, /* the same, with an optional KiB, MiB or GiB */
	CONFIG_TYPE_NAME,  /* a word, or a path when it holds a slash */
	CONFIG_TYPE_LIST   /* of strings; in the environment separated by commas */
};

/* One setting. Texts are static. */
struct config_setting {
	const char *name;      /* "vmm.accel" */
	enum config_type type;
	const char *env[4];    /* names in the environment, best first; NULL-terminated */
	const char *flag;      /* "--dir", or NULL (then --set name=value only) */
	const char *fallback;  /* default as text; a|b of a path: the first that exists */
	int64_t min, max;      /* of an integer */
	const char *choices;   /* "a|b|c", or NULL */
	const char *help;
};

/* CONFIG_KEY_COUNT records, indexed by enum config_key. */
extern const struct config_setting config_settings[];

/* Flags taken off a command line. Texts are views into argv. Zero-initialise. */
#define CONFIG_FLAGS_MAX 64
struct config_flags {
	const char *file; /* --config, or NULL */
	struct { enum config_key key; const char *value; } set[CONFIG_FLAGS_MAX];
	size_t count;
};

struct config; /* opaque, read-only after config_load */

/*
 * Take --config FILE, --set name=value and the flags of the table (both "--x v" and "--x=v")
 * out of argv[1..*argc), up to "--" or the end; *argc and argv are closed up. The rest is the
 * caller's. Code: "usage".
 */
int config_take_flags(struct config_flags *f, int *argc, char **argv, struct err *e);

/*
 * Read every source. flags may be NULL. The default file may be missing, one named by --config
 * or KILN_CONFIG may not. *out: config_free. Codes: "config" (the text begins with file:line
 * when the file is at fault), "io".
 */
int config_load(const struct config_flags *flags, struct config **out, struct err *e);
void config_free(struct config *c);

/* Typed reading; the wrong type is a bug and aborts. Texts live as long as c. "" when unset. */
const char *config_str(const struct config *c, enum config_key key);
int64_t config_int(const struct config *c, enum config_key key);
const json_t *config_list(const struct config *c, enum config_key key); /* array of strings */

/* "default", "environment KILN_DIR", "/etc/kiln/kiln.yaml:12" or "flag --dir". */
const char *config_origin(const struct config *c, enum config_key key);
/* Nonzero when the value is not the default. */
int config_is_set(const struct config *c, enum config_key key);
/* The value as text, as in a file (lists: [a, b]). Caller frees. NULL: no memory. */
char *config_text(const struct config *c, enum config_key key);

/* The file that was read, or "" when there was none. */
const char *config_file(const struct config *c);

/*
 * Read the file of a *_file setting: one line without its line end, at most 4096 bytes, and a mode
 * that others cannot read. Caller frees. Codes: "config", "not_found", "io".
 */
int config_secret(const struct config *c, enum config_key key, char **out, struct err *e);

/* Directories below dir, with a format: config_below(c, buf, n, "builds/%s", id). -1: too long. */
int config_below(const struct config *c, char *buf, size_t n, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
