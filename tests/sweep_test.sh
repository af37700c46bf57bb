#!/usr/bin/env bash
# sweep_test.sh: vitrine sweep and vitrine table from outside: kills at any moment, processes that share a folder, what
# diverges and what fails, and what both commands say.
#
#   tests/sweep_test.sh build/examples/vitrine
set -u

vitrine=$(realpath "${1:?usage: sweep_test.sh PROGRAM}")
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/cases.sh"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
studies=$root/bench/studies
work=$(mktemp -d)
trap '[[ -n ${KEEP:-} ]] || rm -rf "$work"' EXIT
cd "$work" || exit 1
export OMP_NUM_THREADS=1

"$vitrine" pretrain --out tiny.safetensors --width 16 --depth 2 --heads 2 --patch 8 --steps 2 --batch 4 --warmup 1 --f32 \
  >/dev/null 2>&1

# A sweep of 15 runs, of one epoch each, into the folder $1. In the background with exec=exec, so that a signal meets the
# program and not a shell around it.
small() {
  local out=$1
  shift
  ${exec:-} "$vitrine" sweep --backbone tiny.safetensors --data synthetic:colors --methods linear,vpt-shallow,full --train-sizes 240 \
    --epochs "${epochs:-1}" --batch 8 --lr 1e-3,1e-2 --prompts 2 --seeds "${seeds:-3}" --out "$out" "$@"
}
# What a ledger says without what a clock says.
timeless() { sed -E 's/"seconds":[^,]*/"seconds":0/' "$1/ledger.jsonl"; }
same_ledger() { diff <(timeless "$1") <(timeless "$2"); }
same_table() { diff <("$vitrine" table "$1") <("$vitrine" table "$2"); }
# says CODE REGEX COMMAND...: ends so, and a line of what it says matches.
says() {
  local code=$1 regex=$2 got printed
  shift 2
  printed=$("$@" 2>&1 </dev/null)
  got=$?
  echo "$printed"
  if ((got != code)); then echo "expected exit code $code, got $got"; return 1; fi
  grep -Eq -- "$regex" <<<"$printed" || { echo "no line matches $regex"; return 1; }
}
lines_are() { local n; n=$(wc -l <"$2"); [[ $n == "$1" ]] || { echo "expected $1 lines, got $n"; return 1; }; }
fits() { "$vitrine" "$1" --help >help && (($(wc -l <help) <= 50)) && awk 'length > 80 { exit 1 }' help; }

# --- what it says ---
check_case "help of sweep fits a screen" fits sweep
check_case "help of table fits a screen" fits table
check_case "a plan is shown and nothing done" says 0 '^Runs  *15: 6 to search settings, 9 to test' small plan --show-plan
check_case "no folder was made for it" test ! -e plan
check_case "no tasks" says 1 'what is to be compared' "$vitrine" sweep --out x
check_case "no folder" says 1 '--out' "$vitrine" sweep --data synthetic:colors
check_case "nothing at all" says 1 'what is to be compared' "$vitrine" sweep
check_case "a plan needs no folder" says 0 '^Images  *colors: 1,200 images to learn from, 200 of them .* 8 classes' "$vitrine" sweep --data synthetic:colors --show-plan
check_case "a plan with a task that is not there" says 1 "folder: 'nix' is not a folder" "$vitrine" sweep --data synthetic:colors --data folder:nix --show-plan
check_case "lengths of prompts without prompts" says 1 'none of the methods has prompts' "$vitrine" sweep --data synthetic:colors --methods linear --prompts 5 --out x
check_case "a method twice under two names" says 1 "'adapter' and 'adapter-8' share runs here" "$vitrine" sweep --data synthetic:colors --methods adapter,adapter-8 --out x
check_case "a task twice" says 1 'a suite .* different names' "$vitrine" sweep --data folder:a/v --data folder:b/v --out x
check_case "sizes that are searched" says 0 'adapter-8, adapter-64; ' "$vitrine" sweep --data synthetic:colors --methods adapter --recipe paper --show-plan
check_case "prompts of no method" says 1 'none of the methods has prompts: linear, full' "$vitrine" sweep --data synthetic:colors --methods linear,full --prompt-shared --out x
plans() { "$vitrine" sweep --backbone tiny.safetensors --data synthetic:colors --out x --show-plan "$@"; }
check_case "blocks that there are not" says 1 'method vpt-deep: prompts: expected blocks among 1-2, got 1-9' plans --methods vpt-deep --prompt-blocks 1-9
check_case "blocks the wrong way round" says 1 'smaller number first' plans --methods vpt-deep --prompt-blocks 2-1
check_case "a rank beyond the width" says 1 'method lora-9999999999999: ' plans --methods lora-9999999999999
check_case "a reduction beyond the width" says 1 'method adapter-99999: ' plans --methods adapter-99999
check_case "a rate of nothing" says 1 '--lr: expected numbers above 0' plans --methods linear --lr 0
cp tiny.safetensors $'caf\xe9.safetensors'
check_case "a backbone whose name is no text" says 1 'is not UTF-8' "$vitrine" sweep --backbone $'caf\xe9.safetensors' --data synthetic:colors --out x
check_case "an unknown recipe" says 1 'did you mean paper' small x --recipe papre
check_case "an unknown method" says 1 'did you mean linear' "$vitrine" sweep --data synthetic:colors --methods linera --out x
check_case "an unknown scheme" says 1 "synthetic" "$vitrine" sweep --data sinthetic:colors --out x
check_case "tasks of no suite" says 1 'there is no --suite' small x --tasks shapes
check_case "a part that is none" says 1 '--jobs-part' small x --jobs-part 4/3
check_case "a rate twice" says 1 'twice' "$vitrine" sweep --data synthetic:colors --methods linear --lr 1,1 --out x
check_case "a table of nothing" says 2 'cannot open' "$vitrine" table nowhere.jsonl
mkdir -p bare
check_case "a table of a folder that is no sweep's" says 1 "is not the folder of a vitrine sweep" "$vitrine" table bare
check_case "a table of what is no ledger" says 1 'line 1' "$vitrine" table tiny.safetensors

