#!/usr/bin/env bash
# Judges and times the CUDA kernels in one call, the table last.
#     bench/cuda_check.sh [--build DIRECTORY] [--time SECONDS] [--plugin LIBRARY] [--sanitize] [GLOB]
# It needs the programs that are already built in DIRECTORY (build/, or wherever they were carried to): plumb-cuda-check,
# which is one file that wants nothing but the driver, and, to judge by every law, plumb and plumb-worker beside it. Where
# those are missing the check's own comparison with sums in double is all the judging there is, and the output says so.
# --sanitize times nothing: small problems once each under compute-sanitizer, tool by tool.
# On a machine without a device every row is skipped, and the exit code is 0.
set -euo pipefail

root=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/..
build=$root/build
seconds=300
glob='*@cuda'
plugins=()
sanitize=

fail() {
  printf 'cuda_check: %s\n' "$1" >&2
  exit 2
}

while (($#)); do
  case $1 in
    --build)
      (($# > 1)) || fail '`--build` wants a directory'
      build=$2
      shift
      ;;
    --time)
      [[ ${2-} =~ ^[0-9]+$ ]] || fail "\`--time ${2-}\` is not understood; expected whole seconds"
      seconds=$2
      shift
      ;;
    --plugin)
      (($# > 1)) || fail '`--plugin` wants a shared library'
      plugins+=(--plugin "$2")
      shift
      ;;
    --sanitize) sanitize=yes ;;
    -h | --help)
      sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    -*) fail "\`$1\` is not understood; expected --build, --time, --plugin, --sanitize or a glob of kernels" ;;
    *) glob=$1 ;;
  esac
  shift
done
[[ -x $build/plumb-cuda-check ]] || fail "no program $build/plumb-cuda-check; expected a built tree, or --build DIRECTORY"

if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,temperature.gpu --format=csv,noheader || true
fi
code=0
if [[ $sanitize ]]; then
  if ! command -v compute-sanitizer >/dev/null; then
    echo 'skipped(no compute-sanitizer)'
    exit 0
  fi
  for tool in memcheck racecheck initcheck synccheck; do
    said=$(compute-sanitizer --tool "$tool" --error-exitcode 86 "$build/plumb-cuda-check" --small \
      ${plugins[@]+"${plugins[@]}"} "$glob" 2>&1) && found=0 || found=$?
    case $found in
      0) echo "$tool: nothing found" ;;
      86) echo "$tool: FAILED" ;;
      *) echo "$tool: exit code $found" ;;
    esac
    if ((found != 0)); then
      printf '%s\n' "$said"
      code=1
    fi
  done
  exit "$code"
fi
if ! "$build/plumb" --help >/dev/null 2>&1; then
  echo 'plumb does not start here: not judged by laws, only by a sample of sums in double'
else
  judged=0
  "$build/plumb" verify ${plugins[@]+"${plugins[@]}"} "$glob" --time "${seconds}s" || judged=$?
  # 3: everything selected was skipped, which the table below says too.
  if ((judged != 0 && judged != 3)); then code=$judged; fi
fi
"$build/plumb-cuda-check" ${plugins[@]+"${plugins[@]}"} "$glob" || { timed=$?; ((code)) || code=$timed; }
exit "$code"
