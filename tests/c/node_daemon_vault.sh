#!/bin/sh
# The example daemon with a key in a vault: two runs, and a key that its owner disables. Runs below with_fake_vault.
#
#   node_daemon_vault.sh DIRECTORY WITH-FAKE-VAULT COMMAND...
set -eu
home=$1 vault=$2
shift 2
rm -rf "$home"
mkdir -p "$home"

fail() {
  echo "node_daemon_vault.sh: $1" >&2
  cat "$home/out" "$home/errors" >&2
  exit 1
}

# start RECORDS COMMAND...
start() {
  records=$1
  shift
  : >"$home/out"
  "$@" "$home" "$records" 4 >"$home/out" 2>"$home/errors" &
  daemon=$!
}

wait_for_idle() {
  tries=0
  until grep -q '^idle$' "$home/out"; do
    tries=$((tries + 1))
    [ $tries -lt 1200 ] || fail "it isn't idle"
    kill -0 "$daemon" 2>/dev/null || fail 'it ended before it was idle'
    sleep 0.05
  done
}

stop() {
  kill -TERM "$daemon"
  wait "$daemon" || fail 'it did not end cleanly'
}

start 20 "$@"
wait_for_idle
grep -q '^keyring: vault key, as auto: client secret ' "$home/out" || fail 'another key'
stop
[ ! -e "$home/keys" ] || fail 'it made local keys'

# It opens what it wrote: the vault unwraps its data key again.
start 0 "$@"
wait_for_idle
grep -q '^records: 20 read$' "$home/out" || fail 'not all records were read'
stop
grep -q '"operation":"unwrap".*"outcome":"ok"' "$home/audit.jsonl" || fail 'no unwrap in its audit log'

# Without the key it doesn't.
"$vault" --enabled 0
start 0 "$@"
! wait "$daemon" || fail 'records were read without their key'
grep -q CMK_ERR_KEY_DISABLED "$home/errors" || fail 'another error than expected'
