// The devices of the built-in descriptions as text: what predict() and plan_text() take without a file.
#include <gtest/gtest.h>

#include "device/caps.h"
#include "profile/machine.h"

#include <vireo/predict.hpp>

namespace vireo {
namespace {

TEST(MachineCaps, EveryBuiltInMachineHasThoseOfItsDevice) {
  for (const std::string& name : machine_names()) {
    const Result<std::string> text = machine_caps(name), described = machine_text(name);
    ASSERT_TRUE(text) << name << ": " << text.error().message;
    ASSERT_TRUE(described);
    const Result<DeviceCaps> caps = caps_from_text(*text, name);
    ASSERT_TRUE(caps) << caps.error().message;
    const Result<Machine> machine = machine_from_text(*described, name);
    ASSERT_TRUE(machine) << machine.error().message;
    EXPECT_EQ(caps->name.rfind(machine->device, 0), 0u) << name << " describes '" << machine->device << "'";
  }
}

TEST(MachineCaps, OthersAreNamed) {
  const Result<std::string> none = machine_caps("jetson-tk1");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kNotFound);
  EXPECT_NE(none.error().message.find("'jetson-tk1'"), std::string::npos) << none.error().message;
  for (const std::string& name : machine_names())
    EXPECT_NE(none.error().message.find(name), std::string::npos) << none.error().message;
}

}  // namespace
}  // namespace vireo
