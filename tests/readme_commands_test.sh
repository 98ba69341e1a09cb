#!/usr/bin/env bash
# The README test runs exactly the lines it should, and fails when an exit code is another one than stated.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/build"
cat >"$scratch/build/plumb" <<END
#!/usr/bin/env bash
printf '%s|' "\$@" >>"$scratch/calls"
echo >>"$scratch/calls"
if [[ \$1 == fails ]]; then exit 1; fi
END
chmod +x "$scratch/build/plumb"
export PLUMB_BUILD_DIR=$scratch/build

cat >"$scratch/good.md" <<'END'
    ./plumb indented
```sh
./plumb verify 'conv2d.*' --time 20s
git clone somewhere
./plumb fails here   # exit 1
./plumb test
./plumb demo
./plumb demonstrate
```
<!-- test: s/--time 20s/--time 1s/ -->
```sh
./plumb verify 'a b' --time 20s  # a comment
```
<!-- test: skip: needs a GPU -->
```sh
./plumb verify --device cuda
```
```
./plumb output
```
```sh
./plumb last
```
END
"$here/readme_commands.sh" "$scratch/good.md"
diff "$scratch/calls" - <<'END'
verify|conv2d.*|--time|20s|
fails|here|
demonstrate|
verify|a b|--time|1s|
last|
END

expect_failure() {  # NAME < README
  cat >"$scratch/bad.md"
  if "$here/readme_commands.sh" "$scratch/bad.md" >/dev/null; then
    echo "not noticed: $1"
    exit 1
  fi
}
printf '```sh\n./plumb fails\n```\n' | expect_failure 'a command that fails'
printf '```sh\n./plumb list  # exit 1\n```\n' | expect_failure 'a command that succeeds but should not'
printf '```sh\n./plumb fails # exit 2\n```\n' | expect_failure 'another exit code'
printf 'no commands at all\n' | expect_failure 'a README without commands'
