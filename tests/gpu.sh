#!/bin/sh
# Packs what a machine with a GPU needs to test and to measure, and does that there.
set -eu

usage() {
    cat <<'TEXT'
usage: tests/gpu.sh --pack DIR|FILE.tar.gz [--build DIR] [--cuda PATH] [--targets "NAME ..."] [--small]
       gpu.sh [--out DIR] [--limit SECONDS]

The first form runs where rsrc is built, and writes at most 64 MB: programs, modules and kernels. The
second form is in that pack, and runs on a machine with a GPU, NVIDIA's driver and glibc, without
compilers and without a network, in at most 10 minutes:

  gpu.txt     device and clocks, checks, and a table of measurements
  gpu.jsonl   the same, an object a line

Both are written line by line, so that a run that is cut keeps its rows. Exits 0 if all checks are
right and nothing failed or was cut.

  --pack DIR       a new folder, or an archive of one
  --build DIR      where rsrc is built [build/release]
  --cuda PATH      a CUDA toolkit to compile kernels with; none: clang [none]
  --targets LIST   GPUs of specs/, some 16 MB each [sm_80 sm_86 sm_90]
  --small          tiny shapes, for an interpreter
  --out DIR        where results go [the pack]
  --limit SECONDS  for everything [600]
TEXT
}

die() {
    echo "gpu.sh: $1" >&2
    exit 1
}

pack='' build=build/release cuda=none targets="sm_80 sm_86 sm_90" size=full out='' limit=600
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage; exit 0 ;;
    --small) size=small; shift; continue ;;
    --pack | --build | --cuda | --targets | --out | --limit) [ $# -ge 2 ] || die "$1 needs a value" ;;
    esac
    case $1 in
    --pack) pack=$2 ;;
    --build) build=$2 ;;
    --cuda) cuda=$2 ;;
    --targets) targets=$2 ;;
    --out) out=$2 ;;
    --limit) limit=$2 ;;
    *) die "unknown option '$1'; --help lists the options" ;;
    esac
    shift 2
done
here=$(cd "$(dirname "$0")" && pwd)

# ---- Packing ----------------------------------------------------------------------------------------------------

most_bytes=64000000

# What is run: models to compare, tokens of a text, the preset of the hollow model, its keys and prompts, repeats of
# each, and the least that a measurement of bandwidth reads.
choose_size() {
    if [ "$size" = small ]; then
        text=$source/examples/model/kjv models="$text $source/tests/golden/bitnet_packed" n_tokens=2
        preset=tiny context=128 keys="0 20 70" prompts="3 9" repeats=3 bytes=1 shrink=--small
    else
        text=$source/examples/model/kjv models=$text n_tokens=20
        for model in bitnet_1bitllm bitnet_online bitnet_packed bonsai embed_gemma3 embed_qwen3 falcon3 falcon_e \
            llama_packed trilm; do
            models="$models $source/tests/golden/$model"
        done
        preset=bitnet-2b-4t context=32832 keys="0 4096 32768" prompts="128 256 512 1024 2048" repeats=11
        bytes=1073741824 shrink=
    fi
}

# Models that no GPU takes are passed over.
pack_models() {
    mkdir "$1/models"
    for model in $models; do
        module=$1/models/$(basename "$model").so
        if ! "$build/bin/rsrc" "$model" --target="$2,generic" --cuda-path="$cuda" -o "$module" 2>"$work/said"; then
            grep -q '\[gpu-input\]' "$work/said" || { cat "$work/said" >&2; die "$model does not compile"; }
            echo "passed over: $(grep '\[gpu-input\]' "$work/said")"
        fi
    done
}

