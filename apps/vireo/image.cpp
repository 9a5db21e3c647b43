// Files and folders of pictures: see image.h. What decodes them is in picture/.
#include "image.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cli {
namespace {

using vireo::Error;
using vireo::ErrorCode;
using vireo::Result;

Error failed(ErrorCode code, const std::string& name, const std::string& what) {
  return {code, "picture '" + name + "' " + what};
}

bool wait(int file, const ReadOptions& options) {
  if (options.readable) return options.readable(file);
  pollfd one{file, POLLIN, 0};
  ::poll(&one, 1, -1);  // what fails here fails in read()
  return true;
}

struct Descriptor {
  int number;
  ~Descriptor() { ::close(number); }
};

}  // namespace

Result<std::vector<uint8_t>> read_picture_file(const std::string& path, const ReadOptions& options) {
  // A named pipe is opened whether it has a writer or not: waiting for one is poll()'s part, which can be ended.
  const int opened = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (opened < 0) {
    if (errno == ENOENT || errno == ENOTDIR)
      return failed(ErrorCode::kNotFound, path, "does not exist; check the path");
    const bool rights = errno == EACCES || errno == EPERM;
    return failed(
        ErrorCode::kIo, path,
        std::string("cannot be read: ") + std::strerror(errno) + (rights ? "; change its access rights" : ""));
  }
  const Descriptor file{opened};
  struct stat status {};
  if (::fstat(opened, &status) != 0)
    return failed(ErrorCode::kIo, path, std::string("cannot be read: ") + std::strerror(errno));
  if (S_ISDIR(status.st_mode)) return failed(ErrorCode::kIo, path, "is a folder, expected a file");
  const auto too_large = [&](const std::string& bytes) {
    return failed(ErrorCode::kUnsupported, path,
                  "has " + bytes + " bytes, expected at most " + std::to_string(kMaxPictureBytes));
  };
  const bool regular = S_ISREG(status.st_mode);
  if (regular && uint64_t(status.st_size) > kMaxPictureBytes) return too_large(std::to_string(status.st_size));
  // Pipes and devices tell no size and may have no end: what begins as no picture is not read on.
  constexpr size_t kHead = 4096;
  std::vector<uint8_t> bytes(regular ? size_t(status.st_size) + 1 : kHead);
  size_t got = 0;
  for (bool looked = regular;;) {
    if (!regular && !wait(opened, options)) return failed(ErrorCode::kIo, path, "was not read: the program was ended");
    const ssize_t n = ::read(opened, bytes.data() + got, bytes.size() - got);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return failed(ErrorCode::kIo, path, std::string("cannot be read: ") + std::strerror(errno));
    if (n == 0) break;
    got += size_t(n);
    if (got < bytes.size()) continue;
    if (!looked) {
      const std::string refusal = refuse_picture(bytes.data(), got);
      if (!refusal.empty()) return failed(ErrorCode::kUnsupported, path, refusal);
      looked = true;
    }
    if (got > kMaxPictureBytes) return too_large("more");
    bytes.resize(std::min(kMaxPictureBytes + 1, 2 * got));
  }
  if (regular && got < size_t(status.st_size))
    return failed(ErrorCode::kIo, path,
                  "gave only " + std::to_string(got) + " of its " + std::to_string(status.st_size) + " bytes");
  bytes.resize(got);
  return bytes;
}

Result<Rgb8> load_image(const std::string& path, const ReadOptions& options) {
  Result<std::vector<uint8_t>> bytes = read_picture_file(path, options);
  if (!bytes) return std::move(bytes.error());
  return decode_image(bytes->data(), bytes->size(), path, options);
}

/// A pipe or a device, whose reading might never end: in a folder it is nobody's picture. One that is named is another
/// matter.
static bool is_special(const std::string& path) {
  struct stat s {};
  return ::stat(path.c_str(), &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
}

Result<std::vector<std::string>> list_pictures(const std::string& folder) {
  struct Close {
    void operator()(DIR* d) const { closedir(d); }
  };
  const std::unique_ptr<DIR, Close> dir(opendir(folder.c_str()));
  if (dir == nullptr) {
    return Error{ErrorCode::kIo, "the folder '" + folder + "' cannot be read: " + std::strerror(errno)};
  }
  std::vector<std::string> names;
  while (const dirent* entry = readdir(dir.get())) {
    const std::string name = entry->d_name;
    const size_t dot = name.rfind('.');
    if (dot == 0 || dot == std::string::npos) continue;
    std::string ending = name.substr(dot + 1);
    for (char& c : ending) c = char(std::tolower(static_cast<unsigned char>(c)));
    for (const char* known : {"jpg", "jpeg", "jpe", "jfif", "png", "webp", "tif", "tiff", "bmp", "dib", "gif", "tga",
                              "ppm", "pgm", "pbm", "pnm"})
      if (ending == known && name[0] != '.' && !is_special(folder + "/" + name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string stem_of(const std::string& path) {
  const std::string name = path.substr(path.find_last_of('/') + 1);
  const size_t dot = name.rfind('.');
  return dot == 0 || dot == std::string::npos ? name : name.substr(0, dot);
}

}  // namespace cli
