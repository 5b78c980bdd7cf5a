#!/usr/bin/env bats
# The ways into the driver, and what a program sees of the library that stands in them.

load lib

setup() { common_setup; }
teardown() { common_teardown; }

# build SOURCE - a small program of this test's own, to ./prog
build() { gcc -std=gnu11 "$@" -o prog prog.c -ldl -lpthread; }

# offloaded - bytes of device memory in the newest checkpoint's images, from its manifest
offloaded() {
	python3 -c '
import glob, json
m = json.load(open(sorted(glob.glob("store/*/gen-*/manifest.json"))[-1]))
print(sum(d["bytes"] for p in m["gpu"] for d in p["devices"]))'
}

@test "hook: every form of train gives the same result, plain and under the shim" {
	plain=$("$PROGS/train-linked" --steps 4 | tail -n 1)
	[[ "$plain" == checksum* ]]
	for form in linked dlopen abspath procaddr procaddr-ptds; do
		[ "$("$PROGS/train-$form" --steps 4 | tail -n 1)" = "$plain" ]
		[ "$(shim "$PROGS/train-$form" --steps 4 | tail -n 1)" = "$plain" ]
	done
}

@test "hook: each form's large allocations are seen and backed by us" {
	for form in linked dlopen abspath procaddr procaddr-ptds; do
		rm -rf store pause.*
		start "log.$form" env LD_PRELOAD="$SHIM" "$PROGS/train-$form" --steps 4 --pause-at 2 --pause-file "$PWD/pause"
		paused pause
		kill -TERM "$JOB"
		finish
		[ "$STATUS" = 85 ]
		[ "$(offloaded)" -ge $((8 << 20)) ] || fail "$form: $(offloaded)"
	done
}

@test "hook: a program without a driver does not see one" {
	cat > prog.c <<-'EOF'
	#define _GNU_SOURCE
	#include <dlfcn.h>
	#include <stdio.h>
	int main(void)
	{
		printf("%s\n", dlsym(RTLD_DEFAULT, "cuInit") ? "there" : "absent");
		printf("%s\n", dlsym(RTLD_DEFAULT, "printf") ? "there" : "absent");
		return 0;
	}
	EOF
	build
	for supervise in 0 1; do
		run env CKSHIM_SUPERVISE=$supervise LD_PRELOAD="$SHIM" ./prog
		[ "${lines[*]}" = "absent there" ] || fail "$output"
	done
}

@test "hook: RTLD_NEXT from a library of the program's own still finds what comes after it" {
	# a wrapper of getpid that calls the next one; compiled without optimisation, as coverage builds are
	cat > lib.c <<-'EOF'
	#define _GNU_SOURCE
	#include <dlfcn.h>
	#include <unistd.h>
	/* twice: the first look-up of a process goes another way through the library */
	pid_t getpid(void) { dlsym(RTLD_DEFAULT, "printf"); pid_t (*next)(void) = (pid_t (*)(void))dlsym(RTLD_NEXT, "getpid"); return next ? -next() : 0; }
	EOF
	gcc -O0 -shared -fPIC -o libown.so lib.c -ldl
	cat > prog.c <<-'EOF'
	#include <stdio.h>
	#include <unistd.h>
	int main(void) { printf("%d\n", getpid() < 0); return 0; }
	EOF
	gcc -O0 -o prog prog.c -L. -lown -Wl,-rpath,"$PWD"
	run -0 shim ./prog
	[ "$output" = 1 ]
}

@test "hook: dlopen finds what the caller's own RUNPATH names" {
	mkdir hidden
	echo 'int answer(void) { return 42; }' > answer.c
	gcc -shared -fPIC -o hidden/libanswer.so answer.c
	cat > prog.c <<-'EOF'
	#include <dlfcn.h>
	#include <stdio.h>
	int main(void)
	{
		dlopen("libm.so.6", RTLD_NOW); /* the first one goes another way through the library */
		void *h = dlopen("libanswer.so", RTLD_NOW);
		int (*f)(void) = h ? (int (*)(void))dlsym(h, "answer") : 0;
		printf("%d\n", f ? f() : -1);
		return 0;
	}
	EOF
	gcc -O0 -o prog prog.c -ldl -Wl,-rpath,"$PWD/hidden" -Wl,--enable-new-dtags
	run -0 shim ./prog
	[ "$output" = 42 ]
}

@test "hook: RTLD_DEEPBIND is taken out, with one line" {
	echo 'int answer(void) { return 42; }' > answer.c
	gcc -shared -fPIC -o libanswer.so answer.c
	cat > prog.c <<-'EOF'
	#define _GNU_SOURCE
	#include <dlfcn.h>
	#include <stdio.h>
	int main(void)
	{
		for (int i = 0; i < 2; i++)
			if (!dlopen("./libanswer.so", RTLD_NOW | RTLD_DEEPBIND))
				return 1;
		puts("loaded");
		return 0;
	}
	EOF
	build
	run -0 shim ./prog
	[ "$(grep -c '^ckshim: .*RTLD_DEEPBIND' <<< "$output")" = 1 ]
	[ "$(grep -cx loaded <<< "$output")" = 1 ]
}

