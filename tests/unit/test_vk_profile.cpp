// What a profile asks of a Vulkan device: compiler statistics behind a made-up driver, phases inside dispatches on the
// real one, and that a session's own commands and pipelines are the same with and without.
#if VIREO_VULKAN
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include <nlohmann/json.hpp>

#include "ops/tuned.h"
#include "ops/tuning.h"
#include "plan/plan.h"
#include "profile/compiler_fields.h"
#include "runtime/model_impl.h"
#include "runtime/session_impl.h"
#include "test_vk.h"
#include "test_vk_hook.h"
#include "vk/statistics.h"

#include <vireo/profile.hpp>

namespace vireo {
namespace {

namespace hook = vk::hook;

const std::string kCase = std::string(VIREO_TEST_DATA) + "/cases/hf-vit";

class VkProfile : public ::testing::Test {
 protected:
  void SetUp() override {
    hook::reset();
    const auto instance = vk::Instance::open();
    if (!instance || (*instance)->best() < 0) GTEST_SKIP() << "no Vulkan device to test on";
    const Result<Model> m = Model::open(kCase);
    ASSERT_TRUE(m.ok());
    model_.push_back(*m);
  }
  void TearDown() override { hook::reset(); }

  /// A session on the best device behind the hook, opened anew with what the hook pretends.
  Result<Session> session(const std::string& cpu_ops = "") {
    vk::InstanceOptions options;
    options.loader = hook::loader;
    options.labels = vk::Labels::kOff;
    const auto instance = vk::Instance::open(options);
    if (!instance) return instance.error();
    auto device = std::make_shared<Device::Impl>();
    device->kind = DeviceKind::kVulkan;
    device->index = (*instance)->best();
    device->caps = (*instance)->devices()[size_t(device->index)].caps;
    device->threads = 2;
    device->instance = *instance;
    SessionOptions o;
    o.fallback = false;
    o.cache_dir = "-";
    if (!cpu_ops.empty()) o.cpu_ops = {cpu_ops};
    return Session::create(model_[0], Device(device), o);
  }
  static Profile profiled(Session& s, bool compiler, bool phases) {
    const std::vector<float> x = pixels(s);
    ProfileOptions o;
    o.runs = 2;
    o.least_seconds = 0;
    o.roofs = false;
    o.compiler = compiler;
    o.phases = phases;
    const Result<Profile> p = s.profile(x.data(), x.size(), o);
    EXPECT_TRUE(p.ok()) << p.error().message;
    return p ? *p : Profile();
  }
  static std::vector<float> pixels(Session& s) {
    std::vector<float> x(s.impl().input_floats());
    for (size_t i = 0; i < x.size(); ++i) x[i] = float(i % 17) * 0.1f;
    return x;
  }
  static std::vector<float> run(Session& s) {
    const std::vector<float> x = pixels(s);
    const Result<Output> o = s.run(x.data(), x.size());
    EXPECT_TRUE(o.ok());
    return o ? std::vector<float>(o->data, o->data + o->rows * o->cols) : std::vector<float>();
  }

  /// What was recorded, by command buffer.
  static std::vector<std::vector<std::string>> recordings(const std::vector<std::string>& commands) {
    std::vector<std::vector<std::string>> all;
    for (const std::string& c : commands) {
      if (c == "begin") all.push_back({});
      all.back().push_back(c);
    }
    return all;
  }

