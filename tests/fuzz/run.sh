#!/usr/bin/env bash
# run.sh: looks for inputs that crash the readers of files, with libFuzzer and sanitizers, in build-fuzz/. Not part of
# tests/run.sh. Each kind of file has its seeds in tests/golden; what crashed is kept in build-fuzz/found.
#
#   tests/fuzz/run.sh [SECONDS [KIND...]]
#
# SECONDS   for each kind [60]
# KIND      torch, old_torch, npz, npy, pickle, safetensors, jpeg, png, bmp [all]
# CLANG     the compiler [clang++]; without it nothing is done, and said so
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$root/build-fuzz
golden=$root/tests/golden
seconds=${1:-60}
kinds=("${@:2}")
((${#kinds[@]})) || kinds=(torch old_torch npz npy pickle safetensors jpeg png bmp)
clang=${CLANG:-clang++}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' >"$scratch/try.cpp"
if ! "$clang" -fsanitize=fuzzer,address "$scratch/try.cpp" -o "$scratch/try" 2>"$scratch/why"; then
  head -n 3 "$scratch/why" >&2
  echo "SKIPPED: no fuzzing without $clang and its libFuzzer (Debian: clang and libclang-rt-14-dev)"
  exit 0
fi

cmake -S "$root" -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="$clang" -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O1 \
  -DVITRINE_FUZZ=ON -DVITRINE_OPENMP=OFF -DVITRINE_TESTS=OFF -DVITRINE_EXAMPLES=OFF -DVITRINE_EMULATOR=OFF \
  -DVITRINE_INSTALL=OFF -DVITRINE_CUDA=OFF
cmake --build "$build" --target fuzz_targets -j "${JOBS:-$(nproc)}"

# seeds KIND: copies the files to begin with.
seeds() {
  case $1 in
    torch) cp "$golden"/containers/{state,deflated,protocol4,big_endian,untyped,module}.pth "$golden"/containers/script.pt . ;;
    old_torch) cp "$golden"/containers/old*.pth . ;;
    npz) cp "$golden"/containers/*.npz . ;;
    npy) cp "$golden"/containers/*.npy . ;;
    pickle)
      for file in state protocol4 untyped module; do
        unzip -p "$golden/containers/$file.pth" '*/data.pkl' >"$file"
      done ;;
    safetensors) cp "$golden"/containers/{state.pth,stored.npz}.expected . ;;
    jpeg) cp "$golden"/images/*.jpg . ;;
    png) cp "$golden"/images/*.png . ;;
    bmp) cp "$golden"/images/*.bmp . ;;
    *)
      echo "unknown kind of file: $1" >&2
      return 1 ;;
  esac
}
program_of() {
  case $1 in
    torch | old_torch | npz) echo any ;;
    jpeg | png | bmp) echo images ;;
    *) echo "$1" ;;
  esac
}

failed=0
mkdir -p "$build/found"
for kind in "${kinds[@]}"; do
  mkdir -p "$scratch/$kind"
  (cd "$scratch/$kind" && seeds "$kind")
  echo "=== $kind"
  if UBSAN_OPTIONS=print_stacktrace=1 "$build/tests/fuzz/fuzz_$(program_of "$kind")" "$scratch/$kind" -seed=2026 \
    -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
    -artifact_prefix="$build/found/$kind-" >"$scratch/log" 2>&1; then
    grep -E 'DONE|number_of_executed_units|peak_rss' "$scratch/log"
  else
    tail -n 40 "$scratch/log"
    echo "FAILED: $kind; its input is in $build/found"
    failed=1
  fi
done
exit $failed
