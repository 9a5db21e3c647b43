# shellcheck shell=bash disable=SC2034,SC2154  # variables of run.sh
# Sourced by run.sh: the stages of `run.sh ci`, the formatter and clang-tidy.
# A stage is a function ci_NAME that adds its cases with `count` (or through run_ctest) and returns non-zero when something is wrong.

# Above so many runs (case, precision, target), conformance takes a part of them that is chosen by counting
# (tests/support/sample.h): all take 10 minutes of two cores natively; 2 minutes on an emulated CPU.
conformance_runs=4400 qemu_runs=400

ci_default=(format test asan clang novulkan aarch64 qemu)  # what .ci/run runs
ci_all=("${ci_default[@]}" package)

ci_about() {
  case $1 in
    format)   echo "1 every C++ file as clang-format 14 writes it" ;;
    test)     echo "30 build with warnings as errors, every test (the fault stride of fault_tests is one of them)" ;;
    asan)     echo "14 library, units, fuzz corpora and whole models on the CPU under the address and undefined-behaviour sanitizers" ;;
    clang)    echo "4 every C and C++ file through clang -Wall -Wextra -Werror -fsyntax-only" ;;
    novulkan) echo "4 library, tool and units built with VIREO_VULKAN=OFF" ;;
    aarch64)  echo "5 library, tool, and the tests that qemu runs, cross-built for aarch64" ;;
    qemu)     echo "7 what a Cortex-A57 executes for a ViT-Ti, the SIMD tests, conformance in part and the tool on emulated aarch64 CPUs" ;;
    package)  echo "20 packages for aarch64 and amd64, and what they answer on emulated CPUs" ;;
    *) return 1 ;;
  esac
}

