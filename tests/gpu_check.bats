#!/usr/bin/env bats
# scripts/gpu-check against the simulated GPU: that it runs through, that its report can be read, and that a
# question or program that hangs is ended and told, not waited for.

load lib

setup() { common_setup; }
teardown() { common_teardown; }

check() { timeout -s KILL 170 "$BATS_TEST_DIRNAME/../scripts/gpu-check" --build "$CK_BUILD" "$@" 3>&- < /dev/null; }

# outcome NAME - from report.json of the folder "out"
outcome() { sed -n "s/^{\"stage\": \"[a-z]*\", \"name\": \"$1\", \"outcome\": \"\([a-z]*\)\",.*/\1/p" out/report.json; }

# left - processes that still work in a gpu-check's folder
left() {
	local p
	for p in /proc/[0-9]*; do
		if [[ "$(readlink "$p/exe" 2>/dev/null)" == "${TMPDIR:-/tmp}"/ck-gpu-check.* ]]; then tr '\0' ' ' < "$p/cmdline"; fi
	done
}

@test "gpu-check --sim: everything is tried, nothing fails, and the report is well-formed" {
	run -0 check --sim --out out
	[[ "${lines[-1]}" =~ ^[0-9]+\ passed,\ 0\ failed ]] || fail "$output"
	# read by a parser that is not ours
	run -0 python3 - out/report.json <<-'EOF'
	import json, sys
	r = json.load(open(sys.argv[1]))
	assert r["format"] == "ckshim gpu-check 1" and r["simulated"] is True and r["bad"] == 0, r
	assert all(r[k] for k in ("date", "gpu", "driver", "kernel", "criu", "commit")), r
	assert sorted({x["stage"] for x in r["results"]}) == ["env", "measure", "probe", "tests"]
	assert len(r["results"]) > 50
	for x in r["results"]:
	    assert x["name"] and x["outcome"] and x["seconds"] >= 0 and isinstance(x["detail"], str), x
	EOF
	# every question of the probe has an answer
	"$CK_BUILD/gpu/probe" --list > questions
	[ "$(wc -l < questions)" -ge 30 ]
	while read -r q; do [ -n "$(outcome "$q@user")" ] || fail "no answer to $q"; done < questions
	grep -q 'SIMULATED' out/report.txt
	[ "$(outcome train-procaddr@user)" = pass ]
	[ "$(outcome criu-dump-restore@user)" = yes ]
	[ "$(outcome reserved-range-survives@user)" = yes ]
	[ "$(outcome managed-memory@user)" = refused ]
	[ "$(outcome torch)" = skipped ]
}

@test "gpu-check: a question that hangs is ended at its deadline, reported, and the next one asked" {
	CK_GPU_CHECK_FAULT=hang-in=cuMemAllocManaged CK_GPU_CHECK_DEADLINE=3 run -1 check --sim --only probe --out out
	[ "$(outcome managed-memory@user)" = hung ] || fail "$output"
	[ "$(outcome memory-pool@user)" = yes ]
	[ "$(outcome pinned-copy-rate@user)" = measured ]
	grep -q '"bad": 1,' out/report.json
	[ -z "$(left)" ] || fail "still there: $(left)"
}

@test "gpu-check: a stage that hangs is ended, reported, and leaves nothing running" {
	CK_GPU_CHECK_FAULT=hang-in=cuCtxSetCurrent CK_GPU_CHECK_LIMIT=6 run -1 check --sim --only tests --out out
	[ "$(outcome stage)" = hung ] || fail "$output"
	[ -z "$(left)" ] || fail "still there: $(left)"
}

@test "gpu-check: wrong answers are not taken for right ones" {
	CK_GPU_CHECK_FAULT=checkpoint-fails run -1 check --sim --only tests --out out
	[ "$(outcome train-linked@user)" = refused ] || fail "$output"
	CK_GPU_CHECK_FAULT=checkpoint-fails run check --sim --only probe --out out
	[ "$(outcome from-another-process@user)" = refused ]
	[ "$(outcome criu-dump-restore@user)" = refused ]
}

@test "gpu-check: a restored program that ends otherwise than undisturbed has failed" {
	cat > program <<-'EOF'
	#!/bin/bash
	echo "step 1"
	result=right
	if [ "$1" = --pause-at ]; then
		touch "$4.reached"
		until [ -e "$4.go" ]; do sleep 0.02; done
		result=${RESULT:-right}
	fi
	echo "checksum $result"
	EOF
	chmod +x program
	export CK_BUILD
	run -0 timeout -s KILL 60 "$BATS_TEST_DIRNAME/gpu/case" "$PWD/right" 1 "$PWD/program" 3>&-
	[[ "${lines[-1]}" == pass$'\t'* ]] || fail "$output"
	RESULT=wrong run -0 timeout -s KILL 60 "$BATS_TEST_DIRNAME/gpu/case" "$PWD/wrong" 1 "$PWD/program" 3>&-
	[[ "${lines[-1]}" == fail$'\t'"the result differs"* ]] || fail "$output"
}

@test "gpu-check: where no driver answers it says so, and claims nothing" {
	[ ! -e /dev/nvidiactl ] || skip "there is a GPU here"
	LD_LIBRARY_PATH='' run -1 check --out out
	[[ "$output" == *"no GPU that answers here"* ]] || fail "$output"
	[ ! -e out/report.json ]
}

@test "gpu-check: what --pack copies is enough to run elsewhere" {
	check --pack "$PWD/carried"
	[ ! -e carried/obj ]
	run -0 check --sim --only env --out out --build "$PWD/carried"
	[[ "$output" == *"criu "*" yes "*"Version: 4"* ]] || fail "$output"
}

@test "gpu-check: an unknown stage or option is wrong usage" {
	run -2 check --only lunch
	[[ "$output" == *"no stage lunch"* ]]
	run -2 check --lunch
	run -2 check --only
	run -2 "$CK_BUILD/gpu/probe" --only lunch
	[ ! -e "$CK_BUILD/gpu-report" ]
}
