#!/usr/bin/env bash
# mpi_test.sh: several processes on one run, started by mpirun: the bytes of one process, stopping, killing, going on, errors.
#
#   tests/mpi_test.sh build/examples/vitrine
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/cases.sh"
vitrine=$(realpath "${1:?usage: mpi_test.sh PROGRAM}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# More processes than cores, and as root in a container.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
on() { local count=$1; shift; mpirun --oversubscribe -n "$count" "$vitrine" "$@" </dev/null; }
data=(tune --data synthetic:shapes --train-limit 100 --no-test)
tune=("${data[@]}" --batch 24 --epochs 1)

# fails CODE REGEX COMMAND...: the exit code, and what is wrong in one line that is printed once
fails() {
  local code=$1 regex=$2 got=0
  shift 2
  "$@" >printed 2>&1 || got=$?
  cat printed
  [[ $got == "$code" && $(grep -v ' note: ' printed | grep -c '^vitrine') == 1 ]] && grep -Eq "^vitrine.*$regex" printed
}
metrics() { sed 's/,"seconds".*//' "$1/metrics.jsonl"; }
same_run() { cmp "$1/task.safetensors" "$2/task.safetensors" && diff <(metrics "$1") <(metrics "$2"); }

refuses() { fails 1 'built without MPI; install libopenmpi-dev' env OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0 "$vitrine" "${tune[@]}" --out refused; }
if [[ $(ldd "$vitrine") != *libmpi* ]]; then
  check_case "a program without MPI refuses to be one of two" refuses
  check_case "it has made no folder" test ! -e refused
  skip_cases "several processes: this program was built without MPI"
  end_cases
  exit
fi
if ! command -v mpirun >/dev/null; then
  skip_cases "several processes: there is no mpirun here"
  end_cases
  exit
fi

# alike NAME OPTION... : 2 and 4 processes, and one that accumulates, end with the same bytes. The last of the batches of 24
# has 4 images, or 2 with validation.
alike() {
  local name=$1 count
  shift
  "$vitrine" "${tune[@]}" --accumulate 4 --threads 1 --out "$name-1" "$@" || return 1
  for count in 2 4; do
    on $count "${tune[@]}" --accumulate 4 --out "$name-$count" "$@" || return 1
    same_run "$name-1" "$name-$count" || return 1
  done
}
check_case "VPT-deep with noise, clipping, class weights, the best epoch" \
  alike deep --val 10 --keep best --clip 1 --prompt-dropout 0.1 --drop-path 0.1 --flip --class-weights balanced
check_case "VPT-deep through a projection, by SGD" alike projection --val 0 --prompt-projection 8 --optimizer sgd
check_case "prompts that start from class tokens" alike tokens --val 0 --prompt-init class-tokens
check_case "a linear head, whose features are kept" alike linear --val 0 --method linear
check_case "a head of layers with batch normalisation" alike mlp --val 0 --method mlp-3
check_case "all weights" alike full --val 0 --method full
check_case "a Swin" alike swin --val 0 --backbone builtin-swin --clip 1

# Without --accumulate each process has one micro-batch, and says so.
tells_accumulate() {
  on 3 "${tune[@]}" --val 0 --out told >printed && cat printed && grep -q 'one process with --accumulate 3' <(tr '\n' ' ' <printed | tr -s ' ') &&
    "$vitrine" "${tune[@]}" --val 0 --accumulate 3 --threads 1 --out told-1 && same_run told told-1
}
check_case "the default is a micro-batch for each process" tells_accumulate
tests_alike() {
  local test=(tune --data synthetic:colors --train-limit 40 --epochs 1 --accumulate 2 --json)
  "$vitrine" "${test[@]}" --threads 1 --out test-1 >one.json 2>/dev/null
  on 2 "${test[@]}" --out test-2 >two.json 2>/dev/null
  python3 -c 'import json
one, two = json.load(open("one.json")), json.load(open("two.json"))
assert one["test"] == two["test"] and one["train"] == two["train"] and two["processes"] == 2'
}
check_case "the test's images are shared, to the same accuracy and loss; --json is one object" tests_alike

# --- errors ---
check_case "too few micro-batches" fails 1 'give at least --accumulate 3' on 3 "${tune[@]}" --accumulate 2 --out few
check_case "too few images in a batch" fails 1 '--batch 2: each of 3' on 3 "${data[@]}" --batch 2 --out few
check_case "an unknown option is told once" fails 1 "unknown option '--prompst'" on 3 tune --prompst 3
check_case "other commands work in one process" fails 1 'works in one process' on 2 inspect builtin
check_case "a mistaken mpirun is noticed" fails 1 'take the mpirun that belongs to it' \
  env OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0 "$vitrine" "${tune[@]}" --out mistaken
# The second process is called differently.
differently() {
  mpirun --oversubscribe -n 1 "$vitrine" "${tune[@]}" --out "$1" : -n 1 "$vitrine" "${tune[@]}" --out "$1" "${@:2}" </dev/null
}
check_case "another seed in one of them" fails 1 'process 1 of 2 was called with --seed 1, process 0 without it' differently seeds --seed 1
# Whatever two are called with, they end together.
beside() { # WORDS : WORDS
  local words=() one=()
  while [[ $1 != : ]]; do one+=("$1"); shift; done
  shift
  words=("$@")
  timeout 60 mpirun --oversubscribe -n 1 "$vitrine" "${one[@]}" : -n 1 "$vitrine" "${words[@]}" </dev/null
}
check_case "a test in one of them alone" fails 1 'process 1 of 2 was called without --no-test, process 0 with --no-test' \
  beside "${tune[@]}" --out alone : tune --data synthetic:shapes --train-limit 100 --batch 24 --epochs 1 --out alone
check_case "and the other way round" fails 1 'process 1 of 2 was called with --no-test' \
  beside tune --data synthetic:shapes --train-limit 100 --batch 24 --epochs 1 --out alone : "${tune[@]}" --out alone
check_case "going on in one of them alone" fails 1 'process 1 of 2 was called with --resume' differently alone --resume
check_case "another command in one of them" fails 1 'process 1 of 2 was called as vitrine sweep, process 0 as vitrine tune' \
  beside "${tune[@]}" --out alone : sweep --data synthetic:shapes --out alone
ends_all() { local got=0; "$@" >printed 2>&1 || got=$?; cat printed; [[ $got == 1 ]] && grep -q 'all processes must be called with the same words' printed; }
check_case "--help in the first of them" ends_all beside tune --help : "${tune[@]}" --out alone
check_case "--help in the second of them" ends_all beside "${tune[@]}" --out alone : tune --help
check_case "--version in one of them" ends_all beside "${tune[@]}" --out alone : --version
check_case "a wrong option in one of them" fails 1 "unknown option '--prompst'.*in process 1" differently alone --prompst 3
check_case "no folder was made" test ! -e alone
check_case "threads may differ" differently threads --threads 1
check_case "one that has too little memory" fails 4 'memory-limit.*in process 1' differently limits --memory-limit 2M
check_case "the first one cannot write" eval 'mkdir -p taken/task.safetensors/full && fails 2 task.safetensors on 2 "${tune[@]}" --out taken --resume'
check_case "training diverges" fails 3 'loss became|NaN or infinite' on 2 "${tune[@]}" --method linear --optimizer sgd --lr 1e5 --wd 1e5 --out wild
check_case "a folder that holds a run" fails 1 'holds a run' on 2 "${tune[@]}" --out told

# --- stopping and killing ---
long=("${data[@]}" --batch 24 --epochs 15 --accumulate 4 --flip --val 0)
"$vitrine" "${long[@]}" --threads 1 --out whole >/dev/null
processes_of() { cat "/proc/$1/task/$1/children"; }
# after FOLDER ACTION... : starts 4 processes, holds the third when the first epoch is done, and does it, told mpirun's number
after() {
  local folder=$1 status=0 pid third
  shift
  mpirun --oversubscribe -n 4 "$vitrine" "${long[@]}" --out "$folder" >printed 2>&1 </dev/null &
  pid=$!
  until [[ -s $folder/metrics.jsonl ]] || ! kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  third=$(processes_of "$pid" | cut -d ' ' -f 3)
  kill -STOP "$third"  # so that no process can end before the signal comes
  "$@" "$pid"
  wait "$pid" || status=$?
  cat printed
  echo "status $status"
  return $status
}
kills_one() { kill -9 "$third"; }
stops_one() { kill -TERM "$third" && kill -CONT "$third"; }
stops_all() { kill -TERM "$1"; }  # mpirun lets go on who was held
goes_on() { # FOLDER COUNT
  if [[ $2 == 1 ]]; then "$vitrine" "${long[@]}" --threads 1 --out "$1" --resume; else on "$2" "${long[@]}" --out "$1" --resume; fi &&
    same_run whole "$1"
}
killed() { ! after killed kills_one && [[ ! -e killed/task.safetensors ]]; }
check_case "one is killed: all end" killed
check_case "two go on and end with the same bytes" goes_on killed 2
stopped() { local status=0; after stopped stops_one || status=$?; [[ $status == 143 && $(grep -c '^Stopped after step' printed) == 1 ]]; }
check_case "SIGTERM to one of them: all stop after the same step, saved" stopped
check_case "one alone goes on and ends with the same bytes" goes_on stopped 1
mpirun_stopped() { ! after mpirun stops_all && [[ ! -e mpirun/task.safetensors ]]; }
check_case "SIGTERM to mpirun: all end" mpirun_stopped
check_case "three go on and end with the same bytes" goes_on mpirun 3
end_cases
