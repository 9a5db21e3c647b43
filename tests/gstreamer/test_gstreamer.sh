#!/usr/bin/env bash
# The GStreamer element: what gst-inspect says, answers on the bus beside the tool's own, formats and sizes, errors, and
# memory that does not grow with the number of frames. VIREO_GST_PLUGINS: the folder of the plugin.
set -u
# shellcheck source=tests/script.sh
. "$(dirname "${BASH_SOURCE[0]}")/../script.sh"
export GST_PLUGIN_PATH=$VIREO_GST_PLUGINS GST_REGISTRY=$work/registry.bin
model=$VIREO_SOURCE/models/fashion-vit
segmenter=$VIREO_SOURCE/models/disaster-upernet

if ! command -v gst-launch-1.0 >/dev/null || ! command -v gst-inspect-1.0 >/dev/null; then
  skip gstreamer "gst-launch-1.0 is not installed (gstreamer1.0-tools)"
  finish
  exit
fi
if ! gst-inspect-1.0 videotestsrc >/dev/null 2>&1; then
  skip gstreamer "videotestsrc is not installed (gstreamer1.0-plugins-base)"
  finish
  exit
fi

# run FRAMES CAPS PROPERTIES...: messages of the bus to $work/out
run() {
  local frames=$1 caps=$2
  shift 2
  timeout 120 gst-launch-1.0 -m videotestsrc num-buffers="$frames" pattern=smpte ! "$caps" ! vireo "$@" ! fakesink \
    >"$work/out" 2>"$work/err"
}
answers() { grep -c 'message.*element.*vireo, ' "$work/out"; }

gst-inspect-1.0 vireo >"$work/inspect" 2>&1
for word in model device precision weights interval top rotation threads task overlay preprocess metadata Filter/Analyzer/Video NV12 GRAY16_LE; do
  check "inspect.$word" grep -q -- "$word" "$work/inspect"
done

for format in NV12 NV21 I420 YV12 Y42B Y444 YUY2 UYVY RGB BGR RGBx BGRx RGBA BGRA GRAY8 GRAY16_LE; do
  run 2 "video/x-raw,format=$format,width=321,height=243" model="$model" device=cpu
  check "format.$format" test "$?-$(answers)" = 0-2
done

# The same frame through the tool, as raw bytes.
gst-launch-1.0 -q videotestsrc num-buffers=1 pattern=smpte ! video/x-raw,format=RGB,width=320,height=240 ! \
  filesink location="$work/frame.rgb" 2>/dev/null
label=$("$VIREO_CLI" classify --device cpu --model "$model" --topk 1 --frame 320x240 - <"$work/frame.rgb" |
  sed -n 's/^ .*% *//p')
run 1 video/x-raw,format=RGB,width=320,height=240 model="$model" device=cpu top=1
check "tool.answers" test -n "$label"
check "answer.isTheTools" grep -q "label.*${label// /.*}" "$work/out"

run 10 video/x-raw,format=NV12,width=320,height=240 model="$model" device=cpu interval=4
check "interval" test "$(answers)" = 3
run 2 video/x-raw,format=NV12,width=320,height=240 model="$VIREO_SOURCE/models/disaster-upernet" device=cpu
check "segmentation" grep -q 'share' "$work/out"
check "segmentation.size" grep -q 'map-width.*320.*map-height.*256' "$work/out"
run 1 video/x-raw,format=NV12,width=320,height=240 model="$model" device=cpu task=embed
check "task.embed" grep -q 'features' "$work/out"
check "task.embed.alone" test "$(grep -c 'classes' "$work/out")" = 0
run 1 video/x-raw,format=NV12,width=320,height=240 model="$model" device=cpu task=classify preprocess=cpu
check "task.classify" grep -q 'score' "$work/out"

# What the buffers carry behind the element: read_meta prints a line for each.
meta() {
  timeout 120 "$VIREO_GST_READ_META" "$1" >"$work/out" 2>"$work/err"
}
source="videotestsrc num-buffers=4 pattern=smpte ! video/x-raw,format=NV12,width=320,height=240"
if [ -x "${VIREO_GST_READ_META:-}" ]; then
  meta "$source ! vireo model=$model device=cpu top=1 interval=3 ! fakesink name=sink"
  check "meta.ends" test "$?" = 0
  check "meta.everyThird" test "$(sed 's/ .*//' "$work/out" | tr '\n' ' ')" = "meta: none none meta: "
  check "meta.isTheMessage" test "$(grep -c ' as posted$' "$work/out")" = 2
  check "meta.isTheTools" grep -q "0,0 320x240 .*label.*${label// /.*}" "$work/out"
  # Behind elements that pass buffers on it is still there.
  meta "$source ! vireo model=$model device=cpu top=1 ! queue ! identity ! fakesink name=sink"
  check "meta.passes" test "$(grep -c '^meta: 0,0 320x240' "$work/out")" = 4
  meta "$source ! vireo model=$model device=cpu metadata=false ! fakesink name=sink"
  check "meta.off" test "$(sort -u "$work/out")" = none
  # A buffer that another branch holds is not changed there, and its bytes are not copied.
  meta "$source ! tee name=t ! queue ! fakesink name=other t. ! queue ! vireo model=$model device=cpu ! fakesink name=sink"
  check "meta.tee" test "$(grep -c '^meta: ' "$work/out")-$(grep -c '^other: none' "$work/out")" = 4-4
  check "meta.tee.sharesMemory" test "$(grep -c ' shared' "$work/out")" = 4
  meta "$source ! vireo model=$segmenter device=cpu overlay=true ! fakesink name=sink"
  check "meta.overlay" test "$(grep -c 'map-width=(int)320.*as posted$' "$work/out")" = 4
