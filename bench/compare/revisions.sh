#!/usr/bin/env bash
# Builds another revision beside the work tree and runs both in turns:
#   bash bench/compare/revisions.sh [REVISION] [OPTIONS]
# REVISION defaults to HEAD~1; `--help` lists the options. A slip of a few per cent is seen only in turns: the machine's
# own speed moves by more than that within minutes.
# Environment: VIREO_BUILD (build folder of the work tree, default build), VIREO_COMPARE_WORK (default under it).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${VIREO_BUILD:-$root/build}
work=${VIREO_COMPARE_WORK:-$build/compare}
python=${VIREO_PYTHON:-python3}

case " $* " in
  *" --help "*|*" -h "*) exec "$python" "$here/revisions.py" --help ;;
esac
revision=HEAD~1
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then revision=$1; shift; fi
commit=$(git -C "$root" rev-parse --verify --quiet "$revision^{commit}") ||
  { echo "revisions: no revision '$revision' here" >&2; exit 1; }

# The base has a folder of its own per commit, so that a second comparison with it builds nothing.
base=$work/base-$commit
if [ ! -d "$base/source" ]; then
  mkdir -p "$base/source"
  git -C "$root" archive "$commit" | tar -x -C "$base/source"
fi
for tree in "$base/source $base/build" "$root $build"; do
  read -r source folder <<<"$tree"
  [ -f "$folder/CMakeCache.txt" ] || cmake -S "$source" -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DVIREO_BUILD_TESTS=OFF >&2
  cmake --build "$folder" --target vireo_cli >&2
done
echo "base: $(git -C "$root" log -1 --format='%h %s' "$commit")" >&2
exec "$python" "$here/revisions.py" --base "$base/build/bin/vireo" --head "$build/bin/vireo" "$@"
