#!/bin/sh
# Prints the README's table: kernels and models beside the read bandwidth of the same run.
set -eu

usage() {
    cat <<'TEXT'
usage: tests/bench/table.sh [--build DIR] [--work DIR] [--runs N]

Measures on this machine and prints a Markdown table. Needs 4 GB of disk and some minutes of quiet.

  --build DIR  where rsrc is built [build/release]
  --work DIR   for the synthetic model [build/bench]
  --runs N     measurements of each, medians are shown [7]
TEXT
}

build=build/release work=build/bench runs=7
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$2; shift ;;
    --work) work=$2; shift ;;
    --runs) runs=$2; shift ;;
    --help | -h) usage; exit 0 ;;
    *) echo "table.sh: unknown option '$1'; --help lists the options" >&2; exit 1 ;;
    esac
    shift
done
bin=$build/bin
mkdir -p "$work"
[ -f "$work/2b.so" ] || {
    "$bin/rsr-mkmodel" --preset bitnet-2b-4t -o "$work/2b"
    "$bin/rsrc" "$work/2b" --target native -o "$work/2b.so"
}
"$bin/rsrc" "$(dirname "$0")/../../examples/model/kjv" --target native -o "$work/kjv.so"

field() { python3 -c "import json,sys; print(format(json.load(sys.stdin)['$1'] * $2, '$3'))"; }

kernel() {
    json=$("$bin/rsr-bench" kernel --rows "$1" --cols "$2" --target "$3" --threads "$4" \
        --runs "$runs" --json)
    printf '| kernel %s x %s, %s, %s | %s G weights/s, %s GB/s of %s | %s |\n' "$1" "$2" "$3" \
        "$5" "$(echo "$json" | field weights_per_s_streamed 1e-9 .1f)" \
        "$(echo "$json" | field read_gbps 1 .1f)" "$(echo "$json" | field dram_gbps 1 .1f)" \
        "$(echo "$json" | field roofline_ratio 1 .2f)"
}

model() {
    json=$("$bin/rsr-bench" model "$2" --threads "$3" --gen-tokens "$4" --runs "$runs" --json)
    printf '| %s, %s | decode %s, prefill of 128: %s tokens/s | %s |\n' "$1" "$5" \
        "$(echo "$json" | field decode_tps 1 .1f)" "$(echo "$json" | field prefill_tps 1 .0f)" \
        "${6:-$(echo "$json" | field roofline_ratio 1 .2f)}"
}

sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1
echo
echo '| what | measured | share of the read bandwidth |'
echo '|---|---|---|'
kernel 2560 2560 native 1 '1 thread'
kernel 6912 2560 native 1 '1 thread'
kernel 6912 2560 native 2 '2 threads'
kernel 6912 2560 avx2 1 '1 thread'
model 'bitnet-2b-4t shape, synthetic' "$work/2b.so" 1 16 '1 thread'
model 'bitnet-2b-4t shape, synthetic' "$work/2b.so" 2 16 '2 threads'
model 'bundled model' "$work/kjv.so" 1 256 '1 thread' 'in the caches'
model 'bundled model' "$work/kjv.so" 2 256 '2 threads' 'in the caches'
