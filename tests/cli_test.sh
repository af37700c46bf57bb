#!/usr/bin/env bash
# cli_test.sh: the vitrine program from outside: messages, exit codes, files, interruptions.
#
#   tests/cli_test.sh build/examples/vitrine
set -u

vitrine=$(realpath "${1:?usage: cli_test.sh PROGRAM}")
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
mounted=
cleanup() {
  [[ -n $mounted ]] && umount "$mounted" 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT
cd "$work" || exit 1

passed=0 failed=0 skipped=0
ok() { echo "ok      $1"; passed=$((passed + 1)); }
bad() {
  echo "FAILED  $1: $2"
  failed=$((failed + 1))
  sed 's/^/        | /' out err 2>/dev/null | tail -n 12
}
skip() { echo "SKIPPED $1: $2"; skipped=$((skipped + 1)); }

# expect NAME EXIT-CODE REGEX COMMAND...: the command's exit code, and a line of its output that matches
expect() {
  local name=$1 code=$2 regex=$3 got
  shift 3
  "$@" >out 2>err </dev/null
  got=$?
  if ((got != code)); then bad "$name" "expected exit code $code, got $got"; return; fi
  if ! cat out err | grep -Eq -- "$regex"; then bad "$name" "no line matches /$regex/"; return; fi
  # An error is one line that says which program speaks.
  if ((code >= 1 && code <= 4)) && ! tail -n 1 err | grep -q '^vitrine'; then bad "$name" "the last line is no error message"; return; fi
  ok "$name"
}
# same NAME FILE FILE
same() { if cmp -s "$2" "$3"; then ok "$1"; else bad "$1" "$2 and $3 differ"; fi; }
# json NAME EXPRESSION: the output is one JSON object `j` for which the Python expression holds
json() {
  if python3 -c 'import json,sys; j=json.load(open("out")); sys.exit(not eval(sys.argv[1]))' "$2" 2>>err; then ok "$1"
  else bad "$1" "not so: $2"; fi
}

# --- options ---
expect 'no command' 1 'expected a command' "$vitrine"
expect 'version' 0 '^vitrine [0-9]+\.[0-9]+' "$vitrine" --version
expect 'unknown command' 1 'did you mean tune' "$vitrine" tunne
expect 'unknown option, nearest' 1 "^vitrine tune: unknown option '--prompst'; did you mean --prompts" "$vitrine" tune --prompst 3
expect 'missing value' 1 '--out: expected a value' "$vitrine" tune --data synthetic:shapes --out
expect 'value left out' 1 '--out: expected a value' "$vitrine" tune --out --data synthetic:shapes
expect 'missing option' 1 '--data is required' "$vitrine" tune
expect 'number with a tail' 1 "--prompts: expected a whole number .*'12abc'" "$vitrine" tune --data synthetic:shapes --prompts 12abc
expect 'negative count' 1 "--batch: .*got '-3'" "$vitrine" tune --data synthetic:shapes --batch -3
expect 'overflow' 1 '--seed: expected a whole number' "$vitrine" tune --data synthetic:shapes --seed 99999999999999999999
expect 'not a number' 1 "--lr: expected a number .*'nan'" "$vitrine" tune --data synthetic:shapes --lr nan
expect 'unknown word' 1 'did you mean cosine' "$vitrine" tune --data synthetic:shapes --schedule cosin
expect 'excluding options' 1 'lr excludes' "$vitrine" tune --data synthetic:shapes --lr 1 --base-lr 1
expect 'senseless bytes' 1 '--memory-limit: expected' "$vitrine" tune --data synthetic:shapes --memory-limit 2Q
expect 'prompts without prompts' 1 'linear has no prompts' "$vitrine" tune --data synthetic:shapes --method linear --prompts 3
expect 'a method by its pattern' 1 'expected one of .*partial .partial-1.*did you mean partial-1' "$vitrine" tune --data synthetic:shapes --method partial-k
expect 'a part of the names of methods' 1 'did you mean vpt-deep or vpt-shallow or' "$vitrine" tune --data synthetic:shapes --method vpt
expect 'a method in large letters' 1 'did you mean vpt-deep' "$vitrine" tune --data synthetic:shapes --method VPT-deep
expect 'blocks beyond the last' 1 'expected blocks among 1-6, got 2-9' "$vitrine" tune --data synthetic:shapes --prompt-blocks 2-9
expect 'block 0' 1 'the first block is 1' "$vitrine" tune --data synthetic:shapes --prompt-blocks 0-3
expect 'blocks from behind' 1 'the smaller number first' "$vitrine" tune --data synthetic:shapes --prompt-blocks 3-2
expect 'pixels of the wrong method' 1 'only those of vpt-shallow' "$vitrine" tune --data synthetic:shapes --prompt-location pixels
expect 'unknown data scheme' 1 "did you mean 'folder:'" "$vitrine" tune --data foldr:x
expect 'resume what' 1 'with --out' "$vitrine" tune --data synthetic:shapes --resume
for command in tune sweep table eval predict report inspect pretrain bench 'bench step' 'bench infer' 'bench gemm' 'bench memory' 'bench load'; do
  # shellcheck disable=SC2086 # two words
  expect "help of $command" 0 "^vitrine $command" "$vitrine" $command --help
  if (($(wc -l <out) <= 60)) && awk 'length > 80 { exit 1 }' out; then ok "help of $command fits a screen"
  else bad "help of $command fits a screen" "too long or too wide"; fi
done

"$vitrine" tune --help all >every
"$vitrine" tune --help >some
expect 'help of all options' 0 '^  --label-smoothing S +share' cat every
if awk 'length > 80 { exit 1 }' every; then ok 'help of all options: wide'; else bad 'help of all options: wide' 'too wide'; fi
expect 'no option is lost in the short help' 0 '^the same$' python3 -c '
import re
every, some = ([line for line in open(name) if line.startswith("  --")] for name in ("every", "some"))
named = [word for line in some for word in (line.split() if re.match("  --[a-z-]+ --", line) else line.split()[:1])]
print("the same" if sorted(named) == sorted(line.split()[0] for line in every) and len(set(named)) == len(named) else named)'
expect 'help tune all' 0 '^  --label-smoothing S' "$vitrine" help tune all
expect 'help of an option that --help only names' 0 '^More, explained by vitrine tune --help all' "$vitrine" help tune
if "$vitrine" --help | awk 'length > 80 { exit 1 }'; then ok 'help of all commands: wide'; else bad 'help of all commands: wide' 'too wide'; fi
expect 'bench load is named' 0 '(bench step|step), .*load' "$vitrine" --help

expect 'value left empty' 1 '--prompts: expected a value after the equals sign' "$vitrine" tune --data synthetic:shapes --prompts=
expect 'a word too much' 1 "expected options only, got 'more'" "$vitrine" tune --data synthetic:shapes more
expect 'a folder without its scheme' 1 "folder:./pictures" "$vitrine" tune --data ./pictures

# --- backbones and pictures to test with ---
expect 'pretrain' 0 'tiny.safetensors' "$vitrine" pretrain --out tiny.safetensors --width 16 --depth 2 --heads 2 --patch 8 \
  --steps 4 --batch 4 --warmup 1 --every 2 --f32
"$vitrine" pretrain --out other.safetensors --width 16 --depth 2 --heads 2 --patch 8 --steps 1 --batch 2 --seed 2 >/dev/null 2>&1
if [[ $(wc -l <tiny.log.jsonl) == 2 ]]; then ok 'pretrain log'; else bad 'pretrain log' 'expected 2 lines'; fi
expect 'inspect as JSON' 0 . "$vitrine" inspect tiny.safetensors --json
json 'inspect as JSON: content' 'j["kind"] == "backbone" and j["config"]["depth"] == 2 and len(j["identity"]) == 64'
expect 'inspect the built-in' 0 'Parameters' "$vitrine" inspect builtin
expect 'inspect the built-in Swin' 0 'Swin, width' "$vitrine" inspect builtin-swin
expect 'heads that the file contradicts' 1 'holds 4 attention heads, not 8' "$vitrine" inspect builtin --heads 8
expect 'heads for a Swin' 1 "bias tables" "$vitrine" inspect builtin-swin --heads 4
expect 'pretrain goes on from a built-in net' 0 'again.safetensors' "$vitrine" pretrain --model swin --init builtin-swin --steps 0 --out again.safetensors
expect 'bench of no preset' 1 'presets are vit-.*swin-' "$vitrine" bench step --model nothing
expect 'tune the built-in Swin' 0 'task.safetensors' "$vitrine" tune --backbone builtin-swin --data synthetic:shapes --train-limit 16 --epochs 1 --batch 8 --no-test --out builtin-swin-task
expect "a task for another model" 1 'belongs to another backbone' "$vitrine" tune --init builtin-swin-task/task.safetensors --backbone builtin --data synthetic:shapes --out never
expect 'the built-in Swin is found again' 0 . "$vitrine" eval --task builtin-swin-task/task.safetensors --data synthetic:shapes --split val
expect 'inspect a missing file' 2 "^vitrine inspect: .*nowhere.*No such file" "$vitrine" inspect nowhere.safetensors
head -c 5000 tiny.safetensors >cut.safetensors
expect 'truncated backbone' 1 "^vitrine tune: .*cut.safetensors" "$vitrine" tune --data synthetic:shapes --backbone cut.safetensors --out never
if [[ -e never ]]; then bad 'no folder after an error' 'it was made'; else ok 'no folder after an error'; fi

python3 - <<'PYTHON'
import os, struct, zlib
def png(path, colour):
    rows = b"".join(b"\0" + bytes(colour) * 32 for _ in range(32))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
for split, n in (("train", 12), ("test", 5)):
    for c, name in enumerate(("blue", "green", "red")):
        os.makedirs(f"pictures/{split}/{name}")
        for i in range(n + c):
            colour = [(7 * i) % 40 + 10 * (split == "test")] * 3
            colour[2 - c] = 255 - 9 * i
            png(f"pictures/{split}/{name}/{i:02}.png", colour)
PYTHON
tune() { "$vitrine" tune --backbone tiny.safetensors "$@"; }

# --- a run and what follows it ---
expect 'tune on a folder' 0 'test .* of 18 images' tune --data folder:pictures --epochs 8 --batch 8 --lr 0.01 --out colours --json
json 'tune as JSON' 'j["test"]["samples"] == 18 and j["steps"] == 40 and j["classes"] == 3 and j["backbone_parameters"] > 0 and j["task"] == "colours/task.safetensors"'
expect 'metrics' 0 . python3 -c 'import json; l=[json.loads(x) for x in open("colours/metrics.jsonl")]; print(len(l)); assert len(l) == 8'
expect 'the folder is taken' 1 "holds a run.*--resume" tune --data folder:pictures --out colours
expect 'resume with other settings' 1 'other settings' tune --data folder:pictures --epochs 9 --batch 8 --lr 0.01 --out colours --resume
expect 'eval' 0 'Accuracy +[0-9.]+ % of 18 images' "$vitrine" eval --task colours/task.safetensors --data folder:pictures
expect 'eval with logits' 0 . "$vitrine" eval --task colours/task.safetensors --data folder:pictures --split train --batch 7 --logits-out logits.safetensors --json
cp out eval.json
cp colours/task.safetensors task-before.safetensors
expect 'logits never replace what is read' 1 'is a file that is being read' "$vitrine" eval --task colours/task.safetensors --data folder:pictures --logits-out ./colours/task.safetensors
same 'the task file is as it was' colours/task.safetensors task-before.safetensors
expect 'a task file is no backbone' 1 'is a vitrine task 1 file, not a backbone' "$vitrine" tune --backbone colours/task.safetensors --data folder:pictures
expect 'brackets in a name' 2 "cannot open '\\[a,b\\]'" "$vitrine" predict --task colours/task.safetensors '[a,b]'
expect 'one file for two purposes' 1 'expected two files' "$vitrine" pretrain --out tiny.safetensors --state tiny.safetensors
expect 'a folder in place of the result is found first' 2 "cannot write 'pictures'" "$vitrine" pretrain --out pictures --steps 1000000
"$vitrine" inspect tiny.safetensors >&- 2>err; code=$?
if ((code == 2)); then ok 'standard output closed'; else bad 'standard output closed' "expected exit code 2, got $code"; fi
expect 'predict as JSON' 0 . "$vitrine" predict --task colours/task.safetensors --json --top 2 pictures/train/*/*.png
cp out predict.json
cat >logits.py <<'PYTHON'
import glob, json, struct
raw = open("logits.safetensors", "rb").read()
size = struct.unpack("<Q", raw[:8])[0]
header = json.loads(raw[8:8 + size])
def tensor(name, kind, width):
    begin, end = (8 + size + x for x in header[name]["data_offsets"])
    return struct.unpack(f"<{(end - begin) // width}{kind}", raw[begin:end])
n, classes = header["logits"]["shape"]
flat, labels = tensor("logits", "f", 4), tensor("labels", "q", 8)
rows = [flat[i * classes:(i + 1) * classes] for i in range(n)]
paths = sorted(glob.glob("pictures/train/*/*.png"))
assert list(labels) == [["blue", "green", "red"].index(p.split("/")[2]) for p in paths], "labels in the data's order"
guesses = json.load(open("predict.json"))["images"]
assert [g["image"] for g in guesses] == paths
assert [g["classes"][0]["class"] for g in guesses] == [r.index(max(r)) for r in rows], "predict agrees with eval"
assert all(len(g["classes"]) == 2 for g in guesses)
accuracy = sum(r.index(max(r)) == y for r, y in zip(rows, labels)) / n
assert abs(accuracy - json.load(open("eval.json"))["accuracy"]) < 1e-12, "accuracy from the logits"
print("agree")
PYTHON
expect 'logits, labels and predictions agree' 0 agree python3 logits.py
expect 'inspect a task' 0 'vpt-deep, 10 prompts' "$vitrine" inspect colours/task.safetensors
expect 'wrong backbone for a task' 1 'another backbone' "$vitrine" eval --task colours/task.safetensors --backbone other.safetensors --data folder:pictures
expect 'wrong data for a task' 1 'tells 3 classes apart.* has 8' "$vitrine" eval --task colours/task.safetensors --data synthetic:shapes
expect 'not a task file' 1 'not a task file' "$vitrine" eval --task tiny.safetensors --data folder:pictures
expect 'predict without a head' 1 'no head of its own' "$vitrine" predict --backbone tiny.safetensors pictures/test/red/00.png
mkdir -p renamed && cp -r pictures/train renamed/train && mv renamed/train/red renamed/train/violet
expect 'other class names' 1 "class 2 is 'red' in the task, but 'violet'" "$vitrine" eval --task colours/task.safetensors --data folder:renamed --split train

# --- damaged and missing things ---
mkdir -p damaged && cp -r pictures/train damaged/train && head -c 70 pictures/train/red/03.png >damaged/train/red/03.png
expect 'a damaged image is named' 1 'damaged/train/red/03.png' tune --data folder:damaged --epochs 1 --out d1
expect 'a damaged image may be left out' 0 'note: .*red/03.png' tune --data folder:damaged --epochs 1 --max-bad 1 --out d2
expect 'predict goes on after a damaged image' 1 'pictures/test/red/00.png' "$vitrine" predict --task colours/task.safetensors \
  pictures/test/blue/00.png damaged/train/red/03.png pictures/test/red/00.png
expect 'predict: a missing image' 2 'nowhere.png' "$vitrine" predict --task colours/task.safetensors nowhere.png
mkdir -p lacking && cp -r pictures/train pictures/test lacking && rm -r lacking/test/green
expect 'class missing in a split' 1 "lacks class 'green'" tune --data folder:lacking --epochs 1 --out d3
expect 'too few for each class' 1 'at least one sample for each of the 3 classes' tune --data folder:pictures --train-limit 2 --out d3
# --- other data ---
python3 - <<'PYTHON'
import json, os, shutil
os.makedirs("lists")
shutil.copytree("pictures", "lists/images")
found = {"train": [], "test": []}
for split, files in found.items():
    for c, name in enumerate(("blue", "green", "red")):
        for file in sorted(os.listdir(f"pictures/{split}/{name}")):
            files.append((f"{split}/{name}/{file}", c))
parts = {"train": found["train"][::2], "val": found["train"][1::2], "test": found["test"]}
for part, name in (("train", "train800"), ("val", "val200"), ("test", "test")):
    with open(f"lists/{name}.txt", "w") as f:
        f.writelines(f"{path} {label}\n" for path, label in parts[part])
    with open(f"lists/{part}.json", "w") as f:
        json.dump({path: 10 * label for path, label in parts[part]}, f)
with open("lists/classes.txt", "w") as f:
    f.write("blue\ngreen\nred\n")
PYTHON
expect 'VTAB lists: tune' 0 'val .* of 19 images.*; test .* of 18 images' tune --data vtab:lists --epochs 4 --batch 8 --lr 0.01 --out lists-vtab
expect 'VTAB lists: eval' 0 'Accuracy +[0-9.]+ % of 39 images' "$vitrine" eval --task lists-vtab/task.safetensors --data vtab:lists --split train_val
expect 'VTAB lists: further measures' 0 'Also +[0-9.]+ % mean of the classes' "$vitrine" eval --task lists-vtab/task.safetensors --data vtab:lists
expect 'VTAB lists: the same task as folders' 0 'Accuracy +[0-9.]+ % of 18 images' "$vitrine" eval --task lists-vtab/task.safetensors --data folder:pictures
expect 'FGVC: tune, shifted' 0 'val .* of 19 images.*; test .* of 18 images' tune --data fgvc:lists --resize crop --random-shift --flip --epochs 2 --batch 8 --out lists-fgvc
expect 'shifts need room' 1 'needs room around the square' tune --data fgvc:lists --resize squash --random-shift --epochs 1 --out d3
expect 'crops or shifts' 1 'got both' tune --data fgvc:lists --random-crop 0.5 --random-shift --epochs 1 --out d3
echo 'train/red/99.png 2' >>lists/test.txt
expect 'VTAB lists: a missing picture is named before training' 1 "test.txt' line 19: .*red/99.png' is no file" tune --data vtab:lists --epochs 1 --out d3
expect 'a drawn task' 0 'val .* of 200 images.*; test .* of 100 images' tune --data 'mini:count?test=100' --train-limit 16 --epochs 1 --batch 8 --out drawn
expect 'a drawn task: eval as JSON' 0 . "$vitrine" eval --task drawn/task.safetensors --data 'mini:count?test=40' --json
json 'a drawn task: further measures' 'j["samples"] == 40 and 0 <= j["accuracy"] <= j["top5"] <= 1 and abs(j["mean_class_accuracy"] - j["accuracy"]) < 1e-9 and "roc_auc" not in j'

# --- prompts that start from class tokens ---
expect 'class tokens: as many prompts as classes' 0 "3 prompts for each of 2 blocks from the classes' class tokens" tune --data folder:pictures --prompt-init class-tokens --epochs 2 --batch 7 --out by-class
expect 'class tokens: the task says so' 0 'class-tokens' cat by-class/task.safetensors
expect 'class tokens: eval' 0 'Accuracy' "$vitrine" eval --task by-class/task.safetensors --data folder:pictures
expect 'class tokens: other threads and limits' 0 . tune --data folder:pictures --prompt-init class-tokens --prompts 3 --epochs 2 --batch 7 --threads 1 --workers 0 --memory-limit 4M --out by-class-2
same 'class tokens: the same bytes' by-class/task.safetensors by-class-2/task.safetensors
expect 'class tokens: VPT-shallow' 0 'class tokens' tune --data folder:pictures --method vpt-shallow --prompt-init class-tokens --epochs 1 --out by-class-3
expect 'class tokens: another number' 1 'as many as there are classes, 3, not 5' tune --data folder:pictures --prompt-init class-tokens --prompts 5 --out d3
expect 'class tokens: pixels' 1 'beside the tokens, not pixels' tune --data folder:pictures --method vpt-shallow --prompt-init class-tokens --prompt-location pixels --out d3
expect 'class tokens: added' 1 'beside the tokens, not add' tune --data folder:pictures --prompt-init class-tokens --prompt-location add --out d3
expect 'class tokens: a projection' 1 'no projection' tune --data folder:pictures --prompt-init class-tokens --prompt-projection 4 --out d3
expect 'class tokens: a Swin' 1 'no class token' "$vitrine" tune --backbone builtin-swin --data folder:pictures --prompt-init class-tokens --out d3
expect 'class tokens: no prompts' 1 'linear has no prompts' tune --data folder:pictures --method linear --prompt-init class-tokens --out d3
expect 'class tokens: an unknown start' 1 "prompt init: expected one of random, class-tokens, got 'zero'" tune --data folder:pictures --prompt-init zero --out d3
expect 'class tokens: from a task' 1 'has its form of prompts' tune --data folder:pictures --prompt-init class-tokens --init by-class/task.safetensors --out d3

# --- several tasks as one ensemble ---
expect 'ensemble: members' 0 . tune --data folder:pictures --epochs 2 --batch 7 --seed 1 --prompts 3 --out member-1
expect 'ensemble: members' 0 . tune --data folder:pictures --epochs 2 --batch 7 --seed 2 --prompts 3 --out member-2
three=(--task by-class/task.safetensors --task member-1/task.safetensors --task member-2/task.safetensors)
for member in by-class member-1 member-2; do
  "$vitrine" eval --task $member/task.safetensors --data folder:pictures --json >$member.json 2>err
done
expect 'ensemble: eval' 0 '^Shared +the patch embedding, of 3 members the first block.s queries, keys and values: [0-9.]+ % of their work' "$vitrine" eval "${three[@]}" --data folder:pictures
cp out ensemble.txt
expect 'ensemble: each member' 0 "^Members +[0-9.]+ %, loss [0-9.]+: 'by-class/task.safetensors', vpt-deep" cat ensemble.txt
expect 'ensemble: eval as JSON' 0 . "$vitrine" eval "${three[@]}" --data folder:pictures --json
cp out ensemble.json
expect 'ensemble: members score as they do alone' 0 . python3 -c '
import json
j = json.load(open("ensemble.json"))
assert [m["task"] for m in j["members"]] == j["tasks"] and len(j["tasks"]) == 3 and 0 < j["shared_work"] < 1 and j["samples"] == 18
for member in j["members"]:
    alone = json.load(open(member["task"].split("/")[0] + ".json"))
    assert alone["accuracy"] == member["accuracy"] and abs(alone["loss"] - member["loss"]) < 1e-5, (alone, member)
print("so")'
expect 'ensemble: logits' 0 . "$vitrine" eval "${three[@]}" --data folder:pictures --split train --logits-out together.safetensors --batch 5
for member in by-class member-1 member-2; do
  "$vitrine" predict --task $member/task.safetensors --json --top 3 pictures/train/red/00.png >$member-says.json 2>err
done
expect 'ensemble: predict' 0 . "$vitrine" predict "${three[@]}" --json --top 3 pictures/train/red/00.png
cp out together.json
expect 'ensemble: predict gives the mean of what each says' 0 . python3 -c '
import json
says = lambda name: {c["name"]: c["probability"] for c in json.load(open(name))["images"][0]["classes"]}
one = [says(m + "-says.json") for m in ("by-class", "member-1", "member-2")]
for name, p in says("together.json").items(): assert abs(p - sum(o[name] for o in one) / 3) < 1e-5, (name, p)
print("so")'
expect 'ensemble: logits never replace a member' 1 'is a file that is being read' "$vitrine" eval "${three[@]}" --data folder:pictures --logits-out ./member-2/task.safetensors
expect 'ensemble: other classes' 1 "'drawn/task.safetensors' tells 8 classes apart, 'member-1/task.safetensors' 3" "$vitrine" eval --task member-1/task.safetensors --task drawn/task.safetensors --data folder:pictures
expect 'ensemble: a net of its own' 0 . tune --data folder:pictures --method bias --epochs 1 --out of-bias
expect 'ensemble: a net of its own is refused' 1 "'of-bias/task.safetensors' was tuned by bias" "$vitrine" predict --task member-1/task.safetensors --task of-bias/task.safetensors pictures/test/red/00.png
expect 'ensemble: pictures prepared otherwise' 0 . tune --data folder:pictures --resize crop --epochs 1 --out cropped-member
expect 'ensemble: pictures prepared otherwise are refused' 1 "'cropped-member/task.safetensors' was tuned on pictures prepared otherwise" "$vitrine" eval --task member-1/task.safetensors --task cropped-member/task.safetensors --data folder:pictures
expect 'ensemble: another backbone' 0 . "$vitrine" tune --data folder:pictures --epochs 1 --batch 16 --out of-builtin
expect 'ensemble: another backbone is refused' 1 "of-builtin/task.safetensors'" "$vitrine" eval --task member-1/task.safetensors --task of-builtin/task.safetensors --data folder:pictures
expect 'an unknown drawn task' 1 "did you mean 'count'" tune --data mini:cuont --epochs 1 --out d3
expect 'not enough memory' 4 '--memory-limit is' tune --data folder:pictures --memory-limit 100K --out d3
number() { python3 -c "import json; j = json.load(open('out')); print($1)"; }
small=(--data synthetic:colors --train-limit 32 --val 16 --epochs 1 --batch 8 --threads 2 --workers 0 --no-test)
expect 'memory: foretold and measured' 0 . "$vitrine" tune "${small[@]}" --out m0 --json
json 'memory: measured <= foretold <= 1.1 measured' 'j["memory_peak"] <= j["memory_forecast"]["peak"] <= 1.1 * j["memory_peak"] and j["memory_forecast"]["recompute"] == 0 and j["memory_forecast"]["per_image"] > 0'
json 'memory: of the whole process' 'j["peak_rss_bytes"] == 0 or j["peak_rss_bytes"] > 1 << 20'
limit=$(($(number 'j["memory_forecast"]["peak"]') - 1))
expect 'a limit: one packed form' 0 'to stay below .*: keeps one packed form of each matrix' "$vitrine" tune "${small[@]}" --memory-limit $limit --out m1
same 'a limit: one packed form changes no bit' m0/task.safetensors m1/task.safetensors
expect 'a limit: one packed form, as JSON' 0 . "$vitrine" tune "${small[@]}" --memory-limit $limit --out m2 --json
json 'a limit: one packed form keeps to it' "j['memory_peak'] <= j['memory_forecast']['peak'] <= $limit and j['memory_forecast']['one_form'] and j['memory_forecast']['recompute'] == 0"
limit=$(($(number 'j["memory_forecast"]["peak"]') - 1))
expect 'a limit recomputes blocks' 0 '1 of 6 blocks again in backward, about .*more work' "$vitrine" tune "${small[@]}" --memory-limit $limit --out m3
same 'a limit changes no bit' m0/task.safetensors m3/task.safetensors
expect 'a limit is kept' 0 . "$vitrine" tune "${small[@]}" --memory-limit $limit --out m4 --json
json 'a limit is kept: as JSON' "j['memory_peak'] <= j['memory_forecast']['peak'] <= $limit and j['memory_forecast']['recompute'] == 1"
expect 'not enough memory: the least there is' 4 'needs [0-9.]+ MiB even for one image at a time' "$vitrine" tune "${small[@]}" --memory-limit 1M --out d3
least=$(sed -n 's/.* needs \([0-9]*\)[.0-9]* MiB even.*/\1/p' err)
expect 'not enough memory: what would do' 4 'a run needs .*--memory-limit is .*with --accumulate [2-8] it needs' "$vitrine" tune "${small[@]}" --memory-limit $((least + 1))M --out d3
expect 'diverged' 3 'became (inf|-?nan|NaN or infinite)' tune --data folder:pictures --method full --optimizer sgd --lr 1e5 --epochs 30 --schedule constant --warmup 0 --out d4

# --- writing fails ---
touch file
expect 'unwritable run folder' 2 "cannot make the folder 'file/run'" tune --data folder:pictures --epochs 1 --out file/run
if [[ -e /dev/full ]]; then
  expect 'standard output is full' 2 'standard output' bash -c '"$1" inspect tiny.safetensors >/dev/full' - "$vitrine"
else skip 'standard output is full' 'no /dev/full'; fi
bash -c '"$1" tune --backbone tiny.safetensors --data folder:pictures --epochs 3 --out piped; echo $? >code' - "$vitrine" 2>err | true
if [[ $(<code) == 2 && -s piped/task.safetensors ]]; then ok 'a run outlives its reader'; else bad 'a run outlives its reader' "exit code $(<code)"; fi
mkdir disk
if mount -t tmpfs -o size=24k tmpfs disk 2>/dev/null; then
  mounted=$work/disk
  expect 'disk full' 2 'No space left' tune --data folder:pictures --epochs 3 --out disk/run
  if [[ -e disk/run/task.safetensors ]]; then bad 'no half task on a full disk' 'there is one'; else ok 'no half task on a full disk'; fi
  umount disk && mounted=
else
  skip 'disk full' 'no file system can be mounted here'
fi
expect 'file too large' 2 'File too large' bash -c 'trap "" XFSZ; ulimit -f 1; "$1" tune --backbone tiny.safetensors --data folder:pictures --epochs 1 --out large' - "$vitrine"

# --- the same bytes on every way ---
expect 'untrained task' 0 . tune --data folder:pictures --epochs 0 --out zero
expect 'from the untrained task' 0 . tune --data folder:pictures --init zero/task.safetensors --epochs 2 --batch 16 --out from-zero
expect 'directly' 0 . tune --data folder:pictures --epochs 2 --batch 16 --out direct
same 'the untrained task is where a run starts' from-zero/task.safetensors direct/task.safetensors
expect 'another method than the task' 1 'the task to start from has vpt-deep' tune --data folder:pictures --init zero/task.safetensors --method full --out d5
for threads in 1 2; do
  tune --data synthetic:shapes --train-limit 64 --val 16 --epochs 1 --no-test --prompt-dropout 0.1 --flip --random-crop 0.5 --threads $threads --workers $threads --out "threads-$threads" >out 2>err
done
same 'one thread and two' threads-1/task.safetensors threads-2/task.safetensors

# A plain command and no function: $! must be the program itself.
long=("$vitrine" tune --backbone tiny.safetensors --data folder:pictures --epochs 150 --batch 4 --flip --no-test --workers 0 --threads 1)
started=$(date +%s%N)
"${long[@]}" --out whole >out 2>err
took=$((($(date +%s%N) - started) / 1000000))
await() { for ((i = 0; i < 400; ++i)); do compgen -G "$1" >/dev/null && return; sleep 0.02; done; }
for signal in INT:130 TERM:143; do
  run=stopped-${signal%:*}
  "${long[@]}" --out "$run" >out 2>err &
  await "$run/checkpoint-*"
  kill "-${signal%:*}" $!
  wait $!
  code=$?
  if ((code == ${signal#*:})) && grep -q -- "--out $run --resume" out; then ok "$signal saves the state and tells how to go on"
  else bad "$signal saves the state and tells how to go on" "exit code $code"; fi
  expect "resume after $signal" 0 'going on after step' "${long[@]}" --out "$run" --resume
  same "resumed after $signal: same task" whole/task.safetensors "$run/task.safetensors"
done
kills=0
for ((round = 0; round < 6; ++round)); do
  "${long[@]}" --out killed --resume >out 2>err &
  sleep "0.$((100 + RANDOM % (took < 900 ? took : 800)))"
  kill -9 $! 2>/dev/null
  wait $! 2>/dev/null
  (($? == 137)) && kills=$((kills + 1))
done
expect "resume after $kills times kill -9" 0 . "${long[@]}" --out killed --resume
same 'killed at random moments: same task' whole/task.safetensors killed/task.safetensors

# --- a Swin on the same ways ---
# pretrain_swin DEPTH HEADS OPTION...: maps of 8 and 4 patches, which windows of 3 do not divide; the second block of a
# stage shifts them
pretrain_swin() { "$vitrine" pretrain --model swin --steps 0 --width 8 --patch 4 --window 3 --depth "$1" --heads "$2" "${@:3}"; }
expect 'pretrain a Swin' 0 'Swin, width 8, depths 1-2, heads 1-2, window 3, patch 4, 32 pixels' pretrain_swin 1,2 1,2 --f32 --out swin.safetensors
expect 'inspect a Swin' 0 . "$vitrine" inspect swin.safetensors --json
json 'inspect a Swin: content' 'j["config"]["model"] == "swin" and j["config"]["depths"] == [1, 2] and j["config"]["heads"] == [1, 2] and j["config"]["padding"] == "before-roll"'
expect 'a stage without heads' 1 'heads for each stage; depths for 2 and heads for 1' pretrain_swin 1,1 1 --out never
expect 'heads that do not divide' 1 '3 heads do not divide width 16 of stage 1' pretrain_swin 1,1 1,3 --out never
expect 'a stage without blocks' 1 "--depth: expected a whole number .*'0'" pretrain_swin 1,0 1,2 --out never
expect 'a hole in a list' 1 "--depth: expected a whole number .*''" pretrain_swin 1,,1 1,2 --out never
expect 'a list for a ViT' 1 'a ViT takes one number' "$vitrine" pretrain --steps 0 --depth 1,1 --out never
expect 'too many stages' 1 '1 to 8 stages, got 9' pretrain_swin 1,1,1,1,1,1,1,1,1 1,1,1,1,1,1,1,1,1 --out never
expect 'windows for a ViT' 1 'a ViT has no windows' "$vitrine" pretrain --window 4 --out never
expect 'Swin at 44 pixels: tune' 0 . "$vitrine" tune --backbone swin.safetensors --image-size 44 --data folder:pictures --epochs 1 --batch 16 --out swin-44
expect 'Swin at 44 pixels: eval' 0 'Accuracy' "$vitrine" eval --task swin-44/task.safetensors --data folder:pictures
expect 'Swin at 44 pixels: predict' 0 . "$vitrine" predict --task swin-44/task.safetensors pictures/train/*/*.png
expect 'Swin at 44 pixels: the task says so' 0 '44' "$vitrine" inspect swin-44/task.safetensors

# --- a ViT for other sizes: positions are resampled ---
sized=(--backbone tiny.safetensors --image-size 48 --positions bicubic)
expect 'ViT at 48 pixels: tune' 0 '48 pixels' "$vitrine" tune "${sized[@]}" --data folder:pictures --epochs 1 --batch 16 --out vit-48
expect 'ViT at 48 pixels: eval' 0 . "$vitrine" eval --task vit-48/task.safetensors --data folder:pictures --split train --logits-out logits.safetensors --json
cp out eval.json
expect 'ViT at 48 pixels: predict' 0 . "$vitrine" predict --task vit-48/task.safetensors --json --top 2 pictures/train/*/*.png
cp out predict.json
expect 'ViT at 48 pixels: logits, labels and predictions agree' 0 agree python3 logits.py
expect 'ViT at 48 pixels: going on' 0 '48 pixels' "$vitrine" tune --init vit-48/task.safetensors --data folder:pictures --epochs 1 --batch 16 --out vit-48-on
expect 'ViT at 48 pixels: inspect' 0 'Positions +4 x 4, resampled to 6 x 6 as bicubic' "$vitrine" inspect tiny.safetensors --image-size 48 --positions bicubic
expect 'ViT at 48 pixels: convert' 0 . "$vitrine" convert tiny.safetensors --image-size 48 --positions bicubic --out tiny-48.safetensors
expect 'ViT at 48 pixels: the written file' 0 'positions for 48 pixels' "$vitrine" inspect tiny-48.safetensors
expect 'ViT at 48 pixels: the written file is that backbone' 0 . "$vitrine" eval --task vit-48/task.safetensors --backbone tiny-48.safetensors --data folder:pictures
expect 'ViT at 48 pixels, otherwise resampled: convert' 0 . "$vitrine" convert tiny.safetensors --image-size 48 --out tiny-other.safetensors
expect 'ViT at 48 pixels, otherwise resampled: another net' 1 'belongs to another backbone' "$vitrine" eval --task vit-48/task.safetensors --backbone tiny-other.safetensors --data folder:pictures
expect 'a size that the patch does not divide' 1 "image-size 45: the net's patches have 8 pixels; 40 or 48 are whole patches" "$vitrine" tune --backbone tiny.safetensors --image-size 45 --data folder:pictures --out never
expect 'a task has its size' 1 'a task.s pictures have the size at which it was tuned' "$vitrine" predict --task vit-48/task.safetensors --image-size 32 pictures/train/*/*.png
expect 'a filter for nothing' 1 'the net was trained for 32 pixels' "$vitrine" tune --backbone tiny.safetensors --positions bicubic --data folder:pictures --out never
expect 'an unknown filter' 1 "expected bicubic, bicubic-antialias, .*did you mean bicubic" "$vitrine" inspect tiny.safetensors --image-size 48 --positions bicubik
expect 'a filter for a Swin' 1 'a Swin has no position embedding' "$vitrine" inspect swin.safetensors --positions bicubic
expect 'a size for a Swin that is converted' 1 'a Swin.s file is the same for pictures of every size' "$vitrine" convert swin.safetensors --image-size 48 --out never
expect 'an unknown model, nearest' 1 'did you mean swin' "$vitrine" pretrain --model swim --out never
if [[ -e never ]]; then bad 'no file after an error' 'it was made'; else ok 'no file after an error'; fi
for method in vpt-deep vpt-shallow linear full; do
  expect "Swin, $method: tune" 0 'test .* of 18 images' "$vitrine" tune --backbone swin.safetensors --data folder:pictures --method "$method" --epochs 1 --batch 16 --lr 0.01 --out "swin-$method"
  expect "Swin, $method: eval" 0 . "$vitrine" eval --task "swin-$method/task.safetensors" --data folder:pictures --split train --logits-out logits.safetensors --json
  cp out eval.json
  expect "Swin, $method: predict" 0 . "$vitrine" predict --task "swin-$method/task.safetensors" --json --top 2 pictures/train/*/*.png
  cp out predict.json
  expect "Swin, $method: logits, labels and predictions agree" 0 agree python3 logits.py
done
expect 'inspect the task of a Swin' 0 'prompts\.1 +f32 +\(2, 10, 16\)' "$vitrine" inspect swin-vpt-deep/task.safetensors
expect 'a Swin task on a ViT' 1 'another backbone' "$vitrine" eval --task swin-vpt-deep/task.safetensors --backbone tiny.safetensors --data folder:pictures
python3 - <<'PYTHON'
import json, struct
raw = open("swin.safetensors", "rb").read()
size = struct.unpack("<Q", raw[:8])[0]
header = json.loads(raw[8:8 + size])
config = json.loads(header["__metadata__"]["config"])
for name, padding in (("rolled", "after-roll"), ("wrong", "sideways")):
    header["__metadata__"]["config"] = json.dumps(dict(config, padding=padding))
    changed = json.dumps(header).encode()
    open(name + ".safetensors", "wb").write(struct.pack("<Q", len(changed)) + changed + raw[8 + size:])
PYTHON
expect 'filled up after the roll' 0 'after-roll' "$vitrine" inspect rolled.safetensors
expect 'filled up after the roll: another net' 1 'another backbone' "$vitrine" eval --task swin-vpt-deep/task.safetensors --backbone rolled.safetensors --data folder:pictures
expect 'filled up after the roll: tune' 0 . "$vitrine" tune --backbone rolled.safetensors --data folder:pictures --epochs 1 --batch 16 --lr 0.01 --out swin-rolled
data() { python3 -c 'import struct, sys; raw = open(sys.argv[1], "rb").read(); sys.stdout.buffer.write(raw[8 + struct.unpack("<Q", raw[:8])[0]:])' "$1"; }
if cmp -s <(data swin-rolled/task.safetensors) <(data swin-vpt-deep/task.safetensors); then bad 'filled up after the roll: other prompts' 'the same numbers'; else ok 'filled up after the roll: other prompts'; fi
expect 'filled up in an unknown way' 1 "unknown padding 'sideways'" "$vitrine" inspect wrong.safetensors
long=("$vitrine" tune --backbone swin.safetensors --data folder:pictures --epochs 40 --batch 8 --flip --no-test --workers 0 --threads 1)
"${long[@]}" --out swin-whole >out 2>err
"${long[@]}" --out swin-stopped >out 2>err &
await "swin-stopped/checkpoint-*"
kill -INT $!
wait $!
code=$?
if ((code == 130)); then ok 'Swin, stopped'; else bad 'Swin, stopped' "exit code $code"; fi
expect 'Swin, resumed' 0 'going on after step' "${long[@]}" --out swin-stopped --resume
same 'Swin, resumed: same task' swin-whole/task.safetensors swin-stopped/task.safetensors

# --- instruction sets ---
expect 'the baseline kernels' 0 . "$vitrine" bench step --backbone tiny.safetensors --batch 2 --steps 1 --threads 1 --instructions portable
expect 'unknown instructions' 1 'expected one that this processor has .*portable.*, got .mmx' "$vitrine" bench step --backbone tiny.safetensors --instructions mmx

# --- precision ---
narrow=(--data folder:pictures --epochs 2 --batch 8 --workers 0 --threads 1 --no-test)
expect 'tune with int8' 0 'int8$|packed as' tune "${narrow[@]}" --precision int8 --out narrow --json
json 'tune with int8: as JSON' 'j["precision"] == "int8"'
expect 'eval with int8' 0 . "$vitrine" eval --task narrow/task.safetensors --data folder:pictures --precision int8
expect 'predict with bf16' 0 . "$vitrine" predict --task narrow/task.safetensors --backbone tiny.safetensors --precision bf16 pictures/test/red/00.png
expect 'resume in another precision' 1 'other settings' tune "${narrow[@]}" --precision bf16 --out narrow --resume
expect 'full tuning in bf16' 1 'cannot be packed' tune "${narrow[@]}" --method full --precision bf16 --out narrow-full
expect 'unknown precision' 1 '--precision: expected f32, bf16 or int8' tune "${narrow[@]}" --precision int4 --out narrow-4

# --- bench ---
expect 'bench step' 0 . "$vitrine" bench step --backbone tiny.safetensors --batch 2 --prompts 3 --classes 5 --steps 3 --warmup 1 --threads 1 --json
json 'bench step as JSON' 'j["images_per_second"] > 0 and len(j["seconds_per_step"]) == 3 and j["peak_bytes"] > 0'
json 'bench step counts its products' 'j["multiply_accumulates"] > 0 and j["peak_rss_bytes"] > j["peak_bytes"]'
expect 'bench infer' 0 . "$vitrine" bench infer --backbone tiny.safetensors --batch 2 --prompts 3 --classes 5 --steps 3 --warmup 1 --threads 1 --json
json 'bench infer as JSON' 'j["command"] == "bench infer" and j["prompts"] == 3 and j["images_per_second"] > 0 and len(j["seconds_per_pass"]) == 3 and "backward_seconds" not in j'
cp out infer-deep
expect 'bench infer without prompts' 0 . "$vitrine" bench infer --backbone tiny.safetensors --batch 2 --prompts 0 --classes 5 --steps 2 --threads 1 --json
# 2 blocks of width 16 on 17 tokens: norm, two heads of 8. What prompts add: keys and values of 3 prompts once in the first block,
# scores and sums of 17 queries there and of one query of 2 heads over whole rows in the last, for 2 images
json 'bench infer without prompts as JSON' 'j["method"] == "linear" and json.load(open("infer-deep"))["multiply_accumulates"] - j["multiply_accumulates"] == 2 * 3 * 16 * 16 + 2 * 2 * (17 + 2) * 3 * 16'
expect 'bench step without prompts' 1 '--prompts: expected a whole number' "$vitrine" bench step --prompts 0
expect 'bench gemm' 0 . "$vitrine" bench gemm --seconds 0.001 --threads 1 --json
json 'bench gemm as JSON' 'len(j["runs"]) == 1 and len(j["runs"][0]["shapes"]) == 10 and j["runs"][0]["peak_flops"] > 0 and all(s["share_of_peak"] > 0 for s in j["runs"][0]["shapes"])'
for precision in bf16 int8; do
  expect "bench gemm: $precision" 0 . "$vitrine" bench gemm --seconds 0.001 --threads 1 --precision $precision --json
  json "bench gemm: $precision as JSON" "j['precision'] == '$precision' and j['runs'][0]['arithmetic'] == ('bf16' if '$precision' == 'bf16' and 'bf16' in j['runs'][0]['instructions'] else 'f32')"
done
expect 'bench load' 0 'middle of 2 runs' "$vitrine" bench load tiny.safetensors --runs 2
expect 'bench load: what' 1 'expected one FILE, got none' "$vitrine" bench load
expect 'bench of what' 1 'step., .infer., .gemm., .memory. or .load., got .steps' "$vitrine" bench steps
expect 'bench step with recomputation' 0 . "$vitrine" bench step --backbone tiny.safetensors --batch 2 --steps 1 --warmup 0 --recompute 1 --threads 1 --json
json 'bench step with recomputation: as JSON' 'j["recompute"] == 1'
expect 'bench step with one form' 0 'matrices packed once' "$vitrine" bench step --backbone tiny.safetensors --batch 2 --steps 1 --warmup 0 --one-form --threads 1
expect 'bench step: full is not packed' 1 'no --precision and no --one-form' "$vitrine" bench step --backbone tiny.safetensors --method full --precision int8
expect 'bench memory of one form as JSON' 0 . "$vitrine" bench memory --backbone tiny.safetensors --one-form --json
json 'bench memory of one form: as JSON' 'j["one_form"] and all(m["one_form"] for m in j["modes"])'
expect 'bench: no place for a file' 2 "cannot make a folder .*/nowhere/.*TMPDIR" env TMPDIR=/nowhere "$vitrine" bench step --model vit-ti16
expect 'full tuning is not packed: before a folder is made' 1 'full tuning trains' tune --data synthetic:colors --method full --precision int8 --out not-made
expect 'full tuning is not packed: no folder' 0 none bash -c 'test -e not-made || echo none'
expect 'bench step: too many blocks' 1 'all but the last can be computed again, got 2' "$vitrine" bench step --backbone tiny.safetensors --steps 1 --recompute 2
expect 'bench memory' 0 . "$vitrine" bench memory --backbone swin.safetensors --batch 4 --threads 1 --json
json 'bench memory as JSON' '[m["recompute"] for m in j["modes"]] == [0, 1, 2] and j["modes"][0]["peak"] > j["modes"][1]["peak"] > j["modes"][2]["peak"]'
expect 'help of bench memory' 0 '^vitrine bench memory' "$vitrine" bench memory --help

expect 'bench of an unknown model' 1 'did you mean vit-b' "$vitrine" bench step --model vit-b1
for method in vpt-deep full; do
  expect "bench step of a Swin, $method" 0 . "$vitrine" bench step --backbone swin.safetensors --method "$method" --batch 2 --classes 5 --steps 2 --warmup 1 --threads 1 --json
  # prompts; or a patch embedding, per block 12 D^2 + 13 D and a table of 25 rows, the merging, the last norm
  json "bench step of a Swin, $method: as JSON" 'j["trained_parameters"] == 16 * 5 + 5 + (10 * (8 + 2 * 16) if j["method"] == "vpt-deep" else 3 * 16 * 8 + 3 * 8 + sum(n * (12 * d * d + 13 * d + 25 * h) for n, d, h in ((1, 8, 1), (2, 16, 2))) + 8 * 8 + 8 * 64 + 2 * 16)'
done
expect 'bench of an unknown Swin' 1 'did you mean swin-' "$vitrine" bench step --model swin-x

# --- containers ---
python3 "$tests/as_containers.py" tiny.safetensors tiny.npz tiny.pth
expect 'a backbone: who it is' 0 . "$vitrine" inspect tiny.safetensors --json
identity=$(python3 -c 'import json; print(json.load(open("out"))["identity"])')
for kind in npz pth; do
  told=(--heads 2 --backbone-config deit)
  expect "a backbone as .$kind" 0 'not told' "$vitrine" inspect tiny.$kind --heads 2 --json
  json "a backbone as .$kind: the same" "j['identity'] == '$identity' and j['part'] == ('model' if '$kind' == 'pth' else '')"
  expect "a backbone as .$kind: whose pictures" 1 'does not tell how its pictures were prepared; give --pictures with .* or a name of docs/families.md, such as augreg, deit,' "$vitrine" tune --backbone tiny.$kind --heads 2 --data folder:pictures --out never
  expect "a backbone as .$kind: tune" 0 'task.safetensors' "$vitrine" tune --backbone tiny.$kind "${told[@]}" --data folder:pictures --epochs 1 --batch 16 --out by-$kind
  expect "a backbone as .$kind: eval, without being told again" 0 . "$vitrine" eval --task by-$kind/task.safetensors --data folder:pictures
  expect "a backbone as .$kind: convert" 0 "$identity" "$vitrine" convert tiny.$kind "${told[@]}" --out from-$kind.safetensors
  head -c 3000 tiny.$kind >cut.$kind
  expect "a backbone as .$kind, cut" 1 'cut' "$vitrine" inspect cut.$kind
done

# --- dialects: tests/golden/make_dialects.py; tests/dialects_test.cpp looks at the tensors ---
golden=$tests/golden/dialects
expect 'inspect tells names and what is left out' 0 "^Names .*ViT in timm's names" "$vitrine" inspect "$golden/moco-v3.pth" --heads 2 --json
json 'inspect tells names: as JSON' 'j["told_by"] == [] and any(x["name"] == "module.predictor.0.weight" for x in j["left_out"]) and j["preprocess"]["filter"] == "bilinear"'
expect 'what no file tells is asked' 1 'does not tell the epsilon of its layer norms and the form of its GELU; give --backbone-config' "$vitrine" predict --backbone "$golden/hf-vit.safetensors" --heads 2 pictures/test/red/00.png
expect 'an unknown family' 1 "no family of checkpoints 'diet'; did you mean deit" "$vitrine" inspect "$golden/hf-vit.safetensors" --backbone-config diet
expect 'a complete file needs no family' 1 'tells its configuration itself' "$vitrine" inspect tiny.safetensors --backbone-config deit
mkdir -p hub
cp "$golden/hf-vit.safetensors" hub/model.safetensors
echo '{"model_type": "vit", "num_attention_heads": 2, "hidden_act": "gelu_new", "id2label": {"0": "tench", "1": "cock", "2": "hen", "3": "ostrich", "4": "robin"}}' >hub/config.json
echo '{"image_processor_type": "ViTImageProcessor", "size": 12, "resample": 2, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}' >hub/preprocessor_config.json
expect 'config.json beside the file' 0 '^Told by .*hub/config.json' "$vitrine" inspect hub/model.safetensors --json
json 'config.json beside the file: content' 'j["config"]["heads"] == 2 and j["config"]["gelu"] == "tanh" and j["config"]["epsilon"] == 1e-12 and j["preprocess"]["squash"] and j["preprocess"]["filter"] == "bilinear"'
expect 'classes by the names of config.json' 0 '%  (tench|cock|hen|ostrich|robin)$' "$vitrine" predict --backbone hub/model.safetensors pictures/test/red/00.png
expect 'they stay when it is converted' 0 . "$vitrine" convert hub/model.safetensors --out hub.safetensors
expect 'classes by the names of the converted file' 0 '%  (tench|cock|hen|ostrich|robin)$' "$vitrine" predict --backbone hub.safetensors pictures/test/red/00.png
expect 'a family goes before config.json' 0 . "$vitrine" inspect hub/model.safetensors --heads 2 --backbone-config google-vit --json
json 'a family goes before config.json: content' 'j["config"]["gelu"] == "erf" and j["told_by"] == ["the family google-vit"]'
# config.json tells what the net is, and nothing tells of its pictures.
mkdir -p alone && cp hub/model.safetensors hub/config.json alone
expect 'config.json alone' 1 'alone/model.safetensors: does not tell how its pictures were prepared; give --pictures with' "$vitrine" predict --backbone alone pictures/test/red/00.png
expect 'config.json alone: inspect' 0 '^Missing +how its pictures were prepared; give --pictures' "$vitrine" inspect alone
expect 'config.json alone, and a preset' 0 '%  (tench|cock|hen|ostrich|robin)$' "$vitrine" predict --backbone alone --pictures google-vit pictures/test/red/00.png
expect 'config.json alone, and a preset: inspect' 0 . "$vitrine" inspect alone --pictures google-vit --json
json 'config.json alone, and a preset: content' 'j["config"]["gelu"] == "tanh" and j["told_by"] == ["alone/config.json", "--pictures google-vit"] and j["preprocess"]["squash"] and j["preprocess"]["size"] == 12 and j["missing"] == []'
expect 'config.json alone, and a preprocessor_config.json' 0 . "$vitrine" inspect alone --pictures hub/preprocessor_config.json --json
json 'config.json alone, and a preprocessor_config.json: content' 'j["told_by"] == ["alone/config.json", "hub/preprocessor_config.json"]'
expect 'a preset goes before preprocessor_config.json' 0 . "$vitrine" inspect hub/model.safetensors --pictures moco-v3 --json
json 'a preset goes before preprocessor_config.json: content' 'j["preprocess"]["filter"] == "bilinear" and not j["preprocess"]["squash"]'
expect 'a preset that is unknown' 1 "pictures: 'gogle-vit' is no file, and no name of docs/families.md; did you mean google-vit" "$vitrine" inspect alone --pictures gogle-vit
expect 'a family as a preset' 0 . "$vitrine" inspect hub/model.safetensors --pictures mae-transformers --json
json 'a family as a preset: content' 'j["told_by"][-1] == "--pictures mae"'
expect 'pictures of a complete file' 1 'tells itself how its pictures were prepared' "$vitrine" inspect builtin --pictures deit
expect 'preprocessor_config.json as the configuration' 1 'hub/preprocessor_config.json: tells how pictures are prepared, not what the net is; --pictures takes such a file' "$vitrine" inspect alone --backbone-config hub/preprocessor_config.json
sed 's/"resample": 2, //' hub/preprocessor_config.json >alone/preprocessor_config.json
expect 'preprocessor_config.json by its path' 1 "alone/preprocessor_config.json: missing key 'resample'; the processor of ViT takes 2 then: write it" "$vitrine" inspect alone
echo '{"model_type": "bert"}' >hub/config.json
expect 'config.json of another model' 1 "hub/config.json: model_type is 'bert', which is no ViT or Swin" "$vitrine" inspect hub/model.safetensors
echo '{"model_type": "vit", "hidden_act": 3' >hub/config.json
expect 'a broken config.json' 1 '^vitrine inspect: .*hub/config.json: ' "$vitrine" inspect hub/model.safetensors
echo '{"architecture": "vit_base_patch16_clip_224.laion2b", "model_args": {"embed_dim": 16, "patch_size": 4}, "pretrained_cfg": {"input_size": [3, 12, 12], "crop_pct": 0.75, "interpolation": "bilinear", "mean": [0, 0, 0], "std": [1, 1, 1]}}' >timm.json
expect "timm's config.json" 0 'shorter side 16, central square 12, bilinear' "$vitrine" inspect "$golden/clip.pt" --heads 2 --backbone-config timm.json --json
json "timm's config.json: content" 'j["config"]["gelu"] == "erf" and j["told_by"] == ["timm.json"]'
echo '{"model_type": "vit", "num_attention_heads": 2, "hidden_size": 768}' >hub/config.json
expect 'a config.json that the weights contradict' 1 'hub/config.json: hidden_size is 768, but hub/model.safetensors has width 16' "$vitrine" inspect hub/model.safetensors
cp "$golden/swin.pth" hub/swin.pth
expect "a ViT's config.json beside a Swin" 1 "model_type is 'vit', but hub/swin.pth is a Swin in its authors' names" "$vitrine" inspect hub/swin.pth
expect 'a family of ViTs for a Swin' 1 'deit is a family of ViTs, but .*swin.pth is a Swin' "$vitrine" inspect "$golden/swin.pth" --backbone-config deit
python3 - "$golden" <<'END'
import io, pickle, sys, zipfile
class Call:
    def __reduce__(self):
        return eval, ("1",)
program = io.BytesIO()
pickle.dump(Call(), program, 2)
with zipfile.ZipFile("call.pth", "w") as file:
    file.writestr("x/data.pkl", program.getvalue())
# The five numbers of the head's bias as twenty of eight bits.
data = open(sys.argv[1] + "/timm.safetensors", "rb").read()
old, new = b'"head.bias": {"dtype": "F32", "shape": [5]', b'"head.bias": {"dtype":"F8_E4M3","shape":[20]'
assert data.count(old) == 1
new += b" " * (len(old) - len(new))
size = int.from_bytes(data[:8], "little") + len(new) - len(old)
open("eight.safetensors", "wb").write(size.to_bytes(8, "little") + data[8:].replace(old, new))
END
expect 'a pickle that calls is no file of tensors' 1 "call.pth: holds no tensors; it is what '(__builtin__|builtins).eval' makes" "$vitrine" inspect call.pth
expect 'a tensor that cannot be read is not a missing one' 1 "eight.safetensors: cannot read tensor 'head.bias': tensors cannot hold 8-bit floats" "$vitrine" inspect eight.safetensors --heads 2
expect 'a tensor that cannot be read: convert' 1 "cannot read tensor 'head.bias'" "$vitrine" convert eight.safetensors --heads 2 --backbone-config deit --out never.safetensors
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n' >pointer.safetensors
expect "Git LFS's pointer is named" 1 "pointer to a file, not the file; .git lfs pull. fetches it" "$vitrine" inspect pointer.safetensors
printf '<!DOCTYPE html><p>404' >page.pth
expect 'a web page is named' 1 'is a web page' "$vitrine" predict --backbone page.pth pictures/test/red/00.png
printf 'GGUF\3\0\0\0' >a.gguf
expect 'GGUF is named' 1 'GGUF' "$vitrine" inspect a.gguf

# --- what a file does not tell, and where it may lie ---
expect 'inspect says what is missing' 0 '^Missing +the epsilon of its layer norms and the form of its GELU; give --backbone-config with the model.s$' "$vitrine" inspect "$golden/hf-vit.safetensors" --heads 2
expect 'inspect says what is missing: pictures' 0 '^Missing +how its pictures were prepared; give --pictures with' "$vitrine" inspect "$golden/hf-vit.safetensors" --heads 2
expect 'inspect says what is missing: as JSON' 0 . "$vitrine" inspect "$golden/hf-vit.safetensors" --heads 2 --json
json 'inspect says what is missing: content' 'j["config"]["gelu"] is None and j["config"]["epsilon"] is None and j["config"]["depth"] > 0 and j["identity"] is None and len(j["missing"]) == 3'
expect 'inspect misses nothing that is told' 0 . "$vitrine" inspect builtin --json
json 'inspect misses nothing that is told: content' 'j["missing"] == [] and "started from: " in j["metadata"]["provenance"]'
expect 'inspect tells the pedigree in few lines' 0 'started from another .all of it: --json' "$vitrine" inspect builtin
if (($(sed -n '/^From/,$p' out | wc -l) <= 4)); then ok 'the pedigree is short'; else bad 'the pedigree is short' 'more than 4 lines'; fi
mkdir -p odd && cp "$golden/hf-vit.safetensors" odd/model.safetensors && mkfifo odd/config.json
expect 'a config.json that is no file is not passed over' 2 "cannot open 'odd/config.json': not a regular file" "$vitrine" inspect odd --heads 2
rm odd/config.json && ln -s nowhere odd/config.json
expect 'a config.json that leads nowhere is not passed over' 2 "cannot open 'odd/config.json': No such file" "$vitrine" inspect odd --heads 2
rm odd/config.json && echo '{"model_type": "vit", "num_attention_heads": 2}' >odd/config.json
sed 's/"size": 12/"size": 24/' hub/preprocessor_config.json >odd/preprocessor_config.json
expect 'pictures of another size than the net sees' 1 'preprocessor_config.json, config.json or its metadata. prepares images of 24 pixels, the net sees 12; --image-size 24 resamples its positions' "$vitrine" convert odd --out never.safetensors
expect 'pictures of another size: the positions for them' 0 'resampled to 6 x 6' "$vitrine" inspect odd --image-size 24
expect 'pictures of another size: others' 0 '^Images .*squashed to 12 x 12' "$vitrine" inspect odd --image-size 12
expect 'what may tell is what fits' 0 ' google-vit, deit-transformers or mae-transformers$' "$vitrine" inspect "$golden/hf-vit.safetensors" --heads 2
expect 'what may tell is what fits: as JSON' 0 . "$vitrine" inspect "$golden/timm.safetensors" --heads 2 --json
json 'what may tell is what fits: families' 'j["families"] == ["augreg", "deit", "timm-deit", "mae", "moco-v3", "dino"]'
python3 - "$golden/timm.safetensors" <<'END'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + n])
words = json.dumps({"model." + ("" if k.startswith("head.") else "backbone.") + k: v for k, v in header.items()}).encode()
open("wrapped.safetensors", "wb").write(struct.pack("<Q", len(words)) + words + data[8 + n:])
END
expect 'trunk and head under names of their own' 0 'with its head of 5 classes' "$vitrine" inspect wrapped.safetensors --heads 2
expect 'trunk and head under names of their own: predict' 0 '%  [0-4]$' "$vitrine" predict --backbone wrapped.safetensors --heads 2 --backbone-config deit pictures/test/red/00.png
mkdir -p hf hfn none
cp "$golden/hf-vit.safetensors" hfn/model.safetensors
echo '{"model_type": "vit", "num_attention_heads": 2}' >hf/config.json
cp hub/preprocessor_config.json hf
expect 'preprocessor_config.json beside the config that is named' 0 . "$vitrine" inspect hfn/model.safetensors --backbone-config hf/config.json --json
json 'preprocessor_config.json beside the config: content' 'j["told_by"] == ["hf/config.json", "hf/preprocessor_config.json"] and j["preprocess"]["filter"] == "bilinear" and j["missing"] == []'
expect 'a folder of Hugging Face' 0 "Backbone +'hfn/model.safetensors'" "$vitrine" tune --backbone hfn --backbone-config hf/config.json --data folder:pictures --epochs 1 --batch 16 --out by-folder
expect 'a folder of Hugging Face: the task finds it' 0 'Accuracy' "$vitrine" eval --task by-folder/task.safetensors --data folder:pictures
expect 'a folder of Hugging Face: inspect says which file' 0 '^File +hfn/model.safetensors' "$vitrine" inspect hfn --heads 2
cp hfn/model.safetensors none/weights.safetensors
expect 'a folder without such a file' 1 "name the file of weights, of 'none/weights.safetensors'" "$vitrine" predict --backbone none pictures/test/red/00.png
cp hfn/model.safetensors none/model-00001-of-00002.safetensors
for command in inspect 'predict pictures/test/red/00.png --backbone'; do
  # shellcheck disable=SC2086 # several words
  expect "one file of two: ${command%% *}" 1 "name their index, 'none/model.safetensors.index.json'" "$vitrine" $command none/model-00001-of-00002.safetensors
done
python3 - <<'PYTHON'
import json, struct
header = json.dumps({"layer1.0.conv1.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
open("resnet.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + struct.pack("<f", 1))
PYTHON
expect 'inspect of another net' 0 '^Backbone +none: no ViT and no Swin has these names' "$vitrine" inspect resnet.safetensors
expect "a task's heads are not told to another backbone" 1 "it belongs to another backbone, 'hfn/model.safetensors'" "$vitrine" predict --task by-folder/task.safetensors --backbone builtin pictures/test/red/00.png
expect 'what a task was tuned on is told' 1 "cut.npz.*; the task was tuned on a ViT, .*'hfn/model.safetensors'" "$vitrine" predict --task by-folder/task.safetensors --backbone cut.npz pictures/test/red/00.png

# --- what stands behind CLIP's features are no classes ---
clip=("$golden/clip.pt" --heads 2 --backbone-config openai-clip)
expect "CLIP's projection: inspect" 0 'with its projection to [0-9]+ numbers' "$vitrine" inspect "${clip[@]}"
expect "CLIP's projection: predict" 1 'has a projection to [0-9]+ numbers that are compared with those of texts, and no classes' "$vitrine" predict --backbone "${clip[@]}" pictures/test/red/00.png
expect "CLIP's projection: convert" 0 . "$vitrine" convert "${clip[@]}" --out from-clip.safetensors
expect "CLIP's projection: predict, converted" 1 'has a projection to' "$vitrine" predict --backbone from-clip.safetensors pictures/test/red/00.png

# --- a program's own things beside the net ---
python3 - "$golden/timm.safetensors" <<'END'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + n])
body = data[8 + n:]
def write(path, tensors):  # name: its name in the source
    names, bytes_of = {}, b""
    for name, source in tensors.items():
        begin, end = header[source]["data_offsets"]
        names[name] = {**header[source], "data_offsets": [len(bytes_of), len(bytes_of) + end - begin]}
        bytes_of += body[begin:end]
    words = json.dumps(names).encode()
    open(path, "wb").write(struct.pack("<Q", len(words)) + words + bytes_of)
net = [k for k in header if k != "__metadata__"]
write("lightning.safetensors", {**{"model." + k: k for k in net}, "criterion.weight": "norm.bias", "val_acc.tp": "norm.bias"})
write("averaged.safetensors", {f"{p}.{k}": k for p in ("model", "ema_model.module") for k in net})
write("swin-v2.safetensors", {**{k: k for k in net}, "blocks.0.attn.cpb_mlp.0.weight": "norm.bias"})
END
expect 'what stands beside the net is left out' 0 "^Left out .*'criterion.weight' and 1 more .stands beside the net" "$vitrine" inspect lightning.safetensors --heads 2
expect 'of a net and its average the average' 0 "^Left out .*'model[.].*another net of its training" "$vitrine" inspect averaged.safetensors --heads 2
expect 'a net that cannot be built is named' 1 'it is of a Swin v2, which cannot be built here' "$vitrine" inspect swin-v2.safetensors --heads 2

# --- names of classes ---
expect 'classes without names' 0 'note: .*does not name its classes.*--class-names FILE gives names' "$vitrine" predict --backbone hfn --backbone-config hf/config.json pictures/test/red/00.png pictures/test/red/01.png
if (($(cat out err | grep -c 'gives names') == 1)); then ok 'classes without names: said once'; else bad 'classes without names: said once' 'not once'; fi
echo '{"0": ["n01440764", "tench"], "1": ["n1", "cock"], "2": ["n2", "hen"], "3": ["n3", "ostrich"], "4": ["n4", "robin"]}' >class_index.json
named=(predict --backbone hfn --backbone-config hf/config.json --top 5 pictures/test/red/00.png --class-names)
expect 'imagenet_class_index.json' 0 '%  tench$' "$vitrine" "${named[@]}" class_index.json
if grep -q 'gives names' err; then bad 'classes with names' 'still asked for'; else ok 'classes with names'; fi
sed -i 's/"n2", "hen"/"n2", "hen", 3/' class_index.json
expect 'imagenet_class_index.json: three words' 1 'class 2: expected a name, or a list of its synset and its name' "$vitrine" "${named[@]}" class_index.json
echo '{"class_to_idx": {"robin": 4, "cock": 1, "hen": 2, "ostrich": 3, "tench": 0}}' >names-of.json
echo '["a", "b"]' >two.json
expect 'names with numbers' 0 '%  tench$' "$vitrine" "${named[@]}" names-of.json
expect "names of Hugging Face's config.json" 0 '%  tench$' "$vitrine" "${named[@]}" alone/config.json
echo '{"0": {"a": "b"}, "1": "c"}' >class_index.json
expect 'an object is no name' 1 'class 0: expected a name' "$vitrine" "${named[@]}" class_index.json

mkfifo pipe
expect 'convert into a pipe' 1 'expected a file, which is read again' "$vitrine" convert builtin --out pipe
expect 'convert keeps names of classes' 0 . "$vitrine" convert hfn --backbone-config hf/config.json --class-names names-of.json --out named.safetensors
expect 'convert keeps names of classes: inspect' 0 '^Classes +tench, cock, hen, ostrich, robin' "$vitrine" inspect named.safetensors
expect 'convert keeps names of classes: predict' 0 '%  (tench|cock|hen|ostrich|robin)$' "$vitrine" predict --backbone named.safetensors pictures/test/red/00.png
expect 'convert with too few names' 1 'names 2 classes, but the backbone.s head has 5' "$vitrine" convert hfn --backbone-config hf/config.json --class-names two.json --out never.safetensors
printf '\xef\xbb\xbfa\nb\nc\nd\ne\n\n\n' >names.txt
expect 'names of classes with a byte order mark and empty lines at their end' 0 '%  a$' "$vitrine" "${named[@]}" names.txt
printf 'a\n\nc\nd\ne\n' >names.txt
expect 'names of classes: an empty line between them' 1 'names.txt: line 2 is empty: expected a name on each, of class 1' "$vitrine" "${named[@]}" names.txt
printf '\xef\xbb\xbf["a", "b\\nc", "d", "e", "f"]' >names.json
expect 'names of classes: JSON with a byte order mark, and a name of two lines' 0 '%  b c$' "$vitrine" "${named[@]}" names.json

# --- photos that ask to be turned ---
python3 - <<'PYTHON'
import os, struct, zlib
chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
exif = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x112, 3, 1, 6) + struct.pack("<I", 0)
for path in [f"turned/{split}/{name}/{i}.png" for split in ("train", "test") for name in ("dark", "light") for i in range(4)]:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    i, light = int(path[-5]), "light" in path
    rows = b"".join(b"\0" + bytes(3 * [(8 * y + 4 * x * light + i) % 256 for x in range(32)]) for y in range(32))
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0))
                           + chunk(b"eXIf", exif) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
