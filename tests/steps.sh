# steps.sh - for tests of packages to source. It goes to the project's root and checks the command line: $options lists
# what the script takes. It has steps, whose output is in $log, and a bare Debian 12 in $root.
. "$(dirname "$0")/help.sh"
script=$(basename "$0" .sh) given=
for arg in "$@"; do
    case " $options " in
    *" $arg "*) given="$given $arg" ;;
    *) echo "$script.sh: unknown option '$arg'; --help lists the options" >&2; exit 1 ;;
    esac
done
cd "$(dirname "$0")/.."
. examples/setup.sh
mkdir -p build
log=$PWD/build/$script.log root=$PWD/build/chroot-$script
trap '[ $? -eq 0 ] || echo "$script.sh: FAILED"' EXIT

# is_given OPTION: whether the command line has it.
is_given() {
    case " $given " in
    *" $1 "*) ;;
    *) return 1 ;;
    esac
}

# step TITLE COMMAND...: runs a command with its output in the log; shows the end of it on failure. The functions that
# it runs are one chain of commands each: under `if`, `set -e` stops none of them.
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

# The README's sample of the bundled model, which continues "In the beginning": the same bits on every machine.
sample='-n 90 --temp 0.75 --top-k 40 --repeat-penalty 1.1 --seed 8'
has_sample() {
    grep -q '^ is before me' "$log"
}

need_root() {
    [ "$(id -u)" -eq 0 ] || { echo "$script.sh: debootstrap needs root" >&2; exit 1; }
}

# make_bare [OPTION]: makes the bare system, with an option for debootstrap.
make_bare() {
    rm -rf "$root" && debootstrap --variant=minbase "$@" bookworm "$root" "${MIRROR:-http://deb.debian.org/debian}"
}

# Runs a shell command in the bare system. Its mounts and processes end with it.
inside() {
    unshare --mount --pid --fork --kill-child sh -c \
        'mount -t proc proc "$1/proc" && exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            LC_ALL=C.UTF-8 HOME=/root DEBIAN_FRONTEND=noninteractive sh -euc "$2"' sh "$root" "$1"
}

# What compiles, assembles or links C is not in the bare system, nor what that would link with.
has_no_compiler() {
    inside 'for tool in cc gcc clang clang-19 as ld; do if command -v "$tool"; then exit 1; fi; done
        for file in /usr/lib/*/crti.o /usr/lib/*/libc.so /usr/include/stdio.h; do if [ -e "$file" ]; then exit 1; fi; done'
}
