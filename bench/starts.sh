#!/usr/bin/env bash
# How long a process takes to its first answer, from a folder on disk (random weights, made here and removed again).
#   bash bench/starts.sh [path to vireo] [STARTS]   DeiT-S and ViT-B on the CPU, DeiT-S on the first Vulkan device: two starts that fill
#                                                   the caches, then the best of 5 (STARTS)
# A start is loading (reading, packing, on Vulkan also the instance, the device and its pipelines) and the first inference. `driver`
# is what `vireo devices` takes as a process: the driver's instance without a device, an underestimate of what is the driver's own.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
vireo=${1:-$root/build/bin/vireo} turns=${2:-5}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export VIREO_CACHE_DIR=$scratch/cache

number() { sed -n "s/^ *\"$1\": \([0-9.e+-]*\),*\$/\1/p" <<<"$json"; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }

for model in vit-s vit-b; do python3 "$root/bench/model_folder.py" "$root/models/configs/$model.json" "$scratch/$model" >/dev/null; done
echo '| model | device | precision | loading ms | first ms | together | steady ms | driver ms | start / steady, without the driver |'
echo '|---|---|---|---|---|---|---|---|---|'
while read -r model device precision; do
  # The first start fills the caches of the driver, of Vireo and of the system.
  for _ in 1 2; do
    json=$("$vireo" bench --json --model "$scratch/$model" --device "$device" --precision "$precision" --warmup 0 --iters 1) || continue 2
  done
  for ((turn = 0; turn < turns; ++turn)); do
    json=$("$vireo" bench --json --model "$scratch/$model" --device "$device" --precision "$precision" --warmup 1 --iters 8)
    begun=$(now_ms)
    [ "$device" = cpu ] || "$vireo" devices >/dev/null
    echo "$(number load_ms) $(number first_ms) $(number median_ms) $([ "$device" = cpu ] && echo 0 || echo $(($(now_ms) - begun)))"
  done | awk -v m="$model" -v d="$device" -v p="$precision" '
    NR == 1 || $1 + $2 < load + first { load = $1; first = $2; driver = $4 }
    NR == 1 || $3 < steady { steady = $3 }
    END { if (NR == 0) exit 1; printf "| %s | %s | %s | %.0f | %.0f | %.0f | %.1f | %d | %.2f |\n", m, d, p, load, first, load + first, steady, driver,
      (load + first - driver) / steady }'
done <<'ROWS'
vit-s cpu fp32
vit-s cpu fp16
vit-s cpu w8a8
vit-b cpu fp32
vit-b cpu fp16
vit-b cpu w8a8
vit-s vulkan fp32
ROWS
