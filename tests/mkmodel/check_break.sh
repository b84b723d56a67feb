#!/bin/sh
# check_break.sh WORK_DIR - makes every broken checkpoint that rsr-mkmodel knows and compiles it.
#
# Each must end with exit status 1 (not a signal, not an internal error), exactly the diagnostic
# that the table promises, nothing on stdout, and no control bytes of a hostile name on stderr.
set -u
work=$1
rm -rf "$work"
mkdir -p "$work"
rsr-mkmodel --list-breaks > "$work/list" || exit 1
failed=0
escape=$(printf '\033')
while read -r kind slug; do
    model=$work/$kind
    if ! rsr-mkmodel --preset tiny --break "$kind" -o "$model"; then
        echo "$kind: rsr-mkmodel failed"
        failed=1
        continue
    fi
    rsrc --emit=report --target generic -o - "$model" > "$work/out" 2> "$work/err"
    status=$?
    problem=
    [ "$status" -eq 1 ] || problem="exit status $status"
    grep -q "error: .*\[$slug\]\$" "$work/err" || problem="$problem, no [$slug]"
    [ ! -s "$work/out" ] || problem="$problem, something on stdout"
    ! grep -q "$escape" "$work/err" || problem="$problem, a raw escape on stderr"
    if [ -n "$problem" ]; then
        echo "$kind: $problem"
        cat "$work/err"
        failed=1
    fi
    rm -rf "$model"
done < "$work/list"
echo "$(grep -c . "$work/list") kinds"
exit $failed
