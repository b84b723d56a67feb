#!/bin/sh
# usage: tests/packages.sh [--no-install]
#
# Builds the Debian packages and tries them in a bare Debian 12: makes them (build/package/*.deb), has lintian look at
# them, and with debootstrap makes a bare system (build/chroot-packages). There it installs them with what they depend
# on and nothing else, compiles the bundled model without a C compiler, runs it, builds the examples, and removes the
# packages again. Needs root, and a mirror: $MIRROR, or deb.debian.org.
#
#   --no-install  do not install what this script needs
set -eu
options="--no-install"
. "$(dirname "$0")/steps.sh"

make_packages() {
    rm -f build/package/*.deb && cmake --preset package && cmake --build --preset package -j "$(nproc)" &&
        cpack --preset package
}

make_chroot() {
    make_bare && mkdir "$root/debs" && cp build/package/*.deb "$root/debs/" &&
        { [ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$root/etc/"; } &&
        inside 'apt-get update -q'
}

apt_inside() {
    inside "apt-get $* -y -q --no-install-recommends"
}

speak() {
    inside "cd /tmp && rsrc /usr/share/doc/rsrc/examples/model/kjv --target native -o kjv.so
        rsr-run kjv.so -p 'In the beginning' $sample" && has_sample
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

# Two processes give the bytes of one, and serve together; as root, Open MPI wants to be told.
ranks() {
    apt_inside install /debs/rsrc-mpi_*.deb &&
        inside 'cd /tmp && export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
            mpirun="mpirun --oversubscribe -n 2"
            rsr-run kjv.so -p "In the beginning" -n 40 --seed 8 >one
            $mpirun rsr-mpi kjv.so -t 1 --force -p "In the beginning" -n 40 --seed 8 >two && cmp one two
            $mpirun rsr-serve --mpi --threads 1 --port 8081 tiny=kjv.so & server=$!
            curl -s --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8081/v1/models
            kill -USR1 $server; wait $server' &&
        grep -q '"id":"tiny"' "$log"
}

documents() {
    for deb in build/package/*.deb; do
        package=$(dpkg-deb -f "$deb" Package)
        for file in copyright changelog.gz changelog.Debian.gz; do
            [ -s "$root/usr/share/doc/$package/$file" ] || { echo "no $package/$file"; return 1; }
        done
    done
    for program in rsrc rsr-run rsr-serve rsr-bench rsr-mkmodel rsr-mpi; do
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

need_root
if ! is_given --no-install; then
    BUILD_PACKAGES="$BUILD_PACKAGES binutils debootstrap dpkg-dev file fish libopenmpi-dev lintian zsh"
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
step "rsrc-mpi: two ranks" ranks
step "documents" documents
step "remove" removed
rm -rf "$root"
trap - EXIT
echo "packages.sh: all passed"