# --- undisturbed ---
began=$(date +%s%N)
check_case "a sweep" says 0 '^Done  *15 of 15' small whole
took=$((($(date +%s%N) - began) / 1000000))
check_case "its ledger has a line for each run and one for the plan" lines_are 16 whole/ledger.jsonl
check_case "no weights are left behind" test -z "$(find whole -name '*.safetensors' -o -name state)"
check_case "again nothing is done" says 0 '^Now  *15 of 15' small whole
check_case "its table" says 0 '^\| vpt-shallow \(epochs 1, batch 8\) \| 1\.0' "$vitrine" table whole
check_case "its table as JSON" says 0 '"mean_of_groups"' "$vitrine" table whole --format json
check_case "its table by training images" says 0 '^\| tasks by training images \| 240 \|' "$vitrine" table whole --by train-size
check_case "--json has the table" says 0 '"table": *\{"rows":\[\{"label":"full \(epochs 1, batch 8\)"' "$vitrine" table whole --json
check_case "a file's name tells the format" says 0 'x.csv' "$vitrine" table whole --out x.csv
check_case "which is CSV" grep -q '^"linear (epochs 1, batch 8)",' x.csv
check_case "a name that tells none" says 1 'which format' "$vitrine" table whole --out x.xls
check_case "a folder that is not there is made by nobody" says 2 "there is no folder 'nowhere'" "$vitrine" table whole --out nowhere/x.csv
check_case "nor is it made" test ! -e nowhere
check_case "a list of runs" says 0 '^\| [0-9a-f]{20} \| colors \| vpt-shallow \| final \| 2 \|' "$vitrine" table whole --runs
check_case "a table in a file" says 0 'table.md' "$vitrine" table whole/ledger.jsonl --out table.md
check_case "that is the same" diff table.md <("$vitrine" table whole)
check_case "tasks are kept if wanted" says 0 '^Done' small kept --keep-tasks
check_case "one of each run" test "$(find kept/runs -name task.safetensors | wc -l)" = 15
check_case "they change no result" same_ledger whole kept

# --- kills ---
killed=0
for attempt in 1 2 3 4 5 6 7 8; do
  exec=exec small hurt >hurt-$attempt.log 2>&1 &
  victim=$!
  # Somewhere in the time that the whole takes, the more the later the attempt: something is always left to kill.
  sleep "$(awk -v t="$took" -v a=$attempt -v r=$RANDOM 'BEGIN { print t / 1000 * (0.05 + 0.25 * r / 32767) + 0.01 * a }')"
  kill -9 $victim 2>/dev/null
  wait $victim 2>/dev/null
  [[ $? == 137 ]] && killed=$((killed + 1))
done
check_case "at least three kills hit" test $killed -ge 3
mkdir -p hurt/plans
printf cut >hurt/plans/.vitrine-1.tmp  # as a kill in the middle of writing leaves it
check_case "after them the sweep is finished" says 0 '^Done  *15 of 15' small hurt
check_case "its ledger is that of the undisturbed one" same_ledger whole hurt
check_case "and so is its table" same_table whole hurt
check_case "nothing is left of what was killed" test -z "$(find hurt -name state -o -name '.vitrine-*')"
check_case "no run was done twice" test -z "$(cat hurt-*.log | grep -o '^\[[0-9]*/' | sort | uniq -d)"

