# Common to the behaviour tests. They run as an ordinary user without capabilities, each in a folder of its
# own, on the simulated GPU. Nothing here sleeps in place of a condition: wait_for polls for one.
# shellcheck shell=bash disable=SC2034

bats_require_minimum_version 1.5.0
: "${CK_BUILD:=$BATS_TEST_DIRNAME/../build}"
CK_BUILD=$(cd "$CK_BUILD" && pwd)
PROGS=$CK_BUILD/progs
SHIM=$CK_BUILD/libckshim.so

common_setup() {
	[ "$(id -u)" != 0 ] || { echo "these tests run as an ordinary user: make check" >&2; return 1; }
	grep -q '^CapEff:[[:space:]]*0*$' /proc/self/status || { echo "this shell has capabilities" >&2; return 1; }
	unset "${!CKSHIM_@}" "${!SLURM_@}" LD_PRELOAD
	cd "$BATS_TEST_TMPDIR" || return 1
	export LD_LIBRARY_PATH=$CK_BUILD/sim CKSIM_DIR=$BATS_TEST_TMPDIR/gpu CKSHIM_DIR=$BATS_TEST_TMPDIR/store
	export PATH=$CK_BUILD:$PATH
	JOBS=()
}

common_teardown() {
	local box pid
	for box in "${JOBS[@]}"; do
		# timeout itself passes a SIGKILL on to nobody
		for pid in $(tree "$box"); do kill -KILL "$pid" 2>/dev/null || true; done
	done
	wait 2>/dev/null || true
	rm -rf "${CKSIM_DIR:-/nonexistent}"
}

# wait_for SECONDS COMMAND... - until the command succeeds; fails at the deadline
wait_for() {
	local until=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ "$SECONDS" -ge "$until" ]; then
			echo "waited in vain for: $*" >&2
			return 1
		fi
		sleep 0.02
	done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# start LOG COMMAND... - in the background, output appended to LOG. JOB: the pid that Slurm would know.
start() {
	local log=$1
	shift
	timeout -s KILL 120 "$@" >> "$log" 2>&1 3>&- < /dev/null &
	BOX=$!
	JOBS+=("$BOX")
	wait_for 10 pgrep -P "$BOX"
	JOB=$(pgrep -P "$BOX" | head -n 1)
}

# shim COMMAND... - the way a user does it
shim() { env LD_PRELOAD="$SHIM" "$@"; }

# finish - wait for the job started last; its exit status in STATUS
finish() {
	STATUS=0
	wait "$BOX" || STATUS=$?
}

# tree PID - the pid and all its descendants
tree() {
	local p
	echo "$1"
	for p in $(pgrep -P "$1"); do tree "$p"; done
}

# program PATTERN - pid of the supervised program of the job started last, by its command line
program() { tree "$JOB" | while read -r p; do
	if tr '\0' ' ' < "/proc/$p/cmdline" 2>/dev/null | grep -q -- "^$1"; then echo "$p"; fi
done | head -n 1; }

# paused FILE - the program has reached its --pause-at
paused() { wait_for 60 test -e "$1.reached"; }

# own FILE... - the program's own lines, without ckshim's
own() { grep -hv '^ckshim: ' "$@" || true; }

fail() {
	echo "$*" >&2
	return 1
}
