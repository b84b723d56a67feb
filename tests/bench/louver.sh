#!/bin/sh
# Prints tables of attention through the KV index beside dense attention, and draws them over the context.
set -eu

usage() {
    cat <<'TEXT'
usage: tests/bench/louver.sh [--build DIR] [--runs N] [--threads T] [--svg FILE] [--contexts "N ..."]

Measures one layer of 32 query and 8 KV heads of 128 dimensions on this machine, and prints Markdown
tables. Needs up to 6 GB of memory and some minutes of quiet.

  --build DIR   where rsr-bench is built [build/release]
  --runs N      measurements of each, medians are shown [7]
  --threads T   [1]
  --svg FILE    time and scanned fraction over the context [build/louver.svg]
  --contexts L  ["4096 8192 16384 32768 131072"]
TEXT
}

build=build/release runs=7 threads=1 svg=build/louver.svg contexts="4096 8192 16384 32768 131072"
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$2; shift ;;
    --runs) runs=$2; shift ;;
    --threads) threads=$2; shift ;;
    --svg) svg=$2; shift ;;
    --contexts) contexts=$2; shift ;;
    --help | -h) usage; exit 0 ;;
    *) echo "louver.sh: unknown option '$1'; --help lists the options" >&2; exit 1 ;;
    esac
    shift
done
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# Keys and values twice, for dense attention and in the index, and the index: 2.3 times their bytes, where
# 1.5 GiB of them are the least.
needed_mib() {
    kv=$(($1 * 8 * 128 * 2 * 4 / 1048576))
    layers=$(((1536 + kv - 1) / kv))
    echo $((kv * layers * 23 / 10 + 256))
}

available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
for context in $contexts; do
    needed=$(needed_mib "$context")
    if [ "$needed" -gt "$available" ]; then
        echo "louver.sh: SKIPPED: $context keys need $needed MiB, there are $available" >&2
        continue
    fi
    for data in gaussian clustered; do
        for threshold in topk:20 mass:1e-3; do
            "$build/bin/rsr-bench" attention --context "$context" --data "$data" \
                --threshold "$threshold" --threads "$threads" --runs "$runs" --json >> "$results"
        done
    done
done
sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1
python3 "$(dirname "$0")/louver_report.py" "$results" "$svg"
