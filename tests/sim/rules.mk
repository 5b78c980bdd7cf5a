# The simulated GPU driver: $(BUILD)/sim/libcuda.so.1. Never installed.
SIM_SRC := $(wildcard tests/sim/*.c)
SIM_OBJ := $(SIM_SRC:%.c=$(BUILD)/obj/%.o)
$(SIM_OBJ): EXTRA_CFLAGS += -fvisibility=hidden

# base objects are linked as they are (hidden), so that no symbol but the API's is seen
$(BUILD)/sim/libcuda.so.1: $(SIM_OBJ) $(BASE_OBJ) tests/sim/libcuda.map
	@mkdir -p $(@D)
	$(Q_LD)$(CC) $(CFLAGS) -shared -Wl,-soname,libcuda.so.1 -Wl,--version-script=tests/sim/libcuda.map -Wl,-Bsymbolic \
		-Wl,-z,defs,-z,now,-z,relro -o $@ $(SIM_OBJ) $(BASE_OBJ) -lm -lpthread
	@ln -sf libcuda.so.1 $(@D)/libcuda.so

.PHONY: sim
sim: $(BUILD)/sim/libcuda.so.1
all: sim

# Its tests: programs that link against it as any CUDA program does.
SIM_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/sim_*.c))
$(SIM_TESTS): $(BUILD)/unit/sim_%: $(BUILD)/obj/tests/unit/sim_%.o $(BUILD)/sim/libcuda.so.1
	@mkdir -p $(@D)
	$(Q_LD)$(CC) $(CFLAGS) -o $@ $^ -lpthread -Wl,-rpath,'$$ORIGIN/../sim'
all: $(SIM_TESTS)
