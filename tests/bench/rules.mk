# What `make bench` measures with; scripts/bench runs it. Not part of `make`.
BENCH := $(BUILD)/bench/spawn $(BUILD)/bench/calls $(BUILD)/bench/hold $(BUILD)/bench/empty.so \
	$(BUILD)/bench/null/libcuda.so.1

$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o
	@mkdir -p $(@D)
	$(Q_LD)$(CC) $(CFLAGS) -o $@ $< -ldl

# A library that does nothing: what any LD_PRELOAD costs.
$(BUILD)/bench/empty.so: tests/bench/rules.mk
	@mkdir -p $(@D)
	$(Q_LD)echo 'int ck_bench_empty;' | $(CC) -x c -shared -fPIC -o $@ -

$(BUILD)/bench/null/libcuda.so.1: $(BUILD)/obj/tests/bench/nulldrv.o
	@mkdir -p $(@D)
	$(Q_LD)$(CC) $(CFLAGS) -shared -Wl,-soname,libcuda.so.1 -o $@ $<

.SECONDARY: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/bench/*.c))
.PHONY: bench-progs
bench-progs: $(BENCH)
