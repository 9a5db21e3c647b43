#!/usr/bin/env bash
# The Nano's kernels as a Maxwell compiler sees them: counts and missed limits of bench/maxwell.sh are those kept in
# tests/golden/maxwell.txt (ViT) and maxwell-upernet.txt (UPerNet+MobileViT-S at 512), so that a slip shows in review.
# VIREO_UPDATE_GOLDEN=1 writes them anew. Skipped without the tool.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../script.sh"

stat=${MAXWELL_STAT:-$VIREO_SOURCE/../shared/maxwell/maxwell-stat}

# counts NAME GOLDEN [ARGS of bench/maxwell.sh]
counts() {
  local name=$1 golden=$VIREO_SOURCE/tests/golden/$2 found=$work/$2 code=0
  shift 2
  # Exit code 1 says that a limit is missed; which ones, the counts tell.
  bash "$VIREO_SOURCE/bench/maxwell.sh" --stat "$stat" --vireo "$VIREO_CLI" --counts "$found" "$@" >/dev/null || code=$?
  check "$name.tables" test "$code" -le 1
  if [ -n "${VIREO_UPDATE_GOLDEN:-}" ]; then cp "$found" "$golden"; fi
  if [ "$(head -n 1 "$found")" = "$(head -n 1 "$golden")" ]; then
    check "$name.counts" diff "$golden" "$found"
  else
    skip "$name.counts" "the counts are of $(head -n 1 "$golden"), the compiler is $(head -n 1 "$found")"
  fi
}

if ! { [ -x "$stat" ] && "$stat" --info; } >/dev/null 2>&1; then
  skip counts "there is no working maxwell-stat at '$stat'"
else
  counts vit maxwell.txt
  counts upernet maxwell-upernet.txt --models paper-upernet-mobilevit-s --precisions "fp32 fp16 int8"
fi
finish
