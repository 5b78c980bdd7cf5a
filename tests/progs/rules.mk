# Test programs. One source in the ways in which programs reach the driver: tests/progs/cu_open.c.
PROG_WAYS := linked:1 dlopen:2 abspath:3 procaddr:4 procaddr-ptds:5
PROG_COMMON := $(BUILD)/obj/tests/progs/prog.o
PROG_CUDA := $(BUILD)/obj/tests/progs/kernels.o
TRAINS := $(foreach w,$(PROG_WAYS),$(BUILD)/progs/train-$(firstword $(subst :, ,$(w))))
PROGS := $(TRAINS) $(BUILD)/progs/mtstream $(BUILD)/progs/forker $(BUILD)/progs/nogpu $(BUILD)/progs/holder

$(BUILD)/obj/tests/progs/kernels.o: tests/progs/kernels.ptx

define prog_way
$(BUILD)/obj/tests/progs/cu_open-$(1).o: tests/progs/cu_open.c
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $$(CK_CFLAGS) -DCU_WAY=$(2) -fPIC -c $$< -o $$@
$(BUILD)/progs/train-$(1): $(BUILD)/obj/tests/progs/train.o $(BUILD)/obj/tests/progs/cu_open-$(1).o
endef
$(foreach w,$(PROG_WAYS),$(eval $(call prog_way,$(firstword $(subst :, ,$(w))),$(lastword $(subst :, ,$(w))))))
$(BUILD)/progs/mtstream: $(BUILD)/obj/tests/progs/mtstream.o $(BUILD)/obj/tests/progs/cu_open-procaddr.o
$(BUILD)/progs/forker: $(BUILD)/obj/tests/progs/forker.o $(BUILD)/obj/tests/progs/cu_open-dlopen.o
$(BUILD)/progs/nogpu: $(BUILD)/obj/tests/progs/nogpu.o
$(BUILD)/progs/holder: $(patsubst %,$(BUILD)/obj/tests/progs/%.o,holder holder_ipc holder_fd holder_task)

# A library that only has the driver's names, so that a program can be linked against libcuda.so.1 without
# one, and without a toolkit.
$(BUILD)/stub/libcuda.so.1: shim/api.def
	@mkdir -p $(@D)
	sed -n 's/^E(\([A-Za-z0-9_]*\),.*/int \1(void) { return 0; }/p' $< | \
		sed '1i #pragma GCC diagnostic ignored "-Wmissing-prototypes"' | \
		$(CC) -x c -shared -fPIC -Wl,-soname,libcuda.so.1 -o $@ -

$(BUILD)/progs/train-linked: $(BUILD)/stub/libcuda.so.1
$(BUILD)/progs/train-linked: PROG_LIBS := $(BUILD)/stub/libcuda.so.1

$(filter-out %/nogpu %/holder,$(PROGS)): $(PROG_CUDA)
$(PROGS): $(PROG_COMMON)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $(filter %.o,$^) $(PROG_LIBS) -ldl -lpthread

.PHONY: progs
progs: $(PROGS)
all: progs

# kernels.ptx is committed. Where nvcc is, `make ptx` makes it anew.
NVCC ?= $(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc))
.PHONY: ptx
ptx:
	$(if $(NVCC),,$(error no nvcc: the committed tests/progs/kernels.ptx stays))
	@mkdir -p $(BUILD)
	$(NVCC) -arch=sm_75 -O3 -ptx -o $(BUILD)/kernels.ptx tests/progs/kernels.cu
	tests/progs/lower-ptx < $(BUILD)/kernels.ptx > tests/progs/kernels.ptx
