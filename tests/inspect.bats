#!/usr/bin/env bats
# ckshim-inspect tells what is in a checkpoint, and finds every damage; what all tools say of themselves.

load lib

setup() { common_setup; }
teardown() { common_teardown; }

# checkpoint PROGRAM ARGS... - one checkpoint of it; GEN: the newest generation's folder
checkpoint() {
	rm -f pause.*
	start job.log env LD_PRELOAD="$SHIM" "$@" --pause-at 2 --pause-file "$PWD/pause"
	paused pause
	kill -TERM "$JOB"
	finish
	[ "$STATUS" = 85 ] || fail "$STATUS: $(cat job.log)"
	GEN=$(find "$PWD/store" -name 'gen-*' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
}

# facts EXPRESSION - a Python expression over d, the JSON that inspect printed, must be true
facts() {
	python3 -c '
import json, sys
d = json.load(open("out.json"))
ok = eval(sys.argv[1])
if not ok:
    print("not so:", sys.argv[1], file=sys.stderr)
    print(json.dumps(d, indent=1), file=sys.stderr)
sys.exit(not ok)' "$1"
}

@test "inspect: lists a store, a program's folder in it, and nothing unfinished" {
	checkpoint "$PROGS/nogpu" --steps 3
	first=$GEN
	checkpoint "$PROGS/train-linked" --steps 3
	run -0 ckshim-inspect
	[ "$(grep -c '^  gen-000001 .* ok ' <<< "$output")" = 2 ] || fail "$output"
	[[ "$output" == *"nogpu --steps 3"* && "$output" == *local.nogpu.* && "$output" == *local.train-linked.* ]]
	run -0 ckshim-inspect --store "$PWD/store"
	[ "${#lines[@]}" = 4 ]
	run -0 ckshim-inspect "${first%/*}"
	[ "${#lines[@]}" = 2 ]
	[[ "${lines[0]}" == local.nogpu.* ]]
	cp -a "$first" "${first%/*}/gen-000009.tmp"
	run -0 ckshim-inspect "${first%/*}"
	[ "${#lines[@]}" = 2 ]
	ckshim-inspect --json > out.json
	python3 -m json.tool out.json > /dev/null
	facts 'len(d["checkpoints"]) == 2 and d["store"].endswith("/store")'
	facts '{c["manifest"]["program"]["exe"].split("/")[-1] for c in d["checkpoints"]} == {"nogpu", "train-linked"}'
	run -86 ckshim-inspect --job 4711
	run -86 ckshim-inspect "${first%/*}/gen-000009.tmp"
	run -86 ckshim-inspect "$PWD/nothing"
}

@test "inspect: one checkpoint's facts are those of the program" {
	checkpoint "$PROGS/train-linked" --steps 3 --size 16777216
	run -0 ckshim-inspect "$GEN"
	[[ "$output" == *"8.0 MiB in      1 of 8.0 MiB"* ]] || fail "$output"
	[[ "$output" == *"main+0x"*" (train-linked)"* ]] || fail "$output"
	[[ "$output" == *SIGTERM* && "$output" == *"$PWD"* ]] || fail "$output"
	awk 'length > 80 { exit 1 }' <<< "$output" || fail "wider than 80 columns: $output"
	ckshim-inspect --json "$GEN" > out.json
	python3 -m json.tool out.json > /dev/null
	# train's state: half, a quarter and a quarter of --size; all else is below CKSHIM_OFFLOAD_MIN
	facts 'd["device_memory"]["bytes"] == 16 << 20 and d["device_memory"]["ranges"] == 3'
	facts '[(s["from"], s["bytes"], s["ranges"]) for s in d["device_memory"]["by_size"]] == [(8 << 20, 8 << 20, 1), (4 << 20, 8 << 20, 2)]'
	facts 'sum(s["bytes"] for s in d["device_memory"]["by_stack"]) == 16 << 20'
	facts 'all(any(f.startswith("main+0x") and f.endswith("(train-linked)") for f in s["stack"]) for s in d["device_memory"]["by_stack"])'
	facts 'd["device_memory"]["chunks"] == 4 and d["device_memory"]["zero_chunks"] == 0'
	facts "d['manifest']['program']['argv'][:3] == ['$PROGS/train-linked', '--steps', '3']"
	facts "d['manifest']['program']['cwd'] == '$PWD' and d['manifest']['reason'] == 'SIGTERM'"
	facts "d['manifest']['host'] == '$(uname -n)' and d['manifest']['kernel'] == '$(uname -r)'"
	facts 'd["state"] == "ok" and d["verified"] is False'
	facts 'd["bytes"] == sum(i["size"] for i in d["manifest"]["images"])'
	ckshim-inspect --json --verify "$GEN" > out.json
	facts 'd["verified"] is True'
	# what it says of sizes is what lies on the disk
	while read -r size name; do
		[ "$(stat -c %s "$GEN/$name")" = "$size" ] || fail "$name"
	done < <(python3 -c 'import json
for i in json.load(open("out.json"))["manifest"]["images"]: print(i["size"], i["name"])')
	[ "$(python3 -c 'import json; print(len(json.load(open("out.json"))["manifest"]["images"]))')" = \
		"$(find "$GEN" -type f ! -name manifest.json | wc -l)" ]
}

@test "inspect: call stacks name the functions of the program that allocated, and none of ckshim's own" {
	checkpoint "$PROGS/mtstream" --steps 3 --size 8388608
	ckshim-inspect --json "$GEN" > out.json
	facts 'd["device_memory"]["bytes"] > 0'
	facts 'all(s["stack"] and "(mtstream)" in s["stack"][0] for s in d["device_memory"]["by_stack"])'
	facts 'not any("libckshim" in f for s in d["device_memory"]["by_stack"] for f in s["stack"])'
}

@test "inspect: open files and processes" {
	checkpoint "$PROGS/nogpu" --steps 3
	ckshim-inspect --json "$GEN" > out.json
	facts "[f for f in d['manifest']['files'] if f['path'].startswith('$PWD/nogpu-')][0]['size'] == 4"
	facts '[p["comm"] for p in d["manifest"]["processes"]] == ["nogpu"]'
	run -0 ckshim-inspect "$GEN"
	[[ "$output" == *"Open files"*nogpu-* && "$output" == *"No device memory"* ]] || fail "$output"
	checkpoint "$PROGS/forker" --steps 3
	ckshim-inspect --json "$GEN" > out.json
	facts 'len(d["manifest"]["processes"]) == 3 and len(d["manifest"]["gpu"]) == 1'
	facts 'd["manifest"]["gpu"][0]["pid"] in [p["pid"] for p in d["manifest"]["processes"] if p["ppid"] != 1]'
}

@test "inspect: --verify finds damage in every single file, and names it" {
	checkpoint "$PROGS/train-linked" --steps 3
	run -0 ckshim-inspect --verify "$GEN"
	cp -a "$GEN" good
	local f n=0 at
	while read -r f; do
		# one bit, in the middle
		at=$(($(stat -c %s "$GEN/$f") / 2))
		printf "\\x$(printf %02x $((0x$(od -An -tx1 -j "$at" -N 1 "$GEN/$f" | tr -d ' ') ^ 1)))" |
			dd of="$GEN/$f" bs=1 seek="$at" conv=notrunc status=none
		! cmp -s "$GEN/$f" "good/$f" || fail "not damaged: $f"
		run -87 ckshim-inspect --verify "$GEN"
		[[ "$output" == *"${f##*/}"* ]] || fail "damage in $f is not named: $output"
		run -87 ckshim-inspect --verify --json
		grep -q '"state": "damaged"' <<< "$output" || fail "$f: $output"
		cp -p "good/$f" "$GEN/$f"
		# and one byte less
		truncate -s -1 "$GEN/$f"
		run -87 ckshim-inspect --verify "$GEN"
		[[ "$output" == *"${f##*/}"* ]] || fail "a cut $f is not named: $output"
		cp -p "good/$f" "$GEN/$f"
		# and gone
		rm "$GEN/$f"
		run -87 ckshim-inspect --verify "$GEN"
		[[ "$output" == *"${f##*/}"* ]] || fail "a missing $f is not named: $output"
		cp -p "good/$f" "$GEN/$f"
		n=$((n + 1))
	done < <(cd good && find . -type f | sed 's|^\./||')
	[ "$n" -ge 10 ]
	run -0 ckshim-inspect --verify "$GEN"
	# a device image damaged in its payload shows only when every byte is read
	printf X | dd of="$GEN/$(cd good && echo device-*)" bs=1 seek=100000 conv=notrunc status=none
	run -0 ckshim-inspect "$GEN"
	run -87 ckshim-inspect --verify "$GEN"
}

@test "inspect: changes nothing, and works while the program runs" {
	checkpoint "$PROGS/train-linked" --steps 3
	find store -printf '%p %s %T@ %m\n' | sort > before
	chmod -R a-w store
	run -0 ckshim-inspect --verify "$GEN"
	run -0 ckshim-inspect
	chmod -R u+w store
	find store -printf '%p %s %T@ %m\n' | sort | diff before -
	rm -f pause.*
	start job.log ckshim-restore
	wait_for 20 program "$PROGS/train-linked"
	run -0 ckshim-inspect --verify
	touch pause.free
	finish
	[ "$STATUS" = 0 ] || fail "$(cat job.log)"
}

@test "tools: --help and --version on standard output, wrong usage on standard error with 2" {
	local tool n=0
	for tool in "$CK_BUILD"/ckshim-*; do
		tool=${tool##*/}
		[ "$tool" != ckshim-drv ] || continue
		"$tool" --help > out 2> err || fail "$tool --help: $?"
		[ ! -s err ] && grep -q "^Usage: $tool" out && grep -q -- --version out || fail "$tool --help: $(cat out err)"
		"$tool" --version > out 2> err || fail "$tool --version: $?"
		[ ! -s err ] && grep -qE "^$tool [0-9]+\.[0-9]+\.[0-9]+$" out || fail "$tool --version: $(cat out err)"
		run -2 --separate-stderr "$tool" --nonsense
		[ -z "$output" ] && [ "${#stderr_lines[@]}" = 1 ] && [[ "$stderr" == "$tool: "*--nonsense*"--help"* ]] || fail "$tool: $output $stderr"
		# a full disk under --help is not a success
		! "$tool" --help > /dev/full 2> err || fail "$tool --help to a full disk is no failure"
		n=$((n + 1))
	done
	[ "$n" -ge 3 ]
	run -2 --separate-stderr ckshim-run
	run -2 --separate-stderr ckshim-inspect a b
	run -2 --separate-stderr ckshim-restore --fresh
	run -2 --separate-stderr ckshim-run --deadline nonsense -- true
	run -2 --separate-stderr ckshim-run --keep -1 -- true
	run -2 --separate-stderr ckshim-run --signals KILL -- true
	run -2 --separate-stderr ckshim-restore --dir
}

@test "tools: the man pages say what the tools say" {
	run -0 "$BATS_TEST_DIRNAME/../scripts/check-man" "$CK_BUILD"
	[ "$(grep -c '^ok' <<< "$output")" -ge 3 ]
}
