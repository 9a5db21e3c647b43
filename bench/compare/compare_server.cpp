// One half of bench/compare: Vireo behind a pipe, so that another runtime can be run in turns with it.
// Usage: compare_server MODEL_DIR INPUT.f32 THREADS PRECISION BATCH [cpu|vulkan]; vulkan is the loader's first device.
// Commands on stdin, a line of answer on stdout each:
//   run N        N inferences: their times in ms
//   cpu N        the same in this process's processor time
//   output FILE  the last inference's logits as raw floats: their count
//   peak N       the FMA peak of THREADS threads: the N probes' GFLOP/s (by processor time, so preemption does not
//   count) rss          peak resident size so far in MiB plan         precision and SIMD target in words
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <vector>
#include <vireo/vireo.hpp>

#include "../../engine/simd/fma_probe.h"

namespace {

using Clock = std::chrono::steady_clock;

/// Processor time so far in ms: CLOCK_THREAD_CPUTIME_ID or CLOCK_PROCESS_CPUTIME_ID.
double cpu_ms(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return 1e3 * double(t.tv_sec) + 1e-6 * double(t.tv_nsec);
}

double ms_since(Clock::time_point t) { return std::chrono::duration<double, std::milli>(Clock::now() - t).count(); }

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "compare_server: %s\n", what.c_str());
  std::exit(1);
}

std::vector<float> read_floats(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file || bytes.size() % 4 != 0) die(std::string("cannot read floats from ") + path);
  std::vector<float> floats(bytes.size() / 4);
  std::memcpy(floats.data(), bytes.data(), bytes.size());
  return floats;
}

/// GFLOP/s of `threads` threads that start probing together.
double peak(int threads) {
  constexpr int kProbes = 40;
  std::atomic<int> ready{0};
  std::vector<double> rates(size_t(threads), 0.0);
  const auto work = [&](int i) {
    ++ready;
    while (ready.load() < threads) {
    }
    const double begin = cpu_ms(CLOCK_THREAD_CPUTIME_ID);
    double flops = 0;
    for (int p = 0; p < kProbes; ++p) flops += vireo::fma_probe();
    rates[size_t(i)] = flops / (cpu_ms(CLOCK_THREAD_CPUTIME_ID) - begin) * 1e-6;
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(work, i);
  work(0);
  for (std::thread& t : others) t.join();
  double sum = 0;
  for (double r : rates) sum += r;
  return sum;
}

double peak_rss_mib() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line))
    if (line.rfind("VmHWM:", 0) == 0) return std::atof(line.c_str() + 6) / 1024;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string place = argc == 7 ? argv[6] : "cpu";
  if (argc < 6 || argc > 7 || (place != "cpu" && place != "vulkan"))
    die("expected MODEL_DIR INPUT.f32 THREADS PRECISION BATCH [cpu|vulkan]");
  const int threads = std::atoi(argv[3]);
  vireo::SessionOptions options;
  options.batch = std::atoi(argv[5]);
  const std::string precision = argv[4];
  bool known = false;
  for (const vireo::Precision p :
       {vireo::Precision::kFp32, vireo::Precision::kFp16, vireo::Precision::kInt8, vireo::Precision::kW8A8})
    if (precision == vireo::to_string(p)) options.precision = p, known = true;
  if (!known) die("got the precision '" + precision + "', expected fp32, fp16, int8 or w8a8");
  const auto model = vireo::Model::open(argv[1]);
  if (!model) die(model.error().message);
  const vireo::Result<vireo::Device> device =
      place == "cpu" ? vireo::Device::cpu(threads) : vireo::Device::vulkan(0, threads);
  if (!device) die(device.error().message);
  options.fallback = false;
  auto session = vireo::Session::create(*model, *device, options);
  if (!session) die(session.error().message);
  std::vector<float> one = read_floats(argv[2]), pixels;
  for (int i = 0; i < options.batch; ++i) pixels.insert(pixels.end(), one.begin(), one.end());

  std::string line;
  vireo::Output last;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string verb, file;
    words >> verb;
    if (verb == "run" || verb == "cpu") {
      int n = 1;
      words >> n;
      for (int i = 0; i < n; ++i) {
        const double before = cpu_ms(CLOCK_PROCESS_CPUTIME_ID);
        const Clock::time_point t = Clock::now();
        auto out = session->run(pixels.data(), pixels.size());
        const double ms = verb == "run" ? ms_since(t) : cpu_ms(CLOCK_PROCESS_CPUTIME_ID) - before;
        if (!out) die(out.error().message);
        last = *out;
        std::printf("%.4f ", ms);
      }
    } else if (verb == "output") {
      words >> file;
      const size_t count = size_t(last.batch) * size_t(last.rows) * size_t(last.cols);
      std::ofstream(file, std::ios::binary).write(reinterpret_cast<const char*>(last.data), std::streamsize(count * 4));
      std::printf("%zu", count);
    } else if (verb == "peak") {
      int n = 1;
      words >> n;
      for (int i = 0; i < n; ++i) std::printf("%.2f ", peak(threads));
    } else if (verb == "rss") {
      std::printf("%.1f", peak_rss_mib());
    } else if (verb == "plan") {
      std::printf("%s", session->device().name);
    } else {
      die("unknown command '" + line + "'");
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  return 0;
}
