# shellcheck shell=bash disable=SC2154  # variables of run.sh and package.sh
# Sourced by package.sh: what is tested of a package. Cases are counted as those of tests are (ci.sh, check_case).

# ---- what it binds

# check_bindings: nothing in the package asks for more than glibc $newest_glibc, a Vulkan loader not even by name.
check_bindings() {
  local binary archive names=(bin/vireo "lib/libvireo.so.$version" lib/libvireo.a include/vireo/vireo.hpp include/vireo/vireo.h
    lib/cmake/vireo/vireoConfig.cmake lib/pkgconfig/vireo.pc share/vireo/caps/jetson-nano.txt share/vireo/models/configs/vit-ti.json
    share/vireo/models/fashion-vit/model.safetensors share/vireo/models/disaster-upernet/model.safetensors
    share/vireo/examples/classify.cpp share/doc/vireo/copyright share/doc/vireo/licences/libjpeg62-turbo.txt)
  for binary in "$stage/usr/bin/vireo" "$stage/usr/lib/libvireo.so.$version"; do
    check_case "$binary binds no symbol newer than glibc $newest_glibc, and no libstdc++" binds_old_symbols "$binary"
    check_case "$binary needs glibc only" needs_glibc_only "$binary"
  done
  check_case "libvireo.so exports Vireo and nothing else" exports_vireo "$stage/usr/lib/libvireo.so.$version"
  check_plugin "$plugin_stage/$plugin"
  archive=$stage/usr/lib/libvireo.a
  check_case "libvireo.a links with glibc $newest_glibc and the libstdc++ of GCC 7" archive_links "$archive"
  check_case "the tool is at most $((most_cli_bytes >> 20)) MiB" test "$(stat -c %s "$stage/usr/bin/vireo")" -le $most_cli_bytes
  check_case "no path of this machine" no_paths
  check_case "the .deb holds what it should" lists "dpkg-deb --fsys-tarfile $package_dir/vireo_${version}_$debian_arch.deb | tar -tf -" ./usr/ "${names[@]}"
  check_case "the .tar.gz holds what it should" lists "tar -tzf $package_dir/vireo-$version-$debian_arch.tar.gz" \
    "vireo-$version-$debian_arch/" "${names[@]}"
}

# check_plugin FILE: the element and its package.
gstreamer_libraries='lib(gst(reamer|base|video)|gobject|glib)-[12]\.0\.so\.0'
check_plugin() {
  check_case "the element binds no symbol newer than glibc $newest_glibc, and no libstdc++" binds_old_symbols "$1"
  check_case "the element needs GStreamer and glibc only" needs_glibc_only "$1" "$gstreamer_libraries"
  check_case "the element takes nothing from GStreamer that 1.14 lacks" takes_old_gstreamer "$1"
  check_case "the element exports what GStreamer looks for and nothing else" exports_plugin "$1"
  check_case "its .deb holds what it should" lists \
    "dpkg-deb --fsys-tarfile $package_dir/gstreamer1.0-vireo_${version}_$debian_arch.deb | tar -tf -" ./ "$plugin" \
    usr/share/doc/gstreamer1.0-vireo/copyright usr/share/doc/gstreamer1.0-vireo/licences/libhwy.txt
}

takes_old_gstreamer() {
  local names bad
  names=$("$triplet-nm" -D --undefined-only "$1" | awk '{ print $NF }' | grep -E '^_?gst_' | LC_ALL=C sort)
  bad=$(LC_ALL=C comm -23 - <(grep -v '^#' "$root/cmake/glibc_2_27/gstreamer_1_14.txt") <<<"$names")
  [ -n "$names" ] || bad="nothing from GStreamer at all"
  [ -z "$bad" ] || { say "$1 takes $bad, which cmake/glibc_2_27/gstreamer_1_14.txt does not name"; return 1; }
}

exports_plugin() {
  local names
  names=$("$triplet-nm" -D --defined-only "$1" | awk '{ print $NF }' | LC_ALL=C sort | tr '\n' ' ')
  [ "$names" = "gst_plugin_vireo_get_desc gst_plugin_vireo_register " ] || { say "$1 exports $names"; return 1; }
}

# For awk: whether version a is newer than version b.
newer='function newer(a, b, x, y, i) {
  split(a, x, "."); split(b, y, ".")
  for (i = 1; i <= 3; i++) if (x[i] + 0 != y[i] + 0) return x[i] + 0 > y[i] + 0
  return 0
}'

