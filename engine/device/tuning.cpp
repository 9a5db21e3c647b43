#include "device/tuning.h"

namespace vireo {
namespace {

Tuning class_defaults(DeviceClass c) {
  Tuning t;
  switch (c) {
    case DeviceClass::kMaxwell:
      // 104 = 8 * 13: 197 tokens make two tiles of 25 * 8 rows. 192 divides the widths of ViT-Ti, -S and -B, 144, 96,
      // 64 and 32 those of MobileViT. Tall tiles: what a map has most of is rows.
      t.linear_tiles = {{104, 192, 24, 8, 8}, {104, 192, 16, 8, 8}, {128, 144, 24, 8, 8}, {128, 128, 16, 8, 8},
                        {128, 96, 16, 8, 8},  {256, 64, 16, 8, 8},  {128, 64, 16, 8, 8},  {256, 32, 8, 8, 8},
                        {64, 128, 16, 8, 8},  {64, 64, 16, 8, 8},   {32, 64, 16, 4, 8},   {16, 32, 16, 4, 4}};
      t.half_tiles = {{128, 128, 48, 8, 8}, {128, 64, 32, 8, 8}};
      t.skip_rows = true;
      t.machine = {1, 65536, 32768, 65536};  // a Nano's GM20B
      t.attention_tile = {128, 8, 4, 4, 16, 32};
      // A window's addresses take registers that a row's do not: beside sums of 128 columns NAK moves some of them
      // every trip.
      t.conv_tiles = {{128, 64, 16, 8, 8}, {64, 96, 16, 8, 8}, {64, 64, 16, 8, 8}, {32, 160, 16, 4, 8},
                      {32, 64, 16, 4, 8},  {64, 16, 16, 4, 4}, {16, 32, 16, 4, 4}};
      t.conv = {16, 4, 7};         // 196 patches are 7 * 28
      t.max_dispatch_flops = 8e9;  // about 70 ms at half of the Nano's fp32 peak; its driver kills long kernels
      break;
    case DeviceClass::kSoftware:
      // A storage load of 8 lanes costs lavapipe as much as 40 multiply-adds, a texel fetch a tenth of that.
      t.texel = true;
      t.shuffle = true;
      t.linear_texel = {8, 16, 1,
                        8, 2,  8};  // what `vireo tune` finds for ViT-Ti and ViT-B on lavapipe, rounded to one choice
      t.attention_texel = {8, 4, 4};
      break;
    case DeviceClass::kMali:
    case DeviceClass::kAdreno:
    case DeviceClass::kV3d:
      t.linear_tiles = t.conv_tiles = {{32, 64, 16, 4, 8}, {16, 32, 16, 4, 4}};
      t.max_dispatch_flops = 8e9;
      break;
    default: break;
  }
  return t;
}

}  // namespace

Tuning tuning_for(const DeviceCaps& caps) {
  Tuning t = class_defaults(caps.device_class);
  t.shuffle = t.shuffle && caps.subgroup_basic && caps.subgroup_shuffle;
  while (t.attention_tile.lx > 32 && t.attention_tile.lx > caps.max_workgroup_invocations) t.attention_tile.lx /= 2;
  return t;
}

}  // namespace vireo
