// Vireo inside a Vulkan application: run on the application's VkDevice and queue, take the input from its VkBuffer and
// leave the output in another, without a copy. Needs the Vulkan headers; nothing here links the Vulkan loader.
//
//   auto device  = vireo::adopt_vulkan(instance, physical, logical, queue, family, vkGetInstanceProcAddr);
//   vireo::SessionBuffers buffers;
//   buffers.input = picture;   buffers.output = scores;
//   auto session = vireo::create_session(*model, *device, options, buffers);
//   session->submit(nullptr, 0);                  // nothing to copy: the input is already there
#ifndef VIREO_VULKAN_HPP
#define VIREO_VULKAN_HPP

#include <vulkan/vulkan.h>

#include <vireo/vireo.hpp>

namespace vireo {

/// Optional features that the application enabled when it created its VkDevice (a driver cannot be asked). Vireo uses
/// only what is set here and what the device has; with none of them it computes in fp32.
struct VulkanFeatures {
  bool storage_buffer_16bit = false;  ///< VkPhysicalDevice16BitStorageFeatures::storageBuffer16BitAccess
  bool storage_buffer_8bit = false;   ///< VkPhysicalDevice8BitStorageFeatures::storageBuffer8BitAccess
  bool shader_float16 = false;        ///< VkPhysicalDeviceShaderFloat16Int8Features::shaderFloat16
  bool shader_int8 = false;           ///< VkPhysicalDeviceShaderFloat16Int8Features::shaderInt8
  bool shader_clock =
      false;  ///< VkPhysicalDeviceShaderClockFeaturesKHR::shaderSubgroupClock, for ProfileOptions::phases alone
  /// VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR::shaderIntegerDotProduct, with
  /// VK_KHR_shader_integer_dot_product
  bool shader_integer_dot_product = false;
};

/// Runs Vireo on a device that the application owns. Instance and device must be of Vulkan 1.1 or later, `queue` must
/// come from family `family` and be able to compute. All handles stay the application's: Vireo destroys none of them,
/// and they must live until the last Device and Session made from them is gone.
///
/// Vireo submits to `queue` inside Session::create, run, submit and, where an answer is not finite and computed again
/// in fp32 (SessionOptions::recompute), wait; while one of these runs, the application must not use the queue from
/// another thread (Vulkan's rule of external synchronisation). Such a second computation reads the application's input
/// buffer again, which must therefore keep its content until wait() returns, or recompute be off.
///
/// When waiting fails, fences alone are asked whether the work is over (waiting for the whole queue is the
/// application's to do). What none of them proves to be over is not freed (Device::abandoned): those objects stay on
/// the application's device.
///
/// `get` may be null: then the system's loader is opened. Errors: kInvalidArgument for a null handle or a queue family
/// that does not compute, kUnsupported for a device below Vulkan 1.1.
VIREO_API Result<Device> adopt_vulkan(VkInstance instance, VkPhysicalDevice physical, VkDevice device, VkQueue queue,
                                      uint32_t family, PFN_vkGetInstanceProcAddr get,
                                      const VulkanFeatures& enabled = VulkanFeatures{});

/// Buffers of the application that stand in for the session's own input, output or both; null keeps the session's.
///
/// They need the usage VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, the input VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT as well,
/// and offsets that are multiples of 256 bytes or of the device's minStorageBufferOffsetAlignment and
/// minTexelBufferOffsetAlignment. They belong to the queue family that was adopted.
///
/// Input: dense float32 [batch, channels, height, width], already preprocessed. Output: float32 rows, one per class
/// vector (kLogits, kFeatures: batch rows) or per token (kTokens: batch * tokens rows), each
/// SessionBufferLayout::output_stride floats long: the values first, then zeros up to the next multiple of 4. A class
/// map (kClassMap: batch * height * width rows) has the input's size; a MapSize is for the session's own output.
///
/// The session reads and writes them between submit() and wait(). Work that the application submitted to the same queue
/// before is waited for on the GPU, and work submitted after it sees the output: no barrier or semaphore is needed.
/// Both slots of submit() share them, so wait for one inference before the next where the contents matter.
struct SessionBuffers {
  VkBuffer input = VK_NULL_HANDLE;
  VkDeviceSize input_offset = 0;  ///< bytes
  VkBuffer output = VK_NULL_HANDLE;
  VkDeviceSize output_offset = 0;  ///< bytes
};

/// What a session reads and writes, to size the buffers by.
struct SessionBufferLayout {
  VkDeviceSize input_bytes = 0;   ///< batch * channels * height * width * 4
  VkDeviceSize output_bytes = 0;  ///< output_rows * output_stride * 4
  int output_rows = 0;            ///< batch, or batch * tokens
  int output_cols = 0;            ///< classes or width
  int output_stride = 0;          ///< floats from one row to the next: output_cols rounded up to a multiple of 4
};

/// The layout that create_session() will use for these options. Pure arithmetic: the device is not touched.
VIREO_API Result<SessionBufferLayout> session_buffer_layout(const Model& model, const SessionOptions& options);

/// Session::create on an adopted (or any Vulkan) device with the application's buffers. Where a buffer is given,
/// submit() and run() take `pixels == nullptr, count == 0` for the input, and Output::data is null for the output.
/// An output buffer of the application's is not looked at: the host cannot read it, so NaN and infinity (fp16 ends at
/// 65504) pass unnoticed, and SessionOptions::recompute has no say; fp32 is the safe choice there. There is no falling
/// back to the CPU: SessionOptions::fallback is taken as false. Errors: as Session::create, and kInvalidArgument for a
/// misaligned offset, kUnsupported when a step that touches these buffers is placed on the CPU.
VIREO_API Result<Session> create_session(const Model& model, const Device& device, const SessionOptions& options,
                                         const SessionBuffers& buffers);

}  // namespace vireo

#endif  // VIREO_VULKAN_HPP
