# libckshim.so: hidden symbols, no dependency but libc (libunwind is opened at the first cuInit). Bound lazily:
# most processes that carry it call next to nothing of it.
SHIM_SRC := $(wildcard shim/*.c)
SHIM_OBJ := $(SHIM_SRC:%.c=$(BUILD)/obj/%.o) $(patsubst %.S,$(BUILD)/obj/%.o,$(wildcard shim/*.S))
$(SHIM_OBJ) $(BASE_OBJ): EXTRA_CFLAGS += -fvisibility=hidden

$(BUILD)/obj/%.o: %.S
	@mkdir -p $(@D)
	$(Q_CC)$(CC) -c $< -o $@

$(BUILD)/libckshim.so: $(SHIM_OBJ) $(BASE_OBJ) shim/libckshim.map
	$(Q_LD)$(CC) $(CFLAGS) -shared -Wl,-soname,libckshim.so -Wl,--version-script=shim/libckshim.map -Wl,-Bsymbolic \
		-Wl,-z,defs,-z,lazy,-z,relro,-z,nodelete -o $@ $(SHIM_OBJ) $(BASE_OBJ) -ldl -lpthread

all: $(BUILD)/libckshim.so