PYTHON
photos=(--data folder:turned --epochs 2 --batch 4)
expect 'photos as stored' 0 'note: .*asks to be turned' tune "${photos[@]}" --out as-stored
expect 'photos turned' 0 'photos are turned as their EXIF block asks' tune "${photos[@]}" --exif --out as-asked
expect 'eval does as the task remembers' 0 '^Data .*photos are turned as their EXIF block asks' "$vitrine" eval --task as-asked/task.safetensors --data folder:turned --logits-out turned.safetensors --json
cp out remembered
expect 'eval does as the task remembers: the same with --exif' 0 . "$vitrine" eval --task as-asked/task.safetensors --data folder:turned --exif --json
json 'eval does as the task remembers: content' 'j["loss"] == json.load(open("remembered"))["loss"]'
expect 'eval turns what the task was not tuned on, aloud' 0 'note: the task file does not say' "$vitrine" eval --task as-stored/task.safetensors --data folder:turned --exif
expect 'predict does as the task remembers' 0 'note: .*and is turned, for the task was tuned so' "$vitrine" predict --task as-asked/task.safetensors turned/test/dark/0.png --json
cp out remembered
expect 'predict does as the task remembers: the same with --exif' 0 . "$vitrine" predict --task as-asked/task.safetensors turned/test/dark/0.png --json --exif
same 'predict does as the task remembers: content' out remembered
expect 'predict says that it does not turn' 0 'note: .*is used as stored; --exif turns such photos' "$vitrine" predict --task as-stored/task.safetensors turned/test/dark/0.png turned/test/dark/1.png
if (($(grep -c 'asks to be turned' err) == 1)); then ok 'predict says so once'; else bad 'predict says so once' 'not once'; fi
expect 'inspect tells it' 0 '^Images .*|turned as their EXIF block asks' "$vitrine" inspect as-asked/task.safetensors --json
json 'inspect tells it: content' 'j["preprocess"]["exif"]'
"$vitrine" eval --task as-asked/task.safetensors --data folder:turned --json >remembered 2>err
expect 'a report does as the task remembers' 0 . "$vitrine" report as-asked --data folder:turned --json
json 'a report does as the task remembers: content' 'abs(j["loss"] - json.load(open("remembered"))["loss"]) < 1e-6'
expect 'what goes on from the task turns, too' 0 'photos are turned' tune "${photos[@]}" --init as-asked/task.safetensors --out as-asked-on
expect 'resume without it' 1 'other data' tune "${photos[@]}" --out as-asked --resume

