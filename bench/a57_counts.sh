#!/usr/bin/env bash
# What a Cortex-A57 executes for one inference of a ViT-Ti: instructions by kind, counted by a plugin of qemu's, with one thread. Without
# --tool in a program of the kernels that a plan calls (bench/a57_vit.cpp), which is built here as a release is; with it in the tool, with
# its graph and random weights. Counts, not times.
# Usage: bash bench/a57_counts.sh [--tool PATH] [--qemu PATH] [--precision NAME]... [--check FILE]
#   --tool       an aarch64 tool (`bash cmake/run.sh ci aarch64` builds build-aarch64/bin/vireo, with -O1)
#   --qemu       qemu-aarch64 with plugins; default: the one on PATH (Debian's package qemu-user; the static one has none)
#   --precision  default: fp32 and w8a8
#   --check      compares with the rows of that file (tests/instructions/a57.txt): 1 where a kind that matters is 3 % off
# Exit code: 0 done, 1 a count is off, 2 something is missing or failed, 77 the file's counts are another compiler's.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tool='' qemu=qemu-aarch64 check='' precisions=()
die() { printf 'a57_counts.sh: %s\n' "$*" >&2; exit 2; }
# shellcheck source=bench/a57_build.sh
. "$root/bench/a57_build.sh"
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || die "'$1' needs a value; known: --tool --qemu --precision --check"
  case $1 in
    --tool) tool=$2 ;;
    --qemu) qemu=$2 ;;
    --precision) precisions+=("$2") ;;
    --check) check=$2 ;;
    *) die "unknown argument '$1'; known: --tool --qemu --precision --check" ;;
  esac
  shift 2
done
[ ${#precisions[@]} -gt 0 ] || precisions=(fp32 w8a8)
[ -z "$tool" ] || [ -x "$tool" ] || die "there is no '$tool'; 'bash cmake/run.sh ci aarch64' builds one"
[ -z "$check" ] || [ -f "$check" ] || die "there is no '$check'"
command -v "$qemu" >/dev/null || die "there is no '$qemu'; install Debian's qemu-user or give --qemu PATH"
compiler=$(aarch64-linux-gnu-g++ -dumpversion 2>/dev/null || echo unknown)
if [ -n "$check" ] && [ "$(sed -n 's/^# compiler //p' "$check")" != "$compiler" ]; then
  echo "a57_counts.sh: the counts of $check are those of GCC $(sed -n 's/^# compiler //p' "$check"), and here is $compiler" >&2
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
a57_plugin a57_counts "$work"
[ -n "$tool" ] || a57_build a57_vit "$work"

# counted PRECISION INFERENCES: "kind number" of a whole run.
counted() {
  local command=("$work/a57_vit" "$1" "$2")
  [ -z "$tool" ] || command=("$tool" bench --device cpu --threads 1 --config "$root/models/configs/vit-ti.json" --precision "$1" --warmup 0 --iters "$2")
  VK_DRIVER_FILES=/none "$qemu" -cpu cortex-a57 -d plugin -D "$work/log" -plugin "$work/a57_counts.so" "${command[@]}" >"$work/out" 2>&1 ||
    { cat "$work/out" >&2; die "'${command[0]}' failed under $qemu"; }
  awk '$1 == "count" { n[$2] += $3 } END { for (k in n) print k, n[k] }' "$work/log" | sort
}

echo "# compiler $compiler"
for precision in "${precisions[@]}"; do
  counted "$precision" 1 >"$work/one"
  counted "$precision" 2 >"$work/two"
  [ -s "$work/one" ] || die "'$qemu' gave no counts: its plugins are off"
  join "$work/one" "$work/two" | awk -v p="$precision" '{ n = $3 - $2; all += n; printf "%s %s %.0f\n", p, $1, n } END { printf "%s all %.0f\n", p, all }'
done | tee "$work/rows"
[ -n "$check" ] || exit 0
# Kinds of a hundredth of all may differ as they like.
awk 'FNR == NR { if ($1 != "#") { was[$1 " " $2] = $3 } next }
  { seen++; key = $1 " " $2; if (!(key in was)) { print "not in the file: " key; bad = 1; next }
    big = was[$1 " all"] / 100; off = $3 - was[key]; if (off < 0) off = -off
    if (off > 0.03 * was[key] && off > big) { printf "%s: %.0f, expected %.0f within 3 %%\n", key, $3, was[key]; bad = 1 } }
  END { exit bad || seen == 0 }' "$check" "$work/rows" >&2
