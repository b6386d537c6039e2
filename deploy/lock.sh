# shellcheck shell=bash
# One deploy or restore at a time. A script that reads this file (`. deploy/lock.sh`) holds the lock
# until it and the programs that it started have ended, however they end. If another script holds
# it, this one ends here.
#
# The kernel keeps the lock with the open file 9. macOS has no flock, but its perl can do the same.
lock=.deployed.lock
exec 9>>"$lock"
locked=0
if command -v flock >/dev/null; then
  flock -n 9 || locked=$?
elif command -v perl >/dev/null; then
  perl -e 'use Fcntl ":flock"; open(my $file, ">&=", 9) or exit 2;
    flock($file, LOCK_EX | LOCK_NB) or exit($!{EWOULDBLOCK} ? 1 : 2)' || locked=$?
else
  echo "Install flock (in the package util-linux) or perl: this script needs a lock." >&2
  exit 1
fi
case $locked in
  0) echo "$0, process $$" >"$lock" ;;
  1) holder=$(cat "$lock"); echo "Another deploy or restore is under way: $holder" >&2; exit 1 ;;
  *) echo "$lock can't be locked. Is it on a network file system?" >&2; exit 1 ;;
esac
