#!/usr/bin/env bash
# sanitize.sh: the library's tests under sanitizers, in build-sanitize/. Slow, so neither tests/run.sh nor CI calls it.
#
#   tests/sanitize.sh [SANITIZERS [TEST OPTION...]]
#
# SANITIZERS   as in -fsanitize= [address,undefined]; the thread sanitizer does not understand OpenMP's threads
# TEST OPTION  for example -tc='safetensors*' for some of the tests only
#
# The kernels of the GPU, in the emulator, and the emulator itself; each order of the threads is another run:
#
#   VITRINE_EMULATOR_ORDER=reverse tests/sanitize.sh address,undefined \
#     -tc='device*,*attention on a GPU*,plain product*,emulator*'
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/cmake/packages.sh"
build=$root/build-sanitize
# shellcheck disable=SC2154,SC2086  # lists of words
have_packages $packages_library $packages_tests || exit 1

cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O1 -DVITRINE_EXAMPLES=OFF \
  -DVITRINE_EMULATOR=ON -DVITRINE_SANITIZE="${1:-address,undefined}"
cmake --build "$build" --target vitrine_tests -j "${JOBS:-$(nproc)}"
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 "$build/tests/vitrine_tests" "${@:2}"
