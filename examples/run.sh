#!/usr/bin/env bash
# run.sh: Vitrine at work. Installs what is missing (as root; otherwise it says the line to run), builds the vitrine program
# in build/ and trains prompts for Fashion-MNIST on the backbone inside the program: a few minutes on two cores.
#
#   examples/run.sh
#
# JOBS (all cores)   how many compilers run at once
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/cmake/packages.sh"

# --- the recipe -------------------------------------------------------------------------------------------------------
data=fashion-mnist:/usr/share/datasets/fashion-mnist
recipe=(--backbone builtin --data "$data" --method vpt-deep --prompts 10 --train-limit 1000
  --epochs 12 --batch 16 --lr 3e-3 --wd 1e-2 --warmup 2)
# ----------------------------------------------------------------------------------------------------------------------

# shellcheck disable=SC2154,SC2086  # lists of words
have_packages $packages_library $packages_program $packages_example || exit 1

cmake -S "$root" -B "$root/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DVITRINE_TESTS=OFF -DVITRINE_EXAMPLES=ON >&2
cmake --build "$root/build" --target vitrine_cli -j "${JOBS:-$(nproc)}" >&2
vitrine=$root/build/examples/vitrine

# Each run has a folder of its own.
n=1
while [[ -e $root/runs/fashion-mnist-$n ]]; do n=$((n + 1)); done
folder=$root/runs/fashion-mnist-$n

# With --json the program tells its story on standard error and its results on standard output.
command=("$root/build/examples/vitrine" tune "${recipe[@]}" --out "$folder")
printf '\n%s\n\n' "${command[*]}"
result=$("${command[@]}" --json)
entry() { grep -oE "\"$1\":[^,}]*" <<<"$result" | head -n 1 | sed 's/^[^:]*://; s/"//g'; }
accuracy=$(sed -nE 's/.*"test":\{"accuracy":([^,}]*).*/\1/p' <<<"$result")

echo
awk -v accuracy="$accuracy" -v trained="$(entry trained_parameters)" -v frozen="$(entry backbone_parameters)" \
  -v images="$(entry train_samples)" 'BEGIN {
    printf "Test accuracy  %.2f %%\n", 100 * accuracy
    printf "Trained        %d parameters from %d images, before a frozen backbone of %d\n", trained, images, frozen }'
echo "Files          $folder/task.safetensors (prompts and head), metrics.jsonl"
