// Pictures for calibration where there are none. Photographs have a spectrum that falls with the frequency and objects
// that hide one another; a network's values on such pictures are spread much as on photographs, which those on noise
// are not. PSAQ-ViT (Li et al. 2022, arXiv 2203.02250) finds its pictures by gradients of the network instead: that
// needs a training framework, this needs none.
#include <algorithm>
#include <cmath>

#include <vireo/compress.hpp>

namespace vireo {
namespace {

constexpr double kTurn = 6.283185307179586;

// Numbers of our own: those of <random> differ between libraries.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  // splitmix64 (Steele et al. 2014).
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double uniform(double low, double high) { return low + (high - low) * double(next() >> 11) * 0x1p-53; }
  // Box and Muller's.
  double normal() {
    const double radius =
        std::sqrt(-2 * std::log(1 - uniform(0, 1)));  // first: the order of operands is a compiler's own
    return radius * std::cos(uniform(0, kTurn));
  }
  int below(int n) { return int(next() % uint64_t(n)); }

 private:
  uint64_t state_;
};

// Noise whose amplitude falls as frequency^-slope, of mean 0 and deviation 1, in three channels that go together in
// part: lattices of random values, each twice as fine as the one before, smoothly interpolated.
class Texture {
 public:
  Texture(Random& random, double slope, int finest) : shared_(random.uniform(0.5, 1)) {
    double sum = 0;
    for (int cells = 2; cells <= finest; cells *= 2) {
      Octave octave;
      octave.cells = cells;
      // The power of a band of frequencies is its area times the squared amplitude.
      octave.weight = std::pow(double(cells), 1 - slope);
      sum += octave.weight * octave.weight;
      for (int i = 0; i < kLattice * kLattice * 4; ++i) octave.values.push_back(float(random.normal()));
      octaves_.push_back(std::move(octave));
    }
    // Interpolating takes the variance to 26/35 of the lattice's in each direction.
    const double kept = 26.0 / 35, mixed = shared_ * shared_ + (1 - shared_) * (1 - shared_);
    const double scale = 1 / (kept * std::sqrt(sum * mixed));
    for (Octave& o : octaves_) o.weight *= scale;
  }

  void at(double x, double y, double* rgb) const {
    double all[4] = {};
    for (const Octave& o : octaves_) {
      const double u = x * o.cells, v = y * o.cells, fu = std::floor(u), fv = std::floor(v);
      const double s = smooth(u - fu), t = smooth(v - fv);
      const float* a = o.point(int(fu), int(fv));
      const float* b = o.point(int(fu) + 1, int(fv));
      const float* c = o.point(int(fu), int(fv) + 1);
      const float* d = o.point(int(fu) + 1, int(fv) + 1);
      for (int i = 0; i < 4; ++i)
        all[i] += o.weight * ((1 - t) * ((1 - s) * a[i] + s * b[i]) + t * ((1 - s) * c[i] + s * d[i]));
    }
    for (int i = 0; i < 3; ++i) rgb[i] = shared_ * all[3] + (1 - shared_) * all[i];
  }

 private:
  static constexpr int kLattice = 32;  // repeats behind, which no eye or network minds
  struct Octave {
    int cells;
    double weight;
    std::vector<float> values;
    const float* point(int x, int y) const {
      return values.data() + ptrdiff_t((y & (kLattice - 1)) * kLattice + (x & (kLattice - 1))) * 4;
    }
  };
  static double smooth(double t) { return t * t * (3 - 2 * t); }

