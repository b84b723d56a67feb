#!/bin/sh
# usage: ended.sh SIGNAL RANK FOLDER OPTIONS MPIRUN...
# Sends a signal to a rank of three that generate texts with these options of rsr-mpi. Prints what they say, how many seconds they took to end
# ("in time": at most 5), and the processes that are left.
signal=$1 rank=$2 folder=$3 options=$4
shift 4
cd "$folder" || exit 1
rm -f pid.* said text # of an earlier call: the new text tells that all ranks have begun
"$@" -n 3 sh -c 'echo $$ > pid.${OMPI_COMM_WORLD_RANK:-$PMI_RANK}
    exec rsr-mpi m.so -t 1 --delay 2000 --seed 8 '"$options" > text 2> said &
for try in $(seq 300); do
    [ ! -s text ] || break
    sleep 0.1
done
[ -s text ] || { echo "nothing was generated"; cat said; }
begin=$(date +%s%N)
kill "-$signal" "$(cat "pid.$rank")"
wait $!
echo "exit status $?"
ms=$((($(date +%s%N) - begin) / 1000000))
[ "$ms" -gt 5000 ] && echo "$ms ms" || echo "in time"
cat said
# mpirun of MPICH kills all others at once when one has died. It says so on stdout, with the PID of any of them.
grep -a 'BAD TERMINATION' text && echo "mpirun did not say that it was rank $rank"
sleep 0.5
for r in 0 1 2; do # what has ended and was not yet waited for is a zombie
    state=$(ps -o stat= -p "$(cat pid.$r)")
    case $state in "" | Z*) ;; *) echo "rank $r is left: $state" ;; esac
done
