// mini_test.cpp: the mini tasks: the same pictures again, labels that can be read off what was drawn, nuisances that tell
// nothing of them, and test sets of any size in little memory.
#include "data/mini.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <numeric>
#include <set>

#include "data/loader.h"
#include "data/subset.h"
#include "engine/check.h"
#include "tests/data_files.h"

using namespace vitrine;
using files::message_of, files::says;

namespace {

constexpr std::array<std::string_view, 4> structured{"count", "position", "orientation", "distance"};
constexpr double pi = 3.14159265358979;

std::string spec_of(std::string_view name) { return "mini:" + std::string(name); }

std::array<double, 3> mean_colour(const Image& image) {
  std::array<double, 3> sum{};
  for (size_t i = 0; i < image.rgb.size(); ++i) sum[i % 3] += image.rgb[i];
  for (double& v : sum) v /= static_cast<double>(image.rgb.size()) / 3;
  return sum;
}

// The share of test pictures that the class with the nearest mean of a feature gets right, with the feature's deviations
// as units.
template <class Feature>
double nearest_mean_accuracy(std::string_view name, Feature feature) {
  const auto classes = mini_class_names(name).size();
  constexpr int64_t train = 800, test = 1000;
  std::vector<decltype(feature(MiniPicture{}))> all;
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < train + test; ++i) {
    const MiniPicture p = draw_mini(name, i < train ? Split::train : Split::test, i < train ? i : i - train);
    all.push_back(feature(p));
    labels.push_back(p.label);
  }
  const size_t n = all[0].size();
  std::vector<std::vector<double>> means(classes, std::vector<double>(n));
  std::vector<double> counts(classes), mean(n), variance(n);
  for (int64_t i = 0; i < train; ++i) {
    const auto s = static_cast<size_t>(i), c = static_cast<size_t>(labels[s]);
    counts[c] += 1;
    for (size_t k = 0; k < n; ++k) {
      means[c][k] += all[s][k];
      mean[k] += all[s][k] / train;
      variance[k] += all[s][k] * all[s][k] / train;
    }
  }
  for (size_t k = 0; k < n; ++k) {
    variance[k] = std::max(1e-12, variance[k] - mean[k] * mean[k]);
    for (size_t c = 0; c < classes; ++c) means[c][k] /= counts[c];
  }
  int right = 0;
  for (size_t i = train; i < all.size(); ++i) {
    std::vector<double> distance(classes);
    for (size_t c = 0; c < classes; ++c)
      for (size_t k = 0; k < n; ++k)
        distance[c] += (all[i][k] - means[c][k]) * (all[i][k] - means[c][k]) / variance[k];
    right += std::min_element(distance.begin(), distance.end()) - distance.begin() == labels[i];
  }
  return right / static_cast<double>(test);
}

// What the label of a structured task is by its meaning, from what was drawn.
int64_t read_label(std::string_view name, const MiniPicture& picture) {
  const auto& parts = picture.parts;
  if (name == "count") return static_cast<int64_t>(parts.size()) - 1;
  if (name == "position")
    return static_cast<int64_t>(std::floor((parts.at(0).x - 4) / 3));  // 4 to 28, by eighths
  if (name == "orientation")  // the nearest of eight directions, clockwise from the right
    return std::lround(parts.at(0).angle / (pi / 4)) % 8;
  double nearest = 1e9;
  for (const MiniPart& part : parts) nearest = std::min<double>(nearest, part.depth);
  return static_cast<int64_t>(std::floor(6 * std::log(nearest / 1.1) / std::log(4 / 1.1)));
}

}  // namespace

TEST_CASE("mini: sizes, balance, and the same pictures again") {
  for (const std::string_view name : mini_names()) {
    CAPTURE(name);
    const std::string spec = spec_of(name);
    const auto train = open_dataset(spec, Split::train), val = open_dataset(spec, Split::val),
               test = open_dataset(spec, Split::test), both = open_dataset(spec, Split::train_val);
    CHECK(train->size() == 800);
    CHECK(val->size() == 200);
    CHECK(test->size() == 2000);
    CHECK(both->size() == 1000);
    CHECK(open_dataset(spec, Split::all)->size() == 3000);
    const auto names = mini_class_names(name);
    CHECK(train->class_names() == std::vector<std::string>(names.begin(), names.end()));
    CHECK(std::set(names.begin(), names.end()).size() == names.size());
    std::vector<int64_t> counts(names.size());
    for (const int64_t label : train->labels()) ++counts[static_cast<size_t>(label)];
    CHECK(*std::max_element(counts.begin(), counts.end()) - *std::min_element(counts.begin(), counts.end()) <=
          1);
    const Image image = train->image(3);
    CHECK(image.width == 32);
    CHECK(image.height == 32);
    CHECK_NOTHROW(check_image(image, "mini"));
    CHECK(image.rgb == open_dataset(spec, Split::train)->image(3).rgb);
    CHECK(image.rgb == draw_mini(name, Split::train, 3).image.rgb);
    CHECK(both->image(803).rgb == val->image(3).rgb);
    CHECK(both->label(803) == val->label(3));
    CHECK(both->name(803) == spec + " val image 3");
    std::set<std::vector<uint8_t>> different;
    for (const auto& dataset : {train, val, test})
      for (int64_t i = 0; i < 40; ++i) different.insert(dataset->image(i).rgb);
    CHECK(different.size() == 120);
    CHECK_THROWS_AS(train->image(800), Error);
  }
}

