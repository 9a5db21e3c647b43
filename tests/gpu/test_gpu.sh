#!/usr/bin/env bash
# bench/gpu.py, which reports on a machine with a real GPU, without one: see test_gpu.py.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../script.sh"

if ! command -v python3 >/dev/null; then
  skip gpu_report "there is no python3"
else
  code=0
  VIREO_SOURCE=$VIREO_SOURCE python3 -B "$VIREO_SOURCE/tests/gpu/test_gpu.py" -v >"$work/gpu.log" 2>&1 || code=$?
  while read -r name result; do
    if [ "$result" = ok ]; then pass "$name"; else fail "$name" "$result"; fi
  done < <(sed -n 's/^\(test_[a-z0-9_]*\) .* \.\.\. \(.*\)$/\1 \2/p' "$work/gpu.log")
  if [ "$code" -ne 0 ]; then tail -n 60 "$work/gpu.log"; fi
  check "gpu_report.ends" test "$code" -eq 0
fi
finish
