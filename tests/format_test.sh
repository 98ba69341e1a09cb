#!/usr/bin/env bash
# The format check fails on one badly laid out file and passes without it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cp "$here/../.clang-format" "$directory"
echo 'int main() { return 0; }' >"$directory/good.cpp"
"$here/format.sh" "$directory"
echo 'int   main( ) {return 0;}' >"$directory/bad.cpp"
if "$here/format.sh" "$directory" 2>/dev/null; then
  echo 'bad.cpp was not noticed'
  exit 1
fi
rm "$directory"/*.cpp
if "$here/format.sh" "$directory"; then
  echo 'an empty project passed'
  exit 1
fi
