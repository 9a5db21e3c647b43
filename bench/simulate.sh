#!/usr/bin/env bash
# The table of bench/README.md on simulation: `vireo simulate` by each policy of bench/policies, the real ViT-Tiny on photographs. Usage:
#   bash bench/simulate.sh [path to vireo] [policy...]
# Model and pictures lie beside the checkout (../shared); calibration sees every fifth picture, the figures are of the others.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
vireo=${1:-$root/build/bin/vireo}
[ $# -eq 0 ] || shift  # the rest are policies
policies=("$@")
[ ${#policies[@]} -gt 0 ] || policies=(w6a6 w4a4 w4a4-qkv8)
model=$root/../shared/models/vit-tiny-patch16-224
data=$root/../shared/data/imagenet-dev
for needed in "$model" "$data/labels.csv"; do
  [ -e "$needed" ] || { echo "simulate.sh: '$needed' is not there" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/seen" "$work/judged"
head -n 1 "$data/labels.csv" >"$work/judged/labels.csv"
tail -n +2 "$data/labels.csv" | awk 'NR % 5 != 1' >>"$work/judged/labels.csv"
tail -n +2 "$data/labels.csv" | awk -F, 'NR % 5 == 1 { print $1 }' | while IFS= read -r file; do ln -s "$data/images/$file" "$work/seen/$file"; done
tail -n +2 "$work/judged/labels.csv" | cut -d, -f1 | while IFS= read -r file; do ln -s "$data/images/$file" "$work/judged/$file"; done
for policy in "${policies[@]}"; do
  "$vireo" simulate --model "$model" --policy "$root/bench/policies/$policy.txt" --calibrate "$work/seen" --pictures "$work/judged"
done