@test "hook: what a program asks about our memory is answered as for the driver's" {
	cat > prog.c <<-EOF
	#include <dlfcn.h>
	#include <stdio.h>
	#include "$BATS_TEST_DIRNAME/../shim/cuda_abi.h"
	static void *h;
	#define F(name, ...) ((CUresult (*)(__VA_ARGS__))dlsym(h, #name))
	int main(void)
	{
		CUcontext ctx, seen = 0;
		CUdeviceptr p, base = 0, start = 0, again;
		size_t size = 0, range = 0, free0, free1, total;
		int dev = -1;
		h = dlopen("libcuda.so.1", RTLD_NOW);
		F(cuInit, unsigned)(0);
		F(cuDevicePrimaryCtxRetain, CUcontext *, CUdevice)(&ctx, 0);
		F(cuCtxSetCurrent, CUcontext)(ctx);
		F(cuMemGetInfo_v2, size_t *, size_t *)(&free0, &total);
		int r = F(cuMemAlloc_v2, CUdeviceptr *, size_t)(&p, 3000001);
		F(cuMemGetAddressRange_v2, CUdeviceptr *, size_t *, CUdeviceptr)(&base, &size, p + 12345);
		F(cuPointerGetAttribute, void *, int, CUdeviceptr)(&seen, CU_POINTER_ATTRIBUTE_CONTEXT, p);
		F(cuPointerGetAttribute, void *, int, CUdeviceptr)(&start, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, p + 1);
		F(cuPointerGetAttribute, void *, int, CUdeviceptr)(&range, CU_POINTER_ATTRIBUTE_RANGE_SIZE, p);
		F(cuPointerGetAttribute, void *, int, CUdeviceptr)(&dev, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, p);
		printf("%d base %d size %zu context %d start %d range %zu device %d\\n", r, base == p, size, seen == ctx,
		       start == p, range, dev);
		printf("inside %d\\n", F(cuMemFree_v2, CUdeviceptr)(p + 256));
		printf("free %d again %d\\n", F(cuMemFree_v2, CUdeviceptr)(p), F(cuMemFree_v2, CUdeviceptr)(p));
		printf("too large %d\\n", F(cuMemAlloc_v2, CUdeviceptr *, size_t)(&again, total * 2));
		F(cuMemGetInfo_v2, size_t *, size_t *)(&free1, &total);
		printf("nothing lost %d\\n", free0 == free1);
		return 0;
	}
	EOF
	build
	plain=$(./prog)
	under=$(shim ./prog)
	diff <(echo "$plain") <(echo "$under")
	grep -q '^0 base 1 size 3000001 context 1 start 1' <<< "$under" || fail "$under"
}

@test "hook: destroying a context frees what it owned" {
	cat > prog.c <<-EOF
	#include <dlfcn.h>
	#include <stdio.h>
	#include "$BATS_TEST_DIRNAME/../shim/cuda_abi.h"
	static void *h;
	#define F(name, ...) ((CUresult (*)(__VA_ARGS__))dlsym(h, #name))
	int main(void)
	{
		h = dlopen("libcuda.so.1", RTLD_NOW);
		F(cuInit, unsigned)(0);
		for (int i = 0; i < 40; i++) { /* 40 x 100 MiB on a device of 1 GiB */
			CUcontext ctx;
			CUdeviceptr p;
			int r = F(cuCtxCreate_v2, CUcontext *, unsigned, CUdevice)(&ctx, 0, 0);
			r = r ? r : F(cuMemAlloc_v2, CUdeviceptr *, size_t)(&p, 100 << 20);
			r = r ? r : F(cuCtxDestroy_v2, CUcontext)(ctx);
			if (r) {
				printf("round %d: %d\\n", i, r);
				return 1;
			}
		}
		return 0;
	}
	EOF
	build
	run -0 ./prog
	run -0 shim ./prog
}


@test "hook: an entry outside the table passes; asking for it costs nothing, using it turns offload off" {
	cat > prog.c <<-EOF
	#include <dlfcn.h>
	#include <stdio.h>
	#include <string.h>
	#include <unistd.h>
	#include "$BATS_TEST_DIRNAME/../shim/cuda_abi.h"
	static void *h;
	#define F(name, ...) ((CUresult (*)(__VA_ARGS__))dlsym(h, #name))
	int main(int argc, char **argv)
	{
		CUcontext ctx;
		CUdeviceptr p;
		char text[16] = "";
		int got = 0;
		h = dlopen("libcuda.so.1", RTLD_NOW);
		F(cuInit, unsigned)(0);
		F(cuDevicePrimaryCtxRetain, CUcontext *, CUdevice)(&ctx, 0);
		F(cuCtxSetCurrent, CUcontext)(ctx);
		F(cuMemAlloc_v2, CUdeviceptr *, size_t)(&p, 3 << 20);
		F(cuMemcpyHtoD_v2, CUdeviceptr, const void *, size_t)(p + (2 << 20), "still here", 11);
		CUresult (*newer)(int *) = (CUresult (*)(int *))dlsym(h, "cuCksimNewer");
		if (!newer)
			return 1;
		if (argc > 1 && newer(&got) == 0 && got == 42)
			puts("used");
		puts("ready");
		fflush(stdout);
		while (access("go", F_OK))
			usleep(10000);
		F(cuMemcpyDtoH_v2, void *, CUdeviceptr, size_t)(text, p + (2 << 20), 11);
		puts(text);
		return strcmp(text, "still here") != 0;
	}
	EOF
	build
	for use in "" use; do
		rm -rf store go log
		# shellcheck disable=SC2086
		start log env LD_PRELOAD="$SHIM" ./prog $use
		wait_for 10 grep -q ready log
		kill -TERM "$JOB"
		finish
		[ "$STATUS" = 85 ] || fail "$(cat log)"
		if [ -z "$use" ]; then
			[ "$(offloaded)" = $((3 << 20)) ]
		else
			grep -q used log
			[ "$(offloaded)" = 0 ]
			grep -q 'cuCksimNewer' store/*/gen-*/manifest.json
		fi
		touch go
		run -0 timeout -s KILL 60 ckshim-restore
		[[ "$output" == *"still here"* ]]
	done
}
