#!/usr/bin/env bash
# run.sh: Vitrine and PyTorch on the same training step, in turns on the same machine.
#
#   bench/peers/run.sh [--peer-only]
#
# ROUNDS (5)         rounds of: PyTorch textbook, Vitrine, PyTorch kv; medians over the rounds are reported
# STEPS (5)          timed steps in each run (the peer warms up with two more); a run counts with its median step
# THREADS (2)        threads of both programs
# MODELS             default "vit-b16:8 vit-ti16:32", model:batch or model:batch:prompts, such as "swin-t:8:10"; in the
#                    result the former is named by its model, the latter by the whole entry
# PROMPTS (50)       prompts where an entry of MODELS names none
# VITRINE            the program, default build/examples/vitrine
# PEER_MALLOC (plain) PyTorch's memory: plain = glibc as it is; huge = glibc keeps what it has and uses huge pages
#
# Progress goes to stderr; the last line, alone on stdout, is one JSON object. Exit status 1 when something is missing.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
rounds=${ROUNDS:-5} steps=${STEPS:-5} threads=${THREADS:-2} prompts=${PROMPTS:-50}
models=${MODELS:-"vit-b16:8 vit-ti16:32"}
vitrine=${VITRINE:-$root/build/examples/vitrine}
python=/usr/bin/python3 # Debian's own: another python3 on PATH would not see python3-torch

say() { echo "peers: $*" >&2; }
die() { say "$*"; exit 1; }
label_of() { [[ $1 == *:*:* ]] && echo "$1" || echo "${1%:*}"; } # the name of an entry of MODELS in the result

peer_only=0
for argument in "$@"; do
  case $argument in
    --peer-only) peer_only=1 ;;
    *) die "unknown option '$argument'; usage: run.sh [--peer-only]" ;;
  esac
done
for number in "$rounds" "$steps" "$threads" "$prompts"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || die "expected a positive number, got '$number'"
done
seen=" "
for entry in $models; do
  [[ $entry =~ ^(vit|swin)-[a-z0-9]+(:[1-9][0-9]*){1,2}$ ]] ||
    die "MODELS: expected entries such as vit-b16:8 or swin-t:8:10, got '$entry'"
  label=$(label_of "$entry")
  [[ $seen != *" $label "* ]] || die "MODELS: two results would be named '$label': name the prompts of one, model:batch:prompts"
  seen+="$label "
done
if ((!peer_only)) && [[ ! -x $vitrine ]]; then
  die "no vitrine program at '$vitrine': build it, name it with VITRINE=..., or measure PyTorch alone with --peer-only"
fi

# --- what PyTorch needs ---
installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }
missing=()
for package in python3-torch libopenblas0-openmp; do
  installed "$package" || missing+=("$package")
done
if ((${#missing[@]})); then
  line="apt-get install -y --no-install-recommends ${missing[*]}"
  [[ $(id -u) == 0 ]] || die "missing packages; run this as root: $line"
  say "$line"
  $line >&2 || die "the packages could not be installed"
fi

# libblas.so.3 may be any of several libraries, libopenblas.so.0 too: loading the OpenMP build's files first settles both.
in_package() { dpkg -L libopenblas0-openmp | grep -E "/$1\$" | head -n 1; }
preload=
for file in 'libopenblas\.so\.0' 'libblas\.so\.3' 'liblapack\.so\.3'; do
  path=$(in_package "$file") || die "libopenblas0-openmp holds no $file"
  preload=${preload:+$preload:}$path
done

export OMP_NUM_THREADS=$threads OMP_DYNAMIC=false
case ${PEER_MALLOC:-plain} in
  huge) tunables=glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=34359738368 ;;
  plain) tunables= ;;
  *) die "PEER_MALLOC: expected plain or huge, got '$PEER_MALLOC'" ;;
esac
peer() { # script arguments...
  env LD_PRELOAD="$preload" GLIBC_TUNABLES="$tunables" "$python" "$here/$1" "${@:2}"
}
script_of() { [[ $1 == swin-* ]] && echo vpt_swin_step.py || echo vpt_step.py; }

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

# --- the rounds ---
for script in $(for entry in $models; do script_of "$entry"; done | sort -u); do
  peer "$script" --check >&2 || die "the two forms of $script disagree"
done
log=$(mktemp)
trap 'rm -f "$log"' EXIT
record() { # what label round command...: the command's last line joins the log
  local what=$1 label=$2 round=$3 line
  shift 3
  line=$("$@" | tail -n 1) || die "failed: $*"
  [[ $line == \{* ]] || die "expected a line of JSON from: $*"
  printf '{"what": "%s", "model": "%s", "round": %d, "result": %s}\n' "$what" "$label" "$round" "$line" >>"$log"
  say "$label round $round $what: $(grep -o '"images_per_second": *[0-9.e+-]*' <<<"$line" || true)"
}
for entry in $models; do
  IFS=: read -r model batch own <<<"$entry"
  label=$(label_of "$entry") script=$(script_of "$entry")
  options=(--model "$model" --batch "$batch" --prompts "${own:-$prompts}" --steps "$steps" --threads "$threads")
  for ((round = 1; round <= rounds; ++round)); do
    record pytorch_textbook "$label" "$round" peer "$script" "${options[@]}" --form textbook --warmup 2
    ((peer_only)) || record vitrine "$label" "$round" "$vitrine" bench step "${options[@]}" --json
    record pytorch_kv "$label" "$round" peer "$script" "${options[@]}" --form kv --warmup 2
  done
done

version=none
((peer_only)) || version=$("$vitrine" --version 2>/dev/null | head -n 1) || version=unknown
"$python" "$here/summary.py" "$log" machine="$(lscpu | sed -n 's/^Model name: *//p' | head -n 1)" cores="$(nproc)" \
  threads="$threads" rounds="$rounds" steps="$steps" prompts="$prompts" quiet="$quiet" load_before="$load" \
  busy_percent_before="$busy" peer_malloc="${PEER_MALLOC:-plain}" vitrine="$version" \
  libopenblas0_openmp="$(dpkg-query -W -f '${Version}' libopenblas0-openmp)" \
  python3_torch="$(dpkg-query -W -f '${Version}' python3-torch)"
