// One network in ncnn: reads a line "N" from standard input, makes N inferences and answers with their milliseconds.
// Built by ncnn.py against an ncnn that the user has; only the benchmark knows of it.
//   ncnn_bench PARAM BIN THREADS BF16
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cpu.h"
#include "net.h"

int main(int argc, char** argv) {
  if (argc != 5) return std::fprintf(stderr, "ncnn_bench PARAM BIN THREADS BF16\n"), 2;
  ncnn::Net net;
  net.opt.num_threads = std::atoi(argv[3]);
  net.opt.use_bf16_storage = std::strcmp(argv[4], "1") == 0;
  net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = false;
  ncnn::set_omp_num_threads(net.opt.num_threads);
  if (net.load_param(argv[1]) != 0 || net.load_model(argv[2]) != 0)
    return std::fprintf(stderr, "ncnn_bench: ncnn cannot load '%s'\n", argv[1]), 1;
  ncnn::Mat picture(224, 224, 3);
  unsigned state = 1;
  for (int c = 0; c < 3; ++c) {
    float* const plane = picture.channel(c);
    for (int i = 0; i < 224 * 224; ++i)
      state = state * 1664525u + 1013904223u, plane[i] = float(state >> 8) / 8388608.f - 1.f;
  }
  int wanted = 0;
  while (std::scanf("%d", &wanted) == 1) {
    for (int i = 0; i < wanted; ++i) {
      const auto start = std::chrono::steady_clock::now();
      ncnn::Extractor run = net.create_extractor();
      ncnn::Mat out;
      if (run.input("x", picture) != 0 || run.extract("out", out) != 0)
        return std::fprintf(stderr, "ncnn_bench: it failed\n"), 1;
      std::printf("%.4f ", std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  return 0;
}
