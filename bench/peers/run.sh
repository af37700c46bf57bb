#!/usr/bin/env bash
# run.sh: the whole comparison: Vitrine, PyTorch (Debian's and the newest) and ONNX Runtime, in turns on the same machine,
# and the machine's own peak.
#
#   bench/peers/run.sh [--quick] [--peer-only]
#
# --quick            one round of one step of ViT-Ti/16 with a batch of 4: to see that all of it works
# --peer-only        without Vitrine
#
# ROUNDS (3)         rounds; in each every program has its turn, and what is reported are medians over rounds
# STEPS (2)          timed steps in each run, after one or two that are not; a run counts with its median step
# THREADS (2)        threads of all programs
# MODELS             default "vit-b16:8 vit-ti16:32", model:batch or model:batch:prompts,prompts,..., such as "swin-t:8:10,50"
# PROMPTS (1,50,200) prompts where an entry of MODELS names none; comparisons of forms, precision and memory are made at 50,
#                    or at the first if 50 is not among them
# LIMIT (240)        seconds after which a run is given up; it is named as skipped
# COMPILE (1)        0 goes without torch.compile, which is slow to begin; --quick does
# VITRINE            the program; default build/examples/vitrine, which is built if it is not there
# PEERS_VENV         the virtual environment; default $CACHE/venv, made if it is not there. NO_NEWEST=1 goes without
# CACHE              default ${XDG_CACHE_HOME:-~/.cache}/vitrine-peers: the virtual environment and the ONNX files
# RESULTS            where <date>-cpu.md and .json go, default bench/results; nowhere with --quick
#
# Progress goes to stderr; the last line, alone on stdout, is one JSON object. Exit status 1 when something is missing.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
CACHE=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vitrine-peers}
say() { echo "peers: $*" >&2; }
die() { say "$*"; exit 1; }

quick=0 peer_only=0
for argument in "$@"; do
  case $argument in
    --quick) quick=1 ;;
    --peer-only) peer_only=1 ;;
    *) die "unknown option '$argument'; usage: run.sh [--quick] [--peer-only]" ;;
  esac
done
compile=${COMPILE:-$((!quick))}
rounds=${ROUNDS:-3} steps=${STEPS:-2} models=${MODELS:-"vit-b16:8 vit-ti16:32"} results=${RESULTS:-$root/bench/results}
if ((quick)); then rounds=${ROUNDS:-1} steps=${STEPS:-1} models=${MODELS:-vit-ti16:4} results=${RESULTS:-}; fi
threads=${THREADS:-2} prompts=${PROMPTS:-1,50,200} limit=${LIMIT:-240}
for number in "$rounds" "$steps" "$threads" "$limit"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || die "expected a positive number, got '$number'"
done
[[ $compile =~ ^[01]$ ]] || die "COMPILE: expected 0 or 1, got '$compile'"
((compile)) || say "*** SKIPPED: torch.compile ***"
list='[1-9][0-9]*(,[1-9][0-9]*)*'
[[ $prompts =~ ^$list$ ]] || die "PROMPTS: expected numbers with commas between them, got '$prompts'"
seen=" "
for entry in $models; do
  [[ $entry =~ ^(vit|swin)-[a-z0-9]+:[1-9][0-9]*(:$list)?$ ]] ||
    die "MODELS: expected entries such as vit-b16:8 or swin-t:8:10,50, got '$entry'"
  [[ $seen != *" ${entry%%:*} "* ]] || die "MODELS: '${entry%%:*}' stands there twice"
  seen+="${entry%%:*} "
done

# --- what is needed ---
# shellcheck source=cmake/packages.sh
source "$root/cmake/packages.sh"
# shellcheck source=bench/peers/environment.sh
source "$here/environment.sh"
# python3-dev and g++ are for torch.compile.
have_packages python3-torch python3-numpy python3-venv python3-dev g++ libopenblas0-openmp || exit 1
find_openblas
find_newest
vitrine=${VITRINE:-$root/build/examples/vitrine}
if ((peer_only)); then
  vitrine=
elif [[ ! -x $vitrine && -z ${VITRINE:-} ]]; then
  say "building Vitrine in $root/build"
  # shellcheck disable=SC2086,SC2154 # lists of words
  have_packages $packages_library $packages_program || exit 1
  { cmake -S "$root" -B "$root/build" -G Ninja -DVITRINE_TESTS=OFF && cmake --build "$root/build" --target vitrine_cli; } >&2 ||
    die "Vitrine could not be built"
fi
[[ -z $vitrine || -x $vitrine ]] || die "no vitrine program at '$vitrine'; or measure the peers alone with --peer-only"

# --- is the machine quiet? load average and two seconds of /proc/stat: busy and stolen time of all cores, percent ---
busy_percent() {
  local a b
  read -r -a a </proc/stat
  sleep 2
  read -r -a b </proc/stat
  local total=0 idle=$((b[4] - a[4] + b[5] - a[5])) i
  for i in 1 2 3 4 5 6 7 8; do total=$((total + b[i] - a[i])); done
  echo $((total > 0 ? 100 * (total - idle) / total : 0))
}
busy=$(busy_percent)
load=$(cut -d' ' -f1 /proc/loadavg)
quiet=true
if ((busy > 5)) || awk -v load="$load" 'BEGIN { exit !(load > 0.5) }'; then
  quiet=false
  say "*** WARNING: THIS MACHINE IS NOT QUIET: load average $load, cores $busy% busy. ***"
  say "*** Threads that wait for each other by spinning slow down many times. Do not publish these numbers. ***"
fi

# --- the rounds, and what they show ---
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export OMP_NUM_THREADS=$threads OMP_DYNAMIC=false
# shellcheck disable=SC2086 # entries of MODELS
"$python" "$here/rounds.py" --log "$log" --vitrine "$vitrine" --python "$python" --preload "$preload" --newest "$newest" \
  --onnx-folder "$CACHE/onnx" --rounds "$rounds" --steps "$steps" --threads "$threads" --prompts "$prompts" --limit "$limit" \
  --compile "$compile" $models

version_of() { dpkg-query -W -f '${Version}' "$1"; }
vitrine_version=none
[[ -z $vitrine ]] || vitrine_version=$("$vitrine" --version | head -n 1)
date=$(date +%F)
line=$("$python" "$here/summary.py" "$log" date="$date" machine="$(lscpu | sed -n 's/^Model name: *//p' | head -n 1)" \
  cores="$(nproc)" system="$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release), Linux $(uname -r)" threads="$threads" \
  rounds="$rounds" steps="$steps" quick="$quick" quiet="$quiet" load_before="$load" busy_percent_before="$busy" \
  vitrine="$vitrine_version" commit="$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)" \
  compiler="$(g++ --version | head -n 1)" python3_torch="$(version_of python3-torch)" \
  libopenblas0_openmp="$(version_of libopenblas0-openmp)" skipped_newest="$no_newest")
if [[ -n $results ]]; then
  mkdir -p "$results"
  "$python" "$here/table.py" <<<"$line" >"$results/$date-cpu.md"
  echo "$line" >"$results/$date-cpu.json"
  say "written: $results/$date-cpu.md and .json"
else
  "$python" "$here/table.py" <<<"$line" >&2
fi
echo "$line"
