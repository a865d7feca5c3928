# AGENT_SRC: all sources of kiln-agent. AGENT_UNIT_SRC: those of them that need libc, jansson and
# libarchive at most, built natively for the unit tests.
AGENT_UNIT_SRC := $(addprefix guest-agent/,bulk.c cmdline.c detect.c disk.c fail.c gitcred.c glob.c \
	job.c journal.c passwd.c proxy_conn.c proxy_http.c select.c tarout.c text.c \
	verdict.c walk.c)
# PID 1.
AGENT_CORE := $(addprefix guest-agent/,boot.c cgroup.c child.c control.c fatal.c file.c link.c loop.c \
	main.c output.c proxyctl.c run.c setup.c step.c steps.c user.c world.c)
# The workers: forked children that handle foreign bytes.
AGENT_WORKERS := $(addprefix guest-agent/,bulk_dial.c clone.c collect.c gitfetch.c gitlib.c \
	gitstream.c gitsub.c gitwords.c proxy.c unpack.c worker.c)
AGENT_SRC := $(AGENT_UNIT_SRC) $(AGENT_CORE) $(AGENT_WORKERS)
