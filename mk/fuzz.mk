# Fuzz targets: tests/fuzz/fuzz_<name>.c against the same sources as the programs, with clang's
# libFuzzer, address and undefined behaviour checks. `make fuzz FUZZ_SECONDS=n` runs each n s.