# ci [STAGE...]: each stage in a process of its own, so that one that fails does not stop the others. Ends with the sum.
ci() {
  local stage stages=("$@") log code line failures=() p=0 f=0 s=0 start=$SECONDS begun
  [ ${#stages[@]} -gt 0 ] || stages=("${ci_default[@]}")
  [ "${stages[*]}" != all ] || stages=("${ci_all[@]}")
  for stage in "${stages[@]}"; do ci_about "$stage" >/dev/null || die "there is no stage '$stage'; expected all or some of: ${ci_all[*]}"; done
  mkdir -p build/ci
  : >build/ci/table
  for stage in "${stages[@]}"; do
    log=build/ci/$stage.log begun=$SECONDS code=0
    read -r limit about < <(ci_about "$stage")
    say "== $stage: $about"
    bash cmake/run.sh stage "$stage" 2>&1 </dev/null | tee "$log" || code=1
    # A log without such a line is a failure, which the next lines make of it.
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -1 || true)
    # A stage that could not end with its line, or failed although every case passed, is a failure by itself.
    [ -n "$line" ] || line="0 passed, 1 failed, 0 skipped" code=1
    [ "$code" -eq 0 ] || [[ $line != *", 0 failed,"* ]] || line=${line/, 0 failed,/, 1 failed,}
    [[ $line == *", 0 failed,"* ]] || code=1
    [ "$code" -eq 0 ] || failures+=("$stage")
    read -r a _ b _ c _ <<<"$line"
    p=$((p + a)) f=$((f + b)) s=$((s + c))
    printf '%-9s %s of %2d:00   %s\n' "$stage" "$(clock $((SECONDS - begun)))" "$limit" "$line" | tee -a build/ci/table >&2
  done
  printf '\nstages, minutes taken and planned, cases (logs: build/ci/STAGE.log)\n'
  cat build/ci/table
  printf '%-9s %s\n' "in all" "$(clock $((SECONDS - start)))"
  [ ${#failures[@]} -eq 0 ] || echo "failed stages: ${failures[*]}"
  printf '%d passed, %d failed, %d skipped\n' "$p" "$f" "$s"
  [ ${#failures[@]} -eq 0 ]
}
clock() { printf '%2d:%02d' $(($1 / 60)) $(($1 % 60)); }

# stage NAME: one of them, in this process.
stage() {
  local code=0
  with_tests=ON
  "ci_$1" || code=1
  [ "$failed" -eq 0 ] || code=1
  printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  return "$code"
}

# check_case NAME COMMAND...: one case.
check_case() {
  local name=$1
  shift
  if "$@"; then count 1 0 0; else
    say "failed: $name"
    count 0 1 0
  fi
}
skip_case() {
  say "skipped: $1: $2"
  count 0 0 1
}

# ---- format

cpp_files() { find engine apps tests bench include cmake -name 'build*' -prune -o \( -name '*.cpp' -o -name '*.c' -o -name '*.h' -o -name '*.hpp' \) -print | LC_ALL=C sort; }

# format [--check] [FILE...]
format() {
  local check=() files=()
  [ "${1:-}" != --check ] || { check=(--dry-run -Werror); shift; }
  install_packages format
  local formatter=clang-format-14
  "$formatter" --version | grep -q 'version 14\.' || die "the format is that of clang-format 14; $formatter is $("$formatter" --version)"
  if [ $# -gt 0 ]; then files=("$@"); else mapfile -t files < <(cpp_files); fi
  if [ ${#check[@]} -gt 0 ]; then
    printf '%s\0' "${files[@]}" | xargs -0 -n 16 -P "$jobs" "$formatter" "${check[@]}" ||
      { say "'bash cmake/run.sh format' writes these files as they should be"; return 1; }
    say "${#files[@]} files are as clang-format 14 writes them"
  else
    printf '%s\0' "${files[@]}" | xargs -0 -n 16 -P "$jobs" "$formatter" -i
  fi
}
ci_format() { check_case format format --check; }

# ---- the tests

ci_test() {
  # The element for GStreamer is an option; here it is built and tested as well, in a minute.
  install_packages gstreamer
  configure_options+=(-DVIREO_GSTREAMER=ON)
  preset=ci VIREO_CONFORMANCE_RUNS=${VIREO_CONFORMANCE_RUNS:-$conformance_runs} run_tests all
}

# The shader modules are the same in every build: compiled once, in build/.
with_shaders() {
  local preset=ci with_tests=OFF
  if [ -f build/build.ninja ]; then with_tests=$(sed -n 's/^VIREO_BUILD_TESTS:BOOL=//p' build/CMakeCache.txt); fi
  build vireo_shader_modules
  configure_options=(-DVIREO_PRECOMPILED_SPIRV="$root/build/shaders")
}

# ---- sanitizers

# Not here, for their time under the sanitizers: the tool's own tests, conformance, plan goldens, networks on Vulkan.
# The sanitizers keep the system's calls for themselves, so there are no fault loops either; nor VkFaults, where what no
# call can prove to be idle is abandoned, which the sanitizers call a leak; nor cases of the units that repeat for a long
# time what others do once.
asan_not='VkFaults.*:VkInPlace.SameBitsAsCopies:RecomputeMaps.*:Predict.*:ClassMaps.*'
ci_asan() {
  install_packages build run test
  with_shaders
  preset=ci-asan
  build vireo_cli unit_tests model_e2e fuse_equivalence fuzz_targets
  GTEST_FILTER="-$asan_not" run_ctest -R '^(unit_tests|fuse_equivalence|fuzz_)'
  # Without a driver the networks run on the CPU only; in every precision they take as long again as all else of this stage.
  GTEST_FILTER='-*EveryPrecisionAgrees*' VK_DRIVER_FILES=/none VK_ICD_FILENAMES=/none run_ctest -R '^model_e2e'
}

# ---- clang

ci_clang() {
  install_packages build test bench gstreamer clang
  configure_options+=(-DVIREO_GSTREAMER=ON -DCMAKE_DISABLE_PRECOMPILE_HEADERS=OFF)
  preset=clang
  configure
  # One command per source of this tree (not of shaders embedded into a generated one), without the JSON's escapes; the precompiled
  # headers before all others.
  local commands=build-clang/commands errors=0 sources=(engine/*/*.cpp)
  sed -n 's/^ *"command": "\(.*\)",\{0,1\}$/\1/p' build-clang/compile_commands.json | sed 's/\\\(.\)/\1/g' >build-clang/all-commands
  grep ' -x c++-header' build-clang/all-commands >$commands.headers
  grep -v ' -x c++-header\| -c [^ ]*/build-clang/' build-clang/all-commands >$commands
  say "$(wc -l <$commands) files"
  check_case "clang: every file of the engine by itself" test "$(grep -o " -c $root/engine/[^ ]*" $commands | sort -u | wc -l)" -eq ${#sources[@]}
  # shellcheck disable=SC2016  # expanded by the inner shell
  (cd build-clang && xargs -d '\n' -n 1 -P "$jobs" bash -c 'eval "$1" || { echo "failed: a precompiled header"; exit 1; }' _) <$commands.headers || errors=1
  # shellcheck disable=SC2016
  (cd build-clang && xargs -d '\n' -n 1 -P "$jobs" bash -c 'eval "$1 -fsyntax-only" || { echo "failed: ${1##* }"; exit 1; }' _) <$commands || errors=1
  check_case clang test "$errors" -eq 0
}

# ---- without Vulkan

ci_novulkan() {
  install_packages build test
  preset=novulkan
  build vireo_cli unit_tests
  run_ctest -R '^unit_tests'
  check_case "no Vulkan in the library" bash -c '! nm -C build-novulkan/lib/libvireo.a 2>/dev/null | grep -q "vireo::vk::"'
}

# ---- aarch64

# Debian's cross compiler, and the libraries of that architecture that the tool and the tests link. In a process of its own, as
# it ends where a package cannot be had.
aarch64_packages() (
  command -v dpkg >/dev/null || die "no dpkg here"
  if ! dpkg --print-foreign-architectures | grep -qx arm64; then
    as_root dpkg --add-architecture arm64
    as_root apt-get update -qq || die "apt-get update failed"
  fi
  install_packages build aarch64
)

ci_aarch64() {
  if ! aarch64_packages; then
    skip_case aarch64 "the packages of section aarch64 in cmake/packages.txt cannot be had here"
    return 0
  fi
  with_shaders
  preset=aarch64
  build vireo_cli unit_tests ops_conformance
  check_case "the tool is for aarch64" grep -q AArch64 <(readelf -h "$build_dir/bin/vireo")
  check_case "inner loops on a Cortex-A57" bash bench/a57.sh
}

# CPUs to emulate: the Jetson Nano's, and one with all that qemu knows.
ci_qemu() {
  local cpu
  [ -x build-aarch64/bin/ops_conformance ] || ci_aarch64
  [ -x build-aarch64/bin/ops_conformance ] || { skip_case qemu "there is no cross build"; return 0; }
  install_packages qemu
  rm -rf build-aarch64/test-results
  mkdir -p build-aarch64/test-results
  for cpu in cortex-a57 max; do
    emulate "$cpu" unit_tests '*Blocking*:*Simd*:*Half*:AllFinite*:InPlace*:PictureFormats*:*Session*:SharedWeights*:*SharedWeightsOn*:WeightStore*:Fallback*'
    VIREO_CONFORMANCE_RUNS=${VIREO_CONFORMANCE_RUNS:-$qemu_runs} emulate "$cpu" ops_conformance 'Ops/*'
    check_case "classify on $cpu" emulated_classify "$cpu"
  done
  counts_hold
}

# Instructions of a ViT-Ti on a Cortex-A57, within 3 % of the golden file; they are one compiler's.
counts_hold() {
  local code=0
  bash bench/a57_counts.sh --check tests/instructions/a57.txt || code=$?
  if [ "$code" -eq 77 ]; then skip_case "instructions on a Cortex-A57" "the counts are another compiler's"; else
    check_case "instructions on a Cortex-A57" test "$code" -eq 0
  fi
}

# emulate CPU PROGRAM FILTER
emulate() {
  local report=build-aarch64/test-results/$2.$1.xml
  VK_DRIVER_FILES=/none qemu-aarch64-static -cpu "$1" "build-aarch64/bin/$2" --gtest_brief=1 --gtest_filter="$3" \
    --gtest_output="xml:$root/$report" || say "failed: $2 on $1"
  count_report "$2.$1" "$report" "$([ -s "$report" ] && echo run || echo fail)"
}

# The best class of every shipped picture, as the file's name has it.
emulated_classify() {
  local model=models/fashion-vit picture expected answer
  for picture in "$model"/samples/*.png; do
    expected=$(basename "$picture" .png)
    answer=$(qemu-aarch64-static -cpu "$1" build-aarch64/bin/vireo classify --model "$model" --device cpu --topk 1 --json "$picture") || return 1
    answer=$(sed -n 's/.*"label": *"\([^"]*\)".*/\1/p' <<<"$answer" | tr 'A-Z /' 'a-z--')
    [ "${expected#*_}" = "$answer" ] || { say "$picture: '$answer'"; return 1; }
  done
}

# ---- packages

ci_package() {
  package aarch64 --check
  package amd64 --check
}

# ---- clang-tidy (a command, no stage)

# tidy [FILE...]: all sources of engine/ and apps/ when none is named, by the rules of .clang-tidy.
tidy() {
  local files=("$@")
  install_packages build test bench clang tidy
  preset=clang
  configure
  [ ${#files[@]} -gt 0 ] || mapfile -t files < <(cpp_files | grep -E '^(engine|apps)/.*\.cpp$')
  # What this machine lacks the libraries for is not in the build, and would be read without its headers.
  local built=() file
  for file in "${files[@]}"; do
    if grep -qF "\"$root/$file\"" build-clang/compile_commands.json; then built+=("$file")
    elif [ $# -gt 0 ]; then die "tidy: '$file' is no source file that is built here; expected one as git ls-files names it"
    else say "tidy: $file is not built here"; fi
  done
  printf '%s\0' "${built[@]}" | xargs -0 -n 1 -P "$jobs" clang-tidy-14 -quiet -p build-clang --warnings-as-errors='*'
}