  double shared_;
  std::vector<Octave> octaves_;
};

struct Canvas {
  Canvas(int width, int height)
      : width(width), height(height), unit(std::min(width, height)), rgb(size_t(width) * size_t(height) * 3) {}
  int width, height;
  double unit;  // pixels of length 1
  std::vector<double> rgb;
  double* at(int x, int y) { return rgb.data() + (ptrdiff_t(y) * width + x) * 3; }
};

// A mean of 2 radius + 1 pixels along lines of `count` that lie `step` apart, ends repeated.
void box(double* line, int count, ptrdiff_t step, int radius, std::vector<double>* copy) {
  copy->resize(size_t(count));
  for (int i = 0; i < count; ++i) (*copy)[size_t(i)] = line[i * step];
  const auto value = [&](int i) { return (*copy)[size_t(std::clamp(i, 0, count - 1))]; };
  double sum = 0;
  for (int i = -radius; i <= radius; ++i) sum += value(i);
  for (int i = 0; i < count; ++i) {
    line[i * step] = sum / (2 * radius + 1);
    sum += value(i + radius + 1) - value(i - radius);
  }
}

// Three means make nearly a Gaussian.
void blur(Canvas& c, double sigma) {
  const int radius = int(std::lround((std::sqrt(4 * sigma * sigma + 1) - 1) / 2));
  if (radius < 1) return;
  std::vector<double> copy;
  for (int pass = 0; pass < 3; ++pass)
    for (int channel = 0; channel < 3; ++channel) {
      for (int y = 0; y < c.height; ++y) box(c.at(0, y) + channel, c.width, 3, radius, &copy);
      for (int x = 0; x < c.width; ++x) box(c.at(x, 0) + channel, c.height, ptrdiff_t(c.width) * 3, radius, &copy);
    }
}

using Colour = double[3];

// One thing with an outline, a colour, a texture and a side that the light falls on.
void paint_object(Canvas& c, Random& random, const Colour& colour, double radius) {
  const double across = c.width / c.unit, down = c.height / c.unit;
  const double cx = across / 2 + 0.3 * random.normal() * across, cy = down / 2 + 0.3 * random.normal() * down;
  const double angle = random.uniform(0, kTurn / 2), aspect = random.uniform(0.2, 1);
  const double cosine = std::cos(angle), sine = std::sin(angle);
  const int bumps = 2 + random.below(6);
  const double first = random.uniform(0, 0.35), second = random.uniform(0, 0.2);
  const double phase = random.uniform(0, kTurn), other_phase = random.uniform(0, kTurn);
  const bool rectangle = random.below(3) == 0;
  const Texture texture(random, random.uniform(0.6, 2), std::max(2, int(c.unit / 2)));
  const double roughness = random.uniform(1, 30), darker = random.uniform(0, 40), light = random.uniform(-30, 30);
  double shift[3];
  for (double& s : shift) s = 15 * random.normal();

  const double reach = radius * 1.6;  // no outline goes further
  const int x0 = std::max(0, int((cx - reach) * c.unit)), x1 = std::min(c.width - 1, int((cx + reach) * c.unit));
  const int y0 = std::max(0, int((cy - reach) * c.unit)), y1 = std::min(c.height - 1, int((cy + reach) * c.unit));
  for (int y = y0; y <= y1; ++y)
    for (int x = x0; x <= x1; ++x) {
      const double px = x / c.unit - cx, py = y / c.unit - cy;
      const double along = px * cosine + py * sine, side = (py * cosine - px * sine) / aspect;
      const double distance = std::sqrt(along * along + side * side);
      if (rectangle) {
        if (std::abs(along) >= radius || std::abs(side) >= radius) continue;
      } else {
        if (distance > reach) continue;
        const double turn = std::atan2(side, along);
        const double outline =
            1 + first * std::cos(bumps * turn + phase) + second * std::cos((bumps + 3) * turn + other_phase);
        if (distance >= radius * outline) continue;
      }
      double grain[3];
      texture.at(x / c.unit, y / c.unit, grain);
      const double from_middle = distance / radius, shade = light * along / radius - darker * from_middle * from_middle;
      double* pixel = c.at(x, y);
      for (int i = 0; i < 3; ++i) pixel[i] = colour[i] + shift[i] + roughness * grain[i] + shade;
    }
}

// Small ones are many: of things at all distances, so many have a radius above r as r^-2 says.
double some_radius(Random& random, double least, double most) {
  const double u = random.uniform(0, 1);
  return 1 / std::sqrt(1 / (most * most) + u * (1 / (least * least) - 1 / (most * most)));
}

}  // namespace

std::vector<uint8_t> synthetic_picture(uint64_t seed, int width, int height) {
  if (width < 1 || height < 1) return {};
  Random random(seed);
  random.next();
  Canvas c(width, height);

  // A few colours that go together.
  Colour colours[5];
  const int count = 2 + random.below(4);
  const double grey = random.uniform(20, 230), spread = random.uniform(5, 40);
  for (Colour& colour : colours) {
    const double level = grey + 60 * random.normal();
    for (double& channel : colour) channel = std::clamp(level + spread * random.normal(), 0.0, 255.0);
  }

  // Ground, from one colour to another.
  const double direction = random.uniform(0, kTurn), roughness = random.uniform(2, 25);
  const Texture ground(random, random.uniform(1, 2), std::max(2, int(c.unit / 2)));
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      double grain[3];
      ground.at(x / c.unit, y / c.unit, grain);
      const double t = std::cos(direction) * x / c.unit + std::sin(direction) * y / c.unit;
      for (int i = 0; i < 3; ++i)
        c.at(x, y)[i] = colours[0][i] + t * (colours[1][i] - colours[0][i]) + roughness * grain[i];
    }

  // A third of the pictures is full of things that hide one another ("dead leaves", Lee et al. 2001), the others show
  // some before a ground out of focus.
  const bool crowded = random.below(3) == 0;
  const int layers = crowded ? 1 : 1 + random.below(3);
  for (int layer = 0; layer < layers; ++layer) {
    const int objects = crowded ? 60 + random.below(200) : int(std::exp(random.uniform(0, std::log(40.0))));
    const double most = random.uniform(0.1, 0.5);
    for (int n = 0; n < objects; ++n) {
      const double radius = objects < 4 ? random.uniform(0.15, 0.4) : some_radius(random, 0.02, most);
      paint_object(c, random, colours[random.below(count)], radius);
    }
    if (layer + 1 < layers && random.uniform(0, 1) < 0.6) blur(c, random.uniform(0.5, 6) * c.unit / 224);
  }
  if (random.below(2) == 0) blur(c, random.uniform(0.3, 1.2) * c.unit / 224);

  // The camera: noise, exposure, contrast.
  const double noise = random.uniform(0, 4);
  double sum = 0, squares = 0;
  for (double& v : c.rgb) {
    v += noise * random.normal();
    sum += v, squares += v * v;
  }
  const double mean = sum / double(c.rgb.size());
  const double deviation = std::sqrt(std::max(squares / double(c.rgb.size()) - mean * mean, 1.0));
  const double contrast = random.uniform(40, 70) / deviation, exposure = random.uniform(85, 150);
  std::vector<uint8_t> rgb;
  rgb.reserve(c.rgb.size());
  for (const double v : c.rgb)
    rgb.push_back(uint8_t(std::lround(std::clamp((v - mean) * contrast + exposure, 0.0, 255.0))));
  return rgb;
}

}  // namespace vireo
