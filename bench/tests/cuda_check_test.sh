#!/usr/bin/env bash
# bench/cuda_check.sh with programs in place of ours and of compute-sanitizer: what it calls, says and returns.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch"/{bin,build}
export LOG=$scratch/log PATH=$scratch/bin:$PATH

program() { # FILE LINES: notes its call, then does LINES
  printf '#!/usr/bin/env bash\necho "${0##*/} $*" >>"$LOG"\n%s\n' "$2" >"$1"
  chmod +x "$1"
}
program "$scratch/build/plumb" 'exit ${PLUMB_CODE:-0}'
program "$scratch/build/plumb-cuda-check" 'echo table; exit ${CHECK_CODE:-0}'

failures=0
# NAME EXIT SAID CALLED ARGUMENTS…: patterns of what is printed and of what was called.
check() {
  local name=$1 code=$2 said=$3 called=$4 got=0 output
  shift 4
  : >"$LOG"
  output=$("$root/bench/cuda_check.sh" --build "$scratch/build" "$@" 2>&1) || got=$?
  # shellcheck disable=SC2053
  if ((got != code)) || [[ $output != $said || $(cat "$LOG") != $called ]]; then
    printf '%s: exit code %s, printed\n%s\ncalled\n%s\n' "$name" "$got" "$output" "$(cat "$LOG")"
    failures=1
  fi
}
check 'judges, then times' 0 '*table' $'plumb --help\nplumb verify *@cuda --time 300s\nplumb-cuda-check *@cuda'
check 'passes plugins on' 0 '*table' $'*verify --plugin ./mine.so a* --time 7s\nplumb-cuda-check --plugin ./mine.so a\\*' \
  --plugin ./mine.so --time 7 'a*'
CHECK_CODE=1 check 'a wrong kernel' 1 '*table' '*'
PLUMB_CODE=1 check 'without plumb' 0 *'not judged by laws'* $'plumb --help\nplumb-cuda-check *@cuda'
check 'a word too many' 2 *'`--fast` is not understood'* '' --fast
check 'no number' 2 *'`--time x` is not understood'* '' --time x
check 'no sanitizer' 0 'skipped(no compute-sanitizer)' '' --sanitize
program "$scratch/bin/compute-sanitizer" 'exit 0'
check 'every tool' 0 $'memcheck: nothing found\nracecheck: nothing found\ninitcheck: nothing found\nsynccheck: nothing found' \
  "compute-sanitizer --tool memcheck --error-exitcode 86 $scratch/build/plumb-cuda-check --small b*synccheck*" --sanitize b
program "$scratch/bin/compute-sanitizer" '[[ $2 != racecheck ]] || { echo "a hazard at 0x40"; exit 86; }'
check 'what a tool found' 1 $'memcheck: nothing found\nracecheck: FAILED\na hazard at 0x40\ninitcheck: nothing found*' '*' --sanitize
program "$scratch/bin/compute-sanitizer" 'exit 1'
check 'a kernel that is wrong' 1 'memcheck: exit code 1*' '*' --sanitize
exit "$failures"
