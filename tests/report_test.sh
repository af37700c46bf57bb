#!/usr/bin/env bash
# report_test.sh: `vitrine report` from outside, the page in a real browser, and event files read by protoc.
#
#   tests/report_test.sh build/examples/vitrine
#
# CHROMIUM (chromium)   the browser; without one what needs it is skipped, aloud. PROTOC (protoc) likewise
set -u

vitrine=$(realpath "${1:?usage: report_test.sh PROGRAM}")
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$tests/cases.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
python=$(command -v /usr/bin/python3 || command -v python3)
chromium=$(command -v "${CHROMIUM:-chromium}" || true)
protoc=$(command -v "${PROTOC:-protoc}" || true)

# holds EXPRESSION: the Python expression holds for the JSON object `j` in out
holds() { "$python" -c 'import json, sys; j = json.load(open("out")); sys.exit(not eval(sys.argv[1]))' "$1" || { cat out; return 1; }; }
json() { "$vitrine" "$@" --json >out; }
refuses() { # WORDS COMMAND...
  local words=$1
  shift
  ! "$@" >out 2>&1 && grep -qF -- "$words" out || { cat out; return 1; }
}
# Elements closed in their order, ids that are there once, no scripts, no addresses but data.
sound() {
  "$python" - "$1" <<'PYTHON'
import html.parser, sys
class Page(html.parser.HTMLParser):
    empty = {"meta", "img", "br", "link", "input", "hr"}
    def __init__(self):
        super().__init__()
        self.open, self.ids = [], []
    def handle_startendtag(self, tag, attributes):
        self.look(tag, attributes)
    def handle_starttag(self, tag, attributes):
        self.look(tag, attributes)
        if tag not in self.empty:
            self.open.append(tag)
    def look(self, tag, attributes):
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form"), tag
        for name, value in attributes:
            assert not name.startswith("on"), name
            if name == "id":
                assert value not in self.ids, value
                self.ids.append(value)
            if name in ("src", "href"):
                assert value.startswith(("data:image/png;base64,", "#")), value
    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.getpos())
page = Page()
page.feed(open(sys.argv[1], encoding="utf-8").read())
page.close()
assert not page.open, page.open
PYTHON
}
# No complaint but what tidy does not know of HTML of today.
tidied() {
  tidy -quiet -errors -utf8 --drop-empty-elements no "$1" >out 2>&1
  ! grep -E ' - (Error|Warning)' out | grep -vE 'proprietary attribute|not recognized|<img> lacks value|missing </?(svg|path)'
}

# --- a run and its page ---
check_case "a run writes what it was told and an event file" \
  "$vitrine" tune --data synthetic:shapes --train-limit 240 --val 40 --epochs 3 --out a --tensorboard
check_case "the run's record" eval 'cp a/run.json out && holds "j[\"data\"] == \"synthetic:shapes\" and j[\"train_samples\"] == 200 and j[\"val_samples\"] == 40 and j[\"test_samples\"] == 500"'
check_case "a report" json report a --images 8 --embedding 200
check_case "it shows what was asked for" holds 'j["samples"] == 500 and j["mistakes"] == 8 and j["attention"] == 2 and j["embedding"] == 200 and 0 < j["attention_error"] < 1e-4 and j["page"] == "a/report.html"'
cp out reported
check_case "eval" json eval --task a/task.safetensors --data synthetic:shapes
check_case "its accuracy and loss are eval's" \
  "$python" -c 'import json; r, e = json.load(open("reported")), json.load(open("out")); assert (r["accuracy"], r["loss"]) == (e["accuracy"], e["loss"]), (r, e)'
check_case "the page is sound" sound a/report.html
cp a/report.html once.html
"$vitrine" report a --images 8 --embedding 200 --threads 1 >/dev/null 2>&1
check_case "the page is the same again, with one thread" cmp a/report.html once.html
check_case "without pictures" eval '"$vitrine" report a --images 0 --embedding 0 --out bare.html && sound bare.html && grep -q "No picture was asked for" bare.html'
mkdir pages
check_case "another split, elsewhere" eval 'json report a --split train --images 2 --embedding 50 --out pages/train.html && holds "j[\"samples\"] == 1000" && sound pages/train.html'
mkdir old && cp a/task.safetensors a/metrics.jsonl old
check_case "a run that does not tell its data has curves" eval '"$vitrine" report old 2>err && grep -q "without --data SPEC" err && sound old/report.html && grep -q "id=\"curves\"" old/report.html && ! grep -q "id=\"confusion\"" old/report.html'
check_case "... and pictures with --data" eval '"$vitrine" report old --data synthetic:shapes --images 2 --embedding 20 && grep -q "id=\"confusion\"" old/report.html'
check_case "no run there" refuses "is not the folder of a run" "$vitrine" report nowhere
mkdir empty
check_case "a folder without a task" refuses "task.safetensors" "$vitrine" report empty
check_case "the page tells how pictures were chosen and prepared" grep -q -- '--train-limit 240 --val 40' a/report.html
check_case "... prepared" grep -Eq '32 x 32 pixels: ' a/report.html
check_case "a folder that is not there is made by nobody" refuses "there is no folder 'no'" "$vitrine" report a --images 0 --embedding 0 --out no/page.html
mkdir unfinished && cp a/metrics.jsonl unfinished
check_case "a run that was killed" refuses "has not come to its end" "$vitrine" report unfinished

