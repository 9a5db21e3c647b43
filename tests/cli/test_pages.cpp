// The pages of profile, profile --compare, predict and predict --sweep in headless Chromium: at the widths of a
// telephone, a tablet and two screens each in a frame of its own, light and dark.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <iterator>
#include <map>

#include "run_cli.h"

namespace cli_test {
namespace {

const std::string kModel = std::string(VIREO_TEST_DATA) + "/torchvision/even";
const std::string kViT = std::string(VIREO_SOURCE_DIR) + "/models/configs/vit-ti.json";

/// stdout of Chromium's --dump-dom for a page, and what its console said.
std::string dom(const std::string& page, const std::string& profile, bool dark, std::string* console) {
  const std::string log = page + ".log";
  const std::string command =
      "timeout 300 chromium --headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
      "--disable-background-networking --disable-dev-shm-usage --user-data-dir='" +
      profile + "' --enable-logging=stderr --virtual-time-budget=20000 --window-size=2000,1600 " +
      (dark ? "--blink-settings=preferredColorScheme=0 " : "--blink-settings=preferredColorScheme=1 ") +
      "--dump-dom 'file://" + page + "' 2>'" + log + "'";
  std::FILE* pipe = popen(command.c_str(), "r");
  std::string out;
  std::array<char, 65536> buffer;
  for (size_t n; pipe && (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) out.append(buffer.data(), n);
  if (pipe) pclose(pipe);
  *console = "";
  const std::string all = read_file(log);
  for (size_t at = 0; (at = all.find("CONSOLE", at)) != std::string::npos; ++at)
    *console += all.substr(at, all.find('\n', at) - at) + "\n";
  return out;
}

/// What a reader does with a page, and what it then shows. Runs at the end of the page in a frame and tells the frame's
/// parent.
constexpr char kProbe[] = R"PROBE(<script>
{
const seen = {name: location.hash.slice(1), width: innerWidth, errors};
const room = document.documentElement.clientWidth;
const shown = e => e.getClientRects().length > 0;
/// Everything that stands out of the page on either side, and pictures that stand out of their own frame.
const wide = () => [...document.body.querySelectorAll("*")].filter(shown).filter(e => { const r = e.getBoundingClientRect(); return r.right > room + 0.6 || r.left < -0.6; }).map(e => e.tagName + " " + (e.textContent || "").slice(0, 40)).slice(0, 5);
const big = root => [...root.querySelectorAll("table")].at(-1);
const rows = t => [...t.tBodies[0].rows];
try {
  seen.wide = wide(); seen.scrolls = document.documentElement.scrollWidth > room;
  seen.charts = [...document.querySelectorAll("svg")].filter(shown).length;
  seen.small = [...document.querySelectorAll("svg")].some(v => Math.abs(v.getBoundingClientRect().width / v.viewBox.baseVal.width - 1) > 0.02);
  seen.outside = [...document.querySelectorAll("svg circle, svg rect, svg text")].filter(c => { const r = c.getBoundingClientRect(), v = c.ownerSVGElement.getBoundingClientRect(); return r.right > v.right + 1 || r.left < v.left - 1 || r.top < v.top - 8 || r.bottom > v.bottom + 8; }).map(c => c.outerHTML.slice(0, 120)).slice(0, 5);
  seen.fetched = performance.getEntriesByType("resource").length;
  seen.background = getComputedStyle(document.body).backgroundColor;
  seen.tables = [...document.querySelectorAll("table")].map(t => t.querySelectorAll("th").length);
  seen.headings = [...document.querySelectorAll("table")].map(t => [...t.querySelectorAll("th")].filter(shown).map(h => h.textContent));
  const table = big(document), heads = [...table.querySelectorAll("th button")], ms = heads.findIndex(b => /^((alone )?ms|KiB)$/.test(b.textContent));
  heads[ms].click();
  const cells = rows(table).map(r => parseFloat(r.cells[ms].textContent)).filter(x => !isNaN(x));
  seen.rows = rows(table).length; seen.sorted = cells.every((c, i) => i === 0 || c <= cells[i - 1]);
  // Every column, and back.
  const all = [...document.querySelectorAll(".columns button")].at(-1);
  if (shown(all)) { all.click(); seen.all_columns = heads.filter(shown).length; all.click(); seen.wide_again = wide(); }
  // On paper.
  dispatchEvent(new Event("beforeprint"));
  seen.paper = {width: document.getElementById("main").offsetWidth, wide: [...document.querySelectorAll("table, svg")].filter(e => e.offsetWidth > 700 || e.getBoundingClientRect().width > 700).length};
  dispatchEvent(new Event("afterprint"));
  seen.wide_after_paper = wide();
  const field = document.querySelector("input[type=search]");
  if (field) {
    document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "/", bubbles: true, cancelable: true}));
    seen.slash = document.activeElement === field;
    const type = text => { field.value = text; field.dispatchEvent(new Event("input")); };
    const marks = () => [...document.querySelectorAll(".zoom .mark")], all_marks = marks().length;
    const wanted = seen.name === "sweep" ? ["INT8", "swin"] : ["ATTENTION", "0"];
    type(wanted.join("  "));
    seen.found = rows(table).length; seen.found_right = rows(table).every(r => wanted.every(w => r.textContent.toLowerCase().includes(w.toLowerCase())));
    seen.off = marks().filter(m => m.classList.contains("off")).length; seen.hits = marks().filter(m => m.classList.contains("hit")).length; seen.marks = all_marks;
    seen.told = document.querySelector(".find output").textContent;
    type("no such step"); seen.none = rows(table).length;
    field.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape", bubbles: true, cancelable: true}));
    seen.back = rows(table).length; seen.bright = marks().filter(m => m.classList.contains("off") || m.classList.contains("hit")).length;
  }
  seen.above = [...document.querySelectorAll(".above")].map(e => e.textContent);
  seen.above_cells = [...document.querySelectorAll("td")].filter(e => / \*$/.test(e.textContent)).map(e => e.title);
  const plot = document.querySelector(".zoom");
  if (plot) {
    const range = plot.parentNode.querySelector("output"), box = plot.getBoundingClientRect(), start = range.textContent;
    const key = k => plot.dispatchEvent(new KeyboardEvent("keydown", {key: k, bubbles: true, cancelable: true}));
    const bounds = () => range.textContent.match(/[\d.]+/g).map(Number), steps = [start];
    const wheel = by => { const e = new WheelEvent("wheel", {deltaY: by, clientX: box.left + box.width / 2, clientY: box.top + 20, bubbles: true, cancelable: true}); plot.dispatchEvent(e); return e.defaultPrevented; };
    const [, total] = bounds(), span = () => bounds()[1] - bounds()[0];
    seen.out_at_start = wheel(300);
    seen.wheel = wheel(-300) && span() < 0.7 * total; seen.inside = bounds()[0] > 0 && bounds()[1] < total;
    key("0"); seen.reset = range.textContent === start;
    key("+"); seen.plus = Math.abs(span() / total - 0.5) < 0.01;
    const before = bounds()[0]; key("ArrowRight"); seen.right = bounds()[0] > before; key("ArrowLeft"); key("ArrowLeft"); seen.left = bounds()[0] < before;
    key("-"); key("-"); seen.minus = range.textContent === start;
    const pointer = (type, x, more) => plot.dispatchEvent(new PointerEvent(type, {clientX: x, clientY: box.top + 20, button: 0, pointerId: 1, bubbles: true, ...more}));
    const at = share => box.left + 52 + share * (box.width - 62);
    pointer("pointerdown", at(0.25)); pointer("pointermove", at(0.3)); pointer("pointermove", at(0.5)); seen.band = document.querySelectorAll("rect.band").length; pointer("pointerup", at(0.5));
    seen.drag = Math.abs(bounds()[0] / total - 0.25) < 0.02 && Math.abs(bounds()[1] / total - 0.5) < 0.02;
    pointer("pointerdown", at(0.5), {shiftKey: true}); pointer("pointermove", at(0.4), {shiftKey: true}); pointer("pointermove", at(0.1), {shiftKey: true}); pointer("pointerup", at(0.1), {shiftKey: true});
    seen.moved = bounds()[0] / total > 0.3 && Math.abs(span() / total - 0.25) < 0.02;
    seen.wide_zoomed = wide();
    [...plot.parentNode.querySelectorAll("button")].find(b => b.textContent === "Reset").click(); seen.button = range.textContent === start;
    seen.band_gone = document.querySelectorAll("rect.band").length;
  }
} catch (e) { seen.errors.push(String(e && e.stack || e)); }
parent.postMessage(seen, "*");
}
</script>)PROBE";

