#!/bin/sh
# The example daemon through its life: two runs, a restart, a stop in the middle of work, and records that somebody exchanged.
#
#   node_daemon.sh DIRECTORY COMMAND...
set -eu
unset NODE_KEY NODE_CA_FILE
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
  "$@" "$home" "$records" "$threads" >"$home/out" 2>"$home/errors" &
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
