#!/usr/bin/env bash
# Makes the pictures in docs/ anew: real runs, their pages, a headless Chromium that looks at them.
#   docs/pictures.sh [RECORDS]
# Records that lie in the directory RECORDS already (verify.json, gradcheck.json, …) are not made again; without it all
# are, in about six minutes on an idle machine. What the pictures show is whatever the runs find.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
records=${1:-$scratch}
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome)

run() {  # NAME COMMAND…: a failing kernel is what some of the pictures are about
  local record=$records/$1.json code=0
  shift
  if [[ -e $record ]]; then return; fi
  ./plumb "$@" --quiet --json "$record" || code=$?
  if ((code > 1)); then exit "$code"; fi
}

page() {  # NAME RECORD…
  local name=$1
  shift
  ./plumb report "$@" -o "$scratch/$name" >"$scratch/log" || (($? == 1))
}

picture() {  # FILE NAME WIDTH HEIGHT [FLAG…]
  local file=$PWD/docs/$1 page=$scratch/$2/report.html size=$3,$4
  shift 4
  "$chromium" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars \
    --virtual-time-budget=15000 --window-size="$size" --user-data-dir="$scratch/profile" "$@" \
    --screenshot="$file" "file://$page" >"$scratch/log" 2>&1
}

changed=(bench 'conv2d.forward/changed*' --plugin build/examples/libchanged_conv.so --problems alexnet --time 30s)
if [[ ! -e $records/demo.json ]]; then ./plumb demo >"$scratch/log" && cp .plumb/demo.json "$records/demo.json"; fi
run verify verify --plugin build/examples/libbroken_conv.so 'conv2d.*' --time 20s
run gradcheck gradcheck conv2d max_pool2d sigmoid --digits 50
run bench bench 'conv2d.forward/auto@avx3' 'conv2d.forward/direct@avx3' 'conv2d.forward/o*' --problems resnet50 --time 60s
run sweep sweep 'sigmoid.forward/flat@avx3' 'tanh.forward/flat@avx3'
run before "${changed[@]}"
CHANGED_CONV=slower run after "${changed[@]}"

for name in demo verify gradcheck bench sweep; do page "$name" "$records/$name.json"; done
page compare --compare "$records/before.json" "$records/after.json"

picture demo.png demo 1280 1500
picture report-verify.png verify 900 1150
picture report-dark.png verify 700 850 --blink-settings=preferredColorScheme=0
picture report-gradcheck.png gradcheck 900 1100
picture report-phone.png gradcheck 400 1200
picture report-bench.png bench 900 1300
picture report-compare.png compare 900 1100
picture report-sweep.png sweep 1000 900
