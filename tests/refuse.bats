#!/usr/bin/env bats
# What a process may hold. Each kind of object of the table is set up by tests/progs/holder, which waits to be
# checkpointed and then verifies it by itself. Either it comes back right after a restore in namespaces that
# never saw it, or the checkpoint is refused by name and the program runs on with the object unharmed.

# shellcheck disable=SC2153,SC2030,SC2031 # STATUS is lib's; run sets output and lines
load lib

setup() { common_setup; }
teardown() {
	chmod -R u+rwX "$BATS_TEST_TMPDIR" 2>/dev/null || true
	common_teardown
}

# KIND | what the refusal says of process, object and remedy; empty: it comes back right
TABLE='
memfd            | process [0-9]+ \(holder\) has a memfd mapped .*; use a file
shm-unlinked     | process [0-9]+ \(holder\) has a file mapped that was deleted \(/dev/shm/.*; keep the file
deleted-file     | process [0-9]+ \(holder\) has a file mapped that was deleted .*; keep the file
sem-unlinked     | process [0-9]+ \(holder\) has a file mapped that was deleted \(/dev/shm/sem.*; keep the file
sysv-shm         | process [0-9]+ \(holder\) has System V shared memory attached .*; use mmap
sysv-sem         | System V semaphores \(id [0-9]+\).*; use POSIX
sysv-msg         | System V message queue \(id [0-9]+\).*; use pipes
mqueue           | process [0-9]+ \(holder\) uses a POSIX message queue .*; use pipes
io-uring         | process [0-9]+ \(holder\) uses io_uring .*; tell the program
userfaultfd      | process [0-9]+ \(holder\) uses userfaultfd .*; switch
perf             | process [0-9]+ \(holder\) uses performance counters .*; run it without
inotify          | process [0-9]+ \(holder\) watches files \(inotify\).*; switch
seccomp          | process [0-9]+ \(holder\) runs under a seccomp filter.*; run the program outside
traced-child     | process [0-9]+ \(holder\) is being traced.*; end the debugger
tcp-established  | process [0-9]+ \(holder\) has a TCP connection \(descriptor [0-9]+, 127.0.0.1:.*; let the program
unix-outside     | process [0-9]+ \(holder\) is connected to a process outside .*; let the program
eventfd          |
epoll            |
timerfd          |
signalfd         |
pipe             |
socketpair       |
file-locks       |
unlinked-file    |
written-file     |
tcp-listening    |
posix-timer      |
zombie           |
shared-anonymous |
reserve-64g      |
deleted-cwd      |
descriptors-2000 |
pty              |
'

# hold KIND - it holds the object and waits. 1: this kernel does not allow the object
hold() {
	mkdir "$1"
	cd "$1" || return 1
	start job.log env LD_PRELOAD="$SHIM" "$PROGS/holder" "$1" --pause-at 1 --pause-file "$PWD/pause" --exit 3
	wait_for 30 reached_or_gone
	[ ! -e pause.reached ] || return 0
	finish
	[ "$STATUS" = 77 ] || { echo "$1: $STATUS before any checkpoint: $(cat job.log)"; return 2; }
	echo "# $1: not allowed by this kernel" >&3
	return 1
}
reached_or_gone() { [ -e pause.reached ] || gone "$BOX" || grep -q '^State:[[:space:]]*Z' "/proc/$BOX/status"; }

# ends_right - the status is the program's own, and it has said that the object is right
ends_right() {
	[ "$1" = 3 ] && grep -q "^$2 is right\$" job.log && return 0
	echo "$2: ended with $1: $(cat job.log)"
	return 1
}

refused_and_unharmed() { # KIND PATTERN
	kill -TERM "$JOB"
	wait_for 60 answered || { echo "$1: no answer"; return 1; }
	touch pause.go
	finish
	ends_right "$STATUS" "$1" || return 1
	grep -qE "^ckshim: no checkpoint of holder: .*$2.*; the program runs on\$" job.log && [ "$(grep -c '^ckshim' job.log)" = 1 ] &&
		return 0
	echo "$1: $(cat job.log)"
	return 1
}
answered() { grep -q '^ckshim: ' job.log; }

comes_back() { # KIND
	kill -TERM "$JOB"
	wait_for 60 answered || { echo "$1: no answer"; return 1; }
	touch pause.go # in case there was no checkpoint
	finish
	[ "$STATUS" = 85 ] || { echo "$1: $STATUS: $(cat job.log)"; return 1; }
	STATUS=0
	timeout -s KILL 60 ckshim-restore >> job.log 2>&1 || STATUS=$?
	ends_right "$STATUS" "$1"
}

# Linux 6.16 and newer with a criu older than 4.2: no network socket can be saved.
inet_saved() {
	python3 -c 'import socket; socket.socket().getsockopt(socket.SOL_SOCKET, 16)' 2>/dev/null && return 0
	printf '%s\n' 4.2 "$("$CK_BUILD/criu/criu" --version | sed -n 's/^Version: //p')" | sort -CV
}

# rows refused|right - go through the table; every row that is wrong is told
rows() {
	local kind pattern bad=0 rc done=0
	HOLDER_SOCKET=$PWD/outside.sock
	export HOLDER_SOCKET
	start outside.log python3 -c "
import socket
s = socket.socket(socket.AF_UNIX)
s.bind('$HOLDER_SOCKET')
s.listen()
c, _ = s.accept()
while (d := c.recv(100)): c.sendall(d)"
	wait_for 10 test -S outside.sock
	while IFS='|' read -r kind pattern; do
		kind=${kind// /}
		pattern=${pattern# }
		if [ "$kind" = tcp-listening ] && ! inet_saved; then
			pattern='criu dump: the program has a network socket open.*CKSHIM_CRIU'
		fi
		if [ -z "$kind" ] || [ "$1" != "$([ -n "$pattern" ] && echo refused || echo right)" ]; then continue; fi
		rc=0
		hold "$kind" || rc=$?
		if [ "$rc" = 0 ] && [ -n "$pattern" ]; then
			refused_and_unharmed "$kind" "$pattern" || bad=1
		elif [ "$rc" = 0 ]; then
			comes_back "$kind" || bad=1
		elif [ "$rc" = 2 ]; then
			bad=1
		fi
		cd "$BATS_TEST_TMPDIR" || return 1
		rm -rf store
		done=$((done + 1))
	done <<< "$TABLE"
	[ "$done" -ge 14 ] && [ "$bad" = 0 ]
}

@test "refuse: the table covers every kind that the program has" {
	diff <("$PROGS/holder" --list | sort) <(sed -n 's/^\([a-z0-9-]*\) *|.*/\1/p' <<< "$TABLE" | sort)
}

@test "refuse: what would not come back right is refused by name, and unharmed" {
	rows refused
}

@test "refuse: what works comes back right" {
	rows right
}

# changed COMMAND... - a program that has a file open for writing is checkpointed, then the file is changed
# so. The restore is refused by name; without the change it would have been right (the table says so).
changed() {
	rm -rf store written-file
	hold written-file
	kill -TERM "$JOB"
	finish
	[ "$STATUS" = 85 ] || fail "$(cat job.log)"
	"$@"
	touch pause.go
	run -88 timeout -s KILL 60 ckshim-restore
	[ "${#lines[@]}" = 1 ] || fail "$output"
	[[ "$output" == "ckshim: $PWD/holder-file"*"$WHY"* ]] || fail "$output"
	run -0 ckshim-inspect --verify "$CKSHIM_DIR"/*/gen-000001
	cd "$BATS_TEST_TMPDIR" || return 1
}

vanish() { rm holder-file; }
replace() { echo 'the first LINE' > other && mv other holder-file; }
replace_alike() { cp -p holder-file other && mv other holder-file; }
rewrite() { printf THE | dd of=holder-file conv=notrunc status=none; }
grow() { echo more >> holder-file; }
shrink() { truncate -s 3 holder-file; }
become() { rm holder-file && mkfifo holder-file; }

@test "refuse: a file that vanished, was replaced or was changed since the checkpoint is named, status 88" {
	WHY='is not there' changed vanish
	WHY='replaced' changed replace
	WHY='replaced' changed replace_alike
	WHY='changed' changed rewrite
	WHY='truncate -s 15' changed grow
	WHY='had 15 bytes' changed shrink
	WHY='no longer a regular file' changed become
}
