JOB_SRC := host/job/image.c host/job/job_doc.c host/job/job_id.c host/job/job_request.c \
	host/job/job_size.c host/job/job_source.c host/job/job_steps.c host/job/job_world.c \
	host/job/repo_url.c
JOB_MAIN :=