TEST_CASE("mini: what the specification may be") {
  CHECK(open_dataset("mini:count?test=17", Split::test)->size() == 17);
  CHECK(open_dataset("mini:count?test=17", Split::train)->size() == 800);
  CHECK(open_dataset("mini:count?test=17", Split::all)->size() == 1017);
  CHECK(open_dataset("mini:count?test=17", Split::test)->image(9).rgb ==
        draw_mini("count", Split::test, 9).image.rgb);
  for (const std::string options : {"?", "?test=", "?test=0", "?test=-1", "?test=x", "?test=3x",
                                    "?test=16777217", "?train=3", "?test=99999999999999999999"})
    CHECK(says(message_of([&] { open_dataset("mini:count" + options, Split::test); }),
               "expected '?test=' and a number of 1 to 16777216"));
  CHECK(says(message_of([] { open_dataset("mini:cuont", Split::test); }), "did you mean 'count'?"));
  CHECK(
      says(message_of([] { open_dataset("mini:nothing", Split::test); }), "known are creatures, textures,"));
  CHECK(says(message_of([] { draw_mini("count", Split::all, 0); }), "expected train, val or test, got all"));
  CHECK_THROWS_AS(draw_mini("count", Split::train, -1), Error);
  CHECK_THROWS_AS(draw_mini("count", Split::train, int64_t{1} << 32), Error);
  CHECK(has_split("mini:count", Split::val));
  CHECK(has_split("mini:count", Split::test));
}

TEST_CASE("mini: the label of a structured task can be read off what was drawn") {
  for (const std::string_view name : structured) {
    CAPTURE(name);
    int wrong = 0;
    for (int64_t i = 0; i < 600; ++i) {
      const MiniPicture picture = draw_mini(name, Split::test, i);
      wrong += read_label(name, picture) != picture.label;
      for (const MiniPart& part : picture.parts)
        wrong += !(part.x >= 0 && part.x <= 32 && part.y >= 0 && part.y <= 32 && part.size > 0);
    }
    CHECK(wrong == 0);
  }
}

// The colours of a picture are drawn without its label, so their mean is worth no more than a guess. Of 1,000 pictures a
// guess among c gets 1/c right with a deviation of sqrt((1/c)(1 - 1/c) / 1000); four of them, and a little for that more or
// larger objects make a picture's mean vary a little more or less.
TEST_CASE("mini: mean colour does not solve a structured task") {
  for (const std::string_view name : structured) {
    CAPTURE(name);
    const double guess = 1.0 / static_cast<double>(mini_class_names(name).size());
    const double bound = guess + 4 * std::sqrt(guess * (1 - guess) / 1000) + 0.02;
    CHECK(nearest_mean_accuracy(name, [](const MiniPicture& p) { return mean_colour(p.image); }) < bound);
  }
  // The test can fail: terrain has colours of its own.
  CHECK(nearest_mean_accuracy("terrain", [](const MiniPicture& p) { return mean_colour(p.image); }) > 0.2);
}

TEST_CASE("mini: nuisances are independent of the label") {
  // Of what is drawn for each picture, the mean over a class lies within five deviations of the mean over all.
  const auto check_independent = [](std::string_view name, auto value) {
    CAPTURE(name);
    const auto classes = mini_class_names(name).size();
    std::vector<double> sum(classes), count(classes);
    double all = 0, squares = 0;
    constexpr int64_t pictures = 2000;
    for (int64_t i = 0; i < pictures; ++i) {
      const MiniPicture p = draw_mini(name, Split::test, i);
      const double v = value(p);
      sum[static_cast<size_t>(p.label)] += v;
      count[static_cast<size_t>(p.label)] += 1;
      all += v / pictures;
      squares += v * v / pictures;
    }
    const double deviation = std::sqrt(squares - all * all);
    REQUIRE(deviation > 0);
    for (size_t c = 0; c < classes; ++c)
      CHECK(std::fabs(sum[c] / count[c] - all) < 5 * deviation / std::sqrt(count[c]));
  };
  const auto first = [](auto member) {
    return [member](const MiniPicture& p) { return double{1.0 * p.parts.at(0).*member}; };
  };
  check_independent("count", first(&MiniPart::size));  // of one object: no smaller where there are many
  check_independent("count", first(&MiniPart::kind));
  check_independent("position", first(&MiniPart::y));
  check_independent("position", first(&MiniPart::size));
  check_independent("position", first(&MiniPart::angle));
  check_independent("position", first(&MiniPart::kind));
  check_independent("orientation", first(&MiniPart::x));
  check_independent("orientation", first(&MiniPart::y));
  check_independent("orientation", first(&MiniPart::size));
  check_independent("orientation", first(&MiniPart::kind));
  check_independent("distance", [](const MiniPicture& p) { return static_cast<double>(p.parts.size()); });
  check_independent("distance", [](const MiniPicture& p) { return double{p.parts.back().x}; });
  // In heights of the eye, as it stands on the floor: a pixel is depth / 26 of them.
  check_independent("distance",
                    [](const MiniPicture& p) { return double{p.parts.back().size * p.parts.back().depth}; });
  check_independent("creatures", first(&MiniPart::size));
  check_independent("creatures", first(&MiniPart::x));
  check_independent("textures", first(&MiniPart::size));
  check_independent("textures", first(&MiniPart::angle));
  // Nuclei are more, larger or longer by class and nothing else.
  check_independent("cells", [](const MiniPicture& p) { return std::fmod(p.parts.at(0).angle + pi, pi); });
}