else
  skip meta "there is no read_meta in this build"
fi

# frames NAME FORMAT PROPERTIES...: three frames as they leave the element, in $work/NAME
frames() {
  local name=$1 format=$2
  shift 2
  timeout 120 gst-launch-1.0 -q videotestsrc num-buffers=3 pattern=solid-color foreground-color=0xff000000 ! \
    "video/x-raw,format=$format,width=65,height=43" ! vireo model="$segmenter" device=cpu "$@" ! filesink location="$work/$name" 2>"$work/err"
}
for format in NV12 NV21 I420 YV12 Y42B Y444 YUY2 UYVY RGB BGR RGBx BGRx RGBA BGRA GRAY8 GRAY16_LE; do
  frames plain "$format"
  frames drawn "$format" overlay=true interval=2
  check "overlay.$format.size" test "$(stat -c %s "$work/plain")" = "$(stat -c %s "$work/drawn")"
  check "overlay.$format.draws" test "$(cmp -s "$work/plain" "$work/drawn"; echo $?)" = 1
done
# Black with half of a class's colour: as many colours as there are classes at most, the same in every format that has them.
if command -v python3 >/dev/null; then
  frames rgb RGB overlay=true
  frames bgrx BGRx overlay=true
  frames turned RGB overlay=true rotation=180
  check "overlay.colours" python3 - "$work/rgb" "$work/bgrx" "$work/turned" <<'PY'
import sys
w, h = 65, 43
def pixels(path, each, order):
    data = open(path, "rb").read()
    stride = (w * each + 3) // 4 * 4
    return [[tuple(data[y * stride + x * each + c] for c in order) for x in range(w)] for y in range(h)]
rgb, bgrx = pixels(sys.argv[1], 3, (0, 1, 2)), pixels(sys.argv[2], 4, (2, 1, 0))
assert rgb == bgrx
colours = {p for row in rgb for p in row}
palette = [(0x5E, 0xA9, 0xFF), (0x60, 0x05, 0x51), (0xFC, 0xF1, 0x42), (0x72, 0x87, 0x7B), (0xA6, 0x4C, 0x9A), (0x00, 0x4F, 0x32),
           (0xDC, 0x99, 0x0F), (0xA1, 0x8D, 0x5A)]
halves = {tuple((c + 1) // 2 for c in p) for p in palette}
assert colours and colours <= halves, colours
assert {p for row in pixels(sys.argv[3], 3, (0, 1, 2)) for p in row} <= halves
PY
else
  skip overlay.colours "there is no python3"
fi

# bad NAME WORD PROPERTIES...: an element error that says WORD
bad() {
  local name=$1 word=$2
  shift 2
  run 1 video/x-raw,format=NV12,width=64,height=48 "$@"
  check "bad.$name.fails" test "$?" -ne 0
  check "bad.$name.says" grep -q -- "$word" "$work/err" "$work/out"
}
bad model "property 'model' is not set" device=cpu
bad gone gone model="$work/gone" device=cpu
bad device "device is 'gpu'" model="$model" device=gpu
bad precision "precision is 'fp12'" model="$model" device=cpu precision=fp12
bad task "task is 'detect'" model="$model" device=cpu task=detect
bad notASegmenter "has no map" model="$model" device=cpu task=segment
bad notAClassifier "segments" model="$segmenter" device=cpu task=classify
bad nothingToDraw "overlay draws the classes of pixels" model="$model" device=cpu overlay=true
bad preprocess "preprocess is 'tpu'" model="$model" device=cpu preprocess=tpu
bad rotation "rotation is 45" model="$model" device=cpu rotation=45

# Peak memory of 200 frames and of 10000.
peak() {
  python3 - "$@" <<'PY'
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
PY
}
if command -v python3 >/dev/null; then
  line=(! 'video/x-raw,format=NV12,width=320,height=240' ! vireo "model=$model" device=cpu ! fakesink)
  few=$(peak gst-launch-1.0 videotestsrc num-buffers=200 "${line[@]}")
  many=$(peak gst-launch-1.0 videotestsrc num-buffers=10000 "${line[@]}")
  check "memory.isFlat" test "$many" -lt $((few + 4096))
else
  skip memory.isFlat "there is no python3"
fi
finish
