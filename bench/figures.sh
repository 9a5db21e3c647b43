#!/usr/bin/env bash
# The first table of bench/README.md: `vireo bench` with random weights at 224x224, batch 1, two threads, on the CPU and on the
# first Vulkan device, one Markdown row each. Usage: bash bench/figures.sh [path to vireo]; keep the machine quiet meanwhile.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
vireo=${1:-$root/build/bin/vireo}

number() { sed -n "s/^ *\"$1\": \([0-9.e+-]*\),*\$/\1/p" <<<"$json"; }

echo '| model (random weights, 224x224, batch 1, 2 threads) | device | precision | median ms | peak RSS MiB | arena MiB | weights MiB | dispatches |'
echo '|---|---|---|---|---|---|---|---|'
for model in vit-b:ViT-B/16 vit-s:DeiT-S/16 vit-ti:DeiT-Ti/16; do
  for device in cpu vulkan; do
    for precision in fp32 fp16 int8; do
      if [ $device = cpu ]; then runs=(--warmup 3 --iters 15); else runs=(--warmup 1 --iters 5); fi
      json=$("$vireo" bench --json --config "$root/models/configs/${model%%:*}.json" --random-weights 1 --threads 2 \
        --device $device --precision $precision "${runs[@]}")
      printf '| %s | %s | %s | %.1f | %.0f | %.1f | %.1f | %s |\n' "${model#*:}" $device $precision "$(number median_ms)" "$(number peak_rss_mib)" \
        "$(number arena_mib)" "$(number weights_mib)" "$(number dispatches)"
    done
  done
done
