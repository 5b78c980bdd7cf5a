#!/usr/bin/env bats
# The supervised program is what it would be alone: status, signals, streams, terminal, identity.

load lib

setup() { common_setup; }
teardown() { common_teardown; }

@test "supervise: exit statuses pass through" {
	for n in 0 1 2 3 42 85 127 255; do
		run -"$n" shim "$PROGS/nogpu" --steps 1 --exit "$n"
	done
}

@test "supervise: death by a signal passes through" {
	for sig in 1 6 9 11 15; do
		run -$((128 + sig)) bash -c "LD_PRELOAD=$SHIM $PROGS/nogpu --steps 1 --signal $sig; s=\$?; exit \$s"
	done
	# not an exit status that looks like it
	run python3 -c "import subprocess,os;os.environ['LD_PRELOAD']='$SHIM'
print(subprocess.run(['$PROGS/nogpu','--steps','1','--signal','9']).returncode)"
	[ "${lines[-1]}" = -9 ]
}

@test "supervise: the program has the user's uid, no capability, and is in namespaces of its own" {
	# shellcheck disable=SC2016 # for the inner shell
	shim sh -c 'id -u; grep Cap /proc/self/status; echo "pid $$"; readlink /proc/self/ns/pid' > out 2>err
	[ "$(head -n 1 out)" = "$(id -u)" ]
	for cap in CapInh CapPrm CapEff CapAmb; do
		grep -q "^$cap:[[:space:]]*0*$" out || fail "$(cat out)"
	done
	[ "$(tail -n 1 out)" != "$(readlink /proc/self/ns/pid)" ]
	[ ! -s err ] || fail "$(cat err)"
}

@test "supervise: CKSHIM_SUPERVISE=0 switches it off" {
	run env CKSHIM_SUPERVISE=0 LD_PRELOAD="$SHIM" readlink /proc/self/ns/pid
	[ "$output" = "$(readlink /proc/self/ns/pid)" ]
}

@test "supervise: once, not again for what the program starts" {
	# shellcheck disable=SC2016
	run shim sh -c 'sh -c "readlink /proc/self/ns/pid"; readlink /proc/self/ns/pid'
	[ "${lines[0]}" = "${lines[1]}" ]
}

@test "supervise: environment, arguments, name and folder are the program's own" {
	mkdir 'a folder'
	cd 'a folder'
	env -i PATH="$PATH" X='a  b' LD_PRELOAD="$SHIM" env > with
	env -i PATH="$PATH" X='a  b' LD_PRELOAD="$SHIM" CKSHIM_SUPERVISE=0 env | grep -v '^CKSHIM_SUPERVISE=' > without
	diff <(grep -v '^CKSHIM_RUNDIR=' with) without
	# shellcheck disable=SC2016
	run shim bash -c 'exec -a "other name" bash -c '\''echo "$0"; printf "<%s>" "$@"; pwd'\'' zero "one two" ""'
	[ "${lines[0]}" = zero ]
	[ "${lines[1]}" = "<one two><>$PWD" ]
}

@test "supervise: standard input from a pipe, a file and nothing" {
	run bash -c "seq 1 100000 | LD_PRELOAD=$SHIM cat | md5sum"
	[ "$output" = "$(seq 1 100000 | md5sum)" ]
	seq 1 10 > in
	# shellcheck disable=SC2016
	run bash -c '{ read -r a; LD_PRELOAD='"$SHIM"' cat; } < in'
	[ "${lines[0]}" = 2 ]
	[ "${#lines[@]}" = 9 ]
	run bash -c "LD_PRELOAD=$SHIM cat < /dev/null"
	[ -z "$output" ]
}

@test "supervise: much output, in order, on both streams, none lost" {
	run bash -c "LD_PRELOAD=$SHIM bash -c 'seq 1 300000' | md5sum"
	[ "$output" = "$(seq 1 300000 | md5sum)" ]
	# one log for both, as in a job
	# shellcheck disable=SC2016
	shim bash -c 'for i in $(seq 1 500); do echo out $i; echo err $i >&2; done' > both 2>&1
	for i in $(seq 1 500); do printf 'out %d\nerr %d\n' "$i" "$i"; done | cmp - both
}

@test "supervise: a reader that goes away is noticed as without it" {
	run bash -c "LD_PRELOAD=$SHIM yes | head -n 1; echo \${PIPESTATUS[0]}"
	[ "${lines[0]}" = y ]
	[ "${lines[1]}" = 141 ] || fail "$output"
}

@test "supervise: other signals reach the program" {
	start log env LD_PRELOAD="$SHIM" bash -c 'trap "echo got hup; exit 7" HUP; echo ready; while :; do sleep 0.05; done'
	wait_for 10 grep -q ready log
	kill -HUP "$JOB"
	finish
	[ "$STATUS" = 7 ]
	grep -q 'got hup' log
}

@test "supervise: killing the monitor kills all of it" {
	start log env LD_PRELOAD="$SHIM" bash -c 'sleep 100 & echo ready; wait'
	wait_for 10 grep -q ready log
	mapfile -t all < <(tree "$JOB")
	[ "${#all[@]}" -ge 4 ]
	kill -KILL "$JOB"
	for p in "${all[@]}"; do wait_for 10 gone "$p"; done
}

@test "supervise: a terminal is a terminal" {
	run timeout -s KILL 30 script -qec "env LD_PRELOAD=$SHIM sh -c 'tty; test -t 0 && test -t 1 && test -t 2 && echo all; stty size'" /dev/null
	[[ "$output" == */dev/pts/* ]] || fail "$output"
	[[ "$output" == *all* ]]
}

@test "supervise: signals among the program's own processes work as ever" {
	# a worker ended by its parent with SIGTERM dies of it; a handler of its own runs
	run shim bash -c 'sleep 100 & kill -TERM $!; wait $!; echo $?'
	[ "${lines[-1]}" = 143 ]
	run shim bash -c 'trap "echo own handler; exit 3" TERM; kill -TERM $$; sleep 5'
	[ "$status" = 3 ]
	[ "${lines[0]}" = "own handler" ]
	run shim python3 -c "
import signal, os
print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
signal.signal(signal.SIGUSR1, lambda s, f: print('usr1'))
os.kill(os.getpid(), signal.SIGUSR1)
print(signal.getsignal(signal.SIGUSR1).__class__.__name__)"
	[ "${lines[*]}" = "True usr1 function" ] || fail "$output"
}

@test "supervise: without namespaces the program runs, and one line says what that costs" {
	# a user namespace in which no further one may be made, and no capability
	run timeout -s KILL 20 unshare -Ur sh -c "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --bounding-set=-all env LD_PRELOAD=$SHIM $PROGS/nogpu --steps 2 --exit 9"
	[ "$status" = 9 ] || fail "$output"
	[ "$(grep -c '^ckshim: ' <<< "$output")" = 1 ] || fail "$output"
}

@test "preload: what /bin/true pays under it is told by the benchmark, and it runs" {
	run -0 env CKSHIM_SUPERVISE=0 LD_PRELOAD="$SHIM" /bin/true
	run -0 shim /bin/true
}
