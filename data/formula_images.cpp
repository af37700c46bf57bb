#include "data/formula_images.h"

#include <iterator>

#include "data/formula_paint.h"
#include "engine/check.h"

namespace vitrine {
namespace {

struct Family {
  std::string_view name;
  int classes;
  void (*draw)(formula::Genes&, formula::Sketch&);
};

// Each class is drawn equally often, so these numbers are the mixture's weights too.
constexpr Family kFamilies[] = {
    {"garment", 240, formula::draw_garment},    {"profile", 120, formula::draw_profile},
    {"contour", 96, formula::draw_contour},     {"glyph", 112, formula::draw_glyph},
    {"figure", 72, formula::draw_figure},       {"hand", 64, formula::draw_hand},
    {"sign", 72, formula::draw_sign},           {"arrangement", 72, formula::draw_arrangement},
    {"metaballs", 64, formula::draw_metaballs}, {"boxes", 56, formula::draw_boxes},
    {"fractal", 80, formula::draw_fractal},     {"branches", 40, formula::draw_branches},
    {"texture", 128, formula::draw_texture},    {"dead leaves", 32, formula::draw_dead_leaves},
    {"scenery", 32, formula::draw_scenery},
};
constexpr int kFamilyCount = static_cast<int>(std::size(kFamilies));
constexpr uint64_t kClassKey = 0x56495452494E45;  // another key is another set of classes

constexpr int class_count() {
  int total = 0;
  for (const Family& family : kFamilies) total += family.classes;
  return total;
}

Random picture_stream(uint64_t seed, int64_t sample, uint32_t lane) {
  check(sample >= 0, "formula picture: expected a sample of at least 0, got {}", sample);
  const auto bits = static_cast<uint64_t>(sample);
  return Random(seed, Purpose::formula, static_cast<uint32_t>(bits >> 32), static_cast<uint32_t>(bits), lane);
}

}  // namespace

int formula_class_count() { return class_count(); }

int formula_family_count() { return kFamilyCount; }

std::string_view formula_family_name(int family) {
  check(family >= 0 && family < kFamilyCount, "formula picture: no family {} of {}", family, kFamilyCount);
  return kFamilies[family].name;
}

int formula_family_of(int label) {
  check(label >= 0 && label < class_count(), "formula picture: no class {} of {}", label, class_count());
  int family = 0;
  while (label >= kFamilies[family].classes) label -= kFamilies[family++].classes;
  return family;
}

FormulaPicture draw_formula_picture(uint64_t seed, int64_t sample) {
  Random stream = picture_stream(seed, sample, 0);
  return draw_formula_picture(seed, sample,
                              static_cast<int>(stream.below(static_cast<uint32_t>(class_count()))));
}

FormulaPicture draw_formula_picture(uint64_t seed, int64_t sample, int label) {
  FormulaPicture picture;
  picture.label = label;
  picture.family = formula_family_of(label);
  formula::Genes genes(Random(kClassKey, Purpose::formula, 0, static_cast<uint32_t>(label), 1),
                       picture_stream(seed, sample, 2));
  formula::Sketch sketch;
  kFamilies[picture.family].draw(genes, sketch);
  formula::paint(genes, sketch, picture);
  return picture;
}

}  // namespace vitrine
