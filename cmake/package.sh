# shellcheck shell=bash disable=SC2034,SC2154  # variables of run.sh
# Sourced by run.sh: `run.sh package aarch64|amd64 [--check]`, which leaves build/package/vireo_VERSION_ARCH.deb and
# build/package/vireo-VERSION-ARCH.tar.gz (ARCH as Debian has it). They start where the C library is 2.27 or newer (JetPack 4.6's)
# and need nothing else. build/package/gstreamer1.0-vireo_VERSION_ARCH.deb, the element, needs GStreamer 1.14 besides. cmake/package.cmake is the toolchain, cmake/package_check.sh what is tested.

package_dir=build/package
newest_glibc=2.27 newest_glibcxx=3.4.24 most_cli_bytes=$((12 << 20))

# package ARCH [--check]: the artefacts, and whether what is in them binds anything newer; --check also runs them, emulated.
package() {
  local arch=${1:-} check=${2:-}
  case $arch in
    aarch64) debian_arch=arm64 triplet=aarch64-linux-gnu ;;
    amd64) debian_arch=amd64 triplet=x86_64-linux-gnu ;;
    *) die "package takes aarch64 or amd64, not '$arch'" ;;
  esac
  [ -z "$check" ] || [ "$check" = --check ] || die "package $arch takes --check or nothing, not '$check'"
  sysroot=$package_dir/sysroot-$arch stage=$package_dir/stage-$arch
  package_tools "$arch"
  unpack_sysroot "$arch"
  gather_headers
  package_objects "$arch"
  with_shaders
  preset=package-$arch with_tests=OFF
  build
  stage_files
  write_vireo_deb
  write_plugin_deb
  write_tarball
  # shellcheck source=cmake/package_check.sh
  . cmake/package_check.sh
  check_bindings
  [ -z "$check" ] || check_runs "$arch"
}

package_tools() {
  [ "$(dpkg --print-architecture 2>/dev/null)" != "" ] || die "packages are built on Debian 12: no dpkg is here"
  install_packages build
  [ "$(dpkg --print-architecture)" = "$debian_arch" ] || install_packages "package-$1"
  command -v "$triplet-g++-12" >/dev/null || die "no $triplet-g++-12 is here; expected Debian 12's compiler"
}

# ---- the sysroot

# apt with lists and settings of its own, which know Debian 11 only, from the mirror of Debian that this machine uses. Signatures are
# checked as ever.
old_apt() {
  local command=$1 apt=$root/$package_dir/apt
  shift
  "$command" -o Dir="$apt" -o Dir::Etc="$apt/etc" -o Dir::State="$apt/state" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" \
    -o APT::Architecture="$debian_arch" -o APT::Architectures="$debian_arch" -o APT::Sandbox::User="$(id -un)" \
    -o Acquire::Languages=none -q "$@"
}
old_apt_sources() {
  local apt=$package_dir/apt site suite mirror=http://deb.debian.org/debian security=http://deb.debian.org/debian-security
  while read -r site suite; do
    case $suite in
      *-security) security=$site ;;
      *-updates|*-backports) ;;
      *) mirror=$site ;;
    esac
  done < <(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null || true)
  rm -rf "$apt"
  mkdir -p "$apt/etc/apt.conf.d" "$apt/etc/preferences.d" "$apt/state/lists/partial" "$apt/cache/archives/partial"
  : >"$apt/status"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s main\n' \
    "${VIREO_BULLSEYE_MIRROR:-$mirror} bullseye" "${VIREO_BULLSEYE_SECURITY:-$security} bullseye-security" >"$apt/etc/sources.list"
  old_apt apt-get update >"$apt/log" 2>&1 || { cat "$apt/log" >&2; die "Debian 11's lists cannot be read (VIREO_BULLSEYE_MIRROR and
VIREO_BULLSEYE_SECURITY name other mirrors)"; }
}

