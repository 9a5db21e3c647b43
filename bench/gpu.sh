#!/usr/bin/env bash
# Everything worth knowing about a machine with a real GPU, in at most nine minutes, from a tree that was built elsewhere.
#   bash bench/gpu.sh pack            here: packs programs, their libraries, the Vulkan loader and the validation layer into build/gpu.tar.gz
#   bash bench/gpu.sh run [OUT]       there: unpacks and runs them; writes OUT/gpu.txt, OUT/gpu.json and a few files beside them
#   bash bench/gpu.sh                 both, on this machine (without a GPU: a rehearsal on lavapipe)
# x86-64 and glibc as new as the builder's. Environment: VIREO_GPU_DEVICE (default vulkan), VIREO_GPU_SECONDS (default 500).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
pack=build/gpu
programs=(vireo ops_conformance fuse_equivalence)

# Prints the shared libraries of a program but for libc's own parts, which belong to the machine that runs it.
libraries() {
  ldd "$1" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | grep -vE '/(libc|libm|libdl|libpthread|librt|ld-linux[^/]*)\.so' || true
}

do_pack() {
  local p lib layer
  # SwiftShader's conformance and the golden data stay here: only what the GPU is asked.
  cmake --build build -j "$(nproc)" --target vireo_cli ops_conformance fuse_equivalence
  rm -rf "$pack"
  mkdir -p "$pack/bin" "$pack/lib" "$pack/layers"
  for p in "${programs[@]}"; do
    strip -o "$pack/bin/$p" "build/bin/$p"
    for lib in $(libraries "build/bin/$p"); do cp -Lu "$lib" "$pack/lib/"; done
  done
  for lib in $(ldconfig -p | sed -n 's/.*libvulkan\.so\.1 .*x86-64.* => //p' | head -1); do cp -L "$lib" "$pack/lib/libvulkan.so.1"; done
  layer=$(find /usr/share/vulkan/explicit_layer.d /usr/share/vulkan/layers -name 'VkLayer_khronos_validation.json' 2>/dev/null | head -1 || true)
  if [ -n "$layer" ]; then
    lib=$(find /usr/lib -name libVkLayer_khronos_validation.so | head -1)
    strip -o "$pack/layers/libVkLayer_khronos_validation.so" "$lib"
    sed 's#"library_path": *"[^"]*"#"library_path": "./libVkLayer_khronos_validation.so"#' "$layer" >"$pack/layers/${layer##*/}"
  fi
  git rev-parse --short HEAD >"$pack/revision" 2>/dev/null || echo unknown >"$pack/revision"
  tar -C "${pack%/*}" -czf "$pack.tar.gz" "${pack##*/}"
  du -sm "$pack.tar.gz" | awk '{print "packed " $1 " MiB: " $2}'
}

do_run() {
  [ -s "$pack.tar.gz" ] || { echo "gpu.sh: $pack.tar.gz is missing; run 'bash bench/gpu.sh pack' where Vireo is built, and carry that file" >&2; exit 1; }
  rm -rf "$pack"
  tar -C "${pack%/*}" -xzf "$pack.tar.gz"
  exec python3 bench/gpu.py "$pack" "${1:-build/gpu-report}"
}

case ${1:-both} in
  pack) do_pack ;;
  run) shift; do_run "$@" ;;
  both) do_pack; do_run ;;
  *) sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
