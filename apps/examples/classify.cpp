// Embedding Vireo in C++: classify a picture. Pictures here are binary PPM (P6) files, so that the example needs no
// decoder.
//   example_classify_cpp MODEL_FOLDER picture.ppm
#include <cstdio>
#include <fstream>
#include <vireo/vireo.hpp>

static int fail(const vireo::Error& e) { return std::fprintf(stderr, "%s\n", e.message.c_str()), 1; }

static bool read_ppm(const char* path, std::vector<uint8_t>* rgb, int* width, int* height) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int most = 0;
  if (!(file >> magic >> *width >> *height >> most) || magic != "P6" || most != 255) return false;
  if (*width < 1 || *height < 1 || *width > 20000 || *height > 20000) return false;
  rgb->resize(size_t(3) * size_t(*width) * size_t(*height));
  file.get();  // the single white space after the header
  return bool(file.read(reinterpret_cast<char*>(rgb->data()), std::streamsize(rgb->size())));
}

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: %s MODEL_FOLDER picture.ppm\n", argv[0]), 2;
  std::vector<uint8_t> rgb;
  int width = 0, height = 0;
  if (!read_ppm(argv[2], &rgb, &width, &height)) return std::fprintf(stderr, "%s: no binary PPM file\n", argv[2]), 1;

  auto model = vireo::Model::open(argv[1]);  // read when a session is made, never kept whole
  if (!model) return fail(model.error());
  vireo::SessionOptions options;
  options.precision = vireo::Precision::kFp32;
  auto session = vireo::Session::create(*model, vireo::Device::best(), options);  // plan, pack, record: once
  if (!session) return fail(session.error());

  auto logits = session->run(vireo::Image{rgb.data(), width, height, 0});  // preprocess, submit, wait
  if (!logits) return fail(logits.error());
  std::printf("%s %s, %.2f ms\n", logits->device.kind, logits->device.name, logits->ms);
  for (const vireo::Score& s : vireo::top_k(*logits, 5))
    std::printf("%6.3f  %s\n", double(s.value), model->label(s.index).c_str());
  return 0;
}
