// The README files are held against the tree and the tool: links lead somewhere, commands exist with their options, and
// those that need nothing but what is in the tree run.
#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <sstream>

#include "cli/run_cli.h"

namespace {

using cli_test::operator+;
using cli_test::read_file;
using cli_test::run_cli;
using cli_test::Scratch;
using cli_test::Words;

const std::string kRoot = VIREO_SOURCE_DIR;

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// Every Markdown file of the tree, relative to it; build folders and hidden ones but .github are none of it.
void find_documents(const std::string& folder, Words* found) {
  DIR* dir = opendir((kRoot + "/" + folder).c_str());
  if (dir == nullptr) return;
  Words names;
  while (const dirent* entry = readdir(dir)) names.emplace_back(entry->d_name);
  closedir(dir);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if ((name[0] == '.' && name != ".github") || (folder.empty() && name.rfind("build", 0) == 0)) continue;
    const std::string path = folder.empty() ? name : folder + "/" + name;
    struct stat info {};
    if (lstat((kRoot + "/" + path).c_str(), &info) != 0) continue;
    if (S_ISDIR(info.st_mode)) find_documents(path, found);
    else if (ends_with(name, ".md")) found->push_back(path);
  }
}

const Words& documents() {
  static const Words all = [] {
    Words found;
    find_documents("", &found);
    return found;
  }();
  return all;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? kRoot : kRoot + "/" + path.substr(0, slash);
}

/// Lines of a document with the language of the fenced block that they stand in ("" in prose, "-" for the fences).
std::vector<std::pair<std::string, std::string>> lines_of(const std::string& document) {
  std::vector<std::pair<std::string, std::string>> lines;
  std::istringstream text(read_file(document));
  std::string language;
  for (std::string line; std::getline(text, line);) {
    const bool fence = line.rfind("```", 0) == 0;
    lines.emplace_back(fence ? "-" : language, line);
    if (fence) language = !language.empty() ? "" : line.size() > 3 ? line.substr(3) : "text";
  }
  return lines;
}

/// What GitHub makes of a heading.
std::string anchor_of(const std::string& heading) {
  std::string anchor;
  for (const char c : heading.substr(std::min(heading.find_first_not_of("# "), heading.size()))) {
    const unsigned char u = static_cast<unsigned char>(c);
    if (std::isalnum(u) != 0 || c == '-' || c == '_' || u >= 0x80) anchor += char(std::tolower(u));
    else if (c == ' ') anchor += '-';
  }
  return anchor;
}

std::set<std::string> anchors_of(const std::string& document) {
  std::set<std::string> anchors;
  for (const auto& [language, line] : lines_of(document)) {
    if (!language.empty() || line.rfind('#', 0) != 0) continue;
    std::string anchor = anchor_of(line);
    for (int again = 1; !anchors.insert(anchor).second; ++again) anchor = anchor_of(line) + "-" + std::to_string(again);
  }
  return anchors;
}

TEST(Readme, IsShort) {
  EXPECT_LE(lines_of(kRoot + "/README.md").size(), 150u);
  for (const char* room : {"apps", "include/vireo", "engine", "bench", "models", "shaders"})
    EXPECT_TRUE(exists(kRoot + "/" + room + "/README.md")) << room;
}

TEST(Readme, LinksLeadSomewhere) {
  size_t links = 0;
  ASSERT_GE(documents().size(), 10u);
  for (const std::string& document : documents()) {
    for (const auto& [language, line] : lines_of(kRoot + "/" + document)) {
      if (!language.empty()) continue;
      for (size_t at = line.find("]("); at != std::string::npos; at = line.find("](", at + 1)) {
        std::string target = line.substr(at + 2, line.find(')', at) - at - 2);
        if (target.find("://") != std::string::npos || target.rfind("mailto:", 0) == 0) continue;
        ++links;
        const size_t hash = target.find('#');
        const std::string anchor = hash == std::string::npos ? "" : target.substr(hash + 1);
        target.resize(std::min(hash, target.size()));
        std::string path = target.empty() ? kRoot + "/" + document : folder_of(document) + "/" + target;
        EXPECT_TRUE(exists(path)) << document << ": " << line;
        if (!anchor.empty()) {
          EXPECT_EQ(anchors_of(path).count(anchor), 1u) << document << ": no heading #" << anchor;
        }
      }
    }
  }
  EXPECT_GE(links, 20u);
}

