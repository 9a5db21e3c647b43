#!/usr/bin/env bash
# What numbers of fewer bits are worth on this CPU, random weights: times in turns, sizes in memory and on disk.
#   bash bench/numbers.sh speed [path to vireo] [rounds]   w8a8 beside fp32 on AVX2 and on what the CPU has, and int8 products of
#                                                          attention beside fp32 ones; one thread, medians of what each round took
#   bash bench/numbers.sh size [path to vireo]             ViT-B from a folder of fp32 (330 MiB, made here and removed again): the file
#                                                          that compress writes, weights in memory, peak RSS
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
part=${1:-}
vireo=${2:-$root/build/bin/vireo}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

number() { sed -n "s/^ *\"$1\": \([0-9.e+-]*\),*\$/\1/p" <<<"$json"; }
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

speed() {
  local rounds=$1 simd model precision name
  printf 'weights i8\nproducts i8\nattention i8\n' >"$work/attention8"
  echo '| CPU as | model | fp32 ms | w8a8 ms | + int8 attention ms | fp32 / w8a8 | w8a8 / + int8 attention |'
  echo '|---|---|---|---|---|---|---|'
  for simd in avx2 ''; do
    for model in vit-ti vit-s vit-b; do
      rm -f "$work"/*.times
      for _ in $(seq "$rounds"); do
        for precision in fp32 w8a8 "$work/attention8"; do
          json=$(VIREO_SIMD=$simd "$vireo" bench --json --config "$root/models/configs/$model.json" --device cpu --threads 1 \
            --precision "$precision" --warmup 1 --iters 5)
          number median_ms >>"$work/$(basename "$precision").times"
        done
      done
      for name in fp32 w8a8 attention8; do declare "$name=$(median <"$work/$name.times")"; done
      # shellcheck disable=SC2154  # declared by name
      awk -v s="${simd:-all it has}" -v m="$model" -v a="$fp32" -v b="$w8a8" -v c="$attention8" \
        'BEGIN { printf "| %s | %s | %.1f | %.1f | %.1f | %.2f | %.2f |\n", s, m, a, b, c, a / b, b / c }'
    done
  done
}

size() {
  local name bytes before weights folder
  python3 "$root/bench/model_folder.py" "$root/models/configs/vit-b.json" "$work/fp32" --dtype F32
  before=$(wc -c <"$work/fp32/model.safetensors")
  echo '| ViT-B | file MiB | of fp32 | weights in memory MiB | of fp32 | peak RSS MiB | ms |'
  echo '|---|---|---|---|---|---|---|'
  for name in fp32 w8 w8a8 w4g32 w4g64; do
    folder=$work/$name
    # Head and patch embedding have 8 bits in the last two; how codes are rounded is no matter here.
    [ "$name" = fp32 ] ||
      "$vireo" compress --model "$work/fp32" --recipe "$name" --method rtn --out "$folder" >/dev/null
    bytes=$(wc -c <"$folder/model.safetensors")
    for _ in 1 2; do  # the first run fills the page cache
      json=$("$vireo" bench --json --model "$folder" --device cpu --warmup 1 --iters 3)
    done
    [ "$name" != fp32 ] || weights=$(number weights_mib)
    awk -v n="$name" -v f="$bytes" -v b="$before" -v w="$(number weights_mib)" -v v="$weights" -v r="$(number peak_rss_mib)" \
      -v t="$(number median_ms)" \
      'BEGIN { printf "| %s | %.1f | %.3f | %.1f | %.3f | %.1f | %.1f |\n", n, f / 1048576, f / b, w, w / v, r, t }'
    [ "$name" = fp32 ] || rm -rf "$folder"
  done
}

case $part in
  speed) speed "${3:-5}" ;;
  size) size ;;
  *) echo 'numbers.sh: say speed or size' >&2; exit 2 ;;
esac
