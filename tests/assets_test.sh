#!/usr/bin/env bash
# assets_test.sh VITRINE: a real checkpoint must name real photographs as an independent implementation does.
#
# The files are not in the repository: VITRINE_ASSETS says where they are (default: ../shared/assets beside it). Without
# them the test is skipped aloud. tests/oracle/vit_oracle.py --predict made the reference: PyTorch's forward of the same
# file names 75 of the 100 photographs in the first place and 94 in the first five.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/cases.sh"
vitrine=$1
assets=${VITRINE_ASSETS:-$root/../shared/assets}
checkpoint=$assets/deit_tiny_patch16_224.safetensors photos=$assets/imagenet-100

if [[ ! -f $checkpoint || ! -d $photos ]]; then
  skip_cases "no DeiT-Tiny and photographs in $assets (set VITRINE_ASSETS)"
  end_cases
  exit
fi

predicted=$(mktemp)
trap 'rm -f "$predicted"' EXIT
names_photographs() {
  "$vitrine" predict --backbone "$checkpoint" --backbone-config deit --json "$photos"/*/* >"$predicted" || return 1
  python3 - "$predicted" "$assets/imagenet-synset-to-class.json" <<'PYTHON'
import json
import sys

images = json.load(open(sys.argv[1]))["images"]
classes = json.load(open(sys.argv[2]))
first = five = 0
for image in images:
    wanted = classes[image["image"].split("/")[-2]]
    named = [entry["class"] for entry in image["classes"]]
    first += named[0] == wanted
    five += wanted in named
print(f"{len(images)} photographs: {first} right in the first place, {five} in the first five; expected 75 and 94")
sys.exit((len(images), first, five) != (100, 75, 94))
PYTHON
}
check_case "DeiT-Tiny names 100 photographs" names_photographs
end_cases
