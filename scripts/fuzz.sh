#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds every tests/fuzz/fuzz-*.c with the engine's sources under address and undefined-behaviour sanitizers, and runs each
# for FUZZ_SECONDS (60), or with FUZZ_INPUTS inputs: then bench/fuzzed.json keeps how many each had, and docs/benchmarks.md
# shows it. An input has at most FUZZ_LONGEST bytes (4096); scripts of events that are whole conversations want 16384.
# Seeds: tests/fuzz/seeds/<name>/. What it learns stays in build/fuzz/; what it finds is named. Arguments are names of
# fuzzers; without them it is all of them.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -n "${FUZZ_INPUTS:-}" ]; then
	limit=-runs=$FUZZ_INPUTS
else
	limit=-max_total_time=${FUZZ_SECONDS:-60}
fi
out=build/fuzz
mkdir -p $out
# Everything but the program around the engine: that has its own main.
mapfile -t sources < <(find analyzers/native -name '*.c' \
	! -name main.c ! -name live.c ! -name replay.c ! -name recorder.c ! -name ring.c ! -name sandbox.c \
	! -name translations.c ! -name reader.c)
flags=(-std=gnu11 -g -O2 -fno-omit-frame-pointer -fno-strict-aliasing -DFS_ROWS=512 -DFS_TCP_ROWS=256
	'-fsanitize=fuzzer,address,undefined' -fno-sanitize-recover=undefined)

# The engine is compiled once for all fuzzers of parsers, and once more for the one of events. A header that changed makes all of it stale.
newest=$(find analyzers/native probes/include scripts/fuzz.sh \( -name '*.h' -o -name fuzz.sh \) -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2-)
# Where each of the sources is compiled to, in the folder $1.
objects_in() {
	local source
	for source in "${sources[@]}"; do
		echo "$1/$(tr / - <<<"${source#analyzers/native/}").o"
	done
}

# engine FOLDER FLAG...: compiles what is stale.
engine() {
	local folder=$1 stale=() source object
	shift
	mkdir -p "$folder"
	for source in "${sources[@]}"; do
		object=$folder/$(tr / - <<<"${source#analyzers/native/}").o
		if [ "$source" -nt "$object" ] || [ "$newest" -nt "$object" ]; then
			stale+=("$source" "$object")
		fi
	done
	[ ${#stale[@]} -gt 0 ] || return 0
	echo "compiling $((${#stale[@]} / 2)) files of the engine"
	# shellcheck disable=SC2016 # they are the parameters of the inner shell
	printf '%s\0' "${stale[@]}" | xargs -0 -n 2 -P "$(nproc)" \
		sh -c 'clang '"$*"' -c "$1" -o "$2"' compile
}

wanted() {
	[ $# -eq 1 ] || [[ " ${*:2} " == *" $1 "* ]]
}

compiled=("${flags[@]/fuzzer,/fuzzer-no-link,}")
engine $out/engine "${compiled[@]}"
# What the engine compares is seldom what a script of events has in it: without telling the fuzzer of it, twice as many scripts run.
untold=-fno-sanitize-coverage=trace-cmp,trace-div,trace-gep
! wanted tracking "$@" || engine $out/engine-untold "${compiled[@]}" $untold

# one SOURCE: builds what is stale and runs it. Lines of results are short enough to be written at once by several.
one() {
	local source=$1 name inputs weighed=1 seeds=() objects=() folder=$out/engine of_its_own=()
	name=$(basename "$source" .c)
	if [ "$name" = fuzz-tracking ]; then
		folder=$out/engine-untold
		of_its_own=("$untold")
		weighed=0 # by rare features its inputs have so many that weighing them takes twice the time of running them
	fi
	mapfile -t objects < <(objects_in "$folder")
	if [ ! -x "$out/$name" ] || [ "$(find "$source" tests/fuzz/*.h "${objects[@]}" -newer "$out/$name" | head -1)" ]; then
		echo "building $name"
		clang "${flags[@]}" "${of_its_own[@]}" -o "$out/$name" "$source" "${objects[@]}" || return 1
	fi
	mkdir -p "$out/corpus-$name"
	[ ! -d "tests/fuzz/seeds/${name#fuzz-}" ] || seeds=("tests/fuzz/seeds/${name#fuzz-}")
	echo "running $name with $limit"
	if ! "$out/$name" "$limit" -timeout=10 -rss_limit_mb=3000 -max_len="${FUZZ_LONGEST:-4096}" -entropic=$weighed -dict=tests/fuzz/tokens.dict -print_final_stats=1 -verbosity=0 \
		-artifact_prefix="$out/$name-found-" "$out/corpus-$name" "${seeds[@]}" >"$out/$name.log" 2>&1; then
		tail -n 60 "$out/$name.log" >&2
		echo "$name found something: the input is named above, $out/$name FILE repeats it" >&2
		return 1
	fi
	inputs=$(sed -n 's/stat::number_of_executed_units: *//p' "$out/$name.log")
	echo "$name: nothing found in $inputs inputs"
	echo "${name#fuzz-} $inputs" >>$out/results
}

# As many at a time as there are processors: each keeps one busy. What one found does not keep the others from looking.
found=0
: >$out/results
for source in tests/fuzz/fuzz-*.c; do
	name=$(basename "$source" .c)
	wanted "${name#fuzz-}" "$@" || continue
	while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
		wait -n || found=1
	done
	one "$source" &
done
while [ "$(jobs -p | wc -l)" -gt 0 ]; do
	wait -n || found=1
done
[ -z "${FUZZ_INPUTS:-}" ] || .venv/bin/python -m bench.fuzzed <$out/results
exit $found
