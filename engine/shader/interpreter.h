// The interpreter behind shader::count: one invocation of a module, whose values carry what they are and whether a
// compiler would know them.
#pragma once

#include <cstring>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/error.h"
#include "shader/count.h"
#include "shader/program.h"

namespace vireo::shader {

/// Expressions that were computed: a number for each, so that a second one costs nothing.
struct Expression {
  uint32_t op, a, b;
  int32_t a_off, b_off;
  bool operator==(const Expression& o) const {
    return op == o.op && a == o.a && b == o.b && a_off == o.a_off && b_off == o.b_off;
  }
};
struct ExpressionHash {
  size_t operator()(const Expression& e) const {
    uint64_t h = 1469598103934665603ull;
    for (uint64_t v :
         {uint64_t(e.op), uint64_t(e.a), uint64_t(e.b), uint64_t(uint32_t(e.a_off)), uint64_t(uint32_t(e.b_off))})
      h = (h ^ v) * 1099511628211ull;
    return size_t(h ^ h >> 29);
  }
};

/// A 32-bit number. symbol 0: the compiler knows it. Else it is `symbol` + `offset`: adding a constant is free where
/// the sum is an address.
struct Scalar {
  uint32_t bits = 0, symbol = 0;
  int32_t offset = 0;
  bool known() const { return symbol == 0; }
  float f() const {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
  }
};
inline Scalar number(uint32_t bits, uint32_t symbol = 0) { return {bits, symbol, 0}; }
inline Scalar real(float x, uint32_t symbol) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return {bits, symbol, 0};
}
constexpr uint32_t kData = 1;  // the symbol of every float that is no constant: they have no addresses to share

/// What an id stands for: up to four numbers, or a pointer.
struct Value {
  uint32_t type = 0;
  uint32_t variable = 0;  // pointers: into this variable, `s[0]` bytes in
  Scalar s[4];
};

/// Which invocation of which dispatch.
struct Where {
  std::array<uint32_t, 3> group{}, local{}, groups{};
  uint32_t subgroup = 1;
};

class Invocation {
 public:
  using Instruction = Program::Instruction;
  Invocation(const Program& p, const std::vector<uint32_t>& push, const Where& at);
  /// Errors: kInternal (an instruction that is not known, an invocation that does not end).
  Result<Mix> run();
  /// Where the first accesses to storage buffers went.
  const std::vector<uint64_t>& addresses() const { return addresses_; }

 private:
  struct Loop {
    bool rolled = false;
    uint32_t trips = 0, entered_from = 0;
    bool has_exit = false;  // the last comparison that decided whether to leave
    uint32_t exit_op = 0, exit_a = 0, exit_b = 0, last_a = 0, last_b = 0;
    std::vector<uint32_t> before, now;  // integers at the header, of the last two trips
    Mix at_header, last;                // counts so far, and of the last trip
    uint32_t steady = 0;                // trips in a row that counted the same
  };

  Error broken(const std::string& why) const {
    return fail(ErrorCode::kInternal, "shader '{}': its instructions cannot be counted: {}", p_.name, why);
  }
  uint32_t bytes(uint32_t type) const {
    const Program::Type* t = p_.type(type);
    return t ? t->bytes : 0;
  }
  bool is_float(uint32_t type) const {
    const Program::Type* t = p_.type(type);
    if (t && t->op == spirv::kTypeVector) t = p_.type(t->element);
    return t && t->op == spirv::kTypeFloat;
  }
  bool is_half(uint32_t type) const {
    const Program::Type* t = p_.type(type);
    if (t && t->op == spirv::kTypeVector) t = p_.type(t->element);
    return t && t->op == spirv::kTypeFloat && t->width == 16;
  }
  uint32_t components(uint32_t type) const {
    const Program::Type* t = p_.type(type);
    return t && t->op == spirv::kTypeVector ? std::min(t->length, 4u) : 1;
  }
  Value& value(uint32_t id) { return values_[id < values_.size() ? id : 0]; }
  void add(Count c, double n = 1) { mix_[c] += n; }
  /// A symbol of its own; `data`: what it stands for depends on what was loaded, which nobody knows here.
  uint32_t fresh(bool data = false) {
    from_data_.push_back(data);
    return uint32_t(from_data_.size()) - 1;
  }
  bool from_data(uint32_t symbol) const { return symbol < from_data_.size() && from_data_[symbol]; }

  /// The expression's symbol; `cost` is counted when it is new.
  uint32_t symbol(const Expression& e, Count cost, double n = 1) {
    const auto [it, made] = known_.emplace(e, 0);
    if (made) it->second = fresh(from_data(e.a) || from_data(e.b)), add(cost, n);
    return it->second;
  }
  /// The same for what costs nothing: a size, a position, a push constant.
  uint32_t given(const Expression& e) {
    const auto [it, made] = known_.emplace(e, 0);
    if (made) it->second = fresh();
    return it->second;
  }

  // Control flow and memory: interpreter.cpp
  uint32_t enter(uint32_t label, uint32_t at);
  void skip_ahead(Loop* loop);
  Result<void> jump(uint32_t label, uint32_t* at);
  Result<void> branch(const Instruction& i, uint32_t* at);
  Result<void> choose(const Instruction& i, uint32_t* at);
  bool access_chain(const Instruction& i);
  void access(const Value& pointer, uint32_t size, bool store, bool shared);
  bool load(const Instruction& i);
  void built_in(const Program::Variable& v, const Value& pointer, uint32_t n, Value* out);
  bool store(const Instruction& i);
  bool execute(const Instruction& i);
  void set(const Instruction& i, const Value& v);
  // Numbers: interpreter_math.cpp
  Scalar integer(uint32_t op, Scalar a, Scalar b);
  void add_if_new(const Expression& e, std::initializer_list<std::pair<Count, int>> costs);
  bool integers(const Instruction& i);
  template <typename F>
  bool floats(const Instruction& i, std::initializer_list<uint32_t> operands, F&& f, Count cost, double each = 1,
              bool pairs = true);
  bool compare_floats(const Instruction& i);
  bool select(const Instruction& i);
  bool convert(const Instruction& i);
  bool extended(const Instruction& i);
  bool arithmetic(const Instruction& i);

  struct Compared {
    uint32_t op, a, b;
  };
  const Program& p_;
  const std::vector<uint32_t>& push_;
  const Where at_;
  std::vector<Value> values_;
  std::vector<std::vector<Scalar>> memory_;
  std::unordered_map<Expression, uint32_t, ExpressionHash> known_;
  std::unordered_map<uint32_t, Loop> loops_;  // by header label
  Compared compared_{0, 0, 0};                // the last comparison of two integers
  uint32_t compared_id_ = 0;
  std::vector<bool> runtime_merges_;  // by merge label: the way there was chosen at run time
  std::unordered_set<uint64_t> loaded_, stored_;
  std::vector<uint64_t> addresses_;
  std::vector<Value> incoming_;
  std::vector<bool> from_data_{false, true};  // by symbol; kData is the second
  uint32_t block_ = 0, from_ = 0, merge_ = 0;
  Mix mix_;
};

}  // namespace vireo::shader
