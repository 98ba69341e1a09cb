#!/usr/bin/env bash
# Each example builds on its own, with nothing of Plumb but what it installs, and exports the three functions.
set -euo pipefail
examples=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cmake --install "$PLUMB_BUILD_DIR" --prefix "$scratch/prefix" --component plumb_devel >/dev/null
names=(my_conv broken_conv)
if command -v nvcc >/dev/null; then names+=(my_cuda_conv); fi
for name in "${names[@]}"; do
  cp -r "$examples/$name" "$scratch/$name"
  cmake -S "$scratch/$name" -B "$scratch/build" -G Ninja -DCMAKE_PREFIX_PATH="$scratch/prefix" >/dev/null
  ninja -C "$scratch/build" >"$scratch/log" || { cat "$scratch/log"; exit 1; }
  exported=$(nm -D --defined-only "$scratch/build/lib$name.so")
  for function in plumb_abi_version plumb_kernel_count plumb_kernel_at; do
    [[ $exported == *" $function"* ]] || { echo "$name does not export $function"; exit 1; }
  done
  rm -rf "$scratch/build"
done