# --- a run of a sweep ---
sweep() { "$vitrine" sweep --data synthetic:shapes --train-sizes 40 --methods linear,vpt-shallow --lr 1e-2 --prompts 2 --epochs 2 --seeds 1 "$@"; }
check_case "a sweep that keeps its tasks" sweep --out kept --keep-tasks
check_case "a sweep's folder is no run" refuses "is the folder of a sweep" "$vitrine" report kept
check_case "what tells its runs" eval '"$vitrine" table kept --runs --format csv >out; [[ $(grep -c "task.safetensors$" out) == 2 ]]'
of_sweep=kept/runs/$(grep ',vpt-shallow,' out | cut -d , -f 1)
check_case "a report of its run" json report "$of_sweep" --images 4 --embedding 50
check_case "has pictures of its data" holds 'j["samples"] == 500 and j["data"] == "synthetic:shapes" and j["mistakes"] == 4'
cp out reported
check_case "its accuracy is the sweep's" \
  "$python" -c 'import json, sys; r, e = json.load(open("reported")), json.load(open(sys.argv[1])); assert (r["accuracy"], r["loss"]) == (e["test"]["top1"], e["test"]["loss"]), (r, e)' "$of_sweep/result.json"
check_case "... and curves and a title" eval 'grep -q "id=\"curves\"" "$of_sweep/report.html" && grep -q "vpt-shallow on shapes, seed 0" "$of_sweep/report.html"'
rm "$of_sweep/run.json"
check_case "of one whose sweep wrote no record, too" eval 'json report "$of_sweep" --images 0 --embedding 0 && holds "j[\"samples\"] == 500"'
sweep --out bare >out 2>&1
check_case "a run whose task was not kept" refuses "with --keep-tasks" "$vitrine" report "bare/runs/$(ls bare/runs | head -1)"

# --- data that were named from another folder ---
mkdir -p here/photos/{train,test}/{a,b}
for at in train/a train/b test/a test/b; do printf 'BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\1\0\0\0\1\0\0\0\1\0\x18\0\0\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0%s1\1\0' "${at: -1}" >here/photos/$at/1.bmp; done
(cd here && "$vitrine" tune --data folder:photos --method linear --epochs 1 >out 2>&1)
check_case "a run is named as its data" test -s here/runs/photos-linear-1/task.safetensors
check_case "relative data are found from elsewhere" json report here/runs/photos-linear-1 --images 1 --embedding 0
(cd here && "$vitrine" tune --data mini:count --train-limit 16 --no-test --method linear --epochs 1 --tensorboard >out 2>&1)
check_case "drawn data, too" test -s here/runs/mini-count-linear-1/task.safetensors
check_case "tune names all of its files" grep -Eq 'runs/mini-count-linear-1/run.json' here/out
check_case "... the event file and how to look at it" eval 'grep -Eq "events.out.tfevents" here/out && grep -q "tensorboard --logdir runs/mini-count-linear-1" here/out'

check_case "which run" refuses "expected one RUN" "$vitrine" report
check_case "other data" refuses "class 0 is 'circle' in the task, but 'red'" "$vitrine" report a --data synthetic:colors
cp -r a damaged && echo '{"epoch": 9' >>damaged/metrics.jsonl
check_case "damaged metrics are named" refuses "metrics.jsonl: line 4" "$vitrine" report damaged

check_case "a Swin's run" "$vitrine" tune --backbone builtin-swin --method vpt-shallow --data synthetic:shapes --train-limit 80 --epochs 1 --no-test --out swin
check_case "a Swin's report" eval 'json report swin --images 4 --embedding 100 && holds "j[\"attention\"] == 1 and 0 < j[\"attention_error\"] < 1e-4" && sound swin/report.html && grep -q "This net has no class token" swin/report.html'
check_case "a report with int8 weights" eval 'json report a --precision int8 --images 4 --embedding 0 --out int8.html && holds "j[\"attention\"] == 1"'

# --- hostile names ---
"$python" - <<'PYTHON'
import os, random, struct, zlib
names = ["<script>alert(1)<", '"><img src=x onerror=alert(2)>', "' onmouseover='alert(3)", "&amp; <!-- ]]>",
         "\U0001F98A \U0001F469\u200D\U0001F680", "\u202Eevil \u05E9\u05DC\u05D5\u05DD", "w" * 200]
