# The benchmark: kiln against floors on this machine. Not a test: short numbers fail nothing, but
# what cannot be measured does. BENCH_N: rounds; BENCH_QUICK=1: small sizes; BENCH_ROWS: only these.
comma := ,
BENCH_N ?= 10
BENCH_QUICK ?=
BENCH_ROWS ?=
BENCH_MARKDOWN ?=
BENCH_CFLAGS := -std=gnu11 -D_GNU_SOURCE -O2 $(WARN) $(WERROR)
BENCH_BIN := $(addprefix $(B)/bench/,load floor bare)

$(B)/bench/%: tests/bench/%.c
	@mkdir -p $(@D)
	@echo '  CC      $@'
	$(Q)$(CC) $(BENCH_CFLAGS) -static -s $< -o $@

$(B)/bench/floor.cpio: $(B)/bench/floor $(B)/bench/load kernel-config/mkcpio.py
	$(Q)$(PYTHON) kernel-config/mkcpio.py $@ --dir /dev --node /dev/console:c:5:1:0600 \
		--file /init=$(B)/bench/floor:0755 --file /load=$(B)/bench/load:0755

.PHONY: bench bench-debian
bench-debian: ## the Debian VM with systemd and sshd that the benchmark compares with
	@$(call fetch,bench-debian,rootfs/build.sh --profile base --name debian-ssh --format ext4 --size 1G \
		--packages systemd$(comma)systemd-sysv$(comma)udev$(comma)openssh-server)
	@mkdir -p $(B)/bench && ln -sfn "$(call out,bench-debian)/debian-ssh.ext4" $(B)/bench/debian-ssh.ext4

bench: setup-check bench-debian $(BENCH_BIN) $(B)/bench/floor.cpio ## measure speed and size against floors
	@$(PYTHON) tests/bench/bench.py --build $(B) --n $(BENCH_N) $(if $(BENCH_QUICK),--quick) \
		$(if $(BENCH_ROWS),--rows $(BENCH_ROWS)) $(if $(BENCH_MARKDOWN),--markdown $(BENCH_MARKDOWN))
