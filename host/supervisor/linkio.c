/* SPDX-License-Identifier: Apache-2.0 */
/* linkio.c - packets to and from the conduit, which may have been taken over. Owns no state. */
#include "linkio.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>

#include "wire.h"

int linkio_send(int fd, const struct link_msg *m, struct err *e)
{
	if (send(fd, m, sizeof(*m), MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(*m))
		return 0;
	return err_errno(e, "host", "the conduit takes no messages");
}

static void clean(char *text, size_t n)
{
	json_t *s;

	text[n - 1] = '\0';
	s = json_string(text); /* NULL when it is not UTF-8 */
	for (char *p = text; !s && *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	json_decref(s);
}

enum linkio_got linkio_recv(int fd, struct link_msg *m)
{
	ssize_t n = recv(fd, m, sizeof(*m), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return LINKIO_NONE;
	if (n <= 0)
		return LINKIO_CLOSED;
	if (n != (ssize_t)sizeof(*m) || m->kind < LINK_READY || m->kind > LINK_FINISHED ||
	    m->result.class_ > 6 || m->result.signal > 64)
		return LINKIO_RUBBISH;
	if (m->kind == LINK_STATE && (m->number < 1 || m->number > 3))
		return LINKIO_RUBBISH;
	clean(m->text, sizeof(m->text));
	clean(m->step_name, sizeof(m->step_name));
	m->commit[sizeof(m->commit) - 1] = '\0';
	if (strspn(m->commit, "0123456789abcdef") != strlen(m->commit))
		m->commit[0] = '\0';
	return LINKIO_MESSAGE;
}
