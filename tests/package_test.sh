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
    -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON -DVITRINE_VERSION="$2" -DLEARN="$root/examples/embed/learn.c" "${@:3}"
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
learns() { (cd "$place" && "$@" | grep 'picture 1: stripes down' && [[ -s learned.safetensors ]]); }
# README's line, with what pkg-config says of it; `eval`, since it escapes the spaces of the path.
by_pkg_config() {
  local flags
  flags=$(PKG_CONFIG_PATH=$(dirname "$(find "$place/installed" -name vitrine_c.pc)") pkg-config --cflags --libs vitrine_c) &&
    eval "cc '$root/examples/embed/learn.c' $flags -o '$place/learn'" &&
    LD_LIBRARY_PATH=$(dirname "$(find "$place/installed" -name libvitrine_c.so)") learns "$place/learn"
}
# ... and the static one, which needs no library of ours when it runs.
by_pkg_config_static() {
  local flags
  flags=$(PKG_CONFIG_PATH=$(dirname "$(find "$place/installed" -name vitrine_c.pc)") pkg-config --cflags --libs vitrine_c_static) &&
    eval "cc '$root/examples/embed/learn.c' $flags -o '$place/learn_static'" && ! ldd "$place/learn_static" | grep vitrine &&
    learns "$place/learn_static"
}
# A project that says it is in C alone.
only_c() {
  mkdir "$place/only c" && cp "$root/examples/embed/learn.c" "$place/only c" &&
    printf 'cmake_minimum_required(VERSION 3.25)\nproject(OnlyC LANGUAGES C)\nfind_package(Vitrine REQUIRED)\nadd_executable(learn learn.c)\n%s\n' \
      'target_link_libraries(learn PRIVATE Vitrine::vitrine_c)' >"$place/only c/CMakeLists.txt" &&
    cmake -S "$place/only c" -B "$place/only c/build" -DCMAKE_PREFIX_PATH="$place/installed" && cmake --build "$place/only c/build" &&
    learns "$place/only c/build/learn"
}
# The page and the completion say what the program says.
manual_is_there() {
  local page=$place/installed/share/man/man1/vitrine.1
  [[ -s $page ]] && grep -qF '\-\-prompts' "$page" &&
    { ! command -v man >/dev/null || [[ -z $(man --warnings -l "$page" 2>&1 >/dev/null) ]]; }
}
completes() { # WORDS... EXPECTED: what bash offers behind these words
  local expected=${*: -1}
  (PATH=$place/installed/bin:$PATH
   . "$place/installed/share/bash-completion/completions/vitrine"
   COMP_WORDS=(vitrine "${@:1:$#-1}") COMP_CWORD=$(($# - 1))
   _vitrine
   [[ " ${COMPREPLY[*]} " == *" $expected "* ]] || { echo "offered: ${COMPREPLY[*]}"; false; })
}
completion_works() {
  completes tu tune && completes tune --prom --prompts && completes bench lo load && completes bench step --recom --recompute &&
    ! completes tune --prom --backbone >/dev/null
}
# Packages of Debian: what is in which, that they install into a tree of their own and run there.
packs() { (cd "$build" && rm -f ./*.deb && cpack -B "$place/packages" >/dev/null && ls "$place/packages"/*.deb); }
# Whoever links the static library finds all that it names.
needs_what_it_links() {
  local depends flag
  depends=$(dpkg-deb -f "$place/packages"/libvitrine-dev_*.deb Depends)
  for flag in lz=zlib1g-dev lturbojpeg=libturbojpeg0-dev ldeflate=libdeflate-dev; do
    ! grep -q -- "-${flag%=*} " "$build/vitrine_c_static.pc" || [[ $depends == *"${flag#*=}"* ]] || { echo "no ${flag#*=}: $depends"; return 1; }
  done
}
unpacks() {
  local file
  for file in "$place/packages"/*.deb; do dpkg-deb -x "$file" "$place/debian" || return 1; done
  dpkg-deb -f "$place/packages"/vitrine_*.deb Depends | grep 'libc6 ' &&
    dpkg-deb -f "$place/packages"/libvitrine-dev_*.deb Depends | grep 'libvitrine-c1 (= ' &&
    needs_what_it_links &&
    ! dpkg-deb -c "$place/packages"/libvitrine-c1_*.deb | grep -E 'include|[.]a$' &&
    "$place/debian/usr/bin/vitrine" --version && [[ -s $place/debian/usr/share/man/man1/vitrine.1 ]]
}
lists_its_parts() {
  local list
  list=$("$root/packaging/sbom.sh" "$place/installed/bin/vitrine" 0.1.0) && grep -q '^SPDXVersion: SPDX-2.3' <<<"$list" &&
    for part in zlib1g libturbojpeg0 nlohmann-json3-dev libcli11-dev; do grep -q "^PackageName: $part" <<<"$list" || { echo "no $part"; return 1; }; done
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
check_case "README's host in C, static: it learns" learns "$place/outside/learn"
if command -v pkg-config >/dev/null; then
  check_case "README's host in C, shared, by pkg-config: it learns" by_pkg_config
  check_case "... and static: it learns without a library of ours" by_pkg_config_static
else
  skip_cases "no pkg-config here"
fi
check_case "a project in C alone builds with it, too" only_c
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
  check_case "its manual page is in order" manual_is_there
  check_case "bash completes its commands and options" completion_works
  check_case "a bill of materials names its parts" lists_its_parts
  if command -v dpkg-deb >/dev/null; then
    check_case "Debian packages are made" packs
    check_case "what is in them is where it belongs, and runs" unpacks
  else
    skip_cases "no dpkg-deb here: no Debian packages"
  fi
fi
end_cases
