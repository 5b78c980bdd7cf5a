#!/usr/bin/env bats
# The main job: preempted in the middle, gone, restored, bit for bit the same.

load lib

setup() { common_setup; }
teardown() { common_teardown; }

# reference PROGRAM ARGS... - undisturbed, without ckshim, to ref.log
reference() {
	timeout -s KILL 60 "$@" > ref.log 2>&1
}

# cut_at K PROGRAM ARGS... - run it under the shim, preempt it when it has come to step K; log: job.log
cut_at() {
	local k=$1
	shift
	rm -f pause.*
	start job.log env LD_PRELOAD="$SHIM" "$@" --pause-at "$k" --pause-file "$PWD/pause"
	paused pause
	preempt
	touch pause.go
}

# preempt - SIGTERM to every process of the job at once, as Slurm does; the checkpoint must come
preempt() {
	mapfile -t PIDS < <(tree "$JOB")
	kill -TERM "${PIDS[@]}"
	finish
	[ "$STATUS" = 85 ] || fail "ended with $STATUS: $(cat job.log)"
	local p
	for p in "${PIDS[@]}"; do wait_for 10 gone "$p"; done
}

# again [FOLDER] - restore from there in the background; returns when the program has come to its next pause.
# It consumes pause.go, so the next pause waits for a new one.
again() {
	rm -f pause.reached
	touch pause.go
	local log=$PWD/job.log
	cd "${1:-.}" || return 1
	start "$log" ckshim-restore
	cd "$OLDPWD" || return 1
	paused pause
}

# same - the joined log reads as the reference, line by line
same() { diff ref.log <(own job.log); }

@test "train: restored bit for bit, in each of the ways to reach the driver" {
	for form in linked dlopen abspath procaddr procaddr-ptds; do
		rm -rf store job.log
		reference "$PROGS/train-$form" --steps 12
		cut_at 5 "$PROGS/train-$form" --steps 12
		run -0 timeout -s KILL 60 ckshim-restore -- "$PROGS/train-$form" --steps 12 --pause-at 5 --pause-file "$PWD/pause"
		echo "$output" >> job.log
		same || fail "$form"
	done
}

@test "train: what was checkpointed is really gone from the device, and the host" {
	cut_at 3 "$PROGS/train-linked" --steps 6
	[ -z "$(pgrep -f "^$PROGS/train-linked" || true)" ]
	rm -rf "$CKSIM_DIR" # another machine: its GPU has never seen this program
	run -0 timeout -s KILL 60 ckshim-restore
	[[ "$output" == *"checksum "* ]]
}

@test "mtstream: threads, streams, pinned memory, and a CPU thread that maps memory all the while" {
	reference "$PROGS/mtstream" --steps 8
	cut_at 4 "$PROGS/mtstream" --steps 8
	run -0 timeout -s KILL 60 ckshim-restore
	echo "$output" >> job.log
	diff <(grep checksum ref.log) <(grep checksum job.log)
}

@test "mtstream: preempted wherever it happens to be, five times over" {
	reference "$PROGS/mtstream" --steps 40
	for k in 3 9 14 22 31; do
		rm -rf store job.log
		start job.log env LD_PRELOAD="$SHIM" "$PROGS/mtstream" --steps 40
		wait_for 30 grep -q "^step $k" job.log
		preempt
		run -0 timeout -s KILL 60 ckshim-restore
		echo "$output" >> job.log
		same || fail "after step $k"
	done
}

@test "forker: a parent and its workers, one of them on the GPU; exit status kept" {
	reference "$PROGS/forker" --steps 8
	cut_at 4 "$PROGS/forker" --steps 8 --exit 13
	run -13 timeout -s KILL 60 ckshim-restore
	echo "$output" >> job.log
	diff <(tail -n 1 ref.log) <(own job.log | tail -n 1)
}

@test "nogpu: a program without a GPU is checkpointed all the same" {
	reference "$PROGS/nogpu" --steps 10
	cut_at 5 "$PROGS/nogpu" --steps 10
	run -0 timeout -s KILL 60 ckshim-restore
	echo "$output" >> job.log
	same
}

@test "restore: ten times over, each from another folder" {
	reference "$PROGS/train-dlopen" --steps 24
	cut_at 2 "$PROGS/train-dlopen" --steps 24 --stop-every 2
	for i in 2 3 4 5 6 7 8 9 10; do
		mkdir "elsewhere$i"
		again "elsewhere$i"
		preempt
	done
	touch pause.free
	run -0 timeout -s KILL 60 ckshim-restore
	echo "$output" >> job.log
	same
}

@test "restore: the old pids are taken: two copies of one checkpoint run side by side" {
	reference "$PROGS/train-linked" --steps 8
	cut_at 3 "$PROGS/train-linked" --steps 8
	cp -a store store2
	cp job.log job2.log
	rm -f pause.go
	start job.log ckshim-restore
	box=$BOX
	CKSHIM_DIR=$PWD/store2 start job2.log ckshim-restore
	wait_for 10 program "$PROGS/train-linked"
	touch pause.free
	finish
	[ "$STATUS" = 0 ] || fail "$(cat job2.log)"
	BOX=$box finish
	[ "$STATUS" = 0 ] || fail "$(cat job.log)"
	same
	diff ref.log <(own job2.log)
}

