/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proof.c - what the demo builds in the guest and runs on the host: it prints facts that
 * only this build could have compiled in. Owns nothing.
 */
#include <stdio.h>

int main(void)
{
	printf("nonce %s\ncommit %s\nkernel %s\n", DEMO_NONCE, DEMO_COMMIT, DEMO_KERNEL);
	return 0;
}
