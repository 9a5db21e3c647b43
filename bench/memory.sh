#!/usr/bin/env bash
# What ViT-B/16 takes in memory.
#   bash bench/memory.sh [path to vireo]           from a folder on disk (330 MiB of fp32, made here and removed again): peak and what is
#                                                  resident after loading, on the CPU and on lavapipe, in every precision; the load time
#   bash bench/memory.sh tokens [path to vireo] [config.json] [precision...]
#                                                  how it grows with tokens: arena, weights and peak RSS (random weights, CPU) at 197, 577,
#                                                  1,370 and 4,097 tokens (224, 384, 592 and 1024 pixels a side). Attention keeps no N x N
#                                                  matrix, so the arena grows with N.
# Environment: VIREO_BENCH_DTYPE (F32, F16 or BF16: what the folder holds), VIREO_BENCH_SHARDS (how many files).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
config=$root/models/configs/vit-b.json

number() { sed -n "s/^ *\"$1\": \([0-9.e+-]*\),*\$/\1/p" <<<"$json"; }

folder() {
  local vireo=${1:-$root/build/bin/vireo} scratch dtype=${VIREO_BENCH_DTYPE:-F32} device precision bytes
  scratch=$(mktemp -d)
  # shellcheck disable=SC2064  # now, not when it is gone
  trap "rm -rf '$scratch'" EXIT
  python3 "$root/bench/model_folder.py" "$config" "$scratch/vit-b" --dtype "$dtype" --shards "${VIREO_BENCH_SHARDS:-1}"
  bytes=$(cat "$scratch"/vit-b/*.safetensors | wc -c)
  printf 'ViT-B/16 from a folder of %s MiB (%s)\n\n' "$((bytes >> 20))" "$dtype"
  echo '| device | precision | weights MiB | peak RSS MiB | after loading MiB | load ms |'
  echo '|---|---|---|---|---|---|'
  for device in cpu vulkan; do
    for precision in fp32 fp16 int8; do
      # The first run fills the driver's and the page cache.
      for _ in 1 2; do
        json=$("$vireo" bench --json --model "$scratch/vit-b" --device $device --precision $precision --warmup 1 --iters 1) || continue 2
      done
      awk -v d=$device -v p=$precision -v w="$(number weights_mib)" -v r="$(number peak_rss_mib)" -v l="$(number loaded_rss_mib)" \
        -v t="$(number load_ms)" 'BEGIN { printf "| %s | %s | %.1f | %.1f | %.1f | %.0f |\n", d, p, w, r, l, t }'
    done
  done
}

tokens() {
  local vireo=${1:-$root/build/bin/vireo} side tokens precision
  config=${2:-$config}
  shift $(($# < 2 ? $# : 2))
  [ $# -gt 0 ] || set -- fp32
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
}

if [ "${1:-}" = tokens ]; then
  shift
  tokens "$@"
else
  folder "$@"
fi