constexpr char kWatch[] =
    R"(<script>const errors = []; addEventListener("error", e => errors.push(e.message)); addEventListener("unhandledrejection", e => errors.push(String(e.reason)));</script>)";

constexpr int kWidths[] = {390, 768, 1280, 1920};

class Pages : public ::testing::Test {
 protected:
  /// Every page at every width in one browser; what each frame saw, by name and width.
  std::map<std::pair<std::string, int>, nlohmann::json> look(const std::vector<std::string>& names, bool dark) {
    std::string frames;
    for (const std::string& name : names) {
      std::string page = read_file(dir.path(name + ".html"));
      EXPECT_EQ(page.find("http"), std::string::npos) << name << " needs no network";
      page.insert(page.rfind("</body>"), kProbe);
      page.insert(page.find("<head>") + 6, kWatch);
      dir.write(name + "_probe.html", page);
      for (int width : kWidths)
        frames += "<iframe src=\"" + name + "_probe.html#" + name + "\" width=\"" + std::to_string(width) +
                  "\" height=\"1200\" style=\"border:0\"></iframe>\n";
    }
    const size_t all = names.size() * std::size(kWidths);
    const std::string outer = dir.write(
        "outer.html",
        "<!doctype html><meta name=\"color-scheme\" content=\"light dark\"><title></title><script>const seen = []; "
        "addEventListener(\"message\", e => { seen.push(e.data); if (seen.length === " +
            std::to_string(all) + ") document.title = JSON.stringify(seen); });</script><body>" + frames + "</body>");
    std::string console;
    const std::string shown = dom(outer, dir.path("browser"), dark, &console);
    EXPECT_EQ(console, "");
    std::map<std::pair<std::string, int>, nlohmann::json> seen;
    const size_t from = shown.find("<title>"), to = shown.find("</title>");
    if (from == std::string::npos || to == std::string::npos) return seen;
    std::string title = shown.substr(from + 7, to - from - 7);
    for (const auto& [code, letter] : {std::pair<const char*, const char*>{"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}})
      for (size_t at = 0; (at = title.find(code, at)) != std::string::npos; ++at)
        title.replace(at, std::string(code).size(), letter);
    const nlohmann::json list = nlohmann::json::parse(title, nullptr, false);
    EXPECT_TRUE(list.is_array()) << title.substr(0, 300) << read_file(outer + ".log");
    if (list.is_array())
      for (const nlohmann::json& s : list) seen[{s["name"], s["width"]}] = s;
    EXPECT_EQ(seen.size(), all);
    return seen;
  }

  const Scratch dir;
};

TEST_F(Pages, FitEveryWidthAndDoWhatTheReaderAsks) {
  if (std::system("command -v chromium >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "no chromium here, which section test of cmake/packages.txt installs";
  ASSERT_EQ(run_cli({"profile", "--model", kModel, "--device", "cpu", "--runs", "2", "--json", dir.path("p.json"),
                     "--html", dir.path("one.html")})
                .code,
            0);
  // The same as a GPU's profile with everything there is, beside one of before there was any of it.
  nlohmann::json full = nlohmann::json::parse(read_file(dir.path("p.json"))), old = full;
  const size_t rows = full["dispatches"].size();
  for (nlohmann::json& d : full["dispatches"]) {
    d["gflops"] = 1e5;  // above the roof: it must stay inside the plot
    if (d["op"] == "linear") d["phases"] = {{"workgroups", 4}};
    if (d["op"] == "linear")
      for (const char* part : {"load", "compute", "store"})
        d["phases"][part] = {{"share", 0.25}, {"mean_ticks", 1}, {"max_ticks", 2}};
    d["compiler"] = {{"subgroup_size", 32},
                     {"registers", 96},
                     {"spills", nullptr},
                     {"instructions", 884},
                     {"statistics", {{"Number of GPRs", 96}}}};
    d["executed"] = {{"fma", 3000.0}, {"shared_load", 500.0}, {"convert", 0.0}, {"barrier", 8.0}};
    d["spirv"] = {{"fma", 30.0}, {"shared_load", 5.0}, {"convert", 0.0}, {"barrier", 2.0}};
  }
  full["dispatches"][0]["roof_share"] = 1.5, full["dispatches"][0]["above_roof"] = "bytes from caches";
  full["dispatches"][1]["roof_share"] = 2.5, full["dispatches"][1]["above_roof"] = "too short to tell";
  for (size_t i = 2; i < rows; ++i) full["dispatches"][i]["above_roof"] = "";
  full["device"] = {
      {"kind", "vulkan"}, {"name", "A GPU of a rather long name (of its driver's choice)"}, {"reason", ""}};
  full["roofs"]["half_fma_gflops"] = 2 * double(full["roofs"]["fma_gflops"]);
  full["made"]["driver"] = "Some driver 1.2.3";
  for (nlohmann::json& d : old["dispatches"])
    d.erase("phases"), d.erase("compiler"), d.erase("executed"), d.erase("above_roof");
  for (const char* key : {"no_phases", "no_compiler", "made", "notes"}) old.erase(key);
  old["dispatches"][2]["name"] = "a_step_that_only_the_second_has.with.a.name.of.some.length.that.no.column.can.hold";
  ASSERT_EQ(run_cli({"profile", "--compare", dir.write("full.json", full.dump()), dir.write("old.json", old.dump()),
                     "--html", dir.path("two.html")})
                .code,
            0);
  ASSERT_EQ(run_cli({"predict", "--machine", "jetson-nano", "--config", kViT, "--html", dir.path("predict.html")}).code,
            0);
  ASSERT_EQ(run_cli({"predict", "--sweep", "--machine", "jetson-nano", "--models",
                     kViT + "," + std::string(VIREO_SOURCE_DIR) + "/models/configs/swin-t.json", "--precisions",
                     "fp32,int8", "--sizes", "224,50", "--html", dir.path("sweep.html")})
                .code,
            0);
  for (bool dark : {false, true}) {
    const auto seen = look({"one", "two", "predict", "sweep"}, dark);
    for (const auto& [at, s] : seen) {
      const auto& [name, width] = at;
      SCOPED_TRACE(name + " at " + std::to_string(width) + (dark ? ", dark" : ", light"));
      const nlohmann::json none = nlohmann::json::array();
      EXPECT_EQ(s["errors"], none);
      EXPECT_EQ(s["background"], dark ? "rgb(20, 23, 27)" : "rgb(255, 255, 255)");
      EXPECT_EQ(s["fetched"], 0) << "no network";
      // Nothing stands out of the page, whatever was done to it.
      EXPECT_EQ(s["scrolls"], false);
      for (const char* when : {"wide", "wide_again", "wide_after_paper", "wide_zoomed"})
        if (s.contains(when)) {
          EXPECT_EQ(s[when], none) << when;
        }
      EXPECT_EQ(s["small"], false) << "text keeps its size";
      EXPECT_EQ(s["outside"], none) << "points above a plot, bars and text beyond it";
      EXPECT_EQ(s["paper"]["width"], 700);
      EXPECT_EQ(s["paper"]["wide"], 0);
      EXPECT_EQ(s["sorted"], true);
      // The time is on every screen, everything where there is room.
      for (const nlohmann::json& heads : s["headings"]) {
        const std::string all = heads.dump();
        EXPECT_TRUE(all.find("\"ms\"") != std::string::npos || all.find("ms\"") != std::string::npos) << all;
        EXPECT_GE(heads.size(), 2u) << all;
      }
      if (name == "sweep") {
        EXPECT_EQ(s["rows"], 8);
        EXPECT_EQ(s["tables"], nlohmann::json({8}));
        if (width >= 1280) {
          EXPECT_EQ(s["headings"][0].size(), 8u);
        }
      }
      // Why a share is above the roof, in the cell and below the table; a profile that does not know it says nothing.
      if (name == "two") {
        EXPECT_EQ(s["above"], nlohmann::json({"* above the roof: bytes from caches (1), too short to tell (1)"}));
        EXPECT_EQ(s["above_cells"], nlohmann::json({"bytes from caches", "too short to tell"}));
      } else if (name != "one") {
        EXPECT_EQ(s["above"], none);
      }
      const size_t dispatches = name == "predict" ? 63 : name == "sweep" ? 8 : rows;
      EXPECT_EQ(s["rows"], dispatches);
      if (name != "sweep") {
        EXPECT_EQ(s["charts"], name == "one" ? 3 : name == "two" ? 7 : 3) << "of two profiles one has phases";
      }
      if (name != "sweep") {
        EXPECT_EQ(s["tables"].size(), name == "two" ? 5u : 2u);
      }
      if (name != "sweep" && s.contains("all_columns")) {
        EXPECT_EQ(s["all_columns"], s["tables"].back());
      }
      // The search field.
      EXPECT_EQ(s["slash"], true);
      EXPECT_GT(s["found"], 0);
      EXPECT_LT(s["found"], dispatches);
      EXPECT_EQ(s["found_right"], true) << "words in any case and order";
      if (name != "sweep") {
        EXPECT_GT(s["hits"], 0);
      }
      EXPECT_EQ(int(s["off"]) + int(s["hits"]), s["marks"]);
      EXPECT_EQ(s["marks"], name == "two" ? 2 * rows : name == "sweep" ? 0 : dispatches);
      EXPECT_EQ(s["told"].get<std::string>().rfind(name == "two" ? "" : s["found"].dump() + " of ", 0), 0u)
          << s["told"];
      EXPECT_EQ(s["none"], 0);
      EXPECT_EQ(s["back"], dispatches);
      EXPECT_EQ(s["bright"], 0) << "Escape ends the search";
      // The timeline.
      if (name == "sweep") continue;
      EXPECT_EQ(s["out_at_start"], false) << "where nothing zooms, the page scrolls";
      for (const char* what : {"wheel", "inside", "reset", "plus", "right", "left", "minus", "drag", "moved", "button"})
        EXPECT_EQ(s[what], true) << what;
      EXPECT_EQ(s["band"], 1);
      EXPECT_EQ(s["band_gone"], 0);
    }
    // What has no room on a telephone is there on a screen.
    const auto shown = [&seen](const char* name, int width) {
      const auto it = seen.find({name, width});
      return it == seen.end() ? 0 : it->second["headings"].back().size();
    };
    for (const char* name : {"one", "predict"}) EXPECT_LT(shown(name, 390), shown(name, 1280)) << name;
  }
}

TEST_F(Pages, OfCompressionFitEveryWidth) {
  if (std::system("command -v chromium >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "no chromium here, which section test of cmake/packages.txt installs";
  const std::string shipped = std::string(VIREO_SOURCE_DIR) + "/models/fashion-vit";
  // Two bits change answers; names as long as they get.
  dir.write("policy", "weights i2\n");
  ASSERT_EQ(run_cli({"compress", "--model", shipped, "--policy", dir.path("policy"), "--out", dir.path("out"),
                     "--calibrate", shipped + "/samples", "--eval", shipped + "/samples"})
                .code,
            0);
  dir.write("compress.html", read_file(dir.path("out/report.html")));
  const size_t layers = nlohmann::json::parse(read_file(dir.path("out/report.json")))["layers"].size();
  for (bool dark : {false, true})
    for (const auto& [at, s] : look({"compress"}, dark)) {
      SCOPED_TRACE(std::to_string(at.second) + (dark ? ", dark" : ", light"));
      const nlohmann::json none = nlohmann::json::array();
      EXPECT_EQ(s["errors"], none);
      EXPECT_EQ(s["background"], dark ? "rgb(20, 23, 27)" : "rgb(255, 255, 255)");
      EXPECT_EQ(s["fetched"], 0) << "no network";
      EXPECT_EQ(s["scrolls"], false);
      for (const char* when : {"wide", "wide_again", "wide_after_paper"})
        if (s.contains(when)) {
          EXPECT_EQ(s[when], none) << when;
        }
      EXPECT_EQ(s["small"], false) << "text keeps its size";
      EXPECT_EQ(s["outside"], none);
      EXPECT_EQ(s["paper"]["width"], 700);
      EXPECT_EQ(s["paper"]["wide"], 0);
      EXPECT_EQ(s["sorted"], true);
      EXPECT_EQ(s["charts"], 2) << "sensitivity and error";
      EXPECT_EQ(s["rows"], layers);
      EXPECT_EQ(s["tables"].size(), 2u) << "pictures whose answer changed, and layers";
    }
}

TEST_F(Pages, SayHowTheyWereMade) {
  const std::vector<std::string> predict{"predict", "--machine", "jetson-nano", "--config", kViT};
  const auto page = [&](std::vector<std::string> command, const std::string& name) {
    command.insert(command.end(), {"--html", dir.path(name)});
    EXPECT_EQ(run_cli(command).code, 0);
    return read_file(dir.path(name));
  };
  std::vector<std::string> sweep = predict;
  sweep.resize(3);
  sweep.insert(sweep.end(), {"--sweep", "--models", kViT, "--precisions", "fp32", "--sizes", "224"});
  const std::string version = run_cli({"--version"}).out.substr(6);
  for (const std::string& text :
       {page(predict, "p.html"), page(sweep, "s.html"),
        page({"profile", "--model", kModel, "--device", "cpu", "--runs", "1", "--no-roofs"}, "m.html")}) {
    const std::string made = text.substr(text.find("\"made\":"), 600);
    EXPECT_EQ(made.rfind("\"made\":{\"vireo\":\"" + version.substr(0, version.find('\n')) + "\",\"date\":\"20", 0), 0u)
        << made;
    EXPECT_NE(made.find("\"command\":"), std::string::npos);
    EXPECT_NE(made.find("--html"), std::string::npos);
  }
}

}  // namespace
}  // namespace cli_test
