#!/usr/bin/env bash
# What we install is enough: a project of somebody else finds it, builds a plugin and a program, and runs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cmake --install "$PLUMB_BUILD_DIR" --prefix "$scratch/prefix" --component plumb_devel >/dev/null
cmake -S "$here/consumer" -B "$scratch/build" -G Ninja -DCMAKE_PREFIX_PATH="$scratch/prefix" >/dev/null
ninja -C "$scratch/build" >"$scratch/log" || { cat "$scratch/log"; exit 1; }

text=$("$scratch/build/consumer")
[[ $text == 'conv2d x=1x3x8x8 weight=4x3x3x3' ]] || { echo "printed: $text"; exit 1; }
exported=$(nm -D --defined-only "$scratch/build/libconsumer_plugin.so")
for function in plumb_abi_version plumb_kernel_count plumb_kernel_at; do
  [[ $exported == *" $function"* ]] || { echo "the plugin does not export $function"; exit 1; }
done
printf '#include <plumb/abi.h>\n' | cc -x c -std=c99 -Wall -Wextra -pedantic -Werror -fsyntax-only -I"$scratch/prefix/include" -