  std::vector<Model> model_;  // at most one
};

constexpr auto kUint = VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR;

TEST_F(VkProfile, CompilerStatisticsOfEveryPipeline) {
  hook::pretence().statistics = true;
  const double half = 0.5;
  uint64_t half_bits;
  std::memcpy(&half_bits, &half, 8);
  hook::pretence().list = {{"Number of GPRs", kUint, 96},
                           {"Instruction count", kUint, 884},
                           {"Spills to memory", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR, 3},
                           {"Something new", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR, half_bits},
                           {"Uses barriers", VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR, 1}};
  Result<Session> s = session();
  ASSERT_TRUE(s.ok()) << s.error().message;
  const auto& enabled = hook::log().device_extensions;
  EXPECT_EQ(std::count(enabled.begin(), enabled.end(), VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME), 0)
      << "a session does without";
  const size_t own = hook::log().pipelines.size();
  for (VkPipelineCreateFlags f : hook::log().pipelines) EXPECT_EQ(f, 0u);
  const Profile p = profiled(*s, true, false);
  EXPECT_EQ(p.no_compiler, "");
  for (const DispatchProfile& d : p.dispatches) {
    EXPECT_EQ(d.compiler.subgroup_size, 32) << d.name;
    EXPECT_EQ(d.compiler.registers, 96);
    EXPECT_EQ(d.compiler.instructions, 884);
    EXPECT_EQ(d.compiler.spills, 3);
    EXPECT_EQ(d.compiler.local_bytes, -1) << "not said";
    ASSERT_EQ(d.compiler.values.size(), 5u);
    EXPECT_EQ(d.compiler.values[3].name, "Something new");
    EXPECT_EQ(d.compiler.values[3].value, 0.5);
    EXPECT_EQ(d.compiler.values[4].value, 1);
  }
  EXPECT_EQ(hook::log().pipelines.size(), 2 * own) << "each distinct pipeline once more";
  for (size_t i = own; i < hook::log().pipelines.size(); ++i)
    EXPECT_EQ(hook::log().pipelines[i], uint32_t(VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR));
  EXPECT_EQ(std::count(enabled.begin(), enabled.end(), VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME), 1);

  const nlohmann::json j = nlohmann::json::parse(profile_json(p));
  EXPECT_EQ(j["dispatches"][0]["compiler"]["registers"], 96);
  EXPECT_EQ(j["dispatches"][0]["compiler"]["local_bytes"], nullptr);
  EXPECT_EQ(j["dispatches"][0]["compiler"]["statistics"]["Something new"], 0.5);
  EXPECT_NE(profile_csv(p).find(",,32,96,3,884,,,,"), std::string::npos) << profile_csv(p);
}

TEST_F(VkProfile, SeveralExecutablesKeepTheirNames) {
  hook::pretence().statistics = true;
  hook::pretence().executables = 2;
  hook::pretence().list = {{"Instruction Count", kUint, 7}};
  Result<Session> s = session();
  ASSERT_TRUE(s.ok());
  const CompilerStatistics c = profiled(*s, true, false).dispatches[0].compiler;
  ASSERT_EQ(c.values.size(), 2u);
  EXPECT_EQ(c.values[0].name, "Instruction Count");
  EXPECT_EQ(c.values[1].name, "compute 1: Instruction Count");
  EXPECT_EQ(c.instructions, 7) << "of the first";
}

TEST_F(VkProfile, WithoutStatisticsTheRestGoesOn) {
  Result<Session> s = session();
  ASSERT_TRUE(s.ok());
  const std::vector<float> before = run(*s);
  Profile p = profiled(*s, true, false);
  if (s->impl().gpu->gpu().physical().ext_executable_properties) GTEST_SKIP() << "this driver offers them";
  EXPECT_EQ(p.no_compiler, "not offered by this driver");
  EXPECT_GT(p.serialised_us, 0);
  EXPECT_NE(profile_csv(p).find(",not offered by this driver,"), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(profile_json(p))["dispatches"][0]["compiler"], nullptr);
  // A driver that offers them and then fails: its answer is the reason.
  hook::reset();
  hook::pretence().statistics = true;
  hook::pretence().answer = VK_ERROR_OUT_OF_HOST_MEMORY;
  s = session();
  ASSERT_TRUE(s.ok());
  p = profiled(*s, true, false);
  EXPECT_NE(p.no_compiler.find("VK_ERROR_OUT_OF_HOST_MEMORY"), std::string::npos) << p.no_compiler;
  EXPECT_NE(p.no_compiler.find("its compiler made of shader"), std::string::npos) << p.no_compiler;
  hook::pretence().answer = VK_SUCCESS;
  hook::pretence().fail_pipelines = 1;
  p = profiled(*s, true, false);
  EXPECT_NE(p.no_compiler.find("compiling shader"), std::string::npos) << p.no_compiler;
  hook::pretence().no_functions = true;
  p = profiled(*s, true, false);
  EXPECT_NE(p.no_compiler.find("lacks the functions; update it"), std::string::npos) << p.no_compiler;
  EXPECT_GT(p.serialised_us, 0);
  EXPECT_EQ(run(*s), before);
}

// A driver that is here and offers the extension answers in numbers that make sense; on most test machines there is
// none.
TEST_F(VkProfile, RealStatistics) {
  const auto instance = vk::Instance::open();
  ThreadPool pool(2);
  int found = 0;
  for (const vk::Physical& d : (*instance)->devices()) {
    if (!d.ext_executable_properties || !d.unusable.empty()) continue;
    ++found;
    SessionOptions o;
    Result<Graph> graph = build_graph(model_[0], o);
    ASSERT_TRUE(graph.ok());
    const Result<Planned> planned = make_plan(std::move(*graph), d.caps, {});
    ASSERT_TRUE(planned.ok()) << planned.error().message;
    std::vector<vk::PipelineRequest> requests;
    for (const Step& step : planned->plan.steps)
      for (const PlanDispatch& dispatch : step.dispatches)
        requests.push_back({&dispatch.shader, &dispatch.spec, step.name.c_str()});
    requests.push_back(requests[0]);
    const auto s = vk::pipeline_statistics(*instance, d.index, requests, pool);
    ASSERT_TRUE(s.ok()) << s.error().message;
    ASSERT_EQ(s->size(), requests.size());
    EXPECT_EQ(s->back().values, s->front().values);
    for (size_t i = 0; i + 1 < requests.size(); ++i) {
      EXPECT_GT((*s)[i].subgroup_size, 0u);
      CompilerStatistics c;
      for (const auto& [name, value] : (*s)[i].values) c.values.push_back({name, value});
      read_compiler_fields(c);
      EXPECT_GT(c.instructions + c.code_bytes, 0) << *requests[i].shader;
      std::printf("[   INFO   ] %s, %s (%s): subgroups of %u, %.0f registers, %.0f spills, %.0f instructions\n",
                  d.caps.name.c_str(), requests[i].step, requests[i].shader->c_str(), (*s)[i].subgroup_size,
                  c.registers, c.spills, c.instructions);
    }
  }
  if (!found) GTEST_SKIP() << "never: no driver here offers VK_KHR_pipeline_executable_properties";
}

TEST(CompilerFields, NamesOfEveryVendor) {
  const auto read = [](std::vector<CompilerStatistics::Value> values) {
    CompilerStatistics s;
    s.values = std::move(values);
    read_compiler_fields(s);
    return s;
  };
  const CompilerStatistics nvk = read({{"Instruction count", 884},
                                       {"Number of GPRs", 96},
                                       {"Code size", 9504},
                                       {"Spills to memory", 2},
                                       {"SLM size", 16},
                                       {"Max warps/SM", 20}});
  EXPECT_EQ(nvk.registers, 96);
  EXPECT_EQ(nvk.spills, 2);
  EXPECT_EQ(nvk.instructions, 884);
  EXPECT_EQ(nvk.code_bytes, 9504);
  EXPECT_EQ(nvk.local_bytes, 16);
  EXPECT_EQ(nvk.subgroups_per_core, 20);
  const CompilerStatistics radv = read({{"SGPRs", 40},
                                        {"VGPRs", 84},
                                        {"Spilled SGPRs", 1},
                                        {"Spilled VGPRs", 4},
                                        {"Scratch size", 64},
                                        {"Instructions", 1234},
                                        {"Subgroups per SIMD", 5}});
  EXPECT_EQ(radv.registers, 84);
  EXPECT_EQ(radv.spills, 5) << "both kinds";
  EXPECT_EQ(radv.local_bytes, 64);
  EXPECT_EQ(radv.subgroups_per_core, 5);
  const CompilerStatistics anv =
      read({{"Instruction Count", 500}, {"Spill Count", 0}, {"Scratch Memory Size", 0}, {"Max live registers", 60}});
  EXPECT_EQ(anv.registers, 60);
  EXPECT_EQ(anv.spills, 0);
  const CompilerStatistics nvidia = read({{"Register Count", 128}, {"Binary Size", 4096}, {"Stack Size", 0}});
  EXPECT_EQ(nvidia.registers, 128);
  EXPECT_EQ(nvidia.spills, -1) << "not said is not none";
}

TEST_F(VkProfile, PhasesInsideTheHotShaders) {
  Result<Session> s = session("layer_norm");
  ASSERT_TRUE(s.ok()) << s.error().message;
  if (!s->impl().gpu->gpu().caps().shader_clock) GTEST_SKIP() << "no shader clock on this device";
  const std::vector<float> before = run(*s);
  const size_t own = hook::log().pipelines.size();
  const Profile p = profiled(*s, false, true);
  EXPECT_GT(hook::log().pipelines.size(), own);
  EXPECT_EQ(p.no_phases, "");
  int hot = 0;
  for (const DispatchProfile& d : p.dispatches) {
    const PhaseProfile& f = d.phases;
    const bool expected = d.op == "linear" || d.op == "attention" || d.op == "conv2d";
    EXPECT_EQ(f.workgroups, expected && !d.cpu ? d.groups[0] * d.groups[1] * d.groups[2] : 0u) << d.name;
    if (!f.workgroups) continue;
    ++hot;
    EXPECT_NEAR(f.load.share + f.compute.share + f.store.share, 1, 1e-9) << d.name;
    for (const PhaseProfile::Part* part : {&f.load, &f.compute, &f.store}) {
      EXPECT_GT(part->share, 0) << d.name << ": a phase without a tick was not marked";
      EXPECT_GE(part->max_ticks, part->mean_ticks) << d.name;
    }
  }
  EXPECT_GT(hot, 4);
  EXPECT_EQ(run(*s), before);
  const nlohmann::json j = nlohmann::json::parse(profile_json(p));
  for (size_t i = 0; i < p.dispatches.size(); ++i)
    EXPECT_EQ(j["dispatches"][i]["phases"].is_null(), p.dispatches[i].phases.workgroups == 0);
}

TEST_F(VkProfile, WithoutAShaderClockTheRestGoesOn) {
  hook::pretence().no_shader_clock = true;
  Result<Session> s = session();
  ASSERT_TRUE(s.ok());
  const auto& enabled = hook::log().device_extensions;
  EXPECT_EQ(std::count(enabled.begin(), enabled.end(), VK_KHR_SHADER_CLOCK_EXTENSION_NAME), 0);
  const Profile p = profiled(*s, false, true);
  EXPECT_NE(p.no_phases.find("offers no shader clock"), std::string::npos) << p.no_phases;
  EXPECT_GT(p.serialised_us, 0);
  const Result<Session> on_cpu = Session::create(model_[0], Device::cpu(1));
  ASSERT_TRUE(on_cpu.ok());
  EXPECT_NE(profiled(const_cast<Session&>(*on_cpu), true, true).no_phases.find("the CPU's steps have no phases"),
            std::string::npos);
}

// Profiling that is off costs nothing: a session's commands hold no trace of it, and a profile taken leaves none.
TEST_F(VkProfile, LeavesTheSessionsCommandsAlone) {
  hook::pretence().statistics = true;
  Result<Session> first = session();
  ASSERT_TRUE(first.ok());
  const std::vector<std::string> recorded = hook::log().commands;
  ASSERT_GT(recorded.size(), 20u);
  EXPECT_EQ(std::count(recorded.begin(), recorded.end(), "timestamp"), 0);
  hook::log().commands.clear();
  hook::log().submitted.clear();
  const std::vector<float> before = run(*first);
  run(*first);
  EXPECT_TRUE(hook::log().commands.empty()) << "recorded once, submitted again and again";
  const std::vector<VkCommandBuffer> own = hook::log().submitted;
  ASSERT_EQ(own.size(), 2u);

  profiled(*first, true, true);
  EXPECT_GT(std::count(hook::log().commands.begin(), hook::log().commands.end(), "timestamp"), 0)
      << "the hook sees a profile";
  hook::log().commands.clear();
  hook::log().submitted.clear();
  EXPECT_EQ(run(*first), before);
  run(*first);
  EXPECT_TRUE(hook::log().commands.empty());
  ASSERT_EQ(hook::log().submitted.size(), 2u);
  for (VkCommandBuffer c : hook::log().submitted)
    EXPECT_NE(std::find(own.begin(), own.end(), c), own.end()) << "another command buffer than before";

  const Result<Session> later = session();  // made after a profile was taken
  ASSERT_TRUE(later.ok());
  EXPECT_EQ(hook::log().commands, recorded);
}

// Where timestamps are dear, only some neighbours have them in one run; the plan is covered, and a run's begin and end
// are known.
TEST_F(VkProfile, TimesAFewDispatchesAtOnce) {
  Result<Session> s = session();
  ASSERT_TRUE(s.ok());
  const std::vector<float> x = pixels(*s);
  const size_t all = profiled(*s, false, false).dispatches.size();
  ASSERT_GT(all, 8u);
  ProfileOptions o;
  o.runs = 2;
  o.least_seconds = 0;
  o.roofs = o.compiler = false;
  for (int at_once : {1, 3, 1000}) {
    o.timed_at_once = at_once;
    hook::log().commands.clear();
    const Result<Profile> p = s->profile(x.data(), x.size(), o);
    ASSERT_TRUE(p.ok()) << p.error().message;
    EXPECT_EQ(p->timed_at_once, int(std::min(size_t(at_once), all)));
    EXPECT_EQ(p->timestamp_us, 0) << "nobody asked";
    ASSERT_EQ(p->dispatches.size(), all);
    double end = 0, sum = 0;
    for (const DispatchProfile& d : p->dispatches) {
      EXPECT_GE(d.scheduled_us, 0) << d.name;
      EXPECT_GE(d.serialised_us, 0) << d.name;
      if (d.begin_us < end - 1e-6) {
        EXPECT_GT(p->overlap_us, 0) << d.name << " begins before its neighbour ends";
      }
      end = std::max(end, d.begin_us + d.scheduled_us);
      sum += d.serialised_us;
    }
    EXPECT_EQ(p->dispatches[0].begin_us, 0);
    EXPECT_GT(p->scheduled_us, 0);
    EXPECT_NEAR(sum, p->serialised_us, 1e-6 * sum);
    EXPECT_GE(p->noise_us, 0);
    EXPECT_GE(p->empty_us, 0);
    EXPECT_EQ(p->clipped, std::count_if(p->dispatches.begin(), p->dispatches.end(),
                                        [](const DispatchProfile& d) { return d.serialised_us == 0; }));
    EXPECT_DOUBLE_EQ(p->accounted_us,
                     p->serialised_us + p->noise_us + p->host.upload + p->host.launch + p->host.download);
    // Alone, every dispatch has four: around it, and once more around nothing behind the same barrier. As scheduled:
    // two for each of a block, one before the block, and one at the begin and at the end of the run.
    size_t stamps = 0, as_scheduled = 0, alone = 0, launches = 0;
    for (const std::vector<std::string>& one : recordings(hook::log().commands)) {
      const size_t n = size_t(std::count(one.begin(), one.end(), "timestamp"));
      if (n == 0) {
        ++launches;
        EXPECT_EQ(one.size(), 4u) << "begin, two barriers, end: no dispatch";
      } else if (n == 4 * all) {
        ++alone;
        for (size_t i = 0; i < one.size(); ++i) {
          if (one[i].rfind("dispatch", 0) != 0) continue;
          ASSERT_LT(i + 4, one.size());
          size_t before = i;  // the bindings stand between, and belong to the dispatch
          while (before > 1 && one[before - 1].rfind("barrier", 0) != 0) --before;
          EXPECT_EQ(one[before], "timestamp");
          EXPECT_EQ(one[i + 1], "timestamp");
          EXPECT_EQ(one[i + 2].rfind("barrier", 0), 0u);
          EXPECT_EQ(one[i + 3], "timestamp");
          EXPECT_EQ(one[i + 4], "timestamp");
        }
      } else {
        ++as_scheduled, stamps += n;
      }
    }
    EXPECT_EQ(alone, 2u) << "as many as asked for";
    EXPECT_EQ(launches, alone);
    if (at_once == 1000) EXPECT_EQ(stamps, 2 * 2 * all);
    else EXPECT_LE(stamps, 2 * 2 * all + 2 * 3 * all);
    EXPECT_GE(stamps, 2 * 2 * all) << "every dispatch had its turn";
    EXPECT_GE(as_scheduled, 2u);
  }
  o.timed_at_once = -1;
  const Result<Profile> refused = s->profile(x.data(), x.size(), o);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("got -1 dispatches to time at once, expected 1 or more"), std::string::npos)
      << refused.error().message;
}

// Every variant computes what its shader computes, bit for bit, and notes each workgroup; under the validation layer.
class VkPhases : public vk::VkTest {
 protected:
  /// Convolutions of a picture and of rows, products, attention within groups and over all tokens: small, as lavapipe
  /// compiles for long.
  static Graph graph(bool attention) {
    GraphBuilder b("phases");
    int seed = 0;
    const auto matrix = [&](int64_t rows, int64_t cols) {
      std::vector<float> w(size_t(rows * cols));
      for (float& v : w) v = float((seed = (seed * 37 + 11) % 101) - 50) / 100;
      return b.constant("w" + std::to_string(seed) + std::to_string(rows), make_constant(rows, cols, w));
    };
    TensorDesc picture{DType::kF32, Shape{{1, 16, 16, 3}}};
    picture.layout = Layout::kPlanar;
    ValueId x = b.input("picture", picture);
    x = b.add(OpKind::kConv2d, "patches", {x, matrix(16, 3 * 4), kNoValue, kNoValue, kNoValue},
              {{"kernel_h", 2}, {"kernel_w", 2}, {"stride_h", 2}, {"stride_w", 2}});
    if (attention)
      x = b.add(OpKind::kConv2d, "conv", {x, matrix(16, 16 * 9), kNoValue, kNoValue, kNoValue},
                {{"kernel_h", 3}, {"kernel_w", 3}, {"pad_h", 1}, {"pad_w", 1}});
    x = b.add(OpKind::kLinear, "window.qkv", {x, matrix(48, 16), kNoValue, kNoValue, kNoValue});
    if (attention)
      x = b.add(OpKind::kAttention, "window.attention", {x, kNoValue, kNoValue},
                {{"heads", 2}, {"group_h", 4}, {"group_w", 4}});
    x = b.add(OpKind::kLinear, "qkv", {x, matrix(48, attention ? 16 : 48), kNoValue, kNoValue, kNoValue}, {{"ln", 1}});
    if (attention) {
      x = b.add(OpKind::kAttention, "attention", {x, kNoValue, kNoValue}, {{"heads", 2}});
      const ValueId keys = b.add(OpKind::kConv2d, "keys", {x, matrix(64, 16 * 64), kNoValue, kNoValue, kNoValue},
                                 {{"kernel_h", 8}, {"kernel_w", 8}, {"stride_h", 8}, {"stride_w", 8}});
      x = b.add(OpKind::kLinear, "keyed.qkv", {x, matrix(48, 16), kNoValue, kNoValue, kNoValue});
      x = b.add(OpKind::kAttention, "keyed.attention", {x, kNoValue, kNoValue, keys}, {{"heads", 2}});
    }
    b.output(x);
    Result<Graph> g = b.finish();
    EXPECT_TRUE(g.ok()) << g.error().message;
    return g ? std::move(*g) : Graph();
  }

