# shellcheck shell=bash disable=SC2154  # root and die are the caller's
# Sourced by a57_caches.sh and a57_counts.sh: a program of bench/ with the SIMD kernels, cross-compiled at a release's -O3, and a plugin of
# qemu's.

# a57_build NAME WORK: bench/NAME.cpp to WORK/NAME.
a57_build() {
  local name=$1 work=$2 compile
  command -v aarch64-linux-gnu-g++ >/dev/null || die "there is no aarch64-linux-gnu-g++; install Debian's g++-aarch64-linux-gnu"
  # Headers that have no architecture come from this machine; nothing else of its /usr/include may.
  mkdir -p "$work/include"
  ln -sfn /usr/include/hwy "$work/include/hwy"
  ln -sfn /usr/include/fmt "$work/include/fmt"
  compile=(aarch64-linux-gnu-g++ -std=c++17 -O3 -DNDEBUG -DFMT_HEADER_ONLY -fno-math-errno -fPIC -I"$root/engine" -I"$root/include"
    -isystem "$work/include")
  # Where every CPU must round alike products are not contracted, as cmake/Library.cmake has it.
  printf '%s\n' "$root"/engine/simd/*.cpp "$root"/engine/tensor/{format,tensor}.cpp "$root"/engine/base/rounding.cpp "$root/bench/$name.cpp" |
    xargs -P "$(nproc)" -I{} bash -c 'source=$1 work=$2 more=(); shift 2
      case $source in */attention_i8.cpp|*/simd/i8.cpp) more=(-ffp-contract=off) ;; esac
      "$@" "${more[@]}" -c "$source" -o "$work/$(basename "$source" .cpp).o"' _ {} "$work" "${compile[@]}" || die "the kernels could not be compiled"
  "${compile[@]}" -static "$work"/*.o -o "$work/$name" || die "$name could not be linked"
}

# a57_plugin NAME WORK: bench/NAME.c to WORK/NAME.so.
a57_plugin() {
  gcc -std=c99 -O2 -Wall -Wextra -shared -fPIC -o "$2/$1.so" "$root/bench/$1.c" || die "the plugin could not be compiled"
}
