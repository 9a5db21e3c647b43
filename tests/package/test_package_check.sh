#!/usr/bin/env bash
# The checks of `run.sh package` (cmake/package_check.sh) find what they are for: they are run on files that fail each.
set -u
# shellcheck source=tests/script.sh
. "$(dirname "${BASH_SOURCE[0]}")/../script.sh"
cc=${CC:-gcc} cxx=${CXX:-g++}
say() { printf '%s\n' "$*"; }
die() { say "$*"; exit 1; }
# shellcheck source=cmake/package.sh
. "$VIREO_SOURCE/cmake/package.sh"
# shellcheck source=cmake/package_check.sh
. "$VIREO_SOURCE/cmake/package_check.sh"
triplet=$("$cc" -dumpmachine)
command -v "$triplet-objdump" >/dev/null || { skip package_check "rare: no $triplet-objdump is here"; finish; exit; }
refused() { ! "$@"; }

# A library that binds the oldest symbols only, and one that binds what glibc has since 2.34.
printf '#include <string.h>\nunsigned long vireo_length(const char* s) { return strlen(s); }\n' >"$work/old.c"
"$cc" -shared -fPIC -fno-builtin -O1 "$work/old.c" -o "$work/old.so" -nostartfiles
printf '#include <dlfcn.h>\nvoid* vireo_open(const char* s) { return dlopen(s, 1); }\n' >"$work/new.c"
"$cc" -shared -fPIC -O1 "$work/new.c" -o "$work/new.so" -nostartfiles
printf '#include <iostream>\nextern "C" void vireo_print() { std::cout << 1; }\n' >"$work/stream.cpp"
"$cxx" -shared -fPIC -O1 "$work/stream.cpp" -o "$work/stream.so"

check old_symbols_pass binds_old_symbols "$work/old.so"
if "$triplet-objdump" -T "$work/new.so" | grep -q 'GLIBC_2\.3[0-9]'; then
  check a_new_symbol_is_found refused binds_old_symbols "$work/new.so"
else
  skip a_new_symbol_is_found "never: this machine's glibc is too old to show one"
fi
check libstdcxx_is_found refused binds_old_symbols "$work/stream.so"
check no_symbol_at_all_is_found refused binds_old_symbols "$VIREO_SOURCE/README.md"
check glibc_alone_passes needs_glibc_only "$work/old.so"
check a_needed_library_is_found refused needs_glibc_only "$work/stream.so"

printf 'void vireo_c(void) {}\nvoid _ZN5vireo3runEv(void) {}\n' >"$work/exports.c"
"$cc" -shared -fPIC "$work/exports.c" -o "$work/exports.so" -nostartfiles
check vireo_alone_is_exported exports_vireo "$work/exports.so"
printf 'void png_read(void) {}\n' >>"$work/exports.c"
"$cc" -shared -fPIC "$work/exports.c" -o "$work/exports.so" -nostartfiles
check another_export_is_found refused exports_vireo "$work/exports.so"

check glibc_and_more_passes needs_glibc_only "$work/stream.so" 'lib(stdc\+\+|gcc_s)\.so\.[0-9]+'

# GStreamer's element.
root=$VIREO_SOURCE
plugin_of() { "$cc" -x c -shared -fPIC - -o "$work/plugin.so" -nostartfiles; }
described='void gst_plugin_vireo_get_desc(void) {} void gst_plugin_vireo_register(void) {'
plugin_of <<<"int gst_element_register(); $described gst_element_register(); }"
check an_old_element_passes takes_old_gstreamer "$work/plugin.so"
check its_exports_pass exports_plugin "$work/plugin.so"
plugin_of <<<"int gst_buffer_new_memdup(); $described gst_buffer_new_memdup(); } void more(void) {}"
check an_element_for_gstreamer_1_20_is_found refused takes_old_gstreamer "$work/plugin.so"
check more_exports_are_found refused exports_plugin "$work/plugin.so"
plugin_of <<<"$described }"
check an_element_without_gstreamer_is_found refused takes_old_gstreamer "$work/plugin.so"

# A static library, against a sysroot made of this machine's libraries.
sysroot=$work/sysroot package_dir=$work newest_glibc=2.27
mkdir -p "$sysroot/lib/$triplet" "$sysroot/usr/lib/$triplet"
for library in libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0; do
  cp "$("$cc" -print-file-name=$library)" "$sysroot/lib/$triplet/"
done
cp "$(ldd "$VIREO_CLI" | awk '/ld-linux/ { print $1 }')" "$sysroot/lib/$triplet/"
mkdir -p "$sysroot/usr/lib/gcc/$triplet/10"
cp "$("$cxx" -print-file-name=libgcc.a)" "$sysroot/usr/lib/gcc/$triplet/10/"
cp "$("$cxx" -print-file-name=libstdc++.so.6)" "$sysroot/usr/lib/$triplet/"
archive_of() { "$cxx" -x c++ -O1 -c - -o "$work/part.o" && rm -f "$work/part.a" && "$triplet-ar" rc "$work/part.a" "$work/part.o"; }
archive_of <<<'#include <string>
std::string twice(const std::string& s) { return s + s; }'
check an_old_archive_passes archive_links "$work/part.a"
archive_of <<<'extern "C" int pthread_cond_clockwait(void*); int wait_for(void* c) { return pthread_cond_clockwait(c); }'
check an_archive_for_glibc_2_30_is_found refused archive_links "$work/part.a"
archive_of <<<'unsigned __int128 ratio(unsigned __int128 a, unsigned __int128 b) { return a / b; }'
check an_archive_for_libgcc_passes archive_links "$work/part.a"
archive_of <<<'#include <charconv>
double number(const char* a, const char* b) { double d = 0; std::from_chars(a, b, d); return d; }'
check an_archive_for_gcc_11_is_found refused archive_links "$work/part.a"
archive_links "$work/part.a" >"$work/said" 2>&1
check its_name_is_said grep -q from_chars "$work/said"

check a_missing_file_is_found refused lists "printf 'a/b\n'" a/ b c
check files_that_are_there_pass lists "printf 'a/b\na/c\n'" a/ b c

reference=$work/reference
mkdir -p "$reference" "$work/mine"
printf '{"score": 0.5}, {"score":0.25}\n' >"$reference/x.json"
printf '{"score": 0.50001}, {"score":0.25}\n' >"$work/mine/x.json"
check close_numbers_pass close "$work/mine/x.json" score 0.001
check distant_numbers_are_found refused close "$work/mine/x.json" score 0.000001
printf '{"score": 0.5}\n' >"$work/mine/x.json"
check a_missing_number_is_found refused close "$work/mine/x.json" score 0.001
check a_field_that_is_nowhere_is_found refused close "$work/mine/x.json" nothing 0.001
finish
