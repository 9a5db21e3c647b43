// A camera's frame to a network's input: this library's one pass beside what one would do without it, libswscale to
// RGB and then a resize and normalisation. Medians of runs in turns, so that a busy machine slows all alike.
//   picture_bench [--format nv12|i420] [--simd NAME] [--threads N] [--rounds N] [--frame WxH] [--size HxW]
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "model/preprocess.h"
#include "support/plain_resizer.h"

#if VIREO_SWSCALE
extern "C" {
#include <libavutil/frame.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
}
#endif

namespace vireo {
namespace {

/// Milliseconds: of this thread's own processor time where it works alone, so that being preempted does not count.
double now_ms(bool alone) {
  timespec t{};
  clock_gettime(alone ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return 1e3 * double(t.tv_sec) + 1e-6 * double(t.tv_nsec);
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

/// Pillow's resize as plain loops over the whole picture and a table of levels: how pictures were prepared before
/// they were read in one pass.
struct Plain {
  PreprocessConfig config;
  test::PlainResizer resizer;
  std::vector<float> table;
  explicit Plain(const PreprocessConfig& c) : config(c) {
    for (int level = 0; level < 256; ++level)
      table.push_back((float(double(level) * c.rescale_factor) - float(c.mean[0])) / float(c.std[0]));
  }
  void run(const uint8_t* rgb, int w, int h, float* out) {
    const int64_t ow = config.resize_w, oh = config.resize_h;
    const PictureView small = resizer.resize({rgb, w, h, 3 * w}, 3, ow, oh, {0, 0, ow, oh}, config.filter);
    for (int64_t c = 0; c < 3; ++c)
      for (int64_t y = 0; y < oh; ++y)
        for (int64_t x = 0; x < ow; ++x) out[(c * oh + y) * ow + x] = table[small.pixels[y * small.stride + 3 * x + c]];
  }
};

#if VIREO_SWSCALE
/// NV12 or I420 to RGB24 of the same size, on its own threads.
struct Swscale {
  SwsContext* context = nullptr;
  AVFrame *from = nullptr, *to = nullptr;
  Swscale(PixelFormat format, int w, int h, int threads) {
    const AVPixelFormat source = format == PixelFormat::kNv12 ? AV_PIX_FMT_NV12 : AV_PIX_FMT_YUV420P;
    context = sws_alloc_context();
    av_opt_set_int(context, "srcw", w, 0), av_opt_set_int(context, "srch", h, 0);
    av_opt_set_int(context, "dstw", w, 0), av_opt_set_int(context, "dsth", h, 0);
    av_opt_set_int(context, "src_format", source, 0);
    av_opt_set_int(context, "dst_format", AV_PIX_FMT_RGB24, 0);
    av_opt_set_int(context, "sws_flags", SWS_BILINEAR, 0);
    av_opt_set_int(context, "threads", threads, 0);
    if (sws_init_context(context, nullptr, nullptr) < 0) std::abort();
    for (AVFrame** f : {&from, &to}) {
      *f = av_frame_alloc();
      (*f)->format = f == &from ? source : AV_PIX_FMT_RGB24;
      (*f)->width = w, (*f)->height = h;
      if (av_frame_get_buffer(*f, 0) < 0) std::abort();
    }
  }
  ~Swscale() {
    sws_freeContext(context);
    av_frame_free(&from), av_frame_free(&to);
  }
  Swscale(const Swscale&) = delete;
  Swscale& operator=(const Swscale&) = delete;
  void fill(const uint8_t* bytes) {
    const bool nv12 = from->format == AV_PIX_FMT_NV12;
    for (int plane = 0; plane < (nv12 ? 2 : 3); ++plane) {
      const int width = plane > 0 && !nv12 ? from->width / 2 : from->width;
      for (int y = 0; y < (plane == 0 ? from->height : from->height / 2); ++y, bytes += width)
        std::memcpy(from->data[plane] + y * from->linesize[plane], bytes, size_t(width));
    }
  }
  void run() {
    if (sws_scale_frame(context, to, from) < 0) std::abort();
  }
};
#endif

struct Way {
  std::string name;
  std::function<void()> run;
  std::vector<double> ms;
};

int bench(PixelFormat format, const simd::Kernels& kernels, int threads, int rounds, int w, int h, int out_h,
          int out_w) {
  std::vector<uint8_t> bytes(packed_bytes(format, w, h));
  uint32_t state = 1;
  for (size_t i = 0; i < bytes.size(); ++i)  // a ramp with some noise
    bytes[i] = uint8_t((i / 64 + ((state = state * 1664525u + 1013904223u) >> 29)) & 0xFF);
  PreprocessConfig c;
  c.resize_h = c.input_h = out_h;
  c.resize_w = c.input_w = out_w;
  ThreadPool pool(threads);
  Preprocessor direct(c, kernels), of_rgb(c, kernels);
  Plain plain(c);
  std::vector<float> out(size_t(direct.output_size()));
  std::vector<uint8_t> rgb(size_t(w) * size_t(h) * 3);
  const Image frame = Image::packed(format, bytes.data(), w, h);
  if (!to_rgb(frame, rgb.data())) return 1;
  const auto need = [](const Result<void>& r) {
    if (!r) std::fprintf(stderr, "%s\n", r.error().message.c_str()), std::exit(1);
  };
  std::vector<Way> ways;
  ways.push_back(
      {std::string(to_string(format)) + ", one pass", [&] { need(direct.run(frame, out.data(), &pool)); }, {}});
  ways.push_back({"RGB, one pass", [&] { need(of_rgb.run(Image{rgb.data(), w, h}, out.data(), &pool)); }, {}});
  ways.push_back({"RGB, plain loops (one thread)", [&] { plain.run(rgb.data(), w, h, out.data()); }, {}});
#if VIREO_SWSCALE
  Swscale sws(format, w, h, threads);
  sws.fill(bytes.data());
  const auto from_sws = [&] { return Image{sws.to->data[0], w, h, sws.to->linesize[0]}; };
  ways.push_back({"libswscale to RGB", [&] { sws.run(); }, {}});
  ways.push_back({"libswscale to RGB, then RGB in plain loops",
                  [&] {
                    sws.run();
                    plain.run(sws.to->data[0], w, h, out.data());
                  },
                  {}});
  ways.push_back({"libswscale to RGB, then RGB in one pass",
                  [&] {
                    sws.run();
                    need(of_rgb.run(from_sws(), out.data(), &pool));
                  },
                  {}});
  if (sws.to->linesize[0] < 3 * w) return 1;
#endif
  for (int round = -1; round < rounds; ++round)
    for (Way& way : ways) {
      const double start = now_ms(threads == 1);
      way.run();
      const double ms = now_ms(threads == 1) - start;
      if (round >= 0) way.ms.push_back(ms);
    }
  const double mine = median(ways[0].ms);
  std::printf("%dx%d %s to %dx%d, %s, %d threads, %d rounds\n", w, h, to_string(format), out_w, out_h, kernels.name,
              threads, rounds);
  for (const Way& way : ways) {
    const double ms = median(way.ms);
    std::printf("%8.2f ms  %5.2f  %s\n", ms, mine / ms, way.name.c_str());
  }
#if !VIREO_SWSCALE
  std::printf("built without libswscale (Debian's libswscale-dev): no comparison\n");
#endif
  return 0;
}

}  // namespace
}  // namespace vireo

int main(int argc, char** argv) {
  using vireo::PixelFormat;
  using vireo::to_string;
  PixelFormat format = PixelFormat::kNv12;
  const vireo::simd::Kernels* kernels = &vireo::simd::best();
  int threads = 1, rounds = 25, w = 1920, h = 1080, out_h = 512, out_w = 512;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    bool fits = false;
    if (name == "--format") {
      format = std::strcmp(argv[i + 1], "i420") == 0 ? PixelFormat::kI420 : PixelFormat::kNv12;
      fits = std::strcmp(argv[i + 1], to_string(format)) == 0;
    }
    if (name == "--simd") fits = (kernels = vireo::simd::find(argv[i + 1])) != nullptr;
    if (name == "--threads") fits = std::sscanf(argv[i + 1], "%d", &threads) == 1 && threads > 0;
    if (name == "--rounds") fits = std::sscanf(argv[i + 1], "%d", &rounds) == 1 && rounds > 0;
    if (name == "--frame") fits = std::sscanf(argv[i + 1], "%dx%d", &w, &h) == 2 && w % 2 == 0 && h % 2 == 0;
    if (name == "--size") fits = std::sscanf(argv[i + 1], "%dx%d", &out_h, &out_w) == 2;
    if (!fits) return std::fprintf(stderr, "%s %s: see the head of picture_bench.cpp\n", argv[i], argv[i + 1]), 2;
  }
  return vireo::bench(format, *kernels, threads, rounds, w, h, out_h, out_w);
}