# The versions of what a binary takes from elsewhere.
bound() { "$triplet-objdump" -T "$1" | awk '/\*UND\*/ { version = $(NF - 1); gsub(/[()]/, "", version); print version, $NF }'; }

binds_old_symbols() {
  local all bad
  all=$(bound "$1")
  # Base: weak names without a version, which nobody needs to define.
  bad=$(awk -v limit=$newest_glibc "$newer"'
    /^GLIBC_[0-9]/ { if (newer(substr($1, 7), limit)) print; next }
    /^[A-Z]/ && $1 != "Base" { print }' <<<"$all")
  grep -q '^GLIBC_' <<<"$all" || bad="objdump shows no symbol of glibc at all"
  [ -z "$bad" ] || { say "$1:"; say "$bad"; return 1; }
}

# needs_glibc_only FILE [REGEX]: or libraries of these names. grep ends with 1 where nothing else is left, which is what is hoped for.
needs_glibc_only() {
  local bad
  bad=$("$triplet-readelf" -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
    grep -vE "^(lib(c|m|dl|pthread|rt)\.so\.[0-9]+|ld-linux-.*${2:+|$2})\$" || true)
  [ -z "$bad" ] || { say "$1 needs $bad"; return 1; }
}

exports_vireo() {
  local names bad
  names=$("$triplet-nm" -D --defined-only "$1" | awk '{ print $NF }')
  bad=$(grep -vE '^(vireo_|_ZN?K?T?[ISV]?N?K?5vireo|_ZTV?I?S?N5vireo)' <<<"$names" || true)
  [ -z "$bad" ] || { say "$1 exports $bad"; return 1; }
  grep -q '^vireo_' <<<"$names" && grep -q '^_ZN5vireo' <<<"$names"
}

# Everything that the static library leaves to the linker is in glibc $newest_glibc, in a libstdc++ no newer than GCC 7's, or in libgcc.
archive_links() {
  local lib=$sysroot/usr/lib/$triplet left
  # Names that these libraries have had since before the limit: the sysroot's are newer, but say since when.
  {
    "$triplet-objdump" -T "$sysroot/lib/$triplet"/lib{c,m,dl,pthread}.so.? "$sysroot/lib/$triplet"/ld-linux-*.so.* | versions_of GLIBC_ $newest_glibc
    "$triplet-objdump" -T "$lib/libstdc++.so.6" | versions_of GLIBCXX_ $newest_glibcxx
    "$triplet-objdump" -T "$lib/libstdc++.so.6" | versions_of CXXABI_ 1.3.11
    # Of libgcc everything but the helpers for atomics, which came with GCC 9.4.
    "$triplet-nm" --defined-only "$sysroot/usr/lib/gcc/$triplet/10/libgcc.a" 2>/dev/null | awk 'NF == 3 && $3 !~ /^__aarch64_/ { print $3 }'
    printf '%s\n' _GLOBAL_OFFSET_TABLE_ __dso_handle __stack_chk_fail _Unwind_Resume __cpu_model __cpu_indicator_init \
      stat fstat lstat mknod at_quick_exit atexit  # of libc_nonshared.a and libgcc.a
  } | LC_ALL=C sort -u >"$package_dir/known"
  left=$("$triplet-nm" "$1" 2>/dev/null | awk '
    NF == 2 && ($1 == "U") { wanted[$2] }
    NF == 3 { have[$3] }
    END { for (name in wanted) if (!(name in have)) print name }' | LC_ALL=C sort | LC_ALL=C comm -23 - "$package_dir/known")
  [ "$(wc -l <"$package_dir/known")" -gt 5000 ] || { say "the sysroot's libraries were not read"; return 1; }
  [ -z "$left" ] || { say "$1 leaves to a newer system:"; say "$left"; return 1; }
}
# versions_of PREFIX LIMIT: of objdump's lines the names that are defined in a version of that prefix up to the limit.
versions_of() {
  awk -v prefix="$1" -v limit="$2" "$newer"'
    NF < 3 || /\*UND\*/ { next }
    { version = $(NF - 1); gsub(/[()]/, "", version) }
    index(version, prefix) == 1 && !newer(substr(version, length(prefix) + 1), limit) { print $NF }'
}

no_paths() { ! grep -rlF "$root/" "$stage" "$plugin_stage" | grep .; }

# lists COMMAND PREFIX NAME...: the names are among the lines that the command prints.
lists() {
  local command=$1 prefix=$2 name names
  shift 2
  names=$(eval "$command") || return 1
  for name in "$@"; do grep -qxF "$prefix$name" <<<"$names" || { say "$prefix$name is not there"; return 1; }; done
}

# ---- what it answers

# check_runs ARCH: the tarball's tool on emulated CPUs beside the tool that this machine builds for itself.
check_runs() {
  local cpu emulated_cpus emulator
  case $1 in
    aarch64) emulated_cpus=(cortex-a57 max) emulator=qemu-aarch64-static ;;  # the Jetson Nano's, and all that qemu knows
    amd64) emulated_cpus=(Nehalem Haswell max) emulator=qemu-x86_64-static ;;  # SSE4 only, AVX2 only
  esac
  install_packages qemu
  local reference=$package_dir/reference unpacked=$package_dir/unpacked-$1
  rm -rf "$reference" "$unpacked"
  mkdir -p "$reference" "$unpacked"
  tar -C "$unpacked" --strip-components=1 -xzf "$package_dir/vireo-$version-$debian_arch.tar.gz"
  preset=ci with_tests=$(sed -n 's/^VIREO_BUILD_TESTS:BOOL=//p' build/CMakeCache.txt 2>/dev/null) configure_options=()
  build vireo_cli
  answers "$reference" "$build_dir/bin/vireo" || die "the tool that was built for this machine does not answer"
  for cpu in "${emulated_cpus[@]}"; do
    check_case "$1 on $cpu: starts" emulated --version
    run_on_cpu "$1" "$cpu"
  done
  # As a stranger's program: the packaged headers and both libraries, by the compiler for the sysroot.
  check_case "$1: a program of C++ with libvireo.a" example_runs classify.cpp "$unpacked/lib/libvireo.a"
  check_case "$1: a program of C++ with libvireo.so" example_runs classify.cpp "$unpacked/lib/libvireo.so"
  check_case "$1: a program of C with libvireo.so" example_runs classify.c "$unpacked/lib/libvireo.so"
  if [ "$(dpkg --print-architecture)" = "$debian_arch" ]; then
    check_case "$1: a CMake project with this system's compiler" cmake_project_runs
    install_packages gstreamer
    check_case "$1: the element in this system's GStreamer" plugin_runs
  fi
}
emulated() { VK_DRIVER_FILES=/none "$emulator" -L "$sysroot" -cpu "$cpu" "$unpacked/bin/vireo" "$@"; }

