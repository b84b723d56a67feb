#!/bin/sh
# Installs what is missing, builds rsrc and runs all its tests.
set -eu

usage() {
    cat <<'TEXT'
usage: tests/check.sh [--no-install] [--quick] [--long] [--help]

Installs the needed Debian packages (root or sudo), builds with gcc and clang, and runs:
  the unit and lit tests of the release build, modules for AArch64 under qemu-user among them,
  the same under AddressSanitizer and UndefinedBehaviorSanitizer,
  threads that share an engine under ThreadSanitizer,
  every fuzz target for a few seconds, and requests to rsr-serve for a minute,
  a compilation against the installed tree.

  --no-install  do not install packages
  --quick       the release build and its tests only, nothing for AArch64
  --long        all tests in their long forms, twice the time; besides, the KV index on 1e9 pairs of a
                query and a key, some 15 minutes of one core; exp of every float32, and 1e9 multiply-adds
                of the runtime for CPUs without FMA, 2 minutes
TEXT
}

install=yes quick=no long=no
for arg in "$@"; do
    case $arg in
    --no-install) install=no ;;
    --quick) quick=yes ;;
    --long) long=yes ;;
    --help | -h) usage; exit 0 ;;
    *) echo "check.sh: unknown option '$arg'; --help lists the options" >&2; exit 1 ;;
    esac
done

# Tests that only --long runs, as regular expressions: a model of 2 GiB; and in the sanitizer half those which run
# programs as other tests there do, and look at what comes out. Unit tests have short forms: test_is_long().
left_to_long='link/huge'
left_sanitized='constrain/schemas|driver/(cache_targets|deterministic|info_breaks|verify)|e2e/(float_order_families|shards_kinds)'
left_sanitized="$left_sanitized|link/head_sketch|plan/(given|tune)|run/sampling|serve/openai_client"

cd "$(dirname "$0")/.."
. examples/setup.sh
jobs=$(nproc)
log=build/check.log
passed=0 failed=0 skipped=0

finish() {
    status=$?
    if [ "$status" -ne 0 ]; then
        echo "check.sh: FAILED (last lines of $log above; exit status $status)"
    fi
}
trap finish EXIT

# Runs a command with its output in the log; shows the end of it on failure.
step() {
    title=$1; shift
    printf '%s ... ' "$title"
    start=$(date +%s)
    if "$@" >"$log" 2>&1; then
        printf 'ok (%s s)\n' "$(($(date +%s) - start))"
    else
        printf 'failed\n'
        tail -n 60 "$log"
        exit 1
    fi
}

# The README's first command must end with the README's sample, which has equal bits on every
# machine.
quickstart() {
    examples/quickstart.sh --no-install >build/quickstart.out || return 1
    cat build/quickstart.out
    grep 'In the beginning is before me' build/quickstart.out
}

# run_lit NAME BUILD LEFT...: runs lit on a build, but for tests LEFT to --long, and adds up its counts; names every
# test that this machine cannot run.
run_lit() {
    name=$1 build=$2 left=$3; shift 3
    if [ "$long" = yes ]; then
        set -- --param long=1 "$@"
    else
        set -- --filter-out ":: ($left)" "$@"
    fi
    printf '%s tests ... ' "$name"
    start=$(date +%s)
    code=0
    python3 "$LIT" -j "$jobs" -v --show-unsupported "$@" "$build/tests" >"$log" 2>&1 || code=$?
    count() { sed -n "s/^ *$1 *: *\([0-9]*\).*/\1/p" "$log" | tail -n 1; }
    ok=$(count Passed) bad=$(count Failed) unsupported=$(count Unsupported)
    passed=$((passed + ${ok:-0})) failed=$((failed + ${bad:-0}))
    skipped=$((skipped + ${unsupported:-0}))
    excluded=$(count Excluded)
    printf '%s passed, %s failed, %s skipped, %s left to --long (%s s)\n' "${ok:-0}" "${bad:-0}" \
        "${unsupported:-0}" "${excluded:-0}" "$(($(date +%s) - start))"
    sed -n "s/^UNSUPPORTED: rsrc :: \\(.*\\) (.*/  SKIPPED ($name build, this machine): \\1/p" "$log" | sort -u
    if [ "$code" -ne 0 ] || [ "${ok:-0}" -eq 0 ]; then
        grep -v '^PASS\|^UNSUPPORTED' "$log" | tail -n 120
        exit 1
    fi
}

