/* SPDX-License-Identifier: Apache-2.0 */
/* notify.h - tells whoever started kilnd that it answers: the protocol of sd_notify(3). */
#ifndef KILN_NOTIFY_H
#define KILN_NOTIFY_H

/*
 * Send "READY=1" to the socket that $NOTIFY_SOCKET names, once. Without the variable nobody
 * asked, and a socket that cannot be reached is the asker's loss: no error.
 */
void notify_ready(void);

#endif
