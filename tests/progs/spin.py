# A kernel that does not end before the host says so: launched, then left running until the file named by the
# argument exists. By ctypes, so it also shows a program of another language on the driver.
import ctypes
import os
import sys
import time

PTX = b"""
.version 7.0
.target sm_75
.address_size 64
.visible .entry spin(.param .u64 p)
{
	.reg .u64 %a;
	.reg .u32 %v;
	.reg .pred %q;
	ld.param.u64 %a, [p];
again:
	ld.volatile.global.u32 %v, [%a];
	setp.eq.u32 %q, %v, 0;
	@%q bra again;
	add.u32 %v, %v, 1;
	st.global.u32 [%a+4], %v;
	ret;
}
\0"""
cuda = ctypes.CDLL("libcuda.so.1")
vp, u64 = ctypes.c_void_p, ctypes.c_uint64


def cu(name, *args):
    rc = getattr(cuda, name)(*args)
    if rc:
        sys.exit(f"wrong: {name}: {rc}")


ctx, mod, fn, one, two, mem = vp(), vp(), vp(), vp(), vp(), u64()
cu("cuInit", 0)
cu("cuCtxCreate_v2", ctypes.byref(ctx), 0, 0)
cu("cuModuleLoadData", ctypes.byref(mod), PTX)
cu("cuModuleGetFunction", ctypes.byref(fn), mod, b"spin")
cu("cuMemAlloc_v2", ctypes.byref(mem), ctypes.c_size_t(4096))
cu("cuMemsetD32_v2", mem, 0, ctypes.c_size_t(1024))
cu("cuStreamCreate", ctypes.byref(one), 1)
cu("cuStreamCreate", ctypes.byref(two), 1)
args = (vp * 1)(ctypes.cast(ctypes.pointer(mem), vp))
cu("cuLaunchKernel", fn, 1, 1, 1, 1, 1, 1, 0, one, args, None)
print("spinning", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
word = ctypes.c_uint32(41)
cu("cuMemcpyHtoDAsync_v2", mem, ctypes.byref(word), ctypes.c_size_t(4), two)
cu("cuStreamSynchronize", one)
cu("cuMemcpyDtoH_v2", ctypes.byref(word), u64(mem.value + 4), ctypes.c_size_t(4))
print("answer", word.value, flush=True)