run_on_cpu() {
  local mine=$package_dir/answers-$1-$2
  rm -rf "$mine"
  mkdir -p "$mine"
  answers "$mine" emulated || { say "failed: $1 on $2 gives no answers"; count 0 1 0; return 0; }
  say "$1 on $2: $(sed -n 's/.*"name": "\(.*\)".*/\1/p' "$mine/eval.json" | head -1)"
  check_case "$1 on $2: classify" same_classes "$mine"
  check_case "$1 on $2: segment" same_shares "$mine"
  check_case "$1 on $2: eval" same_scores "$mine"
  check_case "$1 on $2: plan" cmp "$reference/plan.txt" "$mine/plan.txt"
  check_case "$1 on $2: plan of the CPU" same_steps "$mine"
  check_case "$1 on $2: predict" same_prediction "$mine"
  check_case "$1 on $2: bench" grep -q '"iters": 2' "$mine/bench.json"
}

# answers FOLDER TOOL...: what the tool says, in files of the folder.
answers() {
  local to=$1 fashion=models/fashion-vit disaster=models/disaster-upernet scores=(--logits "$1/scores.npy")
  shift
  [ "$to" = "$reference" ] || scores=(--compare-logits "$reference/scores.npy")
  "$@" classify --model $fashion --device cpu --topk 3 --json $fashion/samples >"$to/classify.json" &&
    "$@" eval --model $fashion --device cpu --data $fashion/samples --json "${scores[@]}" >"$to/eval.json" &&
    "$@" segment --model $disaster --device cpu --out-dir "$to" --json $disaster/samples/images/0018.jpg >"$to/segment.json" &&
    "$@" plan --caps jetson-nano --model $fashion >"$to/plan.txt" &&
    "$@" plan --device cpu --model $disaster --json >"$to/plan.json" &&
    "$@" predict --machine jetson-nano --config models/configs/vit-ti.json --precision fp16 --json >"$to/predict.json" &&
    "$@" bench --model $fashion --device cpu --warmup 1 --iters 2 --json >"$to/bench.json"
}

# values FILE FIELD: of JSON as the tool prints it, the field's values, one a line.
values() { grep -o "\"$2\": *[^,}]*" "$1" | sed 's/^[^:]*: *//; s/"//g'; }

