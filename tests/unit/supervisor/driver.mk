# The program that plays control in the socket level tests (tests/integration/test_conduit.py).
$(B)/bin/conduit-driver: $(B)/obj/tests/unit/supervisor/conduit_driver.o $(SUPERVISOR_LIBS)
	@mkdir -p $(@D)
	@echo '  LINK    $@'; $(CC) $(LDFLAGS_HOST) $^ $(LIBS_SUPERVISOR) $(LIBS_BASE) -o $@
unit-bins: $(B)/bin/conduit-driver