# What the planner expects of the hollow model's layers, by the names of rows.
write_predictions() {
    python3 - "$work/report.json" "$keys" <<'PYTHON'
import json, sys
layers = json.load(open(sys.argv[1]))["targets"][0]["layers"]
roles = {}
for layer in layers:
    roles[layer["role"]] = roles.get(layer["role"], 0) + layer["decode"]["us"]
for keys in sys.argv[2].split():
    for way in ("plain", "graph", "dependent"):
        print(f"decode, {keys} keys, {way}\t{sum(roles.values()):.3f}")
    for role, us in roles.items():
        print(f"profile, {keys} keys, {role}\t{us:.3f}")
PYTHON
}

pack_target() {
    folder=$pack_to/$1
    mkdir "$folder" "$folder/kernels"
    sed -n 's/^memory_gbps: *\([0-9.]*\).*/\1/p' "$source/specs/$1.yaml" >"$folder/gbps"
    "$build/tests/cuda/write_gpu_kernels" "$source/specs/$1.yaml" "$cuda" "$folder/kernels" $shrink
    pack_models "$folder" "$1"
    "$build/bin/rsrc" "$work/hollow" --target="$1" --cuda-path="$cuda" --hollow --report=json -o "$folder/hollow.so" \
        >"$work/report.json"
    write_predictions >"$folder/predicted"
}

pack_programs() {
    mkdir "$pack_to/bin" "$pack_to/lib"
    cp "$build/bin/rsr-run" "$build/tests/cuda/engine_bits" "$build/tests/cuda/engine_times" \
        "$build/tests/cuda/operations_on_cuda" "$build/tests/cuda/run_on_gpu" "$pack_to/bin"
    # Libraries beside glibc's.
    for library in $(ldd "$pack_to"/bin/* | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u); do
        case ${library##*/} in
        libc.so.6 | libm.so.6 | libdl.so.2 | libpthread.so.0) ;;
        *) cp -L "$library" "$pack_to/lib" ;;
        esac
    done
}

pack_operations() {
    "$source/tests/cuda/operations.sh" "$source" "$build" "$work/operations" >"$work/said" ||
        { cat "$work/said" >&2; die "the operations are wrong in the interpreter"; }
    cp "$work/operations/operations.ptx" "$pack_to"
}

write_pack() {
    source=$(cd "$here/.." && pwd)
    build=$(cd "$build" && pwd)
    choose_size
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    case $pack in
    *.tar.gz) pack_to=$work/rsr-gpu ;;
    *) pack_to=$pack ;;
    esac
    mkdir "$pack_to"
    pack_to=$(cd "$pack_to" && pwd)
    cp "$here/gpu.sh" "$pack_to"
    pack_programs
    pack_operations
    "$build/bin/rsr-mkmodel" --preset "$preset" --context "$context" -o "$work/hollow" >"$work/said"
    for target in $targets; do
        pack_target "$target"
    done
    printf '%s\n' "keys='$keys'" "prompts='$prompts'" "repeats=$repeats" "bytes=$bytes" "text=$(basename "$text")" \
        "n_tokens=$n_tokens" "preset=$preset" >"$pack_to/settings"
    case $pack in
    *.tar.gz) tar -C "$work" -czf "$pack" rsr-gpu ;;
    esac
    n_bytes=$(du -sb "$pack" | cut -f1)
    echo "$pack: $n_bytes bytes"
    [ "$n_bytes" -le "$most_bytes" ] || die "that is more than $most_bytes; name fewer --targets"
}

if [ -n "$pack" ]; then
    write_pack
    exit 0
fi

# ---- Results ----------------------------------------------------------------------------------------------------

[ -e "$here/settings" ] || die "no pack is here; tests/gpu.sh --pack DIR makes one"
. "$here/settings"
out=${out:-$here}
mkdir -p "$out"
table=$out/gpu.txt json=$out/gpu.jsonl
: >"$table"
: >"$json"
log=$(mktemp)
trap 'rm -f "$log" "$log".*' EXIT
begin=$(date +%s)
bad=0 read_gbps=-
tab=$(printf '\t')

text() {
    printf '%s\n' "$1"
    printf '%s\n' "$1" >>"$table"
}

