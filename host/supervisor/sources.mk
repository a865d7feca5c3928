# control: the VM, its deadlines and the verdict
SUPERVISOR_SRC := $(addprefix host/supervisor/, \
	child.c console.c control.c ctl.c linkio.c listener.c probe.c probe_cache.c procs.c program.c \
	qemu_argv.c rundir.c scratch.c supjob.c tsc.c uid.c verdict.c vmm.c vmm_qemu.c)
SUPERVISOR_MAIN := host/supervisor/main.c
# conduit and dialer: the processes that face the guest
SUPERVISOR_SRC += $(addprefix host/supervisor/, \
	artifact.c artifact_hash.c artifact_manifest.c artifact_unpack.c conduit.c conduit_conn.c conduit_control.c \
	conduit_first.c conduit_link.c conduit_session.c conduit_source.c conduit_tcp.c dialer.c \
	dialer_hosts.c egress.c egress_addr.c events.c lockdown.c logfile.c stream.c tarin.c)