# close FILE FIELD MOST: as many values of that field as in the reference's file of this name, none further from them than MOST.
close() {
  paste <(values "$reference/$(basename "$1")" "$2") <(values "$1" "$2") | awk -v most="$3" -v what="$1: $2" '
    { d = $1 - $2; if (NF != 2 || d > most || -d > most) { print what " is " $2 ", expected " $1; bad = 1 } }
    END { if (NR == 0) print what " is not there"; exit bad || NR == 0 }' >&2
}
same_classes() {
  cmp <(values "$reference/classify.json" label | sed -n '1~3p') <(values "$1/classify.json" label | sed -n '1~3p') &&
    close "$1/classify.json" score 0.0001
}
# Of 196,608 pixels a few lie where two classes have the same score but for the last bits.
same_shares() { close "$1/segment.json" share 0.0002; }
same_scores() {
  [ "$(values "$1/eval.json" same_top1)" = 10 ] && [ "$(values "$1/eval.json" top1)" = "$(values "$reference/eval.json" top1)" ] &&
    awk -v d="$(values "$1/eval.json" max_abs)" 'BEGIN { exit !(d != "" && d < 0.0001) }'
}
same_steps() { cmp <(values "$reference/plan.json" op) <(values "$1/plan.json" op); }
# But for when and how it was called.
same_prediction() { cmp <(called_alike "$reference/predict.json") <(called_alike "$1/predict.json"); }
called_alike() { grep -vE '"(date|command|host)":' "$1"; }

# example_runs SOURCE LIBRARY: one of the shipped examples, compiled as on a board, classifies a picture.
example_runs() {
  local program=$unpacked/example flags=(-I"$unpacked/include") picture=$unpacked/picture.ppm compiler=$triplet-gcc-12
  local include=$root/$sysroot/usr/include
  # The flags of cmake/package.cmake that choose the sysroot's headers and libraries, without the wrapping: the programs of
  # others bind their own C library.
  flags+=(--sysroot="$root/$sysroot" -B"$root/$sysroot/usr/lib/gcc/$triplet/10" -B"$root/$sysroot/usr/lib/$triplet" -nostdinc)
  if [[ $1 = *.cpp ]]; then
    compiler=$triplet-g++-12
    flags+=(-std=c++17 -nostdinc++ -isystem "$include/c++/10" -isystem "$include/$triplet/c++/10")
  fi
  flags+=(-isystem "$($triplet-gcc-12 -print-file-name=include)" -isystem "$include/$triplet" -isystem "$include")
  "$compiler" "${flags[@]}" "$unpacked/share/vireo/examples/$1" "$2" -static-libgcc -static-libstdc++ -ldl -lm -pthread -o "$program" || return 1
  { printf 'P6\n28 28\n255\n'; yes abcdefghijklmnop | head -c 2352; } >"$picture"
  VIREO_DEVICE=cpu VK_DRIVER_FILES=/none "$emulator" -L "$sysroot" -E LD_LIBRARY_PATH="$root/$unpacked/lib" "$program" "$unpacked/share/vireo/models/fashion-vit" "$picture"
}

# Three frames through the packaged element: a message with an answer for each.
plugin_runs() {
  local said
  said=$(GST_REGISTRY="$root/$package_dir/registry.bin" GST_PLUGIN_PATH="$root/$plugin_stage/$(dirname "$plugin")" VK_DRIVER_FILES=/none \
    gst-launch-1.0 -m videotestsrc num-buffers=3 ! video/x-raw,format=NV12,width=64,height=48 ! \
    vireo model="$unpacked/share/vireo/models/fashion-vit" device=cpu ! fakesink) || { say "$said"; return 1; }
  [ "$(grep -c 'vireo, frame=' <<<"$said")" = 3 ] || { say "$said"; return 1; }
}

# A project that finds the package by CMake, with both libraries and the compiler of this machine.
cmake_project_runs() {
  local project=$unpacked/project target
  mkdir -p "$project"
  cat >"$project/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.10)
project(finds_vireo CXX)
find_package(vireo REQUIRED)
foreach(target vireo vireo_shared)
  add_executable(with_${target} ../share/vireo/examples/classify.cpp)
  target_link_libraries(with_${target} PRIVATE vireo::${target})
endforeach()
CMAKE
  cmake -G Ninja -S "$project" -B "$project/build" -DCMAKE_PREFIX_PATH="$root/$unpacked" && cmake --build "$project/build" || return 1
  for target in vireo vireo_shared; do
    VIREO_DEVICE=cpu "$project/build/with_$target" "$unpacked/share/vireo/models/fashion-vit" "$unpacked/picture.ppm" || return 1
  done
}
