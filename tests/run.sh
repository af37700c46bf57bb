#!/usr/bin/env bash
# run.sh: builds Vitrine in build/ and runs every test. Installs the Debian packages it misses (as root; otherwise it says
# which). The last line is the count, the exit status 1 if a test failed.
#
#   tests/run.sh
#
# ALL=true            also what takes long and can only have changed with files that the last commits did not touch
# JOBS (all cores)    how many compilers run at once
# CI=true             makes warnings errors
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/cmake/packages.sh"
. "$root/tests/cases.sh"
build=$root/build
export JOBS=${JOBS:-$(nproc)}

# shellcheck disable=SC2154,SC2086  # lists of words
have_packages $packages_library $packages_program $packages_tests || exit 1
# shellcheck disable=SC2154,SC2086
have_packages $packages_mpi || true  # without them several processes are not tested
# shellcheck disable=SC2154,SC2086
have_packages $packages_example || true  # without it mini-VTAB's own command is not

start=$SECONDS times=
options=(-DCMAKE_BUILD_TYPE=Release -DVITRINE_TESTS=ON -DVITRINE_EXAMPLES=ON -DVITRINE_GPU_BENCH=ON)
! command -v mpicc >/dev/null || options+=(-DVITRINE_MPI=ON)
[[ ${CI:-} != true ]] || options+=(-DVITRINE_WERROR=ON)
cmake -S "$root" -B "$build" -G Ninja "${options[@]}"
cmake --build "$build" -j "$JOBS"

passed=0 failed=0
# part NAME COUNTER COMMAND... : runs the command; COUNTER finds "<passed> <failed>" in what it printed. A command that
# does not come to its count has failed, too.
part() {
  local name=$1 counter=$2 status=0 count start=$SECONDS
  shift 2
  echo
  echo "=== $name"
  "$@" 2>&1 | tee "$printed" || status=$?
  count=$($counter <"$printed")
  if [[ ! $count =~ ^[0-9]+\ [0-9]+$ ]] || [[ $status != 0 && $count == *" 0" ]]; then
    echo "FAILED: $name ended with status $status"
    count="0 1"
  fi
  passed=$((passed + ${count% *})) failed=$((failed + ${count#* }))
  took "$name" "$start"
}
took() { times+=$(printf '%6d s  %s' $((SECONDS - $2)) "$1")$'\n'; }  # NAME START
doctest_count() { sed -nE 's/^\[doctest\] test cases: +[0-9]+ \| +([0-9]+) passed \| +([0-9]+) failed.*/\1 \2/p'; }
shell_count() { tail -n 1 | sed -nE 's/^([0-9]+) passed, ([0-9]+) failed.*/\1 \2/p'; }
# The tours check what they show and fail if it is not so.
tours() (
  for tour in hello_tensor hello_gradient hello_prompts; do check_case "$tour" "$build/examples/$tour"; done
  end_cases
)

took "building" "$start"
scratch=$(mktemp -d)
printed=$scratch/printed
trap 'rm -rf "$scratch"' EXIT
# The library's tests keep one core busy for minutes: they run beside the others, with a folder of their own for files.
mkdir "$scratch/files"
TMPDIR=$scratch/files "$build/tests/vitrine_tests" --no-colors >"$scratch/library" 2>&1 &
library=$!
library_ended() {
  cat "$scratch/library"
  return "$1"
}
part "guided tours" shell_count tours
part "include direction" shell_count "$root/tests/include_direction.sh"
if [[ -n $(cd "$root" && touched '*.cu' 'engine/gpu/*.h' engine/gpu/emulator tests/mutants.sh ':!engine/gpu/run.h') ]]; then
  part "kernels without one wait" shell_count "$root/tests/mutants.sh" "$build"
else
  echo
  echo "SKIPPED: kernels without one wait: the last commits touched no kernel (ALL=true tests them)"
fi
part "vitrine program" shell_count "$root/tests/cli_test.sh" "$build/examples/vitrine"
part "sweep and table" shell_count "$root/tests/sweep_test.sh" "$build/examples/vitrine"
part "several processes" shell_count "$root/tests/mpi_test.sh" "$build/examples/vitrine"
part "server" shell_count "$root/tests/serve_test.sh" "$build/examples/vitrine"
part "report of a run" shell_count "$root/tests/report_test.sh" "$build/examples/vitrine"
part "comparison with peers" shell_count "$root/tests/peers_test.sh"
part "real checkpoint" shell_count "$root/tests/assets_test.sh" "$build/examples/vitrine"
part "CUDA library" shell_count "$root/tests/cuda_test.sh" "$build"
part "measuring on a GPU" shell_count "$root/tests/gpu_bench_test.sh" "$build"
part "C interface" shell_count "$root/tests/embed_test.sh" "$build"
part "package" shell_count "$root/tests/package_test.sh" "$build"
part "variants" shell_count "$root/tests/variants_test.sh"
part "sizes and parts" shell_count "$root/tests/size_test.sh" "$build"
if command -v em++ >/dev/null; then
  part "page" shell_count "$root/tests/web_test.sh" "$build/examples/vitrine"
else
  echo
  echo "SKIPPED: page: no emscripten here (tests/web_test.sh installs it)"
fi
status=0
wait "$library" || status=$?
part "library" doctest_count library_ended "$status"

echo
echo "=== where the time went"
printf '%s' "$times"
echo "$passed passed, $failed failed"
((failed == 0))
