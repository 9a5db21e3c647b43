#include "model/pattern.h"

#include <algorithm>
#include <utility>

namespace vireo {
namespace {

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }
bool is_letter(char c) { return is_word(c) && c != '_' && !(c >= '0' && c <= '9'); }

}  // namespace

/// Compiles by recursive descent; kLongest bounds its depth.
class PatternParser {
 public:
  explicit PatternParser(const std::string& text) : text_(text) {}

  Result<Pattern> parse() {
    if (text_.size() > Pattern::kLongest)
      return fail(ErrorCode::kUnsupported, "it has {} characters, expected at most {}", text_.size(),
                  Pattern::kLongest);
    const int32_t first = choice();
    if (error_.empty() && at_ < text_.size()) say("a ')' without its '('");
    if (!error_.empty()) return fail(ErrorCode::kUnsupported, "{} at character {}", error_, at_ + 1);
    p_.first_ = first;
    const int32_t done = add(Op::kDone);
    link(0, end(), done);
    p_.parts_.push_back({0, end()});
    return std::move(p_);
  }

 private:
  using Op = Pattern::Op;
  using Set = Pattern::Set;

  bool more() const { return error_.empty() && at_ < text_.size(); }
  bool take(char c) {
    if (!more() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take(const char* word) {
    const std::string w = word;
    if (!more() || text_.compare(at_, w.size(), w) != 0) return false;
    at_ += w.size();
    return true;
  }
  void say(const std::string& what) {
    if (error_.empty()) error_ = what;
  }

  // Steps are emitted in the order of the text. A piece's steps end by falling to kOpen: whatever is emitted after it.
  static constexpr int32_t kOpen = -1;
  int32_t add(Op op, int32_t other = 0) {
    p_.steps_.push_back({op, kOpen, other});
    return int32_t(p_.steps_.size()) - 1;
  }
  int32_t end() const { return int32_t(p_.steps_.size()); }
  /// Steps in [from, until) that are open go on at `to`.
  void link(int32_t from, int32_t until, int32_t to) {
    for (int32_t i = from; i < until; ++i)
      if (p_.steps_[size_t(i)].next == kOpen) p_.steps_[size_t(i)].next = to;
  }

  /// a|b|c; its first step. What it emitted is open at the end.
  int32_t choice() {
    int32_t first = sequence();
    while (take('|')) {
      const int32_t split = add(Op::kSplit);
      p_.steps_[size_t(split)].next = first;
      const int32_t other = sequence();
      p_.steps_[size_t(split)].other = other;
      first = split;
    }
    return first;
  }

  int32_t sequence() {
    const int32_t begin = end();
    int32_t first = kOpen, open = begin;  // steps from `open` on lead to what comes next
    while (more() && text_[at_] != '|' && text_[at_] != ')') {
      const int32_t before = end();
      const int32_t piece = repeated();
      if (!error_.empty()) return 0;
      if (first == kOpen) first = piece;
      else link(open, before, piece);
      open = before;
    }
    return first == kOpen ? add(Op::kJump) : first;
  }

  /// One piece with its *, + or ?.
  int32_t repeated() {
    const int32_t begin = end();
    const size_t from = at_;
    bool anchor = false;  // an anchor, which Python does not repeat either
    int32_t first = piece(&anchor);
    if (!more()) return first;
    const char c = text_[at_];
    if (c == '{') return say("a count of repeats, which is not supported"), 0;
    if (c != '*' && c != '+' && c != '?') return first;
    if (anchor) return at_ = from, say("an anchor that is repeated"), 0;
    ++at_;
    const int32_t until = end();
    const int32_t split = add(Op::kSplit);  // its `next` is open: out of here
    p_.steps_[size_t(split)].other = first;
    if (c == '?') first = split;
    else link(begin, until, split);
    if (c == '*') first = split;
    take('?');
    if (more() && (text_[at_] == '*' || text_[at_] == '+' || text_[at_] == '?' || text_[at_] == '{'))
      say("a repeat of a repeat");
    return first;
  }

  int32_t piece(bool* anchor) {
    const char c = text_[at_];
    if (c == '*' || c == '+' || c == '?' || c == '{') return say("nothing to repeat"), 0;
    if (c == '(') return group();
    ++at_;
    Set set;
    switch (c) {
      case '^': *anchor = true; return add(Op::kStart);
      case '$': *anchor = true; return add(Op::kEnd);
      case '.': set.set(), set.reset('\n'); return one_of(set);
      case '[': return one_of(characters());
      case '\\': break;
      default: set.set(uint8_t(c)); return one_of(set);
    }
    static constexpr std::pair<char, Op> kPlaces[] = {
        {'A', Op::kStart}, {'Z', Op::kEnd}, {'b', Op::kWordEdge}, {'B', Op::kNoWordEdge}};
    for (const auto& [letter, op] : kPlaces)
      if (take(letter)) return *anchor = true, add(op);
    escaped(&set);
    return one_of(set);
  }

  int32_t group() {
    const size_t from = at_++;
    bool ahead = false, negative = false;
    if (take("?:")) {
    } else if (take("?=")) {
      ahead = true;
    } else if (take("?!")) {
      ahead = negative = true;
    } else if (take('?')) {
      return at_ = from, say("a kind of group that is not supported"), 0;
    }
    const int32_t look = ahead ? add(negative ? Op::kNotAhead : Op::kAhead) : 0, begin = end();
    const int32_t first = choice();
    if (!error_.empty()) return 0;
    if (!take(')')) return at_ = from, say("a '(' without its ')'"), 0;
    if (!ahead) return first;
    const int32_t done = add(Op::kDone);
    link(begin, end(), done);
    p_.steps_[size_t(look)].other = first;
    p_.parts_.push_back({begin, end()});
    return look;
  }

  int32_t one_of(const Set& set) {
    p_.sets_.push_back(set);
    return add(Op::kSet, int32_t(p_.sets_.size()) - 1);
  }

  /// What follows a backslash, added to the set; the character, or -1 where it is a kind of them.
  int escaped(Set* set) {
    if (!more()) return say("a '\\' at the end"), -1;
    const char c = text_[at_++];
    const char lower = char(c | 0x20);
    if (is_letter(c) && (lower == 'd' || lower == 'w' || lower == 's')) {
      for (int i = 0; i < 256; ++i) {
        const bool space = i == ' ' || (i >= '\t' && i <= '\r');
        const bool in = lower == 'd' ? i >= '0' && i <= '9' : lower == 'w' ? is_word(char(i)) : space;
        if (in == (c == lower)) set->set(size_t(i));
      }
      return -1;
    }
    char is = c;
    switch (c) {
      case 'n': is = '\n'; break;
      case 't': is = '\t'; break;
      case 'r': is = '\r'; break;
      case 'f': is = '\f'; break;
      case 'v': is = '\v'; break;
      default:
        if (is_word(c) && c != '_') return at_ -= 2, say(std::string("an unknown '\\") + c + "'"), -1;
    }
    set->set(uint8_t(is));
    return uint8_t(is);
  }

  /// A character of a class, added to the set; -1 where it is a kind of them.
  int member(Set* set) {
    if (take('\\')) return escaped(set);
    const char c = text_[at_++];
    if (uint8_t(c) >= 0x80) return --at_, say("a class of characters beyond ASCII, which is not supported"), -1;
    if (c == '[' && more() && (text_[at_] == ':' || text_[at_] == '.' || text_[at_] == '='))
      return --at_, say("a named class, which is not supported"), -1;
    set->set(uint8_t(c));
    return uint8_t(c);
  }

  /// After '['. A ']' that comes first is a character, as in Python.
  Set characters() {
    const size_t from = at_ - 1;
    Set set;
    const bool negative = take('^');
    for (bool first = true; more() && (first || text_[at_] != ']'); first = false) {
      const int low = member(&set);
      if (at_ + 1 >= text_.size() || text_[at_] != '-' || text_[at_ + 1] == ']') continue;
      ++at_;
      const int high = member(&set);
      if (error_.empty() && (low < 0 || high < low)) say("a range that is none");
      for (int i = low; i < high && error_.empty(); ++i) set.set(size_t(i));
    }
    if (!take(']')) at_ = error_.empty() ? from : at_, say("a '[' without its ']'");
    return negative ? ~set : set;
  }

  const std::string& text_;
  size_t at_ = 0;
  std::string error_;
  Pattern p_;
};

Result<Pattern> Pattern::parse(const std::string& text) { return PatternParser(text).parse(); }

bool Pattern::holds(const Step& step, const std::string& text, size_t at, const std::vector<uint8_t>& here,
                    const std::vector<uint8_t>& after) const {
  const auto edge = [&] { return (at > 0 && is_word(text[at - 1])) != (at < text.size() && is_word(text[at])); };
  const size_t next = size_t(step.next), other = size_t(step.other);
  switch (step.op) {
    case Op::kSet: return at < text.size() && after[next] != 0 && sets_[other].test(uint8_t(text[at]));
    case Op::kSplit: return here[next] != 0 || here[other] != 0;
    case Op::kJump: return here[next] != 0;
    case Op::kStart: return here[next] != 0 && at == 0;
    case Op::kEnd: return here[next] != 0 && at == text.size();
    case Op::kWordEdge: return here[next] != 0 && edge();
    case Op::kNoWordEdge: return here[next] != 0 && !edge();
    case Op::kAhead: return here[next] != 0 && here[other] != 0;
    case Op::kNotAhead: return here[next] != 0 && here[other] == 0;
    case Op::kDone: return true;
  }
  return false;
}

/// From the end of the text to its beginning: from which steps can the rest be matched here? Loops make that a least
/// fixed point, which passes over the steps from the last to the first reach within as many passes as repeats are
/// nested. What is looked at is known before whoever looks.
bool Pattern::matches(const std::string& text) const {
  std::vector<uint8_t> here(steps_.size()), after(steps_.size());
  for (size_t at = text.size() + 1; at-- > 0;) {
    std::fill(here.begin(), here.end(), uint8_t(0));
    for (const auto& [begin, end] : parts_) {
      for (bool changed = true; changed;) {
        changed = false;
        for (int32_t i = end; i-- > begin;) {
          uint8_t& known = here[size_t(i)];
          if (known != 0 || !holds(steps_[size_t(i)], text, at, here, after)) continue;
          known = 1;
          changed = true;
        }
      }
    }
    std::swap(here, after);
  }
  return after[size_t(first_)] != 0;
}

}  // namespace vireo
