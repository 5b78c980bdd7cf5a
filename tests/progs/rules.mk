# Test programs: $(BUILD)/progs. train in each of the ways to reach the driver; all from the driver API.
PROG_DIR := $(BUILD)/progs
PROG_FORMS := linked:CU_LINKED dlopen:CU_DLOPEN abspath:CU_ABSPATH procaddr:CU_PROCADDR procaddr-ptds:CU_PROCADDR_PTDS
PROG_TRAIN := $(foreach f,$(PROG_FORMS),$(PROG_DIR)/train-$(firstword $(subst :, ,$(f))))
PROGS := $(PROG_TRAIN) $(PROG_DIR)/mtstream $(PROG_DIR)/forker $(PROG_DIR)/nogpu

# A library of the driver's name, with its symbols and nothing else, to link against.
$(BUILD)/stub/libcuda.so.1: tests/progs/stub.c shim/api.def shim/api.h
	@mkdir -p $(@D)
	$(Q_LD)$(CC) -shared -fPIC -w -Wl,-soname,libcuda.so.1 -o $@ $<

PROG_CC = $(Q_LD)$(CC) $(CFLAGS) $(CK_CFLAGS) -MF $@.d -MT $@ -no-pie -rdynamic

define PROG_RULE
$(PROG_DIR)/train-$(1): tests/progs/train.c tests/progs/cu.c tests/progs/prog.c tests/progs/ptx.S \
		tests/progs/train.ptx tests/progs/mtstream.ptx $(BUILD)/stub/libcuda.so.1
	@mkdir -p $$(@D)
	$$(PROG_CC) -DCU_FORM=$(2) -o $$@ tests/progs/train.c tests/progs/cu.c tests/progs/prog.c tests/progs/ptx.S \
		$(if $(filter linked,$(1)),$(BUILD)/stub/libcuda.so.1,) -ldl
endef
$(foreach f,$(PROG_FORMS),$(eval $(call PROG_RULE,$(firstword $(subst :, ,$(f))),$(lastword $(subst :, ,$(f))))))

$(PROG_DIR)/mtstream $(PROG_DIR)/forker: $(PROG_DIR)/%: tests/progs/%.c tests/progs/cu.c tests/progs/prog.c \
		tests/progs/ptx.S tests/progs/train.ptx tests/progs/mtstream.ptx
	@mkdir -p $(@D)
	$(PROG_CC) -DCU_FORM=CU_DLOPEN -o $@ $(filter %.c %.S,$^) -ldl -lpthread

$(PROG_DIR)/nogpu: tests/progs/nogpu.c tests/progs/prog.c
	@mkdir -p $(@D)
	$(PROG_CC) -o $@ $^ -lpthread

# Kernels: compiled by nvcc, committed as text. The version and target are lowered to what the
# instructions need, so that older drivers and GPUs take them too; `make ptx` renews them.
.PHONY: ptx progs
ptx:
	tests/progs/make-ptx tests/progs

progs: $(PROGS)
all: progs
