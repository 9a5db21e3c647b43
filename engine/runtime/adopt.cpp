// The functions of include/vireo/vulkan.hpp: sessions on an application's device, with its buffers.
#include "runtime/model_impl.h"
#include "runtime/session_impl.h"

namespace vireo {

Result<Device> adopt_vulkan(VkInstance instance, VkPhysicalDevice physical, VkDevice device, VkQueue queue,
                            uint32_t family, PFN_vkGetInstanceProcAddr get, const VulkanFeatures& enabled) {
  return no_throw([&]() -> Result<Device> {
    auto d = std::make_shared<Device::Impl>();
    d->gpu_options.labels = labels_asked_for();
    VIREO_ASSIGN(d->gpu, vk::Gpu::adopt(instance, physical, device, queue, family, get, enabled, d->gpu_options));
    d->kind = DeviceKind::kVulkan;
    d->caps = d->gpu->caps();
    d->index = int(d->gpu->physical().index);
    d->kernels = make_cpu_device(0, "")->kernels;
    d->threads = int(make_cpu_device(0, "")->threads);
    describe_cpu(*d->kernels, d->threads, &d->caps);
    d->adopted = true;
    return Device(std::move(d));
  });
}

Result<SessionBufferLayout> session_buffer_layout(const Model& model, const SessionOptions& options) {
  return no_throw([&]() -> Result<SessionBufferLayout> {
    VIREO_ASSIGN(const Graph graph, build_graph(model, options));
    const TensorDesc &in = graph.value(graph.inputs[0]).desc, &out = graph.value(graph.outputs[0]).desc;
    if (out.shape.rows() > INT32_MAX || out.row_stride() > INT32_MAX)
      return fail(ErrorCode::kUnsupported,
                  "session_buffer_layout: an output of {} rows is more than an int counts; use a smaller batch",
                  out.shape.rows());
    SessionBufferLayout l;
    l.input_bytes = in.bytes();
    l.output_rows = int(out.shape.rows());
    l.output_cols = int(out.shape.c());
    l.output_stride = int(out.row_stride());
    l.output_bytes = out.bytes();
    return l;
  });
}

Result<Session> create_session(const Model& model, const Device& device, const SessionOptions& options,
                               const SessionBuffers& buffers) {
  return no_throw([&]() -> Result<Session> {
    if (device.impl()->kind != DeviceKind::kVulkan)
      return fail(
          ErrorCode::kInvalidArgument,
          "create_session: the device is the CPU, which cannot use an application's VkBuffer; adopt a VkDevice first");
    if (options.precision == Precision::kAuto && options.policy.empty())
      return fail(ErrorCode::kUnsupported,
                  "create_session: precision auto tries answers out, which an application's buffers are not for; name "
                  "a precision, such as that of a Session::create() before");
    SessionOptions strict = resolved(model, options);
    strict.fallback = false;
    auto impl = std::make_unique<Session::Impl>(model, device, strict);
    impl->buffers = buffers;
    VIREO_TRY(impl->open());
    return Session(std::move(impl));
  });
}

}  // namespace vireo
