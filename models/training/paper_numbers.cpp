#include "models/training/paper_numbers.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace vitrine {

namespace {

struct Names {
  std::string_view group;
  std::vector<std::string_view> tasks;
};

const std::array<Names, 4>& all_names() {
  static const std::array<Names, 4> names{
      {{"FGVC", {"cub", "nabirds", "flowers", "dogs", "cars"}},
       {"Natural", {"cifar", "caltech101", "dtd", "flowers", "pets", "svhn", "sun397"}},
       {"Specialized", {"camelyon", "eurosat", "resisc45", "retinopathy"}},
       {"Structured",
        {"clevr-count", "clevr-dist", "dmlab", "kitti", "dsprites-loc", "dsprites-ori", "smallnorb-azi",
         "smallnorb-ele"}}}};
  return names;
}

// Other usual names of tasks, in letters and digits alone.
constexpr std::array<std::pair<std::string_view, std::string_view>, 47> aliases{{
    {"cub2002011", "cub"},
    {"cub200", "cub"},
    {"oxfordflowers", "flowers"},
    {"oxfordflowers102", "flowers"},
    {"flowers102", "flowers"},
    {"stanforddogs", "dogs"},
    {"stanfordcars", "cars"},
    {"cifar100", "cifar"},
    {"caltech", "caltech101"},
    {"oxfordiiitpet", "pets"},
    {"oxfordpets", "pets"},
    {"pet", "pets"},
    {"sun", "sun397"},
    {"patchcamelyon", "camelyon"},
    {"pcam", "camelyon"},
    {"resisc", "resisc45"},
    {"diabeticretinopathy", "retinopathy"},
    {"retino", "retinopathy"},
    {"clevrcnt", "clevr-count"},
    {"clevrcount", "clevr-count"},
    {"clevrcountall", "clevr-count"},
    {"clevrdist", "clevr-dist"},
    {"clevrdistance", "clevr-dist"},
    {"clevrclosestobjectdistance", "clevr-dist"},
    {"clevrclosest", "clevr-dist"},
    {"kittidist", "kitti"},
    {"kittidistance", "kitti"},
    {"kitticlosestvehicledistance", "kitti"},
    {"dspritesloc", "dsprites-loc"},
    {"dspritesxposition", "dsprites-loc"},
    {"dspritesxpos", "dsprites-loc"},
    {"dspriteslabelxposition", "dsprites-loc"},
    {"dspritesposition", "dsprites-loc"},
    {"dsploc", "dsprites-loc"},
    {"dspritesori", "dsprites-ori"},
    {"dspritesorientation", "dsprites-ori"},
    {"dspriteslabelorientation", "dsprites-ori"},
    {"dspori", "dsprites-ori"},
    {"smallnorbazi", "smallnorb-azi"},
    {"smallnorbazimuth", "smallnorb-azi"},
    {"smallnorblabelazimuth", "smallnorb-azi"},
    {"norbazi", "smallnorb-azi"},
    {"smallnorbele", "smallnorb-ele"},
    {"smallnorbelevation", "smallnorb-ele"},
    {"smallnorblabelelevation", "smallnorb-ele"},
    {"norbele", "smallnorb-ele"},
    {"describabletextures", "dtd"},
}};

std::string letters_of(std::string_view name) {
  std::string out;
  for (const char c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) != 0)
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out.starts_with("vtab") ? out.substr(4) : out;
}

using Groups = std::vector<PaperGroup>;

Groups fgvc_and_vtab(PaperGroup fgvc, PaperGroup natural, PaperGroup specialized, PaperGroup structured) {
  return {fgvc, natural, specialized, structured};
}
PaperGroup fgvc(double mean, std::optional<int> wins = {}) { return {"FGVC", mean, wins}; }
PaperGroup natural(double mean, std::optional<int> wins = {}) { return {"Natural", mean, wins}; }
PaperGroup specialized(double mean, std::optional<int> wins = {}) { return {"Specialized", mean, wins}; }
PaperGroup structured(double mean, std::optional<int> wins = {}) { return {"Structured", mean, wins}; }

}  // namespace