# --- what is said next, and of what is left out ---
expect 'next after --no-test' 0 'eval --task no-test/task.safetensors --data folder:pictures$' tune --data folder:pictures --epochs 0 --no-test --out no-test
expect 'next where all pictures were seen' 0 'eval --task seen/task.safetensors --data folder:OTHER  # pictures that it has not seen$' tune --data folder:pictures/train --val 6 --epochs 0 --out seen
expect 'a Swin at another size says so' 0 '^Backbone .*, 44 pixels' "$vitrine" tune --backbone swin.safetensors --image-size 44 --data folder:pictures --epochs 0 --out swin-says
expect 'more epochs' 1 'epochs 8, given 9.*--init' tune --data folder:pictures --epochs 9 --batch 8 --lr 0.01 --out colours --resume
expect 'a damaged image: what may be done' 1 'damaged/train/red/03.png.*--max-bad N leaves such out' tune --data folder:damaged --epochs 1 --out d1
mkdir -p left && cp -r pictures/train pictures/test left && cp -r pictures/test left/validation && touch left/train/red/{a.webp,b.gif,c.tiff,d.jp2}
expect 'pictures of other formats are left out aloud' 0 'note: .*left out 4 files .\.gif, \.jp2, \.tiff, \.webp.' tune --data folder:left --epochs 0 --out left-out
if (($(grep -c "note: .*ignores 'validation'; did you mean val?" err) == 1)); then ok 'a folder of another name is left out aloud'
else bad 'a folder of another name is left out aloud' 'not said, or more than once'; fi
mkdir -p flat/train && cp pictures/test/red/*.png flat/train
expect 'pictures where class folders are expected' 1 "found pictures, not class folders, in 'flat/train'; expected DIR/train/<class>/\*" tune --data folder:flat --out never
for ending in pth bin npz; do
  expect "convert writes no .$ending" 1 "safetensors file, .*name it 'x.safetensors'" "$vitrine" convert builtin --out x.$ending
done
expect 'logits are no .npy' 1 "name it 'x.safetensors'" "$vitrine" eval --task colours/task.safetensors --data folder:pictures --logits-out x.npy

# --- convert ---
expect 'convert into no folder' 2 "there is no folder 'made'" "$vitrine" convert tiny.safetensors --out made/f32.safetensors
mkdir made
expect 'convert' 0 'Identity' "$vitrine" convert tiny.safetensors --out made/f32.safetensors
expect 'convert: what is written can be converted' 0 . "$vitrine" convert made/f32.safetensors --out made/again.safetensors --json
json 'convert: in f32 it stays who it is' 'j["identity"] == j["identity_before"] and j["dtype"] == "f32"'
python3 - >tensors_of <<'END'
import json, struct
def parts(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + n]), data[8 + n:]
old, bytes_old = parts("tiny.safetensors")
new, bytes_new = parts("made/again.safetensors")
said = new.pop("__metadata__"); old.pop("__metadata__", None)
same = old.keys() == new.keys() and all(
    old[n]["shape"] == new[n]["shape"] and old[n]["dtype"] == new[n]["dtype"] and
    bytes_old[slice(*old[n]["data_offsets"])] == bytes_new[slice(*new[n]["data_offsets"])] for n in old)
print(json.dumps({"same": same, "config": json.loads(said["config"])["model"], "size": json.loads(said["preprocess"])["size"],
                  "steps": said["provenance"].count("vitrine convert")}))
END
cp tensors_of out; json 'convert: the same numbers, with configuration, images and every step' 'j == {"same": True, "config": "vit", "size": 32, "steps": 2}'
for type in f16 bf16; do
  expect "convert to $type" 0 'numbers were rounded' "$vitrine" convert tiny.safetensors --out made/$type.safetensors --dtype $type
  expect "convert to $type: what is there" 0 "^Stored +$type" "$vitrine" inspect made/$type.safetensors
done
expect 'convert to int8' 0 'numbers were rounded' "$vitrine" convert tiny.safetensors --out made/int8.safetensors --dtype int8
expect 'convert to int8: what is there' 0 '^Stored +f32, i8' "$vitrine" inspect made/int8.safetensors
expect 'convert to int8: it learns' 0 'Accuracy' "$vitrine" tune --backbone made/int8.safetensors --data synthetic:colors --epochs 1 --out made/int8
expect 'convert to int8: and back, who it was made' 0 . "$vitrine" convert made/int8.safetensors --out made/wide.safetensors --json
json 'convert to int8: and back, who it was made' 'j["identity"] == j["identity_before"]'
expect 'convert what is bf16 already' 0 . "$vitrine" convert builtin-swin --out made/swin.safetensors --dtype bf16 --json
json 'convert what is bf16 already: it stays who it is' 'j["identity"] == j["identity_before"] and j["dtype"] == "bf16"'
# What is read is never written over, by whatever name.
cp made/again.safetensors made/kept.safetensors
ln -s again.safetensors made/link.safetensors && ln made/again.safetensors made/hard.safetensors
for out in made/again.safetensors ./made/../made//again.safetensors "$PWD/made/again.safetensors" made/link.safetensors made/hard.safetensors; do
  expect "convert over the file itself: $out" 1 '^vitrine convert: --out: .*is a file that is being read' "$vitrine" convert made/again.safetensors --out "$out"
done
expect 'convert over the file itself, by a link' 1 'is a file that is being read' "$vitrine" convert made/link.safetensors --out made/again.safetensors
same 'convert over the file itself: it is as it was' made/again.safetensors made/kept.safetensors
mkdir -p shards && python3 - "$golden/hf-vit.safetensors" <<'END'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
header, body = json.loads(data[8:8 + n]), data[8 + n:]
weight_map = {}
for i in range(2):
    part, blob = {}, b""
    for name in sorted(header)[i::2]:
        begin, end = header[name]["data_offsets"]
        part[name] = dict(header[name], data_offsets=[len(blob), len(blob) + end - begin])
        blob += body[begin:end]
        weight_map[name] = f"model-0000{i + 1}-of-00002.safetensors"
    words = json.dumps(part).encode()
    open(f"shards/model-0000{i + 1}-of-00002.safetensors", "wb").write(struct.pack("<Q", len(words)) + words + blob)
json.dump({"metadata": {}, "weight_map": weight_map}, open("shards/model.safetensors.index.json", "w"))
json.dump({"model_type": "vit", "num_attention_heads": 2}, open("shards/config.json", "w"))
END
cp hub/preprocessor_config.json shards && ln -s config.json shards/config.safetensors && ln shards/model.safetensors.index.json shards/index && ln shards/preprocessor_config.json shards/pictures
for out in model-00001-of-00002.safetensors model-00002-of-00002.safetensors index config.safetensors pictures; do
  expect "convert over what is read of a model in shards: $out" 1 '--out: .*is a file that is being read' "$vitrine" convert shards --out "shards/$out"
done
expect 'convert a model in shards' 0 'Identity' "$vitrine" convert shards --out shards/whole.safetensors
expect 'convert to the size that it has' 0 'Identity' "$vitrine" convert tiny.safetensors --image-size 32 --out made/same.safetensors

# Transformers' DINOv2 resamples its positions to whatever its processor makes.
mkdir -p dinov2 && cp "$golden/hf-dinov2.safetensors" dinov2/model.safetensors
echo '{"model_type": "dinov2", "num_attention_heads": 2, "image_size": 12}' >dinov2/config.json
echo '{"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 9}, "crop_size": {"height": 8, "width": 8}, "resample": 3, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}' >dinov2/preprocessor_config.json
expect 'DINOv2 of transformers: convert' 0 . "$vitrine" convert dinov2 --out dinov2.safetensors
for size in '' '--image-size 8' '--image-size 12' '--image-size 20'; do
  for file in dinov2 dinov2.safetensors; do
    # shellcheck disable=SC2086 # two words
    expect "DINOv2 of transformers, $file $size" 0 . "$vitrine" inspect $file $size --json
    cp out "$file.json"
  done
  for key in identity positions preprocess config; do
    cp dinov2.json out
    json "DINOv2 of transformers, converted $size: $key" "j['$key'] == json.load(open('dinov2.safetensors.json'))['$key']"
  done
  size=${size#* }
  json "DINOv2 of transformers, ${size:-untold}: size" "j['config']['image_size'] == ${size:-8} == j['preprocess']['size'] and (', resampled to' in j['positions']) == ('${size:-8}' != '12')"
done
sed -i 's/"shortest_edge": 9/"shortest_edge": 4096/; s/: 8/: 4096/g' dinov2/preprocessor_config.json
expect 'DINOv2 of transformers: no file makes it greater' 1 'prepares images of 4096 pixels, the net sees 12' "$vitrine" tune --backbone dinov2 --data folder:pictures --out never
sed -i 's/"shortest_edge": 4096/"shortest_edge": 9/; s/: 4096/: 8/g' dinov2/preprocessor_config.json
expect 'DINOv2 of transformers: tune' 0 . "$vitrine" tune --backbone dinov2 --data folder:pictures --epochs 1 --batch 16 --out by-dinov2
expect 'DINOv2 of transformers: the task finds it' 0 'Accuracy' "$vitrine" eval --task by-dinov2/task.safetensors --data folder:pictures
expect 'DINOv2 of transformers: the task finds what was converted' 0 'Accuracy' "$vitrine" eval --task by-dinov2/task.safetensors --backbone dinov2.safetensors --data folder:pictures
expect 'convert: no place' 1 '--out is required' "$vitrine" convert builtin
expect 'convert: what is no type' 1 "--dtype: expected f32, f16, bf16 or int8, got 'f64'" "$vitrine" convert builtin --out x --dtype f64
expect 'convert a task' 1 'vitrine task' "$vitrine" convert colours/task.safetensors --out x
expect 'convert to a folder that cannot be' 2 . "$vitrine" convert builtin --out tiny.safetensors/x
python3 - <<'END'
import json, struct
data = open("tiny.safetensors", "rb").read()
n = struct.unpack("<Q", data[:8])[0]
entry = json.loads(data[8:8 + n])["norm.bias"]
at = 8 + n + entry["data_offsets"][0]
open("great.safetensors", "wb").write(data[:at] + struct.pack("<f", 1e5) + data[at + 4:])
END
expect 'convert: a number too great for f16 is named' 1 "tensor 'norm.bias': has numbers that are too large for f16; bf16 holds them" "$vitrine" convert great.safetensors --out x --dtype f16
expect 'convert: but not for bf16' 0 . "$vitrine" convert great.safetensors --out great16.safetensors --dtype bf16

# --- devices ---
expect 'no such device' 1 "device: expected cpu, cuda, .*'gpu'" "$vitrine" tune --data synthetic:shapes --device gpu
expect 'an option of devices alone' 1 '^vitrine tune: --tf32: .*--device cuda' "$vitrine" tune --data synthetic:shapes --tf32
expect 'recording needs a device' 1 "--eager: only a device's step" "$vitrine" bench step --model builtin --eager
# Without the library, or with it but without a GPU. Where there is one, there is nothing to refuse.
if "$vitrine" bench step --model builtin --device cuda --batch 1 --steps 1 >/dev/null 2>&1; then
  skip 'no GPU' 'this machine has one'
else
  expect 'no GPU' 4 'device: cuda needs libvitrine_cuda.so.*nvcc 13 is found .*VITRINE_LIBRARIES|device cuda: cuda: no device' "$vitrine" bench step --model builtin --device cuda --batch 1
  expect 'another GPU that is not there' 4 'device' "$vitrine" tune --data synthetic:shapes --device cuda:3
fi
VITRINE_LIBRARIES=$work expect 'a folder of libraries without the right one' 4 . "$vitrine" bench step --model builtin --device cuda --batch 1
if [[ -e $(dirname "$vitrine")/../lib/libvitrine_emulator.so ]]; then
  expect 'int8 on a device' 1 'f32 or bf16' "$vitrine" tune --data synthetic:shapes --device emulator --precision int8
  expect 'a limit on a device' 1 '--memory-limit: foretells main memory' "$vitrine" tune --data synthetic:shapes --device emulator --memory-limit 2G
  expect 'tf32 on the emulator' 4 'the emulator has no tf32' "$vitrine" tune --data synthetic:shapes --device emulator --precision f32 --tf32
  expect 'packing on a device' 1 'nothing is packed' "$vitrine" bench step --model builtin --device emulator --one-form
  device=(--device emulator --backbone tiny.safetensors)
  few=(--data synthetic:colors --train-limit 40 --val 0 --epochs 2 --batch 16 --workers 0 --no-test --seed 5)
  expect 'tune on a device' 0 'in tensors on emulator' "$vitrine" tune "${few[@]}" "${device[@]}" --precision f32 --out there --json
  json 'tune on a device: as JSON' 'j["device"] == "emulator" and j["precision"] == "f32" and "memory_forecast" not in j'
  cp out there.json
  expect 'the same on the CPU' 0 . "$vitrine" tune "${few[@]}" --backbone tiny.safetensors --out here --json
  json 'a device learns what the CPU does' 'abs(j["train"]["loss"] - json.load(open("there.json"))["train"]["loss"]) < 1e-4 * j["train"]["loss"]'
  expect 'a run on a device is gone on with there' 1 'has other settings: device "emulator", given none$' "$vitrine" tune "${few[@]}" --backbone tiny.safetensors --out there --resume
  expect 'predict on a device' 0 '"name"' "$vitrine" predict --task there/task.safetensors "${device[@]}" --json pictures/test/red/00.png
  expect 'bench on a device' 0 . "$vitrine" bench step --model builtin --device emulator --batch 1 --steps 1 --warmup 1 --json
  json 'bench on a device: as JSON' 'j["device"] == "emulator" and j["recorded"] and j["precision"] == "bf16"'
  little=(--width 16 --depth 1 --heads 2 --patch 8 --batch 2 --every 1)
  expect 'pretrain on a device' 0 'nets.safetensors' "$vitrine" pretrain --out nets.safetensors "${little[@]}" --steps 2 --state state --device emulator
  expect 'pretrain does not go on elsewhere' 1 'other settings' "$vitrine" pretrain --out other.safetensors "${little[@]}" --steps 2 --state state
  mkdir -p other && cp "$(dirname "$vitrine")/../lib/libvitrine_emulator.so" other/libvitrine_cuda.so
  VITRINE_LIBRARIES=$work/other expect 'the emulator is no GPU, whatever it is called' 4 'of device, emulator|another kind of device' "$vitrine" bench step --model builtin --device cuda --batch 1 --steps 1
else
  skip 'the emulator of a GPU' 'it is not built'
fi

echo "$passed passed, $failed failed$( ((skipped)) && echo ", $skipped skipped")"
((failed == 0))
