WIRE_SRC := protocol/wire.c protocol/wire_specs.c