const std::vector<PaperRow>& paper_rows() {
  static const std::vector<PaperRow> rows{
      // Table 1: ViT-B/16, supervised on ImageNet-21k; its tasks in tables 14 and 13.
      {"vit-b16",
       "table 1",
       "full",
       24.02,
       fgvc_and_vtab(fgvc(88.54), natural(75.88), specialized(83.36), structured(47.64)),
       {87.3, 82.7, 98.8, 89.4, 84.5, 68.9, 87.7, 64.3, 97.2, 86.9, 87.4, 38.8,
        79.7, 95.7, 84.2, 73.9, 56.3, 58.6, 41.7, 65.5, 57.5, 46.7, 25.7, 29.1}},
      {"vit-b16",
       "table 1",
       "linear",
       1.02,
       fgvc_and_vtab(fgvc(79.32, 0), natural(68.93, 1), specialized(77.16, 1), structured(26.84, 0)),
       {63.4, 85.0, 63.2, 97.0, 86.3, 36.6, 51.0, 78.5, 87.5, 68.6, 74.0, 34.3, 30.6, 33.2, 55.4, 12.5, 20.0,
        9.6, 19.2}},
      {"vit-b16",
       "table 1",
       "partial-1",
       3.00,
       fgvc_and_vtab(fgvc(82.63, 0), natural(69.44, 2), specialized(78.53, 0), structured(34.17, 0)),
       {}},
      {"vit-b16",
       "table 1",
       "mlp-3",
       1.35,
       fgvc_and_vtab(fgvc(79.80, 0), natural(67.80, 2), specialized(72.83, 0), structured(30.62, 0)),
       {}},
      {"vit-b16",
       "table 1",
       "sidetune",
       3.69,
       fgvc_and_vtab(fgvc(78.35, 0), natural(58.21, 0), specialized(68.12, 0), structured(23.41, 0)),
       {}},
      {"vit-b16",
       "table 1",
       "bias",
       1.05,
       fgvc_and_vtab(fgvc(88.41, 3), natural(73.30, 3), specialized(78.25, 0), structured(44.09, 2)),
       {72.8, 87.0, 59.2, 97.5, 85.3, 59.9, 51.4, 78.7, 91.6, 72.9, 69.8, 61.5, 55.6, 32.4, 55.9, 66.6, 40.0,
        15.7, 25.1}},
      {"vit-b16",
       "table 1",
       "adapter",
       1.23,
       fgvc_and_vtab(fgvc(85.66, 2), natural(70.39, 4), specialized(77.11, 0), structured(33.43, 0)),
       {}},
      {"vit-b16",
       "table 1",
       "vpt-shallow",
       1.04,
       fgvc_and_vtab(fgvc(84.62, 1), natural(76.81, 4), specialized(79.66, 0), structured(46.98, 4)),
       {86.7, 78.8, 98.4, 90.7, 68.7, 77.7, 86.9, 62.6, 97.5, 87.3, 74.5, 51.2,
        78.2, 92.0, 75.6, 72.9, 50.5, 58.6, 40.5, 67.1, 68.7, 36.1, 20.2, 34.1}},
      {"vit-b16",
       "table 1",
       "vpt-deep",
       1.18,
       fgvc_and_vtab(fgvc(89.11, 4), natural(78.48, 6), specialized(82.43, 2), structured(54.98, 8)),
       {88.5, 84.2, 99.0, 90.2, 83.6, 78.8, 90.8, 65.8, 98.0, 88.3, 78.1, 49.6,
        81.8, 96.1, 83.4, 68.4, 68.5, 60.0, 46.5, 72.8, 73.6, 47.9, 32.9, 37.8}},
      {"vit-b16",
       "section 4.3",
       "vpt-deep+bias",
       {},
       {natural(77.64), specialized(82.22), structured(53.87)},
       {}},
      // Table 2: Swin-B, supervised on ImageNet-21k, the 19 tasks of VTAB.
      {"swin-b", "table 2", "full", 19.01, {natural(79.10), specialized(86.21), structured(59.65)}, {}},
      {"swin-b",
       "table 2",
       "linear",
       1.01,
       {natural(73.52, 5), specialized(80.77, 0), structured(33.52, 0)},
       {}},
      {"swin-b", "table 2", "mlp-3", 1.47, {natural(73.56, 5), specialized(75.21), structured(35.69)}, {}},
      {"swin-b",
       "table 2",
       "partial-1",
       3.77,
       {natural(73.11, 4), specialized(81.70), structured(34.96)},
       {}},
      {"swin-b", "table 2", "bias", 1.06, {natural(74.19, 2), specialized(80.14), structured(42.42)}, {}},
      {"swin-b",
       "table 2",
       "vpt-shallow",
       1.01,
       {natural(79.85, 6), specialized(82.45), structured(37.75)},
       {}},
      {"swin-b", "table 2", "vpt-deep", 1.05, {natural(76.78, 6), specialized(84.53), structured(53.35)}, {}},
      // Table 4: ViT-B/16, pretrained without labels.
      {"vit-b16, MAE", "table 4", "full", {}, {natural(59.29), specialized(79.68), structured(53.82)}, {}},
      {"vit-b16, MAE", "table 4", "linear", {}, {natural(18.87), specialized(53.72), structured(23.70)}, {}},
      {"vit-b16, MAE",
       "table 4",
       "partial-1",
       {},
       {natural(58.44), specialized(78.28), structured(47.64)},
       {}},
      {"vit-b16, MAE", "table 4", "bias", {}, {natural(54.55), specialized(75.68), structured(47.70)}, {}},
      {"vit-b16, MAE", "table 4", "adapter", {}, {natural(54.90), specialized(75.19), structured(38.98)}, {}},
      {"vit-b16, MAE",
       "table 4",
       "vpt-shallow",
       {},
       {natural(39.96), specialized(69.65), structured(27.50)},
       {}},
      {"vit-b16, MAE",
       "table 4",
       "vpt-deep",
       {},
       {natural(36.02), specialized(60.61), structured(26.57)},
       {}},
      {"vit-b16, MoCo v3",
       "table 4",
       "full",
       {},
       {natural(71.95), specialized(84.72), structured(51.98)},
       {}},
      {"vit-b16, MoCo v3",
       "table 4",
       "linear",
       {},
       {natural(67.46), specialized(81.08), structured(30.33)},
       {}},
      {"vit-b16, MoCo v3",
       "table 4",
       "partial-1",
       {},
       {natural(72.31), specialized(84.58), structured(47.89)},
       {}},
      {"vit-b16, MoCo v3",
       "table 4",
       "bias",
       {},
       {natural(72.89), specialized(81.14), structured(53.43)},
       {}},
      {"vit-b16, MoCo v3",
       "table 4",
       "adapter",
       {},
       {natural(74.19), specialized(82.66), structured(47.69)},
       {}},
      {"vit-b16, MoCo v3",
       "table 4",
       "vpt-shallow",
       {},
       {natural(67.34), specialized(82.26), structured(37.55)},
       {}},
      {"vit-b16, MoCo v3",
       "table 4",
       "vpt-deep",
       {},
       {natural(70.27), specialized(83.04), structured(42.38)},
       {}},
  };
  return rows;
}

