#!/usr/bin/env bash
# mutants.sh: whether the tests of the GPU's kernels can fail. Each place of a kernel where threads wait (a barrier, a
# __syncwarp, a wait for asynchronous copies) is left out in turn, by the emulator and without building again; a test
# must fail in one of the emulator's orders, or the place be named below with a reason.
#
#   tests/mutants.sh [BUILD]     BUILD: a finished build folder [build]
#
# JOBS (all cores)    how many places are left out at once, each in a process of its own
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/cases.sh"
tests=${1:-$root/build}/tests/vitrine_tests
kernels='device*,*attention on a GPU*,plain product*'  # cases of tests
orders=(forward reverse random:1)
export OMP_WAIT_POLICY=passive

# Places that may be left out unseen: FILE FUNCTION N (its n-th wait), then why.
survivors() {
  cat <<'END'
layout.cu sum_beside 2 what it keeps apart is a block's next round, which begins at 2^25 outputs
attention_tiles_forward.h tile_forward_kernel 3 a lane overwrites the very chunks that it has stored; this orders the memory of a GPU, which the emulator does not reorder
attention_tiles_forward.h tile_forward_kernel 5 the lanes meet at load_matrices, too; this orders memory
attention_tiles_backward.h own_rows 1 the lanes have met at load_matrices, too; this orders memory
attention_tiles_backward.h own_rows 3 the lanes meet at load_matrices, too; this orders memory
END
}

# "FILE:LINE FILE FUNCTION N KIND" for each wait in the sources.
sites() {
  cd "$root"
  awk '
    FNR == 1 { file = FILENAME; sub(/.*\//, "", file); head = ""; name = "?" }
    { sub(/\/\/.*/, "") }
    /__(global|device|host)__/ && head == "" { open = 1 }
    open {
      head = head " " $0
      if (/[{;]/) {
        gsub(/__[a-z_]+__ *(\([^()]*(\([^()]*\))?[^()]*\))?/, " ", head)
        if (match(head, /[A-Za-z_0-9]+ *\(/)) { name = substr(head, RSTART, RLENGTH); sub(/ *\($/, "", name); count = 0 }
        open = 0
        head = ""
      }
    }
    {
      rest = $0
      while (match(rest, /(__syncthreads|__syncwarp|wait_for_copies)[ <(]/)) {
        print file ":" FNR, file, name, ++count, substr(rest, RSTART, RLENGTH - 1)
        rest = substr(rest, RSTART + RLENGTH)
      }
    }' engine/ops/*.cu nn/*.cu engine/gpu/*.cu engine/gpu/*.h
}

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
run() { # ORDER CASES [VARIABLE=VALUE...]
  local order=$1 cases=$2
  shift 2
  mkdir -p "$place/own-$BASHPID"  # what two of them write must not meet
  env TMPDIR="$place/own-$BASHPID" VITRINE_EMULATOR_ORDER="$order" "$@" timeout 300 "$tests" --no-colors --no-intro --abort-after=1 -tc="$cases"
}
# Leaves what each case executes in $place/of/NUMBER, its name in $place/name/NUMBER. A comma would part two patterns.
cases_run() {
  local number=0 name
  mkdir -p "$place/of" "$place/name"
  while read -r name; do
    number=$((number + 1))
    tr ',' '?' <<<"$name" >"$place/name/$number"
    run forward "$(<"$place/name/$number")" VITRINE_EMULATOR_SITES="$place/of/$number" || return 1
    touch "$place/of/$number"
  done < <("$tests" -ltc --no-colors --no-intro -tc="$kernels" | grep -vE '^(\[doctest\]|=+$)')
  ((number > 0))
}
passes_in() { run "$1" "$kernels"; }
executed() { grep -qxh "$2 $1" "$place"/of/*; } # SITE KIND
all_are_in_the_sources() {
  ! cat "$place"/of/* | sed 's/.* //' | grep -E '\.(cu|h):' | sort -u | grep -vxFf <(cut -d ' ' -f 1 <<<"$all")
}
one_to_a_line() { [[ -z $(cut -d ' ' -f 1 <<<"$all" | sort | uniq -d) ]]; }
listed() { grep -q "^$1 $2 $3 " <<<"$(survivors)"; }
# Runs the cases that execute the site without it, all of them in one order before the next order, until one fails: what
# that one printed is then in $place/seen/SITE-KIND.
try_without() { # SITE KIND
  local order number printed=$place/printed-$1-$2
  for order in "${orders[@]}"; do
    for number in $(cd "$place/of" && grep -lx "$2 $1" -- * | sort -n); do
      run "$order" "$(<"$place/name/$number")" VITRINE_EMULATOR_SKIP="$1" >"$printed" 2>&1 && continue
      mv "$printed" "$place/seen/$1-$2"
      return
    done
  done
}
try_without_each() {
  mkdir "$place/seen"
  export place tests orders_text="${orders[*]}"
  export -f run try_without
  cut -d ' ' -f 1,5 <<<"$all" |
    xargs -P "${JOBS:-$(nproc)}" -n 2 bash -c 'read -ra orders <<<"$orders_text"; try_without "$@"' _
}
caught() { [[ -e $place/seen/$1-$2 ]]; } # SITE KIND
survives() { ! caught "$@" || { tail -n 20 "$place/seen/$1-$2"; return 1; }; }

all=$(sites)
check_case "the sources have $(wc -l <<<"$all") places where threads wait, each on a line of its own" one_to_a_line
check_case "the tests pass as the kernels are, each case alone" cases_run
for order in "${orders[@]:1}"; do check_case "they pass in the order $order" passes_in "$order"; done
check_case "the tests execute no place that was not found in the sources" all_are_in_the_sources
check_case "each place is left out in turn" try_without_each

while read -r site file name count kind; do
  what="$file: $name: wait $count, $kind (line ${site##*:})"
  check_case "executed: $what" executed "$site" "$kind"
  if listed "$file" "$name" "$count"; then
    check_case "listed, and its lack is not seen: $what" survives "$site" "$kind"
  else
    check_case "its lack is seen: $what" caught "$site" "$kind"
  fi
done <<<"$all"
while read -r file name count _; do
  check_case "in the sources: $file $name $count" grep -q " $file $name $count " <<<"$all"
done < <(survivors)
end_cases
