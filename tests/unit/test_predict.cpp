// Counting what shaders execute, device descriptions, fitting and predicting.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>

#include "model/model.h"
#include "plan/plan.h"
#include "profile/predict.h"
#include "shader/count.h"
#include "shader/modules.h"

#include <vireo/predict.hpp>

namespace vireo {
namespace {

using shader::Count;
using shader::Mix;

std::string read_file(const std::string& path) {
  std::ifstream f(path, std::ios::binary);
  std::stringstream s;
  s << f.rdbuf();
  return s.str();
}
std::string caps_text(const std::string& name) {
  return read_file(std::string(VIREO_SOURCE_DIR) + "/engine/profile/caps/" + name + ".txt");
}
std::string config(const std::string& name) {
  return std::string(VIREO_SOURCE_DIR) + "/models/configs/" + name + ".json";
}

LoadedModel load(const std::string& name) {
  Result<LoadedModel> model = LoadedModel::open_config(config(name), 1);
  EXPECT_TRUE(model.ok()) << model.error().message;
  return std::move(*model);
}
Planned plan_of(const LoadedModel& model, const std::string& caps, Precision precision) {
  const Head head = model.task() == Task::kSegmentation ? Head::kClassMap
                    : model.classes()                   ? Head::kLogits
                                                        : Head::kFeatures;
  Result<Graph> graph = model.build(head, 1, model.input_h(), model.input_w());
  EXPECT_TRUE(graph.ok()) << graph.error().message;
  PlanOptions options;
  options.precision = precision;
  Result<Planned> planned = make_plan(std::move(*graph), *caps_from_text(caps, "caps"), options);
  EXPECT_TRUE(planned.ok()) << planned.error().message;
  return std::move(*planned);
}
Planned plan_of(const std::string& name, const std::string& caps, Precision precision) {
  return plan_of(load(name), caps, precision);
}

Mix count_tile(uint32_t m, uint32_t n, uint32_t k, std::array<uint32_t, 3> groups, bool ln = false) {
  // LX 64, tiles of 64 x 64 x 16, 8 x 8 per invocation; ceil4(K) % BK decides whether the loop checks its bounds.
  const std::vector<uint32_t> spec{64, 0, 0, 0, 0, 0, 1, 0, 0, ln, 64, 64, 16, 8, 8, k % 16 == 0, 0};
  const std::vector<uint32_t> push{m, n, k, (k + 3) / 4, (n + 3) / 4, (n + 3) / 4, 0, 0, 0};
  const Result<Mix> mix = shader::count({shader::find("linear.tile"), &spec, &push, groups}, 32);
  EXPECT_TRUE(mix.ok()) << (mix ? "" : mix.error().message);
  return mix ? *mix : Mix{};
}

TEST(ShaderCount, LinearTileIsWhatItsTilesSay) {
  const Mix m = count_tile(128, 128, 256, {2, 2, 1});
  // 4 workgroups of 2 subgroups; per invocation 256 / 16 trips of 16 x 64 multiply-adds.
  EXPECT_EQ(m[Count::kFma], 4 * 2 * 256 * 64.0);
  // Per k: 8 values of A and 8 of W, four to a load. Per trip: 4 groups of A and of W each from memory.
  EXPECT_EQ(m[Count::kSharedLoad], 4 * 2 * 256 * 4.0);
  EXPECT_EQ(m[Count::kSharedWords], 4 * 2 * (256 * 16.0 + 16 * 8 * 4));
  EXPECT_EQ(m[Count::kBarrier], 4 * 2 * 16 * 2.0);
  EXPECT_EQ(m[Count::kGlobalStore], 4 * 2 * 16.0);
  // 8 groups a trip, and two of the bias.
  EXPECT_EQ(m[Count::kGlobalLoad], 4 * 2 * (16 * 8 + 2.0));
  EXPECT_EQ(m[Count::kConvert] + m[Count::kSpecial], 0);
}

TEST(ShaderCount, SkippedTripsCountAsIfTheyHadRun) {
  // A loop of n trips costs the same from trip to trip, whatever is skipped: 20 more trips of 16 are 4 more of them
  // five times.
  for (bool ln : {false, true}) {
    const Mix a = count_tile(64, 64, 64, {1, 1, 1}, ln), b = count_tile(64, 64, 128, {1, 1, 1}, ln),
              c = count_tile(64, 64, 448, {1, 1, 1}, ln);
    for (Count k :
         {Count::kFma, Count::kSharedLoad, Count::kSharedStore, Count::kGlobalLoad, Count::kBarrier, Count::kBranch})
      EXPECT_NEAR(c[k] - a[k], 6 * (b[k] - a[k]), ln ? 0.05 * (c[k] - a[k]) : 1e-9) << to_string(k) << " ln " << ln;
  }
}

TEST(ShaderCount, PaddedConvolutionsLoadWhatUnpaddedOnesDo) {
  // 64 x 64 pixels of 64 channels, 3 x 3, 64 outputs: with padding the taps' addresses come out of shared memory, but
  // they are loads all the same.
  const auto count = [](uint32_t pad) {
    const uint32_t out = 62 + 2 * pad;
    const std::vector<uint32_t> spec{64, 0,  0,  0,  0,   0,   1, 0, 0, 0, 64,  64,  16, 8, 8, 1,
                                     0,  64, 64, 16, out, out, 3, 3, 1, 1, pad, pad, 1,  1, 16};
    const std::vector<uint32_t> push{out * out, 64, 576, 16, 16, 16, 0, 0, 0};
    const Result<Mix> mix =
        shader::count({shader::find("conv2d.tile"), &spec, &push, {(out * out + 63) / 64, 1, 1}}, 32);
    EXPECT_TRUE(mix.ok()) << (mix ? "" : mix.error().message);
    Mix per_workgroup;
    if (mix) per_workgroup.add(*mix, 1.0 / ((out * out + 63) / 64));
    return per_workgroup;
  };
  const Mix without = count(0), with = count(1);
  EXPECT_EQ(with[Count::kFma], without[Count::kFma]);
  EXPECT_NEAR(with[Count::kGlobalLoad] / without[Count::kGlobalLoad], 1, 0.05);
  EXPECT_GT(without[Count::kGlobalLoad], 2 * 36 * 8.0) << "two subgroups, 36 trips, four groups of A and of W each";
}

TEST(ShaderCount, EdgesAreCountedAtTheEdge) {
  // 100 rows and 70 columns in 2 x 2 tiles: the last column tile stores a tenth of its groups, the last rows' subgroups
  // fewer.
  const Mix whole = count_tile(128, 128, 64, {2, 2, 1}), part = count_tile(100, 70, 64, {2, 2, 1});
  EXPECT_EQ(part[Count::kFma], whole[Count::kFma]) << "products beyond the edge are computed";
  EXPECT_LT(part[Count::kGlobalStore], whole[Count::kGlobalStore]);
  EXPECT_GT(part[Count::kGlobalStore], 0.3 * whole[Count::kGlobalStore]);
}

TEST(ShaderCount, EveryPlanOfEveryFamilyCanBeCounted) {
  for (const char* name : {"vit-ti", "dinov2-s", "swin-t", "swinv2-t", "mobilevit-s", "upernet-mobilevit-s"}) {
    const LoadedModel model = load(name);
    for (const char* caps : {"jetson-nano", "lavapipe"})
      for (Precision precision : {Precision::kFp32, Precision::kFp16, Precision::kInt8}) {
        // The other families have the same kernels in every precision but for their loads.
        if (precision != Precision::kFp32 && std::string(name) != "vit-ti") continue;
        const Planned planned = plan_of(model, caps_text(caps), precision);
        const Result<std::vector<DispatchWork>> work = plan_work(planned.plan);
        ASSERT_TRUE(work.ok()) << name << " " << caps << " " << to_string(precision) << ": " << work.error().message;
        ASSERT_EQ(int64_t(work->size()), planned.plan.dispatch_count());
        double products = 0, flops = 0;
        for (const DispatchWork& w : *work) {
          const double width = planned.plan.caps.subgroup_size;
          const double own = 2 * width * (w.mix[Count::kFma] + 2 * w.mix[Count::kHalf]);
          // Whoever knows what his kernel issues says so; the count has it all, and what LayerNorm, GELU and scales
          // add. It leaves out what whole subgroups skip, as the operator does.
          const PlanDispatch& d = planned.plan.steps[size_t(w.step)].dispatches[size_t(w.part)];
          const bool winograd = d.shader.find("winograd") != std::string::npos;
          if (winograd || (d.shader == "linear.tile" && d.work.issued_flops > d.work.flops && d.spec[9] == 0)) {
            EXPECT_NEAR(own / d.work.issued_flops, 1, 0.12) << name << " " << planned.plan.steps[size_t(w.step)].name;
          }
          products += own;
          flops += w.flops * w.multiplied;
        }
        EXPECT_GT(products, 0.85 * flops) << name << " " << caps << " " << to_string(precision);
        EXPECT_LT(products, 2.5 * flops) << name << " " << caps << " " << to_string(precision);
      }
  }
}

TEST(ShaderCount, StaticMixOfEveryModule) {
  for (const shader::Module& m : shader::all()) {
    const Result<Mix> mix = shader::count_static(m);
    ASSERT_TRUE(mix.ok()) << m.name << ": " << mix.error().message;
    // Beside a plain walk over the words.
    double barriers = 0, fetches = 0;
    for (size_t at = 5; at < m.word_count; at += m.words[at] >> 16)
      barriers += (m.words[at] & 0xffff) == 224, fetches += (m.words[at] & 0xffff) == 95;
    EXPECT_EQ((*mix)[Count::kBarrier], barriers) << m.name;
    EXPECT_EQ((*mix)[Count::kTexel], fetches) << m.name;
    EXPECT_GT((*mix)[Count::kGlobalStore], 0) << m.name << " writes nothing";
  }
}

TEST(ShaderCount, DamagedModulesAreRefused) {
  const shader::Module& good = *shader::find("linear.tile");
  const std::vector<uint32_t> spec{64}, push(9, 1);
  const auto refused = [&](const std::vector<uint32_t>& words, ErrorCode* code) {
    const shader::Module m{"damaged", words.data(), words.size()};
    const Result<Mix> r = shader::count({&m, &spec, &push, {1, 1, 1}}, 32);
    if (!r && code) *code = r.error().code;
    return !r;
  };
  const std::vector<uint32_t> words(good.words, good.words + good.word_count);
  ErrorCode code = ErrorCode::kIo;
  EXPECT_TRUE(refused({}, &code));
  EXPECT_EQ(code, ErrorCode::kCorrupt);
  std::vector<uint32_t> cut(words.begin(), words.begin() + ptrdiff_t(words.size() / 2));
  EXPECT_TRUE(refused(cut, nullptr));
  // Any single word wrong, and any length: an answer or an error, never a crash or an endless loop.
  for (size_t i = 5; i < words.size(); i += 53)
    for (uint32_t change : {0x5a5a5a5au, 1u, 0x10000u, 0x20000u}) {
      std::vector<uint32_t> changed = words;
      changed[i] ^= change;
      refused(changed, nullptr);
    }
  for (size_t i = 5; i < words.size(); i += 41) {
    std::vector<uint32_t> moved = words;  // a word of elsewhere: an id that exists, a length that ends somewhere else
    moved[i] = words[5 + (i * 7919) % (words.size() - 5)];
    refused(moved, nullptr);
  }
  for (size_t n = 5; n < words.size(); n += 67)
    refused(std::vector<uint32_t>(words.begin(), words.begin() + ptrdiff_t(n)), nullptr);
  const std::vector<uint32_t> none{0}, huge{0x7fffffff};
  for (const auto* size : {&none, &huge}) {
    const Result<Mix> r = shader::count({shader::find("swiglu"), size, &push, {1, 1, 1}}, 32);
    ASSERT_FALSE(r.ok());
    EXPECT_NE(r.error().message.find("workgroups of"), std::string::npos) << r.error().message;
  }
}

TEST(Machine, TextsRoundTripAndBadOnesAreNamed) {
  for (const BuiltInMachine& b : built_in_machines()) {
    const Result<Machine> m = machine_from_text(b.text, b.name);
    ASSERT_TRUE(m.ok()) << m.error().message;
    EXPECT_EQ(m->name, b.name);
    const Result<Machine> again = machine_from_text(to_text(*m), "again");
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(to_text(*again), to_text(*m));
  }
  const auto error = [](const std::string& text) {
    const Result<Machine> m = machine_from_text(text, "m.txt");
    return m ? std::string() : m.error().message;
  };
  EXPECT_NE(error("kind: cores\n").find("no 'name'"), std::string::npos);
  EXPECT_NE(error("name: x\n").find("no 'kind'"), std::string::npos);
  EXPECT_NE(error("name: x\nkind: cores\nclock_mhz: 9e9\n").find("m.txt, line 3"), std::string::npos);
  EXPECT_NE(error("name: x\nkind: cores\nclock_mhz: fast\n").find("expected a number"), std::string::npos);
  EXPECT_NE(error("name: x\nkind: cores\nclocks: 3\n").find("no such key"), std::string::npos);
  EXPECT_NE(error("name: x\nkind: fitted\nentries: 0\n").find("needs 'cost' lines"), std::string::npos);
  EXPECT_NE(error("name: x\nkind: fitted\nentries: 2\ncost a: 1\n").find("a part of it is missing"), std::string::npos);
  EXPECT_NE(error("name: x\nkind: fitted\ncost a: 1\n").find("a part of it is missing"), std::string::npos);
  EXPECT_NE(error("name: x\nkind: cores\nefficiency: 0.5\n").find("efficiency_low"), std::string::npos);
  EXPECT_NE(error("name: orin\nkind: cores\n").find("it does not say cores, clock_mhz, issue"), std::string::npos);
  std::string nano = machine_from_text(built_in_machines()[0].text, "nano")
                         ? to_text(*machine_from_text(built_in_machines()[0].text, "nano"))
                         : "";
  nano.erase(nano.find("bandwidth_gbs:"),
             nano.find('\n', nano.find("bandwidth_gbs:")) + 1 - nano.find("bandwidth_gbs:"));
  EXPECT_NE(error(nano).find("it does not say bandwidth_gbs,"), std::string::npos) << error(nano);
  EXPECT_NE(error("name x").find("key: value"), std::string::npos);
  EXPECT_NE(error("name: x\nkind: cores\ncores: 2\ncores: 3\n").find("given before"), std::string::npos);
  EXPECT_NE(error("name: x\nkind: cores\nclock_mhz: 921,6\n").find("expected a number"), std::string::npos);
  EXPECT_NE(error("name: x\nkind: cores\nclock_mhz: nan\n").find("expected a number"), std::string::npos);
  EXPECT_NE(error("name: x\nkind: cores\nprobe_us: -1\n").find("expected a number"), std::string::npos);
  EXPECT_EQ(machine_from_text(
                "name: x\nkind: fitted\nentries: 1\ncost a: 1.5e-2\ndispatch_us: 0\ninference_us: 0\nprobe_us: 12.5\n",
                "m.txt")
                ->probe_us,
            12.5);
  EXPECT_EQ(machine_from_text(
                "name: x\ndevice: a: b\nkind: fitted\ndispatch_us: 0\ninference_us: 0\nentries: 1\ncost odd: name: 2\n",
                "m.txt")
                ->device,
            "a: b");
}

TEST(Predict, NanoTimesAddUpAndStandAboveTheirBounds) {
  for (Precision precision : {Precision::kFp32, Precision::kFp16, Precision::kInt8}) {
    const Planned planned = plan_of("vit-ti", caps_text("jetson-nano"), precision);
    const Result<std::vector<DispatchWork>> work = plan_work(planned.plan);
    ASSERT_TRUE(work.ok()) << work.error().message;
    Machine m = *machine_from_text(machine_for(planned.plan.caps)->text, "nano");
    const Result<PlanPrediction> p = predict(planned.plan, *work, m);
    ASSERT_TRUE(p.ok()) << p.error().message;
    double sum = m.inference_us;
    for (const DispatchPrediction& d : p->dispatches) {
      double lost = 0;
      for (double l : d.lost) {
        EXPECT_GE(l, 0);
        lost += l;
      }
      EXPECT_NEAR(d.roof_us + lost, d.us, 1e-6 * d.us);
      EXPECT_LE(d.low_us, d.us * 1.0001);
      EXPECT_GE(d.high_us, d.us * 0.9999);
      EXPECT_GE(d.bound_us, d.roof_us * 0.9999);
      EXPECT_LE(d.bound_us, d.us);
      sum += d.us;
    }
    EXPECT_NEAR(p->total.us, sum, 1e-6 * sum);
    // Factors of measurements, up and down, keep the order of the range and the sums.
    for (double factor : {0.3, 3.0}) {
      Machine scaled = m;
      scaled.efficiency_high = 0.9;
      for (const char* shader : {"linear.tile", "linear.half", "attention.tile"})
        scaled.scales.push_back({shader, factor});
      const Result<PlanPrediction> other = predict(planned.plan, *work, scaled);
      ASSERT_TRUE(other.ok()) << other.error().message;
      for (const DispatchPrediction& d : other->dispatches) {
        double lost = 0;
        for (double l : d.lost) lost += l;
        EXPECT_NEAR(d.roof_us + lost, d.us, 1e-6 * d.us);
        EXPECT_LE(d.low_us, d.us * 1.0001);
        EXPECT_GE(d.high_us, d.us * 0.9999);
        EXPECT_GE(d.us, d.roof_us * 0.9999);
      }
    }
    // Twice the clock and bandwidth: the work takes half the time.
    Machine twice = m;
    twice.clock_mhz *= 2, twice.bandwidth_gbs *= 2;
    const double fixed = m.inference_us + m.dispatch_us * double(work->size());
    EXPECT_NEAR((predict(planned.plan, *work, twice)->total.us - fixed) * 2, p->total.us - fixed, 1e-6 * sum);
  }
}

TEST(Predict, MoreCoresAndMoreBandwidthAreNeverSlower) {
  const Planned planned = plan_of("upernet-mobilevit-s", caps_text("jetson-nano"), Precision::kFp32);
  const std::vector<DispatchWork> work = *plan_work(planned.plan);
  Machine m = *machine_from_text(built_in_machines()[0].text, "nano");
  double before = INFINITY;
  for (double cores : {1.0, 2.0, 3.0, 16.0}) {
    m.cores = cores;
    m.bandwidth_gbs = 25.6 * cores;
    const double us = predict(planned.plan, work, m)->total.us;
    EXPECT_LE(us, before * 1.0001) << cores;
    before = us;
  }
}

TEST(Predict, AFitFindsTheCostsThatMadeTheTimes) {
  // Times made of known costs: the fit explains models that it has not seen, and says so.
  std::vector<FitSample> samples;
  for (const char* name : {"vit-ti", "swin-t", "mobilevit-s", "dinov2-s", "upernet-mobilevit-s"}) {
    const Planned planned = plan_of(name, caps_text("lavapipe"), Precision::kFp32);
    FitSample s;
    s.model = name;
    s.work = *plan_work(planned.plan);
    for (const DispatchWork& w : s.work) {
      s.us.push_back(3 + w.mix[Count::kFma] * 2e-3 + w.mix[Count::kTexel] * 5e-3 + w.mix[Count::kSpecial] * 1e-2 +
                     (w.read_bytes + w.write_bytes) * 1e-4);
      s.wall_us += s.us.back();
    }
    samples.push_back(std::move(s));
  }
  const Result<Machine> m = fit(samples);
  ASSERT_TRUE(m.ok()) << m.error().message;
  EXPECT_LT(m->error_median, 0.02);
  EXPECT_LT(m->error_worst, 0.06);
  const Result<Machine> read = machine_from_text(to_text([&] {
                                                   Machine named = *m;
                                                   named.name = "made";
                                                   return named;
                                                 }()),
                                                 "made");
  ASSERT_TRUE(read.ok()) << read.error().message;
  for (const FitSample& s : samples) {
    double us = 0;
    for (const DispatchWork& w : s.work) us += fitted_us(w, *read);
    EXPECT_NEAR(us / s.wall_us, 1, 0.02) << s.model;
  }
  EXPECT_EQ(fit({samples[0]}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(fit({samples[0], samples[0]}).error().code, ErrorCode::kInvalidArgument) << "twice the same model is one";
}

TEST(Predict, AFewMeasurementsBringADescriptionToTheDevice) {
  // A device that takes 1.6 times what the description says, attention twice that, and 900 us per inference beside it.
  const Machine base = *machine_from_text(built_in_machines()[0].text, "nano");
  std::vector<FitSample> samples;
  for (const char* name : {"vit-ti", "mobilevit-s", "swin-t"}) {
    const Planned planned = plan_of(name, caps_text("jetson-nano"), Precision::kFp32);
    FitSample s;
    s.model = name;
    s.work = *plan_work(planned.plan);
    for (const DispatchWork& w : s.work) {
      s.us.push_back((dispatch_us(w, base) - base.dispatch_us) * (w.group.rfind("attention", 0) == 0 ? 3.2 : 1.6) +
                     base.dispatch_us);
      s.wall_us += s.us.back();
    }
    s.wall_us += 900;
    samples.push_back(std::move(s));
  }
  const Result<Machine> m = adapt(base, {samples[0], samples[2]});
  ASSERT_TRUE(m.ok()) << m.error().message;
  const Machine read = *machine_from_text(to_text(*m), "adapted");
  EXPECT_NEAR(read.inference_us, 900, 1);
  const Planned planned = plan_of("mobilevit-s", caps_text("jetson-nano"), Precision::kFp32);
  const Result<PlanPrediction> p = predict(planned.plan, samples[1].work, read);
  ASSERT_TRUE(p.ok()) << p.error().message;
  EXPECT_NEAR(p->total.us / samples[1].wall_us, 1, 0.05) << "a model that was not measured";
  EXPECT_GT(std::abs(predict(planned.plan, samples[1].work, base)->total.us / samples[1].wall_us - 1), 0.3)
      << "the description alone is off";
  EXPECT_EQ(adapt(base, {}).error().code, ErrorCode::kInvalidArgument);
}

TEST(Predict, AKernelThatWasNeverMeasuredIsNamed) {
  const Planned vit = plan_of("vit-ti", caps_text("lavapipe"), Precision::kFp32);
  Machine m;
  m.kind = Machine::Kind::kFitted;
  m.name = "little";
  m.costs = {{"fma", 1e-3}, {"global_store", 1e-3}};
  m.scales = {{"linear.texel.SHUFFLE=1", 1}, {"attention.texel", 1}, {"conv2d.TEXEL=1", 1}, {"linear.texel", 1}};
  const Result<PlanPrediction> p = predict(vit.plan, *plan_work(vit.plan), m);
  ASSERT_TRUE(p.ok()) << p.error().message;
  ASSERT_EQ(p->notes.size(), 1u);
  EXPECT_NE(p->notes[0].find("tokens"), std::string::npos) << p->notes[0];
}

TEST(Predict, WhatADescriptionDoesNotTellIsNoZero) {
  // Kernels of the CPU that were never measured have no cost, and a GPU's description none of steps on the CPU.
  const std::string cpu = "name: some CPU\nkind: cpu\nclass: other\nsimd: avx2\nthreads: 1\n";
  const Planned vit = plan_of("vit-ti", cpu, Precision::kInt8);
  Machine m;
  m.kind = Machine::Kind::kFitted;
  m.name = "fp32 only";
  m.costs = {{"linear.gemm f32 flops", 1e-5}, {"weights", 1e-4}, {"steps", 1}};
  m.scales = {{"linear.gemm f32", 1}};
  const Result<PlanPrediction> p = predict(vit.plan, *plan_work(vit.plan), m);
  ASSERT_FALSE(p.ok());
  EXPECT_EQ(p.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(p.error().message.find("gemm i8"), std::string::npos) << p.error().message;
  const Result<Model> model = Model::random(config("vit-ti"), 1);
  PredictOptions o;
  o.session.cpu_ops = {"attention"};
  const Result<Prediction> mixed = predict(*model, caps_text("jetson-nano"), o);
  ASSERT_FALSE(mixed.ok());
  EXPECT_NE(mixed.error().message.find("runs on the CPU"), std::string::npos) << mixed.error().message;
}

TEST(Predict, PublicCallSaysWhatIsWrongWithCaps) {
  const Result<Model> model = Model::random(config("vit-ti"), 1);
  ASSERT_TRUE(model.ok());
  const std::string good = caps_text("jetson-nano");
  const auto without = [&](std::string text, const std::string& key, const std::string& instead) {
    const size_t at = text.find("\n" + key + ":");
    return text.replace(at + 1, text.find('\n', at + 1) - at - 1, instead);
  };
  const Result<Prediction> p = predict(*model, good, {});
  ASSERT_TRUE(p.ok()) << p.error().message;
  EXPECT_EQ(p->machine, "jetson-nano");
  EXPECT_EQ(p->dispatches.size(), 63u);
  EXPECT_GT(p->low_us, p->bound_us);
  const auto error = [&](const std::string& text, const std::string& machine = "") {
    PredictOptions o;
    o.machine = machine;
    const Result<Prediction> r = predict(*model, text, o);
    return r ? std::string() : r.error().message;
  };
  EXPECT_NE(error(without(good, "subgroup_size", "")).find("'subgroup_size' is missing"), std::string::npos);
  EXPECT_NE(error(without(good, "subgroup_size", "subgroup_size: 33")).find("subgroup_size is 33"), std::string::npos);
  EXPECT_NE(error(without(good, "max_workgroup_size_x", "")).find("'max_workgroup_size_x' is missing"),
            std::string::npos);
  EXPECT_NE(error(without(good, "storage_alignment", "storage_alignment: 3"))
                .find("storage_alignment is 3, expected a power of two"),
            std::string::npos);
  EXPECT_NE(error(without(good, "storage_alignment", "storage_alignment: 2147483648"))
                .find("expected a power of two up to 65536"),
            std::string::npos);
  EXPECT_NE(error(without(good, "texel_alignment", "texel_alignment: 1000")).find("texel_alignment is 1000"),
            std::string::npos);
  EXPECT_NE(error(without(good, "max_shared_bytes", "max_shared_bytes: 999999999")).find("max_shared_bytes"),
            std::string::npos);
  EXPECT_NE(error(without(good, "name", "name: Unheard-of GPU")).find("no device description is for"),
            std::string::npos);
  EXPECT_NE(error(good, "no-such-machine").find("jetson-nano-5w"), std::string::npos);
  EXPECT_NE(error(good, "name: x\nkind: cores\nclock_mhz: -1\n").find("line 3"), std::string::npos);
  const std::string cpu = "name: some CPU\nkind: cpu\nsimd: avx2\nthreads: 4\n";
  EXPECT_NE(error(cpu, "jetson-nano").find("describes a GPU"), std::string::npos);
  EXPECT_NE(
      error(cpu, "name: x\nkind: fitted\nthreads: 2\ndispatch_us: 0\ninference_us: 0\nentries: 1\ncost steps: 1\n")
          .find("fitted with 2 threads"),
      std::string::npos);
}

}  // namespace
}  // namespace vireo
