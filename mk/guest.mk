# The guest agent: static, musl, linked with the libraries of guest-agent/deps/build.sh.
.PHONY: agent
agent: $(B)/bin/kiln-agent $(B)/share/agent.cpio ## build the static agent and its initramfs
