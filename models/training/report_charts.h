// report_charts.h: the drawings of a report, as inline SVG or HTML. Colours and fonts are classes of the page's style
// (report_style.cpp), which knows light and dark. Names must not be escaped before: it is done here.
#pragma once

#ifdef VITRINE_FILES

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace vitrine::charts {

using Points = std::vector<std::pair<double, double>>;

struct Line {
  std::string name;
  int color = 1;  // 1, 2, ...
  Points points;  // by rising x; what is not finite is left out
};
// Lines over epochs. `shares`: values are from 0 to 1 and read as percent; otherwise the axis begins at 0.
std::string lines(const std::string& title, const std::vector<Line>& lines, bool shares);

// counts (C * C), row-major: how many of class i are taken for j. A cell's strength is its share of its row. With few
// classes cells hold their numbers and sides the names, with many only what is not 0 is drawn and sides are numbered.
std::string confusion(const std::vector<int64_t>& counts, const std::vector<std::string>& names);

// Bars of each class's accuracy, the worst first, with counts.
std::string class_bars(const std::vector<int64_t>& counts, const std::vector<std::string>& names);

// Points by class: a colour and a shape for each, hollow where the model names another class.
struct Cloud {
  std::string title;  // not escaped
  const std::vector<std::pair<double, double>>& points;
  const std::vector<int64_t>&labels, &predicted;
};
std::string cloud(const Cloud& cloud, const std::vector<std::string>& names);
// What colours and shapes stand for; of the classes that are there.
std::string cloud_legend(const std::vector<int64_t>& labels, const std::vector<std::string>& names);

// Round numbers, about `wanted` of them, that span [low, high]: the first is at most low, the last at least high.
std::vector<double> ticks(double low, double high, int wanted);

}  // namespace vitrine::charts

#endif
