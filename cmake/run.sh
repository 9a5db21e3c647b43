#!/usr/bin/env bash
# The one way in: installs what is missing (apt), builds with CMake and Ninja, then does what it was asked.
#   bash cmake/run.sh demo            classify the shipped pictures on the first Vulkan device and on the CPU, segment one
#   bash cmake/run.sh test [fast]     build and run the tests; the last line counts their cases
#   bash cmake/run.sh build           build only; the tool is build/bin/vireo
#   bash cmake/run.sh bench [ARG...]  `vireo bench` with the shipped model, on Vulkan and on the CPU
#   bash cmake/run.sh fuzz MINUTES [TARGET...]  fuzz every reader of strangers' files (tests/fuzz), the time shared evenly;
#                                     exit code 1 when something was found
#   bash cmake/run.sh ci [STAGE...]   what CI runs: format, test, asan, clang, novulkan, aarch64, qemu; also package, all (cmake/ci.sh);
#                                     the last line counts the cases of all stages
#   bash cmake/run.sh format [--check] [FILE...]  clang-format 14 over every C++ file, or over those named
#   bash cmake/run.sh tidy [FILE...]  clang-tidy by the rules of .clang-tidy
#   bash cmake/run.sh package aarch64|amd64 [--check]  a .deb and a .tar.gz that start on glibc 2.27 (cmake/package.sh) in build/package/;
#                                     --check runs them on emulated CPUs
#   bash cmake/run.sh packages [SECTION...]  install packages only: build, run and test, or sections of cmake/packages.txt
# Environment: VIREO_PRESET (a configure preset; default release), VIREO_JOBS (default: all cores).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
jobs=${VIREO_JOBS:-$(nproc)}
preset=${VIREO_PRESET:-release}
preset=${preset:-release}

say() { printf '%s\n' "$*" >&2; }
die() { say "run.sh: $*"; exit 1; }

usage() { sed -n '2,17s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then env DEBIAN_FRONTEND=noninteractive "$@"; return; fi
  command -v sudo >/dev/null || { say "neither root nor sudo is here"; return 1; }
  sudo env DEBIAN_FRONTEND=noninteractive "$@"
}

# The packages of a section of cmake/packages.txt.
packages_of() {
  awk -v wanted="[$1]" '{ sub(/#.*/, "") } /^\[/ { on = ($1 == wanted); known = known || on; next } on && NF { print $1 } END { exit !known }' \
    cmake/packages.txt || die "cmake/packages.txt has no section [$1]"
}

# install_packages SECTION...: the packages of these sections that dpkg does not know as installed. Says how many bytes come.
install_packages() {
  local section wanted=() missing=() have package megabytes
  for section in "$@"; do mapfile -t -O ${#wanted[@]} wanted < <(packages_of "$section"); done
  command -v dpkg-query >/dev/null || { say "no dpkg here: install what cmake/packages.txt names under $* by hand"; return 0; }
  # dpkg-query ends with 1 where it does not know one of them: that one is missing.
  have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n${db:Status-Status} ${Package}:${Architecture}\n' "${wanted[@]}" 2>/dev/null |
    sed -n 's/^installed //p' || true)
  for package in "${wanted[@]}"; do
    grep -qxF "$package" <<<"$have" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null || die "these packages are missing and neither root nor sudo is here: ${missing[*]}"
  say "packages: reading Debian's lists (9 MB where they are not here yet)"
  as_root apt-get update -qq || say "apt-get update failed; trying with the lists at hand"
  local install=(install -y -qq --no-install-recommends "${missing[@]}")
  # For the message alone: the install below is what may fail.
  read -r package megabytes < <(apt-get --print-uris "${install[@]}" 2>/dev/null |
    awk '/^'"'"'/ { n++; bytes += $3 } END { print n + 0, int((bytes + 999999) / 1000000) }') || true
  say "packages: ${missing[*]}"
  say "packages: $package to install with what they need, $megabytes MB to download"
  local begun=$SECONDS
  as_root apt-get "${install[@]}" </dev/null >/dev/null || die "apt-get could not install: ${missing[*]}"
  say "packages: done in $((SECONDS - begun)) s"
}

# What cmake is told beside the preset.
configure_options=()
with_tests=OFF

