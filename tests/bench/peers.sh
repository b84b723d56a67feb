#!/bin/sh
# Prints tables of prompts, decoding and batches of this engine and others, which run
# alternately.
set -eu

usage() {
    cat <<'TEXT'
usage: tests/bench/peers.sh [--ik DIR] [--bitnet DIR] [--rows "P[xB] ..."] [--threads "T ..."] [--repeats N]
                            [--layers N] [--kv-type TYPE] [--build DIR] [--module FILE] [--work DIR]
                            [--prefix CMD] [--keep FILE] [--dry-run]

Measures a synthetic model of bitnet-2b-4t's shape on this machine, by this engine and by others that are built
already, each in turn, again and again, and prints Markdown tables: tokens a second (least, median, most), ratios of
runs of one turn, bytes that a token reads, and the memory's bandwidth. Needs 4 GB of memory, 15 GB of disk and two
hours of quiet; --rows, --threads, --repeats and --layers make it shorter.

  --ik DIR       where ik_llama.cpp is built: its llama-batched-bench runs IQ2_BN_R4 and IQ2_BN with flash
                 attention and huge pages [not measured]
  --bitnet DIR   where bitnet.cpp is built, for I2_S, and for TL2 where kernels of the shape 2560, 6912, 640 were
                 generated for it; otherwise name --bitnet-types i2_s [not measured]
  --bitnet-types L  ["i2_s tl2"]
  --rows L       a prompt of P tokens, and decoding after it; or B such prompts at once, and decoding together
                 ["128 512 3968 128x4 128x8 128x16"]
  --threads L    ["1 2"]
  --repeats N    turns [3]
  --layers N     of the model, which has 30: fewer are a quick look, and the tables say so [30]
  --kv-type TYPE of this engine's keys and values, as rsr-bench model takes it; the others have f16 [its default]
  --build DIR    where rsrc is built; Python's package gguf is installed beside it [build/release]
  --module FILE  a compiled model of the shape and of --layers [made by tests/bench/decode.sh in --work]
  --work DIR     for models, made once [build/bench]
  --prefix CMD   put before each run, such as "taskset -c 0,1"
  --keep FILE    adds results to FILE as JSON lines; tables are of all that it has then
  --dry-run      print what would be run
TEXT
}

ik='' bitnet='' bitnet_types='i2_s tl2' rows='128 512 3968 128x4 128x8 128x16' threads='1 2' repeats=3 layers=30
kv_type='' build=build/release module='' work=build/bench prefix='' keep='' dry_run=''
here=$(dirname "$0")
gen_tokens=32

die() {
    echo "peers.sh: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage; exit 0 ;;
    --dry-run) dry_run=1; shift; continue ;;
    --ik | --bitnet | --bitnet-types | --rows | --threads | --repeats | --layers | --kv-type | --build | --module | \
        --work | --prefix | --keep)
        [ $# -ge 2 ] || die "$1 needs a value" ;;
    esac
    case $1 in
    --ik) ik=$2 ;;
    --bitnet) bitnet=$2 ;;
    --bitnet-types) bitnet_types=$2 ;;
    --rows) rows=$2 ;;
    --threads) threads=$2 ;;
    --repeats) repeats=$2 ;;
    --layers) layers=$2 ;;
    --kv-type) kv_type=$2 ;;
    --build) build=$2 ;;
    --module) module=$2 ;;
    --work) work=$2 ;;
    --prefix) prefix=$2 ;;
    --keep) keep=$2 ;;
    *) die "unknown option '$1'; --help lists the options" ;;
    esac
    shift 2
done

# need_number OPTION VALUE MOST
need_number() {
    case $2 in
    '' | *[!0-9]* | 0* | ?????????*) ;;
    *) [ "$2" -gt "$3" ] || return 0 ;;
    esac
    die "$1 takes numbers from 1 to $3, not '$2'"
}

prompt_of() { echo "${1%%x*}"; }
batch_of() { case $1 in *x*) echo "${1#*x}" ;; *) echo 1 ;; esac }

# find_bench OPTION DIR: the program in DIR, or where a build puts it.
find_bench() {
    for place in "$2" "$2/bin" "$2/build/bin"; do
        if [ -x "$place/llama-batched-bench" ]; then
            echo "$(cd "$place" && pwd)/llama-batched-bench"
            return
        fi
    done
    die "$1 '$2' has no llama-batched-bench, nor have its bin and build/bin: name the folder that was built"
}

need_number --repeats "$repeats" 1000
need_number --layers "$layers" 30
for count in $threads; do need_number --threads "$count" 1024; done
for row in $rows; do
    need_number --rows "$(prompt_of "$row")" $((4096 - gen_tokens))
    need_number --rows "$(batch_of "$row")" 256
done
for type in $bitnet_types; do
    case $type in i2_s | tl2) ;; *) die "--bitnet-types takes i2_s and tl2, not '$type'" ;; esac
done
[ -n "$dry_run" ] || [ -x "$build/bin/rsr-bench" ] ||
    die "--build '$build' has no bin/rsr-bench: build it, or name where it is"
[ -z "$module" ] || [ -f "$module" ] || die "--module '$module' is not there"
[ -z "$ik" ] || ik=$(find_bench --ik "$ik")
[ -z "$bitnet" ] || bitnet=$(find_bench --bitnet "$bitnet")
[ -n "$ik$bitnet" ] || echo "peers.sh: neither --ik nor --bitnet: only this engine is measured" >&2

# ---- Leaving nothing unfinished ----

