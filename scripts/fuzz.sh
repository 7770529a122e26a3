#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds every tests/fuzz/fuzz-*.c with the engine's sources under address and undefined-behaviour sanitizers, and runs each
# for FUZZ_SECONDS (60), or with FUZZ_INPUTS inputs: then bench/fuzzed.json keeps how many each had, and docs/benchmarks.md
# shows it. Seeds: tests/fuzz/seeds/<name>/. What it learns stays in build/fuzz/; what it finds is named. Arguments are names of
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
flags=(-std=gnu11 -g -O1 -fno-omit-frame-pointer -fno-strict-aliasing -DFS_ROWS=512 -DFS_TCP_ROWS=256
	'-fsanitize=fuzzer,address,undefined' -fno-sanitize-recover=undefined)

# The engine is compiled once for all of them. A header that changed makes all of it stale.
mkdir -p $out/engine
newest=$(find analyzers/native probes/include scripts/fuzz.sh \( -name '*.h' -o -name fuzz.sh \) -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2-)
objects=() stale=()
for source in "${sources[@]}"; do
	object=$out/engine/$(tr / - <<<"${source#analyzers/native/}").o
	objects+=("$object")
	if [ "$source" -nt "$object" ] || [ "$newest" -nt "$object" ]; then
		stale+=("$source" "$object")
	fi
done
if [ ${#stale[@]} -gt 0 ]; then
	echo "compiling $((${#stale[@]} / 2)) files of the engine"
	# shellcheck disable=SC2016 # they are the parameters of the inner shell
	printf '%s\0' "${stale[@]}" | xargs -0 -n 2 -P "$(nproc)" \
		sh -c 'clang '"${flags[*]/fuzzer,/fuzzer-no-link,}"' -c "$1" -o "$2"' compile
fi

# one SOURCE: builds what is stale and runs it. Lines of results are short enough to be written at once by several.
one() {
	local source=$1 name inputs longest=4096 seeds=() weighed=1
	name=$(basename "$source" .c)
	if [ ! -x "$out/$name" ] || [ "$(find "$source" tests/fuzz/*.h "${objects[@]}" -newer "$out/$name" | head -1)" ]; then
		echo "building $name"
		clang "${flags[@]}" -o "$out/$name" "$source" "${objects[@]}" || return 1
	fi
	mkdir -p "$out/corpus-$name"
	[ ! -d "tests/fuzz/seeds/${name#fuzz-}" ] || seeds=("tests/fuzz/seeds/${name#fuzz-}")
	echo "running $name with $limit"
	if [ "$name" = fuzz-tracking ]; then
		longest=16384 # a script of many events
		weighed=0     # by rare features its inputs have so many that weighing them takes twice the time of running them
	fi
	if ! "$out/$name" "$limit" -timeout=10 -rss_limit_mb=3000 -max_len=$longest -entropic=$weighed -dict=tests/fuzz/tokens.dict -print_final_stats=1 -verbosity=0 \
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
	[ $# -eq 0 ] || [[ " $* " == *" ${name#fuzz-} "* ]] || continue
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