quoted() {
    printf '"%s"' "$(printf '%s' "$1" | tr '\t\n\r' '   ' | sed 's/[\\"]/\\&/g')"
}

# tell KIND NAME RESULT: a fact, or what came of a check.
tell() {
    text "$(printf '%-48s %s' "$2" "$3")"
    printf '{"%s": %s, "result": %s}\n' "$1" "$(quoted "$2")" "$(quoted "$3")" >>"$json"
}

missing() {
    tell "$1" "$2" "not there"
}

# Prints a line of the table and a line of JSON for: name, bytes, median, least, predicted microseconds.
format_row() {
    LC_ALL=C awk -v name="$1" -v bytes="$2" -v us="$3" -v min="$4" -v predicted="$5" -v read="$read_gbps" 'BEGIN {
        gbps = us > 0 ? bytes / us / 1e3 : 0
        share = read != "-" && read > 0 ? gbps / read : 0
        printf("%-48s %12.0f %11.2f %11.2f %8s %6s %10s\n", name, bytes, us, min,
            (us > 0 ? sprintf("%.1f", gbps) : "-"), (share > 0 ? sprintf("%.0f %%", 100 * share) : "-"),
            (predicted == "-" ? "-" : sprintf("%.2f", predicted)))
        printf("{\"row\": \"%s\", \"bytes\": %.0f, \"us\": %s, \"min_us\": %s, \"gbps\": %s, \"share\": %s, ", name,
            bytes, us, min, (us > 0 ? sprintf("%.3f", gbps) : "null"), (share > 0 ? sprintf("%.4f", share) : "null"))
        printf("\"predicted_us\": %s}\n", (predicted == "-" ? "null" : predicted))
    }'
}

# Rows of a program's output, as they come; other lines go to the log.
take_rows() {
    while IFS=$tab read -r kind name n_bytes us least predicted; do
        if [ "$kind" != row ]; then
            printf '%s\n' "$kind" >>"$log"
            continue
        fi
        [ "$predicted" != - ] || predicted=$(sed -n "s/^$name$tab//p" "$target/predicted")
        lines=$(format_row "$name" "$n_bytes" "$us" "$least" "${predicted:--}")
        text "${lines%
*}"
        printf '%s\n' "${lines#*
}" >>"$json"
    done
}

# limited COMMAND...: in what is left of the time. Output to the log.
limited() {
    left=$((begin + limit - $(date +%s)))
    [ "$left" -gt 0 ] || return 124
    timeout "$left" "$@"
}

# verdict NAME STATUS: tells what came of a step, with the last line of the log if it failed.
verdict() {
    case $2 in
    0) tell check "$1" "${3:-right}"; return ;;
    124) tell check "$1" "cut: no time is left" ;;
    *) tell check "$1" "FAILED ($2): $(tail -n 1 "$log")" ;;
    esac
    bad=$((bad + 1))
}

check() {
    name=$1; shift
    status=0
    limited "$@" >"$log" 2>&1 || status=$?
    verdict "$name" "$status" "right: $(tail -n 1 "$log")"
}

# Measures with a program that prints rows. Its status reaches us through a file, as sh has no pipefail.
measure() {
    name=$1; shift
    : >"$log"
    echo 0 >"$log.status"
    { limited "$@" 2>>"$log" || echo $? >"$log.status"; } | take_rows
    status=$(cat "$log.status")
    [ "$status" = 0 ] || verdict "$name" "$status"
}

# ---- Running ----------------------------------------------------------------------------------------------------

export LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
bin=$here/bin

show_device() {
    device=$("$bin/run_on_gpu" 2>&1) || die "$device"
    tell fact device "$device"
    sm=$(printf '%s' "$device" | sed -n 's/.*, \(sm_[0-9]*\), .*/\1/p')
    target=$here/$sm
    [ -d "$target" ] || die "the pack has nothing for $sm; name it in --targets when packing"
    if command -v nvidia-smi >"$log"; then
        for query in driver_version clocks.sm clocks.mem clocks.max.sm clocks.max.mem power.limit temperature.gpu; do
            tell fact "$query" "$(nvidia-smi -i 0 --query-gpu=$query --format=csv,noheader 2>&1 | tail -n 1)"
        done
    else
        missing fact "nvidia-smi"
    fi
}

