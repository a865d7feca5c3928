/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fatal.c - the last words of PID 1. Owns the handlers of SIGSEGV and its like and an
 * alternate stack for them; touches the console and the reset line of the machine.
 */
#include "fatal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

static const int fatal_signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP };

#define FATAL_SIGNALS (sizeof(fatal_signals) / sizeof(fatal_signals[0]))

void fatal_reboot(void)
{
	reboot(RB_AUTOBOOT);
	for (;;) /* reboot() does not come back; were it to, PID 1 must not return either */
		pause();
}

static void console_write(const char *line, size_t n)
{
	int fd = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	ssize_t done = write(fd >= 0 ? fd : 2, line, n);

	(void)done; /* nobody is left to tell */
	if (fd >= 0)
		close(fd);
}

static void say(const char *fmt, va_list ap)
{
	char line[512] = "kiln-agent: ";
	size_t at = strlen(line);
	int n = vsnprintf(line + at, sizeof(line) - at - 1, fmt, ap);

	if (n > 0)
		at += (size_t)n < sizeof(line) - at - 1 ? (size_t)n : sizeof(line) - at - 2;
	line[at++] = '\n';
	console_write(line, at);
}

void fatal_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

void fatal_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	fatal_reboot();
}

/* si_code <= 0: kill(), sigqueue(), tkill(). A root step must not end the agent that way. */
static void on_fatal(int sig, siginfo_t *info, void *context)
{
	static const char text[] = "kiln-agent: ended by a program error (signal ";
	char line[sizeof(text) + 8];
	size_t n = sizeof(text) - 1;

	(void)context;
	if (info->si_code <= 0)
		return;
	memcpy(line, text, n);
	if (sig >= 10)
		line[n++] = (char)('0' + sig / 10);
	line[n++] = (char)('0' + sig % 10);
	line[n++] = ')';
	line[n++] = '\n';
	console_write(line, n);
	fatal_reboot();
}

void fatal_init(void)
{
	static char stack[16384];
	stack_t alt = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction act;

	memset(&act, 0, sizeof(act));
	act.sa_sigaction = on_fatal;
	act.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigfillset(&act.sa_mask);
	sigaltstack(&alt, NULL);
	for (size_t i = 0; i < FATAL_SIGNALS; i++)
		sigaction(fatal_signals[i], &act, NULL);
}

void fatal_reset(void)
{
	stack_t none = { .ss_flags = SS_DISABLE };
	struct sigaction act;
	sigset_t all;

	memset(&act, 0, sizeof(act));
	act.sa_handler = SIG_DFL;
	for (int sig = 1; sig < _NSIG; sig++)
		sigaction(sig, &act, NULL);
	sigaltstack(&none, NULL);
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
}
