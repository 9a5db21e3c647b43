#include "vk/pipelines.h"

#include <algorithm>

#include "shader/modules.h"
#include "vk/status.h"

namespace vireo::vk {
namespace {

struct Capability {
  uint32_t number;  // SPIR-V
  const char* name;
  bool DeviceCaps::*has;
};
// Creating a pipeline that uses what the device was not opened with is undefined: some drivers crash.
constexpr Capability kCapabilities[] = {
    {9, "Float16", &DeviceCaps::shader_float16},
    {39, "Int8", &DeviceCaps::shader_int8},
    {61, "GroupNonUniform", &DeviceCaps::subgroup_basic},
    {62, "GroupNonUniformVote", &DeviceCaps::subgroup_vote},
    {63, "GroupNonUniformArithmetic", &DeviceCaps::subgroup_arithmetic},
    {64, "GroupNonUniformBallot", &DeviceCaps::subgroup_ballot},
    {65, "GroupNonUniformShuffle", &DeviceCaps::subgroup_shuffle},
    {4433, "StorageBuffer16BitAccess", &DeviceCaps::storage_16bit},
    {4448, "StorageBuffer8BitAccess", &DeviceCaps::storage_8bit},
    {5055, "ShaderClockKHR", &DeviceCaps::shader_clock},
    {6018, "DotProductInput4x8BitPacked", &DeviceCaps::integer_dot},
    {6019, "DotProduct", &DeviceCaps::integer_dot},
};

uint64_t hash_of(const std::pair<std::string, std::vector<uint32_t>>& pipeline) {
  const auto& [shader, spec] = pipeline;
  return fnv1a(spec.data(), spec.size() * sizeof(uint32_t), fnv1a(shader.c_str(), shader.size() + 1));
}

}  // namespace

PipelineStore::~PipelineStore() {
  const DeviceTable& fn = gpu_.fn();
  for (const auto& [name, s] : shaders_) {
    if (s->layout) fn.vkDestroyPipelineLayout(gpu_.handle(), s->layout, nullptr);
    if (s->set_layout) fn.vkDestroyDescriptorSetLayout(gpu_.handle(), s->set_layout, nullptr);
    if (s->module) fn.vkDestroyShaderModule(gpu_.handle(), s->module, nullptr);
  }
}

CacheKey PipelineStore::cache_key() const {
  const DeviceCaps& c = gpu_.caps();
  return {c.vendor_id, c.device_id, c.driver_version, gpu_.cache_uuid(), shader::all_hash()};
}

Result<void> PipelineStore::make_layouts(Shader& s, const char* step) {
  const DeviceTable& fn = gpu_.fn();
  const auto failed = [&](VkResult r, const char* what) {
    return fail_vk(r, "{}: step '{}': creating the {} of shader '{}' failed", gpu_.caps().name, step, what, s.name);
  };
  std::vector<VkDescriptorSetLayoutBinding> bindings;
  for (const shader::Binding& b : s.reflection.bindings) {
    const VkDescriptorType type = b.kind == shader::BindingKind::kTexel ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER
                                                                        : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    bindings.push_back({b.binding, type, 1, VK_SHADER_STAGE_COMPUTE_BIT, nullptr});
  }
  auto set = make<VkDescriptorSetLayoutCreateInfo>(VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO);
  set.bindingCount = uint32_t(bindings.size());
  set.pBindings = bindings.data();
  VkResult r = created(fn.vkCreateDescriptorSetLayout(gpu_.handle(), &set, nullptr, &s.set_layout), &s.set_layout);
  if (r != VK_SUCCESS) return failed(r, "descriptor layout");

  const VkPushConstantRange push{VK_SHADER_STAGE_COMPUTE_BIT, 0, s.reflection.push_constant_bytes};
  auto layout = make<VkPipelineLayoutCreateInfo>(VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO);
  layout.setLayoutCount = 1;
  layout.pSetLayouts = &s.set_layout;
  layout.pushConstantRangeCount = push.size ? 1 : 0;
  layout.pPushConstantRanges = &push;
  r = created(fn.vkCreatePipelineLayout(gpu_.handle(), &layout, nullptr, &s.layout), &s.layout);
  if (r != VK_SUCCESS) return failed(r, "pipeline layout");
  return {};
}

Result<const Shader*> PipelineStore::shader(const std::string& name, const char* step) {
  const auto known = shaders_.find(name);
  if (known != shaders_.end()) return known->second.get();
  const shader::Module* module = shader::find(name);
  if (!module)
    return fail(ErrorCode::kInternal, "step '{}': there is no shader '{}' in this build of Vireo", step, name);
  auto s = std::make_unique<Shader>();
  s->name = name;
  VIREO_ASSIGN(s->reflection, shader::reflect(*module));
  const DeviceCaps& c = gpu_.caps();
  for (const Capability& needed : kCapabilities)
    if (s->reflection.needs(needed.number) && !(c.*needed.has))
      return fail(ErrorCode::kUnsupported,
                  "step '{}': shader '{}' needs {}, which {} does not have or did not enable; plan for this "
                  "device or run on the CPU",
                  step, name, needed.name, c.name);
  uint32_t storage = 0, texel = 0;
  for (const shader::Binding& b : s->reflection.bindings) {
    ++(b.kind == shader::BindingKind::kTexel ? texel : storage);
    if (b.set != 0)
      return fail(ErrorCode::kInternal, "shader '{}' declares binding {} in set {}, expected set 0", name, b.binding,
                  b.set);
  }
  if (s->reflection.push_constant_bytes > c.max_push_constant_bytes || storage > c.max_stage_storage_buffers ||
      texel > c.max_stage_sampled)
    return fail(ErrorCode::kUnsupported,
                "step '{}': shader '{}' needs {} bytes of push constants, {} storage and {} texel buffers; {} has {}, "
                "{} and {}; run "
                "on the CPU",
                step, name, s->reflection.push_constant_bytes, storage, texel, c.name, c.max_push_constant_bytes,
                c.max_stage_storage_buffers, c.max_stage_sampled);
  auto info = make<VkShaderModuleCreateInfo>(VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO);
  info.codeSize = module->word_count * sizeof(uint32_t);
  info.pCode = module->words;
  Shader* raw = (shaders_[name] = std::move(s)).get();  // owned before anything can fail
  Result<void> made;
  const VkResult r = created(gpu_.fn().vkCreateShaderModule(gpu_.handle(), &info, nullptr, &raw->module), &raw->module);
  if (r == VK_SUCCESS) made = make_layouts(*raw, step);
  else made = fail_vk(r, "{}: step '{}': loading shader '{}' failed", c.name, step, name);
  if (made) {
    gpu_.name(VK_OBJECT_TYPE_SHADER_MODULE, raw->module, "{}", name);
    gpu_.name(VK_OBJECT_TYPE_DESCRIPTOR_SET_LAYOUT, raw->set_layout, "{}", name);
    gpu_.name(VK_OBJECT_TYPE_PIPELINE_LAYOUT, raw->layout, "{}", name);
    return raw;
  }
  if (raw->layout) gpu_.fn().vkDestroyPipelineLayout(gpu_.handle(), raw->layout, nullptr);
  if (raw->set_layout) gpu_.fn().vkDestroyDescriptorSetLayout(gpu_.handle(), raw->set_layout, nullptr);
  if (raw->module) gpu_.fn().vkDestroyShaderModule(gpu_.handle(), raw->module, nullptr);
  shaders_.erase(name);
  return std::move(made.error());
}

Result<void> PipelineStore::check(const Shader& s, const Key& key, const char* step) const {
  const DeviceCaps& c = gpu_.caps();
  const std::array<uint32_t, 3> local = shader::local_size(s.reflection, key.second);
  bool fits = true;
  uint64_t invocations = 1;
  for (size_t i = 0; i < 3; ++i) {
    invocations *= local[i];
    fits = fits && local[i] >= 1 && local[i] <= c.max_workgroup_size[i];
  }
  if (!fits || invocations > c.max_workgroup_invocations)
    return fail(ErrorCode::kUnsupported,
                "step '{}': shader '{}' has workgroups of {} x {} x {}; {} takes at most {} x {} x {} and {} "
                "invocations; plan for "
                "this device or run on the CPU",
                step, s.name, local[0], local[1], local[2], c.name, c.max_workgroup_size[0], c.max_workgroup_size[1],
                c.max_workgroup_size[2], c.max_workgroup_invocations);
  // Drivers accept more than they have and lose the device when it runs. shared_bytes() rounds each variable up to 16
  // bytes; a shader that fills the memory exactly must not fall to that.
  constexpr uint64_t kRounding = 64;
  VIREO_ASSIGN(const uint64_t bytes, shader::shared_bytes(*shader::find(s.name), key.second));
  if (bytes > c.max_shared_bytes + kRounding)
    return fail(ErrorCode::kUnsupported,
                "step '{}': shader '{}' needs {} bytes of shared memory, {} has {}; plan for this device or "
                "run on the CPU",
                step, s.name, bytes, c.name, c.max_shared_bytes);
  return {};
}

Result<void> PipelineStore::compile(Job& job, VkPipelineCache cache) {
  const std::vector<uint32_t>& spec = job.key->second;
  std::vector<VkSpecializationMapEntry> entries(spec.size());
  for (uint32_t i = 0; i < entries.size(); ++i) entries[i] = {i, i * 4, 4};
  const VkSpecializationInfo special{uint32_t(entries.size()), entries.data(), spec.size() * 4, spec.data()};
  auto info = make<VkComputePipelineCreateInfo>(VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO);
  info.stage = make<VkPipelineShaderStageCreateInfo>(VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO);
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = job.shader->module;
  info.stage.pName = job.shader->reflection.entry_point.c_str();
  info.stage.pSpecializationInfo = spec.empty() ? nullptr : &special;
  info.layout = job.shader->layout;
  if (gpu_.captures_statistics()) info.flags = VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
  info.basePipelineIndex = -1;
  VkPipeline handle = VK_NULL_HANDLE;
  VkResult r = gpu_.fault("pipeline");
  if (r == VK_SUCCESS) r = gpu_.fn().vkCreateComputePipelines(gpu_.handle(), cache, 1, &info, nullptr, &handle);
  if (r != VK_SUCCESS)
    return fail_vk(r, "{}: step '{}': compiling shader '{}' failed; update the driver, or run on the CPU",
                   gpu_.caps().name, job.step, job.shader->name);
  // Steps share pipelines: the constants name one, the labels around the dispatches name the steps.
  gpu_.name(VK_OBJECT_TYPE_PIPELINE, handle, "{} ({})", job.shader->name, fmt::join(spec, " "));
  job.made = std::make_shared<const Pipeline>(gpu_, *job.shader, handle);
  return {};
}

Result<void> PipelineStore::compile_all(std::vector<Job>& jobs, ThreadPool& pool, const std::string& cache_dir,
                                        std::vector<std::string>* notes, const CompileNotice& notice) {
  const DeviceTable& fn = gpu_.fn();
  const CacheKey key = cache_key();
  std::vector<uint8_t> old;
  CompiledSet compiled;
  if (!cache_dir.empty()) {
    std::string note;
    old = load_cache(cache_dir, key, &note, &compiled);
    if (!note.empty()) notes->push_back(std::move(note));
  }
  auto info = make<VkPipelineCacheCreateInfo>(VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO);
  info.initialDataSize = old.size();
  info.pInitialData = old.data();
  VkPipelineCache cache = VK_NULL_HANDLE;  // stays null on failure: compiling works without
  if (fn.vkCreatePipelineCache(gpu_.handle(), &info, nullptr, &cache) != VK_SUCCESS) {
    cache = VK_NULL_HANDLE;
    if (!cache_dir.empty()) notes->push_back("the driver refused the pipeline cache; shaders are compiled without it");
  }

  CompiledSet fresh;
  for (const Job& job : jobs)
    if (const uint64_t hash = hash_of(*job.key); compiled.count(hash) == 0) fresh.insert(hash);
  if (notice && !fresh.empty()) notice(fresh.size(), cache_dir.empty() ? "" : cache_dir + "/" + cache_file_name(key));

  pool.parallel_for(int64_t(jobs.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      Job& job = jobs[size_t(i)];
      job.status = no_throw([&] { return compile(job, cache); });
    }
  });

