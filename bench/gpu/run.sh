#!/usr/bin/env bash
# run.sh: Vitrine on a GPU: its tests there, its kernels against their floors, its training step beside PyTorch's.
#
#   bench/gpu/run.sh [OPTIONS] STAGE...      tests, kernels, vit-b, rest, report; `all` is these in this order
#
# --device D         cuda, cuda:1 or emulator [cuda]
# --sizes S          full or tiny; tiny shows that all of it works, and the report says so [full]
# --binaries FOLDER  a build, or the folder that pack.sh made [this one if pack.sh made it, else build-gpu, which is then
#                    built or brought up to date, by as many compilers at once as JOBS says, else as there are cores]
# --python P         one that has PyTorch [python3]
# --lines FOLDER     what is finished is kept here, a line for each measurement, and not made again [build-gpu/lines;
#                    with the emulator or tiny sizes OUT/lines]
# --out FOLDER       where the report goes [bench/results]; needed with the emulator or tiny sizes, and then not there
# --again            forgets what the named stages have measured
# --limit SECONDS    of each stage; one that is cut off keeps what it has, and the same command goes on from there [520]
# --rounds N         turns of each program in `vit-b` and `rest` [3]
# --ours NAME=OPTIONS  one more way to run Vitrine in these stages, by these options of `vitrine bench step`
# --no-compile       without torch.compile
#
# Exit status: 0; 1 if something failed; 3 if a stage's time was over; 4 without the device.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd "$here/../.." && pwd -P)
say() { echo "gpu: $*" >&2; }
die() { say "$1"; exit "${2:-1}"; }

device=cuda sizes=full binaries='' python=python3 lines='' out='' again=0 limit=520 rounds=3 stages=() more=()
while (($#)); do
  case $1 in
    --again) again=1 ;;
    --no-compile) more+=(--no-compile) ;;
    --device | --sizes | --binaries | --python | --lines | --out | --limit | --rounds | --ours)
      (($# > 1)) || die "$1: expected a value after it"
      if [[ $1 == --ours ]]; then more+=(--ours "$2"); else declare "${1#--}=$2"; fi
      shift ;;
    tests | kernels | vit-b | rest | report) stages+=("$1") ;;
    all) stages+=(tests kernels vit-b rest report) ;;
    --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) die "unknown word '$1'; --help names the stages and options" ;;
  esac
  shift