results=$keep unfinished='' child=''
output=$(mktemp -d)
[ -n "$keep" ] || results=$output/results

clean_up() {
    if [ -n "$child" ]; then
        kill "$child" 2> /dev/null || :
        wait "$child" 2> /dev/null || :
    fi
    rm -rf "$output"
    [ -z "$unfinished" ] || rm -rf "$unfinished"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Waits for the command so that a signal ends both.
run() {
    if [ -n "$dry_run" ]; then
        echo "$*"
        return
    fi
    "$@" > "$output/out" 2> "$output/err" &
    child=$!
    code=0
    wait "$child" || code=$?
    child=''
    return "$code"
}

must_run() {
    run "$@" && return
    tail -n 5 "$output/err" >&2
    die "this failed: $*"
}

# ---- Models ----

venv=$(dirname "$build")/gguf # as tests/check.sh has it

# Makes the file of one type unless it is there.
make_gguf() {
    file=$work/bitnet-2b-4t-$layers-$1.gguf
    [ ! -f "$file" ] || return 0
    if [ ! -e "$venv/complete" ]; then
        must_run python3 -m venv "$venv"
        must_run "$venv/bin/pip" install -q 'gguf>=0.17,<1'
        must_run touch "$venv/complete"
    fi
    unfinished=$file.part
    must_run "$venv/bin/python3" "$here/peers_gguf.py" "$1" "$layers" "$unfinished"
    must_run mv "$unfinished" "$file"
    unfinished=''
}

[ -n "$dry_run" ] || mkdir -p "$work"
engines=''
if [ -n "$ik" ]; then engines="iq2_bn_r4 iq2_bn"; fi
if [ -n "$bitnet" ]; then engines="$engines $bitnet_types"; fi
for engine in $engines; do
    make_gguf "$engine"
done
if [ -z "$module" ]; then
    echo "peers.sh: compiling the model, unless that was done" >&2
    must_run sh "$here/decode.sh" --only prepare --build "$build" --work "$work" --targets native \
        --models bitnet-2b-4t --layers "$layers"
    module=$work/bitnet-2b-4t-native.so
fi

# ---- Runs ----

# Adds a line to the results: the measured case, and the program's output.
record() {
    printf '{"engine": "%s", "layers": %s, "prompt": %s, "batch": %s, "threads": %s, "repeat": %s, %s}\n' \
        "$1" "$layers" "$prompt" "$batch" "$count" "$repeat" "$2" >> "$results"
}

measure_ours() {
    # shellcheck disable=SC2086 # a prefix and its options; nothing, or an option
    run $prefix "$build/bin/rsr-bench" model "$module" --prompt-tokens "$prompt" --gen-tokens "$gen_tokens" \
        --batch "$batch" --threads "$count" ${kv_type:+--kv-type "$kv_type"} --runs 1 --json || return 1
    [ -n "$dry_run" ] || record ours "\"result\": $(cat "$output/out")"
}

# Reads tokens per second of prompts and of decoding from the table that a program prints.
measure_peer() {
    file=$(cd "$work" 2> /dev/null && pwd || echo "$work")/bitnet-2b-4t-$layers-$1.gguf
    program=$bitnet options=''
    case $1 in iq2*) program=$ik options='-fa on -thp' ;; esac
    # If two OpenMP threads share a core, they wait milliseconds for each other at every barrier. The programs
    # write llama.log into their folder. shellcheck disable=SC2086 # a prefix and its options
    run $prefix env -C "$output" OMP_PROC_BIND="${OMP_PROC_BIND-true}" "$program" -m "$file" \
        -c $((((prompt + gen_tokens) * batch + 255) / 256 * 256)) -npp "$prompt" \
        -ntg "$gen_tokens" -npl "$batch" -t "$count" $options || return 1
    [ -z "$dry_run" ] || return 0
    speeds=$(cat "$output/out" "$output/err" | awk -F'|' -v p="$prompt" -v b="$batch" \
        '$2 + 0 == p && $4 + 0 == b && $7 > 0 && $9 > 0 {
             printf "\"prefill_tps\": %s, \"decode_tps\": %s", $7 + 0, $9 + 0; exit }')
    [ -n "$speeds" ] || return 1
    record "$1" "\"result\": {$speeds, \"file_bytes\": $(wc -c < "$file")}"
}

# If results are added to a file, new turns get new numbers, because ratios compare runs of one turn.
kept=$([ ! -f "$results" ] || sed -n 's/^{"engine".*"repeat": \([0-9]*\), "result".*/\1/p' "$results" | sort -n | tail -n 1)
repeat=${kept:-0}
repeats=$((repeat + repeats))
while [ "$repeat" -lt "$repeats" ]; do
    repeat=$((repeat + 1))
    for row in $rows; do
        prompt=$(prompt_of "$row") batch=$(batch_of "$row")
        for count in $threads; do
            for engine in ours $engines; do
                [ -n "$dry_run" ] ||
                    echo "peers.sh: turn $repeat of $repeats: $engine, $row, $count threads" >&2
                measure=measure_peer
                [ "$engine" != ours ] || measure=measure_ours
                if ! $measure "$engine"; then
                    tail -n 5 "$output/err" >&2
                    echo "peers.sh: $engine failed, and is left out: $row, $count threads" >&2
                fi
            done
        done
    done
done
[ -z "$dry_run" ] || exit 0
[ -s "$results" ] || die "nothing was measured"
sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1
python3 "$here/peers_report.py" "$results"
