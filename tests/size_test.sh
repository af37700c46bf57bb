#!/usr/bin/env bash
# size_test.sh: how many bytes of code Vitrine adds to a host on 64-bit ARM, against gates, and that builds with parts left out
# (cmake/parts.cmake), exceptions among them, do what they are left for and say what they are not. docs/sizes.md has the numbers
# and how they count.
#
#   tests/size_test.sh [BUILD]     BUILD: a finished build folder for this machine, with whose numbers they are compared [build]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/cases.sh"
. "$root/cmake/packages.sh"
net=$root/models/builtin/vit.safetensors
native=${1:-$root/build}/tests/embed_learns
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Most bytes of .text.
most_predicts=150000 most_learns=300000

# Kept for the next time.
builds() { # HOST TARGETS OPTION...
  local host=$1 targets=$2
  shift 2
  cmake -S "$root/tests/size" -B "$root/build-$host" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$root/cmake/aarch64.cmake" \
    -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-Os -DCMAKE_C_FLAGS=-Os "$@" &&
    cmake --build "$root/build-$host" --target $targets -j "${JOBS:-$(nproc)}"
}
section() { aarch64-linux-gnu-size -A "$root/build-$1/$1" | awk -v name="$2" '$1 == name { print $2 }'; }
# The C and C++ libraries are shared, so that the host's .text is Vitrine's and some 3 KB of the host and of its start.
fits() { # HOST MOST
  local size
  size=$(section "$1" .text) && aarch64-linux-gnu-strip -o "$folder/stripped" "$root/build-$1/$1" || return 1
  echo "$1: $size bytes of .text, at most $2; .rodata $(section "$1" .rodata), .eh_frame $(section "$1" .eh_frame)," \
    "stripped $(stat -c %s "$folder/stripped")"
  ((size > 0 && size <= $2))
}
emulated() { qemu-aarch64-static -L /usr/aarch64-linux-gnu "$root/build-$1" "${@:2}"; } # FOLDER/PROGRAM ARGUMENT...
neither_throws() {
  local symbols host
  for host in predicts learns; do
    symbols=$(aarch64-linux-gnu-nm -D "$root/build-$host/$host") && ! grep -E '__cxa_throw|_Unwind|__gxx_personality' <<<"$symbols" || return 1
  done
}
learns() { emulated learns/learns "$net" "$folder/task" >"$folder/learned" && [[ $(wc -l <"$folder/learned") == 4 && -s $folder/task ]]; }
# Both pictures are told apart, of which a fresh head says 0.5, and by both builds alike.
told_apart() { awk '{ p[NR] = $2 } END { exit !(NR >= 4 && p[1] > 0.505 && p[4] > 0.505) }' "$1"; }
within() { # FILE FILE LIMIT: both have four probabilities
  paste -d ' ' <(grep '^probability' "$1") <(grep '^probability' "$2") |
    awk -v limit="$3" '{ d = $2 - $4; if (d < 0) d = -d; if (NF != 4 || !(d <= limit)) { print; bad = 1 } } END { exit bad || NR != 4 }'
}
predicts() {
  emulated predicts/predicts "$net" "$folder/task" >"$folder/predicted" && told_apart "$folder/predicted" && told_apart "$folder/learned" &&
    within "$folder/learned" "$folder/predicted" 1e-5
}
# Another processor, instruction set and optimization, with exceptions and OpenMP: the same numbers, nearly.
as_natively() { "$native" "$net" "$folder/native-task" >"$folder/native" && within "$folder/learned" "$folder/native" 1e-5; }
small() { emulated learns/vitrine/vitrine_small "$@"; }
small_fits() {
  aarch64-linux-gnu-strip -o "$folder/stripped" "$root/build-learns/vitrine/vitrine_small" && ! readelf -d "$folder/stripped" | grep NEEDED &&
    echo "small: $(stat -c %s "$folder/stripped") bytes, stripped" && (($(stat -c %s "$folder/stripped") <= 1500000))
}
# With a task that the one learned, in a place where no picture is one. What it does otherwise tests/embed_test.sh sees, without qemu.
small_runs() {
  ! small predict "$net" "$folder/task" "$folder/task" 2>"$folder/said" && grep -F "$folder/task: unknown image type" "$folder/said" &&
    ! small predict "$net" "$net" "$net" 2>"$folder/said" && grep "not a task file" "$folder/said"
}
says_what_it_lacks() { grep -x 'learning: status 1, vitrine_tuning_open: this build was made without VITRINE_TRAINING' "$folder/predicted"; }
has_one_thread() { grep -x 'two threads: status 1' "$folder/predicted"; }
# A part that was left out names itself.
refuses_numpy() {
  printf '\x93NUMPY\x01\x00 and so on' >"$folder/array.npy"
  ! emulated predicts/predicts "$folder/array.npy" "$folder/task" >"$folder/said" &&
    grep "is a file of PyTorch's or numpy's: this build was made without VITRINE_CONTAINERS" "$folder/said"
}
refuses_types() {
  local header='{"__metadata__":{"config":"{}"},"a":{"dtype":"I16","shape":[1],"data_offsets":[0,2]}}'
  printf "\\x$(printf %x ${#header})\0\0\0\0\0\0\0%s\1\0" "$header" >"$folder/i16.safetensors"
  ! emulated predicts/predicts "$folder/i16.safetensors" "$folder/task" >"$folder/said" &&
    grep "i16 are other programs': this build was made without VITRINE_DIALECTS" "$folder/said"
}
refuses_swin() {
  ! emulated predicts/predicts "$root/models/builtin/swin.safetensors" "$folder/task" >"$folder/said" &&
    grep "a Swin: this build was made without VITRINE_SWIN" "$folder/said"
}
# The method stands in the file's header, whose length stays what it is.
refuses_method() {
  sed 's/"method":"vpt-deep"/"method":"bias"    /' "$folder/task" >"$folder/bias" && ! cmp -s "$folder/task" "$folder/bias" &&
    ! emulated predicts/predicts "$net" "$folder/bias" >"$folder/said" &&
    grep "method bias: this build was made without VITRINE_METHODS" "$folder/said"
}
# What makes no sense is refused when it is configured.
senseless() { # WORDS OPTION...
  local words=$1
  shift
  rm -rf "$folder/senseless"
  ! cmake -S "$root" -B "$folder/senseless" -G Ninja -DVITRINE_TESTS=OFF -DVITRINE_EXAMPLES=OFF -DVITRINE_CUDA=OFF "$@" \
    >"$folder/said" 2>&1 && tr -s ' \n' ' ' <"$folder/said" | grep -F "$words"
}

