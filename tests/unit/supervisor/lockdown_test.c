/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockdown_test.c - what each role may and may not do, tried in a forked process. An attempt
 * "fails" when the call returns an error or ends the process with SIGSYS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lockdown.h"

static int without_landlock; /* play a kernel that has none */
static char dir[] = "/tmp/lockdown-XXXXXX";
static int dir_fd, inet_fd, unix_fd;

static int set_up(void **state)
{
	(void)state;
	dir_fd = mkdtemp(dir) ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	inet_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unix_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return dir_fd < 0 || inet_fd < 0 || unix_fd < 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlinkat(dir_fd, "made", 0);
	unlinkat(dir_fd, "there", 0);
	return rmdir(dir);
}

/* landlock_create_ruleset(2) of a kernel that was built without it. */
static void take_landlock_away(void)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);

	if (!f || seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(landlock_create_ruleset), 0) < 0 ||
	    seccomp_load(f) < 0)
		_exit(5);
	seccomp_release(f);
}

/* Runs the attempt under a role. 0: it worked, 1: an error, 2: SIGSYS, 3: the lock-down failed. */
static int attempt(enum lockdown_role role, int (*play)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct lockdown_facts facts = { 0 };
		struct err e = { 0 };

		if (without_landlock)
			take_landlock_away();
		if (lockdown_enter(role, role == LOCKDOWN_ARTIFACT ? dir_fd : -1, &facts, &e) < 0)
			_exit(3);
		if (facts.seccomp != 1 || (without_landlock && facts.landlock_abi != 0))
			_exit(6);
		_exit(play() < 0 ? 1 : 0);
	}
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? 2 : 4;
	return WEXITSTATUS(status);
}

static int open_passwd(void)
{
	return open("/etc/passwd", O_RDONLY);
}

static int open_write(void)
{
	return open("/tmp/lockdown-written", O_WRONLY | O_CREAT | O_TRUNC, 0600);
}

static int read_below(void)
{
	return openat(dir_fd, "there", O_RDONLY);
}

static int climb(void)
{
	return openat(dir_fd, "../kiln-lockdown-climbed", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		      0600);
}

static int overwrite(void)
{
	return openat(dir_fd, "there", O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static int make_file(void)
{
	int fd = openat(dir_fd, "made", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, "x", 1) != 1 || renameat(dir_fd, "made", dir_fd, "made2") < 0)
		return -1;
	return unlinkat(dir_fd, "made2", 0);
}

static int make_dir(void)
{
	return mkdirat(dir_fd, "subdirectory", 0700);
}

static int make_link(void)
{
	return symlinkat("/etc", dir_fd, "link");
}

static int inet_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int packet_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static int inet_connect(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(9),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	/* Refused by the other side is a success: the call was made. */
	return connect(inet_fd, (struct sockaddr *)&a, sizeof(a)) < 0 && errno != ECONNREFUSED ? -1 : 0;
}

static int unix_connect(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/private" };

	return connect(unix_fd, (struct sockaddr *)&a, sizeof(a)) < 0 && errno != ECONNREFUSED &&
	       errno != ENOENT ? -1 : 0;
}

static int execute(void)
{
	return execl("/bin/true", "true", (char *)NULL);
}

static int fork_child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid;
}

static int trace_parent(void)
{
	return (int)ptrace(PTRACE_ATTACH, getppid(), 0, 0);
}

static int kill_parent(void)
{
	return kill(getppid(), 0);
}

static int map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	       MAP_FAILED ? -1 : 0;
}

static int work(void)
{
	char *big = malloc(1 << 20);
	int pair = open("/dev/null", O_WRONLY);

	(void)pair;
	if (!big)
		return -1;
	memset(big, 1, 1 << 20);
	big = realloc(big, 8 << 20);
	free(big);
	return write(STDERR_FILENO, "", 0) == 0 ? 0 : -1;
}

static void try_forbidden(int (*const forbidden[])(void), size_t n)
{
	for (int role = 0; role < LOCKDOWN_ROLE_COUNT; role++) {
		assert_int_equal(attempt((enum lockdown_role)role, work), 0);
		for (size_t i = 0; i < n; i++) {
			int got = attempt((enum lockdown_role)role, forbidden[i]);

			if (got != 1 && got != 2)
				fail_msg("role %d, attempt %zu: %d", role, i, got);
		}
	}
}

static void no_role_opens_executes_forks_or_traces(void **state)
{
	static int (*const forbidden[])(void) = { open_passwd, open_write, execute, fork_child, trace_parent,
						  kill_parent, map_code, packet_socket, unix_socket, make_dir,
						  make_link, read_below, overwrite };
	static int (*const needs_landlock[])(void) = { climb };
	int there = openat(dir_fd, "there", O_WRONLY | O_CREAT, 0600);

	(void)state;
	close(there);
	try_forbidden(forbidden, sizeof(forbidden) / sizeof(forbidden[0]));
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0)
		try_forbidden(needs_landlock, 1);
	else
		print_message("this kernel has no Landlock: escapes by '..' are not tried\n");
	without_landlock = 1; /* then seccomp alone must hold the rest */
	try_forbidden(forbidden, sizeof(forbidden) / sizeof(forbidden[0]));
	without_landlock = 0;
	assert_int_equal(access("/tmp/lockdown-written", F_OK), -1);
	assert_int_equal(access("/tmp/lockdown-climbed", F_OK), -1);
	assert_int_equal(attempt(LOCKDOWN_CONDUIT, execute), 2);
}

static void only_the_dialer_has_the_network(void **state)
{
	(void)state;
	assert_int_equal(attempt(LOCKDOWN_CONDUIT, inet_socket), 2);
	assert_int_equal(attempt(LOCKDOWN_ARTIFACT, inet_socket), 2);
	assert_int_equal(attempt(LOCKDOWN_DIALER, inet_socket), 0);
	assert_int_equal(attempt(LOCKDOWN_CONDUIT, inet_connect), 2);
	assert_int_equal(attempt(LOCKDOWN_ARTIFACT, inet_connect), 2);
	assert_int_equal(attempt(LOCKDOWN_DIALER, inet_connect), 0);
	assert_int_equal(attempt(LOCKDOWN_CONDUIT, unix_connect), 2);
	assert_int_equal(attempt(LOCKDOWN_ARTIFACT, unix_connect), 2);
}

static void only_the_artifact_process_makes_files(void **state)
{
	(void)state;
	assert_int_equal(attempt(LOCKDOWN_ARTIFACT, make_file), 0);
	assert_int_equal(attempt(LOCKDOWN_CONDUIT, make_file), 1);
	assert_int_equal(attempt(LOCKDOWN_DIALER, make_file), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_role_opens_executes_forks_or_traces),
		cmocka_unit_test(only_the_dialer_has_the_network),
		cmocka_unit_test(only_the_artifact_process_makes_files),
	};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	/* The sanitizers need calls that the filters forbid, so such a build has no filters. */
	print_message("ok 1 - lockdown # SKIP no seccomp in a build with sanitizers\n");
	(void)tests;
	(void)set_up;
	(void)tear_down;
	return 0;
#else
	return cmocka_run_group_tests(tests, set_up, tear_down);
#endif
}
