#!/usr/bin/env bash
# How memory grows with tokens: arena, weights and peak RSS of ViT-B/16 (random weights) on the CPU at 197, 577, 1,370 and
# 4,097 tokens (224, 384, 592 and 1024 pixels a side). Attention keeps no N x N matrix, so the arena grows with N.
# Usage: bash bench/memory.sh [path to vireo] [config.json] [precision...]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
vireo=${1:-$root/build/bin/vireo}
config=${2:-$root/tests/golden/configs/vit-b.json}
shift $(($# < 2 ? $# : 2))
[ $# -gt 0 ] || set -- fp32

number() { sed -n "s/^ *\"$1\": \([0-9.e+-]*\),*\$/\1/p" <<<"$json"; }

echo '| tokens | pixels | precision | arena MiB | arena KiB per token | weights MiB | peak RSS MiB | peak RSS / weights |'
echo '|---|---|---|---|---|---|---|---|'
for precision in "$@"; do
  for side in 224 384 592 1024; do
    json=$("$vireo" bench --json --config "$config" --random-weights 1 --size "${side}x$side" --device cpu --threads 2 \
      --precision "$precision" --warmup 1 --iters 1)
    tokens=$(((side / 16) * (side / 16) + 1))
    awk -v t=$tokens -v s="$side" -v p="$precision" -v a="$(number arena_mib)" -v w="$(number weights_mib)" \
      -v r="$(number peak_rss_mib)" \
      'BEGIN { printf "| %d | %dx%d | %s | %.2f | %.1f | %.1f | %.1f | %.3f |\n", t, s, s, p, a, a * 1024 / t, w, r, r / w }'
  done
done
