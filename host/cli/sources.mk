CLI_SRC := host/cli/api.c host/cli/apilog.c host/cli/builddir.c host/cli/cmd_artifacts.c \
	host/cli/cmd_build.c host/cli/cmd_cancel.c host/cli/cmd_clean.c host/cli/cmd_image.c \
	host/cli/cmd_kernel.c host/cli/cmd_logs.c host/cli/cmd_paths.c host/cli/cmd_ps.c \
	host/cli/cmd_run.c host/cli/cmd_token.c host/cli/cmd_version.c host/cli/events_text.c \
	host/cli/extract.c host/cli/filecopy.c host/cli/filter.c host/cli/follow.c \
	host/cli/gitrun.c host/cli/jobopts.c host/cli/logview.c host/cli/opt.c host/cli/outcome.c host/cli/pack.c \
	host/cli/pack_tar.c host/cli/proc.c host/cli/run.c host/cli/sse_read.c \
	host/cli/supervise.c host/cli/term.c
CLI_MAIN := host/cli/main.c