// ---------------------------------------------------------------------------------------------------------- the tool

/// The verbs that `vireo --help` lists, each with its options.
const std::map<std::string, std::set<std::string>>& verbs() {
  static const std::map<std::string, std::set<std::string>> all = [] {
    std::map<std::string, std::set<std::string>> found;
    const std::string help = run_cli({"--help"}).out;
    std::istringstream text(help.substr(std::min(help.find("Subcommands:"), help.size())));
    std::string line, verb;
    for (std::getline(text, line); std::getline(text, line);) {
      if (line.rfind("  ", 0) != 0 || line.size() < 3 || line[2] == ' ' || !(std::istringstream(line) >> verb))
        continue;
      std::istringstream options(run_cli({verb, "--help"}).out);
      for (std::set<std::string>& own = found[verb]; std::getline(options, line);) {
        if (line.rfind("  -", 0) != 0) continue;
        std::istringstream names(line.substr(2, line.find(' ', 2) - 2));
        for (std::string name; std::getline(names, name, ',');)
          if (name.rfind("--", 0) == 0) own.insert(name);
      }
    }
    return found;
  }();
  return all;
}

TEST(Readme, HasEveryVerbAndEveryOption) {
  ASSERT_GE(verbs().size(), 14u);
  const std::string text = read_file(kRoot + "/apps/README.md");
  for (const auto& [verb, options] : verbs()) {
    EXPECT_NE(text.find("\n| `" + verb + "` |"), std::string::npos) << verb << " has no row in apps/README.md";
    EXPECT_GE(options.size(), 1u) << verb;
    for (const std::string& option : options) {
      if (option == "--help") continue;
      bool named = false;
      for (size_t at = text.find(option); at != std::string::npos && !named; at = text.find(option, at + 1)) {
        const char next = text[std::min(at + option.size(), text.size() - 1)];
        named = std::isalnum(static_cast<unsigned char>(next)) == 0 && next != '-';
      }
      EXPECT_TRUE(named) << "vireo " << verb << " " << option << " is nowhere in apps/README.md";
    }
  }
}

// ------------------------------------------------------------------------------------------------- commands in blocks

struct Command {
  std::string document, line;
};

/// Commands of the ```sh blocks, without comments, long lines joined.
std::vector<Command> commands() {
  std::vector<Command> all;
  for (const std::string& document : documents()) {
    std::string joined;
    for (const auto& [language, raw] : lines_of(kRoot + "/" + document)) {
      if (language != "sh") continue;
      std::string line = raw.substr(0, raw.find(" #"));
      if (line[0] == '#') line.clear();
      line.erase(line.find_last_not_of(' ') + 1);
      joined += joined.empty() ? line : " " + line;
      if (!joined.empty() && joined.back() == '\\') joined.pop_back();
      else if (!joined.empty() && joined.back() != '|') {
        all.push_back({document, joined});
        joined.clear();
      }
    }
    EXPECT_EQ(joined, "") << document;
  }
  return all;
}

/// The simple commands of a line, in words; assignments before them are left out.
std::vector<Words> simple_commands(const std::string& line) {
  std::vector<Words> all(1);
  std::istringstream text(line);
  for (std::string word; text >> word;) {
    const bool ends = word == "|" || word == "&&" || word == ">" || word.back() == ';';
    if (word.back() == ';') word.pop_back();
    const bool assignment = all.back().empty() && word.find('=') != std::string::npos;
    if (!ends || (word != "|" && word != "&&" && word != ">" && !word.empty())) {
      if (!assignment) all.back().push_back(word);
    }
    if (ends) all.emplace_back();
  }
  return all;
}

/// Verbs that the usage of cmake/run.sh names.
std::set<std::string> verbs_of_run_sh() {
  std::set<std::string> found;
  std::istringstream text(read_file(kRoot + "/cmake/run.sh"));
  const std::string begin = "#   bash cmake/run.sh ";
  for (std::string line, verb; std::getline(text, line);)
    if (line.rfind(begin, 0) == 0 && std::istringstream(line.substr(begin.size())) >> verb) found.insert(verb);
  return found;
}

