#!/bin/sh
# Prints tables of attention through the KV index and of dense attention, and draws them over the
# context.
set -eu

usage() {
    cat <<'TEXT'
usage: tests/bench/louver.sh [--build DIR] [--runs N] [--threads T] [--svg FILE] [--contexts "N ..."]
                             [--data "KIND ..."] [--thresholds "T ..."] [--kv-type TYPE] [--compare N]
                             [--results FILE] [--sweep [--counts] [--csv FILE]]

Measures one layer of 32 query and 8 KV heads of 128 dimensions on this machine, and prints Markdown
tables. Needs up to 6 GB of memory and some minutes of quiet.

  --sweep        every spread of logits with every context and KV type: what is read, what an oracle
                 would read, bytes, errors, and the index's time in dense attention's
  --counts       --sweep without times: 8 query and 2 KV heads, 1 GB, no quiet needed. The figures
                 do not depend on the machine
  --csv FILE     the counts of --sweep, in the form of louver_counts.csv
  --build DIR    where rsr-bench is built [build/release]
  --runs N       measurements of each, medians are shown [7]
  --threads T    [1]
  --svg FILE     time and scanned fraction over the context [build/louver.svg]
  --contexts L   ["4096 8192 16384 32768 131072"; of --sweep "4096 16384 131072"]
  --data L       ["gaussian clustered"; of --sweep "sigma:S ...", S of 1 to 6, 2.25 and 3.5]
  --thresholds L ["topk:20 mass:1e-3"; of --sweep "mass:0.1"]
  --kv-type TYPE of the index and of dense attention [f32; of --sweep a list, "bf16 f32 int8"]
  --compare N    the context at which other indices are measured, too; 0: none [32768]
  --results FILE to add results to, as JSON lines; tables are of all that it has then, so they
                 may be measured one by one [a new one]
TEXT
}

build=build/release runs=7 threads=1 svg=build/louver.svg compare=32768 results= sweep= counts= csv=
unset contexts data_kinds thresholds kv_types
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage; exit 0 ;;
    --sweep) sweep=yes; shift; continue ;;
    --counts) counts=yes; shift; continue ;;
    --build | --runs | --threads | --svg | --contexts | --data | --thresholds | --kv-type | --compare | --results | \
        --csv)
        [ $# -ge 2 ] || { echo "louver.sh: $1 needs a value" >&2; exit 1; } ;;
    esac
    case $1 in
    --build) build=$2 ;;
    --runs) runs=$2 ;;
    --threads) threads=$2 ;;
    --svg) svg=$2 ;;
    --contexts) contexts=$2 ;;
    --data) data_kinds=$2 ;;
    --thresholds) thresholds=$2 ;;
    --kv-type) kv_types=$2 ;;
    --compare) compare=$2 ;;
    --results) results=$2 ;;
    --csv) csv=$2 ;;
    *) echo "louver.sh: unknown option '$1'; --help lists the options" >&2; exit 1 ;;
    esac
    shift 2
done
if [ -n "$sweep" ]; then
    compare=0
    : "${contexts=4096 16384 131072}" "${thresholds=mass:0.1}" "${kv_types=bf16 f32 int8}"
    : "${data_kinds=sigma:1 sigma:2 sigma:2.25 sigma:3 sigma:3.5 sigma:4 sigma:5 sigma:6}"
elif [ -n "$counts$csv" ]; then
    echo "louver.sh: --counts and --csv are of --sweep" >&2
    exit 1
fi
: "${contexts=4096 8192 16384 32768 131072}" "${thresholds=topk:20 mass:1e-3}" "${kv_types=f32}"
: "${data_kinds=gaussian clustered}"
if [ -z "$results" ]; then
    results=$(mktemp)
    trap 'rm -f "$results"' EXIT
fi

# Memory needed: keys and values twice, for dense attention and in the index, and the index itself.
# That is 2.3 times their bytes, which are at least 1.5 GiB unless only counts are needed.
needed_mib() {
    [ -z "$counts" ] || { echo $(($1 / 128)); return; }
    kv=$(($1 * 8 * 128 * 2 * 4 / 1048576))
    layers=$(((1536 + kv - 1) / kv))
    echo $((kv * layers * 23 / 10 + 256))
}

# measure CONTEXT OPTION...: adds a result. centroids-unsafe misses keys, and its result says so.
measure() {
    context=$1; shift
    needed=$(needed_mib "$context")
    available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
    if [ "$needed" -gt "$available" ]; then
        echo "louver.sh: SKIPPED: $context keys need $needed MiB, there are $available" >&2
        return
    fi
    # Counts are of 64 queries, 8 steps of 8 heads.
    "$build/bin/rsr-bench" attention --context "$context" --threads "$threads" --runs "$runs" --json "$@" \
        ${counts:+--quick --heads 8 --kv-heads 2 --runs 8} >> "$results"
}

for context in $contexts; do
    for data in $data_kinds; do
        for threshold in $thresholds; do
            for kv_type in $kv_types; do
                measure "$context" --data "$data" --threshold "$threshold" --kv-type "$kv_type"
            done
        done
    done
done
if [ "$compare" -ne 0 ]; then
    for data in $data_kinds; do
        for index in one-plane pages centroids centroids-unsafe; do
            measure "$compare" --data "$data" --threshold topk:20 --index "$index"
        done
    done
fi
if [ -n "$sweep" ]; then
    python3 "$(dirname "$0")/louver_sweep.py" "$results" $([ -n "$counts" ] || echo --times) ${csv:+--csv "$csv"}
    exit
fi
sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1
python3 "$(dirname "$0")/louver_report.py" "$results" "$svg"
