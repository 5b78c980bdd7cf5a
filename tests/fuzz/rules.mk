# Fuzzing: every tests/fuzz/fuzz_NAME.c is a libFuzzer program over the sources FUZZ_SRC_NAME, by default
# those of shim/base and of the tools. `make fuzz-smoke` gives each FUZZ_SECONDS with ASan and UBSan, starting
# from the inputs in tests/fuzz/corpus/NAME.
FUZZ_CC ?= clang
FUZZ_SECONDS ?= 20
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SRC_ptx := $(wildcard tests/sim/ptx*.c) shim/base/err.c
FUZZ_SRC_DEFAULT := $(BASE_SRC) $(TOOL_SRC)
FUZZ_CFLAGS := -std=gnu11 -O1 -g -DCK_VERSION='"$(VERSION)"' -fno-strict-aliasing -ffp-contract=off -MMD -MP \
	-fsanitize=address,undefined -fno-sanitize=float-divide-by-zero -fno-sanitize-recover=undefined

$(BUILD)/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link -c $< -o $@

# $(1): name, $(2): sources
define fuzz_program
$(BUILD)/fuzz/$(1): $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,tests/fuzz/fuzz_$(1).c $(2))
	$(FUZZ_CC) $(FUZZ_CFLAGS) -fsanitize=fuzzer -o $$@ $$(filter %.o,$$^) -l:libjansson.a -ldl -lm -lpthread
endef
$(foreach n,$(FUZZ_NAMES),$(eval $(call fuzz_program,$(n),$(or $(FUZZ_SRC_$(n)),$(FUZZ_SRC_DEFAULT)))))

# New inputs go to the build folder; the committed corpus is only read.
.PHONY: fuzz-smoke
fuzz-smoke: $(FUZZ_NAMES:%=$(BUILD)/fuzz/%)
	@for n in $(FUZZ_NAMES); do \
		mkdir -p $(BUILD)/fuzz/corpus-$$n; \
		if timeout -s KILL $$(($(FUZZ_SECONDS) + 60)) $(BUILD)/fuzz/$$n -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
			-rss_limit_mb=2048 -max_len=8192 -artifact_prefix=$(BUILD)/fuzz/$$n- -print_final_stats=1 \
			$(BUILD)/fuzz/corpus-$$n $$(ls -d tests/fuzz/corpus/$$n 2>/dev/null) > $(BUILD)/fuzz/$$n.log 2>&1; then \
			echo "fuzz $$n: $$(sed -n 's/^stat::number_of_executed_units: *//p' $(BUILD)/fuzz/$$n.log) inputs, no fault"; \
		else \
			echo "fuzz $$n: FAILED"; grep -v '^#[0-9]' $(BUILD)/fuzz/$$n.log | tail -n 40; exit 1; \
		fi; \
	done

.SECONDARY: $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(FUZZ_SRC_DEFAULT) $(FUZZ_SRC_ptx) $(wildcard tests/fuzz/*.c))
