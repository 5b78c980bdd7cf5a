#!/usr/bin/env bats
# The table of driver entries and the ABI header against the toolkit's cuda.h, and the library's exports.

load lib

setup() { common_setup; }
teardown() { common_teardown; }

toolkit() {
	local d
	for d in "${CUDA_HOME:-}" /usr/local/cuda /usr; do
		if [ -n "$d" ] && [ -e "$d/include/cuda.h" ]; then
			echo "$d/include"
			return
		fi
	done
}

# Values of enum constants and sizes of structs in cuda_abi.h, as the C compiler sees them.
values() {
	local names n
	names=$(grep -oE '\bCU[A-Z0-9]*_[A-Z0-9_]+ = [0-9]+' "$BATS_TEST_DIRNAME/../shim/cuda_abi.h" | cut -d' ' -f1)
	{
		echo '#include <stdio.h>'
		echo "#include \"$BATS_TEST_DIRNAME/../shim/cuda_abi.h\""
		echo '#define W(w, v) printf("W(" w ", %zu)\n", (size_t)(v));'
		echo 'int main(void) {'
		for n in $names; do echo "printf(\"V($n, %lld)\\n\", (long long)$n);"; done
		for n in CUuuid CUcheckpointLockArgs CUcheckpointCheckpointArgs CUcheckpointGpuPair \
			CUcheckpointRestoreArgs CUcheckpointUnlockArgs CUmemLocation CUmemAllocationProp CUmemAccessDesc; do
			echo "printf(\"V(sizeof($n), %zu)\\n\", sizeof($n));"
		done
		echo 'W("(CUcheckpointRestoreArgs, gpuPairsCount)", offsetof(CUcheckpointRestoreArgs, gpuPairsCount))'
		echo 'W("(CUmemAllocationProp, location)", offsetof(CUmemAllocationProp, location))'
		echo 'W("(CUmemAllocationProp, allocFlags)", offsetof(CUmemAllocationProp, allocFlags))'
		echo 'return 0; }'
	} > values.c
	gcc -o values values.c && ./values
}

compare() {
	local inc
	inc=$(toolkit)
	[ -n "$inc" ] || skip "no CUDA toolkit here"
	grep -oE '#define CUDA_VERSION [0-9]+' "$inc/cuda.h" | grep -q ' 130' ||
		skip "the table was taken from toolkit 13.0, here is another"
	sed '/graphics interoperation/,$d' "${1:-$BATS_TEST_DIRNAME/../shim/api.def}" | grep '^E(' > rows.inc
	values > values.inc
	[ "$(wc -l < values.inc)" -gt 60 ]
	g++ -std=c++17 -w -I. -I"$inc" -o check "$BATS_TEST_DIRNAME/abi_check.cc"
	run ./check
}

@test "abi: api.def and cuda_abi.h agree with the toolkit's cuda.h" {
	compare
	[ "$status" = 0 ] || fail "$output"
	[[ "${lines[-1]}" =~ ^[0-9]{3,}\ compared,\ 0\ differ$ ]]
}

@test "abi: the comparison notices a wrong row" {
	sed 's/^E(cuMemAlloc_v2, 3020, HAND, 2, (ptr, u64))/E(cuMemAlloc_v2, 3020, HAND, 2, (ptr, i32))/' \
		"$BATS_TEST_DIRNAME/../shim/api.def" > wrong.def
	compare "$PWD/wrong.def"
	[ "$status" = 1 ]
	[[ "$output" == *"cuMemAlloc_v2: cuda.h has (ptr, u64), api.def (ptr, i32)"* ]]
}

@test "abi: every entry that CUDA 13.0's static runtime asks for is in the table" {
	local facts=$BATS_TEST_DIRNAME/facts/cudart-13.0-requests.txt
	awk -F'[(,]' '/^E\(/ { sub(/_pt[ds][sz]$/, "", $2); sub(/_v[0-9]$/, "", $2); print $2 }' \
		"$BATS_TEST_DIRNAME/../shim/api.def" | sort -u > have
	awk '{ print $1 }' "$facts" | sort -u > want
	[ "$(wc -l < want)" -gt 300 ]
	run bash -c "join -v1 want have"
	[ -z "$output" ] || fail "missing: $output"
}

@test "library: exports the driver's entries, dlsym, and nothing else unexpected" {
	nm -D --defined-only "$SHIM" | awk '{ print $3 }' | sort > exports
	grep -o '^E([A-Za-z0-9_]*' "$BATS_TEST_DIRNAME/../shim/api.def" | cut -c3- | sort > entries
	[ -z "$(comm -13 exports entries)" ]
	comm -23 exports entries > others
	diff others - <<-EOF
	__sysv_signal
	bsd_signal
	dlopen
	dlsym
	pthread_create
	sigaction
	sigignore
	siginterrupt
	signal
	sigset
	sigtimedwait
	sigwait
	sigwaitinfo
	ssignal
	sysv_signal
	EOF
}

@test "library: needs libc and nothing more" {
	run bash -c "readelf -d '$SHIM' | grep NEEDED | grep -vE 'libc\.so|ld-linux'"
	[ -z "$output" ]
}
