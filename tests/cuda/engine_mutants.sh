#!/bin/sh
# Breaks the runtime's files for GPUs one by one, and evaluates models with each broken runtime on the fake driver:
# engine_bits must notice all.
#
# usage: engine_mutants.sh SOURCE BUILD FOLDER CC MODULE.so... < MUTANTS
#
# A line of MUTANTS is a file of runtime/src/cuda and a sed script. A script that changes nothing, or into what does
# not compile, is an error. The unbroken runtime is tried first.
set -e
source=$1 build=$2 folder=$3 cc=$4
shift 4
mkdir -p "$folder"
export LD_LIBRARY_PATH="$build/tests/cuda/fake_cuda" FAKE_CUDA_PINNED=1

compile() { "$cc" -std=gnu11 -O1 -w -D_GNU_SOURCE -I"$source/runtime/include" -I"$source/runtime/src" "$@"; }

# Links engine_bits with its own runtime, of which these objects come first.
link() {
    "$cc" -o "$folder/bits" "$folder/bits.o" "$@" "$build/lib/librsr_module_core.a" "$build/lib/librsr.a" \
        $(pkg-config --libs libpcre2-8 libutf8proc) -lm -lpthread -ldl
}

# Whether all modules have the CPU's bits.
evaluate() {
    for module in $modules; do
        timeout 100 "$folder/bits" "$module" short > "$folder/said" 2>&1 || return 1
    done
}

modules=$*
compile -DOWN_RUNTIME -c "$source/tests/cuda/engine_bits.c" -o "$folder/bits.o"
link
evaluate || { echo "the runtime is broken"; cat "$folder/said"; exit 1; }
n=0
while read -r file script; do
    sed "$script" "$source/runtime/src/cuda/$file" > "$folder/$file"
    ! cmp -s "$source/runtime/src/cuda/$file" "$folder/$file" || { echo "$file: $script changes nothing"; exit 1; }
    compile -I"$source/runtime/src/cuda" -c "$folder/$file" -o "$folder/mutant.o"
    link "$folder/mutant.o"
    ! evaluate || { echo "$file: $script survives"; exit 1; }
    n=$((n + 1))
done
echo "$n mutants noticed"