TEST_CASE("mini: simple measures tell that the pictures show what they are said to") {
  // Where a sprite lies is where the picture differs most from its own median colour, roughly.
  const auto centre = [](const MiniPicture& p) {
    std::array<std::vector<uint8_t>, 3> channels;
    for (size_t i = 0; i < p.image.rgb.size(); ++i) channels[i % 3].push_back(p.image.rgb[i]);
    std::array<double, 3> median{};
    for (size_t c = 0; c < 3; ++c) {
      std::nth_element(channels[c].begin(), channels[c].begin() + 512, channels[c].end());
      median[c] = channels[c][512];
    }
    double weight = 0, sum = 0;
    for (size_t i = 0; i < 1024; ++i) {
      double d = 0;
      for (size_t c = 0; c < 3; ++c) d += std::fabs(p.image.rgb[3 * i + c] - median[c]);
      const double w = d * d * d * d;
      weight += w;
      sum += w * static_cast<double>(i % 32);
    }
    return std::array<double, 1>{sum / weight};
  };
  CHECK(nearest_mean_accuracy("position", centre) > 0.4);
  // Many objects make many edges.
  const auto roughness = [](const MiniPicture& p) {
    std::vector<double> steps;
    for (size_t y = 0; y < 32; ++y)
      for (size_t x = 0; x + 1 < 32; ++x) {
        double d = 0;
        for (size_t c = 0; c < 3; ++c)
          d += std::abs(p.image.rgb[(y * 32 + x) * 3 + c] - p.image.rgb[(y * 32 + x + 1) * 3 + c]);
        steps.push_back(d);
      }
    std::sort(steps.begin(), steps.end());
    // The share of steps far beyond the usual.
    const double usual = steps[steps.size() / 2] + 30;
    return std::array<double, 1>{
        static_cast<double>(steps.end() - std::upper_bound(steps.begin(), steps.end(), 3 * usual))};
  };
  CHECK(nearest_mean_accuracy("count", roughness) > 0.2);
  CHECK(nearest_mean_accuracy("cells", [](const MiniPicture& p) { return mean_colour(p.image); }) < 0.4);
}

#ifdef __linux__
namespace {

// Kilobytes of the process that lie in memory now.
int64_t resident_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stoll(line.substr(6));
  return -1;
}

// How much more of them there are at most while a test set of `count` is read in the order of evaluation.
int64_t growth(int64_t count) {
  const int64_t before = resident_kilobytes();
  int64_t most = before;
  const auto dataset = open_dataset("mini:position?test=" + std::to_string(count), Split::test);
  REQUIRE(dataset->size() == count);
  Loader loader(dataset, all_samples(*dataset), {.size = 32, .resize = 32},
                {.batch_size = 64, .workers = 1, .cache_bytes = 0});
  loader.start_epoch(0);
  int64_t seen = 0;
  for (Batch batch; loader.next(batch);) {
    seen += static_cast<int64_t>(batch.samples.size());
    if (seen % 4096 < 64) most = std::max(most, resident_kilobytes());
  }
  CHECK(seen == count);
  return std::max(most, resident_kilobytes()) - before;
}

}  // namespace

// dSprites' test set as the paper's code kept it: 73,728 images of 602 KB, 44 GB. Here an image costs its label and its two
// places in the order, 24 bytes: 1.7 MB, beside a few batches of 12 KB an image.
TEST_CASE(
    "mini: a test set of 73,728 images takes no more memory than one of 1,000, but for 24 bytes an image") {
  growth(1000);  // what is taken once
  const int64_t small = growth(1000), large = growth(73728);
  MESSAGE("1,000 images: " << small << " KB, 73,728 images: " << large << " KB");
  CHECK(small < 12 * 1024);
  CHECK(large < small + 8 * 1024);
}
#endif
