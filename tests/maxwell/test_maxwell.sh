#!/usr/bin/env bash
# The Nano's kernels as a Maxwell compiler sees them: counts and missed limits of bench/maxwell.sh are those kept in
# tests/golden/maxwell.txt, so that a slip shows in review. VIREO_UPDATE_GOLDEN=1 writes them anew. Skipped without the tool.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../script.sh"

stat=${MAXWELL_STAT:-$VIREO_SOURCE/../shared/maxwell/maxwell-stat}
golden=$VIREO_SOURCE/tests/golden/maxwell.txt
if ! { [ -x "$stat" ] && "$stat" --info; } >/dev/null 2>&1; then
  skip counts "there is no working maxwell-stat at '$stat'"
else
  # Exit code 1 says that a limit is missed; which ones, the counts tell.
  code=0
  bash "$VIREO_SOURCE/bench/maxwell.sh" --stat "$stat" --vireo "$VIREO_CLI" --counts "$work/counts.txt" >/dev/null ||
    code=$?
  check tables test "$code" -le 1
  if [ -n "${VIREO_UPDATE_GOLDEN:-}" ]; then cp "$work/counts.txt" "$golden"; fi
  if [ "$(head -n 1 "$work/counts.txt")" = "$(head -n 1 "$golden")" ]; then
    check counts diff "$golden" "$work/counts.txt"
  else
    skip counts "the counts are of $(head -n 1 "$golden"), the compiler is $(head -n 1 "$work/counts.txt")"
  fi
fi
finish
