#!/usr/bin/env bash
# embed_test.sh: the C interface from outside: hosts in C with the static and the shared library, and in Python by ctypes.
#
#   tests/embed_test.sh [BUILD]     BUILD: a finished build folder [build]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/cases.sh"
build=$(realpath "${1:-$root/build}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_WAIT_POLICY=passive
net=$root/models/builtin/vit.safetensors
shared=$build/libvitrine_c.so

learns() { # COMMAND...: the host of README, whose task the program opens
  rm -f learned.safetensors
  "$@" >said && grep -q 'picture 1: stripes down' said || { cat said; return 1; }
  "$build/examples/vitrine" inspect learned.safetensors | grep '^Classes .*2: stripes across, stripes down'
}
same_task() { # both hosts learn from the same bytes
  "$build/tests/embed_learn" >/dev/null && mv learned.safetensors c.safetensors &&
    python3 "$root/examples/embed/learn.py" "$shared" >/dev/null && cmp c.safetensors learned.safetensors
}
used() { sed -nE 's/^tune +planned +([0-9]+) bytes, used +([0-9]+) of.*/\1 \2/p' said; }
takes_once() { # of the method... what was planned is what was used
  "$build/tests/embed_fixed" "$@" >said && [[ $(used) =~ ^([0-9]+)\ ([0-9]+)$ && ${BASH_REMATCH[1]} == "${BASH_REMATCH[2]}" ]]
}
less_by_recomputation() {
  local all
  takes_once full 0 8 32 0 && all=$(used) && takes_once full 0 8 32 5 && ((${all% *} > $(used | cut -d ' ' -f 1)))
}
refused_in_words() { ! "$build/tests/embed_fixed" prompting 2>said && grep -q "prompting" said; }
# No name but those of vitrine.h, and all of these.
names_of_header() { sed -nE 's/^VITRINE_API .*(vitrine_[a-z_]+)\(.*/\1/p' "$root/embed/vitrine.h" | sort; }
shows_its_names() { diff <(nm -D --defined-only "$shared" | awk '{ print $3 }' | sed 's/@.*//' | sort) <(names_of_header); }
# What stands in README is the file that is tested.
readme_shows_it() {
  local lines
  lines=$(wc -l <"$root/examples/embed/learn.c")
  grep -A $((lines - 1)) '^    /\* learn.c' "$root/README.md" | sed 's/^    //' | diff - "$root/examples/embed/learn.c"
}
compiles_as_cpp() { g++ -std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Werror -x c++ "$root/embed/vitrine.h"; }
forty_lines() { (($(grep -cvE '^$|^/\*' "$root/examples/embed/learn.c") <= 40)); }

check_case "every call, right and wrong, in C" "$build/tests/embed_host_vitrine_c" "$net"
check_case "... with the shared library" "$build/tests/embed_host_vitrine_c_shared" "$net"
check_case "... with a Swin" "$build/tests/embed_host_vitrine_c" "$root/models/builtin/swin.safetensors"
if [[ -x $build/tests/embed_arena_host ]]; then
  check_case "an arena of the planned size is enough, one byte less is not, nothing is taken elsewhere" \
    "$build/tests/embed_arena_host" "$net"
  check_case "... with a Swin" "$build/tests/embed_arena_host" "$root/models/builtin/swin.safetensors"
fi
check_case "a host that takes its memory once" takes_once vpt-deep 10 8 32 0
check_case "... for full tuning, less by recomputation" less_by_recomputation
check_case "a method that is none is refused in words" refused_in_words
check_case "a host of forty lines learns" learns "$build/tests/embed_learn"
check_case "... and one in Python" learns python3 "$root/examples/embed/learn.py" "$shared"
check_case "both learn the same, to the last byte" same_task
check_case "the shared library shows the names of its header alone" shows_its_names
check_case "the header is C++, too" compiles_as_cpp
check_case "README shows the host that is tested" readme_shows_it
check_case "it has forty lines of code at most" forty_lines
end_cases