# --- a signal ---
epochs=40 exec=exec small stopped >stopped.log 2>&1 &
victim=$!
until grep -q '^\[3/' stopped.log || ! kill -0 $victim 2>/dev/null; do sleep 0.05; done
kill -INT $victim
wait $victim
check_case "Ctrl-C ends it with 130" test $? = 130
check_case "and it says how to go on" grep -q 'The same command goes on' stopped.log
longer() { epochs=40 small stopped; }
check_case "which it does" says 0 '^Done  *15 of 15' longer

# --- several processes ---
for part in 1 2 3; do small shared --jobs-part $part/3 >shared-$part.log 2>&1 & done
wait
check_case "three processes end well" test "$(cat shared-*.log | grep -c '^Done  *15 of 15')" = 3
check_case "and do each run once" test "$(cat shared-*.log | grep -c '^\[')" = 15
check_case "to the same ledger" same_ledger whole shared
SLURM_ARRAY_TASK_ID=12 SLURM_ARRAY_TASK_MIN=10 SLURM_ARRAY_TASK_COUNT=4 small whole >slurm.log 2>&1
check_case "a job array tells the part" grep -q 'as process 3 of 4' slurm.log

# One that is killed in a run that another waits for.
one_run() {
  ${exec:-} "$vitrine" sweep --backbone tiny.safetensors --data synthetic:colors --methods full --lr 1e-3 --seeds 1 --batch 4 \
    --epochs 100000 --out taken
}
exec=exec one_run >taken-1.log 2>&1 &
victim=$!
until compgen -G 'taken/runs/*/state/checkpoint-*' >/dev/null; do sleep 0.05; done
exec=exec one_run >taken-2.log 2>&1 &
waiting=$!
until grep -q 'waiting for 1 run' taken-2.log; do sleep 0.05; done
kill -9 $victim
wait $victim 2>/dev/null
until grep -q 'going on after step' taken-2.log || ! kill -0 $waiting 2>/dev/null; do sleep 0.05; done
check_case "who waited takes over where the killed one was" grep -q 'going on after step' taken-2.log
kill -INT $waiting
wait $waiting

# --- another ledger ---
head -n 14 whole/ledger.jsonl >earlier.jsonl
check_case "a ledger's runs are not done again" says 0 '^Now  *14 of 15' small seeded --ledger earlier.jsonl
check_case "to the same ledger, too" same_ledger whole seeded
sed 's/"seed":0/"seed":"none"/' whole/ledger.jsonl >wrong.jsonl
check_case "a wrong ledger is refused" says 1 'wrong.jsonl, line [0-9]*: expected seed' small x --ledger wrong.jsonl

# A folder that is a copy of its ledger, and another plan there.
mkdir -p led && cp whole/ledger.jsonl led/
check_case "a copy of a ledger is gone on with" says 0 '^Now  *15 of 15' small led
check_case "and stays as it was" same_ledger whole led
mkdir -p led2 && cp whole/ledger.jsonl led2/
other_plan() { "$vitrine" sweep --backbone tiny.safetensors --data synthetic:stripes --methods linear --train-sizes 240 --epochs 1 --batch 8 --lr 1e-3 --seeds 1 --out led2; }
check_case "another plan beside it" says 0 '^Done  *1 of 1' other_plan
check_case "loses no line" test "$(grep -cFf <(grep '"run"' whole/ledger.jsonl) led2/ledger.jsonl)" = 15
{
  grep '"run"' whole/ledger.jsonl | head -n 1 | sed 's/"settings":{.*/"settings":{"x":/' | tr -d '\n'
  printf '%200000s' | tr ' ' '['
  printf '%200000s' | tr ' ' ']'
  grep '"run"' whole/ledger.jsonl | head -n 1 | sed 's/.*"settings":{/,/'
} >deep.jsonl
check_case "a ledger nested without end is refused" says 1 'line 1: is nested too deeply' "$vitrine" table deep.jsonl

