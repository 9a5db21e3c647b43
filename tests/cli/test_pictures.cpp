// Every verb that takes pictures: standard input, pipes, folders, raw frames, EXIF and notes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <thread>

#include "classmap.h"
#include "cli/run_cli.h"
#include "image.h"

namespace {

using cli_test::Answer;
using cli_test::feed;
using cli_test::operator+;
using cli_test::read_array;
using cli_test::read_file;
using cli_test::run_cli;
using cli_test::Scratch;
using cli_test::Words;
using cli_test::write_all;

const std::string kModel = std::string(VIREO_TEST_DATA) + "/torchvision/even";
const std::string kSegmenter = std::string(VIREO_TEST_DATA) + "/cases/hf-upernet-vit";
const std::string kImages = std::string(VIREO_TEST_DATA) + "/images/";
const std::string kPicture = kImages + "rgb8.png";

/// The picture as Pillow shows it, as a PPM.
std::string golden_ppm(const Scratch& scratch, const std::string& file) {
  const auto picture = cli::load_image(kImages + file);
  EXPECT_TRUE(picture.ok());
  return scratch.write(file + ".ppm", "P6 " + std::to_string(picture->width) + " " + std::to_string(picture->height) +
                                          " 255\n" + std::string(picture->rgb.begin(), picture->rgb.end()));
}

const Words kClassify{"classify", "--model", kModel, "--device", "cpu", "--json"};

TEST(VerbPictures, ExifTurnsUnlessIgnored) {
  Scratch scratch;
  const Answer run =
      run_cli(kClassify + Words{kImages + "exif-6.jpg", golden_ppm(scratch, "exif-6.jpg"), kImages + "exif-1.jpg"});
  ASSERT_EQ(run.code, 0) << run.text();
  const auto turned = run.json()["results"];
  EXPECT_EQ(turned[0]["top"], turned[1]["top"]);
  EXPECT_NE(turned[0]["top"], turned[2]["top"]) << "the picture tells its orientations apart";
  const Answer plain = run_cli(kClassify + Words{"--ignore-exif", kImages + "exif-6.jpg"});
  ASSERT_EQ(plain.code, 0) << plain.text();
  EXPECT_EQ(plain.json()["results"][0]["top"], turned[2]["top"]);
}

TEST(VerbPictures, EveryVerbHasIgnoreExif) {
  for (const char* verb : {"classify", "embed", "segment", "capture", "diff", "eval"})
    EXPECT_NE(run_cli({verb, "--help"}).out.find("--ignore-exif"), std::string::npos) << verb;
  for (const char* verb : {"classify", "embed", "segment", "capture", "diff"})
    EXPECT_NE(run_cli({verb, "--help"}).out.find("--frame"), std::string::npos) << verb;
}

TEST(VerbPictures, MapsHaveTheTurnedSize) {
  Scratch scratch;
  const Words segment{
      "segment", "--model", kSegmenter, "--device", "cpu", "--json", "--overlay", kImages + "exif-6.jpg", "--out-dir"};
  const Answer run = run_cli(segment + Words{scratch.path("a")}),
               plain = run_cli(segment + Words{scratch.path("b"), "--ignore-exif"});
  ASSERT_EQ(run.code, 0) << run.text();
  ASSERT_EQ(plain.code, 0) << plain.text();
  const auto map = cli::load_labels(scratch.path("a/exif-6.classes.png")),
             stored = cli::load_labels(scratch.path("b/exif-6.classes.png"));
  ASSERT_TRUE(map.ok() && stored.ok());
  EXPECT_EQ(map->width, 9);
  EXPECT_EQ(map->height, 13);
  EXPECT_EQ(stored->width, 13);
  EXPECT_EQ(run.json()["results"][0]["width"], 9);
}

TEST(VerbPictures, StandardInputIsAPictureForEveryVerb) {
  Scratch scratch;
  const std::string bytes = read_file(kPicture);
  const Answer file = run_cli(kClassify + Words{kPicture});
  ASSERT_EQ(file.code, 0) << file.text();
  for (const char* name : {"-", "/dev/stdin"}) {
    const Answer run = feed(kClassify + Words{name}, bytes);
    ASSERT_EQ(run.code, 0) << run.text();
    EXPECT_EQ(run.json()["results"][0]["top"], file.json()["results"][0]["top"]);
    EXPECT_EQ(run.json()["results"][0]["image"], name);
  }
  const Answer among = feed(kClassify + Words{kPicture, "-", kPicture}, bytes);
  ASSERT_EQ(among.code, 0) << among.text();
  EXPECT_EQ(among.json()["results"][1]["top"], file.json()["results"][0]["top"]);

  const Words embed{"embed", "--model", kModel, "--device", "cpu", "--out"};
  ASSERT_EQ(run_cli(embed + Words{scratch.path("file.npy"), kPicture}).code, 0);
  ASSERT_EQ(feed(embed + Words{scratch.path("pipe.npy"), "-"}, bytes).code, 0);
  EXPECT_EQ(read_array(scratch.path("pipe.npy")).data, read_array(scratch.path("file.npy")).data);

  const Words segment{"segment", "--model", kSegmenter, "--device", "cpu", "--out-dir", scratch.path()};
  ASSERT_EQ(run_cli(segment + Words{kPicture}).code, 0);
  const Answer map = feed(segment + Words{"-"}, bytes);
  ASSERT_EQ(map.code, 0) << map.text();
  EXPECT_EQ(read_file(scratch.path("stdin.classes.png")), read_file(scratch.path("rgb8.classes.png")));

  const Answer capture =
      feed({"capture", "--model", kModel, "--device", "cpu", "--out", scratch.path("x.vireo"), "-"}, bytes);
  EXPECT_EQ(capture.code, 0) << capture.text();
  const Answer diff = feed({"diff", "--model", kModel, "--a", "cpu", "--b", "cpu", "-"}, bytes);
  EXPECT_EQ(diff.code, 0) << diff.text();
}

TEST(VerbPictures, PipesWithNames) {
  Scratch scratch;
  const std::string fifo = scratch.path("pipe"), bytes = read_file(kPicture);
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  std::thread sender([&] {
    const int file = open(fifo.c_str(), O_WRONLY);
    (void)write_all(file, bytes.data(), bytes.size());
    close(file);
  });
  const Answer run = run_cli(kClassify + Words{fifo});
  sender.join();
  ASSERT_EQ(run.code, 0) << run.text();
  EXPECT_EQ(run.json()["results"][0]["top"], run_cli(kClassify + Words{kPicture}).json()["results"][0]["top"]);
}

TEST(VerbPictures, RawFramesNeedTheirSize) {
  const std::string frames(2 * 8 * 6 * 3, '\x30');
  const Answer run = feed(kClassify + Words{"-", "--frame", "8x6"}, frames);
  ASSERT_EQ(run.code, 0) << run.text();
  ASSERT_EQ(run.json()["results"].size(), 2u);
  EXPECT_EQ(run.json()["results"][1]["image"], "frame-000002");
  for (const char* verb : {"classify", "segment"}) {
    const Answer bare = feed({verb, "--model", verb[0] == 'c' ? kModel : kSegmenter, "-"}, frames);
    EXPECT_TRUE(bare.fails_clearly(2)) << bare.text();
    EXPECT_NE(bare.err.find("--frame WxH"), std::string::npos) << bare.err;
  }
  const Answer old = feed({"segment", "--model", kSegmenter, "-", "--input", "48x64"}, frames);
  EXPECT_TRUE(old.fails_clearly(2)) << old.text();
  EXPECT_NE(old.err.find("--size 48x64"), std::string::npos) << old.err;
  EXPECT_NE(old.err.find("--frame WxH"), std::string::npos) << old.err;
  // Frames that begin with the letters of a BMP are frames; what begins with a whole signature is a picture.
  const Answer letters = feed(kClassify + Words{"-", "--frame", "8x6"}, "BM" + frames.substr(2));
  ASSERT_EQ(letters.code, 0) << letters.text();
  EXPECT_EQ(letters.json()["results"].size(), 2u);
  const Answer picture = feed(kClassify + Words{"-", "--frame", "8x6"}, read_file(kPicture));
  ASSERT_EQ(picture.code, 0) << picture.text();
  EXPECT_EQ(picture.json()["results"][0]["image"], "-");
  const Answer cut = feed(kClassify + Words{"-", "--frame", "8x6"}, frames.substr(1));
  EXPECT_TRUE(cut.fails_clearly(1)) << cut.text();
  EXPECT_NE(cut.err.find("frame-000002 is cut short"), std::string::npos) << cut.err;
}

TEST(VerbPictures, StandardInputThatIsNoPicture) {
  for (const auto& [bytes, word] : std::vector<std::pair<std::string, std::string>>{
           {"%PDF-1.4", "PDF"}, {"", "brought nothing"}, {"hello", "no known format"}}) {
    const Answer run = feed(kClassify + Words{"-"}, bytes);
    EXPECT_TRUE(run.fails_clearly(2)) << run.text();
    EXPECT_NE(run.err.find(word), std::string::npos) << run.err;
    EXPECT_NE(run.err.find("--frame"), std::string::npos) << run.err;
  }
  const Answer twice = feed(kClassify + Words{"-", "/dev/stdin"}, read_file(kPicture));
  EXPECT_TRUE(twice.fails_clearly(2)) << twice.text();
}

TEST(VerbPictures, FoldersForClassifyAndEmbed) {
  Scratch scratch;
  const std::string folder = scratch.make_folder("pictures");
  for (const char* name : {"b.png", "a.PNG", "c.txt", "d.classes.png", ".hidden.png"})
    scratch.write(std::string("pictures/") + name, read_file(kPicture));
  const Answer run = run_cli(kClassify + Words{folder, kPicture});
  ASSERT_EQ(run.code, 0) << run.text();
  const auto results = run.json()["results"];
  ASSERT_EQ(results.size(), 3u) << run.text();
  EXPECT_EQ(results[0]["image"], folder + "/a.PNG");
  EXPECT_EQ(results[1]["image"], folder + "/b.png");
  EXPECT_EQ(results[2]["image"], kPicture);
  const Answer embed = run_cli({"embed", "--model", kModel, "--device", "cpu", "--out", scratch.path("f.npy"), folder});
  ASSERT_EQ(embed.code, 0) << embed.text();
  EXPECT_EQ(read_array(scratch.path("f.npy")).shape[0], 2);
  const Answer empty = run_cli(kClassify + Words{scratch.make_folder("empty")});
  EXPECT_TRUE(empty.fails_clearly(1)) << empty.text();
  EXPECT_NE(empty.err.find("has no picture"), std::string::npos) << empty.err;
  for (const Words& verb : {Words{"diff", "--a", "cpu", "--b", "cpu"},
                            Words{"capture", "--device", "cpu", "--out", scratch.path("x.vireo")}}) {
    const Answer refused = run_cli(verb + Words{"--model", kModel, folder});
    EXPECT_TRUE(refused.fails_clearly(1)) << refused.text();
    EXPECT_NE(refused.err.find("is a folder"), std::string::npos) << refused.err;
  }
}

TEST(VerbPictures, FailedPicturesKeepTheirRows) {
  Scratch scratch;
  const std::string bad = scratch.write("bad.png", "hello");
  const Answer run = run_cli({"embed", "--model", kModel, "--device", "cpu", "--out", scratch.path("f.npy"), bad,
                              kPicture, bad, kPicture, bad});
  EXPECT_EQ(run.code, 1);
  const auto rows = read_array(scratch.path("f.npy"));
  ASSERT_EQ(rows.shape[0], 5);
  const size_t width = size_t(rows.shape[1]);
  for (size_t row = 0; row < 5; ++row) EXPECT_EQ(std::isnan(rows.data[row * width]), row % 2 == 0) << row;
}

TEST(VerbPictures, ClippedGreyIsSaid) {
  Scratch scratch;
  const Answer run = run_cli(kClassify + Words{kImages + "grey16.png", kPicture});
  ASSERT_EQ(run.code, 0) << run.text();
  EXPECT_NE(run.err.find("note: 16-bit grey: 99.5 % of pixels clipped in '" + kImages + "grey16.png'"),
            std::string::npos)
      << run.err;
  EXPECT_EQ(run.json()["results"][0]["note"], "16-bit grey: 99.5 % of pixels clipped");
  EXPECT_FALSE(run.json()["results"][1].contains("note"));
  const Answer map = run_cli({"segment", "--model", kSegmenter, "--device", "cpu", "--json", "--out-dir",
                              scratch.path(), kImages + "grey16.png"});
  EXPECT_NE(map.err.find("note: 16-bit grey"), std::string::npos) << map.text();
}

}  // namespace
