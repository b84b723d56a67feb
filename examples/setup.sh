# setup.sh - shared by examples/quickstart.sh and tests/check.sh: installs Debian packages and finds
# tools. Source it from the project's root.

BUILD_PACKAGES="cmake ninja-build pkg-config gcc libc6-dev llvm-19-dev lld-19 libyaml-dev libjansson-dev libmicrohttpd-dev libpcre2-dev libutf8proc-dev zlib1g-dev libzstd-dev libxml2-dev python3"
TEST_PACKAGES="g++ clang-format-14 clang-19 libclang-rt-19-dev libomp-19-dev llvm-19-tools python3-venv binutils curl jq locales strace valgrind chromium chromium-driver libopenmpi-dev openmpi-bin"
# For AArch64: a C compiler, the emulator, and the libraries of the runtime and rsr-run. On an AArch64 machine the
# native compiler is used, because Debian has no cross compiler for it.
CROSS_PACKAGES="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
[ "$(uname -m)" != aarch64 ] || CROSS_PACKAGES=
CROSS_LIBRARIES="libpcre2-dev libutf8proc-dev libjansson-dev"

# install_packages build [test]: installs what is missing, asks for nothing.
install_packages() {
    packages=$BUILD_PACKAGES
    [ "${2:-}" != test ] || packages="$packages $TEST_PACKAGES $CROSS_PACKAGES"
    missing=
    for package in $packages; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "These packages are needed (names of Debian 12):$missing" >&2
        echo "Install them and run again with --no-install." >&2
        return 1
    fi
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    echo "Installing:$missing"
    # shellcheck disable=SC2086
    $sudo apt-get update -q >build/apt.log 2>&1 &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
            $missing >>build/apt.log 2>&1 || {
        tail -n 20 build/apt.log >&2
        echo "Installing packages failed; see build/apt.log." >&2
        return 1
    }
}

# unpack_sysroot DIR PACKAGE...: unpacks arm64 packages under DIR. apt keeps its own lists and packages there, so this
# machine neither installs them nor gets another architecture. It needs no root.
unpack_sysroot() {
    sysroot=$1; shift
    [ ! -e "$sysroot/complete" ] || return 0
    rm -rf "$sysroot"
    mkdir -p "$sysroot/apt/lists/partial" "$sysroot/apt/debs"
    sysroot=$(cd "$sysroot" && pwd)
    apt_options="-q -o APT::Architectures::=arm64 -o APT::Sandbox::User= \
        -o Dir::State::lists=$sysroot/apt/lists -o Dir::Cache=$sysroot/apt"
    # shellcheck disable=SC2086,SC2046
    apt-get $apt_options update &&
        (cd "$sysroot/apt/debs" && apt-get $apt_options download \
            $(printf '%s:arm64 ' "$@")) || return 1
    for deb in "$sysroot"/apt/debs/*.deb; do
        dpkg-deb -x "$deb" "$sysroot" || return 1
    done
    rm -rf "$sysroot/apt"
    touch "$sysroot/complete"
}

# lit comes with llvm-19-tools as a source tree.
find_lit() {
    for LIT in /usr/lib/llvm-19/build/utils/lit/lit.py "$(command -v lit || true)"; do
        [ -z "$LIT" ] || [ ! -e "$LIT" ] || return 0
    done
    echo "lit was not found: install llvm-19-tools." >&2
    return 1
}

find_clang() {
    command -v clang-19 || command -v clang
}