# --- what goes wrong ---
# A loss beyond all bounds is divergence, and the folder can be gone on with.
beyond() { "$vitrine" sweep --backbone tiny.safetensors --data synthetic:colors --methods linear --train-sizes 48 --epochs 6 --warmup 0 --batch 248 --lr 999 --wd 10000 --seeds 1 --out beyond; }
check_case "a loss beyond all bounds" says 0 '^Done  *1 of 1 run done, 1 diverged' beyond
check_case "is done, and can be read" says 0 '^Now  *1 of 1' beyond
check_case "and shown" says 0 'diverged' "$vitrine" table beyond
# Files may not grow beyond 4 KB, as on a full disk: the sweep ends, and nothing of that is a result.
limited() { (ulimit -f 4; exec "$vitrine" sweep --backbone tiny.safetensors --data synthetic:colors --methods full --train-sizes 240 --epochs 1 --batch 8 --lr 1e-3,1e-2 --seeds 1 --out limited); }
unlimited() { "$vitrine" sweep --backbone tiny.safetensors --data synthetic:colors --methods full --train-sizes 240 --epochs 1 --batch 8 --lr 1e-3,1e-2 --seeds 1 --out "$1"; }
check_case "a file that may not grow ends the sweep" says 2 'full on colors .*File too large' limited
check_case "without a result" test -z "$(find limited -name result.json)"
check_case "and with room it goes on" says 0 '^Done  *3 of 3' unlimited limited
unlimited roomy >/dev/null 2>&1
check_case "to the ledger of an undisturbed one" same_ledger roomy limited
# A cell of the table is of one set of settings, whatever command came last.
one_rate() { "$vitrine" sweep --backbone tiny.safetensors --data synthetic:colors --methods linear --lr 0.003 --out mixed "$@"; }
one_rate --epochs 1 --seeds 2 >/dev/null 2>&1
one_rate --epochs 3 --seeds 1 >/dev/null 2>&1
"$vitrine" table mixed | sort >mixed-1
one_rate --epochs 1 --seeds 2 >/dev/null 2>&1
"$vitrine" table mixed | sort >mixed-2
check_case "settings are told apart" test "$(grep -cE '^\| linear \(epochs [13]\) \| 1\.' mixed-1)" = 2
check_case "the numbers of a row do not depend on the last command" diff <(grep '^| linear' mixed-1) <(grep '^| linear' mixed-2)

# A task that cannot be opened: told before the first run, shown in the table, and the others are done.
lost() { "$vitrine" sweep --backbone tiny.safetensors --data folder:lost --data synthetic:colors --methods linear --lr 1e-3 --epochs 1 --seeds 1 --out lost.out "$@"; }
check_case "a task that cannot be opened" says 1 '1 task could not be used' lost
check_case "is told before any run" test "$(lost --retry 2>&1 | grep -nE "task 'lost'|^Now" | head -1 | grep -c lost)" = 1
check_case "its runs do not count" says 1 '^Done  *1 of 1 run done' lost
check_case "and stands in the table" says 0 '^\| tasks: lost \| not opened' "$vitrine" table lost.out
check_case "with the reason" says 0 'task lost could not be opened' "$vitrine" table lost.out
check_case "the mean says over how many" says 0 '^\| linear .*\[1 of 2 tasks\]' "$vitrine" table lost.out

bad_rate() {
  "$vitrine" sweep --backbone tiny.safetensors --data synthetic:colors --methods vpt-deep --prompts 2 --optimizer sgd --lr 1e5 \
    --wd 0,1e5 --epochs 1 --seeds 1 --out diverged
}
check_case "a point that diverges is a result" says 0 '^Done  *3 of 3 runs done, 1 diverged' bad_rate
check_case "and stands in the ledger" grep -q '"diverged":"' diverged/ledger.jsonl
mkdir -p pictures
for split in train val test; do
  for class in a b; do
    mkdir -p pictures/$split/$class
    for i in 1 2 3; do
      # A bitmap of one pixel: two headers, and blue, green, red and a byte to fill up.
      printf 'BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\1\0\0\0\1\0\0\0\1\0\x18\0\0\0\0\0\4\0\0\0%b%s%s\1\0' \
        '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' $i $class >pictures/$split/$class/$i.bmp
    done
  done
done
mkdir untested && cp -r pictures/train untested/
check_case "a task without a test split says what is missing" says 1 'has no test split, only train' "$vitrine" sweep \
  --data folder:untested --show-plan