  if (cache && !cache_dir.empty()) {
    size_t size = 0;
    std::vector<uint8_t> data;
    if (fn.vkGetPipelineCacheData(gpu_.handle(), cache, &size, nullptr) == VK_SUCCESS) {
      data.resize(size);
      // VK_INCOMPLETE means it grew meanwhile: leave the file for the next time.
      if (!size || fn.vkGetPipelineCacheData(gpu_.handle(), cache, &size, data.data()) != VK_SUCCESS) size = 0;
      data.resize(size);
    }
    for (const Job& job : jobs)
      if (job.status) compiled.insert(hash_of(*job.key));
    if (!data.empty() && (data != old || !fresh.empty())) {
      std::string note = save_cache(cache_dir, key, data, compiled);
      if (!note.empty()) notes->push_back(std::move(note));
    }
  }
  if (cache) fn.vkDestroyPipelineCache(gpu_.handle(), cache, nullptr);
  for (Job& j : jobs) VIREO_TRY(std::move(j.status));
  return {};
}

Result<std::vector<PipelinePtr>> PipelineStore::get(const std::vector<PipelineRequest>& requests, ThreadPool& pool,
                                                    const std::string& cache_dir, std::vector<std::string>* notes,
                                                    const CompileNotice& notice) {
  std::map<Key, PipelinePtr> wanted;
  std::vector<Job> jobs;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto it = pipelines_.begin(); it != pipelines_.end();)
      it = it->second.expired() ? pipelines_.erase(it) : std::next(it);
    for (const PipelineRequest& r : requests) {
      const auto [it, added] = wanted.emplace(Key{*r.shader, *r.spec}, nullptr);
      if (!added) continue;
      const auto live = pipelines_.find(it->first);
      if (live != pipelines_.end()) it->second = live->second.lock();
      if (it->second) continue;
      Job job;
      job.key = &it->first;
      job.step = r.step;
      VIREO_ASSIGN(job.shader, shader(*r.shader, r.step));
      VIREO_TRY(check(*job.shader, it->first, r.step));
      jobs.push_back(std::move(job));
    }
  }
  // Compiling takes seconds on small boards: not under the lock, so that sessions can be made side by side.
  if (!jobs.empty()) VIREO_TRY(compile_all(jobs, pool, cache_dir, notes, notice));
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (Job& j : jobs) {
      std::weak_ptr<const Pipeline>& kept = pipelines_[*j.key];
      PipelinePtr other = kept.lock();  // somebody else may have been faster
      wanted[*j.key] = other ? other : j.made;
      if (!other) kept = j.made;
    }
  }
  std::vector<PipelinePtr> result;
  result.reserve(requests.size());
  for (const PipelineRequest& r : requests) result.push_back(wanted[Key{*r.shader, *r.spec}]);
  return result;
}

}  // namespace vireo::vk
