#!/usr/bin/env bash
# The GStreamer element: what gst-inspect says, answers on the bus beside the tool's own, formats and sizes, errors, and
# memory that does not grow with the number of frames. VIREO_GST_PLUGINS: the folder of the plugin.
set -u
# shellcheck source=tests/script.sh
. "$(dirname "${BASH_SOURCE[0]}")/../script.sh"
export GST_PLUGIN_PATH=$VIREO_GST_PLUGINS GST_REGISTRY=$work/registry.bin
model=$VIREO_SOURCE/models/fashion-vit

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
for word in model device precision weights interval top rotation threads Filter/Analyzer/Video NV12 GRAY16_LE; do
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
bad rotation "rotation is 45" model="$model" device=cpu rotation=45

# Peak memory of 200 frames and of 5000.
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
  many=$(peak gst-launch-1.0 videotestsrc num-buffers=5000 "${line[@]}")
  check "memory.isFlat" test "$many" -lt $((few + 4096))
else
  skip memory.isFlat "there is no python3"
fi
finish