cp pictures/test/a/1.bmp sound.bmp
echo damaged >pictures/test/a/1.bmp
pictures() {
  "$vitrine" sweep --backbone tiny.safetensors --data folder:pictures --data synthetic:colors --methods linear --lr 1e-3 --epochs 1 \
    --seeds "${seeds:-2}" --out failed "$@"
}
check_case "a damaged picture fails its runs, the sweep goes on" says 1 '^Done  *4 of 4' pictures
check_case "and tells which" says 1 'linear on pictures .*1\.bmp' pictures
check_case "what failed before is told as that" says 1 'of an earlier sweep.*1\.bmp' pictures
check_case "and counted" says 1 '^Now  *4 of 4 runs done, 2 failed' pictures
check_case "the table shows it" says 0 'failed' "$vitrine" table failed
cp sound.bmp pictures/test/a/1.bmp
check_case "mended it is no other picture, but --retry is wanted" says 1 '1\.bmp.*' pictures
check_case "which is what the end says" says 1 'retry does failed runs again' pictures
check_case "and no run is said to be of other pictures" eval '! pictures 2>&1 | grep "its pictures are not those"'
check_case "--retry does them again" says 0 '^Now  *2 of 4' pictures --retry
check_case "and the table has them" says 0 '^\| tasks: pictures \| [0-9]' "$vitrine" table failed
cp pictures/train/a/1.bmp pictures/train/a/4.bmp
more_seeds() { seeds=3 pictures; }
check_case "other pictures do not join" says 1 'its pictures are not those of run' more_seeds
rm pictures/train/a/4.bmp
echo damaged >pictures/test/a/1.bmp
tolerant() { "$vitrine" sweep --backbone tiny.safetensors --data folder:pictures --methods linear --lr 1e-3 --epochs 1 --seeds 1 --out "$@"; }
check_case "damaged pictures of a test are told" says 0 '1\.bmp.*; it was left out of test' tolerant bad --max-bad 1
check_case "whatever was allowed before" says 0 '^Now  *1 of 1' tolerant bad --max-bad 2
cp sound.bmp pictures/test/a/1.bmp

# --- what is chosen of a suite, and beside it ---
cat >two.toml <<'TOML'
name = "two"
[[task]]
name = "first"
data = "synthetic:colors"
[[task]]
name = "second"
data = "synthetic:shapes"
TOML
check_case "--tasks chooses of the suite alone" says 0 '^Tasks  *2 in 1 group: second, stripes' "$vitrine" sweep --suite two.toml --tasks second \
  --data synthetic:stripes --backbone tiny.safetensors --show-plan
check_case "a suite among the data" says 0 '^Tasks  *3 in 1 group: stripes, first, second' "$vitrine" sweep --data synthetic:stripes \
  --data suite:two.toml --backbone tiny.safetensors --show-plan
check_case "a suite is nothing to tune for" says 1 'which only a sweep takes' "$vitrine" tune --data suite:two.toml --out x
sed '0,/synthetic:colors"/s//synthetic:colors"\nresize = "squash"\naugment = ["shift"]/' two.toml >shifted.toml
check_case "a shift without room is told with the plan" says 1 "task 'first': augment: .*resize them to \"crop\"" "$vitrine" sweep \
  --suite shifted.toml --backbone tiny.safetensors --show-plan
printf 'name = "m"\n[[task]]\nname = "x"\ndata = "synthetic:colors"\ntrain_limit = 5000\n' >much.toml
check_case "a limit beyond what there is is told" says 0 'all there are; the limit is 5,000' "$vitrine" sweep --backbone tiny.safetensors \
  --suite much.toml --show-plan