@test "restore: starts the program when there is no checkpoint, and says so with its own status when it may not" {
	run -86 ckshim-restore
	run -0 timeout -s KILL 60 ckshim-restore -- "$PROGS/train-linked" --steps 2
	[[ "$output" == *"checksum "* ]]
	run -5 timeout -s KILL 60 ckshim-restore -- "$PROGS/nogpu" --steps 1 --exit 5
}

@test "restore: a damaged newest checkpoint is refused by name and the one before it is used" {
	reference "$PROGS/train-linked" --steps 9
	cut_at 3 "$PROGS/train-linked" --steps 9 --stop-every 3
	again
	preempt
	gens=("$PWD"/store/*/gen-*)
	[ "${#gens[@]}" = 2 ]
	dev=$(ls "${gens[1]}"/device-*.ck)
	printf 'X' | dd of="$dev" bs=1 seek=100000 conv=notrunc status=none
	touch pause.free
	run -0 timeout -s KILL 60 ckshim-restore
	[[ "$output" == *"${gens[1]##*/}"* ]] || fail "$output"
	[ "$(tail -n 1 ref.log)" = "$(own <(echo "$output") | tail -n 1)" ]
	# both damaged: refused, not started over
	printf 'X' | dd of="$(ls "${gens[0]}"/device-*.ck)" bs=1 seek=100000 conv=notrunc status=none
	run -87 timeout -s KILL 60 ckshim-restore -- "$PROGS/train-linked" --steps 9 --stop-every 3 --pause-at 3 --pause-file "$PWD/pause"
}

@test "store: the last two checkpoints are kept, and only committed ones are listed" {
	cut_at 1 "$PROGS/nogpu" --steps 9 --stop-every 1
	for i in 1 2 3; do
		again
		preempt
	done
	[ "$(ls store/*/ | grep -c '^gen-')" = 2 ]
	[ -z "$(ls store/*/ | grep tmp || true)" ]
	mkdir store/"$(ls store)"/gen-000099.tmp
	run ckshim-inspect --json
	[[ "$output" != *000099* ]]
}

@test "the kill test: train preempted at 20 different steps" {
	reference "$PROGS/train-procaddr" --steps 22
	for k in $(seq 1 20); do
		rm -rf store job.log
		cut_at "$k" "$PROGS/train-procaddr" --steps 22
		run -0 timeout -s KILL 60 ckshim-restore
		echo "$output" >> job.log
		same || fail "cut at step $k"
	done
}

@test "signal: a second one while saving does not disturb; SIGUSR1 does the same" {
	reference "$PROGS/train-linked" --steps 6
	start job.log env LD_PRELOAD="$SHIM" "$PROGS/train-linked" --steps 6 --pause-at 3 --pause-file "$PWD/pause"
	paused pause
	mapfile -t PIDS < <(tree "$JOB")
	kill -USR1 "${PIDS[@]}"
	until gone "$JOB"; do kill -TERM "${PIDS[@]}" 2>/dev/null || true; done
	finish
	[ "$STATUS" = 85 ]
	[ "$(grep -c '^ckshim: ' job.log)" -le 2 ]
	touch pause.go
	run -0 timeout -s KILL 60 ckshim-restore
	echo "$output" >> job.log
	same
}

@test "signal: the program's own handler does not run when the checkpoint is made" {
	start job.log env LD_PRELOAD="$SHIM" bash -c 'trap "echo HANDLER" TERM; echo ready; while [ ! -e go ]; do sleep 0.05; done; echo end'
	wait_for 10 grep -q ready job.log
	preempt
	touch go
	run -0 timeout -s KILL 30 ckshim-restore
	[[ "$output" == *end* ]]
	if grep -q HANDLER job.log; then fail "the handler ran"; fi
	[[ "$output" != *HANDLER* ]]
}

@test "signal: another set of them" {
	start job.log env CKSHIM_SIGNALS=USR2 LD_PRELOAD="$SHIM" "$PROGS/nogpu" --steps 4 --pause-at 2 --pause-file "$PWD/pause"
	paused pause
	kill -USR2 "$JOB"
	finish
	[ "$STATUS" = 85 ]
}

@test "terminal: a program on a terminal comes back on another one, and into a file" {
	cat > prog <<-'EOF'
	test -t 0 && test -t 1 && echo "on a terminal"
	echo ready
	while [ ! -e go ]; do sleep 0.05; done
	test -t 1 && echo "still on one"
	exit 7
	EOF
	for where in terminal file; do
		rm -rf store go log
		# script gives the job a terminal of its own, and ends with its status
		start log script -qefc "env LD_PRELOAD=$SHIM sh prog" /dev/null
		wait_for 20 grep -q ready log
		grep -q "on a terminal" log
		kill -TERM "$(tree "$BOX" | while read -r p; do
			if grep -qs '^Name:[[:space:]]*ckshim-run' "/proc/$p/status"; then echo "$p"; fi; done | head -n 1)"
		finish
		[ "$STATUS" = 85 ] || fail "$(cat log)"
		touch go
		if [ $where = terminal ]; then
			run -7 timeout -s KILL 60 script -qefc ckshim-restore /dev/null
		else
			run -7 timeout -s KILL 60 ckshim-restore
		fi
		[[ "$output" == *"still on one"* ]] || fail "$output"
	done
}
