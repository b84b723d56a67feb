# help.sh - for scripts to source: answers --help with the comment at the beginning of the script.
case ${1:-} in
--help | -h) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
