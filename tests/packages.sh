#!/bin/sh
# Builds the Debian packages and tries them in a bare Debian 12.
set -eu

usage() {
    cat <<'TEXT'
usage: tests/packages.sh [--no-install] [--help]

Makes the packages (build/package/*.deb), has lintian look at them, makes a bare Debian 12 with
debootstrap (build/chroot), and there installs them with what they depend on and nothing else,
compiles the bundled model without a C compiler, runs it, builds the examples, and removes the
packages again. Needs root, and a mirror: $MIRROR, or deb.debian.org.

  --no-install  do not install what this script needs
TEXT
}

install=yes
for arg in "$@"; do
    case $arg in
    --no-install) install=no ;;
    --help | -h) usage; exit 0 ;;
    *) echo "packages.sh: unknown option '$arg'; --help lists the options" >&2; exit 1 ;;
    esac
done

cd "$(dirname "$0")/.."
. examples/setup.sh
mkdir -p build
log=build/packages.log root=$PWD/build/chroot
trap '[ $? -eq 0 ] || echo "packages.sh: FAILED"' EXIT

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

# Runs a shell command in the bare system. Its mounts and processes end with it.
inside() {
    unshare --mount --pid --fork --kill-child sh -c \
        'mount -t proc proc "$1/proc" && exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            LC_ALL=C.UTF-8 HOME=/root DEBIAN_FRONTEND=noninteractive sh -euc "$2"' sh "$root" "$1"
}

# Steps are one chain each: under `if`, `set -e` stops none of them.
make_packages() {
    rm -f build/package/*.deb && cmake --preset package && cmake --build --preset package -j "$(nproc)" &&
        cpack --preset package
}

make_chroot() {
    rm -rf "$root" && debootstrap --variant=minbase bookworm "$root" "${MIRROR:-http://deb.debian.org/debian}" &&
        mkdir "$root/debs" && cp build/package/*.deb "$root/debs/" &&
        { [ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$root/etc/"; } &&
        inside 'apt-get update -q'
}

apt_inside() {
    inside "apt-get $* -y -q --no-install-recommends"
}

# The sample of the README: the same bits on every machine.
speak() {
    inside 'cd /tmp && rsrc /usr/share/doc/rsrc/examples/model/kjv --target native -o kjv.so
        rsr-run kjv.so -p "In the beginning" -n 90 --temp 0.75 --top-k 40 --repeat-penalty 1.1 --seed 8' &&
        grep -q '^ is before me' "$log"
}

# What compiles, assembles or links C is not there, nor what that would link with.
has_no_compiler() {
    inside 'for tool in cc gcc clang clang-19 as ld; do if command -v "$tool"; then exit 1; fi; done
        for file in /usr/lib/*/crti.o /usr/lib/*/libc.so /usr/include/stdio.h; do if [ -e "$file" ]; then exit 1; fi; done'
}

# A module's needs: libc and libm, and on AArch64 the loader, which has the stack
# protector's guard.
needs_little() {
    objdump -p "$root/tmp/kjv.so" | awk '$1 == "NEEDED" { print $2 }' >build/needed
    cat build/needed
    ! grep -v -x 'lib[cm]\.so\.6\|ld-linux-aarch64\.so\.1' build/needed
}

# systemd accepts the service's file, and a server started from it answers.
serve() {
    apt_inside install curl systemd &&
        inside 'systemd-analyze verify --man=no rsr-serve.service
            cd /tmp && sed -e "s|/srv/models/tiny.so|/tmp/kjv.so|" /usr/share/doc/rsrc/rsr-serve.yaml >/etc/rsr-serve.yaml
            rsr-serve --config /etc/rsr-serve.yaml & server=$!
            curl -s --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8080/v1/models
            kill $server; wait $server' &&
        grep -q '"id":"tiny"' "$log"
}

embed() {
    apt_inside install gcc libc6-dev pkg-config /debs/librsr0_*.deb /debs/librsr-dev_*.deb &&
        inside 'cd /tmp && examples=/usr/share/doc/librsr-dev/examples
            cc $examples/embed-c/main.c $(pkg-config --cflags --libs rsr) -o embed
            ./embed kjv.so "In the beginning" && ldd embed' &&
        grep -q 'librsr\.so\.[0-9]* => /' "$log"
}

embed_compiler() {
    apt_inside install /debs/librsrc-dev_*.deb &&
        cp tests/examples/embed_compiler/embed_compiler.c "$root/tmp/" &&
        inside 'cd /tmp && cc embed_compiler.c $(pkg-config --cflags --libs rsrc) -o embed-compiler
            rsr-mkmodel --preset tiny -o tiny && ./embed-compiler tiny tiny.so && rsr-run tiny.so --info'
}

documents() {
    for deb in build/package/*.deb; do
        package=$(dpkg-deb -f "$deb" Package)
        for file in copyright changelog.gz changelog.Debian.gz; do
            [ -s "$root/usr/share/doc/$package/$file" ] || { echo "no $package/$file"; return 1; }
        done
    done
    for program in rsrc rsr-run rsr-serve rsr-bench rsr-mkmodel; do
        [ -s "$root/usr/share/man/man1/$program.1.gz" ] &&
            bash -n "$root/usr/share/bash-completion/completions/$program" &&
            zsh -n "$root/usr/share/zsh/vendor-completions/_$program" &&
            fish -n "$root/usr/share/fish/vendor_completions.d/$program.fish" || return 1
    done
}

# No file of any package is left, and the loader's cache has no entry for the library.
removed() {
    packages=
    for deb in build/package/*.deb; do
        packages="$packages $(dpkg-deb -f "$deb" Package)"
    done
    apt_inside purge "$packages" || return 1
    for deb in build/package/*.deb; do
        for file in $(dpkg-deb --fsys-tarfile "$deb" | tar -t | grep -v '/$'); do
            [ ! -e "$root/$file" ] && [ ! -L "$root/$file" ] || { echo "left: $file"; return 1; }
        done
    done
    ! inside 'ldconfig -p' | grep librsr
}

[ "$(id -u)" -eq 0 ] || { echo "packages.sh: debootstrap needs root" >&2; exit 1; }
if [ "$install" = yes ]; then
    BUILD_PACKAGES="$BUILD_PACKAGES binutils debootstrap dpkg-dev file fish lintian zsh"
    install_packages build
fi
step "packages" make_packages
step "lintian" lintian --allow-root --fail-on error,warning build/package/*.deb
step "a bare Debian 12" make_chroot
step "install rsrc" apt_inside install /debs/rsrc_*.deb
step "there is no C compiler" has_no_compiler
step "compile and run a model" speak
step "what the model needs" needs_little
step "serve the model" serve
step "librsr-dev: embed it" embed
step "librsrc-dev: embed the compiler" embed_compiler
step "documents" documents
step "remove" removed
rm -rf "$root"
trap - EXIT
echo "packages.sh: all passed"
