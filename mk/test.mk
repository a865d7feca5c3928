# Tests. A unit test tests/unit/<folder>/<module>_test.c links the archive of its folder.
UNIT_LIBS_protocol := $(L)/libwire.a
UNIT_LIBS_base := $(L)/libbase.a
UNIT_LIBS_job := $(L)/libjob.a $(L)/libconfig.a $(L)/libbase.a
UNIT_LIBS_config := $(L)/libconfig.a $(L)/libbase.a
UNIT_LIBS_supervisor := $(SUPERVISOR_LIBS)
UNIT_LIBS_daemon := $(DAEMON_LIBS)
UNIT_LIBS_cli := $(CLI_LIBS)
UNIT_LIBS_agent := $(L)/libagent.a $(L)/libwire.a
UNIT_LINK_job := $(LIBS_CONFIG)
UNIT_LINK_config := $(LIBS_CONFIG)
UNIT_LINK_supervisor := $(LIBS_SUPERVISOR)
UNIT_LINK_daemon := $(LIBS_DAEMON) $(LIBS_CONFIG)
UNIT_LINK_cli := $(LIBS_CLI) $(LIBS_CONFIG)
UNIT_LINK_agent := $(call pc,libs,libarchive)

# Agent modules that need no guest library are built natively for their unit tests.
$(eval $(call archive,agent,$(AGENT_UNIT_SRC)))
$(call obj,$(AGENT_UNIT_SRC)): CFLAGS_HOST := -Iguest-agent $(CFLAGS_HOST)
$(B)/obj/tests/unit/agent/%.o: CFLAGS_HOST := -Iguest-agent $(CFLAGS_HOST)

UNIT_TESTS := $(wildcard tests/unit/*/*_test.c)
UNIT_BINS := $(patsubst tests/unit/%.c,$(B)/unit/%,$(UNIT_TESTS))
.SECONDEXPANSION:
$(B)/unit/%: $(B)/obj/tests/unit/%.o $$(UNIT_LIBS_$$(firstword $$(subst /, ,$$*)))
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	$(Q)$(CC) $(LDFLAGS_HOST) $^ $(UNIT_LINK_$(firstword $(subst /, ,$*))) $(LIBS_BASE) -lcmocka -o $@

.PHONY: unit
unit: $(UNIT_BINS) ## build and run the unit tests
	@rc=0; for t in $(sort $(UNIT_BINS)); do "$$t" || rc=1; done; exit $$rc

.PHONY: unit-bins check check-full lint test-full-setup
unit-bins: $(UNIT_BINS)
RUN_TESTS = $(PYTHON) tests/run.py --build $(B)
PYTHON ?= /usr/bin/python3

lint: ## hold the rules of CONTRIBUTING.md that a script can hold
	@$(PYTHON) scripts/lint.py

check: setup-check ## all tests that fit into 8 minutes, those with real VMs included
	@$(RUN_TESTS) units socket vm fuzz lint+docs

check-full: setup ## what does not fit: sanitizers, analysers, long fuzzing, images
	@$(RUN_TESTS) --full asan analysers fuzz-long images
