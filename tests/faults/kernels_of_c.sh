#!/bin/sh
# usage: tests/faults/kernels_of_c.sh [TEST...]
#
# Runs unit tests of kernels (all by default) in build/asan, with the C back end's code compiled by clang
# with AddressSanitizer and UndefinedBehaviorSanitizer: every shape, alphabet and machine that this CPU runs,
# compared with the reference. Takes some minutes of one core a test. Exit status 1 if one failed.
set -eu
. "$(dirname "$0")/../help.sh"
cd "$(dirname "$0")/../.."
. examples/setup.sh
[ $# -ne 0 ] || set -- test_kernels test_fold test_lut test_dot_panel test_listed test_float_kernels \
    test_reduce_kernels test_kernel_ops
TEST_KERNEL_CC=$PWD/build/asan/tests/kernel-cc
export TEST_KERNEL_CC RSRC_TEST_LONG=1
cat >"$TEST_KERNEL_CC" <<TEXT
#!/bin/sh
exec $(find_clang) "\$@" -O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-sanitize=function
TEXT
chmod +x "$TEST_KERNEL_CC"
export ASAN_OPTIONS=detect_leaks=0
for test; do
    build/asan/tests/unit/"$test" || exit 1
done
