#!/bin/sh
# usage: tests/cuda/ptx_models.sh [--variant=V] BUILD CUDA FOLDER LAYERS MODEL...
#
# Compiles models to PTX and for the CPU, and runs the kernels of both with 1 to 9 tokens (of fold and
# segment, up to 40): the bits must be equal. --variant forces one for all layers. CUDA is a toolkit, or
# "none" for clang; LAYERS a regular expression as --layers takes it. A model whose activations are
# floats has no GPU kernels; its refusal is printed. Goes on after a failure. FOLDER is emptied.
set -eu
. "$(dirname "$0")/../help.sh"
variant=
case $1 in
--variant=*) variant=--variant=*=${1#*=} && shift ;;
esac
build=$1 cuda=$2 folder=$3 layers=$4
shift 4
rm -rf "$folder"
mkdir -p "$folder"
failed=0
for model; do
    name=$(basename "$model")
    log=$folder/$name.log
    if ! "$build/bin/rsrc" "$model" --target=sm_90 --emit=ptx --cuda-path="$cuda" --layers="$layers" \
        ${variant:+"$variant"} -o "$folder/$name/" >"$log" 2>&1; then
        if ! grep 'int8 activations, not floats' "$log"; then
            cat "$log"
            failed=1
        fi
        continue
    fi
    # Reductions leave rows and columns out of the CPU's matrices.
    "$build/bin/rsrc" "$model" --target=generic --no-reduce -o "$folder/$name.so" >>"$log" 2>&1
    "$build/tests/cuda/ptx_run" "$folder/$name" "$folder/$name.so" >>"$log" 2>&1 || failed=1
    grep 'wrong\|CPU' "$log" | sed "s/^/$name: /"
done
exit "$failed"