done
((${#stages[@]})) || die "no stage is named: tests, kernels, vit-b, rest, report or all"
[[ $sizes == full || $sizes == tiny ]] || die "--sizes: expected full or tiny, got '$sizes'"
for number in "$limit" "$rounds"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || die "--limit and --rounds: expected a positive number, got '$number'"
done
proof=0
[[ $device != emulator* && $sizes == full ]] || proof=1
if ((proof)); then
  [[ -n $out ]] || die "nothing that the emulator or tiny sizes give is a measurement: --out names a folder for the report"
  [[ $(realpath -m "$out")/ != "$root/bench/results/"* ]] || die "--out: bench/results is for measurements alone"
  lines=${lines:-$out/lines}
fi
lines=${lines:-$root/build-gpu/lines} out=${out:-$root/bench/results}

# --- the programs, and the libraries that they need ---
if [[ -z $binaries ]]; then
  if [[ -d $root/bin ]]; then binaries=$root; else binaries=$root/build-gpu; fi
fi
if [[ $binaries == "$root/build-gpu" ]]; then  # also if it is there: a build may have been cut off, or sources be newer
  say "building Vitrine in $binaries; the first time this takes minutes"
  { cmake -S "$root" -B "$binaries" -DVITRINE_GPU_BENCH=ON -DCMAKE_CUDA_FLAGS=-lineinfo && cmake --build "$binaries" -j "${JOBS:-$(nproc)}"; } >&2 || die "Vitrine could not be built"
fi
program() { # NAME FOLDER-OF-A-BUILD
  local at
  for at in "$binaries/bin/$1" "$binaries/$2/$1"; do
    [[ ! -x $at ]] || { echo "$at"; return; }
  done
  die "no $1 in '$binaries'; --binaries names a build or what pack.sh made"
}
vitrine=$(program vitrine examples) && kernels=$(program vitrine_gpu_kernels bench)
libraries=${LD_LIBRARY_PATH:-}
[[ ! -d $binaries/deps ]] || libraries=$binaries/deps${libraries:+:$libraries}
# cuBLASLt comes with CUDA, and with PyTorch.
if [[ $device == cuda* && -f $binaries/lib/libvitrine_cuda.so ]] &&
  LD_LIBRARY_PATH=$libraries ldd "$binaries/lib/libvitrine_cuda.so" | grep -q 'libcublasLt.*not found'; then
  found=$("$python" - <<'PYTHON' || true
import pathlib, sys
for folder in sys.path:
    for part in ("nvidia/cu13/lib", "nvidia/cublas/lib"):
        if (pathlib.Path(folder) / part / "libcublasLt.so.13").exists():
            print(pathlib.Path(folder) / part)
            raise SystemExit
PYTHON
  )
  if [[ -n $found ]]; then
    say "libcublasLt.so.13 is PyTorch's, in $found"
    libraries=${libraries:+$libraries:}$found
  else
    say "libcublasLt.so.13 is neither on the library path nor in a package of $python's"
  fi
fi
ours() { LD_LIBRARY_PATH=$libraries "$@"; }

status=0
described=$(ours "$kernels" --device "$device" --describe 2>&1) || die "$described" 4
command -v python3 >/dev/null || die "python3 is needed, if without PyTorch"
torch=$python torch_version=''
if [[ " ${stages[*]} " != *" vit-b "* && " ${stages[*]} " != *" rest "* ]]; then
  torch=''
elif versions=$("$python" "$here/torch_step.py" --versions 2>/dev/null); then
  torch_version=$(sed -E 's/.*"torch": "([^"]*)".*/\1/' <<<"$versions")
  # Tiny models are no matter for a compiler.
  if ((proof)) || [[ $versions != *'"compiles": true'* ]]; then more+=(--no-compile); fi
else
  say "*** LEFT OUT: PyTorch: '$python' has none; --python names one that has it ***"
  torch=''
fi
[[ $device != emulator* ]] || say "*** LEFT OUT: PyTorch on the GPU and compute-sanitizer: this is the emulator; PyTorch runs on the CPU ***"

# --- the folder of lines belongs to one machine and one state of the sources ---
mkdir -p "$lines"
commit=unknown
if [[ -f $root/commit ]]; then commit=$(<"$root/commit"); elif describe=$(git -C "$root" describe --always --dirty 2>/dev/null); then commit=$describe; fi
gpu=${described%%,*} driver=''
[[ $device != emulator* ]] || gpu=emulator
if [[ $device == cuda* ]] && command -v nvidia-smi >/dev/null; then
  driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1 || true)
fi
facts=(gpu="$gpu" description="$described" driver="$driver" device="$device" sizes="$sizes" commit="$commit"
  vitrine="$(ours "$vitrine" --version | head -n 1)" torch="$torch_version"
  processor="$(lscpu | sed -n 's/^Model name: *//p' | head -n 1)" cores="$(nproc)"
  system="$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release), Linux $(uname -r)")
python3 - "$lines/machine.json" "$(date +%F)" "${facts[@]}" <<'PYTHON' || exit 1
import json, os, pathlib, sys
path, date, *facts = sys.argv[1:]
facts = dict(pair.split("=", 1) for pair in facts)
if pathlib.Path(path).exists():
    try:
        before = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        date = before["date"]
    except (ValueError, KeyError, TypeError):
        sys.exit(f"gpu: {path} is damaged, and nothing else tells of which machine the lines beside it are; remove it if "
                 "they are of this one")
    other = [key for key in ("gpu", "driver", "device", "sizes", "commit") if before.get(key) != facts[key]]
    if other:
        sys.exit(f"gpu: {path} is of another machine or build: its {other[0]} is {before.get(other[0])!r}, here it is "
                 f"{facts[other[0]]!r}; name another folder with --lines")
    facts = {**before, **{key: value for key, value in facts.items() if value}}
pathlib.Path(path + ".new").write_text(json.dumps({**facts, "date": date}, indent=1) + "\n", encoding="utf-8")
os.replace(path + ".new", path)
PYTHON

# --- the stages ---
forget() { if ((again)); then rm -f "$@"; fi; }
# ended STAGE STATUS: goes on after a stage that failed or was cut off, and remembers it.
ended() {
  (($2 == 0)) || say "*** $1: $( (($2 == 3 || $2 == 124)) && echo 'cut off' || echo "ended with status $2") ***"
  local known=$2
  ((known != 124)) || known=3
  ((known == 0 || status == 1)) || status=$known
}
sanitizer=''
[[ $device == emulator* ]] || sanitizer=$(command -v compute-sanitizer || compgen -G '/usr/local/cuda/bin/compute-sanitizer' || true)
steps() { # STAGE
  python3 "$here/steps.py" --lines "$lines/steps.jsonl" --stage "$1" --device "$device" --sizes "$sizes" --vitrine "$vitrine" \
    --python "$torch" --libraries "$libraries" --seconds "$limit" --rounds "$rounds" "${more[@]}"
}
export VITRINE_PLANS=${VITRINE_PLANS:-$lines/plans.txt} # runs choose alike, and the report can say how products are made
for stage in "${stages[@]}"; do
  say "stage $stage"
  code=0
  case $stage in
    tests)
      forget "$lines/tests.jsonl"
      python3 "$here/checks.py" --lines "$lines/tests.jsonl" --device "$device" --sizes "$sizes" \
        --tests "$(program vitrine_tests tests)" --sanitizer "$sanitizer" --libraries "$libraries" --seconds "$limit" || code=$? ;;
    kernels)
      forget "$lines/kernels.jsonl"
      ours timeout -k 10 "$limit" "$kernels" --device "$device" --sizes "$sizes" --json "$lines/kernels.jsonl" || code=$? ;;
    vit-b | rest)
      if ((again)) && [[ -f $lines/steps.jsonl ]]; then
        grep -v "\"stage\": \"$stage\"" "$lines/steps.jsonl" >"$lines/steps.tmp" || true
        mv "$lines/steps.tmp" "$lines/steps.jsonl"
      fi
      steps "$stage" || code=$? ;;
    report)
      ((!proof)) || say "*** the report shows that all of this works; its numbers measure nothing ***"
      python3 "$here/report.py" "$lines" "$out" "$rounds" || code=$? ;;
  esac
  ended "$stage" "$code"
done
exit "$status"
