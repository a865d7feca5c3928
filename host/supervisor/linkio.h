/* SPDX-License-Identifier: Apache-2.0 */
/* linkio.h - control's end of the link to the conduit (link.h): send, and receive with distrust. */
#ifndef KILN_LINKIO_H
#define KILN_LINKIO_H

#include "err.h"
#include "link.h"

enum linkio_got { LINKIO_NONE, LINKIO_MESSAGE, LINKIO_CLOSED, LINKIO_RUBBISH };

/* Never blocks. Code "host": the conduit does not read or is gone. */
int linkio_send(int fd, const struct link_msg *m, struct err *e);

/*
 * Take one packet. Never blocks. LINKIO_MESSAGE: kind is one that a conduit sends, texts end
 * with NUL and are valid UTF-8, commit is hex or "", class and signal are in range.
 */
enum linkio_got linkio_recv(int fd, struct link_msg *m);

#endif
