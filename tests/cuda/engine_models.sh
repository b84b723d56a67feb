#!/bin/sh
# Compiles models for a GPU and a CPU, and evaluates them on both: engine_bits.
#
# usage: engine_models.sh BUILD CUDA FOLDER short|long MODEL...
#
# CUDA is rsrc's --cuda-path: a toolkit, or none for clang. Models that no GPU takes are passed over.
set -e
build=$1 cuda=$2 folder=$3 length=$4
shift 4
mkdir -p "$folder"
export LD_LIBRARY_PATH="$build/tests/cuda/fake_cuda" FAKE_CUDA_PINNED=1
n=0
for model; do
    module=$folder/$(basename "$model").so
    if "$build/bin/rsrc" "$model" --target=sm_90,generic --cuda-path="$cuda" -o "$module" 2> "$module.said"; then
        echo "$model"
        "$build/tests/cuda/engine_bits" "$module" "$length"
        n=$((n + 1))
    elif grep -q '\[gpu-input\]' "$module.said"; then
        echo "$model: passed over: $(grep '\[gpu-input\]' "$module.said")"
    else
        cat "$module.said"
        exit 1
    fi
done
echo "$n models, all the CPU's"