check_case "runs without training are refused" senseless "VITRINE_RUNS=ON needs VITRINE_TRAINING=ON" -DVITRINE_TRAINING=OFF -DVITRINE_RUNS=ON
check_case "PyTorch's files without other programs' names, too" senseless "VITRINE_CONTAINERS=ON needs VITRINE_DIALECTS=ON" -DVITRINE_DIALECTS=OFF
check_case "files without exceptions, too" senseless "VITRINE_FILES=ON needs VITRINE_EXCEPTIONS=ON" -DVITRINE_EXCEPTIONS=OFF -DVITRINE_FILES=ON
check_case "several processes without runs, too" senseless "VITRINE_MPI=ON needs VITRINE_RUNS=ON" -DVITRINE_EXCEPTIONS=OFF -DVITRINE_MPI=ON
check_case "without exceptions the parts that need them are off" cmake -S "$root" -B "$folder/without" -G Ninja -DVITRINE_EXCEPTIONS=OFF
check_case "the program without a part, too" senseless "VITRINE_EXAMPLES=ON needs VITRINE_RUNS=ON" -DVITRINE_RUNS=OFF -DVITRINE_EXAMPLES=ON
# shellcheck disable=SC2154,SC2086  # a list of words
if have_packages $packages_cross && command -v aarch64-linux-gnu-g++ qemu-aarch64-static >/dev/null; then
  check_case "a host that only predicts builds, without exceptions" builds predicts predicts -DVITRINE_TRAINING=OFF -DVITRINE_SWIN=OFF -DVITRINE_METHODS=OFF
  check_case "hosts that learn build, without exceptions" builds learns "learns broken ends vitrine_small"
  check_case "a failure ends the call that it is in, also one of the C++ library" emulated learns/ends
  check_case "a call that fails, anywhere, breaks its library and nothing else" emulated learns/broken "$net"
  check_case "the code of one that predicts is small" fits predicts "$most_predicts"
  check_case "the code of one that learns is small" fits learns "$most_learns"
  check_case "neither throws nor catches" neither_throws
  check_case "the gate closes: the code does not fit into one byte" eval '! fits predicts 1'
  check_case "a static command line that learns from pictures has 1.5 MB at most" small_fits
  check_case "the one learns" learns
  check_case "the command line opens what was learned, and refuses what is none of its files, in words" small_runs
  check_case "the other predicts with what was learned, the same" predicts
  check_case "... and says that it cannot learn" says_what_it_lacks
  check_case "... nor compute in two threads" has_one_thread
  check_case "... nor read numpy's files" refuses_numpy
  check_case "... nor whole numbers of 16 bits" refuses_types
  check_case "... nor Swins" refuses_swin
  check_case "... nor what other methods learned" refuses_method
  check_case "what was learned is what this machine learns, within 1e-5" as_natively
  sed '1s/ .*/ 0.9/' "$folder/learned" >"$folder/other"  # a comparison that cannot fail proves nothing
  check_case "the comparison tells other numbers apart" eval '! within "$folder/learned" "$folder/other" 1e-5'
else
  skip_cases "aarch64: no cross compiler and emulator here"
fi
end_cases
