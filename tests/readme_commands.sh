#!/usr/bin/env bash
# Runs the commands of the README and compares their exit codes, so that the README cannot promise what is not so.
#
# Usage: readme_commands.sh [README]. Every line of a ```sh block that starts with ./plumb is run by bash, in order, in
# one scratch directory that looks like the checkout; `./plumb` is the program of $PLUMB_BUILD_DIR. An annotation at the
# end of a line states its exit code, 0 if there is none:
#     ./plumb verify --plugin build/examples/libbroken_conv.so 'conv2d.*'   # exit 1
# A comment that the reader of the rendered page does not see, in the line above the block, changes its lines first with
# a sed expression (to shorten a run), or leaves them out for a stated reason:
#     <!-- test: s/--time 20s/--time 2s/ -->          <!-- test: skip: needs a GPU -->
# `./plumb test` and `./plumb demo` are never run from here: this is itself one of the tests, and demo has its own.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
readme=${1:-$here/../README.md}

# Prints "LINE NUMBER<tab>EXIT CODE<tab>COMMAND" for every command to run.
extract() {
  local line number=0 block=0 edit='' pending='' command code
  while IFS= read -r line || [[ $line ]]; do
    number=$((number + 1))
    if ((!block)) && [[ $line == '```sh' ]]; then
      block=1 edit=$pending
    elif [[ $line == '```'* ]]; then
      block=0 edit=''
    elif ((block)) && [[ $line == './plumb'* && $edit != skip:* ]]; then
      command=$line code=0
      if [[ $command =~ ^(.*[^[:space:]])[[:space:]]*#\ *exit\ ([0-9]+)[[:space:]]*$ ]]; then
        command=${BASH_REMATCH[1]} code=${BASH_REMATCH[2]}
      fi
      if [[ $edit ]]; then command=$(sed -e "$edit" <<<"$command"); fi
      if [[ ! $command =~ ^\./plumb\ +(test|demo)([^[:alnum:]_]|$) ]]; then printf '%s\t%s\t%s\n' "$number" "$code" "$command"; fi
    fi
    pending=''
    if [[ $line =~ ^\<!--\ test:\ (.*[^[:space:]])\ --\>$ ]]; then pending=${BASH_REMATCH[1]}; fi
  done <"$readme"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for entry in "$here"/../*; do
  name=$(basename "$entry")
  if [[ $name != plumb && $name != build ]]; then ln -s "$(readlink -f "$entry")" "$scratch/$name"; fi
done
ln -s "$PLUMB_BUILD_DIR" "$scratch/build"
ln -s build/plumb "$scratch/plumb"
cd "$scratch"

count=0 failures=0
while IFS=$'\t' read -r number expected command; do
  count=$((count + 1))
  code=0
  output=$(bash -c "$command" </dev/null 2>&1) || code=$?
  if ((code != expected)); then
    failures=$((failures + 1))
    printf '%s:%s: %s\n  exit code %s, expected %s; its output:\n%s\n' "$(basename "$readme")" "$number" "$command" "$code" \
      "$expected" "$output"
  fi
done < <(extract)
echo "$count commands, $failures with another exit code than stated"
((count > 0 && failures == 0))
