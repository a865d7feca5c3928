BASE_SRC := host/base/err.c host/base/fileio.c host/base/jsonx.c host/base/log.c