std::vector<std::string_view> paper_groups() {
  std::vector<std::string_view> out;
  for (const Names& names : all_names()) out.push_back(names.group);
  return out;
}

const std::vector<std::string_view>& paper_tasks(std::string_view group) {
  static const std::vector<std::string_view> none;
  for (const Names& names : all_names())
    if (names.group == group) return names.tasks;
  return none;
}

std::string_view paper_group(std::string_view name) {
  std::string wanted = letters_of(name);
  if (wanted == "specialised") wanted = "specialized";
  for (const Names& names : all_names())
    if (letters_of(names.group) == wanted) return names.group;
  return {};
}

std::string_view paper_task(std::string_view group, std::string_view name) {
  const std::string wanted = letters_of(name);
  const auto find = [&](std::string_view letters) -> std::string_view {
    for (const std::string_view task : paper_tasks(group))
      if (letters_of(task) == letters) return task;
    return {};
  };
  if (const std::string_view task = find(wanted); !task.empty()) return task;
  for (const auto& [alias, task] : aliases)
    if (alias == wanted) return find(letters_of(task));
  return {};
}

const PaperRow* paper_row(std::string_view backbone, std::string_view method) {
  for (const PaperRow& row : paper_rows())
    if (row.backbone == backbone && row.method == method) return &row;
  return nullptr;
}

std::optional<double> paper_value(const PaperRow& row, std::string_view group, std::string_view task) {
  size_t place = 0;
  // A row without the tasks of FGVC begins with those of VTAB.
  const size_t fine = paper_tasks("FGVC").size(), all = 24;
  const size_t missing = row.tasks.size() == all ? 0 : fine;
  for (const Names& names : all_names())
    for (const std::string_view known : names.tasks) {
      if (names.group == group && known == task && place >= missing && place - missing < row.tasks.size())
        return row.tasks[place - missing];
      ++place;
    }
  return std::nullopt;
}

}  // namespace vitrine
