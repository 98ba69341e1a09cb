#!/usr/bin/env bash
# Every command that the launcher's own help names exists and explains itself.
set -euo pipefail
count=0
while read -r command; do
  if [[ $command == test ]]; then continue; fi
  count=$((count + 1))
  "$PLUMB_BUILD_DIR/plumb" "$command" --help >/dev/null || { echo "plumb $command --help failed"; exit 1; }
done < <(./plumb | sed -nE 's|^  \./plumb ([a-z]+).*|\1|p')
((count >= 5))
