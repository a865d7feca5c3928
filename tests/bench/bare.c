/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bare.c - the least a host can do with a guest: start the VMM, accept one connection, read it
 * into a file. Its times are the floors.
 *
 *   bare --listen PATH [--dir DIR] [--fd N=FLAG:PATH]... [--say LINE] [--to FILE --bytes N] -- COMMAND...
 *
 * Listens on the Unix socket PATH, starts COMMAND in DIR with the files of --fd (FLAG: r read,
 * w read and write, a append) open as descriptor N, sends LINE over the first connection, and
 * reads: without --to one byte, with it N bytes into FILE. Then it kills COMMAND and prints
 * one JSON object of CLOCK_MONOTONIC times in ns. Exit status 1 with a sentence when the guest
 * closes early, the command ends, or nothing happens for 120 s.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX	8
#define SPARE_FD	64
#define SILENCE_MS	120000
#define BUFFER_BYTES	(256u * 1024)

struct plan {
	const char *listen, *dir, *say, *to;
	uint64_t bytes;
	struct {
		int fd, open_fd;
	} files[FILES_MAX];
	unsigned file_count;
	char **command;
};

struct times {
	uint64_t start_ns, accept_ns, first_ns, last_ns;
};

static __attribute__((noreturn)) void fail(const char *what)
{
	fprintf(stderr, "bare: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void add_file(struct plan *p, const char *text)
{
	const char *path = strchr(text, ':');
	int fd, flags;

	if (!path || path - text < 3 || p->file_count == FILES_MAX)
		fail(text);
	flags = path[-1] == 'r' ? O_RDONLY : path[-1] == 'w' ? O_RDWR : O_WRONLY | O_APPEND | O_CREAT;
	fd = open(path + 1, flags | O_CLOEXEC, 0600);
	if (fd < 0)
		fail(path + 1);
	p->files[p->file_count].fd = (int)strtoul(text, NULL, 10);
	p->files[p->file_count++].open_fd = fcntl(fd, F_DUPFD_CLOEXEC, SPARE_FD);
	close(fd);
}

static struct plan read_plan(int argc, char **argv)
{
	struct plan p = { .bytes = 1 };
	int i;

	for (i = 1; i + 1 < argc && strcmp(argv[i], "--") != 0; i += 2) {
		const char *name = argv[i], *value = argv[i + 1];

		if (strcmp(name, "--listen") == 0)
			p.listen = value;
		else if (strcmp(name, "--dir") == 0)
			p.dir = value;
		else if (strcmp(name, "--say") == 0)
			p.say = value;
		else if (strcmp(name, "--to") == 0)
			p.to = value;
		else if (strcmp(name, "--bytes") == 0)
			p.bytes = strtoull(value, NULL, 10);
		else if (strcmp(name, "--fd") == 0)
			add_file(&p, value);
		else
			fail(name);
	}
	p.command = argv + i + 1;
	if (!p.listen || i + 1 >= argc)
		fail("usage: bare --listen PATH [option value]... -- COMMAND...");
	return p;
}

static int listen_unix(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(at.sun_path))
		fail(path);
	memcpy(at.sun_path, path, strlen(path));
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 8) < 0)
		fail(path);
	return fd;
}

static pid_t start(const struct plan *p)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		fail("fork");
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	for (unsigned i = 0; i < p->file_count; i++)
		if (dup2(p->files[i].open_fd, p->files[i].fd) < 0)
			fail("dup2");
	dup2(STDERR_FILENO, STDOUT_FILENO);
	if (p->dir && chdir(p->dir) < 0)
		fail(p->dir);
	execvp(p->command[0], p->command);
	fail(p->command[0]);
}

/* Until fd is readable; the end of the command and silence are failures. */
static void await(int fd, int pid_fd, const char *what)
{
	struct pollfd f[2] = { { .fd = fd, .events = POLLIN }, { .fd = pid_fd, .events = POLLIN } };
	int n = poll(f, 2, SILENCE_MS);

	errno = n == 0 ? ETIMEDOUT : n > 0 ? ECHILD : errno;
	if (n <= 0 || !f[0].revents)
		fail(what);
}

static void receive(const struct plan *p, int fd, int pid_fd, struct times *t)
{
	static uint8_t buffer[BUFFER_BYTES];
	int out = p->to ? open(p->to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;

	if (p->to && out < 0)
		fail(p->to);
	if (p->say && send(fd, p->say, strlen(p->say), MSG_NOSIGNAL) < 0)
		fail("send");
	for (uint64_t got = 0; got < p->bytes;) {
		ssize_t n;

		if (got == 0)
			await(fd, pid_fd, "no byte came");
		n = read(fd, buffer, sizeof(buffer));
		if (n <= 0)
			fail("the guest closed before all came");
		if (got == 0)
			t->first_ns = now_ns();
		if (out >= 0)
			for (ssize_t done = 0, w; done < n; done += w)
				if ((w = write(out, buffer + done, (size_t)(n - done))) < 0)
					fail(p->to);
		got += (uint64_t)n;
	}
	t->last_ns = now_ns();
}

int main(int argc, char **argv)
{
	struct plan p = read_plan(argc, argv);
	struct times t = { 0 };
	int listen_fd = listen_unix(p.listen), fd, pid_fd;
	pid_t pid;

	t.start_ns = now_ns();
	pid = start(&p);
	pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pid_fd < 0)
		fail("pidfd_open");
	await(listen_fd, pid_fd, "the guest did not connect");
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		fail("accept");
	t.accept_ns = now_ns();
	receive(&p, fd, pid_fd, &t);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	printf("{\"pid\": %d, \"start_ns\": %" PRIu64 ", \"accept_ns\": %" PRIu64 ", \"first_ns\": %" PRIu64
	       ", \"last_ns\": %" PRIu64 ", \"bytes\": %" PRIu64 "}\n", (int)pid, t.start_ns, t.accept_ns,
	       t.first_ns, t.last_ns, p.bytes);
	return 0;
}
