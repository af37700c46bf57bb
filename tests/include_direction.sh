#!/usr/bin/env bash
# include_direction.sh: the folders of the library depend on each other in one direction only, and public headers
# (all but engine/cpu, engine/gpu/cuda, engine/ops and what is private to a folder: config_json.h, json_events.h, shallow_json.h, hub_fields.h) show none of the libraries behind them.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/cases.sh"

# Which folders the sources of a folder may include from, as a pattern for the path between the quotes.
allowed() {
  case $1 in
    engine/*) echo '^engine/' ;;
    nn/*) echo '^(engine|nn)/' ;;
    data/*) echo '^(engine|data)/' ;;
    embed/*) echo '^(engine|nn|data|models|embed)/' ;;
    models/training/*) echo '^(engine|nn|data|models)/' ;;
    models/checkpoints/*) echo '^(engine|nn)/|^models/([^/]+|checkpoints/[^/]+)$' ;;
    models/*) echo '^(engine|nn)/|^models/([^/]+|builtin/[^/]+)$' ;;
  esac
}
foreign='^[ \t]*#[ \t]*include[ \t]*[<"](Eigen|unsupported/Eigen|cuda|cublas|nlohmann|fmt|CLI|stb|toml|zlib|libdeflate|turbojpeg|omp|mpi\.h|doctest)'

# Prints what breaks the rules in the tree at $1.
violations() (
  cd "$1"
  find engine nn models data embed -name '*.h' -o -name '*.cpp' -o -name '*.cu' | sort | while read -r file; do
    pattern=$(allowed "$file")
    sed -nE 's/^[ \t]*#[ \t]*include[ \t]*"([^"]*)".*/\1/p' "$file" | { grep -Ev "$pattern" || true; } |
      sed "s|^|$file may not include |"
    case $file in
      engine/cpu/* | engine/gpu/cuda/* | engine/ops/* | engine/json_events.h | models/config_json.h | models/training/shallow_json.h | models/training/hub_fields.h) ;;
      *.h) { grep -E "$foreign" "$file" || true; } | sed "s|^|$file is public, but has |" ;;
    esac
  done
)
none() { local found; found=$(violations "$1"); echo "$found"; [[ -z $found ]]; }

# A made-up tree with one offence in each file whose name begins with bad.
made_up=$(mktemp -d)
trap 'rm -rf "$made_up"' EXIT
mkdir -p "$made_up"/{engine/cpu,engine/gpu/cuda,nn,data,models/training,embed}
put() { echo "$2" >"$made_up/$1"; }
put engine/good.h '#include "engine/shape.h"'
put engine/cpu/good.h '#include <Eigen/Core>'
put engine/gpu/cuda/good.h '#include <cuda_runtime.h>'
put engine/gpu/bad.h '#include <cuda_runtime.h>'
put nn/good.h '#include "engine/ops.h"'
put models/good.cpp '#include "models/vit.h"'
put models/training/good.cpp '#include "data/loader.h"'
put engine/bad.cpp '#include "nn/layers.h"'
put engine/bad.h '# include <Eigen/Core>'
put engine/cpu/bad.cpp '#include "gemm.h"'
put nn/bad.h '  #include "data/image.h"'
put nn/bad.cpp '#include "models/vit.h"'
put data/bad.cpp '#include "nn/scope.h"'
put data/bad.h '#include <nlohmann/json.hpp>'
put models/bad.h '#include "data/dataset.h"'
put models/bad.cpp '#include "models/training/tune.h"'
put models/training/bad.cpp '#include "examples/vitrine/console.h"'
finds_each() {
  diff <(violations "$made_up" | sed 's/ .*//' | sort) <(cd "$made_up" && find . -name 'bad*' | sed 's|^\./||' | sort)
}

check_case "every made-up offence is found, and nothing else" finds_each
check_case "no folder includes a higher one, no public header a foreign library" none "$root"
end_cases
