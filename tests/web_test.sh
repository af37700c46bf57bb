#!/usr/bin/env bash
# web_test.sh: builds the page (examples/web) and visits it with a real Chromium, from disk and from a server, the network off.
# What it learned there is opened by the command line.
#
#   tests/web_test.sh PROGRAM [--measure]     PROGRAM: build/examples/vitrine. --measure prints sizes and speeds at the end
#
# Installs Debian's emscripten (0.8 GB) and chromium if they are missing; tests/run.sh calls it only where emscripten is there.
# CHROMIUM (chromium)   the browser; without one the page is built but not visited, which is said
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/cases.sh"
. "$root/cmake/packages.sh"
vitrine=$(realpath "${1:?usage: web_test.sh PROGRAM [--measure]}")
measure=${2:-}
# shellcheck disable=SC2154,SC2086  # a list of words
have_packages $packages_web || exit 1
python=$(command -v /usr/bin/python3 || command -v python3)
chromium=$(command -v "${CHROMIUM:-chromium}" || true)
build=$root/build-wasm
work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server"; rm -rf "$work"' EXIT
cd "$work" || exit 1

# The folder of tests/variants_test.sh, configured as there.
builds() {
  cmake -S "$root/tests/embedded" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS= \
    -DCMAKE_TOOLCHAIN_FILE="$root/cmake/wasm.cmake" &&
    cmake --build "$build" --target vitrine_page "$@" -j "${JOBS:-$(nproc)}"
}
page=$build/vitrine.html
# All that a page may load is in it.
names_no_address() { ! grep -oE '(src|href)="[^"]*"|https?://[^" )<]*' "$page" | grep -vE '"data:|http://www.w3.org/2000/svg'; }
visits() { # PAGE OUT ...
  timeout 500 "$python" "$root/tests/web/visitor.py" "$chromium" "$1" pictures "$2" "${@:3}" >"$2.json"
}
holds() { # SEEN EXPRESSION: about the JSON object `j`
  "$python" -c 'import json, sys; j = json.load(open(sys.argv[1])); sys.exit(not eval(sys.argv[2]))' "$1.json" "$2" ||
    { cat "$1.json"; return 1; }
}
# The command line's probabilities of a picture are those that the page showed.
agree() { # TASK PICTURE SEEN NAME LIMIT
  "$vitrine" predict --task "$1" --backbone builtin --json "$2" >native.json || return 1
  "$python" - "$3.json" "$4" "$5" <<'PYTHON'
import json, sys
seen = json.load(open(sys.argv[1]))
for part in sys.argv[2].split("/"):
    seen = seen[part]
native = {c["name"]: c["probability"] for c in json.load(open("native.json"))["images"][0]["classes"]}
assert set(native) == set(seen), (native, seen)
worst = max(abs(native[name] - seen[name]) for name in seen)
print("largest difference", worst)
assert worst <= float(sys.argv[3]), (native, seen)
PYTHON
}

check_case "the page builds" builds
check_case "it has all in itself" names_no_address
"$python" "$root/tests/web/pictures.py" pictures 20
if [[ -n $chromium ]]; then
  check_case "a visitor from disk comes to the end" visits "$page" disk --picture page.png
  check_case "no complaint, no request" holds disk 'not j["errors"] and not j["requests"]'
  check_case "one in five is held out" holds disk 'j["counts"] == ["20 pictures, 4 held out"] * 3'
  check_case "what is too early or wrong is said in words" holds disk \
    'j["not_ready"] and "class" in j["same_names"] and "broken.png: this browser cannot read it" in j["refused"] and "garbage.safetensors" in j["garbage"] and "Learning rate" in j["bad_number"]'
  check_case "progress was shown on the way" holds disk 'sum("ms a step" in words for words in j["progress"]) >= 10 and j["lines"] == 2 and "the loss went from" in j["chart"]'
  check_case "the first loss is that of a guess" holds disk 'abs(j["losses"][0] - __import__("math").log(3)) < 1e-3'
  check_case "loss falls" holds disk 'sum(j["losses"][-4:]) / 4 < 0.5 * j["losses"][0]'
  check_case "accuracy on what was held out rises" holds disk 'abs(j["accuracies"][0] - 1 / 3) < 1e-9 and j["accuracies"][-1] >= 0.6'
  check_case "new pictures are named" holds disk 'all(max(p, key=p.get) == name for name, p in j["tried"].items())'
  check_case "the command line opens the task" eval '"$vitrine" inspect disk/first/task.safetensors | grep "^Classes .*3: disc, box, wedge"'
  for name in disc box wedge; do
    check_case "... and finds the page's probabilities: $name" agree disk/first/task.safetensors "pictures/new/$name.png" disk "tried/$name" 1e-5
  done
  check_case "a task file that is opened is the task" holds disk 'j["names_again"] == ["disc", "box", "wedge"] and j["tried_again"] == j["tried"]["wedge"]'
  check_case "going on begins where it ended" holds disk 'j["losses_on"][0] < 0.5 * j["losses"][0]'
  check_case "stopping stops" holds disk '3 <= len(j["losses_on"]) < 900 and "Learned in %d steps" % len(j["losses_on"]) in j["stopped"]'
  check_case "... and what was learned until then agrees, too" agree disk/second/task.safetensors pictures/new/box.png disk tried_on 1e-5
  check_case "it fits a telephone, and every button has a name" holds disk 'j["overflow"] <= 0 and not j["unnamed"]'
  # A comparison that cannot fail proves nothing.
  check_case "the comparison tells other probabilities apart" eval '! agree disk/first/task.safetensors pictures/new/box.png disk tried/disc 1e-5'
  mkdir -p site && cp "$page" site
  "$python" -u -m http.server --bind 127.0.0.1 --directory site 0 >served 2>&1 &
  server=$!
  for ((i = 0; i < 100; ++i)); do grep -q 'port [0-9]' served && break; sleep 0.1; done
  check_case "a visitor from a server" visits "http://127.0.0.1:$(sed -nE 's/.*port ([0-9]+).*/\1/p' served | head -1)/vitrine.html" net
  check_case "... no complaint, no request" holds net 'not j["errors"] and not j["requests"]'
  check_case "... learns the same" holds net 'j["losses"] == __import__("json").load(open("disk.json"))["losses"]'
else
  skip_cases "no chromium here: the page was not visited (CHROMIUM names one)"
fi

if [[ $measure == --measure ]]; then
  echo
  size() { echo "$1: $(stat -c %s "$2") bytes, gzip -9 $(gzip -9 <"$2" | wc -c)"; }
  size "the page" "$page"
  size "of it the engine" "$build/web/page.wasm"
  size "and the weights" "$root/models/builtin/vit.safetensors"
  [[ ! -f disk.json ]] || "$python" -c 'import json; j = json.load(open("disk.json")); print("in Chromium: ready after", round(j["ready_seconds"], 2), "s;", [w for w in j["progress"] if "ms a step" in w][-1])'
  native=$(dirname "$vitrine")/..
  cmake --build "$build" --target forward >/dev/null && cmake --build "$native" --target bench_forward >/dev/null || exit 1
  for round in 1 2 3; do
    echo "round $round"
    sed 's/^/  WebAssembly, node: /' <(node --no-experimental-fetch "$build/forward.js")
    for set in portable avx2 avx512; do OMP_NUM_THREADS=1 "$native/tests/bench_forward" $set | sed '/^error/d; s/^/  native: /'; done
  done
fi
end_cases