  /// Runs the graph with a tuning's kernels, plain and with phases; adds the shaders that were measured to `seen`.
  static void compare(const std::shared_ptr<vk::Gpu>& gpu, const Tuning& tuning, Precision precision,
                      std::set<std::string>* seen, bool attention = true) {
    PlanOptions options;
    options.precision = precision;
    options.tuning = tuning;
    const Result<Planned> planned = make_plan(graph(attention), gpu->caps(), options);
    ASSERT_TRUE(planned.ok()) << planned.error().message;
    const Plan& plan = planned->plan;
    ASSERT_FALSE(plan.has_cpu_steps());
    ThreadPool pool(2);
    const auto e = vk::Executable::create(gpu, plan, planned->graph, pool, {});
    ASSERT_TRUE(e.ok()) << e.error().message;
    const TensorDesc in = plan.values[size_t(plan.inputs[0])].desc, out = plan.values[size_t(plan.outputs[0])].desc;
    for (int64_t i = 0; i < in.shape.elements(); ++i) (*e)->input(0)[i] = float(i % 23) * 0.1f - 1;
    const size_t floats = size_t(out.shape.rows() * out.row_stride());
    ASSERT_TRUE((*e)->submit(0));
    ASSERT_TRUE((*e)->wait(0));
    const std::vector<float> plain((*e)->output(0), (*e)->output(0) + floats);
    EXPECT_NE(plain, std::vector<float>(floats, 0.f));
    const auto phases = (*e)->phases(2, pool);
    ASSERT_TRUE(phases.ok()) << phases.error().message;
    EXPECT_EQ(std::vector<float>((*e)->output(0), (*e)->output(0) + floats), plain);
    ASSERT_EQ(phases->size(), size_t(plan.dispatch_count()));
    for (const auto& p : *phases) {
      const PlanDispatch& d = plan.steps[size_t(p.step)].dispatches[size_t(p.dispatch)];
      EXPECT_EQ(p.workgroups, d.groups[0] * d.groups[1] * d.groups[2]) << d.shader;
      seen->insert(d.shader);
      ASSERT_EQ(p.runs.size(), 2u);
      for (const auto& run : p.runs)
        for (int k = 0; k < 3; ++k) EXPECT_GT(run.sum[k], 0) << d.shader << ", part " << k << ": never marked";
    }
    ASSERT_TRUE((*e)->submit(1));
    EXPECT_EQ((*e)->phases(1, pool).error().code, ErrorCode::kInvalidArgument) << "a slot is in flight";
    ASSERT_TRUE((*e)->wait(1));
  }
};

TEST_F(VkPhases, EveryVariantComputesTheSame) {
  std::set<std::string> seen;
  bool halves = false;
  for (const uint32_t index : usable_) {
    const auto gpu = open(index);
    ASSERT_TRUE(gpu);
    if (!gpu->caps().shader_clock) continue;
    DeviceCaps caps = gpu->caps();
    caps.device_class = DeviceClass::kSoftware;
    Tuning tuning = tuning_for(caps);
    compare(gpu, tuning, Precision::kFp32, &seen);
    tuning.shuffle = false;
    compare(gpu, tuning, Precision::kFp32, &seen);
    caps.device_class = DeviceClass::kOther;
    tuning = tuning_for(caps);
    compare(gpu, tuning, Precision::kFp32, &seen);
    tuning.constants.erase("conv2d.tile");
    tuning.constants["conv2d.winograd.tile"] = {{16, 16, 8, 8}};
    compare(gpu, tuning, Precision::kFp32, &seen);
    if (!caps.shader_float16) continue;
    halves = true;
    tuning.constants.erase("linear.tile");
    tuning.constants["linear.half"] = {{64, 64, 16, 8, 8}};
    compare(gpu, tuning, Precision::kFp16, &seen, false);
    only_kernel(*find_kernel("attention.half"), &tuning);
    tuning.constants["attention.half"] = {{32, 4, 4, 4, 8}};
    tuning.constants.erase("conv2d.winograd.tile");  // the picture's own planes take conv2d.direct
    tuning.constants["conv2d.half"] = {{32, 32, 16, 8, 8}};
    compare(gpu, tuning, Precision::kFp16, &seen);
    tuning.constants.erase("conv2d.half");
    tuning.constants["conv2d.winograd.half"] = {{16, 16, 16, 8}};
    compare(gpu, tuning, Precision::kFp16, &seen);
  }
  if (seen.empty()) GTEST_SKIP() << "no device here has a shader clock";
  for (const char* shader :
       {"linear.tile", "linear.texel", "linear.texel.SHUFFLE=1", "attention.tile", "attention.tile.PARTITION=1",
        "attention.tile.PARTITION=2", "attention.texel", "attention.texel.PARTITION=1", "attention.texel.PARTITION=2",
        "conv2d", "conv2d.TEXEL=1", "conv2d.tile", "conv2d.winograd.tile"})
    EXPECT_EQ(seen.count(shader), 1u) << shader << " was not tried";
  for (const char* shader : {"linear.half", "attention.half", "attention.half.PARTITION=1",
                             "attention.half.PARTITION=2", "conv2d.half", "conv2d.winograd.half"})
    EXPECT_EQ(seen.count(shader), size_t(halves)) << shader;
}

// Each failure that a device can answer with says what failed, leaves the session's own commands working and no object
// behind.
TEST_F(VkPhases, Failures) {
  std::string failing;
  VkResult answer = VK_SUCCESS;
  vk::GpuOptions options;
  options.fault = [&](const char* call) { return failing == call ? answer : VK_SUCCESS; };
  const auto gpu = open(usable_[0], options);
  ASSERT_TRUE(gpu);
  if (!gpu->caps().shader_clock) GTEST_SKIP() << "no shader clock on " << gpu->caps().name;
  DeviceCaps caps = gpu->caps();
  caps.device_class = DeviceClass::kOther;
  PlanOptions how;
  how.tuning = tuning_for(caps);
  const Result<Planned> planned = make_plan(graph(false), gpu->caps(), how);
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  ThreadPool pool(2);
  const auto e = vk::Executable::create(gpu, planned->plan, planned->graph, pool, {});
  ASSERT_TRUE(e.ok()) << e.error().message;
  const auto expect = [&](const char* call, VkResult result, ErrorCode code, const char* part) {
    failing = call, answer = result;
    const auto phases = (*e)->phases(1, pool);
    failing = "";
    ASSERT_FALSE(phases.ok()) << call;
    EXPECT_EQ(phases.error().code, code) << phases.error().message;
    EXPECT_NE(phases.error().message.find(part), std::string::npos) << phases.error().message;
  };
  expect("pipeline", VK_ERROR_OUT_OF_HOST_MEMORY, ErrorCode::kOutOfMemory, "compiling shader 'conv2d.tile.PHASES=1'");
  expect("allocate", VK_ERROR_OUT_OF_DEVICE_MEMORY, ErrorCode::kOutOfMemory, "the phases need");
  expect("submit", VK_ERROR_OUT_OF_HOST_MEMORY, ErrorCode::kOutOfMemory, "submitting failed");
  ASSERT_TRUE((*e)->submit(0));
  ASSERT_TRUE((*e)->wait(0)) << "the session goes on";
  ASSERT_TRUE((*e)->phases(1, pool).ok());
  expect("wait", VK_ERROR_DEVICE_LOST, ErrorCode::kDeviceLost, "the device was lost while running them");
}

}  // namespace
}  // namespace vireo
#endif  // VIREO_VULKAN
