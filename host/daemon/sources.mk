DAEMON_SRC := host/daemon/api_builds.c host/daemon/api_files.c host/daemon/api_health.c \
	host/daemon/auth.c host/daemon/builddir.c host/daemon/builds.c host/daemon/child.c \
	host/daemon/events.c host/daemon/follow.c host/daemon/http.c host/daemon/listen.c \
	host/daemon/manifest.c host/daemon/notify.c host/daemon/probe.c host/daemon/range.c host/daemon/record.c \
	host/daemon/reply.c host/daemon/route.c host/daemon/run.c host/daemon/run_start.c \
	host/daemon/scheduler.c host/daemon/launch.c host/daemon/sse.c host/daemon/startup.c \
	host/daemon/state.c host/daemon/store.c host/daemon/talk.c host/daemon/tarout.c \
	host/daemon/view.c host/daemon/watch.c host/daemon/writer.c
DAEMON_MAIN := host/daemon/main.c
