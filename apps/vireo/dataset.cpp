// Labelled pictures: see dataset.h.
#include "dataset.h"

#include <dirent.h>
#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "cli.h"
#include "pictures.h"

namespace cli {
namespace {

bool is_file(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && !S_ISDIR(info.st_mode);
}

/// Sorted names in a folder, hidden ones left out.
std::vector<std::string> list_folder(const std::string& folder) {
  std::vector<std::string> names;
  DIR* dir = opendir(folder.c_str());
  if (dir == nullptr) throw Failure("cannot read the folder '" + folder + "'");
  while (const dirent* entry = readdir(dir))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

/// "T-shirt/top", "t_shirt top" and "T-Shirt-Top" are one class: letters and digits, lower case.
std::string canonical(const std::string& text) {
  std::string key;
  for (const char c : text) {
    const unsigned char u = static_cast<unsigned char>(c);
    if (std::isalnum(u) || u >= 128) key += char(std::tolower(u));
  }
  return key;
}

/// Class names to numbers, also by each synonym of "tench, Tinca tinca". A name of two classes ("crane") is no key.
class ClassNames {
 public:
  explicit ClassNames(const vireo::Model& model) : classes_(model.classes()) {
    for (int i = 0; i < classes_; ++i) {
      const std::string label = model.label(i);
      add(canonical(label), i, full_);
      std::istringstream parts(label);
      for (std::string part; std::getline(parts, part, ',');) add(canonical(part), i, parts_);
    }
  }
  /// -1 when no class is called so.
  int find(const std::string& name) const {
    const std::string key = canonical(name);
    for (const auto* names : {&full_, &parts_}) {
      const auto it = names->find(key);
      if (it != names->end()) return it->second;
    }
    return -1;
  }
  /// The class of this number, -1 when the text is no number or out of range.
  int number(const std::string& text) const {
    if (text.empty() || text.size() > 7 || text.find_first_not_of("0123456789") != std::string::npos) return -1;
    const int value = std::atoi(text.c_str());
    return value < classes_ ? value : -1;
  }

 private:
  static void add(const std::string& key, int index, std::map<std::string, int>& names) {
    const auto [it, fresh] = names.emplace(key, index);
    if (!fresh && it->second != index) it->second = -1;
  }
  int classes_;
  std::map<std::string, int> full_, parts_;
};

/// The fields of a CSV line; a field in double quotes may hold commas, and "" is a quote.
std::vector<std::string> csv_fields(const std::string& line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      fields.back() += '"';
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else if (c != '\r') {
      fields.back() += c;
    }
  }
  return fields;
}

int column(const std::vector<std::string>& header, const char* name) {
  for (size_t i = 0; i < header.size(); ++i)
    if (canonical(header[i]) == name) return int(i);
  return -1;
}

Dataset open_csv(const std::string& folder, const std::string& csv, const ClassNames& names) {
  std::ifstream file(csv, std::ios::binary);
  std::string line;
  if (!std::getline(file, line))
    throw Failure("cannot read '" + csv + "' or it is empty; expected a header line file,label");
  if (line.rfind("\xEF\xBB\xBF", 0) == 0) line.erase(0, 3);  // a byte order mark
  const std::vector<std::string> header = csv_fields(line);
  const int file_at = column(header, "file"), label_at = column(header, "label");
  if (file_at < 0 || label_at < 0)
    throw Failure("'" + csv + "': the header is '" + line + "'; expected the columns file,label");

  Dataset data;
  for (size_t row = 2; std::getline(file, line); ++row) {
    if (line.empty() || line == "\r") continue;
    const std::vector<std::string> fields = csv_fields(line);
    if (fields.size() <= size_t(std::max(file_at, label_at)))
      throw Failure("'" + csv + "', line " + std::to_string(row) + ": expected " + std::to_string(header.size()) +
                    " fields");
    Sample sample;
    sample.name = fields[size_t(file_at)];
    const std::string& label = fields[size_t(label_at)];
    sample.label = names.number(label);
    if (sample.label < 0) sample.label = names.find(label);
    if (sample.label < 0)
      throw Failure("'" + csv + "', line " + std::to_string(row) + ": the model has no class '" + label + "'");
    sample.path = folder + "/" + sample.name;
    if (!is_file(sample.path)) {
      const std::string inner = folder + "/images/" + sample.name;
      if (is_file(inner)) sample.path = inner;
    }
    data.samples.push_back(sample);
  }
  return data;
}

std::vector<int> folder_labels(const std::string& folder, const std::vector<std::string>& folders,
                               const ClassNames& names, int classes) {
  std::vector<int> by_name, by_number, by_order;
  std::string unknown;
  for (size_t i = 0; i < folders.size(); ++i) {
    by_name.push_back(names.find(folders[i]));
    by_number.push_back(names.number(folders[i]));
    by_order.push_back(int(i));
    if (by_name.back() < 0 && unknown.empty()) unknown = folders[i];
  }
  const auto complete = [](const std::vector<int>& labels) {
    return std::count(labels.begin(), labels.end(), -1) == 0;
  };
  if (complete(by_name)) return by_name;
  if (complete(by_number)) return by_number;
  if (int(folders.size()) == classes) return by_order;
  throw Failure("'" + folder + "': the folder '" + unknown + "' is no class of the model, and its " +
                std::to_string(folders.size()) + " folders are not its " + std::to_string(classes) + " classes either");
}

/// A whole .gz file, unpacked.
std::vector<uint8_t> read_gz(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  if (!file || !(bytes << file.rdbuf()))
    throw Failure("cannot read '" + path + "'; Debian's package dataset-fashion-mnist has it");
  const std::string gz = bytes.str();
  const auto at = [&gz](size_t i) { return static_cast<unsigned char>(gz[i]); };
  if (gz.size() < 18 || at(0) != 0x1f || at(1) != 0x8b || at(2) != 8) throw Failure("'" + path + "' is no gzip file");
  // The last four bytes say how much it holds; deflate makes at most 1032 bytes of one.
  const size_t expected =
      at(gz.size() - 4) | at(gz.size() - 3) << 8 | at(gz.size() - 2) << 16 | size_t(at(gz.size() - 1)) << 24;
  std::vector<uint8_t> out(expected / 1032 <= gz.size() ? expected : 0);
  z_stream stream{};
  constexpr int kGzip = 16;
  bool good = !out.empty() && inflateInit2(&stream, MAX_WBITS + kGzip) == Z_OK;
  if (good) {
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(gz.data()));
    stream.avail_in = uInt(gz.size());
    stream.next_out = out.data();
    stream.avail_out = uInt(out.size());
    good = inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.avail_out == 0;
    inflateEnd(&stream);
  }
  if (!good) throw Failure("'" + path + "' is a damaged gzip file");
  return out;
}

uint32_t big_endian(const std::vector<uint8_t>& bytes, size_t at) {
  return uint32_t(bytes[at]) << 24 | uint32_t(bytes[at + 1]) << 16 | uint32_t(bytes[at + 2]) << 8 | bytes[at + 3];
}

/// Checks an idx file of bytes and returns its extents.
std::vector<uint32_t> idx_header(const std::string& path, const std::vector<uint8_t>& bytes, size_t rank) {
  std::vector<uint32_t> extents;
  const size_t header = 4 + 4 * rank;
  if (bytes.size() < header || big_endian(bytes, 0) != (0x800u | rank))
    throw Failure("'" + path + "' is no idx file of bytes with " + std::to_string(rank) + " dimensions");
  uint64_t size = 1;
  for (size_t i = 0; i < rank; ++i) {
    extents.push_back(big_endian(bytes, 4 + 4 * i));
    size *= std::min<uint64_t>(extents.back(), 1u << 20);
  }
  if (size != bytes.size() - header) throw Failure("'" + path + "': its header promises another size than it has");
  return extents;
}

}  // namespace

