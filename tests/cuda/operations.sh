#!/bin/sh
# Compiles operations.cuh, fused.cuh and head.cuh of cuda/kernels as emit/ptx/clang.c compiles kernels, and runs it on the fake libcuda.
#
# usage: operations.sh SOURCE BUILD FOLDER [SED-SCRIPT]
# With a script, the kernels are changed by it first; a script that changes nothing, or into what does not
# compile, is an error (status 3).
set -e
source=$1 build=$2 folder=$3
mkdir -p "$folder"
cd "$source/cuda/kernels"
cp operations.cuh fused.cuh head.cuh activations.cuh instructions.cuh "$source/cuda/clang/clang_device.cuh" "$folder"
if [ -n "$4" ]; then
    sed -i "$4" "$folder/operations.cuh" "$folder/fused.cuh" "$folder/head.cuh"
    cat operations.cuh fused.cuh head.cuh > "$folder/right"
    ! (cd "$folder" && cat operations.cuh fused.cuh head.cuh) | cmp -s - "$folder/right" || exit 3
fi
cd "$folder"
printf '#include "%s"\n' fused.cuh head.cuh > operations.cu
clang=$(command -v clang-19 || command -v clang)
"$clang" -x cuda --cuda-device-only --cuda-gpu-arch=sm_80 --cuda-feature=+ptx70 -nocudainc -nocudalib -nostdinc \
    -Wno-unknown-cuda-version -std=c++17 -O3 -ffp-contract=off -fno-gpu-flush-denormals-to-zero \
    -include clang_device.cuh -S operations.cu -o operations.ptx || exit 3
export LD_LIBRARY_PATH="$build/tests/cuda/fake_cuda"
exec "$build/tests/cuda/operations_on_cuda" operations.ptx
