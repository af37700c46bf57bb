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
# Stripes of three widths and two brightnesses, as BMP files.
draws() {
  python3 - pictures <<'END'
import os, struct, sys
for across in (0, 1):
    place = os.path.join(sys.argv[1], ("down", "across")[across])
    os.makedirs(place)
    for i in range(6):
        rows = bytes(v for y in range(40) for x in range(40) for v in [(x, y)[across] // (3 + i // 2) % 2 * 150 + 30 + 20 * (i % 2)] * 3)
        head = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 54 + len(rows), 0, 54, 40, 40, 40, 1, 24, 0, len(rows), 2835, 2835, 0, 0)
        open(os.path.join(place, "%d.bmp" % i), "wb").write(head + rows)
END
}
small() { "$build/vitrine_small" "$@"; }
small_learns() {
  draws && echo "no picture" >pictures/down/README.txt && small learn "$net" pictures small.safetensors 5 >said && grep 'Left out: pictures/down/README.txt' said && grep 'Learns 2 classes from 12 pictures in 5 steps' said &&
    small predict "$net" small.safetensors pictures/*/5.bmp | tee said &&
    [[ $(sed 's/, [0-9.]* %$//' said) == $'pictures/across/5.bmp: across\npictures/down/5.bmp: down' ]]
}
program_opens_it() {
  "$build/examples/vitrine" predict --task small.safetensors pictures/across/5.bmp --json >said && grep '"across"' said
}
small_refuses() { # in words, and leaves nothing
  mkdir -p others/a others/b && cp "$root/README.md" others/a/1.bmp && cp "$root/README.md" others/b/1.bmp
  ! small predict "$net" small.safetensors others/a/1.bmp 2>said && grep 'others/a/1.bmp: unknown image type' said &&
    ! small predict "$net" others/a/1.bmp pictures/down/1.bmp 2>said && grep safetensors said &&
    ! small learn "$net" pictures/down none 2>said && grep 'pictures/down' said &&
    ! small learn "$net" others none 2>said && grep 'others/a/1.bmp' said &&
    ! small learn "$net" pictures no/such/place 2>said && grep 'no/such/place: No such file' said &&
    cp small.safetensors kept && ! (ulimit -f 8; trap '' XFSZ; small learn "$net" pictures kept 1 2>said) && grep 'kept: File too large' said &&
    cmp kept small.safetensors && ! compgen -G '*.new' && ! small learn "$net" pictures pictures 1 2>said && grep 'pictures: is there and no file' said &&
    ! small learn "$net" pictures none 0 2>said && grep 'steps' said &&
    ! small 2>said && grep 'small learn BACKBONE' said && [[ ! -e none ]]
}
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
check_case "a command line of small machines learns from folders" small_learns
check_case "... and the program opens what it learned" program_opens_it
check_case "... and it refuses in words" small_refuses
check_case "both learn the same, to the last byte" same_task
check_case "the shared library shows the names of its header alone" shows_its_names
check_case "the header is C++, too" compiles_as_cpp
check_case "README shows the host that is tested" readme_shows_it
check_case "it has forty lines of code at most" forty_lines
end_cases
