# control: the VM, its deadlines and the verdict
SUPERVISOR_SRC := $(addprefix host/supervisor/, \
	child.c console.c control.c ctl.c linkio.c listener.c probe.c probe_cache.c procs.c program.c \
	qemu_argv.c rundir.c scratch.c supjob.c uid.c verdict.c vmm.c vmm_qemu.c)
SUPERVISOR_MAIN :=
