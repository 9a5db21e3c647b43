// The vireo command line: `vireo VERB ...`. Exit code 0 done, 1 failed, 2 wrong usage, 130 interrupted (what was done
// is kept); one line on stderr says why.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>

#include "base/names.h"
#include "cli.h"
#include "interrupt.h"
#include "made.h"

namespace {

/// One line on stderr, in as few writes as its length allows. It needs no memory: it may be what says that there is
/// none.
int complain(const char* first, const char* second, int code) {
  std::fflush(stdout);
  char part[1024];
  size_t n = 0;
  const auto flush = [&part, &n] {
    for (size_t done = 0; done < n;) {
      const ssize_t wrote = write(STDERR_FILENO, part + done, n - done);
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) break;
      done += size_t(wrote);
    }
    n = 0;
  };
  const char* const kEnd = "\n";
  for (const char* text : {"vireo: ", first, second, kEnd})
    for (const char* c = text; *c != '\0'; ++c) {
      if (n == sizeof part) flush();
      part[n++] = *c == '\n' && text != kEnd ? ' ' : *c;
    }
  flush();
  return code;
}

int complain(const std::string& text, int code) { return complain(text.c_str(), "", code); }

std::vector<std::string> names_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(verb->get_name());
  return names;
}

std::string no_verb(const CLI::App& app, const std::string& name) {
  return "there is no verb '" + name + "'" + vireo::known_names(name, names_of(app));
}

/// "'--modle' is no option of classify; did you mean '--model'?" where what could not be parsed has such a word, else
/// empty.
std::string misspelt_option(const CLI::App& verb) {
  for (const std::string& word : verb.remaining()) {
    const std::string flag = word.substr(0, word.find('='));
    if (flag.compare(0, 2, "--") != 0) continue;
    std::vector<std::string> known;
    for (const CLI::Option* option : verb.get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    const std::string near = vireo::nearest_name(flag, known);
    if (!near.empty()) return "'" + flag + "' is no option of " + verb.get_name() + "; did you mean '" + near + "'?";
  }
  return {};
}

CLI::App* add_help(CLI::App& app, std::string& about) {
  CLI::App* help = app.add_subcommand("help", "print this, or what a verb's --help prints");
  help->add_option("verb", about, "the verb")->type_name("[VERB]");
  cli::add_examples(*help, {"vireo help classify"});
  return help;
}

void print_help(CLI::App& app, const std::string& about) {
  app.clear();  // of `vireo help`, which would make the text of `help` itself
  if (about.empty()) return void(std::fputs(app.help().c_str(), stdout));
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    if (verb->get_name() == about) return void(std::fputs(verb->help(app.get_name()).c_str(), stdout));
  throw cli::UsageError(no_verb(app, about));
}

int run(int argc, char** argv) {
  CLI::App app("Vision Transformers on Vulkan compute, with a SIMD CPU path.", "vireo");
  app.set_version_flag("--version", std::string("vireo ") + vireo::version());
  app.require_subcommand(1);
  app.footer(
      "Exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted. `vireo help VERB` tells more, with examples.");

  cli::add_devices(app);
  cli::add_classify(app);
  cli::add_segment(app);
  cli::add_embed(app);
  cli::add_plan(app);
  cli::add_kernels(app);
  cli::add_bench(app);
  cli::add_diff(app);
  cli::add_tune(app);
  cli::add_profile(app);
  cli::add_predict(app);
  cli::add_capture(app);
  cli::add_replay(app);
  cli::add_eval(app);
  cli::add_compress(app);
  cli::add_simulate(app);
  cli::add_doctor(app);
  cli::add_env(app);
  std::string about;
  const CLI::App* help = add_help(app, about);

  if (argc < 2) {
    std::fputs(app.help().c_str(), stderr);
    return 2;
  }
  try {
    app.parse(argc, argv);
    if (help->parsed()) print_help(app, about);
  } catch (const CLI::Success& e) {  // --help, --version
    app.exit(e);
  } catch (const CLI::ParseError& e) {
    const auto verbs = app.get_subcommands();
    if (verbs.empty() && argv[1][0] != '-') return complain(no_verb(app, argv[1]), 2);
    const std::string where = verbs.empty() ? "" : " " + verbs.front()->get_name();
    if (const std::string near = verbs.empty() ? "" : misspelt_option(*verbs.front()); !near.empty())
      return complain(near + " (see vireo" + where + " --help)", 2);
    return complain(std::string(e.what()) + " (see vireo" + where + " --help)", 2);
  } catch (const cli::UsageError& e) {
    return complain(e.what(), 2);
  } catch (const cli::Failure& e) {
    return complain(e.what(), 1);
  } catch (const cli::Interrupted& e) {
    return complain(e.what(), cli::interrupted_code());
  }
  // A full disk behind a redirected stdout must not look like success.
  if (std::fflush(stdout) != 0 || std::ferror(stdout))
    return complain(std::string("cannot write the output: ") + (errno ? std::strerror(errno) : "writing failed"), 1);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // A closed standard stream would become the number of the next file opened: 0 that cannot be read, 1 and 2 that
  // cannot be written.
  for (int fd = 0; fd <= 2; ++fd)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd) return 1;
  cli::set_command(argc, argv);
  int code = 1;
  try {
    code = run(argc, argv);
  } catch (const std::bad_alloc&) {
    code = complain("out of memory", "", 1);
  } catch (const std::system_error& e) {  // a thread that the system does not give
    code = complain("the system refused: ", e.what(), 1);
  } catch (const std::exception& e) {
    code = complain("internal error, please report: ", e.what(), 1);
  }
  if (cli::device_at_work()) {
    std::fflush(nullptr);
    std::_Exit(code);
  }
  return code;
}