configure() {
  case $preset in
    release|ci) build_dir=build ;;
    asan-ubsan) build_dir=build-asan ;;
    *) build_dir=build-$preset ;;
  esac
  # ccache keeps its files under HOME; without one it would write to a folder named by chance.
  [ -n "${HOME:-}" ] || export CCACHE_DIR="${CCACHE_DIR:-$root/build/.ccache}"
  cmake --preset "$preset" -DVIREO_BUILD_TESTS="$with_tests" ${configure_options[@]+"${configure_options[@]}"} \
    >"$(log configure)" 2>&1 || { cat "$(log configure)" >&2; die "configuring failed"; }
}

# build [target...]: configures, builds and says how far it is; sets build_dir.
build() {
  configure
  if [ $# -gt 0 ]; then set -- --target "$@"; fi
  local begun=$SECONDS sources
  # For the message alone: where nothing is to be compiled grep counts none and ends with 1.
  sources=$(cmake --build "$build_dir" "$@" -- -n 2>/dev/null | grep -c '^\[.* Building C' || true)
  [ "$sources" -lt 10 ] || say "building: $sources files to compile on $jobs cores"
  cmake --build "$build_dir" -j "$jobs" "$@" | progress || die "the build failed"
  [ $((SECONDS - begun)) -lt 2 ] || say "built in $((SECONDS - begun)) s"
}

# Ninja's "[3/120] Building ..." lines as one line that is rewritten on a terminal, elsewhere as a line for every tenth; what a
# compiler says passes through.
progress() {
  local line begun=$SECONDS tenth=0 now left
  while IFS= read -r line; do
    if [[ $line =~ ^\[([0-9]+)/([0-9]+)\]\ (.*) ]]; then
      local done=${BASH_REMATCH[1]} all=${BASH_REMATCH[2]} took=$((SECONDS - begun))
      now=$((done * 10 / all)) left=""
      [ "$done" -lt 10 ] || [ "$took" -lt 5 ] || left=", about $(((took * (all - done) / done + 4) / 5 * 5)) s left"
      if [ -t 2 ]; then
        printf '\r\033[Kbuilding: %d of %d%s' "$done" "$all" "$left" >&2
      elif [ "$all" -ge 10 ] && [ "$now" -gt "$tenth" ]; then
        say "building: $done of $all$left"
      fi
      tenth=$now
    elif [[ $line != "ninja: no work to do." && $line != "ninja: Entering"* ]]; then
      printf '%s\n' "$line" >&2
    fi
  done
  [ ! -t 2 ] || printf '\r\033[K' >&2
}
log() { mkdir -p build; echo "build/$1.log"; }

# A machine without any Vulkan device still has the CPU; vireo has said what is missing.
without_vulkan() { [ "$1" = vulkan ] && say "going on with the CPU"; }

demo() {
  local model=models/fashion-vit device
  say "demo: first the tool is compiled: 3 to 4 minutes on two cores the first time"
  # A first answer comes sooner with the kernels of this processor alone. A build of all of them stays what it is.
  grep -qs '^VIREO_SIMD_HOST:BOOL=OFF' build/CMakeCache.txt || configure_options+=(-DVIREO_SIMD_HOST=ON)
  build vireo_cli
  [ -f "$model/model.safetensors" ] || die "$model/model.safetensors is missing from this checkout"
  say "demo: ten pictures on the first Vulkan device, then on the CPU. A Vulkan driver compiles the shaders for its device before the"
  say "demo: first answer, which takes seconds; the result is kept (VIREO_CACHE_DIR, else ~/.cache/vireo), so that later runs do not wait"
  for device in vulkan cpu; do
    printf '\n== %s ==\n' "$([ $device = vulkan ] && echo 'first Vulkan device' || echo CPU)"
    "$build_dir/bin/vireo" classify --model "$model" --device "$device" --topk 5 "$model"/samples/*.png || without_vulkan $device
  done
  demo_overlay
  cat <<TEXT

Your own model: a Hugging Face or timm folder (config.json, model.safetensors) and any pictures:
  $build_dir/bin/vireo classify --model PATH/TO/FOLDER photo.jpg
  $build_dir/bin/vireo bench    --model PATH/TO/FOLDER --precision fp16
  $build_dir/bin/vireo --help
TEXT
}

# One picture in the colours of its classes.
demo_overlay() {
  local model=models/disaster-upernet picture=0018
  [ -f "$model/model.safetensors" ] || die "$model/model.safetensors is missing from this checkout"
  printf '\n== every pixel of a picture ==\n'
  "$build_dir/bin/vireo" segment --model "$model" --overlay --out-dir "$build_dir/demo" "$model/samples/images/$picture.jpg" ||
    die "no overlay was made"
  printf '\nThe picture in the colours of its classes: %s\n' "$build_dir/demo/$picture.overlay.png"
}

passed=0 failed=0 skipped=0
count() { passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3)); }

# count_report ENTRY REPORT STATUS: GoogleTest's XML, a script's case file, or (no report) the entry itself as one case.
count_report() {
  local entry=$1 report=$2 status=$3 p=0 f=0 s=0
  if [ -s "$report" ] && [[ $report == *.xml ]]; then
    read -r p f s < <(awk '
      /<testcase / { if (open) done_case(); open = 1; bad = 0; skip = /result="skipped"/; off = /status="notrun"/ }
      /<failure/ { bad = 1 }
      function done_case() { if (off) return; if (bad) f++; else if (skip) s++; else p++ }
      END { if (open) done_case(); print p + 0, f + 0, s + 0 }' "$report")
  elif [ -s "$report" ]; then
    # grep -c ends with 1 where it counts none, which is no failure here.
    p=$(grep -c '^pass ' "$report" || true)
    f=$(grep -c '^fail ' "$report" || true)
    s=$(grep -c '^skip ' "$report" || true)
  elif [ "$status" = run ]; then
    p=1
  fi
  # An entry that died after (or before) its last report, or could not start, is a failure by itself.
  if [ "$status" != run ] && [ "$f" -eq 0 ]; then f=1; fi
  [ "$f" -eq 0 ] || printf 'failed: %s\n' "$entry"
  count "$p" "$f" "$s"
}

# run_ctest OPTION...: runs the entries that they choose in $build_dir and counts the cases of each.
run_ctest() {
  local results=$build_dir/test-results entry status report before=$failed code=0
  rm -rf "$results"
  mkdir -p "$results"
  ctest --test-dir "$build_dir" --output-on-failure -j "$jobs" --output-junit "$root/$results/ctest.xml" "$@" </dev/null || code=$?
  [ -s "$results/ctest.xml" ] || die "ctest wrote no result"
  list_skipped "$results"
  while IFS=$'\t' read -r entry status; do
    report=$results/$entry.xml
    [ -s "$report" ] || report=$results/$entry.cases
    count_report "$entry" "$report" "$status"
  done < <(sed -n 's/.*<testcase name="\([^"]*\)".* status="\([^"]*\)".*/\1\t\2/p' "$results/ctest.xml")
  [ "$code" -eq 0 ] || [ "$failed" -gt "$before" ] || count 0 1 0
}

run_tests() {
  local select=() scope=${1:-all}
  case $scope in
    all) ;;
    fast) select=(-LE slow) ;;
    *) die "test takes 'fast' or nothing, not '$scope'" ;;
  esac
  with_tests=ON
  build
  run_ctest ${select[@]+"${select[@]}"}
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# Every skipped case with its reason: a skip must not look like a pass.
list_skipped() {
  local file
  for file in "$1"/*.cases; do
    [ -f "$file" ] && sed -n 's/^skip /skipped: /p' "$file"
  done
  for file in "$1"/*.xml; do
    [ "${file##*/}" = ctest.xml ] || awk '
      function attr(name) { return match($0, " " name "=\"[^\"]*\"") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4) : "" }
      /<testcase / { id = attr("classname") "." attr("name") }
      /<skipped message=/ { why = attr("message"); sub(/^[^&]*&#x0A;/, "", why); gsub(/&#x0A;/, " ", why); gsub(/&apos;/, "\047", why);
        gsub(/&quot;/, "\"", why); print "skipped: " id ": " why }' "$file"
  done
  return 0
}