vireo::Result<Rgb8> Dataset::load(const Sample& sample, const ReadOptions& options) const {
  if (!sample.path.empty()) return load_image(sample.path, options);
  Rgb8 picture;
  picture.width = width;
  picture.height = height;
  const size_t size = size_t(width) * size_t(height);
  picture.rgb.resize(3 * size);
  const uint8_t* grey = &pixels[sample.index * size];
  for (size_t i = 0; i < size; ++i) std::fill_n(&picture.rgb[3 * i], 3, grey[i]);
  return picture;
}

Dataset open_folder(const std::string& folder, const vireo::Model& model) {
  if (!is_folder(folder))
    throw Failure("'" + folder + "' is no folder; expected one with labels.csv or one folder per class");
  const ClassNames names(model);
  Dataset data;
  const std::string csv = folder + "/labels.csv";
  if (is_file(csv)) {
    data = open_csv(folder, csv, names);
  } else {
    std::vector<std::string> folders;
    for (const std::string& name : list_folder(folder))
      if (is_folder(folder + "/" + name)) folders.push_back(name);
    if (folders.empty()) throw Failure("'" + folder + "' has neither labels.csv nor one folder per class");
    const std::vector<int> labels = folder_labels(folder, folders, names, model.classes());
    for (size_t i = 0; i < folders.size(); ++i) {
      for (const std::string& file : list_folder(folder + "/" + folders[i])) {
        const std::string path = folder + "/" + folders[i] + "/" + file;
        if (is_file(path)) data.samples.push_back(Sample{folders[i] + "/" + file, path, 0, labels[i]});
      }
    }
  }
  if (data.samples.empty()) throw Failure("'" + folder + "' lists no picture");
  return data;
}

Dataset open_fashion_mnist(const std::string& folder) {
  const std::string images_path = folder + "/t10k-images-idx3-ubyte.gz",
                    labels_path = folder + "/t10k-labels-idx1-ubyte.gz";
  Dataset data;
  data.pixels = read_gz(images_path);
  const std::vector<uint8_t> labels = read_gz(labels_path);
  const std::vector<uint32_t> extents = idx_header(images_path, data.pixels, 3);
  const uint32_t count = idx_header(labels_path, labels, 1)[0];
  if (count != extents[0] || extents[1] == 0 || extents[2] == 0)
    throw Failure("'" + images_path + "' has " + std::to_string(extents[0]) + " pictures, but there are " +
                  std::to_string(count) + " labels");
  data.pixels.erase(data.pixels.begin(), data.pixels.begin() + 16);
  data.height = int(extents[1]);
  data.width = int(extents[2]);
  for (uint32_t i = 0; i < count; ++i)
    data.samples.push_back(Sample{"picture " + std::to_string(i), "", i, labels[8 + i]});
  return data;
}

}  // namespace cli