fuzz_targets() {
    ls build/asan/tests/fuzz | sed -n 's/^fuzz_//p'
}

# Every target for a few seconds of one core.
fuzz() {
    fuzz_targets | xargs -P "$jobs" -n 1 tests/fuzz/run.sh -b build/asan 5
}

# rsr-serve with the bundled model, for a minute.
fuzz_serve() {
    [ -x build/asan/bin/rsr-serve ] || { echo "rsr-serve was not built"; return 0; }
    build/release/bin/rsrc examples/model/kjv --target generic -o build/asan/fuzz_serve.so &&
        python3 tests/fuzz/fuzz_serve.py build/asan/bin/rsr-serve build/asan/fuzz_serve.so 60
}

# Cross-builds the AArch64 runtime and installs it in the release build. False, with a message, if
# packages are missing and must not be installed.
build_aarch64() {
    [ "$(uname -m)" != aarch64 ] || return 1 # the release build is one
    sysroot=$PWD/build/sysroot
    if [ "$install" = no ]; then
        missing=
        for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
            command -v "$tool" >/dev/null || missing="$missing $tool"
        done
        [ -e "$sysroot/complete" ] || missing="$missing $sysroot"
        if [ -n "$missing" ]; then
            echo "SKIPPED: aarch64 under qemu; --no-install was given and there is no$missing"
            skipped=$((skipped + 1))
            return 1
        fi
    fi
    step "libraries (aarch64)" unpack_sysroot "$sysroot" $CROSS_LIBRARIES
    step "configure (aarch64)" cmake --preset aarch64 -DRSRC_SYSROOT="$sysroot"
    step "build (aarch64)" cmake --build --preset aarch64 -j "$jobs"
    step "runtime (aarch64)" cmake --install build/aarch64 --component module \
        --prefix "$PWD/build/release"
}

# Finds the compiler and assembler of the PTX tests: a CUDA toolkit, else NVIDIA's Python packages
# in build/cuda. Without them, only the tests of clang's PTX run. Sets cuda.
find_cuda() {
    cuda=${CUDA_PATH:-/usr/local/cuda}
    [ ! -x "$cuda/bin/ptxas" ] || return 0
    if [ "$install" = yes ] && [ ! -e build/cuda/complete ]; then
        printf 'NVRTC and ptxas from PyPI ... '
        if { python3 -m venv build/cuda && build/cuda/bin/pip install -q --no-deps \
            'nvidia-cuda-nvrtc==13.*' 'nvidia-cuda-nvcc==13.*' &&
            touch build/cuda/complete; } >"$log" 2>&1; then
            echo "ok"
        else
            echo "failed: $(tail -n 1 "$log")"
        fi
    fi
    for cuda in "$PWD"/build/cuda/lib/python3*/site-packages/nvidia/cu13; do
        [ ! -x "$cuda/bin/ptxas" ] || return 0
    done
    echo "SKIPPED: PTX through NVRTC and ptxas; there is no CUDA toolkit and none can be installed"
    return 1
}

# find_python NAME WHAT PACKAGE...: makes a Python with packages of PyPI in build/NAME. Sets python; it stays empty
# if there is none.
find_python() {
    name=$1 what=$2
    shift 2
    python=$PWD/build/$name/bin/python3
    if [ "$install" = yes ] && [ ! -e "build/$name/complete" ]; then
        printf '%s from PyPI ... ' "$name"
        if { python3 -m venv "build/$name" && "build/$name/bin/pip" install -q "$@" &&
            touch "build/$name/complete"; } >"$log" 2>&1; then
            echo "ok"
        else
            echo "failed: $(tail -n 1 "$log")"
        fi
    fi
    [ ! -e "build/$name/complete" ] || return 0
    python=
    echo "SKIPPED: $what; it is not there and cannot be installed"
}

