#!/usr/bin/env bash
# gpu_bench_test.sh: bench/gpu/run.sh from end to end in tiny sizes on the emulator, what its report makes of known numbers,
# and what pack.sh gathers.
#
#   tests/gpu_bench_test.sh [BUILD]     BUILD: a finished build folder with VITRINE_GPU_BENCH [build]
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/cases.sh"
build=$(realpath -m "${1:-$root/build}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONDONTWRITEBYTECODE=1 OMP_WAIT_POLICY=passive

# --- what the report makes of known numbers ---
# ViT-B/16, 50 prompts, batch 128: Vitrine 7000 images/s in the session in which torch.compile has 4000; max-autotune comes
# to 4375 in a later session, where Vitrine has 7700: 7000 / 4000 = 1.75, 7700 / 4375 = 1.76. In batch 16 the faster of two
# eager ones is 1000, Vitrine 1500.
mkdir "$work/known"
python3 - "$work/known" <<'PYTHON'
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
(folder / "machine.json").write_text(json.dumps({"gpu": "NVIDIA H100 80GB", "date": "today", "device": "cuda", "sizes": "full"}))
steps = []
def turns(session, program, batch, speeds, **more):
    for round, speed in enumerate(speeds, 1):
        result = {"images_per_second": speed, "images_per_second_min": speed - 1, "images_per_second_max": speed + 1,
                  "seconds_per_step": [batch / speed], "peak_bytes": 2**30, **more}
        steps.append({"session": session, "round": round, "program": program, "model": "vit-b16", "batch": batch, "prompts": 50,
                      "stage": "vit-b", "result": result})
turns("a", "vitrine", 128, [6800, 7000, 7700])
turns("a", "compiled, published", 128, [4250, 4000, 3850])
turns("a", "compiled, same algebra", 128, [5600, 5600, 5600])
turns("b", "vitrine", 128, [7700, 7700])
turns("b", "max-autotune, published", 128, [4375, 4375])
turns("c", "vitrine", 16, [1500] * 3)
turns("c", "eager bf16, published", 16, [1000] * 3)
turns("c", "eager autocast, published", 16, [900] * 3)
steps.append({"session": "c", "round": 0, "program": "compiled, published", "model": "vit-b16", "batch": 16, "prompts": 50,
              "stage": "vit-b", "skipped": "no memory left"})
(folder / "steps.jsonl").write_text("".join(json.dumps(s) + "\n" for s in steps) + '{"session": "c", "rou')
kernel = {"kernel": "rows: add", "group": "rows", "seconds": 2e-6, "seconds_least": 1e-6, "seconds_most": 3e-6, "bytes": 3e6,
          "flops": 0, "bytes_per_second": 1.5e12, "flops_per_second": 0, "floor_seconds": 1e-6, "share_of_floor": 0.5,
          "beyond_cache": True, "recorded": True}
(folder / "kernels.jsonl").write_text(json.dumps({**kernel, "seconds": 9}) + "\n" + json.dumps(kernel) + "\n")
PYTHON
python3 "$root/bench/gpu/report.py" "$work/known" "$work/known" 3 2>"$work/words"
# holds FOLDER/NAME EXPRESSION: true of the report `s`, its aims by name, and the lines of each file
holds() {
  python3 - "$1" "$2" <<'PYTHON'
import json, pathlib, statistics, sys
path = pathlib.Path(sys.argv[1])
s = json.loads(path.with_suffix(".json").read_text())
page = path.with_suffix(".md").read_text()
aims = {a["aim"].split("batch ")[1]: a for a in s["aims"]}
def lines(name):
    folder = path.parent / "lines"
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
sys.exit(not eval(sys.argv[2]))
PYTHON
}
known=$work/known/nvidia-h100-80gb
check_case 'a ratio is of one session, with its range' \
  holds "$known" 's["steps"][0]["ratios"]["vitrine over compiled, published"] == {"ratio": 1.75, "min": 1.6, "max": 2.0}'
check_case 'the slower of two ratios counts' \
  holds "$known" 'aims["128: over torch.compile, published algorithm"]["value"] == 1.75 and aims["128: over torch.compile, published algorithm"]["met"]'
check_case 'an aim that is met exactly' holds "$known" 'aims["128: over torch.compile, same algebra"] == {**aims["128: over torch.compile, same algebra"], "value": 1.25, "met": True}'
check_case 'an aim that is missed' holds "$known" 'aims["16: over eager PyTorch"]["value"] == 1.5 and not aims["16: over eager PyTorch"]["met"]'
check_case 'the speed is that of the session with most rounds' holds "$known" 'aims["128: images per second"]["value"] == 7000'
check_case 'what was skipped is named, and what is missing' holds "$known" \
  '"vit-b16, batch 16, 50 prompts: compiled, published: no memory left" in s["unmeasured"] and "vit-b16, batch 64, 50 prompts: vitrine" in s["unmeasured"]'
check_case 'too few rounds are named' holds "$known" \
  'any(u.startswith("vit-b16, batch 128, 50 prompts: max-autotune, published: fewer than 3") for u in s["unmeasured"])'
check_case 'of a kernel the newest line counts' holds "$known" 'len(s["kernels"]) == 1 and "| 2.00 (+- 50.0%) | 1500 |  | 50 |" in page'
check_case 'a measurement is not called void' holds "$known" 's["void"] == [] and page.startswith("# Vitrine on NVIDIA H100")'
check_case 'a line that was cut off is told' grep -q 'steps.jsonl: a line was cut off' "$work/words"
sed -i 's/H100/A100/' "$work/known/machine.json"
python3 "$root/bench/gpu/report.py" "$work/known" "$work/known" 3 2>/dev/null
check_case 'the aims are for one GPU' grep -q '| 1.6 | 1.75 | another GPU |' "$work/known/nvidia-a100-80gb.md"

# --- the command ---
run() { "$root/bench/gpu/run.sh" --binaries "$build" "$@" 2>&1; }
# gives STATUS WORDS COMMAND...: ends so, and prints this
gives() {
  local wanted=$1 words=$2 printed status=0
  shift 2
  printed=$("$@" 2>&1) || status=$?
  [[ $status == "$wanted" && $printed == *"$words"* ]] || { echo "status $status: $printed"; return 1; }
}
check_case 'no stage' gives 1 'no stage is named' run
check_case 'an unknown word' gives 1 "unknown word 'vit'" run vit
check_case 'the emulator measures nothing, so it must be said where that goes' gives 1 '--out names a folder' run --device emulator tests
check_case 'which is not where measurements are' gives 1 'for measurements alone' \
  run --device emulator --out "$root/bench/results" tests
check_case 'the emulator by number, too' gives 1 '--out names a folder' run --device emulator:0 tests
ln -s "$root" "$work/link"
check_case 'nor by another way there' gives 1 'for measurements alone' \
  "$work/link/bench/gpu/run.sh" --binaries "$build" --device emulator --out "$work/link/bench/results/deeper" tests
# cuBLASLt that only PyTorch's packages have: programs are started with their folder on the path.
mkdir -p "$work"/fake/{bin,lib,tools} "$work/packages/nvidia/cu13/lib"
touch "$work/fake/lib/libvitrine_cuda.so" "$work/packages/nvidia/cu13/lib/libcublasLt.so.13"
printf '#!/bin/sh\necho "libcublasLt.so.13 => not found"\n' >"$work/fake/tools/ldd"
# shellcheck disable=SC2016 # the program's own variable
printf '#!/bin/sh\necho "path $LD_LIBRARY_PATH" >&2; exit 4\n' | tee "$work/fake/bin/vitrine" >"$work/fake/bin/vitrine_gpu_kernels"
chmod +x "$work"/fake/{bin,tools}/*
from_packages() {
  env -u LD_LIBRARY_PATH PATH="$work/fake/tools:$PATH" PYTHONPATH="$work/packages" "$root/bench/gpu/run.sh" --binaries "$work/fake" --lines "$work/none" kernels
}
without_packages() { PATH=$work/fake/tools:$PATH "$root/bench/gpu/run.sh" --binaries "$work/fake" --lines "$work/none" --python true kernels; }
check_case "PyTorch's cuBLASLt is found and named" gives 4 "libcublasLt.so.13 is PyTorch's, in $work/packages/nvidia/cu13/lib" from_packages
check_case 'and is on the path of our programs' gives 4 "path $work/packages/nvidia/cu13/lib" from_packages
check_case 'that there is none is told' gives 4 'libcublasLt.so.13 is neither' without_packages

if [[ ! -x $build/bench/vitrine_gpu_kernels || ! -x $build/examples/vitrine || ! -f $build/lib/libvitrine_emulator.so ]]; then
  skip_cases "the stages: no vitrine_gpu_kernels, vitrine or emulator in $build (VITRINE_GPU_BENCH)"
  end_cases
  exit
fi
if compgen -G '/proc/driver/nvidia/gpus/*' >/dev/null; then
  skip_cases "a missing device: there is one"
else
  check_case 'a missing device is status 4' gives 4 'device' run --device cuda --lines "$work/none" kernels
  check_case 'and leaves nothing behind' test ! -e "$work/none"
fi

python=
for candidate in $(hash -r && type -aP python3); do  # what was found before would hide the others
  if "$candidate" -c 'import torch' 2>/dev/null; then python=$candidate && break; fi
done
if [[ -z $python ]]; then
  skip_cases "PyTorch beside Vitrine: no python3 with torch here"
  python=python3
fi
tiny=(--device emulator --sizes tiny --python "$python" --rounds 2 --out "$work/tiny")
check_case 'all stages on the emulator' gives 0 'written: ' run "${tiny[@]}" all
report=$work/tiny/emulator
check_case 'the first line says that nothing is a measurement' \
  holds "$report" 'page.splitlines()[0].startswith("**Nothing in this file is a measurement")'
check_case 'speeds are the medians of their lines' holds "$report" 'all(
    p["images_per_second"]["median"] == round(statistics.median(
      l["result"]["images_per_second"] for l in lines("steps")
      if (l["program"], l["model"], l["batch"], l["prompts"]) == (name, one["model"], one["batch"], one["prompts"])), 2)
    for one in s["steps"] for name, p in one["programs"].items()) and len(s["steps"]) == 3'
check_case 'shares are of the ceilings' holds "$report" 'all(
    abs(k["share_of_floor"] * k["seconds"] / max(k["bytes"] / max(c["bytes_per_second"] for c in s["kernels"][:2]),
        k["flops"] / s["kernels"][2]["flops_per_second"]) - 1) < 1e-9
    for k in s["kernels"] if k["group"] not in ("ceiling", "probe"))'
check_case 'every kernel is there, once and without failure' holds "$report" \
  'len(s["kernels"]) == len(lines("kernels")) > 60 and not any("failed" in k for k in s["kernels"])'
check_case 'both forms of gelu are what they are called' holds "$report" \
  's["kernels"][-1]["erf"]["is"] == "erf" and s["kernels"][-1]["tanh"]["is"] == "tanh"'
check_case 'tests of the device ran' holds "$report" 's["tests"]["passed"] == 2 and s["tests"]["failed"] == 0'

if [[ $python != python3 ]] || python3 -c 'import torch' 2>/dev/null; then
  check_case 'each turn of PyTorch was measured' holds "$report" 'sum("torch" in l["result"] for l in lines("steps")) == 2 * (3 + 1 + 1)'
  check_case 'and the report says what its time went to' holds "$report" \
    'all(p["profile"]["top"] and p["torch"] for p in s["steps"][0]["programs"].values() if "torch" in p)'
fi

sums() { cat "$work"/tiny/lines/*.jsonl | sha256sum; }
before=$(sums)
check_case 'what is measured is not measured again' gives 0 'measured before' run "${tiny[@]}" tests kernels vit-b rest
check_case 'and stays as it was' test "$before" = "$(sums)"
check_case '--again measures one stage anew' gives 0 'stage kernels' run "${tiny[@]}" --again kernels
check_case 'and no other' bash -c "[[ \$(wc -l <'$work/tiny/lines/tests.jsonl') == 2 ]] && [[ '$before' != \$(cat '$work'/tiny/lines/*.jsonl | sha256sum) ]]"

# A stage that was killed while it wrote: whole lines stay, the rest is measured.
kernels=$work/tiny/lines/kernels.jsonl
goes_on() {
  head -n 20 "$kernels" >"$work/first" && head -c -40 "$work/first" >"$kernels" && gives 0 'layer_norm' run "${tiny[@]}" kernels &&
    cmp <(head -n 19 "$work/first") <(head -n 19 "$kernels") &&
    [[ $(wc -l <"$kernels") == $(($(grep -c '"kernel"' "$work/all") + 1)) ]]
}
cp "$kernels" "$work/all"
check_case 'a stage that was killed goes on after its last whole line' goes_on
check_case 'a stage whose time is over says so' gives 3 'cut off: the time is over' \
  run --device emulator --sizes tiny --python "$python" --out "$work/cut" --limit 1 --rounds 2 vit-b
check_case 'and its report names what is missing' bash -c "
  '$root/bench/gpu/run.sh' --binaries '$build' --device emulator --sizes tiny --out '$work/cut' report 2>/dev/null &&
  grep -q -- '- builtin/vit-check, batch 1, 3 prompts: vitrine' '$work/cut/emulator.md'"
check_case 'and goes on' gives 0 'round 2' run --device emulator --sizes tiny --python "$python" --rounds 2 --out "$work/cut" vit-b

# A PyTorch that starts and then fails.
cat >"$work/torch" <<'END'
#!/bin/sh
case "$*" in *--versions*) echo '{"torch": "9", "cuda": null, "compiles": true}' ;; *) echo 'no memory left' >&2; exit 7 ;; esac
END
chmod +x "$work/torch"
broken=(--device emulator --sizes tiny --python "$work/torch" --rounds 1 --out "$work/broken")
check_case 'a PyTorch that fails is skipped by name' gives 0 'eager bf16, published: ended with 7: no memory left' run "${broken[@]}" rest report
check_case 'and the report says why' grep -q 'eager bf16, published: ended with 7: no memory left' "$work/broken/emulator.md"
check_case 'one more way to run Vitrine' gives 0 'round 1: recomputed:' \
  run "${broken[@]}" --ours 'recomputed=--recompute 2 --eager' rest
check_case 'lines of another build are refused' bash -c "
  sed -i 's/\"commit\": \"/&not /' '$work/broken/lines/machine.json' &&
  '$root/bench/gpu/run.sh' --binaries '$build' --device emulator --sizes tiny --out '$work/broken' report 2>&1 | grep -q 'of another machine or build'"

# A sanitizer that finds races and nothing else, and a program of tests that has one.
cat >"$work/sanitizer" <<'END'
#!/bin/sh
case "$*" in *racecheck*) echo '========= ERROR SUMMARY: 2 hazards'; exit 9 ;; *) echo 'test cases: 1 | 1 passed | 0 failed' ;; esac
END
cat >"$work/tests" <<'END'
#!/bin/sh
line='==============================================================================='
case "$*" in *-ltc*) printf '%s\n' "$line" 'device: one, of some' "$line" ;; *) echo 'test cases: 1 | 1 passed | 0 failed' ;; esac
END
chmod +x "$work/sanitizer" "$work/tests"
check_case 'what a sanitizer finds fails' gives 1 'FAILED: device: one, of some (racecheck' python3 "$root/bench/gpu/checks.py" \
  --lines "$work/sanitized.jsonl" --device cuda --sizes full --tests "$work/tests" --sanitizer "$work/sanitizer"
check_case 'and is kept with what passed' bash -c "
  [[ \$(grep -c '\"passed\": true' '$work/sanitized.jsonl') == 3 ]] && grep -q '2 hazards' '$work/sanitized.jsonl'"

# --- the archive ---
if [[ -x $build/tests/vitrine_tests ]]; then
  with=()
  if [[ ! -f $build/lib/libvitrine_cuda.so ]]; then
    skip_cases "libvitrine_cuda.so in the archive: this build has none"
    with=(--without-cuda)
  fi
  packs() {
    "$root/bench/gpu/pack.sh" --build "$build" "${with[@]}" "$work/pack.tar.gz" >"$work/packed" && tar -C "$work" -xf "$work/pack.tar.gz"
  }
  is_whole() {
    local file
    for file in bin/vitrine bin/vitrine_tests bin/vitrine_gpu_kernels lib/libvitrine_emulator.so commit bench/gpu/run.sh \
      bench/gpu/torch_step.py bench/peers/step.py bench/peers/vpt_swin_step.py; do
      if ! [[ -f $work/vitrine-gpu/$file ]] || ! grep -q "vitrine-gpu/$file\$" "$work/packed"; then echo "$file" && return 1; fi
    done
    ! LD_LIBRARY_PATH=$work/vitrine-gpu/deps ldd "$work"/vitrine-gpu/bin/* "$work/vitrine-gpu/lib/libvitrine_emulator.so" |
      grep '=>' | grep -vE "$work|/(libc|libm|ld-linux[^ ]*)\.so"
  }
  from_elsewhere() {
    (cd / && "$work/vitrine-gpu/bench/gpu/run.sh" --device emulator --sizes tiny --python "$python" --rounds 1 --out "$work/elsewhere" \
      tests kernels report)
  }
  check_case 'the archive is made' packs
  check_case 'it holds what is needed, and no program needs more than libc' is_whole
  check_case 'the stages run from it' from_elsewhere
  check_case 'it refuses a build that lacks something' gives 1 'is missing' "$root/bench/gpu/pack.sh" --build "$work" "$work/no.tar.gz"
else
  skip_cases "the archive: no vitrine_tests in $build"
fi
end_cases
