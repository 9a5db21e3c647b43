#include "cli/schema.h"

#include <gtest/gtest.h>

#include <sstream>
#include <vector>

#include "cli/run_cli.h"

namespace cli_test {
namespace {

using nlohmann::json;

/// "{a,b}.c" to "a.c" and "b.c".
Words expand(const std::string& path) {
  const size_t open = path.find('{'), close = path.find('}', open);
  if (open == std::string::npos || close == std::string::npos) return {path};
  Words all;
  std::istringstream names(path.substr(open + 1, close - open - 1));
  for (std::string name; std::getline(names, name, ',');) {
    const Words rest = expand(path.substr(0, open) + name + path.substr(close + 1));
    all.insert(all.end(), rest.begin(), rest.end());
  }
  return all;
}

/// The field of that path, made with its parents where it is not there yet.
Field& field_at(Field& root, const std::string& path) {
  Field* at = &root;
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '.');) {
    const size_t end = part.find_first_of("?[");
    std::unique_ptr<Field>& next = at->fields[part.substr(0, end)];
    if (!next) next = std::make_unique<Field>();
    at = next.get();
    if (end == std::string::npos) continue;
    at->optional |= part[end] == '?';
    if (part.find("[]") == std::string::npos) continue;
    if (!at->element) at->element = std::make_unique<Field>();
    at = at->element.get();
  }
  return *at;
}

bool is_list_of(const json& value, bool (json::*is)() const noexcept) {
  if (!value.is_array()) return false;
  for (const json& v : value)
    if (!(v.*is)()) return false;
  return true;
}

bool is_type(const json& value, const std::string& type) {
  if (type == "string") return value.is_string();
  if (type == "number") return value.is_number();
  if (type == "integer") return value.is_number_integer();
  if (type == "boolean") return value.is_boolean();
  if (type == "object") return value.is_object();
  if (type == "strings") return is_list_of(value, &json::is_string);
  return type == "integers" && is_list_of(value, &json::is_number_integer);
}

}  // namespace

std::string read_line(const std::string& line, Field& root) {
  static const std::set<std::string> kTypes{"string", "number", "integer", "boolean", "object", "strings", "integers"};
  std::istringstream words(line);
  std::string path, type, word;
  if (!(words >> path)) return {};
  if (!(words >> type) || kTypes.count(type) == 0) return "no type in '" + line + "'";
  bool null = false, rare = false;
  if (words >> word && word == "or") {
    words >> word;
    null = word == "null";
    words >> word;
  }
  rare = words && word == "rare";
  for (const std::string& one : expand(path)) {
    Field& field = field_at(root, one);
    if (!field.type.empty()) return "'" + one + "' stands there twice";
    field.type = type, field.null = null, field.rare = rare;
    if (rare) field.optional = true;
  }
  return {};
}

std::map<std::string, std::unique_ptr<Field>> read_document() {
  std::map<std::string, std::unique_ptr<Field>> blocks;
  std::istringstream text(read_file(std::string(VIREO_SOURCE_DIR) + "/apps/README.md"));
  Field* block = nullptr;
  const std::string begin = "```fields ";
  for (std::string line; std::getline(text, line);) {
    if (line.rfind(begin, 0) == 0) {
      std::unique_ptr<Field>& made = blocks[line.substr(begin.size())];
      EXPECT_EQ(made, nullptr) << "two blocks: " << line;
      made = std::make_unique<Field>();
      block = made.get();
    } else if (line.rfind("```", 0) == 0) {
      block = nullptr;
    } else if (block != nullptr) {
      EXPECT_EQ(read_line(line, *block), "");
    }
  }
  return blocks;
}

void compare(const json& value, Field& field, const std::string& path, std::set<std::string>* wrong) {
  field.seen = true;
  if (value.is_null() && field.null) return;
  field.filled = true;
  if (!field.type.empty() && !is_type(value, field.type))
    wrong->insert(path + " is no " + field.type + ": " + value.dump().substr(0, 60));
  if (field.element) {
    if (!value.is_array()) wrong->insert(path + " is no list");
    else
      for (const json& v : value) compare(v, *field.element, path + "[]", wrong);
    return;
  }
  if (field.fields.empty()) return;
  if (!value.is_object()) {
    wrong->insert(path + " is no object");
    return;
  }
  const auto any = field.fields.find("*");
  for (const auto& [key, v] : value.items()) {
    const auto known = field.fields.find(key);
    const std::string name = path.empty() ? key : path + "." + key;
    if (known != field.fields.end()) compare(v, *known->second, name, wrong);
    else if (any != field.fields.end()) compare(v, *any->second, path + ".*", wrong);
    else wrong->insert(name + " is printed, and the document does not list it");
  }
  for (const auto& [key, child] : field.fields)
    if (key != "*" && !child->optional && !value.contains(key))
      wrong->insert((path.empty() ? key : path + "." + key) + " is listed without '?' and left out");
}

void find_unseen(const Field& field, const std::string& path, std::set<std::string>* wrong) {
  for (const auto& [key, child] : field.fields) {
    const std::string name = path.empty() ? key : path + "." + key;
    if (child->rare) continue;
    if (!child->seen) wrong->insert(name + " is listed, and no run prints it");
    else if (!child->filled) continue;
    else if (!child->element) find_unseen(*child, name, wrong);
    else if (!child->element->seen) wrong->insert(name + "[] is listed, and no run prints one");
    else find_unseen(*child->element, name + "[]", wrong);
  }
}

std::string lines(const std::set<std::string>& wrong) {
  std::string text;
  for (const std::string& line : wrong) text += "  " + line + "\n";
  return text;
}

}  // namespace cli_test