# unpack_sysroot ARCH: the packages of section bullseye, in build/package/sysroot-ARCH. Done once.
unpack_sysroot() {
  local names name link target wanted
  mapfile -t names < <(packages_of bullseye)
  wanted="${names[*]}"
  [ "$(cat "$sysroot/packages" 2>/dev/null)" != "$wanted" ] || return 0
  say "package: reading Debian 11's lists, then ${#names[@]} packages of it (25 MB)"
  old_apt_sources
  rm -rf "$sysroot" "$package_dir/debs"
  mkdir -p "$sysroot" "$package_dir/debs"
  for name in "${names[@]}"; do
    (cd "$package_dir/debs" && old_apt apt-get download "$name" >/dev/null 2>&1) && continue
    # A list may name an update that the mirror no longer, or not yet, has.
    say "package: the newest $name cannot be had; taking that of Debian 11's last point release"
    (cd "$package_dir/debs" && old_apt apt-get download "$name/bullseye" >/dev/null) || die "cannot download $name of Debian 11"
  done
  for name in "$package_dir/debs"/*.deb; do dpkg-deb -x "$name" "$sysroot"; done
  # GCC's -B looks for headers beside the libraries too; those of GCC 10's intrinsics are not for GCC 12.
  rm -r "$sysroot/usr/lib/gcc/$triplet/10/include"
  # Absolute links would lead out of it.
  find "$sysroot" -type l -lname '/*' | while IFS= read -r link; do
    target=$(readlink "$link")
    ln -sfnr "$sysroot$target" "$link"
  done
  # What GStreamer's and GLib's own libraries need is nothing that the element is compiled with.
  sed -i '/^Requires\.private:/d' "$sysroot/usr/lib/$triplet/pkgconfig"/*.pc
  # Of the picture libraries the links to shared ones lead nowhere: the static ones are what there is to find.
  find "$sysroot/usr/lib/$triplet" -name '*.so' -xtype l -delete
  rm -r "$package_dir/debs" "$package_dir/apt"
  printf '%s' "$wanted" >"$sysroot/packages"
}

# Of this machine's /usr/include the libraries that are headers only.
header_packages=(libfmt-dev nlohmann-json3-dev libhwy-dev libvulkan-dev libvulkan-volk-dev libcli11-dev libstb-dev)
gather_headers() {
  local name
  mkdir -p "$package_dir/headers"
  for name in fmt nlohmann hwy vulkan vk_video volk.h volk.c CLI stb; do
    [ ! -e "/usr/include/$name" ] || ln -sfn "/usr/include/$name" "$package_dir/headers/$name"
  done
}

# What is linked besides the project's own sources.
package_objects() {
  local objects=$package_dir/objects-$1 compile=("$triplet-gcc-12" --sysroot="$root/$sysroot" -O2 -fPIC -ffunction-sections -Wall -Wextra -Werror)
  mkdir -p "$objects"
  "${compile[@]}" -c cmake/glibc_2_27/wrap.c -o "$objects/wrap.o"
  rm -f "$objects/libwrap.a"
  "$triplet-ar" rc "$objects/libwrap.a" "$objects/wrap.o"
  "${compile[@]}" -c cmake/glibc_2_27/tiff_codecs.c -o "$objects/tiff_codecs.o"
}

# ---- the artefacts

# Installed into a folder: what both artefacts hold.
stage_files() {
  local name doc
  rm -rf "$stage"
  DESTDIR="$root/$stage" cmake --install "$build_dir" --strip >"$(log install)" || die "installing failed: build/install.log"
  version=$(sed -n 's/^Version: //p' "$stage/usr/lib/pkgconfig/vireo.pc")
  cp -r apps/examples "$stage/usr/share/vireo/examples"
  doc=$stage/usr/share/doc/vireo
  mkdir -p "$doc/licences"
  mv "$doc/LICENSE" "$doc/copyright"
  cp apps/CHANGELOG.md apps/README.md "$doc/"
  cp include/vireo/README.md "$doc/EMBEDDING.md"
  for name in libjpeg62-turbo-dev libpng-dev zlib1g-dev libwebp-dev libtiff-dev libdeflate-dev gcc-10-base libc6-dev; do
    cp "$sysroot/usr/share/doc/$name/copyright" "$doc/licences/${name%-dev}.txt" || die "$name has no licence text in the sysroot"
  done
  for name in "${header_packages[@]}"; do
    cp "/usr/share/doc/$name/copyright" "$doc/licences/${name%-dev}.txt" || die "$name has no licence text on this machine"
  done
  stage_plugin
  find "$stage" "$plugin_stage" -type d -exec chmod 755 {} +
  find "$stage" "$plugin_stage" -type f -exec chmod u=rw,go=r {} +
  chmod 755 "$stage/usr/bin/vireo"
}

# The element is a package of its own: it is of no use without GStreamer, which the tool does not need.
stage_plugin() {
  local doc
  plugin_stage=$package_dir/stage-gstreamer-$debian_arch plugin=usr/lib/$triplet/gstreamer-1.0/libgstvireo.so
  doc=$plugin_stage/usr/share/doc/gstreamer1.0-vireo
  rm -rf "$plugin_stage"
  mkdir -p "$plugin_stage/usr/lib/$triplet/gstreamer-1.0" "$doc"
  mv "$stage/usr/lib/gstreamer-1.0/libgstvireo.so" "$plugin_stage/$plugin" || die "the element was not installed"
  rmdir "$stage/usr/lib/gstreamer-1.0"
  cp "$stage/usr/share/doc/vireo/copyright" "$doc/copyright"
  mkdir "$doc/licences"
  cp "$stage/usr/share/doc/vireo/licences"/{gcc-10-base,libfmt,nlohmann-json3,libhwy,libvulkan,libvulkan-volk,libc6}.txt "$doc/licences/"
}

# Nothing of the time or the user who built it: the same tree gives the same bytes.
package_time() { git log -1 --format=%ct 2>/dev/null || date +%s; }

# write_deb NAME STAGE FIELD...: a package of what STAGE holds; the fields of its control file besides those that all have. Its
# description is on standard input.
write_deb() {
  local name=$1 from=$2 folder=$package_dir/deb deb=$package_dir/$1_${version}_$debian_arch.deb
  shift 2
  rm -rf "$folder"
  mkdir -p "$folder/DEBIAN"
  cp -r "$from/usr" "$folder/usr"
  {
    printf '%s\n' "Package: $name" "Version: $version" "Architecture: $debian_arch" "Maintainer: The Vireo authors <vireo@localhost>" \
      "Installed-Size: $(du -sk --apparent-size "$from" | cut -f1)" "$@" "Priority: optional"
    cat
  } >"$folder/DEBIAN/control"
  (cd "$folder" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$package_dir/md5sums"
  mv "$package_dir/md5sums" "$folder/DEBIAN/md5sums"
  [ ! -e "$folder/usr/lib/libvireo.so" ] || echo 'activate-noawait ldconfig' >"$folder/DEBIAN/triggers"
  # gzip: every dpkg reads it.
  SOURCE_DATE_EPOCH=$(package_time) dpkg-deb --root-owner-group -Zgzip --build "$folder" "$deb.part" >/dev/null || die "dpkg-deb failed"
  mv "$deb.part" "$deb"
  rm -r "$folder"
  say "package: $deb, $(size_of "$deb")"
}

write_vireo_deb() {
  write_deb vireo "$stage" "Depends: libc6 (>= $newest_glibc)" "Suggests: libvulkan1" "Section: science" <<'TEXT'
Description: Vision Transformers on Vulkan compute, with a SIMD CPU path
 The command line tool, the library with its headers (shared and static), two
 classifiers and a segmenter, and descriptions of boards. Vulkan is opened at
 run time where it is; without it the CPU does the work.
TEXT
}

# JetPack 4.6 has GStreamer 1.14 and GLib 2.56.
write_plugin_deb() {
  write_deb gstreamer1.0-vireo "$plugin_stage" "Depends: libc6 (>= $newest_glibc), libgstreamer1.0-0 (>= 1.14), \
libgstreamer-plugins-base1.0-0 (>= 1.14), libglib2.0-0 (>= 2.56)" "Suggests: vireo, libvulkan1" "Section: video" <<'TEXT'
Description: Vision Transformers on Vulkan compute (GStreamer element)
 The element `vireo`: classes, class maps or features of the frames that pass,
 as messages, buffer metadata and an overlay. It holds the library; the
 package vireo brings the tool and models to try.
TEXT
}

write_tarball() {
  local name=vireo-$version-$debian_arch
  rm -rf "${package_dir:?}/$name"
  cp -r "$stage/usr" "$package_dir/$name"
  tar -C "$package_dir" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(package_time)" -cf - "$name" |
    gzip -n9 >"$package_dir/$name.tar.gz.part" || die "tar failed"
  mv "$package_dir/$name.tar.gz.part" "$package_dir/$name.tar.gz"
  rm -r "${package_dir:?}/$name"
  say "package: $package_dir/$name.tar.gz, $(size_of "$package_dir/$name.tar.gz")"
}
size_of() { awk -v bytes="$(stat -c %s "$1")" 'BEGIN { printf "%.1f MiB", bytes / 1048576 }'; }
