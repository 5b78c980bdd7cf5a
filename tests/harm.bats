#!/usr/bin/env bats
# Nothing is lost and nobody is harmed: whatever fails on the way to a checkpoint, the program runs on to its
# right end, the checkpoint before stays good, nothing half-made is listed, and one line says what failed and
# what to do. What can be mended while the program runs is mended, and then the checkpoint must come.

# shellcheck disable=SC2153,SC2030,SC2031 # STATUS is lib's; each test has its own TRAIN
load lib

setup() { common_setup; }
teardown() {
	chmod -R u+rwX "$BATS_TEST_TMPDIR" 2>/dev/null || true
	common_teardown
}

TRAIN=train-linked
STEPS=(--steps 8 --exit 7)
END='the program runs on'
LEFT=1 # generations on the disk, finished or not
WRAP=() # a command that runs the one after it, in another mount namespace maybe

# earlier - an undisturbed run, to ref.log; and a good checkpoint of the very same command, in the store
earlier() {
	run -7 timeout -s KILL 60 "$PROGS/$TRAIN" "${STEPS[@]}"
	echo "$output" > ref.log
	begin
	kill -TERM "$JOB"
	finish
	[ "$STATUS" = 85 ] || fail "no good checkpoint to begin with: $STATUS, $(cat job.log)"
	GOOD=("$PWD"/store/*/gen-000001)
	[ -d "${GOOD[0]}" ] || fail "no good checkpoint to begin with: $(ls -R store)"
}

# begin [NAME=VALUE...] - start it afresh under the shim with these variables; it has come to its pause
begin() {
	rm -f pause.* job.log
	start job.log "${WRAP[@]}" env "$@" LD_PRELOAD="$SHIM" "$PROGS/$TRAIN" "${STEPS[@]}" --pause-at 4 --pause-file "$PWD/pause"
	paused pause
}

# Signals right after a failed checkpoint count as of the same preemption: ask until there is an answer.
said() { [ "$(grep -c '^ckshim: ' job.log)" -ge "$1" ] || { kill -TERM "$JOB" && false; }; }
ended() { gone "$JOB" || { kill -TERM "$JOB" && false; }; }

# refused PATTERN - the signal goes to every process of the job; no checkpoint comes of it, and the one line
# about it fits
refused() {
	local before
	before=$(grep -c '^ckshim: ' job.log || true)
	mapfile -t PIDS < <(tree "$JOB")
	kill -TERM "${PIDS[@]}"
	wait_for "${PATIENCE:-60}" said $((before + 1)) || fail "nothing was said: $(cat job.log)"
	grep '^ckshim: ' job.log | tail -n 1 > line
	grep -qE "^ckshim: no checkpoint of $TRAIN: .*($1).*; $END\$" line || fail "$(cat job.log)"
	unharmed
}

# unharmed - the earlier checkpoint is good, and the only one; nothing half-made is there
unharmed() {
	run -0 "${WRAP[@]}" ckshim-inspect --verify "${GOOD[0]}"
	run -0 "${WRAP[@]}" ckshim-inspect --json
	[ "$(grep -c '"generation"' <<< "$output")" = 1 ] || fail "$output"
	[ "$("${WRAP[@]}" ls "${GOOD[0]%/*}" | grep -c '^gen-')" = "$LEFT" ] || fail "$("${WRAP[@]}" ls "${GOOD[0]%/*}")"
}

# runs_on - to the same end as if nothing had been asked, with nothing more said than that one line
runs_on() {
	touch pause.free
	finish
	[ "$STATUS" = 7 ] || fail "ended with $STATUS: $(cat job.log)"
	diff ref.log <(own job.log)
	[ "$(grep -c '^ckshim: ' job.log)" = 1 ] || fail "$(cat job.log)"
}

# comes - what was wrong is mended: now a checkpoint comes, is restored, and ends as the reference
comes() {
	wait_for 30 ended || fail "mended, and yet: $(cat job.log)"
	finish
	[ "$STATUS" = 85 ] || fail "mended, and yet: $STATUS, $(cat job.log)"
	touch pause.free
	run -7 "${WRAP[@]}" timeout -s KILL 60 ckshim-restore
	echo "$output" >> job.log
	diff ref.log <(own job.log)
}

# fake FILE - an executable script, its body from standard input
fake() {
	{ echo '#!/bin/sh'; cat; } > "$1"
	chmod 755 "$1"
}

@test "harm: no criu" {
	earlier
	begin CKSHIM_CRIU="$PWD/criu"
	refused "$PWD/criu.*cannot be run"
	runs_on
	begin CKSHIM_CRIU="$PWD/criu"
	refused "$PWD/criu.*cannot be run"
	fake criu <<< "exec $CK_BUILD/criu/criu \"\$@\""
	comes
}

@test "harm: a criu that fails, says why, or says nothing" {
	earlier
	begin CKSHIM_CRIU=/bin/false
	refused 'criu dump .*/bin/false.* ended with status 1'
	runs_on
	begin CKSHIM_CRIU="$PWD/criu"
	fake criu <<< 'echo "Error (criu/some.c:12): cannot dump the moon"; exit 1'
	refused 'cannot dump the moon'
	fake criu <<< 'kill -KILL $$'
	refused 'criu dump was ended by signal 9'
	fake criu <<< 'exit 0' # claims success and has done nothing
	refused 'criu dump'
	fake criu <<< "exec $CK_BUILD/criu/criu \"\$@\""
	comes
}

@test "harm: a criu that hangs while it writes memory is ended at the deadline" {
	earlier
	begin CKSHIM_CRIU="$PWD/criu" CKSHIM_DEADLINE=3
	fake criu <<-'EOS'
		while [ "$1" != -D ]; do shift; done
		while :; do printf '%65536s' '' >> "$2/pages-1.img"; sleep 0.02; done
	EOS
	refused 'deadline.*CKSHIM_DEADLINE'
	fake criu <<< "exec $CK_BUILD/criu/criu \"\$@\""
	comes
}

@test "harm: a criu that hangs and writes nothing is waited for, then ended" {
	# a minute: while its code may be in the program it must not be killed
	earlier
	begin CKSHIM_CRIU="$PWD/criu" CKSHIM_DEADLINE=2
	fake criu <<< 'exec sleep 1000'
	PATIENCE=110 refused 'deadline.*CKSHIM_DEADLINE'
	runs_on
}

@test "harm: the store cannot be written" {
	earlier
	begin
	chmod 500 "${GOOD[0]%/*}"
	refused 'ermission denied'
	runs_on
	chmod 700 "${GOOD[0]%/*}"
	begin
	chmod 500 "${GOOD[0]%/*}"
	refused 'ermission denied'
	chmod 700 "${GOOD[0]%/*}"
	comes
}

@test "harm: a store that others can write is refused" {
	earlier
	chmod 777 store
	begin
	unharmed() { run -91 ckshim-inspect --verify "${GOOD[0]}"; }
	refused 'others.*chmod'
	chmod 700 store
	unharmed() { [ "$("${WRAP[@]}" ls "${GOOD[0]%/*}" | grep -c '^gen-')" = 1 ]; run -0 "${WRAP[@]}" ckshim-inspect --verify "${GOOD[0]}"; }
	unharmed
	comes
}

@test "harm: a limit on the size of files; SIGXFSZ does not reach the program" {
	earlier
	begin
	local p
	for p in $(tree "$JOB"); do prlimit --pid "$p" --fsize=4194304:; done
	refused 'File too large'
	runs_on
	begin
	for p in $(tree "$JOB"); do prlimit --pid "$p" --fsize=4194304:; done
	refused 'File too large'
	for p in $(tree "$JOB"); do prlimit --pid "$p" --fsize=unlimited:; done
	comes
}

@test "harm: a full disk" {
	earlier
	# a tmpfs of this user's own, in a mount namespace that a sleeper keeps
	start ns.log unshare -Urm sh -c 'cp -a store saved && mount -n -t tmpfs -o size=40m,mode=700 none store &&
		cp -a saved/. store/ && head -c 20M /dev/zero > store/filler && echo 1 > mounted && exec sleep 100'
	local ns=$JOB
	wait_for 10 test -s mounted || { cat ns.log; skip "no tmpfs in a user namespace"; }
	# shellcheck disable=SC2016 # for the inner shell
	WRAP=(nsenter -t "$ns" -U -m --preserve-credentials sh -c 'cd "$0" && exec "$@"' "$PWD"
		unshare -U "--map-user=$(id -u)" "--map-group=$(id -g)")
	begin
	refused 'No space left'
	runs_on
	begin
	refused 'No space left'
	"${WRAP[@]}" rm "$PWD/store/filler"
	comes
}

@test "harm: a driver without the checkpoint API" {
	earlier
	begin CKSIM_DRIVER=550
	refused 'driver.*570 or newer'
	runs_on
}

@test "harm: the driver's lock and checkpoint fail, and a later attempt succeeds" {
	earlier
	for fault in lock-timeout checkpoint-fails; do
		begin CKSHIM_DEADLINE=4
		echo "$fault" > "$CKSIM_DIR/fault"
		refused "driver.*(lock|checkpoint)"
		runs_on
		rm "$CKSIM_DIR/fault"
	done
	begin CKSHIM_DEADLINE=4
	echo checkpoint-fails > "$CKSIM_DIR/fault"
	refused "driver.*checkpoint"
	rm "$CKSIM_DIR/fault"
	comes
}

@test "harm: a thread that will not leave a CUDA call is named with the call" {
	earlier
	begin CKSHIM_DEADLINE=3
	echo hang-in=cuMemcpyDtoH_v2 > "$CKSIM_DIR/fault"
	touch pause.go
	wait_for 10 test -e "$CKSIM_DIR/hanging"
	refused 'thread [0-9]+ did not leave cuMemcpyDtoH_v2 .*--deadline'
	touch "$CKSIM_DIR/release"
	runs_on
	rm "$CKSIM_DIR"/{fault,release,hanging}
}

@test "harm: criu fails, and the driver does not restore what it had put away" {
	earlier
	begin CKSHIM_CRIU="$PWD/criu"
	fake criu <<< "echo restore-fails > $CKSIM_DIR/fault; exit 1"
	END='it waits at its next CUDA call; send the signal again to retry'
	LEFT=2 # the only copy of the device memory must stay
	refused 'criu dump.* could not be brought back: the driver.s restore'
	fake criu <<< 'exit 1'
	refused 'still could not be brought back: the driver.s restore'
	rm "$CKSIM_DIR/fault"
	END='the program runs on' LEFT=1
	refused 'criu dump'
	fake criu <<< "exec $CK_BUILD/criu/criu \"\$@\""
	comes
}

@test "harm: the program ends while its checkpoint is under way" {
	TRAIN=nogpu
	earlier
	fake criu <<< 'touch dumping; while [ ! -e over ]; do sleep 0.02; done; exit 1'
	begin CKSHIM_CRIU="$PWD/criu"
	kill -TERM "$JOB"
	wait_for 10 test -e dumping
	local pid
	pid=$(program "$PROGS/nogpu")
	touch pause.free
	wait_for 10 gone_or_zombie "$pid"
	touch over
	finish
	[ "$STATUS" = 7 ] || fail "$STATUS: $(cat job.log)"
	diff ref.log job.log
	unharmed
}

@test "harm: the program is killed while its checkpoint is under way" {
	earlier
	fake criu <<< 'touch dumping; while [ ! -e over ]; do sleep 0.02; done; exit 1'
	begin CKSHIM_CRIU="$PWD/criu"
	kill -TERM "$JOB"
	wait_for 10 test -e dumping
	local pid
	pid=$(program "$PROGS/$TRAIN")
	kill -KILL "$pid"
	wait_for 10 gone_or_zombie "$pid"
	touch over
	finish
	[ "$STATUS" = 137 ] || fail "$STATUS: $(cat job.log)"
	unharmed
}

gone_or_zombie() { gone "$1" || grep -q '^State:[[:space:]]*Z' "/proc/$1/status"; }

@test "harm: the program's own handler runs once after a failed checkpoint, whatever kind it is" {
	local py='import signal, time, os, sys
def ask():
    print("ready", flush=True)
def handler(s, f):
    print("handler", flush=True)
'
	handles() { # COMMAND... - prints "ready", then "handler" for each SIGTERM; ends well when the file "go" exists
		rm -f job.log go
		start job.log env CKSHIM_CRIU=/bin/false LD_PRELOAD="$SHIM" "$@"
		wait_for 10 grep -q ready job.log
		mapfile -t PIDS < <(tree "$JOB")
		kill -TERM "${PIDS[@]}"
		wait_for 30 grep -q 'ckshim: no checkpoint' job.log
		wait_for 10 grep -q handler job.log || fail "$1: its handler did not run"
		touch go
		finish
		[ "$STATUS" = 5 ] || fail "$*: $STATUS, $(cat job.log)"
		[ "$(grep -c handler job.log)" = 1 ] || fail "$*: $(cat job.log)"
	}
	handles bash -c 'trap "echo handler" TERM; echo ready; while [ ! -e go ]; do read -rt 0.05 < <(:) || :; done; exit 5'
	handles python3 -c "$py
signal.signal(signal.SIGTERM, handler)
ask()
while not os.path.exists('go'): time.sleep(0.02)
sys.exit(5)"
	handles python3 -c "$py
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
ask()
signal.sigwait([signal.SIGTERM])
handler(0, 0)
while not os.path.exists('go'): time.sleep(0.02)
sys.exit(5)"
}

@test "harm: a handler that ends the program does so after a failed checkpoint" {
	start job.log env CKSHIM_CRIU=/bin/false LD_PRELOAD="$SHIM" bash -c 'trap "echo handler; exit 9" TERM; echo ready; while :; do read -rt 0.05 < <(:) || :; done'
	wait_for 10 grep -q ready job.log
	kill -TERM "$JOB"
	finish
	[ "$STATUS" = 9 ] || fail "$STATUS: $(cat job.log)"
}

@test "harm: a kernel that does not end is waited for until the deadline, and named as the reason" {
	start job.log env CKSHIM_DEADLINE=3 LD_PRELOAD="$SHIM" python3 "$BATS_TEST_DIRNAME/progs/spin.py" "$PWD/go"
	wait_for 20 grep -q spinning job.log
	kill -TERM "$JOB"
	wait_for 60 grep -q '^ckshim: ' job.log
	grep -qE '^ckshim: no checkpoint of python3: .*(kernel|submitted|GPU).*deadline.*; the program runs on$' job.log || fail "$(cat job.log)"
	[ -z "$(find store -name 'gen-*')" ] || fail "$(find store)"
	touch go
	finish
	[ "$STATUS" = 0 ] || fail "$STATUS: $(cat job.log)"
	[ "$(own job.log | tail -n 1)" = 'answer 42' ] || fail "$(cat job.log)"
}