check_case "an option twice" says 1 '\-\-seeds is there 3 times' small x --seeds 1 --seeds=2
mkdir -p tuned && cp kept/runs/*/task.safetensors tuned/ 2>/dev/null || cp "$(find kept -name task.safetensors | head -n 1)" tuned/task.safetensors
check_case "the folder of a run is no sweep's" says 1 "'tuned' holds a run of its own" small tuned
check_case "all blocks are no variant" diff <(plans --methods vpt-deep --prompt-blocks 1-2) <(plans --methods vpt-deep)
check_case "a table of a suite" says 1 'expected the ledger of a sweep' "$vitrine" table two.toml
check_case "an unknown task of a suite" says 1 "there is no task 'third'" "$vitrine" sweep --suite two.toml --tasks third --show-plan
check_case "a plan tells what recipes have in common" says 0 'drop path 0.1' plans --methods vpt-deep --recipe retuned
check_case "and variants of prompts" says 0 'shared' plans --methods vpt-deep --prompt-shared
check_case "rates of another optimizer are told" says 0 'note: vpt-deep: its learning rates are those of' plans --methods vpt-deep --optimizer sgd
check_case "a ledger by its folder" says 0 '^Now  *15 of 15' small by-folder --ledger whole

# --- studies: the paper's figures and ablations, as suites, with the tasks of a small one in place of theirs ---
cat >suite.toml <<'TOML'
name = "small"
[[task]]
name = "colours"
group = "drawn"
data = "synthetic:colors"
train_limit = 16
TOML
study() { # NAME OUT OPTIONS...
  sed 's|^tasks_of = .*|tasks_of = "suite.toml"|' "$root/suites/studies/$1.toml" >"$1.toml" &&
    "$vitrine" sweep --suite "$1.toml" --out "$2" --epochs 1 --batch 32 --seeds 1 --warmup 0 "${@:3}"
}
"$vitrine" pretrain --out six.safetensors --width 16 --depth 6 --heads 2 --patch 8 --steps 2 --batch 4 --warmup 1 --f32 >/dev/null 2>&1
check_case "every ablation runs" study ablations ablated --backbone six.safetensors --lr 1e-2
check_case "and again nothing is done" says 0 '^Sweep 22 of 22: --methods=vpt-deep --prompt-dropout=0.5' study ablations ablated --backbone six.safetensors --lr 1e-2
# Without what of these settings is not the recipe's, which the names tell.
unusual='epochs 1, batch 32, warmup epochs 0'
"$vitrine" table ablated >ablated.md
check_case "what is not the recipe's is told" grep -Fq "| vpt-deep ($unusual) |" ablated.md
sed "s/, $unusual)/)/; s/ ($unusual)//" ablated.md >variants
for row in 'vpt-deep' 'vpt-shallow' 'vpt-deep (blocks 1-1)' 'vpt-deep (blocks 3-6)' 'vpt-deep (shared)' 'vpt-deep (location add)' \
  'vpt-shallow (location add)' 'vpt-shallow (location pixels)' 'vpt-deep (pooling images)' 'vpt-deep (pooling prompts)' \
  'vpt-deep (pooling all)' 'vpt-deep (init class-tokens)' 'vpt-shallow (init class-tokens)' 'vpt-deep (projection 8)' \
  'vpt-deep (dropout 0.5)'; do
  check_case "a row of variants: $row" grep -Fq "| $row |" variants
done
check_case "lengths, fewer of them by the command" study lengths long --backbone tiny.safetensors --lr 1e-2 --prompts 1,2
check_case "by columns" says 0 '^\| drawn by prompts \| 1 \| 2 ' "$vitrine" table long --by prompts
check_case "the study of train sizes" study figure-3 sizes --backbone tiny.safetensors --lr 1e-2 --prompts 2
check_case "has a column for each size" says 0 '^\| drawn by training images \| 50 \| 100 \| 200 \| 400 \| 800 \|$' "$vitrine" table sizes --by train-size
check_case "the study of backbones" says 0 'Sweep 2 of 2: --backbone=builtin-swin' study figure-4 nets --show-plan
check_case "one JSON object tells all sweeps" test "$(study figure-4 nets --show-plan --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["sweeps"]))')" = 2
sed 's|"builtin"|"tiny.safetensors"|; s|"builtin-swin"|"six.safetensors"|; s|^tasks_of = .*|tasks_of = "suite.toml"|' "$root/suites/studies/figure-4.toml" >nets.toml
check_case "with backbones of one's own" "$vitrine" sweep --suite nets.toml --epochs 1 --batch 32 --seeds 1 --warmup 0 --prompts 2 --lr 1e-2 --out nets
check_case "in one table" says 0 '^\| drawn by backbone \| .*depth 2.* \| .*depth 6.* \|$' "$vitrine" table nets --by backbone
# of OPTIONS...: a study of two sweeps, the second of which says these options.
of() { printf '%s\n' 'tasks_of = "suite.toml"' 'name = "x"' '[[sweep]]' 'methods = "linear"' '[[sweep]]' "$@" >own.toml; }
own() { "$vitrine" sweep --suite own.toml --backbone tiny.safetensors --epochs 1 --batch 32 --seeds 1 --warmup 0 --lr 1e-2 --out "$@"; }
of 'metods = "linear"'
check_case "an option that there is not is told with its sweep" says 1 "sweep 2: .*metods" own unmade
for option in out=y show-plan=true json=true threads=900 instructions=nonsense data=synthetic:shapes ledger=whole help=true; do
  of "${option%=*} = \"${option#*=}\""
  check_case "for the command line alone: ${option%=*}" says 1 "sweep 2: --${option%=*} is for the command line" own unmade
done
for value in --help -h -- --out=evil; do
  of "methods = \"$value\""
  check_case "a value that looks like an option: $value" says 1 "sweep 2: .*method" own unmade
  of "retry = \"$value\""
  check_case "for an option that takes none: $value" says 1 "sweep 2: " own unmade
done
check_case "nor was it taken for one" test ! -e evil
of 'methods = "vpt-deep"' 'prompt-blocks = "1-5"' '[[sweep]]' 'methods = "full"'
check_case "a sweep that cannot begin is told" says 1 'sweep 2: method vpt-deep: prompts: expected blocks among 1-2' own next
check_case "and the next one is done" says 0 '^\| full .* \| [0-9]' "$vitrine" table next
check_case "its plan, too" says 1 '^Sweep 3 of 3: --methods=full' own next --show-plan
check_case "the JSON tells all" test "$(own next --json 2>/dev/null | python3 -c 'import json, sys; print([len(s.get("problem", "")) > 0 for s in json.load(sys.stdin)["sweeps"]])')" = "[False, True, False]"
check_case "which is told at once" test "$(own next 2>&1 | grep -nE 'note: method vpt-deep: prompts|^Sweep 3' | head -n 1 | grep -c note)" = 1
of 'backbone = "none.safetensors"' '[[sweep]]' 'methods = "full"'
lacking() { "$vitrine" sweep --suite own.toml --epochs 1 --batch 32 --seeds 1 --warmup 0 --lr 1e-2 --show-plan; }
check_case "a backbone that is not there is one sweep's mistake" says 1 "sweep 2: .*cannot open 'none.safetensors'" lacking
check_case "and the next one has its plan" says 1 '^Sweep 3 of 3: --methods=full' lacking
of 'methods = "vpt-deep"' 'prompt-blocks = "1-5"' '[[sweep]]' 'methods = "full"'
check_case "options of prompts are for those that have some" says 1 'note: --prompts .*: none of the methods has prompts: linear' own next --prompts 2
of 'methods = "vpt-shallow"' 'lr = 5'
check_case "the command's rates displace the study's" says 0 'learning rates? 0.0125;' "$vitrine" sweep --suite own.toml --backbone tiny.safetensors --batch 32 \
  --base-lr 0.1 --show-plan
of 'backbone = "$PLACE/tiny.safetensors"' 'methods = "full"'
mkdir -p below && sed 's|"suite.toml"|"../suite.toml"|; s|$PLACE/tiny|tiny|' own.toml >below/own.toml && cp tiny.safetensors below/
beside() { "$vitrine" sweep --suite below/own.toml --epochs 1 --batch 32 --seeds 1 --out beside --show-plan; }
check_case "a backbone lies beside its suite" says 0 "^Backbone  *'below/tiny.safetensors'" beside
check_case "variables are the environment's" says 1 'PLACE, which is not set' own x
check_case "a study is more than its tasks" says 1 'also says what is done with its tasks' "$vitrine" sweep --data suite:nets.toml --show-plan
of 'methods = "full"' '[[task]]' 'name = "lost"' 'data = "folder:lost"'
check_case "what goes wrong in all is told once" says 1 'sweep 1, 2: 1 task could not be used$' own partly
check_case "in its notes as well" test "$(own partly 2>&1 | grep -c 'the other tasks are done without it')" = 1
# Ctrl-C in the first sweep ends the study.
of 'methods = "vpt-shallow"'
sed -i '0,/"linear"/s//"full"/' own.toml
exec_own() { exec "$vitrine" sweep --suite own.toml --backbone tiny.safetensors --epochs 100000 --batch 4 --seeds 1 --lr 1e-2 --out ended; }
exec_own >ended.log 2>&1 &
victim=$!
until compgen -G 'ended/runs/*/state/checkpoint-*' >/dev/null || ! kill -0 $victim 2>/dev/null; do sleep 0.05; done
kill -INT $victim
wait $victim
check_case "Ctrl-C ends a study with 130" test $? = 130
check_case "which tells what was not begun" grep -q '^1 sweep of this study was not begun\.$' ended.log
check_case "before its next sweep" eval '! grep "Sweep 2 of 2" ended.log'

