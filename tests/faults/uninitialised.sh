#!/bin/sh
# usage: tests/faults/uninitialised.sh [--long] WORK
#
# Compiles a small model for the target generic (valgrind knows no AVX-512) and generates five tokens, with
# dense attention and through the KV index. Wants rsrc, rsr-mkmodel and rsr-run in PATH. Exit status
# 1 if valgrind reports an error: a use of uninitialised memory, a write of such memory to a file,
# an access out of bounds.
#
#   --long  also, with the LLVM back end: every convention that rsr-mkmodel writes, every type of keys and
#           values, bare matrices, --info, the GGUF files of the fuzzers' corpus, and an embedding model
set -eu
. "$(dirname "$0")/../help.sh"
long=no
case ${1:-} in
--long) long=yes; shift ;;
esac
rm -rf "$1"
mkdir -p "$1"
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$1"

# look PROGRAM ARGUMENT...
look() {
    program=$(command -v "$1")
    shift
    if ! valgrind -q --error-exitcode=9 --num-callers=30 "$program" "$@" >out.log 2>err.log; then
        echo "$program $*"
        tail -n 60 err.log
        exit 1
    fi
    n=$((n + 1))
}

# Checks that valgrind reports a planted error.
printf 'int main(void) { volatile int a[2]; return a[1] != 7 ? 0 : 1; }\n' >read.c
cc -O0 -o read read.c
if valgrind -q --error-exitcode=9 ./read 2>err.log; then
    echo "valgrind does not see memory that nobody has written"
    exit 1
fi

n=0
small="--preset tiny --hidden 32 --ffn 64 --layers 1 --heads 2 --kv-heads 1 --head-dim 16"
# shellcheck disable=SC2086
rsr-mkmodel $small -o model
look rsrc model --target=generic -j1 --backend=c --head-sketch=2 -o model.so
look rsr-run model.so -p "a b c" -n 5 -t 2 --json
look rsr-run model.so -p "a b c" -n 5 -t 2 --temp 0 --attention louver:topk:2,min=1 --kv-type int8
if [ "$long" = yes ]; then
    for convention in bitnet-packed bitnet-online llama-packed 1bitllm-latent trilm-f16; do
        # shellcheck disable=SC2086
        rsr-mkmodel $small --convention "$convention" -o "$convention"
        look rsrc "$convention" --target=generic -j2 --verify-each --cache-dir=cache -o m.so
        for type in f32 bf16 f16 int8; do
            look rsr-run m.so -p "a b c" -n 80 -t 2 --kv-type "$type" --attention louver:mass:1e-2,min=1
        done
        look rsrc "$convention" --info=json
    done
    rsr-mkmodel --matrix 70x50:ternary --matrix 33x90:bit -o mats.safetensors
    look rsrc mats.safetensors --target=generic --input=i8,f32 -o mats.so
    for file in "$root"/tests/fuzz/corpus/gguf/*_*.gguf; do
        look rsrc "$file" --target=generic --activations=int8 -o gguf.so
    done
    look rsrc "$root/tests/golden/embed_gemma3" --target=generic -o embedder.so
fi
echo "$n runs under valgrind, nothing to report"
