# The demo, and what the demo builds inside the guest.
.PHONY: demo demo-guest
demo: setup-demo ## set up everything and build real repositories in microVMs, live
	@$(PYTHON) tests/demo/demo.py --build $(B)

# Runs in the guest, on an emulated CPU: no optimiser, no debug information, no warnings (the
# host's own build has them as errors). The host programs, the tests of the protocol, and a
# program that proves where and from what it was built.
demo-guest: OPT := -O0
demo-guest: DEBUG :=
demo-guest: WARN := -w
demo-guest: HARDEN := -fPIE
demo-guest: host $(B)/unit/protocol/wire_test
	$(B)/unit/protocol/wire_test
	$(CC) -DDEMO_NONCE='"$(shell cat tests/demo/nonce)"' -DDEMO_COMMIT='"$(shell git rev-parse HEAD)"' \
		-DDEMO_KERNEL='"$(shell uname -r)"' tests/demo/proof.c -o $(B)/bin/proof
