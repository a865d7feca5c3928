/* SPDX-License-Identifier: Apache-2.0 */
/*
 * detect.c - the table of build systems. Owns nothing; only looks whether names exist.
 */
#include "detect.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* In the default order of detection. */
static const struct detect_system systems[] = {
	{
		/* Cargo keeps what it needs again beside its results: only the results count. */
		.name = "cargo", .marker = "Cargo.toml", .tool = "cargo",
		.run = "cargo build --release",
		.artifacts = { "target/release/*", "target/*/release/*" },
		.exclude = { "target/release/deps", "target/release/build",
			     "target/release/incremental", "target/*/release/deps",
			     "target/*/release/build", "target/*/release/incremental",
			     "target/**/.*", "target/**/*.d" },
	},
	{
		/* A Makefile may leave its results anywhere. */
		.name = "make", .marker = "Makefile", .tool = "make", .run = "make",
		.also = { "GNUmakefile", "makefile" },
		.artifacts = { "**" },
		.exclude = { "config.status", "libtool", "**/CMakeFiles", "**/node_modules" },
		.products_only = 1,
	},
	{
		.name = "cmake", .marker = "CMakeLists.txt", .tool = "cmake",
		.run = "cmake -S . -B build -DCMAKE_BUILD_TYPE=Release && "
		       "cmake --build build --parallel \"$(nproc)\"",
		.artifacts = { "build/**" },
		.exclude = { "build/**/CMakeFiles" },
		.products_only = 1,
	},
	{
		.name = "meson", .marker = "meson.build", .tool = "meson",
		.run = "meson setup build && meson compile -C build",
		.artifacts = { "build/**" },
		.exclude = { "build/meson-private", "build/**/*.p" },
		.products_only = 1,
	},
	{
		.name = "npm", .marker = "package.json", .tool = "npm",
		.run = "if [ -e package-lock.json ] || [ -e npm-shrinkwrap.json ]; then npm ci; "
		       "else npm install; fi && npm run build --if-present",
		.artifacts = { "dist", "build" },
	},
	{
		/* Packages are built where they are; the programs among them go to bin/. */
		.name = "go", .marker = "go.mod", .tool = "go",
		.run = "go build -o /dev/null ./... && "
		       "mains=$(go list -f '{{if eq .Name \"main\"}}{{.ImportPath}}{{end}}' ./...) && "
		       "if [ -n \"$mains\" ]; then mkdir -p bin && go build -o bin/ $mains; fi",
		.artifacts = { "bin/**" },
		.products_only = 1,
	},
};

const struct detect_system *detect_by_name(const char *name)
{
	for (size_t i = 0; i < COUNT(systems); i++) {
		if (strcmp(systems[i].name, name) == 0)
			return &systems[i];
	}
	return NULL;
}

static int is_there(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode));
}

static int has_marker(int dirfd, const struct detect_system *s)
{
	if (is_there(dirfd, s->marker))
		return 1;
	for (size_t i = 0; i < COUNT(s->also) && s->also[i]; i++) {
		if (is_there(dirfd, s->also[i]))
			return 1;
	}
	return 0;
}

const struct detect_system *detect_find(int dirfd, const char *const *names)
{
	if (!names) {
		for (size_t i = 0; i < COUNT(systems); i++) {
			if (has_marker(dirfd, &systems[i]))
				return &systems[i];
		}
		return NULL;
	}
	for (; *names; names++) {
		const struct detect_system *s = detect_by_name(*names);

		if (s && has_marker(dirfd, s))
			return s;
	}
	return NULL;
}
