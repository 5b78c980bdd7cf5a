# For machines with a GPU: the probe and the measuring program. They build anywhere; scripts/gpu-check runs them.
GPU_COMMON := $(patsubst %,$(BUILD)/obj/tests/gpu/%.o,drv kernels)
GPU_PROBE := $(patsubst %,$(BUILD)/obj/tests/gpu/%.o,probe ask questions subject subject_memory subject_object)
GPU_PROGS := $(BUILD)/gpu/probe $(BUILD)/gpu/load

$(BUILD)/obj/tests/gpu/kernels.o: tests/gpu/kernels.ptx

$(BUILD)/gpu/probe: $(GPU_PROBE) $(GPU_COMMON) $(BUILD)/obj/shim/holes.o $(BUILD)/libckbase.a
$(BUILD)/gpu/load: $(BUILD)/obj/tests/gpu/load.o $(BUILD)/obj/tests/progs/prog.o $(GPU_COMMON)
$(GPU_PROGS):
	@mkdir -p $(@D)
	$(Q_LD)$(CC) $(CFLAGS) -o $@ $^ -ldl -lpthread

.PHONY: gpu
gpu: $(GPU_PROGS)
all: gpu

# tests/gpu/kernels.ptx is committed. Where nvcc is, this makes it anew.
.PHONY: gpu-ptx
gpu-ptx:
	$(if $(NVCC),,$(error no nvcc: the committed tests/gpu/kernels.ptx stays))
	@mkdir -p $(BUILD)
	$(NVCC) -arch=sm_75 -O3 -ptx -o $(BUILD)/gpu.ptx tests/gpu/kernels.cu
	tests/progs/lower-ptx < $(BUILD)/gpu.ptx > tests/gpu/kernels.ptx
