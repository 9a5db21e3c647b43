#include "npy.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <sys/stat.h>

#include "write_file.h"

namespace cli {
namespace {

using vireo::Error;
using vireo::ErrorCode;
using vireo::Result;

constexpr char kMagic[] = "\x93NUMPY";

struct Close {
  void operator()(std::FILE* f) const { std::fclose(f); }
};

Result<std::vector<uint8_t>> read_file(const std::string& path) {
  const auto failed = [&](ErrorCode code, const std::string& what) { return Error{code, "'" + path + "' " + what}; };
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return failed(errno == ENOENT || errno == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo,
                  std::string("cannot be read: ") + std::strerror(errno));
  }
  if (!S_ISREG(info.st_mode)) return failed(ErrorCode::kIo, "is not a regular file, expected a .npy file");
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) return failed(ErrorCode::kIo, std::string("cannot be read: ") + std::strerror(errno));
  std::vector<uint8_t> bytes(static_cast<size_t>(info.st_size));
  if (!bytes.empty() && std::fread(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) {
    return failed(ErrorCode::kIo, "could not be read to its end");
  }
  return bytes;
}

/// The text after `'key':` in the header's Python dictionary, or null.
const char* after_key(const std::string& header, const char* key) {
  const size_t at = header.find(std::string("'") + key + "'");
  if (at == std::string::npos) return nullptr;
  const size_t colon = header.find(':', at);
  if (colon == std::string::npos) return nullptr;
  const char* p = header.c_str() + colon + 1;
  while (*p == ' ') ++p;
  return p;
}

/// "(3, 10)" -> {3, 10}; false when it is no such tuple.
bool read_shape(const char* p, std::vector<int64_t>* shape, int64_t* elements) {
  if (p == nullptr || *p++ != '(') return false;
  *elements = 1;
  while (true) {
    while (*p == ' ' || *p == ',') ++p;
    if (*p == ')') return true;
    char* end = nullptr;
    const long long v = std::strtoll(p, &end, 10);
    if (end == p || v < 0 || __builtin_mul_overflow(*elements, int64_t(v), elements)) return false;
    shape->push_back(v);
    p = end;
  }
}

}  // namespace

Result<NpyArray> read_npy(const std::string& path) {
  Result<std::vector<uint8_t>> file = read_file(path);
  if (!file) return std::move(file.error());
  return parse_npy(file->data(), file->size(), path);
}

Result<NpyArray> parse_npy(const uint8_t* d, size_t size, const std::string& path) {
  const auto corrupt = [&](const char* what) {
    return Error{ErrorCode::kCorrupt, "'" + path + "' is not a usable .npy file: " + what};
  };
  if (size < 12 || std::memcmp(d, kMagic, 6) != 0) return corrupt("it does not begin with NumPy's signature");
  const size_t prefix = d[6] == 1 ? 10 : 12;
  const size_t length = d[6] == 1 ? size_t(d[8] | d[9] << 8)
                                  : size_t(d[8]) | size_t(d[9]) << 8 | size_t(d[10]) << 16 | size_t(d[11]) << 24;
  if (length > size - prefix) return corrupt("its header is truncated");
  const std::string header(reinterpret_cast<const char*>(d) + prefix, length);
  const char* descr = after_key(header, "descr");
  const char* order = after_key(header, "fortran_order");
  NpyArray array;
  int64_t elements = 0;
  if (descr == nullptr || order == nullptr || !read_shape(after_key(header, "shape"), &array.shape, &elements)) {
    return corrupt("its header lacks descr, fortran_order or shape");
  }
  const bool f4 = std::strncmp(descr, "'<f4'", 5) == 0, u1 = std::strncmp(descr, "'|u1'", 5) == 0;
  if ((!f4 && !u1) || std::strncmp(order, "False", 5) != 0) {
    return Error{ErrorCode::kUnsupported, "'" + path + "' holds " + std::string(descr, strnlen(descr, 8)) +
                                              ", expected float32 ('<f4') or uint8 ('|u1') in C order"};
  }
  const size_t bytes = size - prefix - length;
  if (uint64_t(elements) > bytes || (f4 && uint64_t(elements) > bytes / 4)) return corrupt("its data is truncated");
  const uint8_t* elements_at = d + prefix + length;
  array.data.resize(size_t(elements));
  if (f4 && elements > 0) std::memcpy(array.data.data(), elements_at, size_t(elements) * 4);
  if (u1) {
    for (size_t i = 0; i < size_t(elements); ++i) array.data[i] = float(elements_at[i]);
  }
  return array;
}

Result<void> write_npy(const std::string& path, const float* data, const std::vector<int64_t>& shape) {
  std::string dims;
  int64_t elements = 1;
  for (int64_t d : shape) {
    dims += std::to_string(d) + ", ";
    elements *= d;
  }
  if (shape.size() > 1) dims.resize(dims.size() - 2);
  if (shape.size() == 1) dims.resize(dims.size() - 1);
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + dims + "), }";
  header.resize((header.size() + 1 + 10 + 63) / 64 * 64 - 10 - 1, ' ');  // the data begins at a multiple of 64
  header += '\n';
  std::string start(kMagic, 6);
  start += {'\x01', '\x00', char(header.size() & 0xff), char(header.size() >> 8)};

  return write_whole(
      path, {{start.data(), start.size()}, {header.data(), header.size()}, {data, size_t(elements) * sizeof(float)}});
}

}  // namespace cli
