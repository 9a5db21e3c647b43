#!/usr/bin/env bash
# Installs this build to a fresh prefix and uses it as a stranger would: CMake package, pkg-config, C++ and C, the tool.
set -u
# shellcheck source=tests/script.sh
. "$(dirname "${BASH_SOURCE[0]}")/../script.sh"
cmake=${CMAKE:-cmake} cxx=${CXX:-g++} cc=${CC:-gcc}
unset CXXFLAGS CFLAGS LDFLAGS PKG_CONFIG_PATH CMAKE_PREFIX_PATH
export VIREO_DEVICE=vulkan  # the examples take the best device: on Vulkan here too, though it is a software driver

prefix=$work/prefix
check install "$cmake" --install "$VIREO_BUILD" --prefix "$prefix"
# The installed tree may be carried elsewhere: everything below uses it at another place than where it was installed.
mv "$prefix" "$work/moved" && prefix=$work/moved
pc=$(find "$prefix" -name vireo.pc -print -quit)
libdir=$(dirname "$(dirname "${pc:-/none/none}")")

check public_headers_installed bash -c "cd '$VIREO_SOURCE/include' && for h in vireo/*.h vireo/*.hpp; do test -f '$prefix/include/'\$h || exit 1; done"
check no_engine_headers_installed bash -c "! find '$prefix/include' -type f | grep -v '/include/vireo/vireo\.\|/include/vireo/[a-z]*\.hpp'"
check tool_runs "$prefix/bin/vireo" --version

# A picture without a decoder: 28x28 of the bytes "abcd...".
picture=$work/picture.ppm
{ printf 'P6\n28 28\n255\n'; yes abcdefghijklmnop | head -c 2352; } >"$picture"
model=$VIREO_SOURCE/tests/golden/torchvision/even

# find_package, from a copy of the examples outside of this tree.
cp -r "$VIREO_SOURCE/apps/examples" "$work/examples"
check cmake_configure "$cmake" -S "$work/examples" -B "$work/cmake-build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_C_COMPILER="$cc"
check cmake_build "$cmake" --build "$work/cmake-build"
check cmake_cpp_runs "$work/cmake-build/example_classify_cpp" "$model" "$picture"
check cmake_c_runs "$work/cmake-build/example_classify_c" "$model" "$picture"
check cmake_latency_runs "$work/cmake-build/example_latency_cpp" "$model" 20
check cmake_zero_copy_runs "$work/cmake-build/example_zero_copy" "$model"
check cpp_and_c_agree bash -c "
  test -x '$work/cmake-build/example_classify_cpp' && test -x '$work/cmake-build/example_classify_c' && diff <('$work/cmake-build/example_classify_cpp' '$model' '$picture' | tail -n 5) \
       <('$work/cmake-build/example_classify_c' '$model' '$picture' | tail -n 5)"
check c_names_a_missing_model bash -c "'$work/cmake-build/example_classify_c' /no/such/model '$picture' 2>&1 | grep -q /no/such/model"

# What is exported must not depend on a cache that an earlier configuration left.
check first_configuration_exports_includes bash -c "
  '$cmake' -S '$VIREO_SOURCE' -B '$work/first' -G Ninja -DVIREO_BUILD_TESTS=OFF -DVIREO_BUILD_APPS=OFF &&
  grep -rq 'INTERFACE_INCLUDE_DIRECTORIES.*/include\"' '$work/first/CMakeFiles/Export'"

# What `run.sh demo` compiles of the kernels: those that the whole build takes on this processor, and portable ones.
if [ "$(uname -m)" = x86_64 ]; then
  check host_kernels_configure "$cmake" -S "$VIREO_SOURCE" -B "$work/host" -G Ninja -DVIREO_SIMD_HOST=ON -DVIREO_VULKAN=OFF \
    -DVIREO_BUILD_TESTS=OFF -DVIREO_BUILD_APPS=OFF -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_BUILD_TYPE=Release
  check host_kernels_build "$cmake" --build "$work/host" --target CMakeFiles/vireo_engine.dir/engine/simd/dispatch.cpp.o
  case $("$prefix/bin/vireo" devices 2>&1) in
    *'(amx)'*|*'(avx512'*) best=N_AVX3 ;;
    *'(avx2)'*) best=N_AVX2 ;;
    *'(sse4)'*) best=N_SSE4 ;;
    *) best=none ;;
  esac
  check "host_kernels_are_the_best_ones $best" diff <(printf '%s\n' $best | grep -v none) \
    <(nm -C "$work/host/CMakeFiles/vireo_engine.dir/engine/simd/dispatch.cpp.o" | grep -o 'N_[A-Z0-9]*' | sort -u | grep -v -E 'N_(EMU128|SCALAR)')
  check host_kernels_have_portable_ones bash -c \
    "nm -C '$work/host/CMakeFiles/vireo_engine.dir/engine/simd/dispatch.cpp.o' | grep -q -E 'N_(EMU128|SCALAR)'"
fi

