#include "models/training/report_charts.h"

#ifdef VITRINE_FILES

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/check.h"
#include "models/training/html.h"

namespace vitrine::charts {

namespace {

using html::escaped, html::fixed, html::shortest;

// A coordinate: two digits are enough for a drawing.
std::string at(double value) {
  std::string out = fixed(value, 2);
  while (out.find('.') != std::string::npos && (out.back() == '0' || out.back() == '.')) {
    const bool point = out.back() == '.';
    out.pop_back();
    if (point) break;
  }
  return out;
}

std::string label(double x, double y, const char* anchor, const std::string& words,
                  const char* kind = "tick") {
  return text("<text class=\"{}\" x=\"{}\" y=\"{}\" text-anchor=\"{}\">{}</text>", kind, at(x), at(y), anchor,
              escaped(words));
}

std::string segment(double x1, double y1, double x2, double y2, const char* kind) {
  return text("<line class=\"{}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>", kind, at(x1), at(y1), at(x2),
              at(y2));
}

std::string opened(double width, double height, const std::string& title, const char* kind) {
  return text("<svg class=\"{}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">", kind, at(width),
              at(height), escaped(title));
}

struct Frame {
  double left, top, width, height;
};
constexpr Frame frame{48, 14, 338, 192};  // of curves, inside of their drawing
constexpr double chart_width = 400, chart_height = 250;

Points finite(const Points& points) {
  Points out;
  for (const auto& [x, y] : points)
    if (std::isfinite(x) && std::isfinite(y)) out.emplace_back(x, y);
  return out;
}

}  // namespace

std::vector<double> ticks(double low, double high, int wanted) {
  check(std::isfinite(low) && std::isfinite(high) && low <= high && wanted >= 1, "ticks: no such span");
  double span = high - low;
  if (span <= 0) span = low == 0 ? 1 : std::abs(low);
  const double rough = span / wanted, unit = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * unit;
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * unit >= rough * (1 - 1e-9)) {
      step = factor * unit;
      break;
    }
  const double first = std::floor(low / step + 1e-9),
               last = std::max(std::ceil(high / step - 1e-9), first + 1);
  std::vector<double> out;
  for (double i = first; i <= last && out.size() < 50; ++i) out.push_back(i * step);
  return out;
}

// --- lines -------------------------------------------------------------------------------------------------

std::string lines(const std::string& title, const std::vector<Line>& all, bool shares) {
  double first = 0, last = 1, low = shares ? 1 : 0, high = 0;
  bool any = false;
  std::vector<Points> drawn;
  for (const Line& line : all) {
    drawn.push_back(finite(line.points));
    for (const auto& [x, y] : drawn.back()) {
      first = any ? std::min(first, x) : x;
      last = any ? std::max(last, x) : x;
      low = std::min(low, y);
      high = std::max(high, y);
      any = true;
    }
  }
  if (!any) return text("<p class=\"none\">{}: nothing was recorded.</p>", escaped(title));
  const std::vector<double> levels = ticks(low, std::max(high, shares ? low : low + 1e-12), 4);
  const double bottom = levels.front(), top = levels.back();
  const auto x_of = [&](double x) {
    return last > first ? frame.left + (x - first) / (last - first) * frame.width
                        : frame.left + frame.width / 2;
  };
  const auto y_of = [&](double y) { return frame.top + (top - y) / (top - bottom) * frame.height; };

  std::string out = opened(chart_width, chart_height, title, "chart");
  for (const double level : levels) {
    out += segment(frame.left, y_of(level), frame.left + frame.width, y_of(level), "grid");
    out += label(frame.left - 7, y_of(level) + 4, "end",
                 shares ? shortest(100 * level) + " %" : shortest(level));
  }
  double before = -1e9;
  for (const double tick : ticks(first, last, 6)) {
    if (tick < first || tick > last || tick != std::round(tick) || x_of(tick) - before < 24) continue;
    before = x_of(tick);
    out += label(before, frame.top + frame.height + 17, "middle", shortest(tick));
  }
  out += label(frame.left + frame.width / 2, chart_height - 8, "middle", "epoch", "axis");
  for (size_t i = 0; i < all.size(); ++i) {
    if (drawn[i].empty()) continue;
    std::string path;
    for (const auto& [x, y] : drawn[i])
      path += text("{}{} {}", path.empty() ? "M" : "L", at(x_of(x)), at(y_of(y)));
    out += text("<path class=\"line c{}\" d=\"{}\"/>", all[i].color, path);
    const bool few = drawn[i].size() <= 60;
    for (size_t k = 0; k < drawn[i].size(); ++k) {
      if (!few && k + 1 < drawn[i].size()) continue;
      const auto& [x, y] = drawn[i][k];
      out += text(
          "<circle class=\"dot c{}\" cx=\"{}\" cy=\"{}\" r=\"2.5\"><title>{}, epoch {}: {}</title></circle>",
          all[i].color, at(x_of(x)), at(y_of(y)), escaped(all[i].name), shortest(x),
          shares ? html::percent(y) : shortest(y));
    }
  }
  return out + "</svg>";
}

