/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - the smallest guest: an init that says one byte and reboots.
 *
 * It proves that a VMM, this kernel and vsock work together on this machine (the
 * KVM probe), and its time is the floor that the agent's boot is measured against.
 * So it does nothing else: it mounts nothing, allocates nothing, tries nothing twice.
 *
 * It connects to port 1023 of the host, sends 'K', waits until the host sends a byte or
 * closes, and reboots. In a VM without a vsock device it says "kiln-probe" on the
 * console instead. No libc: gcc -static -nostdlib is all it takes.
 *
 * Sources: vsock(7), reboot(2), syscall(2) for the calling convention.
 */
#include <errno.h>
#include <linux/reboot.h>
#include <linux/vm_sockets.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define PROBE_PORT 1023
#define CONSOLE_FD 1 /* the kernel opens /dev/console as 0, 1 and 2 for init */

static long sys4(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

static void say(const char *line, size_t len_bytes)
{
	sys4(SYS_write, CONSOLE_FD, (long)line, (long)len_bytes, 0);
}

#define SAY(line) say(line, sizeof(line) - 1)

/* Returns a connected socket or a negative errno. */
static long dial_host(void)
{
	struct sockaddr_vm host = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_HOST,
		.svm_port = PROBE_PORT,
	};
	long fd = sys4(SYS_socket, AF_VSOCK, SOCK_STREAM, 0, 0);
	long result;

	if (fd < 0)
		return fd;
	result = sys4(SYS_connect, fd, (long)&host, sizeof(host), 0);
	return result < 0 ? result : fd;
}

__attribute__((noreturn, used)) void probe_main(void)
{
	char byte = 'K';
	long fd = dial_host();

	if (fd >= 0) {
		sys4(SYS_write, fd, (long)&byte, 1, 0);
		sys4(SYS_read, fd, (long)&byte, 1, 0);
	} else if (fd == -ENODEV || fd == -EAFNOSUPPORT) {
		SAY("kiln-probe\n");
	} else {
		SAY("kiln-probe: the host does not answer on vsock port 1023\n");
	}
	for (;;)
		sys4(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
		     LINUX_REBOOT_CMD_RESTART, 0);
}

/* The kernel enters here with the stack as the ABI wants it for a call's caller. */
__asm__(".globl _start\n"
	"_start:\n"
	"	xorl %ebp, %ebp\n"
	"	call probe_main\n");
