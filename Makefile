# kiln: one Makefile is the toolbox. `make help` lists the targets.
#
# Explicit source lists live in <folder>/sources.mk. Costly outputs (kernel, static
# libraries, images) come from scripts that keep them outside the tree (scripts/cache.sh).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := host

B ?= build
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
VERSION := $(shell cat VERSION)
OPT ?= -O2
DEBUG ?= -g
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
WERROR ?= -Werror
INCLUDES = -Iprotocol -Ihost/base -Ihost/config -Ihost/job -Ihost/supervisor -Ihost/daemon -Ihost/cli
CFLAGS_HOST = -std=gnu11 -D_GNU_SOURCE $(DEBUG) $(OPT) $(HARDEN) $(WARN) $(WERROR) -DKILN_VERSION='"$(VERSION)"' $(INCLUDES) $(SAN)
LDFLAGS_HOST = -pie -Wl,-z,relro,-z,now $(SAN)

include protocol/sources.mk host/base/sources.mk host/job/sources.mk host/config/sources.mk \
	host/supervisor/sources.mk host/daemon/sources.mk host/cli/sources.mk guest-agent/sources.mk
include mk/host.mk mk/guest.mk mk/test.mk mk/setup.mk mk/demo.mk mk/install.mk

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile mk/*.mk | sed -E 's/:[^#]*## /\t/' | sort | while IFS=$$'\t' read -r t h; do printf '  make %-16s %s\n' "$$t" "$$h"; done

.PHONY: clean
clean: ## remove build/ (the caches stay)
	rm -rf $(B)
include mk/fuzz.mk mk/bench.mk tests/unit/supervisor/driver.mk
