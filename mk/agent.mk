# Builds kiln-agent (static, musl, stripped) and agent.cpio, the initramfs that holds nothing else.
# Called by mk/guest.mk with AGENT_PREFIX, the output of guest-agent/deps/build.sh.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules
B ?= build
VERSION := $(shell cat VERSION)
AGENT_MAX_BYTES := 4194304
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
WERROR ?= -Werror

include protocol/sources.mk guest-agent/sources.mk $(AGENT_PREFIX)/agent-libs.mk

OBJ := $(patsubst %.c,$(B)/agent/%.o,$(AGENT_SRC) $(WIRE_SRC))
CFLAGS := -std=gnu11 -D_GNU_SOURCE $(WARN) $(WERROR) -DKILN_VERSION='"$(VERSION)"' \
	-Iprotocol -Iguest-agent $(AGENT_CFLAGS) -fstack-protector-strong

.PHONY: agent
agent: $(B)/bin/kiln-agent $(B)/share/agent.cpio

# the copying paths are short; for them speed counts more than size
$(B)/agent/protocol/%.o $(B)/agent/guest-agent/journal.o $(B)/agent/guest-agent/bulk.o: CFLAGS += -O2

# what was compiled against other libraries is compiled again
$(B)/agent/prefix: FORCE
	@mkdir -p $(@D)
	@echo '$(AGENT_PREFIX)' | cmp -s - $@ || echo '$(AGENT_PREFIX)' >$@

$(B)/agent/%.o: %.c $(B)/agent/prefix
	@mkdir -p $(@D)
	$(AGENT_CC) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/bin/kiln-agent: $(OBJ)
	@mkdir -p $(@D)
	$(AGENT_CC) $(AGENT_LDFLAGS) $(OBJ) $(AGENT_LIBS) -o $@.tmp
	strip -s -R .comment $@.tmp
	@size=$$(stat -c %s $@.tmp); (( size <= $(AGENT_MAX_BYTES) )) || \
		{ echo "kiln-agent has $$size bytes, more than $(AGENT_MAX_BYTES)" >&2; exit 1; }
	mv $@.tmp $@

$(B)/share/agent.cpio: $(B)/bin/kiln-agent kernel-config/mkcpio.py
	@mkdir -p $(@D)
	python3 kernel-config/mkcpio.py $@.tmp --dir /dev --node /dev/console:c:5:1:0600 \
		--file /init=$<:0755
	mv $@.tmp $@

.PHONY: FORCE
FORCE:
-include $(OBJ:.o=.d)
