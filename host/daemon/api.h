/* SPDX-License-Identifier: Apache-2.0 */
/* api.h - the handlers of the REST API. Each answers its request, now or later, exactly once. */
#ifndef KILN_API_H
#define KILN_API_H

struct request;

/* api_builds.c */
void api_submit(struct request *r);
void api_list(struct request *r);
void api_show(struct request *r);
void api_cancel(struct request *r);
/* api_files.c */
void api_log(struct request *r);
void api_manifest(struct request *r);
void api_artifact(struct request *r);
void api_artifacts_tar(struct request *r);
/* api_health.c */
void api_health(struct request *r);

#endif