// --- confusion ---------------------------------------------------------------------------------------------

namespace {

constexpr int64_t with_numbers = 20, with_names = 60;  // so many classes at most

std::string cell(int64_t count, double share, bool hit, double x, double y, double size,
                 const std::string& told, bool numbered) {
  std::string out = text(
      "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" "
      "fill-opacity=\"{}\"><title>{}</title></rect>",
      hit ? "hit" : "miss", at(x), at(y), at(size), at(size), at(0.12 + 0.88 * share), told);
  if (numbered)
    out += text("<text class=\"count{}\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                share > 0.5 ? " strong" : "", at(x + size / 2), at(y + size / 2 + 4), count);
  return out;
}

}  // namespace

std::string confusion(const std::vector<int64_t>& counts, const std::vector<std::string>& names) {
  const auto n = static_cast<int64_t>(names.size());
  check(n > 0 && static_cast<int64_t>(counts.size()) == n * n, "confusion: expected {} x {} counts, got {}",
        n, n, counts.size());
  const bool numbered = n <= with_numbers, named = n <= with_names;
  std::vector<std::string> sides;
  size_t longest = 0;
  for (int64_t c = 0; c < n; ++c) {
    sides.push_back(named ? html::shortened(names[static_cast<size_t>(c)], 20) : std::to_string(c));
    longest = std::max(longest, html::length_of(sides.back()));
  }
  const double size = numbered ? 34 : named ? 13 : std::max(2.0, 780.0 / static_cast<double>(n));
  const double span = size * static_cast<double>(n);
  // About how wide the names are.
  const double letters = (numbered ? 6.6 : 5.6) * static_cast<double>(longest) + 14;
  // Where there is no room for them to lean, they stand upright.
  const double across = numbered ? letters * 0.72 : letters;
  const double left = named ? letters + 20 : 62, top = named ? across + 30 : 52;
  std::string out = opened(left + span + (numbered ? across : 12), top + span + 8,
                           "Confusion matrix: true classes down, predicted classes across", "matrix");
  out += text("<rect class=\"field\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>", at(left), at(top),
              at(span), at(span));
  const int64_t every =
      named ? 1 : std::max<int64_t>(1, static_cast<int64_t>(ticks(0, static_cast<double>(n), 12)[1]));
  for (int64_t c = 0; c < n; c += every) {
    const double middle = (static_cast<double>(c) + 0.5) * size;
    const char* kind = numbered ? "side" : "side small";
    out += label(left - 7, top + middle + 4, "end", sides[static_cast<size_t>(c)], kind);
    if (named)
      out += text("<text class=\"{}\" transform=\"translate({} {}) rotate({})\">{}</text>", kind,
                  at(left + middle + 3), at(top - 8), numbered ? -45 : -90,
                  escaped(sides[static_cast<size_t>(c)]));
    else
      out += label(left + middle, top - 8, "middle", sides[static_cast<size_t>(c)], kind);
  }
  out += label(left + span / 2, 14, "middle", "predicted class", "axis");
  out += text(
      "<text class=\"axis\" transform=\"translate(12 {}) rotate(-90)\" text-anchor=\"middle\">true "
      "class</text>",
      at(top + span / 2));
  for (int64_t i = 0; i < n; ++i) {
    const auto begin = counts.begin() + i * n;
    const int64_t sum = std::accumulate(begin, begin + n, int64_t{0});
    for (int64_t j = 0; j < n; ++j) {
      const int64_t count = begin[j];
      if (count == 0) continue;
      const double share = static_cast<double>(count) / static_cast<double>(sum);
      const std::string told =
          text("{} of {} ({}) of class {}{}{}", html::thousands(count), html::thousands(sum),
               html::percent(share), escaped(html::shortened(names[static_cast<size_t>(i)], 40)),
               i == j ? " are named right" : " are taken for ",
               i == j ? "" : escaped(html::shortened(names[static_cast<size_t>(j)], 40)));
      const double gap = named ? 1 : 0;
      out += cell(count, share, i == j, left + static_cast<double>(j) * size + gap / 2,
                  top + static_cast<double>(i) * size + gap / 2, size - gap, told, numbered);
    }
  }
  return out + "</svg>";
}

std::string class_bars(const std::vector<int64_t>& counts, const std::vector<std::string>& names) {
  const size_t n = names.size();
  struct Bar {
    size_t name;
    int64_t right, all;
    double share() const { return all > 0 ? static_cast<double>(right) / static_cast<double>(all) : 2; }
  };
  std::vector<Bar> bars;
  for (size_t c = 0; c < n; ++c) {
    const auto begin = counts.begin() + static_cast<std::ptrdiff_t>(c * n);
    bars.push_back({c, begin[static_cast<std::ptrdiff_t>(c)],
                    std::accumulate(begin, begin + static_cast<std::ptrdiff_t>(n), int64_t{0})});
  }
  std::ranges::stable_sort(bars, {}, &Bar::share);
  std::string out = text("<div class=\"bars{}\"{} role=\"table\" aria-label=\"Accuracy of each class\">",
                         n > 24 ? " many" : "", n > 24 ? " tabindex=\"0\"" : "");
  for (const Bar& bar : bars) {
    const bool there = bar.all > 0;
    out += text(
        "<div class=\"bar\" role=\"row\"><span class=\"who\" role=\"cell\">{}{}</span><span class=\"track\" "
        "role=\"presentation\"><i style=\"width:{}%\"></i></span><span class=\"share\" "
        "role=\"cell\">{}</span><span class=\"of\" role=\"cell\">{} of {}</span></div>",
        html::name(names[bar.name], 32),
        n > static_cast<size_t>(with_names) ? text(" <small>{}</small>", bar.name) : "",
        at(there ? 100 * bar.share() : 0), there ? html::percent(bar.share()) : "no pictures",
        html::thousands(bar.right), html::thousands(bar.all));
  }
  return out + "</div>";
}

// --- clouds ------------------------------------------------------------------------------------------------

namespace {

constexpr int colors = 10, shapes = 6;

// Two classes of one colour have different shapes, up to 60 classes; neighbours differ in both.
int color_of(int64_t c) { return static_cast<int>(c % colors); }
int shape_of(int64_t c) { return static_cast<int>((c % colors + c / colors) % shapes); }

// A mark of about equal area whatever its shape.
std::string mark(int64_t c, bool hollow, double x, double y, double r, const std::string& inside) {
  const std::string kind = text(" class=\"mark k{}{}\"", color_of(c), hollow ? " hollow" : "");
  const auto path = [&](const std::string& d) { return text("<path{} d=\"{}\">{}</path>", kind, d, inside); };
  const auto point = [&](double dx, double dy) { return text("{} {}", at(x + dx * r), at(y + dy * r)); };
  switch (shape_of(c)) {
    case 0:
      return text("<circle{} cx=\"{}\" cy=\"{}\" r=\"{}\">{}</circle>", kind, at(x), at(y), at(r), inside);
    case 1:
      return path(
          text("M{}L{}L{}L{}Z", point(-.88, -.88), point(.88, -.88), point(.88, .88), point(-.88, .88)));
    case 2:
      return path(text("M{}L{}L{}Z", point(0, -1.25), point(1.15, .85), point(-1.15, .85)));
    case 3:
      return path(text("M{}L{}L{}L{}Z", point(0, -1.3), point(1.2, 0), point(0, 1.3), point(-1.2, 0)));
    case 4:
      return path(text("M{}L{}L{}Z", point(0, 1.25), point(1.15, -.85), point(-1.15, -.85)));
    default:
      return path(text("M{}L{}L{}L{}L{}L{}L{}L{}L{}L{}L{}L{}Z", point(-.4, -1.2), point(.4, -1.2),
                       point(.4, -.4), point(1.2, -.4), point(1.2, .4), point(.4, .4), point(.4, 1.2),
                       point(-.4, 1.2), point(-.4, .4), point(-1.2, .4), point(-1.2, -.4), point(-.4, -.4)));
  }
}

std::string class_name(const std::vector<std::string>& names, int64_t c) {
  return html::shortened(names[static_cast<size_t>(c)], 40);
}

}  // namespace

std::string cloud(const Cloud& it, const std::vector<std::string>& names) {
  constexpr double side = 480, edge = 16;
  double low[2] = {0, 0}, high[2] = {0, 0};
  for (size_t i = 0; i < it.points.size(); ++i) {
    const double xy[2] = {it.points[i].first, it.points[i].second};
    for (int k = 0; k < 2; ++k) {
      low[k] = i == 0 ? xy[k] : std::min(low[k], xy[k]);
      high[k] = i == 0 ? xy[k] : std::max(high[k], xy[k]);
    }
  }
  // One scale for both directions: distances are what such a drawing is about.
  const double span = std::max({high[0] - low[0], high[1] - low[1], 1e-30}), scale = (side - 2 * edge) / span;
  const auto place = [&](double v, int k) { return side / 2 + (v - (low[k] + high[k]) / 2) * scale; };
  const double height = std::max(160.0, (high[1] - low[1]) * scale + 2 * edge);
  std::string out = text("<svg class=\"cloud\" viewBox=\"0 {} {} {}\" role=\"img\" aria-label=\"{}\">",
                         at((side - height) / 2), at(side), at(height), escaped(it.title));
  const double r = it.points.size() > 400 ? 3.2 : it.points.size() > 100 ? 4 : 5;
  for (size_t i = 0; i < it.points.size(); ++i) {
    const int64_t c = it.labels[i], taken = it.predicted[i];
    const std::string told =
        text("<title>{}{}</title>", escaped(class_name(names, c)),
             taken == c ? "" : text(", taken for {}", escaped(class_name(names, taken))));
    out += mark(c, taken != c, place(it.points[i].first, 0), side - place(it.points[i].second, 1), r, told);
  }
  return out + "</svg>";
}

std::string cloud_legend(const std::vector<int64_t>& labels, const std::vector<std::string>& names) {
  std::vector<int64_t> there(labels.begin(), labels.end());
  std::ranges::sort(there);
  there.erase(std::unique(there.begin(), there.end()), there.end());
  std::string out = text("<ul class=\"legend{}\">", there.size() > 40 ? " many\" tabindex=\"0" : "");
  for (const int64_t c : there)
    out += text("<li><svg viewBox=\"0 0 16 16\" aria-hidden=\"true\">{}</svg>{}</li>",
                mark(c, false, 8, 8, 5, ""), html::name(names[static_cast<size_t>(c)], 28));
  return out + "</ul>";
}

}  // namespace vitrine::charts

#endif
