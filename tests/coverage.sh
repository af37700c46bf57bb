#!/usr/bin/env bash
# coverage.sh: how many branches of the readers of foreign files the tests take, in build-coverage/. Slow, so neither
# tests/run.sh nor CI calls it.
#
#   tests/coverage.sh [TEST OPTION...]
#
# TEST OPTION  which tests run [those of containers, checkpoints and pictures]
# CLANG        the compiler [clang++]; LLVM_PROFDATA and LLVM_COV the tools of its version [llvm-profdata-14, llvm-cov-14]
#
# Prints a line for each file: branches taken, all, share; and what was never taken, as FILE:LINE:COLUMN true|false. A
# branch is one outcome of one condition in the source. Exit status 1 if less than 95 % of all are taken.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build-coverage
options=("$@")
((${#options[@]})) || options=('-sf=*containers*,*safetensors*,*dialects*,*position*,*layouts*,*decoder*,*image*,*picture*,*preset*,*resize*,*checkpoint*,*torch_tensors*,*dialect_facts*,*hub_config*,*class_names*')

cmake -S "$root" -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="${CLANG:-clang++}" -DCMAKE_BUILD_TYPE=None \
  -DCMAKE_CXX_FLAGS='-O1 -fprofile-instr-generate -fcoverage-mapping -DVITRINE_COVERAGE' -DVITRINE_OPENMP=OFF -DVITRINE_EXAMPLES=OFF \
  -DVITRINE_EMULATOR=OFF -DVITRINE_CUDA=OFF -DVITRINE_INSTALL=OFF
cmake --build "$build" --target vitrine_tests -j "${JOBS:-$(nproc)}"
LLVM_PROFILE_FILE=$build/raw.profraw "$build/tests/vitrine_tests" "${options[@]}"
"${LLVM_PROFDATA:-llvm-profdata-14}" merge -sparse "$build/raw.profraw" -o "$build/tests.profdata"
"${LLVM_COV:-llvm-cov-14}" export "$build/tests/vitrine_tests" -instr-profile="$build/tests.profdata" \
  --skip-expansions "$root"/engine/safetensors.cpp "$root"/engine/containers "$root"/models/checkpoints \
  "$root"/data/decode.cpp "$root"/data/png.cpp "$root"/data/stb.cpp "$root"/data/image.cpp >"$build/coverage.json"
python3 - "$build/coverage.json" "$root/" <<'PYTHON'
import json
import sys

total = taken = 0
missed = []
for file in json.load(open(sys.argv[1]))["data"][0]["files"]:
    name = file["filename"].removeprefix(sys.argv[2])
    outcomes = {}  # of one condition, in all instances of a template together
    for line, column, _, _, true, false, *_ in file["branches"]:
        seen = outcomes.setdefault((line, column), [0, 0])
        seen[0] += true
        seen[1] += false
    flat = [(where, words, count) for where, counts in outcomes.items() for words, count in zip(("true", "false"), counts)]
    here = sum(1 for _, _, count in flat if count)
    missed += [f"{name}:{line}:{column} {words}" for (line, column), words, count in sorted(flat) if not count]
    if flat:
        print(f"{name:<44} {here:4} of {len(flat):4}  {100 * here / len(flat):5.1f} %")
    total, taken = total + len(flat), taken + here
print(f"{'all':<44} {taken:4} of {total:4}  {100 * taken / total:5.1f} %")
print("never taken:", *missed, sep="\n  ")
sys.exit(taken < 0.95 * total)
PYTHON
