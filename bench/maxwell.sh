#!/usr/bin/env bash
# What a Maxwell compiler makes of the shaders of ViT-Ti, -S and -B on a Jetson Nano's plan: one table per model and
# precision, each limit as PASS or MISS. Nothing is executed: every time is computed from instruction counts, none was
# measured on a board.
# Usage: bash bench/maxwell.sh [--stat PATH] [--vireo PATH] [--models "vit-ti vit-s"] [--precisions "fp32"] [--counts FILE]
#   --stat   maxwell-stat; default: $MAXWELL_STAT, else shared/maxwell/maxwell-stat beside the repository
#   --vireo  the command line tool; default: build/bin/vireo
#   --counts also writes the compiler's version and one line of counts per pipeline, as in tests/golden/maxwell.txt
# Exit code: 0 every limit holds, 1 a limit is missed, 2 something is missing or failed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
stat=${MAXWELL_STAT:-$root/../shared/maxwell/maxwell-stat}
vireo=$root/build/bin/vireo
models='vit-ti vit-s vit-b'
precisions='fp32 fp16 int8'
counts=''
die() { printf 'maxwell.sh: %s\n' "$*" >&2; exit 2; }

while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || die "'$1' needs a value; known: --stat --vireo --models --precisions --counts"
  case $1 in
    --stat) stat=$2 ;;
    --vireo) vireo=$2 ;;
    --models) models=$2 ;;
    --precisions) precisions=$2 ;;
    --counts) counts=$2 ;;
    *) die "unknown argument '$1'; known: --stat --vireo --models --precisions --counts" ;;
  esac
  shift 2
done
[ -x "$stat" ] || die "there is no maxwell-stat at '$stat'; set MAXWELL_STAT or give --stat PATH"
[ -x "$vireo" ] || die "there is no vireo at '$vireo'; build it or give --vireo PATH"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for model in $models; do
  for precision in $precisions; do
    case $precision in
      fp32 | fp16 | int8) numbers=$precision ;;
      *) numbers=$work/$precision.policy && printf 'activations auto\nweights %s\n' "$precision" >"$numbers" ;;  # a format of weights, such as i4g32
    esac
    "$vireo" plan --caps "$root/engine/profile/caps/jetson-nano.txt" --config "$root/models/configs/$model.json" \
      --random-weights 1 --precision "$numbers" --dump-shaders "$work/$model.$precision" >/dev/null ||
      die "no plan of $model in $precision"
  done
done
/usr/bin/python3 "$root/bench/maxwell.py" "$stat" "$work" "$models" "$precisions" "$counts"
