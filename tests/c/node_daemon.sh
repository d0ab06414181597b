#!/bin/sh
# The example daemon through its life: two runs, a restart, a stop in the middle of work, records that somebody exchanged, and jobs with scratch disks.
#
#   node_daemon.sh DIRECTORY COMMAND...
set -eu
unset NODE_KEY NODE_CA_FILE NODE_NBD
home=$1
shift
rm -rf "$home"
mkdir -p "$home"

fail() {
  echo "node_daemon.sh: $1" >&2
  cat "$home/out" "$home/errors" >&2
  exit 1
}

# start RECORDS THREADS COMMAND...
start() {
  records=$1 threads=$2
  shift 2
  # Not the lines of the run before.
  : >"$home/out"
  "$@" "$home" "$records" "$threads" <"${commands:-/dev/null}" >"$home/out" 2>"$home/errors" &
  daemon=$!
}

wait_for() {
  tries=0
  until grep -q "$1" "$home/out"; do
    tries=$((tries + 1))
    [ $tries -lt 1200 ] || fail "no '$1'"
    kill -0 "$daemon" 2>/dev/null || fail "it ended before '$1'"
    sleep 0.05
  done
}

stop() {
  kill -TERM "$daemon"
  wait "$daemon" || fail "it did not end cleanly"
  grep -q "^written: $1$" "$home/out" || fail "it did not write $1"
}

start 300 8 "$@"
wait_for '^idle$'
grep -q '^keyring: new key$' "$home/out" || fail 'no new key'
grep -q '^records: 0 read$' "$home/out" || fail 'records at the first start'
stop 300

# It opens what it wrote, and goes on.
start 100 4 "$@"
wait_for '^idle$'
grep -q '^keyring: existing key$' "$home/out" || fail 'another key'
grep -q '^records: 300 read$' "$home/out" || fail 'not all records were read'
stop 100

# Stopped in the middle of work, it leaves whole records only.
start 100000000 8 "$@"
wait_for '^threads: 8$'
sleep 0.3
stop '[0-9]*'
start 0 1 "$@"
wait_for '^idle$'
stop 0

# A record in the place of another is noticed.
mv "$home/records/00000001.cmk" "$home/records/swap"
mv "$home/records/00000002.cmk" "$home/records/00000001.cmk"
mv "$home/records/swap" "$home/records/00000002.cmk"
start 0 1 "$@"
! wait "$daemon" || fail 'exchanged records were read'
grep -q CMK_ERR_AUTHENTICATION "$home/errors" || fail 'another error than expected'

# Jobs. The commands come through a pipe that this shell keeps open.
mv "$home/records/00000002.cmk" "$home/records/swap"
mv "$home/records/00000001.cmk" "$home/records/00000002.cmk"
mv "$home/records/swap" "$home/records/00000001.cmk"
commands=$home/commands
mkfifo "$commands"
exec 3<>"$commands"
case "$1" in
# It runs one thread at a time, also while a system call waits for a file system that another thread serves.
*valgrind*) export NODE_NBD=1 ;;
esac
start 0 1 "$@"
wait_for '^idle$'
if [ -n "${NODE_NBD:-}" ]; then
  echo 'skipped below valgrind: mounts'
elif [ "$(id -u)" != 0 ] || [ ! -e /dev/fuse ]; then
  echo 'skipped: without root and FUSE the jobs have NBD exports'
  [ -z "${CI:-}" ] || fail 'in CI disks are mounted'
fi
echo 'begin train-1 64' >&3
wait_for '^job train-1: '
place=$(sed -n 's/^job train-1: //p' "$home/out")
if [ -d "$place" ]; then
  echo 'intermediate results' >"$place/file"
  grep -q ' ext4 ' /proc/mounts || fail 'it is not mounted'
else
  [ -S "$place" ] || fail 'neither a mount nor a socket'
fi
# A second one of that name is refused; what isn't a command harms nothing.
echo 'begin train-1 64' >&3
echo 'what?' >&3
echo 'end train-1' >&3
wait_for '^job train-1 erased: .*"left_behind":\[\]'
grep -q CMK_ERR_BUSY "$home/errors" || fail 'two jobs of one name'
grep -q 'not a command.*what?' "$home/errors" || fail 'what is not a command was taken for one'
[ ! -e "$place" ] || fail 'the disk is still there'
# A signal ends the jobs that run.
echo 'begin train-2 64' >&3
wait_for '^job train-2: '
stop 0
grep -q '^job train-2 erased: .*"local:node/' "$home/out" || fail 'a job was left running'

# What a daemon leaves that is killed is cleaned up by the next one.
start 0 1 "$@"
wait_for '^idle$'
echo 'begin train-3 64' >&3
wait_for '^job train-3: '
place=$(sed -n 's/^job train-3: //p' "$home/out")
kill -KILL "$daemon"
wait "$daemon" || true
start 0 1 "$@"
wait_for '^recovered: train-3$'
wait_for '^idle$'
[ ! -e "$place" ] || fail 'the disk of a daemon that died is still there'
stop 0
exec 3>&-
