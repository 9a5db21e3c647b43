#!/usr/bin/env bash
# What CPU kernels miss in caches like a Cortex-A57's, with the groups of large caches and with those that it gets (engine/simd/blocking.h):
# loads and stores, misses of the first cache and of a core's share of the second, counted by a plugin of qemu's in the kernels as they are
# cross-compiled. Counts, not times.
# Usage: bash bench/a57_caches.sh
# Needs Debian's g++-aarch64-linux-gnu and qemu-user. Exit code: 0 done, 2 something is missing or failed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
die() { printf 'a57_caches.sh: %s\n' "$*" >&2; exit 2; }
[ $# -eq 0 ] || die "it takes no arguments"
command -v qemu-aarch64 >/dev/null || die "there is no qemu-aarch64; install Debian's qemu-user"
# shellcheck source=bench/a57_build.sh
. "$root/bench/a57_build.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
a57_plugin a57_caches "$work"
a57_build a57_caches "$work"
program=$work/a57_caches
printf '%-32s %22s %22s %22s\n' "a quarter of" "loads, stores (1000)" "missed the first" "missed both"
while read -r what m n k; do
  for caches in "0 0" "32768 524288"; do
    # shellcheck disable=SC2086  # two words
    qemu-aarch64 -cpu cortex-a57 -d plugin -D "$work/counts" -plugin "$work/a57_caches.so" "$program" "$what" "$m" "$n" "$k" 4 $caches ||
      die "$what failed under qemu"
    grep '^caches' "$work/counts"
  done | awk -v name="$what $m x $n x $k" '{ for (i = 2; i <= 4; i++) v[NR, i] = $i / 1000 }
    END { printf "%-32s", name; for (i = 2; i <= 4; i++) printf " %9.0f -> %9.0f", v[1, i], v[2, i]; print "" }'
done <<'KERNELS'
gemm 197 576 192
gemm 197 3072 768
gemm 197 768 3072
gemm 577 3072 768
attention 197 12 64
attention 1025 2 64
conv 64 64 64
conv 32 256 256
winograd 64 64 64
winograd 32 256 256
KERNELS
