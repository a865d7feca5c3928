# The guest agent and its initramfs. The libraries it links are a costly output: only when the
# agent is wanted does guest-agent/deps/build.sh make or find them, and mk/agent.mk takes over.
$(B)/bin/kiln-agent $(B)/share/agent.cpio &: FORCE
	@prefix=$$(guest-agent/deps/build.sh | tail -n 1) && \
		$(MAKE) --no-print-directory -f mk/agent.mk B=$(B) AGENT_PREFIX="$$prefix" agent

.PHONY: agent FORCE
agent: $(B)/bin/kiln-agent $(B)/share/agent.cpio ## build the static agent and its initramfs
FORCE:
