#!/usr/bin/env bash
# How right `vireo predict` is: fits a description on a handful of models here, at one thread, predicts others that were never measured, measures
# them in turns, and prints a table with the error and, beside it, the noise (the same model measured twice in a round).
# Usage: bash bench/predict.sh [--device cpu|vulkan] [--rounds N] [--machine FILE] [--models "NAME,..."] [--vireo PATH]
#   --machine  a description of an earlier run instead of a fit
#   bash bench/predict.sh --maxwell [--models "vit-ti"] [--stat PATH]
#     instead: instructions as predict counts them beside those that maxwell-stat finds in the binaries for the Nano
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
vireo=$root/build/bin/vireo
exec /usr/bin/python3 "$root/bench/predict.py" --root "$root" --vireo "$vireo" "$@"
