/* SPDX-License-Identifier: Apache-2.0 */
/* filecopy.c - copies and downloads beside the target, then renames. Leaves nothing half made. */
#include "filecopy.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "fileio.h"

#define BLOCK_BYTES (256u << 10)

struct sink {
	char temp[PATH_MAX];
	int fd;
	EVP_MD_CTX *hash;
	uint64_t bytes, max_bytes;
	struct err *e;
	int failed;
};

static int sink_open(struct sink *s, const char *to, uint64_t max_bytes, struct err *e)
{
	memset(s, 0, sizeof(*s));
	s->fd = -1;
	s->e = e;
	s->max_bytes = max_bytes;
	if (snprintf(s->temp, sizeof(s->temp), "%s.new-%d", to, (int)getpid()) >= (int)sizeof(s->temp))
		return err_set(e, "io", "%s is too long", to);
	s->hash = EVP_MD_CTX_new();
	if (!s->hash || EVP_DigestInit_ex(s->hash, EVP_sha256(), NULL) != 1)
		return err_set(e, "io", "SHA-256 is not there");
	s->fd = open(s->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (s->fd < 0 || fchmod(s->fd, 0644) < 0)
		return err_errno(e, "io", "cannot write %s", s->temp);
	return 0;
}

static int sink_put(struct sink *s, const void *data, size_t n)
{
	s->bytes += n;
	if (s->bytes > s->max_bytes)
		s->failed = err_set(s->e, "io", "more than %llu bytes", (unsigned long long)s->max_bytes) < 0;
	else
		s->failed = EVP_DigestUpdate(s->hash, data, n) != 1 ||
			    fileio_write_full(s->fd, data, n, s->e) < 0;
	return s->failed ? -1 : 0;
}

static int sink_digest(struct sink *s, char out[FILECOPY_HEX_BYTES])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (EVP_DigestFinal_ex(s->hash, md, &n) != 1 || n != 32)
		return err_set(s->e, "io", "SHA-256 failed");
	for (unsigned i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", md[i]);
	return 0;
}

static int sink_keep(struct sink *s, const char *to)
{
	if (fsync(s->fd) < 0 || rename(s->temp, to) < 0)
		return err_errno(s->e, "io", "cannot write %s", to);
	s->temp[0] = '\0';
	return 0;
}

static void sink_close(struct sink *s)
{
	if (s->temp[0] && s->fd >= 0)
		unlink(s->temp);
	cleanup_fd(&s->fd);
	EVP_MD_CTX_free(s->hash);
}

static int copy_all(int in, struct sink *s, const char *from)
{
	_cleanup_free_ char *block = malloc(BLOCK_BYTES);

	for (;;) {
		ssize_t n = block ? read(in, block, BLOCK_BYTES) : -1;

		if (n < 0 && block && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(s->e, "io", "cannot read %s", from);
		if (n == 0)
			return 0;
		if (sink_put(s, block, (size_t)n) < 0)
			return -1;
	}
}

int filecopy(const char *from, const char *to, char sha256[FILECOPY_HEX_BYTES], struct err *e)
{
	_cleanup_fd_ int in = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char digest[FILECOPY_HEX_BYTES];
	struct stat st;
	struct sink s;
	int rc;

	if (in < 0 || fstat(in, &st) < 0)
		return err_errno(e, "io", "cannot read %s", from);
	if (!S_ISREG(st.st_mode))
		return err_set(e, "io", "%s is not a regular file", from);
	rc = sink_open(&s, to, UINT64_MAX, e);
	if (rc == 0 && copy_all(in, &s, from) == 0 && sink_digest(&s, digest) == 0)
		rc = sink_keep(&s, to);
	else
		rc = -1;
	sink_close(&s);
	if (rc == 0 && sha256)
		memcpy(sha256, digest, sizeof(digest));
	return rc;
}

static size_t on_data(char *data, size_t size, size_t count, void *arg)
{
	return sink_put(arg, data, size * count) < 0 ? 0 : size * count;
}

static int fetch(CURL *curl, const char *url, struct sink *s)
{
	char words[CURL_ERROR_SIZE] = "";
	CURLcode rc;

	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https,file");
	curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 5L);
	curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 30L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1024L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 60L);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, words);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, s);
	rc = curl_easy_perform(curl);
	if (rc == CURLE_OK)
		return 0;
	return s->failed ? -1 : err_set(s->e, "io", "cannot fetch %s: %s", url,
					*words ? words : curl_easy_strerror(rc));
}

int filecopy_download(const char *url, const char *sha256, uint64_t max_bytes, const char *to,
		      struct err *e)
{
	CURL *curl = curl_global_init(CURL_GLOBAL_DEFAULT) == 0 ? curl_easy_init() : NULL;
	char digest[FILECOPY_HEX_BYTES];
	struct sink s;
	int rc;

	if (!curl)
		return err_set(e, "io", "no memory");
	rc = sink_open(&s, to, max_bytes, e);
	if (rc == 0)
		rc = fetch(curl, url, &s);
	if (rc == 0)
		rc = sink_digest(&s, digest);
	if (rc == 0 && strcasecmp(digest, sha256) != 0)
		rc = err_set(e, "digest", "%s has the SHA-256 %s, not the one that was asked for", url,
			     digest);
	if (rc == 0)
		rc = sink_keep(&s, to);
	sink_close(&s);
	curl_easy_cleanup(curl);
	return rc;
}
