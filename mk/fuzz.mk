# Fuzz targets: tests/fuzz/fuzz_<name>.c against the same sources as the programs, with clang's
# libFuzzer, address and undefined behaviour checks. `make fuzz FUZZ_SECONDS=n` runs each for n s on
# seeds made from the golden vectors. Without clang each is built by gcc and only fed the seeds.
FUZZ_SECONDS ?= 10
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_CLANG := $(shell command -v clang 2>/dev/null)
FUZZ_SAN := -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_CC := $(if $(FUZZ_CLANG),$(FUZZ_CLANG) -fsanitize=fuzzer $(FUZZ_SAN),$(CC) $(FUZZ_SAN) tests/fuzz/feed.c)
FUZZ_CFLAGS := -std=gnu11 -D_GNU_SOURCE -g -O1 $(WARN) -Wno-unused-parameter $(WERROR) $(INCLUDES)

FUZZ_WIRE := $(WIRE_SRC)
FUZZ_BASE := host/base/err.c host/base/fileio.c
FUZZ_SRC_fuzz_wire := $(FUZZ_WIRE)
FUZZ_SRC_fuzz_conduit_stream := $(FUZZ_WIRE) host/supervisor/stream.c
FUZZ_SRC_fuzz_conduit_session := $(FUZZ_WIRE) $(FUZZ_BASE) $(addprefix host/supervisor/, \
	conduit_session.c events.c logfile.c)
FUZZ_SRC_fuzz_conduit_egress := $(FUZZ_BASE) $(addprefix host/supervisor/,egress.c egress_addr.c)
FUZZ_SRC_fuzz_conduit_tar := $(FUZZ_BASE) host/supervisor/tarin.c
FUZZ_SRC_fuzz_glob := guest-agent/glob.c
FUZZ_SRC_fuzz_proxy_http := guest-agent/proxy_http.c
FUZZ_CFLAGS_fuzz_glob := -Iguest-agent
FUZZ_CFLAGS_fuzz_proxy_http := -Iguest-agent

$(B)/fuzz/%: tests/fuzz/%.c tests/fuzz/feed.c $$(FUZZ_SRC_$$*) $(wildcard protocol/*.h host/base/*.h host/supervisor/*.h)
	@mkdir -p $(@D)
	@echo "  FUZZ    $@" >&2
	@$(FUZZ_CC) $(FUZZ_CFLAGS) $(FUZZ_CFLAGS_$*) $< $(FUZZ_SRC_$*) $(LIBS_SUPERVISOR) $(LIBS_BASE) $(FUZZ_LIBS_$*) -o $@

$(B)/fuzz/seeds: tests/fuzz/seeds.py $(wildcard protocol/vectors/*.json)
	@rm -rf $@ && mkdir -p $@
	@$(PYTHON) tests/fuzz/seeds.py $@

.PHONY: fuzz
fuzz: $(addprefix $(B)/fuzz/,$(FUZZ_TARGETS)) $(B)/fuzz/seeds ## fuzz every parser for FUZZ_SECONDS each
	@B=$(B) bash tests/fuzz/run.sh $(if $(FUZZ_CLANG),$(FUZZ_SECONDS),feed) $(FUZZ_TARGETS)
