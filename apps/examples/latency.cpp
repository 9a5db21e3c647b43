// Embedding Vireo in C++: watching a session that runs in another thread, as a control loop or a monitor does.
//   example_latency_cpp MODEL_FOLDER [INFERENCES]
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vireo/vireo.hpp>

static int fail(const vireo::Error& e) { return std::fprintf(stderr, "%s\n", e.message.c_str()), 1; }

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) return std::fprintf(stderr, "usage: %s MODEL_FOLDER [INFERENCES]\n", argv[0]), 2;
  const int inferences = argc == 3 ? std::atoi(argv[2]) : 200;
  auto model = vireo::Model::open(argv[1]);
  if (!model) return fail(model.error());

  std::atomic<bool> on_cpu{false};
  vireo::SessionOptions options;
  options.head = model->classes() > 0 ? vireo::Head::kLogits : vireo::Head::kFeatures;
  options.latency_window = 100;                            // the last hundred count
  options.on_inference = [&](const vireo::Inference& i) {  // in the thread that runs, after each inference
    if (i.fell_back && !on_cpu.exchange(true))
      std::printf("inference %llu: %s\n", static_cast<unsigned long long>(i.number), i.device.reason);
  };
  auto session = vireo::Session::create(*model, vireo::Device::best(), options);
  if (!session) return fail(session.error());

  std::atomic<bool> done{false};
  int status = 0;
  std::thread worker([&] {
    const std::vector<float> pixels(
        size_t(model->channels()) * size_t(session->input_height()) * size_t(session->input_width()), 0.5f);
    for (int i = 0; i < inferences && status == 0; ++i)
      if (auto out = session->run(pixels.data(), pixels.size()); !out) status = fail(out.error());
    done = true;
  });
  while (!done) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const vireo::Latency l = session->latency();  // never waits for the worker, nor the worker for it
    if (l.window > 0)
      std::printf("%6llu done, last %d: p50 %.2f ms, p99 %.2f ms, most %.2f ms\n",
                  static_cast<unsigned long long>(l.count), l.window, l.p50_ms, l.p99_ms, l.max_ms);
  }
  worker.join();
  return status;
}