TEST(Readme, CommandsExistWithTheirOptions) {
  const std::set<std::string> run_sh = verbs_of_run_sh();
  ASSERT_EQ(run_sh.count("demo"), 1u);
  const std::string presets = read_file(kRoot + "/CMakePresets.json");
  size_t checked = 0;
  for (const Command& command : commands()) {
    const std::string where = command.document + ": " + command.line;
    for (const Words& words : simple_commands(command.line)) {
      if (words.empty()) continue;
      if (words[0] == "bash" && words.size() > 1 && ends_with(words[1], ".sh")) {
        ++checked;
        EXPECT_TRUE(exists(kRoot + "/" + words[1])) << where;
        if (words[1] == "cmake/run.sh" && words.size() > 2) {
          EXPECT_EQ(run_sh.count(words[2]), 1u) << where;
        }
      } else if (words[0] == "cmake" && words.size() > 2 && words[1] == "--preset") {
        ++checked;
        EXPECT_NE(presets.find("{\"name\": \"" + words[2] + "\""), std::string::npos) << where;
      } else if (ends_with(words[0], "bin/vireo") && words.size() > 1) {
        ++checked;
        if (words[1].rfind("--", 0) == 0) continue;
        const auto verb = verbs().find(words[1]);
        ASSERT_NE(verb, verbs().end()) << where;
        for (const std::string& word : words)
          if (word.rfind("--", 0) == 0 && word != "--help") {
            EXPECT_EQ(verb->second.count(word.substr(0, word.find('='))), 1u) << word << " in " << where;
          }
      }
    }
  }
  EXPECT_GE(checked, 20u);
}

/// Whether a line needs nothing but the tree: no name stands for something of the reader's.
bool runs_here(const std::string& line) {
  bool tool = false;
  for (const Words& words : simple_commands(line)) {
    if (!words.empty() && words[0].rfind("build/bin/vireo", 0) == 0) tool = true;
    else if (words.size() > 1 || (words.size() == 1 && words[0].find('.') == std::string::npos)) return false;
    for (size_t i = 1; i < words.size(); ++i) {
      const std::string& word = words[i];
      for (size_t c = 0; c + 1 < word.size(); ++c)  // PATH/TO/FOLDER, DIR, $PREFIX
        if (std::isupper(static_cast<unsigned char>(word[c])) != 0 &&
            std::isupper(static_cast<unsigned char>(word[c + 1])) != 0)
          return false;
      for (const char* end : {".jpg", ".png", ".ppm", ".mp4"})
        if (ends_with(word, end) && !exists(kRoot + "/" + word)) return false;
      if (word == "--fashion-mnist" && !exists("/usr/share/datasets/fashion-mnist")) return false;
    }
  }
  return tool && line.find("HERE") == std::string::npos && line.find('$') == std::string::npos;
}

/// The tree with the tool in build/bin, and room for what the commands write.
void make_tree(const Scratch& scratch) {
  scratch.make_folder("build");
  scratch.make_folder("build/bin");
  ASSERT_EQ(symlink(VIREO_CLI, scratch.path("build/bin/vireo").c_str()), 0);
  for (const char* name : {"apps", "bench", "engine", "include", "models", "shaders", "tests"})
    ASSERT_EQ(symlink((kRoot + "/" + name).c_str(), scratch.path(name).c_str()), 0);
}

TEST(Readme, CommandsThatNeedNothingElseRun) {
  const bool vulkan = run_cli({"devices", "--json"}).json()["devices"][0]["kind"] == "vulkan";
  size_t ran = 0;
  std::string document;
  std::unique_ptr<Scratch> scratch;
  for (const Command& command : commands()) {
    if (!runs_here(command.line) || (!vulkan && command.line.find("vulkan") != std::string::npos)) continue;
    if (document != command.document || !scratch) {  // commands of one document may use what earlier ones wrote
      document = command.document;
      scratch = std::make_unique<Scratch>();
      make_tree(*scratch);
    }
    const std::string log = scratch->path("log");
    const int status =
        std::system(("cd '" + scratch->path() + "' && (" + command.line + ") >log 2>&1 </dev/null").c_str());
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << command.document << ": " << command.line << "\n"
                                                               << read_file(log);
    ++ran;
  }
  EXPECT_GE(ran, 15u);
}

}  // namespace
