# Unit tests: every tests/unit/NAME.c is a program that prints TAP. `make unit` runs them all and fails when
# one fails. ptx_* get the interpreter's objects, sim_* the simulated driver, the others the two libraries.
UNIT_SRC := $(wildcard tests/unit/*.c)
UNITS := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)
PTX_SRC := $(wildcard tests/sim/ptx*.c)
PTX_OBJ := $(PTX_SRC:%.c=$(BUILD)/obj/%.o)

# Arithmetic must be that of the text: no fused operation that it does not ask for.
$(PTX_OBJ): EXTRA_CFLAGS += -ffp-contract=off

$(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $(BUILD)/libcktools.a $(BUILD)/libckbase.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< $(BUILD)/libcktools.a $(BUILD)/libckbase.a -l:libjansson.a -ldl -lpthread

$(BUILD)/unit/ptx_%: $(BUILD)/obj/tests/unit/ptx_%.o $(PTX_OBJ) $(BUILD)/libckbase.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< $(PTX_OBJ) $(BUILD)/libckbase.a -lm -lpthread

$(BUILD)/unit/sim_%: $(BUILD)/obj/tests/unit/sim_%.o $(BUILD)/sim/libcuda.so.1 $(BUILD)/libckbase.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< $(BUILD)/libckbase.a $(BUILD)/sim/libcuda.so.1 -Wl,-rpath,$(abspath $(BUILD))/sim \
		-lm -lpthread

# The gate once more with the thread sanitizer, and the modules that only need libckbase with the others.
UNITS += $(BUILD)/unit/gate-tsan $(BUILD)/unit/track-asan $(BUILD)/unit/image-asan $(BUILD)/unit/proto-asan
SAN_SRC := $(wildcard shim/base/*.c)
$(BUILD)/unit/%-tsan: tests/unit/%.c $(SAN_SRC)
	@mkdir -p $(@D)
	$(Q_CC)$(CC) -std=gnu11 -g -O1 -fsanitize=thread -DCK_VERSION='"$(VERSION)"' -o $@ $^ -lpthread
$(BUILD)/unit/%-asan: tests/unit/%.c $(SAN_SRC)
	@mkdir -p $(@D)
	$(Q_CC)$(CC) -std=gnu11 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined \
		-DCK_VERSION='"$(VERSION)"' -o $@ $^ -lpthread

# A test that hangs or dies counts as failed; its output is shown then.
.PHONY: unit
unit: $(UNITS)
	@failed=; for t in $(UNITS); do \
		if timeout -s KILL 120 $$t > $$t.tap 2>&1; then \
			echo "unit $${t##*/}: $$(grep -c '^ok' $$t.tap) passed, $$(grep -c '# SKIP' $$t.tap) of them skipped"; \
		else \
			echo "unit $${t##*/}: FAILED"; grep -v '^ok' $$t.tap; failed="$$failed $${t##*/}"; \
		fi; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

.SECONDARY: $(UNIT_SRC:%.c=$(BUILD)/obj/%.o)
