#!/bin/sh
# usage: tests/fuzz/run.sh [-b BUILD] [SECONDS] [TARGET...]
#        tests/fuzz/run.sh [-b BUILD] --keep TARGET...
#
# Runs the fuzz targets of a build and prints one line about each. BUILD (build/asan) was configured
# with -DRSRC_FUZZERS=ON; TARGET is a name such as npy, all by default. Inputs that a target learns
# are kept in BUILD/fuzz/TARGET, and the next run continues with them. Failing inputs and logs are
# in BUILD/fuzz. Exit status 1 if a target failed.
#
# --keep adds learnt inputs to the corpus in the sources: those below 2 KiB that reach code which no
# other input reaches.
set -eu
. "$(dirname "$0")/../help.sh"
source=$(cd "$(dirname "$0")" && pwd)
build=$source/../../build/asan
if [ "${1:-}" = -b ]; then
    build=$2
    shift 2
fi
keep=no
[ "${1:-}" != --keep ] || { keep=yes; shift; }
seconds=60
case ${1:-} in
*[!0-9]* | "") ;;
*) seconds=$1; shift ;;
esac
[ $# -ne 0 ] || set -- $(ls "$source" | sed -n 's/^fuzz_\(.*\)\.c$/\1/p')

# Targets of the whole compiler write files: in memory, if there is a file system in memory.
[ ! -d /dev/shm ] || export TMPDIR=/dev/shm
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

# words_of TARGET: its dictionary. A target that reads several kinds of files has the words of all
# kinds.
words_of() {
    case $1 in
    whole_folder) set -- "$1" config safetensors tokenizer chat_template ;;
    whole_file) set -- gguf safetensors ;;
    esac
    for name; do
        [ ! -e "$source/dictionaries/$name.dict" ] || cat "$source/dictionaries/$name.dict"
    done
}

# keep_inputs TARGET: see --keep.
keep_inputs() {
    mkdir -p "$TMPDIR/small" "$source/corpus/$1"
    find "$build/fuzz/$1" -type f -size -5 -exec cp {} "$TMPDIR/small" \;
    "$build/tests/fuzz/fuzz_$1" -merge=1 -use_counters=0 "$source/corpus/$1" "$TMPDIR/small" 2>&1 |
        sed -n "s/.*MERGE-OUTER: \(.*new files\).*/$1: \1/p"
    rm -r "$TMPDIR/small"
}

if [ "$keep" = yes ]; then
    for target; do
        keep_inputs "$target"
    done
    exit 0
fi

failed=0
for target in "$@"; do
    program=$build/tests/fuzz/fuzz_$target
    work=$build/fuzz/$target
    if [ ! -x "$program" ]; then
        echo "$target: there is no $program; build it with -DRSRC_FUZZERS=ON" >&2
        exit 1
    fi
    mkdir -p "$work"
    corpus=$source/corpus/$target dictionary=$TMPDIR/$target.dict
    [ -d "$corpus" ] || corpus=
    words_of "$target" >"$dictionary"
    [ -s "$dictionary" ] && dictionary=-dict=$dictionary || dictionary=
    if "$program" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 \
        -artifact_prefix="$build/fuzz/$target-" ${dictionary:+"$dictionary"} "$work" ${corpus:+"$corpus"} \
        >"$work.log" 2>&1; then
        edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$work.log" | tail -n 1)
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work.log")
        inputs=$(ls "$work" | wc -l)
        echo "$target: no finding in $runs runs; $edges edges, $inputs inputs kept"
    else
        echo "$target: FAILED; the end of $work.log:"
        grep -v '^#' "$work.log" | tail -n 40
        failed=1
    fi
done
exit $failed
