#!/usr/bin/env bash
# A page whose outputs are the program's own: behind every ```sh block of PAGE stands a ```text block with what its
# commands print, and this script runs them and compares. With --write it puts the present output there instead.
#
# Usage: docs_output.sh [--write] PAGE
set -euo pipefail

write=0
if [[ ${1-} == --write ]]; then write=1; shift; fi
page=$(readlink -f "$1")
: "${PLUMB_BUILD_DIR:=$(cd "$(dirname "$0")/.." && pwd)/build}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
ln -s "$PLUMB_BUILD_DIR/plumb" "$scratch/plumb"

# The page again, every text block that follows a sh block replaced by the output of that block's commands.
render() {
  local line state=prose commands=() command
  while IFS= read -r line; do
    case $state in
      prose)
        printf '%s\n' "$line"
        if [[ $line == '```sh' ]]; then state=commands commands=(); fi
        if [[ $line == '```text' && ${#commands[@]} -gt 0 ]]; then
          for command in "${commands[@]}"; do (cd "$scratch" && bash -c "$command" 2>&1) || true; done
          commands=() state=output
        fi
        ;;
      commands)
        printf '%s\n' "$line"
        if [[ $line == '```' ]]; then state=prose; else commands+=("$line"); fi
        ;;
      output)
        if [[ $line == '```' ]]; then
          printf '%s\n' "$line"
          state=prose
        fi
        ;;
    esac
  done <"$page"
}

render >"$scratch/page.md"
if ((write)); then
  cp "$scratch/page.md" "$page"
else
  diff -u "$page" "$scratch/page.md" || { echo "$(basename "$page") does not show what the program prints"; exit 1; }
  grep -q '^```text' "$page"
fi