same_text() {
    for device in cpu cuda:0 cuda:0,graph cuda:0,plain; do
        limited "$bin/rsr-run" "$1" -p "In the beginning" -n "$n_tokens" --temp 0 -c 64 --device $device \
            >"$log.$device" 2>"$log" || return
    done
    for device in cuda:0 cuda:0,graph cuda:0,plain; do
        cmp "$log.cpu" "$log.$device" >"$log" 2>&1 || return
    done
}

check_all() {
    check "kernels" "$bin/run_on_gpu" "$target/kernels"
    check "operations" "$bin/operations_on_cuda" "$here/operations.ptx"
    for module in "$target"/models/*.so; do
        check "model $(basename "$module" .so)" "$bin/engine_bits" "$module" short
    done
    status=0
    same_text "$target/models/$text.so" || status=$?
    verdict "text of $text" "$status" "right: the CPU's, by all programs"
    PATH=$PATH:/usr/local/cuda/bin
    if command -v compute-sanitizer >"$log"; then
        for tool in memcheck racecheck synccheck initcheck; do
            check "compute-sanitizer $tool" compute-sanitizer --tool $tool --error-exitcode 9 \
                "$bin/operations_on_cuda" "$here/operations.ptx"
        done
    else
        missing check "compute-sanitizer"
    fi
}

# The read bandwidth of this run, from its row.
find_bandwidth() {
    found=$(sed -n 's/.*"row": "bandwidth, read".*"gbps": \([0-9.]*\),.*/\1/p' "$json")
    read_gbps=${found:--}
}

# Launches that begin before the one before has ended: of sm_90 and later.
measure_dependent() {
    if [ "${sm#sm_}" -ge 90 ]; then
        measure "decode, dependent launches" "$bin/engine_times" "$target/hollow.so" cuda:0 "$repeats" decode "$@"
    else
        missing row "decode, dependent launches"
    fi
}

# Long contexts are last: a cut run has all others. Nothing is shown for what does not exist.
measure_all() {
    text "$(printf '%-48s %12s %11s %11s %8s %6s %10s' row bytes us "us, least" GB/s "of it" predicted)"
    measure "bandwidth" "$bin/run_on_gpu" --bytes="$bytes" --bandwidth="$(cat "$target/gbps")"
    find_bandwidth
    measure "matvec" "$bin/run_on_gpu" --bench --bytes="$bytes" "$target/kernels"
    text "hollow model of the shape $preset, its weights at random:"
    short=${keys% *}
    # shellcheck disable=SC2086 # lists
    {
        measure "decode by graph" "$bin/engine_times" "$target/hollow.so" cuda:0,graph "$repeats" decode $short
        measure "decode, plain" "$bin/engine_times" "$target/hollow.so" cuda:0,plain "$repeats" decode $short
        measure "profile" "$bin/engine_times" "$target/hollow.so" cuda:0,plain "$repeats" profile $short
        measure "prefill" "$bin/engine_times" "$target/hollow.so" cuda:0,graph "$repeats" prefill $prompts
    }
    measure_dependent $short
    measure "long decode by graph" "$bin/engine_times" "$target/hollow.so" cuda:0,graph "$repeats" decode "${keys##* }"
    measure "long decode, plain" "$bin/engine_times" "$target/hollow.so" cuda:0,plain "$repeats" decode "${keys##* }"
    measure_dependent "${keys##* }"
}

show_device
check_all
measure_all
tell fact "seconds" "$(($(date +%s) - begin))"
tell check "all" "$bad failed or cut"
[ "$bad" = 0 ]
