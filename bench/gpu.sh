#!/usr/bin/env bash
# Everything worth knowing about a machine with a real GPU, in at most nine minutes, from a tree that was built elsewhere.
#   bash bench/gpu.sh pack            here: packs programs, their libraries, the Vulkan loader and the validation layer into build/gpu.tar.gz
#   bash bench/gpu.sh run [OUT]       there: unpacks and runs them; writes OUT/gpu.txt, OUT/gpu.json and three files beside them
#   bash bench/gpu.sh                 both, on this machine (without a GPU: a rehearsal on lavapipe)
# What travels is the tree and build/gpu.tar.gz, at most 60 MiB together. There: x86-64, glibc as new as the builder's, python3, and NVIDIA's
# driver, which is found by itself (bench/gpu.py says where). Environment: VIREO_GPU_DEVICE (default vulkan), VIREO_GPU_SECONDS (default 500).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pack=build/gpu
programs=(vireo ops_conformance fuse_equivalence)
most_mib=60

# Prints the shared libraries of a program but for libc's own parts, which belong to the machine that runs it.
libraries() {
  ldd "$1" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | grep -vE '/(libc|libm|libdl|libpthread|librt|ld-linux[^/]*)\.so' || true
}

# Where ld.so finds a library; nothing where it does not.
installed() { ldconfig -p | sed -n "s/^[[:space:]]*$1 (.*x86-64.*) => //p" | head -1; }

do_pack() {
  local p lib layer tree packed
  [ -f build/CMakeCache.txt ] || cmake --preset ci
  # SwiftShader's conformance and the golden data stay here: only what the GPU is asked.
  cmake --build build -j "$(nproc)" --target vireo_cli ops_conformance fuse_equivalence
  rm -rf "$pack"
  mkdir -p "$pack/bin" "$pack/lib" "$pack/cxx" "$pack/x11" "$pack/layers"
  for p in "${programs[@]}"; do
    strip -o "$pack/bin/$p" "build/bin/$p"
    for lib in $(libraries "build/bin/$p"); do
      case $lib in
        # A driver may want a newer one than ours: used only where the machine's own does not do.
        */libstdc++.so* | */libgcc_s.so*) cp -Lu "$lib" "$pack/cxx/" ;;
        *) cp -Lu "$lib" "$pack/lib/" ;;
      esac
    done
  done
  lib=$(installed libvulkan.so.1)
  [ -n "$lib" ] || { echo "gpu.sh: there is no Vulkan loader here to carry along; install libvulkan1" >&2; exit 1; }
  cp -L "$lib" "$pack/lib/libvulkan.so.1"
  # NVIDIA's driver asks for some of X's libraries, which a server may lack.
  for lib in libX11.so.6 libXext.so.6 libxcb.so.1 libXau.so.6 libXdmcp.so.6 libbsd.so.0 libmd.so.0; do
    p=$(installed "$lib")
    if [ -n "$p" ]; then cp -L "$p" "$pack/x11/$lib"; fi
  done
  layer=$(find /usr/share/vulkan/explicit_layer.d /usr/share/vulkan/layers -name 'VkLayer_khronos_validation.json' 2>/dev/null | head -1 || true)
  if [ -n "$layer" ]; then
    lib=$(find /usr/lib -name libVkLayer_khronos_validation.so | head -1)
    strip -o "$pack/layers/libVkLayer_khronos_validation.so" "$lib"
    sed 's#"library_path": *"[^"]*"#"library_path": "./libVkLayer_khronos_validation.so"#' "$layer" >"$pack/layers/${layer##*/}"
  fi
  git rev-parse --short HEAD >"$pack/revision" 2>/dev/null || echo unknown >"$pack/revision"
  tar -C "${pack%/*}" -czf "$pack.tar.gz" "${pack##*/}"
  tree=$(git ls-files -z | du -cb --files0-from=- 2>/dev/null | tail -1 | cut -f1 || echo 0)
  packed=$(stat -c %s "$pack.tar.gz")
  echo "packed $((packed >> 20)) MiB: $pack.tar.gz; with the tree's $((tree >> 20)) MiB, $(((packed + tree) >> 20)) MiB travel"
  [ $((packed + tree)) -le $((most_mib << 20)) ] || { echo "gpu.sh: that is more than $most_mib MiB" >&2; exit 1; }
}

do_run() {
  [ -s "$pack.tar.gz" ] || { echo "gpu.sh: $pack.tar.gz is missing; run 'bash bench/gpu.sh pack' where Vireo is built, and carry that file" >&2; exit 1; }
  command -v python3 >/dev/null || { echo "gpu.sh: the report is made by python3, which is not here" >&2; exit 1; }
  rm -rf "$pack"
  tar -C "${pack%/*}" -xzf "$pack.tar.gz"
  exec python3 bench/gpu.py "$pack" "${1:-build/gpu-report}"
}

case ${1:-both} in
  pack) do_pack ;;
  run) shift; do_run "$@" ;;
  both) do_pack; do_run ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
