#!/usr/bin/env bash
# The launcher in a project of its own, with stand-ins for everything it calls: what it installs, builds and runs, what
# it says, and which exit code it returns.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export STATE=$scratch/state DPKG_ADMINDIR=$scratch/dpkg
failures=0

stand_in() {  # NAME < BODY
  { printf '#!/usr/bin/env bash\necho "%s $*" >>"$STATE/calls"\n' "$1"; cat; } >"$scratch/bin/$1"
  chmod +x "$scratch/bin/$1"
}

# A fresh checkout in which `cmake`, `g++` and `chromium` are the packages.
fresh() {
  chmod -R u+w "$scratch"
  rm -rf "${scratch:?}"/*
  mkdir -p "$scratch"/{bin,dpkg,state,project/examples/my_conv,elsewhere}
  cp "$here/../plumb" "$scratch/project"
  printf '# tools\n[build]\ncmake\ng++   # the compiler\n\n[test]\nchromium\n\n[sanitizers]\nclang\n' >"$scratch/project/packages.txt"
  echo '{}' >"$scratch/project/CMakePresets.json"
  echo database >"$scratch/dpkg/status"
  printf 'ii  cmake\nii  g++\nii  chromium\nii  clang\n' >"$scratch/state/installed"
  echo 1000 >"$scratch/state/uid"
  : >"$scratch/state/calls"

  stand_in dpkg-query <<<'cat "$STATE/installed"'
  stand_in id <<<'cat "$STATE/uid"'
  stand_in sudo <<<'[[ -e $STATE/sudo ]] || exit 1; [[ $1 == -n ]] && shift; exec "$@"'
  stand_in apt-get <<'END'
[[ ! -e $STATE/offline ]] || { echo 'E: no network'; exit 100; }
[[ " $* " != *' install '* || -e $STATE/updated ]] || { echo 'E: stale lists'; exit 100; }
case " $* " in
  *' update '*) touch "$STATE/updated" ;;
  *' install '*) for word; do [[ $word == -* || $word == install ]] || echo "ii  $word" >>"$STATE/installed"; done
    echo changed >>"$DPKG_ADMINDIR/status" ;;
esac
END
  stand_in cmake <<'END'
[[ ! -e $STATE/cmake_fails ]] || { echo 'CMake Error: no compiler'; exit 1; }
preset=${*: -1}
directory=build; [[ $preset == release ]] || directory=build/$preset
mkdir -p "$directory" && touch "$directory/build.ninja" && echo '-- Configuring done'
END
  stand_in ninja <<'END'
[[ ! -e $STATE/ninja_fails ]] || { printf '[1/2] Building a.o\nFAILED: a.o\na.cpp:1: error: oops\nninja: build stopped\n'; exit 1; }
printf '#!/usr/bin/env bash\nprintf "<%%s>" "$PWD" "$@"; exit 7\n' >"$2/plumb"; chmod +x "$2/plumb"
if [[ -e $STATE/ninja_says ]]; then cat "$STATE/ninja_says"; else echo 'ninja: no work to do.'; fi
END
  stand_in ctest <<'END'
[[ ! -e $STATE/ctest_breaks ]] || exit 1
while [[ $1 != --output-junit ]]; do shift; done
for status in $(<"$STATE/results"); do
  case $status in
    skip) printf '<testcase name="x" status="notrun">\n<skipped message="SKIP_RETURN_CODE=77"/>\n</testcase>\n' ;;
    missing) printf '<testcase name="x" status="notrun">\n<skipped message="Unable to find executable"/>\n</testcase>\n' ;;
    *) printf '<testcase name="x" status="%s">\n<failure message=""/>\n</testcase>\n' "$status" ;;
  esac
done >"$2"
echo '<end/>' >>"$2"
END
}

# Runs the launcher from elsewhere; leaves its streams and exit code in $out, $err and $code.
plumb() {
  code=0
  (cd "$scratch/elsewhere" && PATH="$scratch/bin:$PATH" ../project/plumb "$@") \
    >"$scratch/out" 2>"$scratch/err" </dev/null || code=$?
  out=$(<"$scratch/out") err=$(<"$scratch/err")
}

check() {  # WHAT ACTUAL EXPECTED-GLOB
  # shellcheck disable=SC2053  # a glob is wanted
  if [[ $2 != $3 ]]; then
    printf 'FAILED %s\n  expected: %s\n  but got:  %s\n' "$1" "$3" "$2"
    failures=$((failures + 1))
  fi
}

fresh
plumb
check 'help: exit code' "$code" 0
check 'help: names the commands' "$out" '*./plumb demo*./plumb verify*'
check 'help: builds nothing' "$(<"$STATE/calls")" ''

fresh
plumb verify 'a b' '*' ''
check 'command: exit code is kept' "$code" 7
check 'command: arguments and directory are kept' "$out" "<$scratch/elsewhere><verify><a b><\\*><>"
check 'command: quiet when nothing is missing' "$err" 'plumb: configuring'
check 'command: builds two programs' "$(grep ^ninja "$STATE/calls")" 'ninja -C * plumb_cli plumb_worker'
check 'command: asks for no test packages' "$(grep ^dpkg-query "$STATE/calls")" '* cmake g++'
: >"$STATE/calls"
plumb verify
check 'second start: only ninja is called' "$(<"$STATE/calls")" 'ninja -C * plumb_cli plumb_worker'
check 'second start: says nothing' "$err" ''
echo '{"version": 6}' >"$scratch/project/CMakePresets.json"
plumb verify
check 'new presets: configured again' "$(grep -c ^cmake "$STATE/calls")" 1
echo 'an upgrade' >>"$scratch/dpkg/status"
plumb verify
check 'changed packages: looked at again' "$(grep -c ^dpkg-query "$STATE/calls")" 1
mv "$scratch/project" "$scratch/moved" && ln -s moved "$scratch/project"
plumb verify
check 'moved checkout: configured again' "$(grep -c ^cmake "$STATE/calls")" 2

fresh
plumb demo --fast
check 'demo: builds the examples' "$(grep ^ninja "$STATE/calls")" '* plumb_cli plumb_worker my_conv broken_conv'
check 'demo: runs' "$out" '*<demo><--fast>'

fresh
plumb verify --plugin ../project/build/examples/libmy_conv.so --plugin build/examples/libother.so
check 'plugin: our example is built' "$(grep ^ninja "$STATE/calls")" '* plumb_cli plumb_worker my_conv'

fresh
echo 'ii  cmake' >"$STATE/installed"
plumb verify
check 'no root: exit code' "$code" 3
check 'no root: one line to run' "$(grep apt-get "$scratch/err")" \
  "sudo sh -c 'apt-get update && apt-get install --yes --no-install-recommends --no-remove g++'"
check 'no root: nothing is installed or built' "$(grep -E '^(apt-get|cmake|ninja)' "$STATE/calls")" ''

fresh
chmod u-w "$scratch/project"
if [[ ! -w $scratch/project ]]; then  # root may write everywhere
  plumb verify
  check 'read-only checkout: exit code' "$code" 3
  check 'read-only checkout: one sentence' "$err" '*cannot write to */project/build'
fi

fresh
printf 'ii  cmake\nrc  g++\n' >"$STATE/installed"
echo 0 >"$STATE/uid"
plumb verify
check 'root: goes on' "$code" 7
check 'root: says what it does, once' "$(grep -c installing "$scratch/err")" '[12]'
check 'root: installs, after an update' "$(grep ^apt-get "$STATE/calls" | tail -n 1)" \
  'apt-get * install --yes --no-install-recommends --no-remove g++'
: >"$STATE/calls"
plumb verify
check 'root: not again' "$(<"$STATE/calls")" 'ninja *'

fresh
echo 'ii  cmake' >"$STATE/installed"
touch "$STATE/sudo"
plumb verify
check 'sudo: goes on' "$code" 7
check 'sudo: installs' "$(grep -c '^sudo -n env .*apt-get .*install' "$STATE/calls")" '[12]'

fresh
echo 'ii  cmake' >"$STATE/installed"
echo 0 >"$STATE/uid"
touch "$STATE/offline"
plumb verify
check 'offline: exit code' "$code" 3
check 'offline: what apt-get said, and one sentence' "$err" '*E: no network*plumb: apt-get could not install: g++'

fresh
touch "$STATE/cmake_fails"
plumb verify
check 'configuring fails: exit code' "$code" 4
check 'configuring fails: output' "$err" '*CMake Error: no compiler*'

fresh
printf '[1/1] Building a.o\nninja: Entering directory\n' >"$STATE/ninja_says"
plumb verify
check 'a build: one line' "$(grep -c building "$scratch/err")" 1
printf '[1/1] Looking up the revision\n' >"$STATE/ninja_says"
plumb verify
check 'nothing compiled: no line' "$err" ''

fresh
touch "$STATE/ninja_fails"
plumb verify
check 'build fails: exit code' "$code" 4
check 'build fails: the compiler speaks' "$err" '*a.cpp:1: error: oops*'

fresh
echo 'run run skip' >"$STATE/results"
plumb test -R conv
check 'test: exit code' "$code" 0
check 'test: counts' "$(tail -n 1 <<<"$out")" '2 passed, 0 failed, 1 skipped'
check 'test: options reach ctest' "$(grep -c '^ctest .* -R conv$' "$STATE/calls")" 1
check 'test: asks for the test packages' "$(grep ^dpkg-query "$STATE/calls")" '* cmake g++ chromium'
: >"$STATE/calls"
plumb test --sanitizers -R conv
check 'sanitizers: exit code' "$code" 0
check 'sanitizers: sums both builds' "$(tail -n 1 <<<"$out")" '4 passed, 0 failed, 2 skipped'
check 'sanitizers: options reach ctest' "$(grep -c '^ctest .* -R conv$' "$STATE/calls")" 2
check 'sanitizers: a section of packages' "$(grep ^dpkg-query "$STATE/calls")" '* cmake g++ chromium clang'
check 'sanitizers: the unit tests' "$(grep ^ninja "$STATE/calls" | tail -n 1)" '*/build/asan plumb_unit_tests'
echo 'run fail missing disabled' >"$STATE/results"
plumb test --sanitizers
check 'test fails: exit code' "$code" 1
check 'test fails: closing line' "$(tail -n 1 <<<"$out")" '2 passed, 4 failed, 2 skipped'
: >"$STATE/results"
plumb test
check 'no tests: exit code' "$code" 1
check 'no tests: closing line' "$(tail -n 1 <<<"$out")" '0 passed, 0 failed, 0 skipped'
echo 'run' >"$STATE/results"
touch "$STATE/ctest_breaks"
plumb test --sanitizers
check 'ctest breaks: closing line' "$(tail -n 1 <<<"$out")" '0 passed, 2 failed, 0 skipped'
check 'ctest breaks: exit code' "$code" 1
rm "$STATE/ctest_breaks"
touch "$STATE/ninja_fails"
plumb test --sanitizers
check 'test build fails: closing line' "$(tail -n 1 <<<"$out")" '0 passed, 2 failed, 0 skipped'
check 'test build fails: exit code' "$code" 1

((failures == 0)) && echo 'the launcher behaves'
