// formula_test.cpp: the formula-driven pictures: pure, of all classes, never blank, never colour alone.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "data/formula_images.h"
#include "engine/check.h"
#include "engine/parallel.h"

using namespace vitrine;

namespace {

double deviation(const FormulaPicture& picture) {
  double sum = 0, squares = 0;
  for (const uint8_t value : picture.rgb) sum += value, squares += static_cast<double>(value) * value;
  const double n = static_cast<double>(picture.rgb.size()), mean = sum / n;
  return std::sqrt(std::max(0.0, squares / n - mean * mean));
}

}  // namespace

TEST_CASE("formula pictures: the same arguments give the same picture on any thread") {
  constexpr int count = 300;
  std::vector<FormulaPicture> first(count);
  for (int i = 0; i < count; ++i) first[i] = draw_formula_picture(7, i);
  std::vector<int> same(count);
  const int before = thread_count();
  set_thread_count(2);
  parallel_for(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = end - 1; i >= begin; --i) {
      const FormulaPicture again = draw_formula_picture(7, i);
      same[i] = again.rgb == first[i].rgb && again.label == first[i].label &&
                again.attributes == first[i].attributes;
    }
  });
  set_thread_count(before);
  CHECK(std::count(same.begin(), same.end(), 1) == count);
  CHECK(draw_formula_picture(7, 0).rgb != draw_formula_picture(8, 0, first[0].label).rgb);
  // Samples beyond 32 bits are pictures of their own.
  CHECK(draw_formula_picture(7, int64_t{1} << 32, 3).rgb != draw_formula_picture(7, 0, 3).rgb);
}

TEST_CASE("formula pictures: labels are uniform, families agree with labels, attributes stay in range") {
  const int classes = formula_class_count(), families = formula_family_count();
  REQUIRE(classes >= 1000);
  constexpr int count = 20000;
  std::vector<int> drawn(classes), of_family(families), in_family(families);
  for (int label = 0; label < classes; ++label) {
    const int family = formula_family_of(label);
    REQUIRE((family >= 0 && family < families));
    ++in_family[family];
  }
  bool in_range = true, consistent = true;
  for (int i = 0; i < count; ++i) {
    const FormulaPicture picture = draw_formula_picture(1, i);
    REQUIRE((picture.label >= 0 && picture.label < classes));
    consistent = consistent && picture.family == formula_family_of(picture.label);
    ++drawn[picture.label];
    ++of_family[picture.family];
    for (const float a : picture.attributes) in_range = in_range && a >= -1 && a <= 1;
    const float s = picture.attributes[0], c = picture.attributes[1];
    in_range = in_range && std::fabs(s * s + c * c - 1) < 1e-5f;
  }
  CHECK(in_range);
  CHECK(consistent);
  // Chi-squared of a uniform draw: mean classes - 1, variance 2 (classes - 1); six deviations.
  const double expected = static_cast<double>(count) / classes;
  double chi = 0;
  for (const int n : drawn) chi += (n - expected) * (n - expected) / expected;
  CHECK(std::fabs(chi - (classes - 1)) < 6 * std::sqrt(2.0 * (classes - 1)));
  for (int family = 0; family < families; ++family) {
    const double mean = expected * in_family[family];
    CHECK_MESSAGE(std::fabs(of_family[family] - mean) < 6 * std::sqrt(mean), formula_family_name(family));
  }
}

TEST_CASE("formula pictures: no picture is blank, no two of a class are equal, many are grey") {
  const int classes = formula_class_count();
  int faint = 0, grey = 0, equal = 0;
  for (int label = 0; label < classes; ++label) {
    const FormulaPicture a = draw_formula_picture(3, 2 * label, label),
                         b = draw_formula_picture(3, 2 * label + 1, label);
    CHECK(a.label == label);
    CHECK_MESSAGE(deviation(a) > 1, "class ", label);
    faint += deviation(a) < 8;
    equal += a.rgb == b.rgb;
    grey += std::equal(a.rgb.begin(), a.rgb.begin() + 2048, a.rgb.begin() + 1024);
  }
  CHECK(equal == 0);
  CHECK(faint < classes / 50);
  CHECK(std::fabs(grey - 0.5 * classes) < 6 * std::sqrt(0.25 * classes));
}

// A class must show through colour, polarity, place and background: pictures of one class are nearer
// to each other than to those of another class, in what is left of them after the contrast's sign
// and size are taken out.
TEST_CASE("formula pictures: the class can be told from the shape") {
  const auto shape = [](int label, int64_t sample) {
    const FormulaPicture picture = draw_formula_picture(5, sample, label);
    std::vector<double> v(1024);
    double mean = 0, norm = 0;
    for (int i = 0; i < 1024; ++i)
      v[i] = picture.rgb[i] + picture.rgb[1024 + i] + picture.rgb[2048 + i], mean += v[i] / 1024;
    for (double& x : v) x -= mean, norm += x * x;
    for (double& x : v) x /= std::sqrt(norm + 1e-9);
    return v;
  };
  const auto likeness = [](const std::vector<double>& a, const std::vector<double>& b) {
    double dot = 0;
    for (int i = 0; i < 1024; ++i) dot += a[i] * b[i];
    return std::fabs(dot);
  };
  int garments = 0;
  while (formula_family_of(garments) == 0) ++garments;
  double same = 0, other = 0;
  for (int label = 0; label < garments; ++label) {
    const auto a = shape(label, 10 * label), b = shape(label, 10 * label + 1),
               c = shape((label + 7) % garments, 10 * label + 2);
    same += likeness(a, b) / garments;
    other += likeness(a, c) / garments;
  }
  CHECK(same > other + 0.1);
}

TEST_CASE("formula pictures: refusals") {
  CHECK_THROWS_WITH(draw_formula_picture(0, -1), "formula picture: expected a sample of at least 0, got -1");
  CHECK_THROWS_AS(draw_formula_picture(0, 0, formula_class_count()), Error);
  CHECK_THROWS_AS(draw_formula_picture(0, 0, -1), Error);
  CHECK_THROWS_AS(formula_family_name(-1), Error);
}
