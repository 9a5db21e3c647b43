// Kept roofs: what is written is read again; stale, damaged and missing files are measured anew; the best seen stays.
#include <gtest/gtest.h>

#include "base/input_file.h"
#include "profile/roofs_file.h"
#include "runtime/roofline.h"
#include "unit/test_model_files.h"

namespace vireo {
namespace {

const RoofsId kId{"roofs-10de-92ba.txt", "some gpu, rev 2", "driver 801 shaders abcdef"};
const KeptRoofs kKept{{123.5, 240.25, 14.5, 500, 6.5, 40}, "2024-05-01 12:30 UTC"};

std::string why(const std::string& text, const RoofsId& id = kId) {
  const Result<KeptRoofs> r = parse_roofs(text, id);
  return r ? "accepted" : r.error().message;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(RoofsFile, RoundTrip) {
  const Result<KeptRoofs> r = parse_roofs(roofs_text(kId, kKept), kId);
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_EQ(r->date, kKept.date);
  EXPECT_EQ(r->roofs.fma_gflops, 123.5);
  EXPECT_EQ(r->roofs.half_fma_gflops, 240.25);
  EXPECT_EQ(r->roofs.copy_gbs, 14.5);
  EXPECT_EQ(r->roofs.shared_gbs, 500);
  EXPECT_EQ(r->roofs.dispatch_us, 6.5);
  EXPECT_EQ(r->roofs.submit_us, 40);
}

TEST(RoofsFile, StaleAndDamagedOnesAreNamed) {
  const std::string text = roofs_text(kId, kKept);
  RoofsId other = kId;
  other.state = "driver 802 shaders abcdef";
  EXPECT_EQ(why(text, other), "stale: of driver 801 shaders abcdef, this is driver 802 shaders abcdef");
  other = kId;
  other.device = "another";
  EXPECT_NE(why(text, other).find("stale: of device 'some gpu, rev 2', this is 'another'"), std::string::npos);
  EXPECT_NE(why("").find("'device' is missing; the file is truncated"), std::string::npos) << why("");
  EXPECT_NE(why("GIF89a\n").find("first line"), std::string::npos);
  EXPECT_NE(why(replaced(text, "vireo-roofs 1", "vireo-roofs 2")).find("first line"), std::string::npos);
  EXPECT_NE(why(replaced(text, "copy_gbs", "copy_gb")).find("'copy_gb' is no word"), std::string::npos);
  EXPECT_NE(why(replaced(text, "copy_gbs 14.5", "copy_gbs 14.5x")).find("copy_gbs is '14.5x'"), std::string::npos);
  for (const char* bad : {"copy_gbs -1", "copy_gbs nan", "copy_gbs 1e10", "copy_gbs "})
    EXPECT_NE(why(replaced(text, "copy_gbs 14.5", bad)).find("expected a number"), std::string::npos) << bad;
  EXPECT_NE(why(replaced(text, "copy_gbs 14.5", "copy_gbs 0")).find("a rate is 0"), std::string::npos);
  EXPECT_NE(why(text + "copy_gbs 1\n").find("'copy_gbs' is there twice"), std::string::npos);
  for (size_t n = text.find('\n'); n + 1 < text.size(); n = text.find('\n', n + 1))
    EXPECT_NE(why(text.substr(0, n + 1)), "accepted") << n;
}

TEST(RoofsFile, NamesTellDevicesApart) {
  DeviceCaps gpu;
  gpu.vendor_id = 0x10de, gpu.device_id = 0x92ba03d7, gpu.driver_version = 0x801;
  EXPECT_EQ(roofs_id(gpu, 0xabc).file, "roofs-10de-92ba03d7.txt");
  EXPECT_EQ(roofs_id(gpu, 0xabc).state, "driver 801 shaders abc");
  gpu.device_class = DeviceClass::kSoftware, gpu.simd = "avx2";
  EXPECT_EQ(roofs_id(gpu, 0xabc).state, "driver 801 shaders abc simd avx2");
  DeviceCaps cpu;
  cpu.kind = DeviceKind::kCpu, cpu.simd = "avx2", cpu.threads = 4;
  EXPECT_EQ(roofs_id(cpu, 1).file, "roofs-cpu-avx2-4.txt");
  EXPECT_NE(roofs_id(cpu, 1).state.find("simd avx2 threads 4"), std::string::npos);
  gpu.name = "two\nlines";
  const RoofsId id = roofs_id(gpu, 1);
  EXPECT_TRUE(parse_roofs(roofs_text(id, kKept), id).ok()) << "a driver's name cannot break the file";
}

TEST(RoofsFile, TheBestOfTwo) {
  const DeviceRoofs busy{100, 0, 20, 400, 9, 0}, quiet{120, 50, 10, 500, 7, 30};
  const DeviceRoofs best = best_of(busy, quiet);
  EXPECT_EQ(best.fma_gflops, 120);
  EXPECT_EQ(best.half_fma_gflops, 50);
  EXPECT_EQ(best.copy_gbs, 20);
  EXPECT_EQ(best.shared_gbs, 500);
  EXPECT_EQ(best.dispatch_us, 7);
  EXPECT_EQ(best.submit_us, 30) << "0 is no time";
}

/// kept_roofs with a device that gives what the test says.
struct Bench {
  test::TempDir dir;
  DeviceCaps caps;
  DeviceRoofs next{100, 0, 10, 0, 0, 0};
  bool undisturbed = true;
  int measured = 0;
  std::vector<std::string> notes;
  Bench() { caps.kind = DeviceKind::kCpu, caps.name = "a cpu", caps.simd = "avx2", caps.threads = 2; }
  DeviceRoofs ask(bool anew, const std::string& folder) { return used(anew, folder).roofs; }
  UsedRoofs used(bool anew, const std::string& folder) {
    notes.clear();
    const Result<UsedRoofs> r = kept_roofs(
        caps, folder, anew,
        [this]() -> Result<MeasuredRoofs> {
          return ++measured, MeasuredRoofs{next, undisturbed, undisturbed ? 1 : 0.6};
        },
        &notes);
    EXPECT_TRUE(r.ok());
    return r ? *r : UsedRoofs();
  }
  DeviceRoofs ask(bool anew = false) { return ask(anew, dir.path()); }
  std::string path() const { return dir / roofs_id(caps, 0).file; }
  std::string note() const { return notes.empty() ? "" : notes[0]; }
};

TEST(KeptRoofs, AreMeasuredOnceAndTheBestStays) {
  Bench b;
  EXPECT_EQ(b.ask().fma_gflops, 100);
  EXPECT_EQ(b.measured, 1);
  EXPECT_EQ(b.notes.size(), 0u);
  b.next.fma_gflops = 50;
  EXPECT_EQ(b.ask().fma_gflops, 100);
  EXPECT_EQ(b.measured, 1);
  EXPECT_NE(b.note().find("roofs as measured 20"), std::string::npos) << b.note();
  b.next = {50, 0, 30, 0, 0, 0};  // a busy machine, but for its memory
  const DeviceRoofs anew = b.ask(true);
  EXPECT_EQ(b.measured, 2);
  EXPECT_EQ(anew.fma_gflops, 100);
  EXPECT_EQ(anew.copy_gbs, 30);
  EXPECT_NE(b.note().find("best of those measured now and before"), std::string::npos) << b.note();
  EXPECT_EQ(b.ask().copy_gbs, 30);
  EXPECT_EQ(b.measured, 2);
  b.caps.threads = 1;  // another device to roofs
  b.ask();
  EXPECT_EQ(b.measured, 3);
}

// What a busy machine measures is too low: it is shown, with the reason, and forgotten, unless it beats what is known.
TEST(KeptRoofs, OfABusyMachineAreNotKept) {
  Bench b;
  b.undisturbed = false;
  UsedRoofs used = b.used(false, b.dir.path());
  EXPECT_EQ(used.roofs.fma_gflops, 100);
  EXPECT_TRUE(used.measured && used.disturbed);
  EXPECT_NE(b.note().find("other work had 40 % of the cores' time"), std::string::npos) << b.note();
  EXPECT_NE(b.note().find("not kept; the next profile measures anew"), std::string::npos) << b.note();
  EXPECT_EQ(path_kind(b.path()), PathKind::kMissing);
  used = b.used(false, "");  // nowhere to keep them
  EXPECT_TRUE(used.disturbed);
  EXPECT_NE(b.note().find("not kept anywhere"), std::string::npos) << b.note();

  b.undisturbed = true;
  b.next.fma_gflops = 200;
  used = b.used(false, b.dir.path());
  EXPECT_EQ(b.measured, 3);
  EXPECT_EQ(used.roofs.fma_gflops, 200);
  EXPECT_TRUE(used.measured);
  EXPECT_FALSE(used.disturbed);
  EXPECT_EQ(b.notes.size(), 0u);
  used = b.used(false, b.dir.path());
  EXPECT_EQ(b.measured, 3) << "kept";
  EXPECT_FALSE(used.measured || used.disturbed);

  b.undisturbed = false;
  b.next = {150, 0, 40, 0, 0, 0};
  used = b.used(true, b.dir.path());
  EXPECT_EQ(used.roofs.fma_gflops, 200);
  EXPECT_EQ(used.roofs.copy_gbs, 40) << "too low at worst";
  EXPECT_FALSE(used.disturbed) << "someone had measured them undisturbed";
  EXPECT_EQ(b.used(false, b.dir.path()).roofs.copy_gbs, 40);
}

TEST(KeptRoofs, AFileThatCannotBeUsedIsMeasuredOver) {
  Bench b;
  b.ask();
  for (const std::string& bad : {std::string("garbage"), std::string(70000, 'x')}) {
    b.dir.write(roofs_id(b.caps, 0).file, bad);
    const int before = b.measured;
    b.ask();
    EXPECT_EQ(b.measured, before + 1);
    EXPECT_NE(b.note().find("not used"), std::string::npos) << b.note();
    b.ask();
    EXPECT_EQ(b.measured, before + 1) << "it was replaced";
  }
}

TEST(KeptRoofs, WithoutAFolderOrNumbersNothingIsKept) {
  Bench b;
  b.ask(false, "");
  b.ask(false, "");
  EXPECT_EQ(b.measured, 2);
  const std::string file = b.dir.write("file", "");
  b.ask(false, file + "/below");
  EXPECT_NE(b.note().find("roofs were not kept"), std::string::npos) << b.note();
  b.next.copy_gbs = 0;  // could not be had this time
  b.ask();
  b.ask();
  EXPECT_EQ(b.measured, 5);
  EXPECT_EQ(path_kind(b.path()), PathKind::kMissing);
}

}  // namespace
}  // namespace vireo
