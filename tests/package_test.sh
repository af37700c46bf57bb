#!/usr/bin/env bash
# package_test.sh: installs the build and lets an outside project use it with find_package, in a path with spaces.
#
#   tests/package_test.sh [BUILD]     BUILD: a finished build folder [build]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/cases.sh"
build=${1:-$root/build}
place=$(mktemp -d)/"a place with spaces"
trap 'rm -rf "$(dirname "$place")"' EXIT
mkdir "$place"

installs() { cmake --install "$build" --prefix "$place/installed"; }

# Without nlohmann-json: whoever uses the library needs none of its headers.
configures() {
  cmake -S "$root/tests/package" -B "$place/$1" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$place/installed" \
    -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON -DVITRINE_VERSION="$2" "${@:3}"
}
builds() { configures outside 0.1 && cmake --build "$place/outside"; }
runs() { diff <("$place/outside/outside" || echo "exit status $?") <(echo "0.250000 0.750000"); }
builds_with_mpi() { configures outside 0.1 -DWITH_MPI=ON && cmake --build "$place/outside" --target processes; }
runs_two() { diff <(OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun --oversubscribe -n 2 "$place/outside/processes") <(echo "2, the last is 1"); }
refuses_mpi() { ! configures outside 0.1 -DWITH_MPI=ON; }
refuses_another_version() { ! configures newer 99 && ! configures older 0.0; }

# The installed tree must not point back to where it was built.
stands_alone() { ! grep -rlF -e "$root" -e "$build" "$place/installed/lib/"*/cmake "$place/installed/lib/cmake" 2>/dev/null; }
# What README names is there.
documents_are_there() {
  local place=$place/installed/share/doc/vitrine name
  for name in $(grep -oE '(docs|bench/results)/[a-z0-9-]+\.md' "$root/README.md"); do
    [[ -f $place/$name ]] || { echo "$name is not installed"; return 1; }
  done
  [[ -f $place/README.md && -f $place/LICENSE ]]
}
program_runs() { cd / && "$place/installed/bin/vitrine" --version; }

# What a kernel of one instruction set shared with the rest of the program, the linker could take for all: only C functions
# may be common.
keeps_kernels_apart() {
  local objects
  objects=$(find "$build" -path '*engine/cpu/kernels/*.o')
  # shellcheck disable=SC2086  # a list of files
  [[ -n $objects ]] && ! nm --extern-only --defined-only $objects | grep -E '^[0-9a-f]+ ' | grep -v '_kernelsE$'
}

check_case "the kernels of an instruction set share no function with the rest" keeps_kernels_apart
check_case "the library installs" installs
check_case "an outside project builds with it, without nlohmann-json" builds
check_case "its program runs" runs
if grep -q '^VITRINE_MPI:BOOL=\(ON\|TRUE\|1\)' "$build/CMakeCache.txt"; then
  check_case "one that asks for several processes builds, too" builds_with_mpi
  check_case "its two processes meet" runs_two
else
  check_case "one that asks for several processes is refused, for the library was built without MPI" refuses_mpi
fi
check_case "another version is refused" refuses_another_version
check_case "the installed CMake files name no build folder" stands_alone
check_case "what README names is installed" documents_are_there
if grep -q '^VITRINE_EXAMPLES:BOOL=ON' "$build/CMakeCache.txt"; then
  check_case "the installed vitrine program runs" program_runs
fi
end_cases
