#!/usr/bin/env bash
# cuda_test.sh: the CUDA device library as far as it shows without a GPU: what it exports and needs, what it says where
# there is no device, and the file in which it keeps its choices.
#
#   tests/cuda_test.sh [BUILD]     BUILD: a finished build folder [build]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/cases.sh"
build=${1:-$root/build}
library=$build/lib/libvitrine_cuda.so
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

compiles() { "${CXX:-c++}" -std=c++20 -Wall -Wextra -Werror -I "$root" "$@"; }

# The choices of plans need no CUDA.
cat >"$place/plans.cpp" <<'END'
#include <cstdio>
#include <cstring>

#include "engine/gpu/cuda/plan_file.h"

// plans FILE KEY [VALUE]: prints what KEY has, or gives it a value. plans: prints the path.
int main(int count, char** words) {
  using namespace vitrine::gpu;
  if (count == 1) return std::puts(plan_path().c_str()) < 0;
  PlanFile file(words[1]);
  if (count == 4) return file.remember(words[2], words[3]) && *file.find(words[2]) == words[3] ? 0 : 1;
  const std::string* value = file.find(words[2]);
  return value == nullptr || std::puts(value->c_str()) < 0;
}
END
plans() { "$place/plans" "$@"; }
keeps_plans() {
  local file="$place/a folder/deeper/plans.txt"
  plans "$file" "one shape" "1 2 3" && plans "$file" "another" "4" && [[ $(plans "$file" "one shape") == "1 2 3" ]] &&
    [[ $(ls -A "$place/a folder/deeper") == plans.txt ]] && ! plans "$file" "one"
}
ignores_damage() {
  local file=$place/damaged.txt
  {
    printf 'no tab\n\t\nempty\t\n\tempty\nbad\x01key\tvalue\nbad\tval\x80ue\ntwo\ttabs\there\n'
    printf 'good\tfirst\ngood\tsecond\nlong\t%02000d\ncut off\tva' 0
  } >"$file"
  [[ $(plans "$file" good) == first ]] && ! plans "$file" empty && ! plans "$file" bad && ! plans "$file" long &&
    ! plans "$file" two && plans "$file" new value && [[ $(plans "$file" new) == value ]] &&
    [[ $(cut -f 1 "$file" | sort | tr '\n' ,) == "cut off,good,new," ]]
}
# A folder in its place, something that is no folder above it, a pipe that nobody writes to.
says_when_it_cannot_keep() {
  mkdir "$place/occupied" && touch "$place/file" && mkfifo "$place/pipe" && ! plans "$place/occupied" a b &&
    [[ -z $(ls -A "$place/occupied") ]] && ! plans "$place/file/plans.txt" a b && ! timeout 10 "$place/plans" "$place/pipe" a
}
# Four at once, each with fifty of its own.
keeps_those_of_all() {
  local file=$place/shared/plans.txt i j
  for i in 1 2 3 4; do (for ((j = 0; j < 50; ++j)); do plans "$file" "key $i $j" "value" || exit 1; done) & done
  wait
  [[ $(wc -l <"$file") == 200 && $(ls -A "$place/shared") == plans.txt ]]
}
knows_its_place() {
  [[ $(VITRINE_PLANS=/x plans) == /x && -z $(VITRINE_PLANS=none plans) ]] &&
    [[ $(env -u VITRINE_PLANS XDG_CACHE_HOME=/c HOME=/h "$place/plans") == /c/vitrine/plans.txt ]] &&
    [[ $(env -u VITRINE_PLANS -u XDG_CACHE_HOME HOME=/h "$place/plans") == /h/.cache/vitrine/plans.txt ]] &&
    [[ -z $(env -u VITRINE_PLANS -u XDG_CACHE_HOME -u HOME "$place/plans") ]]
}
check_case "the file of plans compiles without CUDA" \
  compiles -DVITRINE_FILES=1 "$place/plans.cpp" "$root/engine/gpu/cuda/plan_file.cpp" -o "$place/plans"
check_case "plans are kept" keeps_plans
check_case "plans of several at once are kept" keeps_those_of_all
check_case "damaged lines are ignored" ignores_damage
check_case "a plan that cannot be kept is an answer" says_when_it_cannot_keep
check_case "the environment says where" knows_its_place

if ! grep -q '^VITRINE_CUDA:BOOL=ON' "$build/CMakeCache.txt"; then
  skip_cases "libvitrine_cuda: this build has VITRINE_CUDA=OFF"
  end_cases
  exit
fi

# open LIBRARY BORDER: prints what `open` says, or the device; exit status 3 if the library knows no such border.
cat >"$place/open.cpp" <<'END'
#include <dlfcn.h>

#include <cstdio>

#include "engine/gpu/kernels.h"

int main(int, char** words) {
  void* library = dlopen(words[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return std::puts(dlerror()), 1;
  using Open = const vitrine::gpu::Kernels* (*)(const char*);
  const Open table = reinterpret_cast<Open>(dlsym(library, "vitrine_device_library"));
  if (table == nullptr) return std::puts(dlerror()), 1;
  const vitrine::gpu::Kernels* kernels = table(words[2]);
  if (kernels == nullptr) return 3;
  vitrine::gpu::Queue* queue = nullptr;
  const char* wrong = kernels->open({}, &queue);
  if (wrong != nullptr) return std::puts(wrong), queue != nullptr;
  std::puts(kernels->describe(queue));
  kernels->close(queue);
}
END
exports_one_symbol() { [[ $(nm -D --defined-only "$library" | awk '{ print $3 }') == vitrine_device_library ]]; }
needs() { readelf -d "$library" | grep -q "NEEDED.*\[$1"; }
needs_cublas_alone() { needs 'libcublasLt\.so\.13\]' && ! needs libcudart && ! needs 'libcuda\.' && ! needs libvitrine; }
border=$(sha256sum "$root/engine/gpu/kernels.h" | cut -d ' ' -f 1)
opens() { "$place/open" "$library" "$@"; }
refuses_another_border() {
  local status=0
  opens "${border/[0-9a-f]/x}" || status=$?
  [[ $status == 3 ]]
}
# Which of the two depends on the machine: a driver there names its devices in /proc.
says_what_is_there() {
  local said
  said=$(opens "$border") && printf '%s\n' "$said" || return
  if compgen -G '/proc/driver/nvidia/gpus/*' >/dev/null; then
    [[ $said =~ ^NVIDIA.*,\ [0-9]+\ GiB,\ compute\ capability\ [0-9.]+,\ CUDA\ 1[3-9].[0-9]+,\ cuBLASLt\ [0-9]+$ ]]
  else
    [[ $said =~ ^cuda:\ no\ device:\ (this\ machine\ has\ no\ NVIDIA\ driver|CUDA\ driver\ version\ is\ insufficient|no\ CUDA-capable\ device) ]]
  fi
}
nothing_else_needs_cuda() {
  local program
  for program in "$build/tests/vitrine_tests" "$build/examples/vitrine"; do
    [[ ! -e $program ]] || ! readelf -d "$program" | grep -iE 'NEEDED.*(cuda|cublas)' || return
  done
}
check_case "libvitrine_cuda is there" test -f "$library"
check_case "it exports one symbol" exports_one_symbol
check_case "it needs cuBLASLt, and neither the CUDA runtime nor the driver" needs_cublas_alone
check_case "a program that opens it compiles" compiles "$place/open.cpp" -ldl -o "$place/open"
check_case "it refuses another border" refuses_another_border
check_case "it opens a device, or says why there is none" says_what_is_there
check_case "nothing else needs CUDA" nothing_else_needs_cuda
end_cases
