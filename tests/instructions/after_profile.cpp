// Inferences on the CPU after a profile, or without one: test_instructions.sh has callgrind count both.
// after_profile MODEL INFERENCES [profile]
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <vireo/profile.hpp>

int main(int argc, char** argv) {
  const auto failed = [](const vireo::Error& e) {
    std::fprintf(stderr, "after_profile: %s\n", e.message.c_str());
    return 1;
  };
  if (argc < 3) return 2;
  const auto model = vireo::Model::open(argv[1]);
  if (!model) return failed(model.error());
  auto session = vireo::Session::create(*model, vireo::Device::cpu(1));
  if (!session) return failed(session.error());
  const std::vector<float> pixels(
      size_t(model->channels()) * size_t(model->input_height()) * size_t(model->input_width()), 0.5f);
  if (argc > 3 && !std::strcmp(argv[3], "profile")) {
    vireo::ProfileOptions options;
    options.runs = 1, options.least_seconds = 0;  // as many instructions every time
    options.roofs = false;
    const auto p = session->profile(pixels.data(), pixels.size(), options);
    if (!p) return failed(p.error());
  }
  for (int i = std::atoi(argv[2]); i > 0; --i)
    if (const auto scores = session->run(pixels.data(), pixels.size()); !scores) return failed(scores.error());
  return 0;
}
