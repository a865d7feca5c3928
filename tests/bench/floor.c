/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor.c - the least a guest can do to move bytes to the host: PID 1 of an initramfs that
 * holds it as /init and load.c as /load. No protocol, no journal, no cgroup, no disk.
 *
 * It connects to port 1025 of the host and is told in one line what to do:
 *
 *   direct BYTES SEND          bytes out of its memory
 *   relay BYTES SEND PIPE      the output of a child, `/load lines BYTES`, through a pipe
 *
 * SEND is the most bytes of one send, PIPE the size of the pipe. Then it waits until the
 * host closes and reboots. What goes wrong is said on the console.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT		1025
#define BUFFER_BYTES	(1024u * 1024)

static uint8_t buffer[BUFFER_BYTES];

static __attribute__((noreturn)) void end(void)
{
	for (;;)
		reboot(RB_AUTOBOOT);
}

static __attribute__((noreturn)) void fail(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	end();
}

static int dial(void)
{
	struct sockaddr_vm host = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = PORT,
	};
	uint64_t window = 4u << 20; /* as the agent's */
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket");
	setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &window, sizeof(window));
	setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &window, sizeof(window));
	if (connect(fd, (struct sockaddr *)&host, sizeof(host)) < 0)
		fail("connect");
	return fd;
}

static void send_all(int fd, const uint8_t *p, size_t n, size_t most)
{
	while (n > 0) {
		ssize_t done = send(fd, p, n < most ? n : most, MSG_NOSIGNAL);

		if (done < 0)
			fail("send");
		p += done;
		n -= (size_t)done;
	}
}

static void direct(int fd, uint64_t bytes, size_t most)
{
	for (size_t i = 0; i < sizeof(buffer); i++)
		buffer[i] = i % 80 == 79 ? '\n' : (uint8_t)('!' + i % 89);
	for (uint64_t left = bytes; left > 0;) {
		size_t n = left < sizeof(buffer) ? (size_t)left : sizeof(buffer);

		send_all(fd, buffer, n, most);
		left -= n;
	}
}

static void relay(int fd, const char *bytes, size_t most, int pipe_bytes)
{
	int ends[2];
	ssize_t n;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0 || fcntl(ends[0], F_SETPIPE_SZ, pipe_bytes) < 0)
		fail("pipe");
	pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		execl("/load", "load", "lines", bytes, (char *)NULL);
		fail("/load");
	}
	close(ends[1]);
	while ((n = read(ends[0], buffer, most)) > 0)
		send_all(fd, buffer, (size_t)n, most);
	if (n < 0)
		fail("read");
	waitpid(pid, NULL, 0);
}

int main(void)
{
	char line[128] = "", word[16], bytes[32];
	unsigned most = 0, pipe_bytes = 0;
	int fd = dial();

	for (size_t n = 0; n < sizeof(line) - 1 && !strchr(line, '\n'); n++)
		if (recv(fd, line + n, 1, 0) != 1)
			fail("recv");
	sscanf(line, "%15s %31s %u %u", word, bytes, &most, &pipe_bytes);
	if (most < 1 || most > sizeof(buffer))
		fail(line);
	if (strcmp(word, "direct") == 0)
		direct(fd, strtoull(bytes, NULL, 10), most);
	else
		relay(fd, bytes, most, (int)pipe_bytes);
	recv(fd, line, 1, 0);
	end();
}
