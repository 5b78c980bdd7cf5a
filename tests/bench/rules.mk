# What `make bench` measures with; scripts/bench runs it. Not part of `make`.
BENCH := $(BUILD)/bench/spawn $(BUILD)/bench/calls $(BUILD)/bench/hold $(BUILD)/bench/empty.so

$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o
	@mkdir -p $(@D)
	$(Q_LD)$(CC) $(CFLAGS) -o $@ $< -ldl

# A library that does nothing: what any LD_PRELOAD costs.
$(BUILD)/bench/empty.so: tests/bench/rules.mk
	@mkdir -p $(@D)
	$(Q_LD)echo 'int ck_bench_empty;' | $(CC) -x c -shared -fPIC -o $@ -

.SECONDARY: $(BENCH:$(BUILD)/bench/%=$(BUILD)/obj/tests/bench/%.o)
.PHONY: bench-progs
bench-progs: $(BENCH)
