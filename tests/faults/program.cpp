// What the fault tests run beside the command line tool, as a user's program would be written:
//   fault_program session MODEL DEVICE   opens, runs, has two inferences in flight, closes; prints the scores
//   fault_program write PATH TEXT TIMES  writes a file with the engine's writer
#include <unistd.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include <vireo/vireo.hpp>

#include "base/write_file.h"

namespace {

int complain(const char* text) {
  // One write without a buffer: this may be said when no memory is left.
  char line[512];
  const int n = std::snprintf(line, sizeof line, "vireo: %s\n", text);
  (void)!write(2, line, std::min(size_t(n), sizeof line));
  return 1;
}

int session(const char* path, const char* device_name) {
  vireo::Result<vireo::Model> model = vireo::Model::open(path);
  if (!model) return complain(model.error().message.c_str());
  vireo::Result<vireo::Device> device =
      std::strcmp(device_name, "cpu") == 0 ? vireo::Device::cpu(2) : vireo::Device::vulkan(0, 2);
  if (!device) return complain(device.error().message.c_str());
  vireo::Result<vireo::Session> session = vireo::Session::create(*model, *device);
  if (!session) return complain(session.error().message.c_str());
  for (const std::string& warning : session->warnings()) std::fprintf(stderr, "note: %s\n", warning.c_str());
  std::vector<uint8_t> rgb(28 * 28 * 3);
  for (size_t i = 0; i < rgb.size(); ++i) rgb[i] = uint8_t(i * 37 % 251);
  const vireo::Image image{rgb.data(), 28, 28, 0};
  vireo::Result<vireo::Ticket> first = session->submit(&image, 1);
  if (!first) return complain(first.error().message.c_str());
  vireo::Result<vireo::Ticket> second = session->submit(&image, 1);
  if (!second) return complain(second.error().message.c_str());
  for (int i = 0; i < 3; ++i) {
    vireo::Result<vireo::Output> out = i == 0   ? session->wait(*first)
                                       : i == 1 ? session->wait(*second)
                                                : session->run(image);
    if (!out) return complain(out.error().message.c_str());
    for (int c = 0; c < out->cols; ++c) std::printf("%.6g ", double(out->data[c]));
    std::printf("\n");
  }
  return std::fflush(stdout) == 0 ? 0 : complain("cannot write the output");
}

int write_file(const char* path, const char* text, int times) {
  vireo::NewFile file;
  std::string why = file.open(path);
  for (int i = 0; i < times && why.empty(); ++i) why = file.write(text, std::strlen(text));
  if (why.empty()) why = file.commit();
  return why.empty() ? 0 : complain(why.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 4 && std::strcmp(argv[1], "session") == 0) return session(argv[2], argv[3]);
    if (argc == 5 && std::strcmp(argv[1], "write") == 0) return write_file(argv[2], argv[3], std::atoi(argv[4]));
  } catch (const std::bad_alloc&) {
    return complain("out of memory");
  }
  return 2;
}
