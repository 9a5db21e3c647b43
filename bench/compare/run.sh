#!/usr/bin/env bash
# Vireo beside ONNX Runtime on the CPU: same weights, same input, run in turns. `bash bench/compare/run.sh --help` lists
# the options; README.md beside this file says what it needs and how to read it.
# Environment: VIREO_BUILD (build folder, default build), VIREO_COMPARE_WORK (packages and models, default under it),
# VIREO_PYTHON (a Python with torch and onnx, default the system's).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${VIREO_BUILD:-$root/build}
work=${VIREO_COMPARE_WORK:-$build/compare}
python=${VIREO_PYTHON:-/usr/bin/python3}
ort=onnxruntime-node@1.30

say() { printf '%s\n' "$*" >&2; }
die() { say "compare: $*"; exit 1; }

case " $* " in
  *" --help "*|*" -h "*) exec "$python" "$here/compare.py" --help ;;
esac

command -v node >/dev/null && command -v npm >/dev/null || die "needs node and npm (see $here/README.md)"
"$python" -c 'import torch, onnx' 2>/dev/null || die "needs python3-torch and python3-onnx (see $here/README.md)"

mkdir -p "$work"
if [ ! -f "$build/CMakeCache.txt" ]; then
  cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DVIREO_BUILD_BENCH=ON >&2
elif ! grep -q '^VIREO_BUILD_BENCH:BOOL=ON' "$build/CMakeCache.txt"; then
  cmake -S "$root" -B "$build" -DVIREO_BUILD_BENCH=ON >&2
fi
cmake --build "$build" --target compare_server vireo_cli >&2
if [ ! -d "$work/node_modules/onnxruntime-node" ]; then
  say "installing $ort into $work"
  # Its install script would fetch GPU libraries; the CPU ones are in the package.
  (cd "$work" && { [ -f package.json ] || echo '{"private": true}' >package.json; } &&
    npm install --ignore-scripts --no-audit --no-fund --loglevel=error "$ort" >&2) || die "npm could not install $ort"
fi
exec "$python" "$here/compare.py" --work "$work" --modules "$work/node_modules" \
  --server "$build/bin/compare_server" --vireo "$build/bin/vireo" "$@"
