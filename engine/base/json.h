// nlohmann's JSON, with destructors that need no memory. Its own move every container's children onto a heap-allocated
// stack, so that a document of a million nested lists cannot overflow the program's; where memory has run out, that
// allocation throws inside a destructor, and the program is terminated just while it reports that memory ran out.
//
// Included by .cpp files only (nlohmann's header is slow to compile), and by the command line tool
// (apps/CMakeLists.txt).
#pragma once

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <map>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace vireo {

/// The usual allocator under a name of its own: it makes the types below ours, and tells a document's own lists
/// (std::vector<J, JsonAllocator<J>>) from the destructor's stack (std::vector<J>).
template <typename T>
struct JsonAllocator : std::allocator<T> {
  template <typename U>
  struct rebind {
    using other = JsonAllocator<U>;
  };
  JsonAllocator() = default;
  template <typename U>
  JsonAllocator(const JsonAllocator<U>&) noexcept {}
};

using SortedJson =
    nlohmann::basic_json<std::map, std::vector, std::string, bool, int64_t, uint64_t, double, JsonAllocator>;
/// Keys in the order of writing.
using OrderedJson = nlohmann::basic_json<nlohmann::ordered_map, std::vector, std::string, bool, int64_t, uint64_t,
                                         double, JsonAllocator>;

/// Stands for the stack in a destructor: what is pushed is destroyed at once, by recursion, as far as no program's
/// stack minds; from there on it is kept, as nlohmann does.
template <typename J>
class JsonGrave {
 public:
  using value_type = J;
  using reference = J&;
  using const_reference = const J&;

  void reserve(size_t) noexcept {}
  void push_back(J&& value) {
    if (depth() >= kRecursion) return deep_.push_back(std::move(value));
    ++depth();
    { const J gone(std::move(value)); }
    --depth();
  }
  bool empty() const noexcept { return deep_.empty(); }
  J& back() { return deep_.back(); }
  void pop_back() { deep_.pop_back(); }

 private:
  static constexpr int kRecursion = 64;
  static int& depth() {
    static thread_local int now = 0;
    return now;
  }

  /// A deque that has held nothing would have allocated already.
  class Lazy {
   public:
    ~Lazy() { delete values_; }
    void push_back(J&& value) {
      if (values_ == nullptr) values_ = new std::deque<J, JsonAllocator<J>>;
      values_->push_back(std::move(value));
    }
    bool empty() const noexcept { return values_ == nullptr || values_->empty(); }
    J& back() { return values_->back(); }
    void pop_back() { values_->pop_back(); }

   private:
    std::deque<J, JsonAllocator<J>>* values_ = nullptr;
  } deep_;
};

}  // namespace vireo

// The types are this project's own (by their allocator), and nothing but nlohmann's destructors names these two
// vectors.
template <>
class std::vector<vireo::SortedJson> : public vireo::JsonGrave<vireo::SortedJson> {};
template <>
class std::vector<vireo::OrderedJson> : public vireo::JsonGrave<vireo::OrderedJson> {};

namespace vireo {

// In a file of their own: to read and to write take the compiler longer than most files that do so.

/// The text of a document; bytes that are not UTF-8 are replaced. In one line, or with `indent` blanks a level.
std::string write_json(const SortedJson& json, int indent = -1);
std::string write_json(const OrderedJson& json, int indent = -1);
/// Discarded (is_discarded()) where the text is no JSON. For a stranger's file see parse_json (model/json.h).
SortedJson read_sorted_json(std::string_view text);
OrderedJson read_ordered_json(std::string_view text);

}  // namespace vireo
