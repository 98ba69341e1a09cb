#!/usr/bin/env bash
# Every C++ source is formatted as .clang-format says, by the pinned version: layout differs between versions.
# Usage: format.sh [DIRECTORY]; checks tracked files, or all sources where git knows nothing.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"
clang_format=$(command -v clang-format-14) || { echo 'clang-format-14 is not installed'; exit 1; }
mapfile -d '' files < <(
  if git rev-parse --is-inside-work-tree &>/dev/null; then
    git ls-files -z --cached --deduplicate
  else
    find . \( -path ./build -o -name '.?*' \) -prune -o -type f -print0
  fi | grep -zE '\.(hpp|cpp|h|cu|cuh)$')
present=()
for file in "${files[@]}"; do
  if [[ -f $file ]]; then present+=("$file"); fi
done
((${#present[@]})) || { echo 'no source files found'; exit 1; }
printf '%s\0' "${present[@]}" | xargs -0 -n 20 -P "$(nproc)" "$clang_format" --dry-run --Werror
echo "${#present[@]} files are formatted"
