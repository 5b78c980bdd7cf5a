#!/usr/bin/env bats
# What `make install` puts down works by itself: from another folder, with the build gone.

load lib

setup() {
	common_setup
	# a copy of the build, from which is installed and of which nothing but the test's own things stays
	mkdir copy
	cp -a "$CK_BUILD"/ckshim-* "$CK_BUILD/libckshim.so" "$CK_BUILD/criu" copy/
	cp -a "$CK_BUILD/progs" "$CK_BUILD/sim" .
	export LD_LIBRARY_PATH=$PWD/sim
	PATH=${PATH#"$CK_BUILD:"}
}
teardown() { common_teardown; }

# without what an outer make hands down
makes() { env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -C "$BATS_TEST_DIRNAME/.." BUILD="$PWD/copy" "$@" 3>&-; }

@test "install: exactly these files, nothing of the simulator, for everybody to read" {
	umask 077
	makes install-built DESTDIR="$PWD/dest" PREFIX=/opt/ckshim
	(cd dest/opt/ckshim && find . -path ./libexec/ckshim/criu -prune -o -type f -print | sort) > files
	diff files - <<-END
		./bin/ckshim-inspect
		./bin/ckshim-restore
		./bin/ckshim-run
		./lib/ckshim/libckshim.so
		./libexec/ckshim/ckshim-drv
		./share/man/man1/ckshim-inspect.1
		./share/man/man1/ckshim-restore.1
		./share/man/man1/ckshim-run.1
	END
	[ -z "$(find dest -name '*cuda*' -o -name '.stamp')" ]
	[ -z "$(find dest/opt/ckshim ! -perm -004)" ]
}

@test "install: train is preempted and restored from the installed tree, moved elsewhere, the build gone" {
	makes install-built DESTDIR="$PWD/dest" PREFIX=/opt/ckshim
	mv dest/opt/ckshim elsewhere
	rm -r copy dest
	local train=("$PWD/progs/train-dlopen" --steps 9)
	timeout -s KILL 60 "${train[@]}" > ref.log

	start job.log env LD_PRELOAD="$PWD/elsewhere/lib/ckshim/libckshim.so" "${train[@]}" --pause-at 4 --pause-file "$PWD/pause"
	paused pause
	# the processes are those of the installed tree, and no other
	for pid in $(tree "$JOB"); do
		case $(readlink "/proc/$pid/exe") in
		"$PWD/elsewhere/bin/ckshim-run" | "$PWD/elsewhere/libexec/ckshim/"* | "${train[0]}") ;;
		*) fail "$(readlink "/proc/$pid/exe")" ;;
		esac
	done
	kill -TERM "$JOB"
	finish
	[ "$STATUS" = 85 ] || fail "ended with $STATUS: $(cat job.log)"
	touch pause.go
	run -0 timeout -s KILL 60 elsewhere/bin/ckshim-restore
	echo "$output" >> job.log
	diff ref.log <(own job.log)

	# started from its beginning it has the installed library too
	CKSHIM_DIR=$PWD/store2 start job2.log elsewhere/bin/ckshim-restore -- "${train[@]}" --pause-at 4 --pause-file "$PWD/again"
	paused again
	kill -TERM "$JOB"
	finish
	[ "$STATUS" = 85 ] || fail "ended with $STATUS: $(cat job2.log)"
}

@test "install: uninstall takes it all away, and nothing else" {
	mkdir -p opt/bin opt/lib opt/libexec
	touch opt/bin/other opt/lib/other
	makes install-built PREFIX="$PWD/opt"
	makes uninstall PREFIX="$PWD/opt"
	[ "$(find opt -type f | sort)" = "opt/bin/other"$'\n'"opt/lib/other" ]
	[ -z "$(find opt -name ckshim)" ]
	# again, and where nothing ever was
	makes uninstall PREFIX="$PWD/opt"
	makes uninstall PREFIX="$PWD/nowhere"
}

@test "install: a machine with a criu of its own gets no bundle" {
	makes install-built PREFIX="$PWD/opt" CRIU_BUNDLE=no
	[ ! -e opt/libexec/ckshim/criu ]
	[ -x opt/libexec/ckshim/ckshim-drv ]
}
