#!/bin/sh
# A long run that is cut short: by an interrupt, by kill -9 of the worker and of the program itself, and by a disk that
# fills up. What was found so far is in the record, `--resume` goes on from there, and no kernel is blamed.
set -eu
build=${PLUMB_BUILD_DIR:-build}
build=$(cd "$build" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

fail() {
  echo "$*" >&2
  exit 1
}
# The number of cases that the record as a whole counts.
cases_of() { grep -m1 '"cases"' "$1" | tr -dc 0-9; }
await() { # FILE: until it is there
  for _ in $(seq 300); do
    [ -s "$1" ] && return 0
    sleep 0.1
  done
  fail "$1 was not written within 30 s"
}

# 1. Interrupted: the record is whole, says so, and the process ends by the signal.
"$build/plumb" verify 'relu.forward/plain@cpu' --time 120s --json int.json >int.txt 2>&1 &
run=$!
sleep 1.5
kill -INT $run
code=0
wait $run || code=$?
[ "$code" = 130 ] || fail "SIGINT: exit code $code, expected 130"
grep -q '"stopped": "SIGINT"' int.json || fail "SIGINT: the record does not say so"
grep -q 'unfinished: stopped by SIGINT' int.txt || fail "SIGINT: the table does not say so"
[ "$(cases_of int.json)" -gt 0 ] || fail "SIGINT: no cases in the record"

# 2. Killed: what was written on the way is whole; the rest of the time is resumed, and adds to it.
"$build/plumb" verify 'relu.forward/plain@cpu' 'linear.backward_bias/plain@cpu' --time 5s --json killed.json --quiet &
run=$!
await killed.json
sleep 0.2
kill -9 $run
wait $run 2>/dev/null || true
before=$(cases_of killed.json)
[ "$before" -gt 0 ] || fail "kill -9: no cases in the record"
"$build/plumb" report killed.json -o rendered >/dev/null || fail "kill -9: the record does not render"
"$build/plumb" verify --resume killed.json >resumed.txt || fail "resume: exit code $?"
after=$(cases_of killed.json)
[ "$after" -gt "$before" ] || fail "resume: $after cases, $before before"
grep -q 'unfinished' killed.json && fail "resume: still unfinished"
grep -q '2 pass' resumed.txt || fail "resume: expected 2 kernels to pass"
code=0
"$build/plumb" verify --resume killed.json 2>again.txt || code=$?
[ "$code" = 2 ] && grep -q 'no unfinished run' again.txt || fail "resume of a finished run: exit code $code"

# 3. The worker is killed from outside, again and again: no kernel is blamed.
"$build/plumb" verify 'relu.forward/plain@cpu' --time 3s --json worker.json --quiet &
run=$!
for _ in 1 2 3 4 5; do
  sleep 0.3
  for worker in $(cat /proc/$run/task/$run/children 2>/dev/null); do kill -9 "$worker" 2>/dev/null || true; done
done
wait $run || fail "kill -9 of the worker: exit code $?"
grep -q '"verdict": "pass"' worker.json || fail "kill -9 of the worker: no pass"

# 4. The disk fills up on the way: the run goes on, the last whole record stays, the end says that it is lost.
mkdir disk
"$build/plumb" verify 'relu.forward/plain@cpu' --time 5s --json disk/full.json >full.txt 2>full.err &
run=$!
await disk/full.json
mv disk kept
ln -s /dev/full disk # nothing can be written there any more
code=0
wait $run || code=$?
[ "$code" = 3 ] || fail "full disk: exit code $code, expected 3"
grep -q 'pass .*relu.forward/plain@cpu' full.txt || fail "full disk: the table is missing"
[ "$(grep -c 'goes on' full.err)" = 1 ] || fail "full disk: expected one warning"
[ "$(cases_of kept/full.json)" -gt 0 ] || fail "full disk: no cases in the record that was written before"
"$build/plumb" verify --resume kept/full.json --quiet || fail "full disk: the record cannot be resumed"
