#!/bin/sh
# usage: tests/threads/run.sh [--races] [ROUNDS]
#
# Builds the runtime with ThreadSanitizer (preset tsan; clang, whose OpenMP library tells the sanitizer
# what it does), compiles a small model as C with it, too, and lets several threads share its engine,
# with dense attention and through the KV index, and six prompts join and leave the loop of
# examples/serve-loop, one of them cancelled; the scheduler of rsr-serve serves random jobs, and its clients come,
# wait and leave. ROUNDS (3) times each. Wants build/release. Exit status 1 if a race or a wrong bit was found.
#
#   --races  also removes a lock or an order from a copy of the sources, one at a time, and expects
#            that a race is reported: half a minute each
set -eu
. "$(dirname "$0")/../help.sh"
races=no
case ${1:-} in
--races) races=yes; shift ;;
esac
rounds=${1:-3}
cd "$(dirname "$0")/../.."
. examples/setup.sh
source=$PWD
work=$source/build/tsan/module
release=$source/build/release/bin
log=$source/build/tsan/threads.log
cc=$(find_clang)
# With its own exit code, the sanitizer would end a process before the OpenMP library has cleaned
# up.
export OMP_TOOL_LIBRARIES=libarcher.so TSAN_OPTIONS="ignore_noninstrumented_modules=1 exitcode=0"
LD_LIBRARY_PATH=$("$cc" -print-resource-dir)/../..${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH

# build DIR: the runtime and the programs of the sources in DIR, with their module.
build() {
    (cd "$1" && cmake --preset tsan -DCMAKE_C_COMPILER="$cc" >build.log 2>&1 &&
        cmake --build build/tsan --target many_callers forked_indices serve_loop scheduler_jobs http_replies \
            rsr_module >build.log 2>&1) ||
        { tail -n 30 "$1/build.log"; exit 1; }
    rm "$1/build.log"
    "$cc" -fsanitize=thread -shared -fuse-ld=lld "$work"/*.o \
        "$1"/build/tsan/lib/rsrc/*/librsr_module.a @"$(echo "$1"/build/tsan/lib/rsrc/*/link.args)" \
        -Wl,--version-script="$work/map" -lm -o "$1/build/tsan/model.so"
}

# look DIR ROUNDS: runs every program in every way; false if one reports something.
look() {
    programs=$1/build/tsan/tests/threads
    for way in "dense bf16" "dense int8" "louver:topk:8,min=1 bf16" \
        "louver:mass:1e-3,min=16,sinks=2,window=8 f32"; do
        # shellcheck disable=SC2086
        passes "$programs/many_callers" "$1/build/tsan/model.so" $way "$2" || return 1
    done
    passes "$programs/forked_indices" $(($2 * 20)) || return 1
    for _ in $(seq "$2"); do
        passes "$programs/serve_loop" "$1/build/tsan/model.so" 150 && served || return 1
    done
    passes "$1/build/tsan/tests/serve/scheduler_jobs" "$1/build/tsan/model.so" "$2" || return 1
    passes env TSAN_OPTIONS="$TSAN_OPTIONS halt_on_error=1" python3 tests/serve/http_replies.py \
        "$1/build/tsan/tests/serve/http_replies" "$2" || return 1
}

# Five requests got all their tokens, 150; one was cancelled before that.
served() {
    [ "$(grep -c -a '^\[length\]' "$log")" = 5 ] && [ "$(grep -c -a '^\[cancelled\]' "$log")" = 1 ]
}

limit=0 # seconds that a program may take; 0: any number
# passes PROGRAM ARGUMENT...: runs the program and shows its output; false if it fails, or the
# sanitizer reports something.
passes() {
    timeout "$limit" "$@" >"$log" 2>&1 || return 1
    cat "$log"
    ! grep -q 'WARNING: ThreadSanitizer' "$log"
}

# expect FILE EXPRESSION: the copy with one line of FILE changed by sed must be reported.
expect() {
    sed -i "$2" "$copy/$1"
    if cmp -s "$source/$1" "$copy/$1"; then
        echo "$1: nothing is changed by $2"
        exit 1
    fi
    build "$copy"
    if look "$copy" 10 >/dev/null || ! grep -q 'ThreadSanitizer: data race' "$log"; then
        tail -n 20 "$log"
        echo "not reported: $2 of $1"
        exit 1
    fi
    cp "$source/$1" "$copy/$1"
    echo "reported: $2 of $1"
}

rm -rf "$work"
mkdir -p "$work"
"$release/rsr-mkmodel" --preset tiny -o "$work/model"
"$release/rsrc" "$work/model" --target=generic --head-sketch=2 --emit=c -o "$work/c/"
(cd "$work/c" && ls ./*.c ./*.S | xargs -P "$(nproc)" -n 1 "$cc" -fsanitize=thread -O1 -g1 -fPIC -c)
mv "$work"/c/*.o "$work"
echo '{ global: rsr_module_query; local: *; };' >"$work/map"
build "$source"
look "$source" "$rounds" || { cat "$log"; exit 1; }

[ "$races" = yes ] || exit 0
limit=120 # a program without a lock may wait forever after the race is reported
copy=$source/build/tsan/races
rm -rf "$copy"
mkdir -p "$copy"
tar cf - --exclude=./build --exclude=./.git --exclude=./examples/model . | tar xf - -C "$copy"
expect runtime/src/louver/louver_shelf.c 's/memory_order_acq_rel/memory_order_relaxed/'
unlocked='s/pthread_mutex_\(un\)\?lock(&engine->lock)/(void)0/'
expect runtime/src/engine/eval.c "$unlocked"
expect runtime/src/engine/sequence.c "$unlocked"
expect runtime/src/engine/profile.c "$unlocked"
expect runtime/src/engine/prefix_cache.c "$unlocked"
expect runtime/src/engine/engine.c 's/pthread_mutex_\(un\)\?lock(lock)/(void)lock/'
expect runtime/src/host/barrier.c 's/atomic_load_explicit(&signal->value, memory_order_acquire)/atomic_load_explicit(\&signal->value, memory_order_relaxed)/'
expect runtime/serve/http.c 's/pthread_mutex_\(un\)\?lock(&peer->http->lock)/(void)0/'
expect examples/serve-loop/main.c \
    's/atomic_fetch_add(&s->n_joined, 1)/atomic_fetch_add_explicit(\&s->n_joined, 1, memory_order_relaxed)/'
