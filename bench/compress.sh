#!/usr/bin/env bash
# The tables of bench/README.md on compression: `vireo compress` by each recipe, the real ViT-Tiny on photographs. Usage:
#   bash bench/compress.sh [path to vireo] [recipe...]      a recipe may have options: 'w8a8static --ranges percentile'
# Model and pictures lie beside the checkout (../shared); calibration sees every fifth picture, the figures are of the others.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
vireo=${1:-$root/build/bin/vireo}
[ $# -eq 0 ] || shift  # the rest are recipes
recipes=("$@")
[ ${#recipes[@]} -gt 0 ] || recipes=(w8 w4g32 w4g64 w4w8rows w8a8 w8a8static w8a8mixed w4a8 tome25 tome29 tome39 w8a8+tome29
  qkrank10 prune10 prune15 prune20 prune15+w8a8)
model=$root/../shared/models/vit-tiny-patch16-224
data=$root/../shared/data/imagenet-dev
for needed in "$model" "$data/labels.csv"; do
  [ -e "$needed" ] || { echo "compress.sh: '$needed' is not there" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/seen" "$work/judged"
number=0
while IFS= read -r line; do
  if [ $number -eq 0 ]; then
    echo "$line" >"$work/judged/labels.csv"
  else
    file=${line%%,*}
    if [ $(((number - 1) % 5)) -eq 0 ]; then
      ln -s "$data/images/$file" "$work/seen/$file"
    else
      ln -s "$data/images/$file" "$work/judged/$file"
      echo "$line" >>"$work/judged/labels.csv"
    fi
  fi
  number=$((number + 1))
done <"$data/labels.csv"

# What each row has to reach: KL at most, agreement, top-1 at least, file at most.
declare -A kl=([w8]=0.001 [w4g32]=0.075 [w4g64]=0.09 [w8a8]=0.0025 [w8a8static]=0.01 [w8a8mixed]=0.007 [w4a8]=0.09 [tome29]=0.025 [tome39]=0.07 [w8a8+tome29]=0.03)
declare -A agreement=([w8]=98 [w4g32]=92 [w4g64]=92 [w8a8]=98)
declare -A top1=([tome29]=83 [tome39]=83 [prune10]=80 [prune15]=78 [prune20]=73)
declare -A size=([w4g32]=0.16 [w4g64]=0.152)
value() { sed -n "s/^ *\"$1\": \([0-9.e+-]*\),*\$/\1/p" "$work/out/report.json" | head -n 1; }
percent() { awk -v x="$(value "$1")" 'BEGIN { print 100 * x }'; }

echo '| recipe | KL | at most | same answer % | at least | top-1 % (before) | at least | file | at most | MACs less % | ms here (before) | predicted on the Nano, ms (fp32, fp16) | s |'
echo '|---|---|---|---|---|---|---|---|---|---|---|---|---|'
for recipe in "${recipes[@]}"; do
  start=$(date +%s.%N)
  read -ra words <<<"$recipe"
  seen=(--calibrate "$work/seen")
  [[ $recipe != *--synthetic* ]] || seen=()
  "$vireo" compress --model "$model" --recipe "${words[@]}" "${seen[@]}" --eval "$work/judged" --out "$work/out" --force >/dev/null
  seconds=$(awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { print b - a }')
  printf '| %s | %.2g | %s | %.1f | %s | %.1f (%.1f) | %s | %.3f | %s | %.1f | %.1f (%.1f) | %.1f (%.1f, %.1f) | %.1f |\n' "$recipe" "$(value kl)" "${kl[$recipe]:-}" \
    "$(percent agreement)" "${agreement[$recipe]:-}" "$(percent top1_after)" \
    "$(percent top1_before)" "${top1[$recipe]:-}" "$(value size_ratio)" "${size[$recipe]:-}" "$(awk -v a="$(value macs)" -v b="$(value macs_before)" 'BEGIN { print 100 * (1 - a / b) }')" "$(value ms_after)" "$(value ms_before)" "$(value ms)" \
    "$(value fp32_ms)" "$(value fp16_ms)" "$seconds"
done
