# Set-up: packages, kernel, libraries, images. Costly outputs are cached outside the tree by
# the digest of their inputs; asking for them again takes no time.
STAGE := scripts/stage
LOG := $(B)/log

.PHONY: packages kernel vhost-device-vsock probe setup-guest setup-check setup-demo setup
packages: ## install the Debian packages that are missing (as root), or name them
	@scripts/packages

# $(call fetch,<stage name>,<command>): run a build script as a stage; the last line it prints is
# the directory of its output, kept in build/log/<stage>.dir.
define fetch
$(STAGE) $(1) $(LOG)/$(1).log $(2) && tail -n 1 $(LOG)/$(1).log >$(LOG)/$(1).dir
endef
out = $$(cat $(LOG)/$(1).dir)

kernel: ## the guest kernel: build/share/vmlinux
	@$(call fetch,kernel,kernel-config/build.sh)
	@mkdir -p $(B)/share && ln -sfn "$(call out,kernel)/vmlinux" $(B)/share/vmlinux

vhost-device-vsock: ## the user-space vsock device: build/bin/vhost-device-vsock
	@$(call fetch,vhost-vsock,scripts/vhost-device-vsock.sh)
	@mkdir -p $(B)/bin && ln -sfn "$(call out,vhost-vsock)/vhost-device-vsock" $(B)/bin/vhost-device-vsock

image-%: ## a root filesystem image: build/share/images/<name>.erofs
	@$(call fetch,image-$*,rootfs/build.sh --image $*)
	@mkdir -p $(B)/share/images
	@for f in "$(call out,image-$*)"/$*.*; do ln -sfn "$$f" $(B)/share/images/; done

# The parts, in the order in which they are needed; each is quick when it is there already.
setup-guest: packages
	@$(MAKE) -s kernel vhost-device-vsock
	@$(STAGE) libraries $(LOG)/libraries.log guest-agent/deps/build.sh

setup-check: setup-guest # what `make check` needs
	@$(MAKE) -s image-c
	@$(STAGE) build $(LOG)/build.log $(MAKE) -j2 host agent probe unit-bins

setup-demo: setup-guest # what `make demo` needs
	@$(MAKE) -s image-kiln image-builder
	@$(STAGE) build $(LOG)/build.log $(MAKE) -j2 host agent probe

setup: setup-check setup-demo ## everything that tests, demo and builds need

probe: $(B)/share/probe.cpio ## the smallest guest, which proves that KVM works: build/share/probe.cpio
$(B)/share/probe.cpio: kernel-config/probe/build.sh kernel-config/probe/probe.c kernel-config/mkcpio.py
	kernel-config/probe/build.sh $(@D) >/dev/null
