#!/usr/bin/env bash
# When everything is installed and built, the launcher costs less than half a second before the command runs.
set -euo pipefail
best=1000000
for _ in 1 2 3 4 5; do
  begin=${EPOCHREALTIME/[.,]/}
  ./plumb --help >/dev/null
  end=${EPOCHREALTIME/[.,]/}
  if ((end - begin < best)); then best=$((end - begin)); fi
done
echo "second start: $((best / 1000)) ms"
((best < 500000))
