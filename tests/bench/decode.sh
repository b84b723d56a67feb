#!/bin/sh
# Prints tables of decoding: kernels and whole models, each compared with the read bandwidth of its
# own run.
set -eu

usage() {
    cat <<'TEXT'
usage: tests/bench/decode.sh [--build DIR] [--work DIR] [--only PART] [--runs N] [--threads "T ..."]
                             [--targets "X ..."] [--shapes "RxC ..."] [--models "NAME ..."] [--layers N]
                             [--keep FILE] [--peer FILE] [--quick]

Measures on this machine and prints Markdown tables. Needs 10 GB of memory, 20 GB of disk and half an hour of
quiet; on a machine that is shared, its parts can be measured one at a time, each in the quiet that there is.

  --build DIR    where rsrc is built [build/release]
  --work DIR     for synthetic models and what is compiled, which is done again when the compiler, its runtime
                 or the options have changed [build/bench]; temporary files go to TMPDIR
  --only PART    prepare: compile the models and measure nothing; kernels; models [all three]
  --runs N       measurements of each, medians are shown [7]
  --threads L    ["1 2"]
  --targets L    ["native avx2"]
  --shapes L     rows x columns of the kernels; a third number is how many in turn share the tables of their
                 activations, as q, k and v do
                 ["2560x2560 6912x2560 2560x6912 640x2560x6 4096x14336 23040x3072 3072x23040"]
  --models L     presets of rsr-mkmodel, made with --head-margin 6 and measured at 128 tokens of context, and
                 kjv, the bundled model ["bitnet-2b-4t falcon3-3b llama3-8b kjv"]
  --layers N     of the presets' models, for a quick look [as many as each has]
  --keep FILE    adds what is measured to FILE and shows all that it holds
  --peer FILE    what other engines reached in the same run: a JSON array of what `llama-bench -o json` prints,
                 and of {"kernel": NAME, "shape": "RxC", "threads": T, "bits_per_weight": B, "hot_us": H,
                 "streamed_us": S}; may be repeated
  --quick        one small shape, a tiny model and one run: no figures to publish
TEXT
}

build=build/release work=build/bench runs=7 threads='1 2' targets='native avx2' only='' layers='' keep='' peers='' quick=''
shapes='2560x2560 6912x2560 2560x6912 640x2560x6 4096x14336 23040x3072 3072x23040'
models='bitnet-2b-4t falcon3-3b llama3-8b kjv'
context=128 gen_tokens=32
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$2; shift ;;
    --work) work=$2; shift ;;
    --only) only=$2; shift ;;
    --runs) runs=$2; shift ;;
    --threads) threads=$2; shift ;;
    --targets) targets=$2; shift ;;
    --shapes) shapes=$2; shift ;;
    --models) models=$2; shift ;;
    --layers) layers=$2; shift ;;
    --keep) keep=$2; shift ;;
    --peer) peers="$peers $2"; shift ;;
    --quick) quick=--quick gen_tokens=4 runs=1 shapes=640x2560 models='tiny kjv' ;;
    --help | -h) usage; exit 0 ;;
    *) echo "decode.sh: unknown option '$1'; --help lists the options" >&2; exit 1 ;;
    esac
    shift
done
case $only in
'' | prepare | kernels | models) ;;
*) echo "decode.sh: --only takes prepare, kernels or models, not '$only'" >&2; exit 1 ;;
esac
bin=$build/bin
bundled=$(dirname "$0")/../../examples/model/kjv
results=${keep:-$(mktemp)}
[ -n "$keep" ] || trap 'rm -f "$results"' EXIT

# Whether this machine can run code for the target.
can_run() {
    [ "$1" != avx2 ] || grep -q -w avx2 /proc/cpuinfo
}

# Adds a line to the results: the request, and the output of rsr-bench.
record() {
    what=$1 label=$2 shape=$3
    shift 3
    # shellcheck disable=SC2086 # nothing, or an option
    result=$("$bin/rsr-bench" "$what" "$@" $quick --runs "$runs" --json)
    printf '{"what": "%s", "label": "%s", "shape": "%s", "result": %s}\n' "$what" "$label" \
        "$shape" "$result" >> "$results"
}

kernel() {
    label=$1
    shift
    for shape in $shapes; do
        columns=${shape#*x}
        siblings=1
        case $columns in *x*) siblings=${columns#*x} ;; esac
        for count in $threads; do
            record kernel "$label" "$shape" --rows "${shape%%x*}" --cols "${columns%x*}" \
                --siblings "$siblings" --threads "$count" "$@"
        done
    done
}

kernels() {
    for target in $targets; do
        can_run "$target" || continue
        kernel "ternary, $target" --target "$target"
    done
    for target in $targets; do
        can_run "$target" || continue
        kernel "binary, $target" --type binary --target "$target"
        kernel "ternary, $target, floats" --input f32 --target "$target"
    done
}

# Prints checksums of the programs and the given options: what a module depends on.
stamp_of() {
    find "$bin/rsrc" "$bin/rsr-mkmodel" "$build/lib/rsrc" -type f -exec cksum {} +
    echo "$*"
}

# Compiles a model for all targets, unless the existing module has this stamp.
prepare() {
    margin=6
    mkdir -p "$work"
    rm -rf "${work:?}/$1" # left by a run that was interrupted
    for target in $targets; do
        can_run "$target" || continue
        made=$work/$1-$target
        stamp=$(stamp_of "$1" "$target" "$margin" "$layers")
        if [ -f "$made.so" ] && [ "$stamp" = "$(cat "$made.stamp" 2> /dev/null)" ]; then
            continue
        fi
        rm -f "$made.so" "$made.stamp"
        checkpoint=$work/$1
        if [ "$1" = kjv ]; then
            checkpoint=$bundled
        elif [ ! -d "$checkpoint" ]; then
            "$bin/rsr-mkmodel" --preset "$1" ${layers:+--layers "$layers"} --head-margin "$margin" \
                -o "$checkpoint"
        fi
        "$bin/rsrc" "$checkpoint" --target "$target" -o "$made.so"
        printf '%s\n' "$stamp" > "$made.stamp"
    done
    rm -rf "${work:?}/$1"
}

model() {
    for target in $targets; do
        can_run "$target" || continue
        for count in $threads; do
            record model "$1, $target" '' "$work/$1-$target.so" --threads "$count" \
                --prompt-tokens "$context" --gen-tokens "$gen_tokens" --profile
        done
    done
}

[ -n "$only" ] && [ "$only" != kernels ] || kernels
if [ "$only" != kernels ]; then
    for name in $models; do
        prepare "$name"
        [ "$only" = prepare ] || model "$name"
    done
fi
[ "$only" != prepare ] || exit 0
sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1
# shellcheck disable=SC2086 # file names of --peer, split where they were joined
python3 "$(dirname "$0")/decode_report.py" "$results" $peers
