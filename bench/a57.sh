#!/usr/bin/env bash
# What a Cortex-A57 (the Jetson Nano's CPU) makes of the SIMD kernels' inner loops: multiplications, cycles by llvm-mca's model of that
# CPU, spills; each limit as PASS or MISS. Nothing is executed: no time here was measured on a board.
# Usage: bash bench/a57.sh [--mca PATH] [--json FILE]
#   --mca    llvm-mca; default: the one on PATH (Debian's package llvm)
#   --json   also writes the rows there
# Needs Debian's cross compiler (g++-aarch64-linux-gnu). Exit code: 0 every limit holds, 1 one is missed, 2 something is missing or failed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mca=llvm-mca
arguments=()
die() { printf 'a57.sh: %s\n' "$*" >&2; exit 2; }
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || die "'$1' needs a value; known: --mca --json"
  case $1 in
    --mca) mca=$2 ;;
    --json) arguments+=(--json "$2") ;;
    *) die "unknown argument '$1'; known: --mca --json" ;;
  esac
  shift 2
done
command -v "$mca" >/dev/null || die "there is no '$mca'; install Debian's llvm or give --mca PATH"
command -v aarch64-linux-gnu-g++ >/dev/null || die "there is no aarch64-linux-gnu-g++; install Debian's g++-aarch64-linux-gnu"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# As a release is compiled. Only configured: the script runs the commands of the files that it looks at, to assembly.
cmake -S "$root" -B "$work" -G Ninja --toolchain "$root/cmake/aarch64.cmake" -DCMAKE_BUILD_TYPE=Release -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
  -DVIREO_VULKAN=OFF -DVIREO_BUILD_APPS=OFF -DVIREO_BUILD_TESTS=OFF >"$work/log" 2>&1 || { cat "$work/log" >&2; die "cmake could not configure the cross build"; }
code=0
python3 "$root/bench/a57.py" --build "$work" --mca "$mca" ${arguments[@]+"${arguments[@]}"} || code=$?
[ "$code" -le 1 ] || die "the assembly could not be looked at"
exit "$code"
