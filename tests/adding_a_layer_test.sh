#!/usr/bin/env bash
# Follows docs/adding-a-layer.md to the letter in a copy of the checkout: writes its files, adds its row, builds, and runs
# its commands. Nothing else is touched, so what the page promises is so.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
page=$root/docs/adding-a-layer.md
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

# What a fresh clone holds; outside a clone everything but the build.
if git -C "$root" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  (cd "$root" && git ls-files -z --cached --others --exclude-standard | xargs -0 tar cf - --ignore-failed-read) |
    tar xf - -C "$copy"
else
  tar cf - -C "$root" --exclude=./build . | tar xf - -C "$copy"
fi
cd "$copy"

# Blocks behind `<!-- file: PATH -->` become files, those behind `<!-- row: PATH -->` are appended; ./plumb is the program
# of this build.
target='' mode='' block=0 commands=()
while IFS= read -r line; do
  if [[ $line == '```'* ]]; then
    if ((block)); then block=0 target=''; else block=1; fi
    [[ $line == '```sh' ]] && mode=command
    if ((block)) && [[ $mode == file ]]; then : >"$target"; fi
  elif ((block)); then
    case $mode in
      file | row) printf '%s\n' "$line" >>"$target" ;;
      command) commands+=("$line") ;;
    esac
  elif [[ $line =~ ^\<!--\ (file|row):\ (.*)\ --\>$ ]]; then
    mode=${BASH_REMATCH[1]} target=${BASH_REMATCH[2]}
  else
    mode=''
  fi
done <"$page"
((${#commands[@]} >= 5)) || { echo "the page has too few commands"; exit 1; }

cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DPLUMB_WERROR=ON -DPLUMB_BUILD_TESTS=OFF \
  -DPLUMB_BUILD_EXAMPLES=OFF >cmake.log || { cat cmake.log; exit 1; }
ninja -C build plumb_cli plumb_worker >ninja.log || { tail -n 60 ninja.log; exit 1; }
ln -sf build/plumb plumb
for command in "${commands[@]}"; do
  echo "\$ $command"
  bash -c "$command"
done
grep -q amplify amplify.html && grep -q 'amplify.forward/mine@cpu' amplify_report/report.html
