#!/usr/bin/env bash
# Golden instruction counts: what one inference of a tiny ViT costs on one thread, counted by callgrind, must stay within
# 3 % of golden.txt. A kernel that lost its inlining, spills or repeats work shows here, whatever the machine does.
# And what inferences cost on the CPU after a profile must be what they cost without one.
# The SIMD target is pinned: valgrind knows AVX2, not AVX-512. VIREO_UPDATE_GOLDEN=1 writes the counts anew.
set -u
# shellcheck source=tests/script.sh
. "$(dirname "${BASH_SOURCE[0]}")/../script.sh"
here=$VIREO_SOURCE/tests/instructions
golden=$here/golden.txt
tolerance=3

cases="avx2_fp32 avx2_fp16 avx2_int8 sse4_fp32"
give_up() {
  for c in $cases after_profile; do skip "instructions_$c" "$1"; done
  finish
  exit
}
command -v valgrind >/dev/null || give_up "valgrind is not installed"
[ "$(uname -m)" = x86_64 ] || give_up "the counts are those of x86-64, not of $(uname -m)"
grep -qw avx2 /proc/cpuinfo || give_up "this CPU has no AVX2"
compiler=$(sed -n 's/^# compiler: //p' "$golden")
[ "${VIREO_COMPILER:-}" = "$compiler" ] ||
  give_up "the counts are those of $compiler, this build is ${VIREO_COMPILER:-unknown}"

# count <simd> <precision> <inferences>: instructions of the whole program.
count() {
  VIREO_SIMD=$1 valgrind --tool=callgrind --callgrind-out-file=/dev/null "$VIREO_CLI" bench --config "$here/tiny.json" \
    --random-weights 1 --device cpu --threads 1 --precision "$2" --warmup 1 --iters "$3" 2>&1 |
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

for c in $cases; do
  # Loading and leaving cancel out: the difference of two runs is inferences alone.
  one=$(count "${c%_*}" "${c#*_}" 1) five=$(count "${c%_*}" "${c#*_}" 5)
  if [ -z "$one" ] || [ -z "$five" ]; then
    fail "instructions_$c" "valgrind gave no count"
    continue
  fi
  got=$(((five - one) / 4))
  want=$(sed -n "s/^$c //p" "$golden")
  if [ -n "${VIREO_UPDATE_GOLDEN:-}" ]; then
    sed -i "s/^$c .*/$c $got/" "$golden"
    pass "instructions_$c"
  elif [ $((got * 100)) -le $((want * (100 + tolerance))) ] &&
    [ $((got * 100)) -ge $((want * (100 - tolerance))) ]; then
    pass "instructions_$c"
  else
    fail "instructions_$c" "$got an inference, golden $want +- $tolerance %; if that is meant, VIREO_UPDATE_GOLDEN=1"
  fi
  echo "$c: $got instructions an inference (golden $want)"
done

# after <inferences> [profile]: instructions of a program that runs so many, after a profile or without one.
after() {
  VIREO_SIMD=avx2 valgrind --tool=callgrind --callgrind-out-file=/dev/null "$(dirname "$VIREO_CLI")/after_profile" \
    "$VIREO_SOURCE/models/fashion-vit" "$@" 2>&1 | sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}
plain=$(($(after 5) - $(after 1))) profiled=$(($(after 5 profile) - $(after 1 profile)))
if [ "$plain" -gt 0 ] && [ "$profiled" -eq "$plain" ]; then
  pass instructions_after_profile
else
  fail instructions_after_profile "4 inferences took $profiled instructions after a profile, $plain without one"
fi
echo "after_profile: 4 inferences took $profiled instructions after a profile, $plain without one"
finish
