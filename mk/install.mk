# Installation: programs find each other by where they lie (host/config/siblings.c).
PREFIX ?= /usr/local

.PHONY: install
install: host agent probe vhost-device-vsock ## install programs, agent and man pages below PREFIX (/usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/kiln \
		$(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8 \
		$(DESTDIR)$(PREFIX)/share/doc/kiln
	install -m 755 $(B)/bin/kiln $(B)/bin/kilnd $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(B)/bin/kiln-supervisor $(B)/bin/vhost-device-vsock $(DESTDIR)$(PREFIX)/lib/kiln/
	install -m 644 $(B)/share/agent.cpio $(B)/share/probe.cpio $(DESTDIR)$(PREFIX)/lib/kiln/
	install -m 644 docs/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 docs/man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 644 LICENSE NOTICE docs/kiln.yaml.example $(DESTDIR)$(PREFIX)/share/doc/kiln/
