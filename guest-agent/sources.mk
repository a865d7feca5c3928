# AGENT_SRC: all sources of kiln-agent. AGENT_UNIT_SRC: those of them that need libc, jansson and
# libarchive at most, built natively for the unit tests.
AGENT_UNIT_SRC := $(addprefix guest-agent/,cmdline.c disk.c fail.c job.c journal.c passwd.c text.c \
	verdict.c)
AGENT_CORE := $(addprefix guest-agent/,boot.c cgroup.c child.c control.c fatal.c file.c link.c loop.c \
	main.c output.c proxyctl.c run.c setup.c step.c steps.c user.c world.c)
# The workers: forked children that handle foreign bytes.
AGENT_WORKERS := $(filter-out $(AGENT_UNIT_SRC) $(AGENT_CORE),$(wildcard guest-agent/*.c))
AGENT_SRC := $(AGENT_UNIT_SRC) $(AGENT_CORE) $(AGENT_WORKERS)
