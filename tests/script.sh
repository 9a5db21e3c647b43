# Sourced by the script tests: one line per case in $VIREO_RESULTS, and the exit code.
: "${VIREO_RESULTS:?}" "${VIREO_SOURCE:?}" "${VIREO_BUILD:?}" "${VIREO_CLI:?}"
mkdir -p "$(dirname "$VIREO_RESULTS")"
: >"$VIREO_RESULTS"
failures=0
work=$(mktemp -d "$VIREO_BUILD/test-script.XXXXXX")
trap 'chmod -R u+rwX "$work" 2>/dev/null; rm -rf "$work"' EXIT

pass() { printf 'pass %s\n' "$1" >>"$VIREO_RESULTS"; }
skip() { printf 'skip %s: %s\n' "$1" "$2" | tee -a "$VIREO_RESULTS"; }
fail() {
  failures=$((failures + 1))
  printf 'fail %s: %s\n' "$1" "$2" | tee -a "$VIREO_RESULTS"
}
# check <case> <command...>: passes when the command succeeds; its output is shown when it does not.
check() {
  local name=$1
  shift
  if "$@" >"$work/check.log" 2>&1; then
    pass "$name"
  else
    fail "$name" "'$*' failed"
    tail -n 40 "$work/check.log"
  fi
}
finish() { [ "$failures" -eq 0 ]; }