bench() {
  local device
  build vireo_cli
  for device in vulkan cpu; do
    "$build_dir/bin/vireo" bench --model models/fashion-vit --device "$device" "$@" || without_vulkan $device
  done
}

# The most bytes worth trying: files beyond that only make a step slow.
fuzz_length() {
  case $1 in
    fuzz_image) echo 65536 ;;
    fuzz_capture|fuzz_profile|fuzz_shader) echo 16384 ;;
    fuzz_config|fuzz_safetensors) echo 8192 ;;
    *) echo 4096 ;;
  esac
}

# fuzz_one TARGET SECONDS: runs it from the inputs kept in the tree, again after each finding while time is left, and writes
# a line to its folder's summary. What it learns stays in build-fuzz/fuzz/TARGET/corpus for the next time.
fuzz_one() {
  local target=$1 seconds=$2 work=$build_dir/fuzz/$1 end left runs=0 n coverage features round=0 dict=() file
  mkdir -p "$work/corpus" "$work/found"
  : >"$work/log"
  for file in "$work/found"/*; do  # of earlier runs: what is fixed goes
    [ ! -f "$file" ] || ! "$build_dir/bin/$target" "$file" >/dev/null 2>&1 || rm "$file"
  done
  [ ! -f "tests/fuzz/dict/$target.dict" ] || dict=("-dict=tests/fuzz/dict/$target.dict")
  end=$((SECONDS + seconds))
  while left=$((end - SECONDS)); [ "$left" -gt 0 ] && [ "$round" -lt 20 ]; do
    round=$((round + 1))
    "$build_dir/bin/$target" "$work/corpus" "tests/fuzz/corpus/$target" "${dict[@]}" -max_total_time="$left" \
      -max_len="$(fuzz_length "$target")" -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 \
      -artifact_prefix="$work/found/" >"$work/round" 2>&1 && left=0
    cat "$work/round" >>"$work/log"
    n=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/round" | tail -1)
    runs=$((runs + ${n:-0}))
    [ "$left" -ne 0 ] || break
  done
  read -r coverage features < <(sed -n 's/^#[0-9]*.* cov: \([0-9]*\) ft: \([0-9]*\) .*/\1 \2/p' "$work/log" | sort -n | tail -1) || true
  printf '%s %s %s %s %s %s\n' "$target" "$runs" "${coverage:-0}" "${features:-0}" "$(find "$work/corpus" -type f | wc -l)" \
    "$(find "$work/found" -type f | wc -l)" >"$work/summary"
}

