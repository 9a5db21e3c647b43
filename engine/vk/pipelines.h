// Shader modules, layouts from reflection, and pipelines by (shader, specialisation constants).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "shader/reflect.h"
#include "vk/gpu.h"
#include "vk/pipeline_cache.h"

namespace vireo::vk {

/// One SPIR-V module on a device with the layouts it declares.
struct Shader {
  std::string name;
  shader::Reflection reflection;
  VkShaderModule module = VK_NULL_HANDLE;
  VkDescriptorSetLayout set_layout = VK_NULL_HANDLE;
  VkPipelineLayout layout = VK_NULL_HANDLE;
};

/// A compute pipeline; destroyed with its last user, which must be before its Gpu.
class Pipeline {
 public:
  Pipeline(const Gpu& gpu, const Shader& shader, VkPipeline handle) : gpu_(gpu), shader_(shader), handle_(handle) {}
  ~Pipeline() { gpu_.fn().vkDestroyPipeline(gpu_.handle(), handle_, nullptr); }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  VkPipeline handle() const { return handle_; }
  const Shader& shader() const { return shader_; }

 private:
  const Gpu& gpu_;
  const Shader& shader_;
  VkPipeline handle_;
};
using PipelinePtr = std::shared_ptr<const Pipeline>;

/// Told before pipelines are compiled that were not before: how many, and the file that remembers them ("" = none).
using CompileNotice = std::function<void(size_t pipelines, const std::string& kept_in)>;

struct PipelineRequest {
  const std::string* shader = nullptr;          // module name
  const std::vector<uint32_t>* spec = nullptr;  // constant i has id i
  const char* step = "";                        // for messages
};

/// What a Gpu has compiled. Modules stay as long as the Gpu, pipelines as long as an executable uses them. Thread-safe.
class PipelineStore {
 public:
  explicit PipelineStore(Gpu& gpu) : gpu_(gpu) {}
  ~PipelineStore();
  PipelineStore(const PipelineStore&) = delete;
  PipelineStore& operator=(const PipelineStore&) = delete;

  /// One pipeline per request, equal requests sharing one. What must be compiled is compiled on the pool's threads with
  /// the pipeline cache of `cache_dir` (empty: no file). Notes about that file go to `notes`; it never fails a call.
  Result<std::vector<PipelinePtr>> get(const std::vector<PipelineRequest>& requests, ThreadPool& pool,
                                       const std::string& cache_dir, std::vector<std::string>* notes,
                                       const CompileNotice& notice = nullptr);

 private:
  using Key = std::pair<std::string, std::vector<uint32_t>>;
  struct Job {
    const Key* key = nullptr;
    const Shader* shader = nullptr;
    const char* step = "";
    PipelinePtr made;
    Result<void> status;
  };

  Result<const Shader*> shader(const std::string& name, const char* step);
  Result<void> make_layouts(Shader& s, const char* step);
  Result<void> check(const Shader& s, const Key& key, const char* step) const;
  Result<void> compile(Job& job, VkPipelineCache cache);
  Result<void> compile_all(std::vector<Job>& jobs, ThreadPool& pool, const std::string& cache_dir,
                           std::vector<std::string>* notes, const CompileNotice& notice);
  CacheKey cache_key() const;

  Gpu& gpu_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Shader>> shaders_;
  std::map<Key, std::weak_ptr<const Pipeline>> pipelines_;
};

}  // namespace vireo::vk
