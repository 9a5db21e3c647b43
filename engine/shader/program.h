// A SPIR-V module decoded for interpretation: types, constants under given specialisation, and the code of its one
// function. Internal to shader/count.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <vireo/result.hpp>

#include "shader/modules.h"

namespace vireo::shader {

/// Numbers of the unified SPIR-V 1.3 specification, section 3.32, that our shaders use (glslang's output after
/// spirv-opt -O).
namespace spirv {
enum Op : uint16_t {
  kUndef = 1,
  kExtInst = 12,
  kTypeBool = 20,
  kTypeInt = 21,
  kTypeFloat = 22,
  kTypeVector = 23,
  kTypeImage = 25,
  kTypeSampledImage = 27,
  kTypeArray = 28,
  kTypeRuntimeArray = 29,
  kTypeStruct = 30,
  kTypePointer = 32,
  kConstantTrue = 41,
  kConstantFalse = 42,
  kConstant = 43,
  kConstantComposite = 44,
  kConstantNull = 46,
  kSpecConstantTrue = 48,
  kSpecConstantFalse = 49,
  kSpecConstant = 50,
  kSpecConstantComposite = 51,
  kSpecConstantOp = 52,
  kFunction = 54,
  kFunctionEnd = 56,
  kVariable = 59,
  kLoad = 61,
  kStore = 62,
  kAccessChain = 65,
  kInBoundsAccessChain = 66,
  kDecorate = 71,
  kMemberDecorate = 72,
  kVectorExtractDynamic = 77,
  kVectorShuffle = 79,
  kCompositeConstruct = 80,
  kCompositeExtract = 81,
  kCompositeInsert = 82,
  kCopyObject = 83,
  kImageFetch = 95,
  kImage = 100,
  kConvertFToU = 109,
  kConvertFToS = 110,
  kConvertSToF = 111,
  kConvertUToF = 112,
  kUConvert = 113,
  kSConvert = 114,
  kSDot = 4450,  // SPV_KHR_integer_dot_product
  kFConvert = 115,
  kBitcast = 124,
  kSNegate = 126,
  kFNegate = 127,
  kIAdd = 128,
  kFAdd = 129,
  kISub = 130,
  kFSub = 131,
  kIMul = 132,
  kFMul = 133,
  kUDiv = 134,
  kSDiv = 135,
  kFDiv = 136,
  kUMod = 137,
  kSRem = 138,
  kSMod = 139,
  kVectorTimesScalar = 142,
  kDot = 148,
  kAny = 154,
  kAll = 155,
  kIsNan = 156,
  kIsInf = 157,
  kLogicalEqual = 164,
  kLogicalNotEqual = 165,
  kLogicalOr = 166,
  kLogicalAnd = 167,
  kLogicalNot = 168,
  kSelect = 169,
  kIEqual = 170,
  kINotEqual = 171,
  kUGreaterThan = 172,
  kSGreaterThan = 173,
  kUGreaterThanEqual = 174,
  kSGreaterThanEqual = 175,
  kULessThan = 176,
  kSLessThan = 177,
  kULessThanEqual = 178,
  kSLessThanEqual = 179,
  kFOrdEqual = 180,
  kFUnordEqual = 181,
  kFOrdNotEqual = 182,
  kFUnordNotEqual = 183,
  kFOrdLessThan = 184,
  kFUnordLessThan = 185,
  kFOrdGreaterThan = 186,
  kFUnordGreaterThan = 187,
  kFOrdLessThanEqual = 188,
  kFUnordLessThanEqual = 189,
  kFOrdGreaterThanEqual = 190,
  kFUnordGreaterThanEqual = 191,
  kShiftRightLogical = 194,
  kShiftRightArithmetic = 195,
  kShiftLeftLogical = 196,
  kBitwiseOr = 197,
  kBitwiseXor = 198,
  kBitwiseAnd = 199,
  kNot = 200,
  kBitFieldSExtract = 202,
  kBitFieldUExtract = 203,
  kControlBarrier = 224,
  kMemoryBarrier = 225,
  kPhi = 245,
  kLoopMerge = 246,
  kSelectionMerge = 247,
  kLabel = 248,
  kBranch = 249,
  kBranchConditional = 250,
  kSwitch = 251,
  kReturn = 253,
  kUnreachable = 255,
  kGroupNonUniformShuffle = 345,
  kReadClock = 5056,
};
/// GLSL.std.450.
enum Ext : uint32_t {
  kRound = 1,
  kRoundEven = 2,
  kTrunc = 3,
  kFAbs = 4,
  kSAbs = 5,
  kFSign = 6,
  kSSign = 7,
  kFloor = 8,
  kCeil = 9,
  kFract = 10,
  kExp = 27,
  kLog = 28,
  kExp2 = 29,
  kLog2 = 30,
  kSqrt = 31,
  kInverseSqrt = 32,
  kFMin = 37,
  kUMin = 38,
  kSMin = 39,
  kFMax = 40,
  kUMax = 41,
  kSMax = 42,
  kFClamp = 43,
  kUClamp = 44,
  kSClamp = 45,
  kFMix = 46,
  kFma = 50,
  kPackHalf2x16 = 58,
  kUnpackHalf2x16 = 62,
};
enum Class : uint32_t {
  kInput = 1,
  kWorkgroup = 4,
  kPrivate = 6,
  kFunctionMemory = 7,
  kPushConstant = 9,
  kStorageBuffer = 12,
  kUniformConstant = 0
};
enum BuiltIn : uint32_t {
  kNumWorkgroups = 24,
  kWorkgroupSize = 25,
  kWorkgroupId = 26,
  kLocalInvocationId = 27,
  kGlobalInvocationId = 28,
  kLocalInvocationIndex = 29,
  kSubgroupSize = 36,
  kNumSubgroups = 38,
  kSubgroupId = 40,
  kSubgroupLocalInvocationId = 41,
};
}  // namespace spirv

struct Program {
  struct Instruction {
    uint16_t op = 0;
    uint32_t count = 0;  // operand words
    const uint32_t* words = nullptr;
  };
  struct Type {
    uint16_t op = 0;
    uint32_t width = 0;    // of ints and floats, bits
    uint32_t element = 0;  // type id; pointers: what they point to
    uint32_t length = 0;   // components, elements (0: run time), members
    uint32_t storage = 0;  // pointers
    uint32_t stride = 0;   // arrays: bytes from element to element
    uint32_t bytes = 0;
    std::vector<uint32_t> members, offsets;
  };
  /// What a label begins.
  struct Block {
    uint32_t at = 0;    // index of the label in `code`
    uint32_t phis = 0;  // phis right behind the label
    bool exists = false, loop = false;
    uint32_t control = 0;  // of a loop's header: 1 unroll, 2 do not
    uint32_t ends = 0;     // of a merge block: the header of the loop that ends here, or 0
  };
  struct Variable {
    uint32_t type = 0;  // pointee
    uint32_t storage = 0;
    int64_t built_in = -1;
  };

  /// Errors: kCorrupt, naming the module.
  static Result<Program> decode(const Module& m, const std::vector<uint32_t>& spec);

  const Type* type(uint32_t id) const { return id < types.size() && types[id].op ? &types[id] : nullptr; }

  std::string name;
  uint32_t bound = 0;
  std::vector<Type> types;                       // by id
  std::vector<Variable> variables;               // by id; type 0: none
  std::vector<std::vector<uint32_t>> constants;  // by id: words of its first four scalars; empty: none
  std::vector<uint32_t> constant_types;          // by id
  std::vector<Instruction> code;                 // of the function
  std::vector<Block> blocks;                     // by label
  std::array<uint32_t, 3> local_size{1, 1, 1};
};

}  // namespace vireo::shader
