// mini.cpp: the table of the mini tasks, and the data set that each of them is.
#include "data/mini.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "data/formats.h"
#include "data/mini_paint.h"
#include "engine/check.h"
#include "engine/random.h"
#include "engine/text.h"

namespace vitrine {
namespace {

using Names = std::span<const std::string_view>;
constexpr std::string_view creatures_classes[] = {"beetle", "bird",      "butterfly", "crab",  "fish",
                                                  "horse",  "jellyfish", "snail",     "snake", "spider"};
constexpr std::string_view textures_classes[] = {"banded", "blotched", "bricked", "checked", "cracked",
                                                 "dotted", "marbled",  "pebbled", "wavy",    "woven"};
constexpr std::string_view cells_classes[] = {"few small round",  "few small long",   "few large round",
                                              "few large long",   "many small round", "many small long",
                                              "many large round", "many large long"};
constexpr std::string_view terrain_classes[] = {"fields",  "forest", "houses", "industry", "meadow",
                                                "orchard", "river",  "road",   "scrub",    "shore"};
constexpr std::string_view count_classes[] = {"1", "2", "3", "4", "5", "6", "7", "8"};
constexpr std::string_view position_classes[] = {"1/8", "2/8", "3/8", "4/8",
                                                 "5/8", "6/8", "7/8", "8/8"};  // from the left
constexpr std::string_view orientation_classes[] = {"right", "lower right", "down", "lower left",
                                                    "left",  "upper left",  "up",   "upper right"};
constexpr std::string_view distance_classes[] = {"nearest",    "near", "rather near",
                                                 "rather far", "far",  "farthest"};

struct Task {
  std::string_view name;
  Names classes;
  uint32_t lane;  // of Purpose::synthetic; synthetic.cpp has those below 16
  void (*draw)(Random&, MiniPicture&);
};
constexpr std::array<Task, 8> tasks{{{"creatures", creatures_classes, 16, mini::draw_creature},
                                     {"textures", textures_classes, 17, mini::draw_texture},
                                     {"cells", cells_classes, 18, mini::draw_cells},
                                     {"terrain", terrain_classes, 19, mini::draw_terrain},
                                     {"count", count_classes, 20, mini::draw_count},
                                     {"position", position_classes, 21, mini::draw_position},
                                     {"orientation", orientation_classes, 22, mini::draw_orientation},
                                     {"distance", distance_classes, 23, mini::draw_distance}}};

constexpr std::array<std::string_view, tasks.size()> names_of_tasks() {
  std::array<std::string_view, tasks.size()> names;
  for (size_t i = 0; i < tasks.size(); ++i) names[i] = tasks[i].name;
  return names;
}
constexpr auto names = names_of_tasks();

const Task& task_of(std::string_view name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    std::string known;
    for (const std::string_view one : names) known += text("{}{}", known.empty() ? "" : ", ", one);
    const std::string meant = nearest(name, names);
    fail(Fault::input, "mini: unknown task {}; known are {}{}", quote(name), known,
         meant.empty() ? "" : text("; did you mean '{}'?", meant));
  }
  return tasks[static_cast<size_t>(found - names.begin())];
}

MiniPicture draw(const Task& task, Split split, int64_t sample) {
  MiniPicture picture;
  picture.label = sample % static_cast<int64_t>(task.classes.size());
  Random random(0, Purpose::synthetic, static_cast<uint32_t>(split), static_cast<uint32_t>(sample),
                task.lane);
  task.draw(random, picture);
  return picture;
}

class MiniDataset : public Dataset {
 public:
  // A part: so many samples of a split.
  struct Part {
    Split split;
    int64_t count;
  };
  MiniDataset(const Task& task, const std::vector<Part>& parts)
      : Dataset(text("mini:{}", task.name), labels_of(task, parts),
                {task.classes.begin(), task.classes.end()}),
        task_(task),
        parts_(parts) {}

  Image image(int64_t i) const override {
    const auto [split, sample] = place(i);
    return draw(task_, split, sample).image;
  }
  std::string name(int64_t i) const override {
    const auto [split, sample] = place(i);
    return text("mini:{} {} image {}", task_.name, name_of(split), sample);
  }

 private:
  static std::vector<int64_t> labels_of(const Task& task, const std::vector<Part>& parts) {
    std::vector<int64_t> labels;
    for (const Part& part : parts)
      for (int64_t k = 0; k < part.count; ++k)
        labels.push_back(k % static_cast<int64_t>(task.classes.size()));
    return labels;
  }
  std::pair<Split, int64_t> place(int64_t i) const {
    auto k = static_cast<int64_t>(checked(i));
    size_t p = 0;
    for (; k >= parts_[p].count; ++p) k -= parts_[p].count;
    return {parts_[p].split, k};
  }

  const Task& task_;
  std::vector<Part> parts_;
};

// What follows the name in NAME?test=N; 2000 if nothing does.
int64_t test_count(std::string_view options) {
  if (options.empty()) return 2000;
  constexpr int64_t most = int64_t{1} << 24;
  constexpr std::string_view key = "?test=";
  int64_t count = 0;
  const bool known = options.starts_with(key);
  const std::string_view digits = options.substr(known ? key.size() : 0);
  const auto [end, wrong] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
  check(known && wrong == std::errc{} && end == digits.data() + digits.size() && count >= 1 && count <= most,
        "mini: expected '?test=' and a number of 1 to {} behind the name, got {}", most, quote(options));
  return count;
}

}  // namespace

std::span<const std::string_view> mini_names() { return names; }

std::span<const std::string_view> mini_class_names(std::string_view name) { return task_of(name).classes; }

MiniPicture draw_mini(std::string_view name, Split split, int64_t sample) {
  const Task& task = task_of(name);
  check(split == Split::train || split == Split::val || split == Split::test,
        "mini: expected train, val or test, got {}", name_of(split));
  check(sample >= 0 && sample <= int64_t{UINT32_MAX}, "mini: expected a sample of 0 to 2^32 - 1, got {}",
        sample);
  return draw(task, split, sample);
}

DatasetPointer open_mini(const std::string& where, Split split) {
  const std::string_view words = where;
  const size_t end = std::min(words.find('?'), words.size());
  const Task& task = task_of(words.substr(0, end));
  const std::array<MiniDataset::Part, 3> all{
      {{Split::train, 800}, {Split::val, 200}, {Split::test, test_count(words.substr(end))}}};
  std::vector<MiniDataset::Part> parts;
  for (const MiniDataset::Part& part : all)
    if (includes(split, part.split)) parts.push_back(part);
  return std::make_shared<MiniDataset>(task, parts);
}

}  // namespace vitrine