fuzz() {
  local minutes=${1:-} targets=() target seconds found=0 file runs=0 line=()
  [[ $minutes =~ ^[1-9][0-9]*$ ]] || die "fuzz takes a number of minutes, for all targets together, not '$minutes'"
  shift
  preset=fuzz
  build fuzz_targets
  for file in tests/fuzz/fuzz_*.cpp; do
    target=$(basename "$file" .cpp)
    [ $# -eq 0 ] || [[ " $* " == *" $target "* ]] || [[ " $* " == *" ${target#fuzz_} "* ]] || continue
    [ -x "$build_dir/bin/$target" ] && targets+=("$target")
  done
  [ ${#targets[@]} -gt 0 ] || die "there is no target '$*'; tests/fuzz has them"
  [ "$jobs" -le ${#targets[@]} ] || jobs=${#targets[@]}
  seconds=$((minutes * 60 * jobs / ${#targets[@]}))
  say "fuzzing ${#targets[@]} targets, $seconds seconds each, $jobs at a time"
  for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
    fuzz_one "$target" "$seconds" &
  done
  wait
  printf '%-20s %12s %9s %9s %7s %9s\n' target executions coverage features inputs findings
  for target in "${targets[@]}"; do
    read -ra line <"$build_dir/fuzz/$target/summary"
    printf '%-20s %12s %9s %9s %7s %9s\n' "${line[@]}"
    runs=$((runs + line[1]))
    for file in "$build_dir/fuzz/$target/found"/*; do
      [ -f "$file" ] || continue
      found=$((found + 1))
      say "found: $build_dir/bin/$target $file"
    done
  done
  echo "$runs executions, $found findings"
  [ "$found" -eq 0 ] || {
    say "each line above replays one; '-minimize_crash=1 -runs=100000' before the file makes it smaller. Once fixed, keep it in tests/fuzz/corpus/TARGET/"
    return 1
  }
}

# shellcheck source=cmake/ci.sh
. cmake/ci.sh
# shellcheck source=cmake/package.sh
. cmake/package.sh

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  demo)     install_packages build run; demo ;;
  test)     install_packages build run test
            code=0
            run_tests "$@" || code=1
            printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
            exit "$code" ;;
  build)    install_packages build; build ;;
  bench)    install_packages build run; bench "$@" ;;
  fuzz)     install_packages build clang fuzz; fuzz "$@" ;;
  ci)       ci "$@" ;;
  stage)    stage "$@" ;;  # one of them without the table; `ci` calls it
  format)   format "$@" ;;
  tidy)     tidy "$@" ;;
  package)  package "$@"
            printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
            [ "$failed" -eq 0 ] ;;
  packages) [ $# -gt 0 ] || set -- build run test; install_packages "$@" ;;
  -h|--help|help) usage ;;
  *) usage >&2; exit 2 ;;
esac