quick=(--backbone tiny.safetensors --epochs 1 --batch 32 --lr 1e-2 --seeds 1 --warmup 0)
ensembles() { "$studies/ensembles.sh" "$vitrine" suite.toml "$@" "${quick[@]}"; }
members_are() { [[ $(cut -d '|' -f 3 "$1" | grep -c "$2") == "$3" ]]; }
two_members() { MEMBERS=2 ensembles ensembles; }
check_case "ensembles" two_members
check_case "an ensemble of two" grep -Eq '^\| colours \| 2 \| [0-9.]+ \| [0-9.]+ \| [0-9.]+ \|$' ensembles/ensembles.md
quick=("${quick[@]/1e-2/3e-2}")
MEMBERS=2 ensembles ensembles >/dev/null 2>&1
check_case "ensembles of other settings are others" members_are ensembles/ensembles.md ' 2 ' 2
# Names that are long, so that no line of what eval says is whole.
long=$(printf 'a-folder-with-a-long-name/%.0s' 1 2 3 4)
mkdir -p "$long"
MEMBERS=3 ensembles "$long/out" >/dev/null 2>&1
check_case "an ensemble in a folder far below" members_are "$long/out/ensembles.md" ' 3 ' 1
mkdir -p ledger-alone && cp "$long/out/ledger.jsonl" ledger-alone/
three_members() { MEMBERS=3 ensembles ledger-alone; }
check_case "results without task files make no ensemble" says 1 '3 runs have no task file' three_members
printf 'name = "x"\n[[task]]\nname = "colours"\ndata = "synthetic:colors"\ntrain_limit = 16\n[[task]]\nname = "lost"\ndata = "folder:lost"\n' >half.toml
half() { MEMBERS=2 "$studies/ensembles.sh" "$vitrine" half.toml halves "${quick[@]}"; }
check_case "a task that cannot be opened fails the study" says 1 'task .lost.' half
check_case "and keeps no other from its ensemble" members_are halves/ensembles.md ' 2 ' 1
one_member() { MEMBERS=1 ensembles one; }
check_case "an ensemble of one is none" says 1 'two or more' one_member