# pkg-config.
if command -v pkg-config >/dev/null; then
  export PKG_CONFIG_PATH=$libdir/pkgconfig
  check pkg_config_version bash -c "pkg-config --exact-version \"\$('$prefix/bin/vireo' --version | cut -d' ' -f2)\" vireo"
  read -ra flags < <(pkg-config --cflags --libs --static vireo)
  check pkg_config_cpp "$cxx" -std=c++17 -Wall -Wextra -Werror "$work/examples/classify.cpp" -o "$work/pc_cpp" "${flags[@]}"
  check pkg_config_cpp_runs env LD_LIBRARY_PATH="$libdir" "$work/pc_cpp" "$model" "$picture"
  check pkg_config_c bash -c '"$1" -std=c99 -pedantic -Wall -Wextra -Werror -c "$2" -o "$3.o" "${@:5}" && "$4" "$3.o" -o "$3" "${@:5}"' \
    _ "$cc" "$work/examples/classify.c" "$work/pc_c" "$cxx" "${flags[@]}"
  check pkg_config_c_runs env LD_LIBRARY_PATH="$libdir" "$work/pc_c" "$model" "$picture"

  # The commands that include/vireo/README.md prints, as they stand, from a folder that looks like this tree.
  mkdir -p "$work/readme/home"
  ln -s "$VIREO_SOURCE/apps" "$work/readme/apps"
  ln -s "$VIREO_BUILD" "$work/readme/build"
  sed -n '/^```sh$/,/^```$/{/^```/d;p}' "$VIREO_SOURCE/include/vireo/README.md" >"$work/readme/commands"
  check readme_has_commands grep -q 'cmake --install build --prefix' "$work/readme/commands"
  check readme_commands bash -c "cd '$work/readme' && HOME='$work/readme/home' bash -eu commands"
  check readme_pkg_config_runs env LD_LIBRARY_PATH="$work/readme/home/vireo/lib" "$work/readme/classify" "$model" "$picture"
  check readme_cmake_runs "$work/readme/build-examples/example_classify_cpp" "$model" "$picture"
else
  skip pkg_config "never: pkg-config is not installed"
fi

# What is linked: nothing that a bare board does not have. (libvireo itself where it is a shared library.)
check links_libc_and_libstdcxx_only bash -c "
  ldd '$work/cmake-build/example_classify_cpp' | grep -vE 'linux-vdso|ld-linux|lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+|vireo)\.so' && exit 1; exit 0"

# A Result that is thrown away is a warning, so that an error cannot be lost in silence.
cat >"$work/lost.cpp" <<'CPP'
#include <vireo/vireo.hpp>
int main() { vireo::Model::open("x"); }
CPP
check ignored_result_does_not_compile bash -c \
  "! '$cxx' -std=c++17 -Werror=unused-result -fsyntax-only -I'$prefix/include' '$work/lost.cpp'"
for header in $(cd "$VIREO_SOURCE/include/vireo" && echo *.hpp); do
  printf '#include <vireo/%s>\n#include <vireo/%s>\nint main() {}\n' "$header" "$header" >"$work/alone.cpp"
  check "header_alone_$header" "$cxx" -std=c++17 -pedantic -Wall -Wextra -Werror -fsyntax-only -I"$prefix/include" "$work/alone.cpp"
done
printf '#include <vireo/vireo.h>\nint main(void) { return 0; }\n' >"$work/alone.c"
check header_alone_vireo.h "$cc" -std=c99 -pedantic -Wall -Wextra -Werror -fsyntax-only -I"$prefix/include" "$work/alone.c"

# The shipped models go along.
if [ -f "$VIREO_SOURCE/models/fashion-vit/model.safetensors" ]; then
  shipped=$prefix/share/vireo/models/fashion-vit
  check shipped_model bash -c "'$prefix/bin/vireo' classify --model '$shipped' --device cpu --topk 1 '$shipped'/samples/09_ankle-boot.png | grep -qi 'ankle boot'"
else
  skip shipped_model "todo: models/fashion-vit has no weights"
fi
# A model and a device that need no checkpoint and no board, with the command that the source tree takes.
check installed_configs_and_machines bash -c "cd '$prefix/share/vireo' && '$prefix/bin/vireo' predict --config models/configs/vit-ti.json --machine jetson-nano | grep -q 'computed, not measured'"
check installed_caps bash -c "cmp <('$prefix/bin/vireo' plan --caps '$prefix/share/vireo/caps/jetson-nano.txt' --config '$prefix/share/vireo/models/configs/vit-ti.json') \
  <('$prefix/bin/vireo' plan --caps jetson-nano --config '$prefix/share/vireo/models/configs/vit-ti.json')"
shipped=$prefix/share/vireo/models/disaster-upernet
check shipped_segmenter bash -c "cd '$work' && '$prefix/bin/vireo' segment --model '$shipped' --device cpu '$shipped/samples/images/0018.jpg' && test -s 0018.classes.png"
check no_recipe_installed bash -c "! find '$prefix' -name '*.py' | grep ."
finish
