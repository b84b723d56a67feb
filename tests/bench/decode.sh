#!/bin/sh
# Prints tables of decoding: kernels and whole models, each beside the read bandwidth of its own run.
set -eu

usage() {
    cat <<'TEXT'
usage: tests/bench/decode.sh [--build DIR] [--work DIR] [--runs N] [--threads "T ..."]
                             [--shapes "RxC ..."] [--models "PRESET ..."] [--peer FILE] [--quick]

Measures on this machine and prints Markdown tables. Needs 8 GB of memory, 8 GB of disk and half an hour of
quiet.

  --build DIR    where rsrc is built [build/release]
  --work DIR     for synthetic models, which are made if they are not there [build/bench]
  --runs N       measurements of each, medians are shown [7]
  --threads L    ["1 2"]
  --shapes L     rows x columns of the kernels
                 ["2560x2560 6912x2560 2560x6912 640x2560 4096x14336 23040x3072 3072x23040"]
  --models L     ["bitnet-2b-4t falcon3-3b llama3-8b"]
  --peer FILE    what another engine printed of the same shapes on this machine: `llama-bench -o json`;
                 its rows stand below the models'
  --quick        one small shape, a tiny model and one run: no figures to publish
TEXT
}

build=build/release work=build/bench runs=7 threads='1 2' peer= gen_tokens=32
shapes='2560x2560 6912x2560 2560x6912 640x2560 4096x14336 23040x3072 3072x23040'
models='bitnet-2b-4t falcon3-3b llama3-8b'
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$2; shift ;;
    --work) work=$2; shift ;;
    --runs) runs=$2; shift ;;
    --threads) threads=$2; shift ;;
    --shapes) shapes=$2; shift ;;
    --models) models=$2; shift ;;
    --peer) peer=$2; shift ;;
    --quick) gen_tokens=4 runs=1 shapes=640x2560 models=tiny ;;
    --help | -h) usage; exit 0 ;;
    *) echo "decode.sh: unknown option '$1'; --help lists the options" >&2; exit 1 ;;
    esac
    shift
done
bin=$build/bin
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# One line of the results: what was asked for, and what rsr-bench says.
record() {
    what=$1 label=$2 shape=$3
    shift 3
    result=$("$bin/rsr-bench" "$what" "$@" --runs "$runs" --json)
    printf '{"what": "%s", "label": "%s", "shape": "%s", "result": %s}\n' "$what" "$label" \
        "$shape" "$result" >> "$results"
}

kernel() {
    label=$1
    shift
    for shape in $shapes; do
        for count in $threads; do
            record kernel "$label" "$shape" --rows "${shape%x*}" --cols "${shape#*x}" \
                --threads "$count" "$@"
        done
    done
}

model() {
    made=$work/$1
    mkdir -p "$work"
    [ -f "$made.so" ] || {
        "$bin/rsr-mkmodel" --preset "$1" -o "$made"
        "$bin/rsrc" "$made" --target native -o "$made.so"
        rm -r "$made"
    }
    for count in $threads; do
        record model "$1" '' "$made.so" --threads "$count" --prompt-tokens 128 \
            --gen-tokens "$gen_tokens" --profile
    done
}

kernel 'ternary, native'
if grep -q -w avx2 /proc/cpuinfo; then
    kernel 'ternary, avx2' --target avx2
fi
kernel 'binary, native' --type binary
kernel 'ternary, native, floats' --input f32
for name in $models; do
    model "$name"
done
sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1
python3 "$(dirname "$0")/decode_report.py" "$results" ${peer:+"$peer"}
