# The tools: each tools/ckshim-NAME.c is a main; the other files are their common library.
TOOL_SRC := $(filter-out tools/ckshim-%.c,$(wildcard tools/*.c))
TOOL_OBJ := $(TOOL_SRC:%.c=$(BUILD)/obj/%.o)
TOOLS := $(patsubst tools/%.c,$(BUILD)/%,$(wildcard tools/ckshim-*.c))

$(BUILD)/libcktools.a: $(TOOL_OBJ)
	@rm -f $@
	$(Q_LD)$(AR) rcs $@ $^

$(TOOLS): $(BUILD)/%: $(BUILD)/obj/tools/%.o $(BUILD)/libcktools.a $(BUILD)/libckbase.a
	$(Q_LD)$(CC) $(CFLAGS) -o $@ $< $(BUILD)/libcktools.a $(BUILD)/libckbase.a -l:libjansson.a -ldl -lpthread

all: $(TOOLS)