# --- prompts that start from class tokens ---
check_case "lengths of prompts that are added" says 1 'as many as these' "$vitrine" sweep --backbone tiny.safetensors \
  --data synthetic:colors --methods vpt-deep --prompt-location add --prompts 3 --out x
check_case "class tokens and lengths" says 1 'as many as a task has classes' "$vitrine" sweep --backbone tiny.safetensors \
  --data synthetic:colors --methods vpt-deep --prompt-init class-tokens --prompts 3 --out x
check_case "class tokens of a Swin" says 1 'no class token' "$vitrine" sweep --backbone builtin-swin --data synthetic:colors \
  --methods vpt-deep --prompt-init class-tokens --out x

# --- what is committed: the page shows what `vitrine table` prints of the ledgers, and these are of today's backbones ---
results=$root/bench/results
shown() { # PAGE LEDGER [OPTIONS of table...]: its tables stand in the page, line for line and in one piece
  local page table
  page=$(compgen -G "$results/*-$1.md" | tail -n 1)
  table=$("$vitrine" table "$results/$2" "${@:3}") && python3 -c 'import sys; sys.exit(sys.argv[1] not in open(sys.argv[2]).read())' "$table" "$page"
}
of_today() { # LEDGER BACKBONE
  local identity
  identity=$("$vitrine" inspect "$2" --json 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["identity"])') &&
    [[ $(grep -c '"backbone_identity"' "$results/$1") == $(grep -c "\"backbone_identity\":\"$identity\"" "$results/$1") ]]
}
for ledger in "$results"/mini-vtab*.jsonl "$results"/photographs.jsonl; do
  check_case "the committed table of $(basename "$ledger")" shown methods "$(basename "$ledger")"
done
check_case "the committed table by backbone" shown methods mini-vtab.jsonl "$results/mini-vtab-swin.jsonl" --by backbone
check_case "the committed ablations" shown ablations ablations-cells.jsonl
check_case "their lengths" shown ablations ablations-cells-lengths.jsonl --by prompts
check_case "the committed table by training images" shown ablations train-size-cells.jsonl --by train-size
# From the committed ledgers the documented commands have nothing left to run, and come to the same tables.
nothing_left() { # STUDY LEDGER OPTIONS...
  timeout 300 "$vitrine" sweep --suite "$root/suites/studies/$1.toml" --ledger "$results/$2.jsonl" --out "again/$1" --threads 1 "${@:3}" >said ||
    return 1
  grep '^Now' said && ! grep '^Now' said | grep -vE '^Now +([0-9,]+) of \1 runs? done'
}
check_case "the ablations have nothing to run" nothing_left ablations ablations-cells --tasks cells --seeds 1 --lr 3e-3
check_case "nor have lengths" nothing_left lengths ablations-cells-lengths --tasks cells --seeds 1 --lr 3e-3 --prompts 1,5,10,50
check_case "nor figure 3" nothing_left figure-3 train-size-cells --tasks cells --seeds 1
if [[ -e /usr/share/datasets/fashion-mnist ]]; then
  check_case "from the committed ledger table 1 has nothing to run" nothing_left table-1 mini-vtab
  check_case "and comes to the committed table" same_table again/table-1 "$results/mini-vtab.jsonl"
  check_case "with the Swin, too" nothing_left table-1-swin mini-vtab-swin
  check_case "to the committed table" same_table again/table-1-swin "$results/mini-vtab-swin.jsonl"
else
  echo "SKIPPED: mini-VTAB's command: Debian's dataset-fashion-mnist is not installed"
fi
check_case "mini-vtab.jsonl is of the built-in ViT as it is" of_today mini-vtab.jsonl builtin
check_case "mini-vtab-swin.jsonl of the built-in Swin" of_today mini-vtab-swin.jsonl builtin-swin

end_cases