mkdir -p build
[ "$install" = no ] || install_packages build test
find_lit

step "configure (gcc)" cmake --preset release -DCMAKE_C_COMPILER=gcc
step "build (gcc)" cmake --build --preset release -j "$jobs"
set --
if [ "$quick" = no ] && build_aarch64; then
    set -- --param "aarch64=$PWD/build/aarch64"
fi
! find_cuda || set -- "$@" --param "cuda=$cuda"
# A toolkit may have no disassembler.
if [ -n "${cuda:-}" ] && [ ! -x "$cuda/bin/nvdisasm" ]; then
    find_python nvdisasm "machine instructions of GPU kernels" 'nvidia-cuda-nvdisasm==13.*'
    for nvdisasm in "$PWD"/build/nvdisasm/lib/python3*/site-packages/nvidia/cu13/bin/nvdisasm; do
        [ ! -x "$nvdisasm" ] || set -- "$@" --param "nvdisasm=$nvdisasm"
    done
fi
# Python packages: a writer of GGUF files, a validator of constrained texts, and clients of
# rsr-serve.
find_python gguf "GGUF files of an independent library" 'gguf>=0.17,<1'
gguf_python=$python
find_python jsonschema "constrained texts before an independent validator" 'jsonschema>=4.20,<5'
schema_python=$python
find_python openai "rsr-serve before openai-python and Prometheus's parser" 'openai>=3.54,<4' \
    'jsonschema>=4.20,<5' 'prometheus-client>=0.20,<1'
openai_python=$python
find_python lm_eval "the Python package's model for lm-eval" 'lm-eval[api]==0.4.13'
lm_eval_python=$python
find_python numpy "the Python package" 'numpy>=1.21,<3' 'scipy>=1.7,<2'
set -- "$@" --param "gguf_python=$gguf_python" --param "schema_python=$schema_python" \
    --param "openai_python=$openai_python" --param "numpy_python=$python" \
    --param "lm_eval_python=$lm_eval_python"
run_lit "release" build/release "$left_to_long" "$@"
step "quickstart" quickstart
[ ! -x build/release/bin/rsr-serve ] ||
    step "quickstart --serve" python3 tests/serve/quickstart.py ${openai_python:+"$openai_python"}
if [ "$long" = yes ]; then
    step "KV index, 1e9 checks" build/release/tests/unit/test_louver_property 1e9
    cat "$log"
    step "exp of all floats" build/release/tests/unit/test_ops all
    cat "$log"
    step "1e9 fused multiply-adds" build/release/tests/unit/test_fused 1e9
    cat "$log"
fi

if [ "$quick" = no ]; then
    step "install" cmake --install build/release --prefix "$PWD/build/stage"
    step "configure (clang, sanitizers, fuzzers)" cmake --preset asan \
        -DCMAKE_C_COMPILER="$(find_clang)" -DRSRC_FUZZERS=ON
    step "build (clang, sanitizers, fuzzers)" cmake --build --preset asan -j "$jobs"
    run_lit "sanitizer" build/asan "$left_to_long|$left_sanitized" --param "cuda=$cuda" --param "gguf_python=$gguf_python" \
        --param "schema_python=$schema_python" --param "openai_python=$openai_python"
    step "threads (ThreadSanitizer)" tests/threads/run.sh
    step "fuzz" fuzz
    cat "$log"
    step "fuzz (requests)" fuzz_serve
    cat "$log"
    passed=$((passed + $(fuzz_targets | wc -l)))
fi

trap - EXIT
echo "check.sh: all tests passed"
[ "$skipped" -eq 0 ] && echo "$passed passed, $failed failed" ||
    echo "$passed passed, $failed failed, $skipped skipped"
