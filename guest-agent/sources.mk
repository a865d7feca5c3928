# AGENT_SRC: all sources of kiln-agent. AGENT_UNIT_SRC: those of them that need libc, jansson and
# libarchive at most, built natively for the unit tests.
AGENT_SRC :=
AGENT_UNIT_SRC :=
