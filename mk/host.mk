# Host programs: one static archive a folder, linked into the programs and their unit tests.
Q ?= @
pc = $(shell pkg-config --$(1) $(2) 2>/dev/null)
LIBS_BASE := $(call pc,libs,jansson)
LIBS_CONFIG := $(call pc,libs,yaml-0.1)
LIBS_SUPERVISOR := $(call pc,libs,libseccomp libcares libcrypto libarchive libxxhash)
LIBS_DAEMON := $(call pc,libs,libuv libmicrohttpd sqlite3 libcrypto libarchive)
LIBS_CLI := $(call pc,libs,libcurl libarchive libcrypto)

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
$(B)/obj/%.o: %.c
	$(Q)[ -d $(@D) ] || mkdir -p $(@D); echo '  CC      $<'; $(CC) $(CFLAGS_HOST) -MMD -MP -c $< -o $@

define archive
$(B)/lib/lib$(1).a: $$(call obj,$(2))
	@mkdir -p $$(@D)
	$(Q)rm -f $$@ && ar rcs $$@ $$^
endef
$(eval $(call archive,wire,$(WIRE_SRC)))
$(eval $(call archive,base,$(BASE_SRC)))
$(eval $(call archive,job,$(JOB_SRC)))
$(eval $(call archive,config,$(CONFIG_SRC)))
$(eval $(call archive,supervisor,$(SUPERVISOR_SRC)))
$(eval $(call archive,daemon,$(DAEMON_SRC)))
$(eval $(call archive,cli,$(CLI_SRC)))

L := $(B)/lib
SUPERVISOR_LIBS := $(L)/libsupervisor.a $(L)/libbase.a $(L)/libwire.a
DAEMON_LIBS := $(L)/libdaemon.a $(L)/libjob.a $(L)/libconfig.a $(L)/libbase.a
CLI_LIBS := $(L)/libcli.a $(L)/libjob.a $(L)/libconfig.a $(L)/libbase.a

$(B)/bin/kiln-supervisor: $(call obj,$(SUPERVISOR_MAIN)) $(SUPERVISOR_LIBS)
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	$(Q)$(CC) $(LDFLAGS_HOST) $^ $(LIBS_SUPERVISOR) $(LIBS_BASE) -o $@
$(B)/bin/kilnd: $(call obj,$(DAEMON_MAIN)) $(DAEMON_LIBS)
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	$(Q)$(CC) $(LDFLAGS_HOST) $^ $(LIBS_DAEMON) $(LIBS_CONFIG) $(LIBS_BASE) -o $@
$(B)/bin/kiln: $(call obj,$(CLI_MAIN)) $(CLI_LIBS)
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	$(Q)$(CC) $(LDFLAGS_HOST) $^ $(LIBS_CLI) $(LIBS_CONFIG) $(LIBS_BASE) -o $@

PROGRAMS := $(if $(SUPERVISOR_MAIN),$(B)/bin/kiln-supervisor) $(if $(DAEMON_MAIN),$(B)/bin/kilnd) $(if $(CLI_MAIN),$(B)/bin/kiln)
.PHONY: host
host: $(PROGRAMS) ## build kilnd, kiln-supervisor and kiln into build/bin

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
