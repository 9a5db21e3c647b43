#!/usr/bin/env bash
# Builds two revisions, each in a tree of its own, and runs them in turns:
#   bash bench/compare/revisions.sh [OLD [NEW]] [OPTIONS]
# OLD defaults to HEAD~1, NEW to the work tree as it is; `--help` lists the options. A slip of a few per cent is seen
# only in turns: the machine's own speed moves by more than that within minutes.
# Environment: VIREO_BUILD (build folder of the work tree, default build), VIREO_COMPARE_WORK (default under it).
set -euo pipefail
shopt -s inherit_errexit
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=${VIREO_BUILD:-$root/build}
work=${VIREO_COMPARE_WORK:-$build/compare}
python=${VIREO_PYTHON:-python3}

case " $* " in
  *" --help "*|*" -h "*) exec "$python" "$here/revisions.py" --help ;;
esac
revisions=()
while [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; do revisions+=("$1"); shift; done
[ ${#revisions[@]} -gt 0 ] || revisions=(HEAD~1)
[ ${#revisions[@]} -le 2 ] || { echo "revisions: at most two revisions, got ${revisions[*]}" >&2; exit 2; }

# Prints the binary of the revision. Its folder is the commit's, so that a second comparison with it builds nothing.
binary_of() {
  local commit source folder
  if [ $# -eq 0 ]; then
    source=$root folder=$build
  else
    commit=$(git -C "$root" rev-parse --verify --quiet "$1^{commit}") ||
      { echo "revisions: no revision '$1' here" >&2; return 1; }
    git -C "$root" --no-pager log -1 --format='%h %s' "$commit" >&2
    source=$work/base-$commit/source folder=$work/base-$commit/build
    if [ ! -d "$source" ]; then
      mkdir -p "$source.part"
      git -C "$root" archive "$commit" | tar -x -C "$source.part"
      mv "$source.part" "$source"
    fi
  fi
  [ -f "$folder/CMakeCache.txt" ] || cmake -S "$source" -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DVIREO_BUILD_TESTS=OFF >&2
  cmake --build "$folder" --target vireo_cli >&2
  echo "$folder/bin/vireo"
}
base=$(binary_of "${revisions[0]}")
head=$(binary_of "${revisions[@]:1}")
exec "$python" "$here/revisions.py" --base "$base" --head "$head" "$@"