def png(path, color):
    rows = b"".join(b"\0" + bytes(min(255, max(0, c + random.randint(-40, 40))) for _ in range(32) for c in color) for _ in range(32))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)) +
                           chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
random.seed(1)
for split in ("train", "test"):
    for i, name in enumerate(names):
        folder = os.path.join("<b>data", split, name)
        os.makedirs(folder)
        for k in range(6):
            png(os.path.join(folder, f"<i>{k}&.png"), (random.randint(60, 200), 30 * i, 200 - 20 * i))
PYTHON
check_case "a run of classes with hostile names" "$vitrine" tune --data 'folder:<b>data' --epochs 1 --out '<u>run'
check_case "its report is sound" eval '"$vitrine" report "<u>run" --images 12 && sound "<u>run/report.html"'
check_case "the example that is kept is sound" sound "$tests/../bench/results/2026-11-29-report.html"
if command -v tidy >/dev/null; then
  check_case "tidy: a run's page" tidied a/report.html
  check_case "tidy: hostile names" tidied '<u>run/report.html'
else
  skip_cases "no tidy here"
fi

# --- a browser ---
look() { timeout 120 "$python" "$tests/report/browser.py" "$chromium" "$@" >out; }
all_there='set(j["sections"]) == {"run", "curves", "confusion", "classes", "mistakes", "attention", "embedding"} and all(w > 200 and h > 60 for w, h in j["sections"].values())'
quiet='not j["errors"] and not j["requests"] and j["scripts"] == 0 and j["broken"] == 0'
drawn='all(w > 0 and h > 0 for w, h in j["drawings"]) and len(j["drawings"]) >= 6'
if [[ -n $chromium ]]; then
  check_case "browser: the page opens" look a/report.html --picture light.png
  check_case "browser: no complaint, no request, every picture decoded" holds "$quiet and j['decoded'] >= 8 + 2 * 5"
  check_case "browser: every section has a size, every drawing too" holds "$all_there and $drawn and j['overflow'] <= 0"
  check_case "browser: dark, on a telephone" eval 'look a/report.html --dark --width 400 --picture dark.png && holds "$quiet and $all_there and j[\"overflow\"] <= 0"'
  check_case "browser: both have pictures to show, and not the same" eval '[[ $(stat -c %s light.png) -gt 20000 && $(stat -c %s dark.png) -gt 20000 ]] && ! cmp -s light.png dark.png'
  check_case "browser: a Swin's" eval 'look swin/report.html && holds "$quiet and $all_there and $drawn"'
  check_case "browser: hostile names are words" eval 'look "<u>run/report.html" && holds "$quiet and $all_there and j[\"overflow\"] <= 0 and \"<script>alert(1)<\" in j[\"text\"] and \"><img src=x onerror=alert(2)>\" in j[\"text\"]"'
  check_case "browser: curves alone" eval 'cp old/report.html x.html; "$vitrine" report old >/dev/null 2>&1; look old/report.html && holds "$quiet and \"pictures\" in j[\"sections\"]"'
  # What finds no fault in a bad page proves nothing.
  echo '<!DOCTYPE html><title>x</title><section id=run></section><img src="http://127.0.0.1:9/x.png"><script>console.error(1)</script>' >bad.html
  check_case "browser: a page that asks the network and complains is found out" eval 'look bad.html && holds "j[\"errors\"] and j[\"requests\"] == [\"http://127.0.0.1:9/x.png\"] and j[\"broken\"] == 1"'
else
  skip_cases "no chromium here: the pages were not opened in a browser (CHROMIUM names one)"
fi

# --- TensorBoard ---
decodes() { "$python" "$tests/tensorboard/events.py" "$1" ${protoc:+"$protoc"}; }
[[ -n $protoc ]] || skip_cases "no protoc here: event files are checked for their sums alone (PROTOC names one)"
check_case "event file: sums, fields and numbers" decodes a
# Killed without warning, some epochs in, twice; then to the end.
args=(tune --data synthetic:shapes --train-limit 80 --val 16 --epochs 12 --no-test --tensorboard --out killed --resume)
for epochs in 2 6; do
  "$vitrine" "${args[@]}" >/dev/null 2>&1 &
  running=$!
  for ((i = 0; i < 1200; ++i)); do
    if (($(wc -l 2>/dev/null <killed/metrics.jsonl || echo 0) >= epochs)) || ! kill -0 $running 2>/dev/null; then break; fi
    sleep 0.05
  done
  kill -9 $running 2>/dev/null
  wait $running 2>/dev/null
done
check_case "event file: after being killed and resumed" eval '"$vitrine" "${args[@]}" && decodes killed && [[ $(wc -l <killed/metrics.jsonl) == 12 ]]'
printf '%s' xyz >>killed/events.out.tfevents.*
check_case "event file: a damaged tail is found out" eval '! decodes killed'
check_case "event file: and mended by the next run" eval '"$vitrine" "${args[@]}" && decodes killed'
end_cases
