#!/bin/sh
# usage: bits.sh SOURCE BUILD FOLDER MPIRUN...
# Every golden model and the bundled one, by 1, 2, 3 and 4 processes that share out rows, and as many as there are
# layers that share out these. The short form takes three of them.
set -eu
source=$1 build=$2 folder=$3
shift 3
models="bitnet_packed bonsai"
[ -z "${RSRC_TEST_LONG:-}" ] || models="bitnet_1bitllm bitnet_online bitnet_packed bonsai bonsai_tied embed_gemma3 \
    embed_qwen3 falcon3 falcon_e llama_packed trilm"
for model in $models kjv; do
    path=$source/tests/golden/$model
    [ "$model" != kjv ] || path=$source/examples/model/kjv
    rsrc "$path" -o "$folder/$model.so" 2>/dev/null
    layers=$(rsr-run --info "$folder/$model.so" | sed -n 's/^layers *//p')
    for n in 1 2 3 4; do
        echo "$model"
        "$@" -n "$n" "$build/tests/e2e/rank_bits_mpi" "$folder/$model.so"
        [ "$n" -le "$layers" ] || continue
        echo "$model, layers"
        RANK_BITS_PIPELINE=1 "$@" -n "$n" "$build/tests/e2e/rank_bits_mpi" "$folder/$model.so"
    done
done
