#!/usr/bin/env bash
# variants_test.sh: builds of the library for other places, each running tests/embedded/embedded.cpp: without OpenMP and files
# natively, and for WebAssembly under node. Both must give the same numbers. (64-bit ARM: tests/size_test.sh.)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/cases.sh"

# Kept for the next time; -O1, because building takes longer than running.
variant() {
  local folder=$root/build-$1
  shift
  cmake -S "$root/tests/embedded" -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O1 "$@" &&
    cmake --build "$folder" --target embedded -j "${JOBS:-$(nproc)}"
}
# With optimization, as the page that is built from the same objects (tests/web_test.sh).
wasm() { variant wasm -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS= -DCMAKE_TOOLCHAIN_FILE="$root/cmake/wasm.cmake"; }
# Without its own fetch, which Debian's Emscripten takes for a browser's.
under_node() { node --no-experimental-fetch "$root/build-wasm/embedded.js"; }

# Keeps what the program printed; a program that failed printed too few logits.
runs() { "$@" >"$logits" || { cat "$logits"; return 1; }; [[ $(grep -Ec '^(before|after) ' "$logits") == 32 ]]; }
changed_by_tuning() { ! diff -q <(sed -n 's/^before //p' "$1") <(sed -n 's/^after //p' "$1"); }
within() { # FILE FILE LIMIT
  paste -d ' ' <(grep -E '^(before|after) ' "$1") <(grep -E '^(before|after) ' "$2") |
    awk -v limit="$3" '{ d = $2 - $4; if (d < 0) d = -d; if ($1 != $3 || !(d <= limit)) { print; bad = 1 } }
                       END { exit bad || NR != 32 }'
}
touches_no_files() {
  [[ -x $root/build-embedded/embedded ]] &&
    ! ldd "$root/build-embedded/embedded" | grep -E 'gomp|libz|jpeg' &&
    ! nm --undefined-only "$root/build-embedded/embedded" | grep -E ' (fopen|open|openat|mmap|opendir)(64)?(@|$)'
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
logits=$folder/native
check_case "a host without OpenMP and files builds" variant embedded
check_case "it tunes and gives all its memory back" runs "$root/build-embedded/embedded"
check_case "tuning changed its logits" changed_by_tuning "$logits"
check_case "it opens no file and needs neither OpenMP nor zlib nor turbojpeg" touches_no_files

if command -v em++ node >/dev/null; then
  logits=$folder/wasm
  check_case "the same host builds for WebAssembly" wasm
  check_case "it runs under node" runs under_node
  check_case "its logits are the native ones within 1e-5" within "$folder/native" "$folder/wasm" 1e-5
  # A comparison that cannot fail proves nothing.
  sed '1s/ .*/ 9/' "$folder/native" >"$folder/other"
  check_case "the comparison tells other numbers apart" eval '! within "$folder/native" "$folder/other" 1e-5'
else
  skip_cases "WebAssembly: no emscripten and node here"
fi
end_cases
