// report_page.cpp: the sections of a report, and the page around them.
#ifdef VITRINE_FILES

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "data/png_encode.h"
#include "engine/check.h"
#include "models/training/html.h"
#include "models/training/report.h"
#include "models/training/report_charts.h"
#include "models/training/report_style.h"

namespace vitrine {

namespace {

using html::counted, html::escaped, html::percent;

std::string section(const char* id, const char* title, const std::string& content) {
  return text("<section id=\"{}\">\n<h2>{}</h2>\n{}</section>\n", id, title, content);
}
std::string caption(const std::string& words) { return text("<p class=\"caption\">{}</p>\n", words); }

// --- the run -----------------------------------------------------------------------------------------------

std::string number(const std::string& value, const std::string& what) {
  return text("<li><b>{}</b> {}</li>", value, what);
}

std::string time_words(double seconds) {
  if (seconds < 60) return text("{} s", html::fixed(seconds, seconds < 10 ? 1 : 0));
  const auto whole = static_cast<int64_t>(std::min(std::round(seconds), 1e15));
  if (whole < 3600) return text("{} min {} s", whole / 60, whole % 60);
  return text("{} h {} min", whole / 3600, whole / 60 % 60);
}

std::string summary(const Report& report) {
  std::string numbers;
  if (report.findings) {
    const auto all = static_cast<int64_t>(report.findings->labels.size());
    numbers += number(percent(report.findings->accuracy), text("accuracy of {}", counted(all, "picture")));
    numbers += number(html::fixed(report.findings->loss, 4), "mean cross entropy of these");
  }
  if (!report.epochs.empty()) {
    const EpochLine& last = report.epochs.back();
    if (!report.findings) numbers += number(percent(last.accuracy), "training accuracy in the last epoch");
    if (last.val_accuracy)
      numbers += number(percent(*last.val_accuracy), "validation accuracy after the last epoch");
    double seconds = 0;
    for (const EpochLine& line : report.epochs) seconds += std::isfinite(line.seconds) ? line.seconds : 0;
    numbers += number(time_words(seconds), text("training, {}", counted(last.epoch, "epoch")));
  }
  std::string out = numbers.empty() ? "" : text("<ul class=\"numbers\">{}</ul>\n", numbers);
  out += "<dl class=\"facts\">\n";
  for (const auto& [name, words] : report.facts)
    out += text("<dt>{}</dt><dd>{}</dd>\n", escaped(name), html::name(words, 600));
  out += "</dl>\n";
  if (!report.settings.empty()) {
    out += text("<details><summary>All {} settings</summary>\n<ul class=\"settings\">\n",
                report.settings.size());
    for (const auto& [name, words] : report.settings)
      out += text("<li><span>{}</span>{}</li>\n", escaped(name), html::name(words, 80));
    out += "</ul></details>\n";
  }
  return section("run", "The run", out);
}

std::string curve(const char* title, const std::vector<charts::Line>& all, bool shares) {
  std::string keys;
  for (const charts::Line& line : all)
    if (all.size() > 1) keys += text("<span><i class=\"c{}\"></i>{}</span>", line.color, escaped(line.name));
  return text("<figure><h3>{}{}</h3>\n{}</figure>\n", title,
              keys.empty() ? "" : text("<span class=\"keys\">{}</span>", keys),
              charts::lines(title, all, shares));
}

std::string curves(const Report& report) {
  if (report.epochs.empty()) return section("curves", "Learning", caption("This run has no epochs."));
  charts::Line loss{"training", 1, {}}, val_loss{"validation", 2, {}}, accuracy{"training", 1, {}},
      val_accuracy{"validation", 2, {}}, rate{"learning rate", 3, {}};
  for (const EpochLine& line : report.epochs) {
    const auto epoch = static_cast<double>(line.epoch);
    loss.points.emplace_back(epoch, line.loss);
    accuracy.points.emplace_back(epoch, line.accuracy);
    rate.points.emplace_back(epoch, line.learning_rate);
    if (line.val_loss) val_loss.points.emplace_back(epoch, *line.val_loss);
    if (line.val_accuracy) val_accuracy.points.emplace_back(epoch, *line.val_accuracy);
  }
  const auto both = [](const charts::Line& one, const charts::Line& other) {
    return other.points.empty() ? std::vector{one} : std::vector{one, other};
  };
  std::string out = "<div class=\"three\">\n";
  out += curve("Loss", both(loss, val_loss), false);
  out += curve("Accuracy", both(accuracy, val_accuracy), true);
  out += curve("Learning rate", {rate}, false);
  out += "</div>\n";
  out += caption(
      "Training numbers are means over an epoch, while the weights still change and with all noise of "
      "training; "
      "validation, if there was any, is asked after the epoch. The learning rate is that of an epoch's last "
      "step.");
  return section("curves", "Learning", out);
}

// --- mistakes ----------------------------------------------------------------------------------------------

std::string confusion(const Report& report, const Findings& found) {
  const std::vector<int64_t> counts = found.confusion();
  const size_t n = report.class_names.size();
  // Two percent of a page with 400 classes is read at arm's length: small matrices are not blown up.
  const size_t most = n <= 20 ? 34 * n + 260 : n <= 60 ? 13 * n + 260 : 900;
  std::string out = caption(
      text("Each row is a true class, each column what the model says. Blue is right, orange is wrong, and "
           "the stronger a colour, the greater the share of the row{}. {}",
           n > 20 ? "; cells without a picture are empty, and whoever points at one reads its numbers" : "",
           n > 60 ? "Classes are numbered as in the next section. " : ""));
  out += text("<figure class=\"panel wide\"><div style=\"max-width:{}px;margin:0 auto\">{}</div></figure>\n",
              most, charts::confusion(counts, report.class_names));

  struct Pair {
    size_t label, taken;
    int64_t count;
  };
  std::vector<Pair> pairs;
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j)
      if (i != j && counts[i * n + j] > 0) pairs.push_back({i, j, counts[i * n + j]});
  std::ranges::stable_sort(pairs, std::greater{}, &Pair::count);
  pairs.resize(std::min<size_t>(pairs.size(), 8));
  if (!pairs.empty()) {
    out +=
        "<h3 style=\"margin-top:1.4rem\">What is mixed up most often</h3>\n<table><thead><tr><th>true "
        "class</th>"
        "<th>taken for</th><th>pictures</th><th>of the class</th></tr></thead><tbody>\n";
    for (const Pair& pair : pairs) {
      int64_t sum = 0;
      for (size_t j = 0; j < n; ++j) sum += counts[pair.label * n + j];
      out += text("<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
                  html::name(report.class_names[pair.label], 40),
                  html::name(report.class_names[pair.taken], 40), html::thousands(pair.count),
                  percent(static_cast<double>(pair.count) / static_cast<double>(sum)));
    }
    out += "</tbody></table>\n";
  }
  return section("confusion", "Confusion", out);
}

std::string classes(const Report& report, const Findings& found) {
  return section("classes", "Accuracy of each class",
                 caption("The share of each class's pictures that are named right, the worst class first.") +
                     charts::class_bars(found.confusion(), report.class_names) + "\n");
}

// A small picture is shown with its pixels, a large one smoothly.
const char* fine(const Image& picture) { return picture.width < 96 && picture.height < 96 ? " fine" : ""; }

std::string mistakes(const Report& report, const Findings& found) {
  const auto wrong = std::inner_product(found.labels.begin(), found.labels.end(), found.predicted.begin(),
                                        int64_t{0}, std::plus<>(), std::not_equal_to<>());
  if (wrong == 0)
    return section("mistakes", "Mistakes", caption("There is none: every picture is named right."));
  std::string out = caption(text(
      "Of {} the {} of which the model is most confident, as the net sees the pictures. Confidence is the "
      "softmax of the logits. A confident mistake is worth a look: sometimes it is the label that is wrong.",
      counted(wrong, "mistake"), found.mistakes.size()));
  out += "<div class=\"gallery\">\n";
  for (const ShownPicture& shown : found.mistakes) {
    const std::string &label = report.class_names[static_cast<size_t>(shown.label)],
                      &predicted = report.class_names[static_cast<size_t>(shown.predicted)];
    out += text(
        "<figure><img class=\"picture{}\" alt=\"{}, taken for {}\" src=\"{}\"><figcaption><span "
        "class=\"says\"><b>{}</b> {}</span><span class=\"is\">is {}</span><span "
        "class=\"from\">{}</span></figcaption></figure>\n",
        fine(shown.picture), escaped(html::shortened(label, 40)), escaped(html::shortened(predicted, 40)),
        html::png_uri(png_encode(shown.picture)), html::name(predicted, 40), percent(shown.confidence),
        html::name(label, 40), html::path(shown.name, 20));
  }
  return section("mistakes", "The most confident mistakes", out + "</div>\n");
}

// --- attention ---------------------------------------------------------------------------------------------

struct Color {
  double red, green, blue, alpha;
};
// From dark and nearly opaque to bright: what is not looked at disappears, what is looked at glows.
constexpr std::array<Color, 5> heat{{{12, 10, 38, 0.86},
                                     {92, 22, 110, 0.74},
                                     {196, 52, 82, 0.62},
                                     {247, 140, 28, 0.52},
                                     {253, 236, 130, 0.46}}};

std::array<uint8_t, 4> heat_at(double share) {
  const double place = std::clamp(share, 0.0, 1.0) * (heat.size() - 1);
  const auto below = std::min(static_cast<size_t>(place), heat.size() - 2);
  const double t = place - static_cast<double>(below);
  const Color &a = heat[below], &b = heat[below + 1];
  const auto mixed = [&](double x, double y) { return static_cast<uint8_t>(std::lround(x + t * (y - x))); };
  return {mixed(a.red, b.red), mixed(a.green, b.green), mixed(a.blue, b.blue),
          mixed(255 * a.alpha, 255 * b.alpha)};
}

std::string heat_uri(const SeenMap& map, double most) {
  std::vector<uint8_t> pixels;
  for (const double weight : map.weights) {
    const auto color = heat_at(most > 0 ? weight / most : 0);
    pixels.insert(pixels.end(), color.begin(), color.end());
  }
  return html::png_uri(png_encode(static_cast<int>(map.columns), static_cast<int>(map.rows), 4, pixels));
}

std::string scale_words() {
  std::string stops;
  for (size_t i = 0; i < heat.size(); ++i)
    stops += text("{}rgb({} {} {})", i > 0 ? "," : "", static_cast<int>(heat[i].red),
                  static_cast<int>(heat[i].green), static_cast<int>(heat[i].blue));
  return text("<span class=\"scale\" style=\"background:linear-gradient(90deg,{})\"></span>", stops);
}

std::string tile(const SeenMap& map, size_t picture, bool small) {
  const double most = map.weights.empty() ? 0 : *std::ranges::max_element(map.weights);
  const std::string where = map.block > 0 ? text("block {}", map.block) : "pooling";
  std::string told = text("at most {} on one patch", percent(most));
  if (map.on_prompts > 0) told += text(", {} on prompts", percent(map.on_prompts));
  return text(
      "<figure><div class=\"tile\"><div class=\"under grey p{}{}\"></div><img class=\"over\" alt=\"What {} "
      "looks at in {}\" src=\"{}\"></div><figcaption><b>{}</b>{}: {}</figcaption></figure>\n",
      picture, small ? " fine" : "", escaped(map.who), where, heat_uri(map, most), escaped(map.who), where,
      told);
}

std::string attention(const Report& report, const Findings& found) {
  if (found.attention.empty()) {
    const std::string why =
        found.attention_error > 0
            ? text(
                  "The textbook form of this model's forward pass gives features that differ from the "
                  "model's own by {}: its maps would not be those of the model and are left out.",
                  percent(found.attention_error))
            : "No picture was asked for.";
    return section("attention", "Attention", caption(why));
  }
  const std::vector<SeenMap>& kinds = found.attention[0].maps;
  const bool prompted =
      std::ranges::any_of(kinds, [](const SeenMap& map) { return map.who.starts_with("prompt"); });
  std::string out = caption(
      text("How much of its attention a token gives to each patch, the mean over all heads:{}from nothing to "
           "the most in that map, which stands below it. These are the exact weights softmax(q k&#8868; / "
           "&radic;d) of the textbook form, in which every prompt is a token with a query of its own; the "
           "features that follow from them are the model's own up to {} of the greatest.",
           scale_words(), html::rough(found.attention_error)));
  std::string words;
  if (found.pools_class_token)
    words = "The class token of the last block is what the head reads.";
  else if (kinds[0].block == 0)
    words = "This net pools its patches by a learned question, which is shown first.";
  else
    words = text(
        "This net has no class token: the head reads the {}, and what is shown is the mean of what these "
        "tokens look at.",
        escaped(kinds[0].who));
  if (prompted)
    words +=
        " Of the prompts those are shown that get the most attention in the last block. What a deep prompt "
        "finds in "
        "a block is thrown away behind it: its map shows what its query is drawn to, but nobody reads the "
        "answer; what "
        "counts is how much others look at it.";
  out += caption(words);
  for (size_t i = 0; i < found.attention.size(); ++i) {
    const ShownPicture& shown = found.attention[i].shown;
    const bool right = shown.label == shown.predicted, small = *fine(shown.picture) != '\0';
    out += text(
        "<div class=\"seen\"><p><b>{}</b> <span class=\"{}{}</span> ({}) <small>{}</small></p>\n<div "
        "class=\"tiles\">\n<figure><div class=\"tile\"><div class=\"under "
        "p{}{}\"></div></div><figcaption><b>the picture</b>as the net sees it</figcaption></figure>\n",
        html::name(report.class_names[static_cast<size_t>(shown.label)], 60),
        right ? "right\">named right" : "wrong\">taken for ",
        right ? "" : html::name(report.class_names[static_cast<size_t>(shown.predicted)], 60),
        percent(shown.confidence), html::path(shown.name, 60), i, small ? " fine" : "");
    for (const SeenMap& map : found.attention[i].maps) out += tile(map, i, small);
    out += "</div></div>\n";
  }
  return section("attention", "Attention", out);
}

// Each picture under its maps is in the page once, as the background of a class of its own.
std::string picture_rules(const Findings& found) {
  std::string out;
  for (size_t i = 0; i < found.attention.size(); ++i)
    out += text(".p{}{background-image:url({})}\n", i,
                html::png_uri(png_encode(found.attention[i].shown.picture)));
  return out;
}

// --- embedding ---------------------------------------------------------------------------------------------

std::string embedding(const Report& report, const Findings& found) {
  const Findings::Embedding& e = found.embedding;
  if (e.pca.empty()) return section("embedding", "Features", caption("No picture was asked for."));
  std::string out = caption(text(
      "The features that the head reads, of {}{}. Colour and shape tell the true class; hollow marks are "
      "pictures that the model takes for another one. Axes have no names, for directions mean nothing here.",
      counted(static_cast<int64_t>(e.labels.size()), "picture"),
      e.labels.size() < found.labels.size() ? ", evenly spaced among all" : ""));
  out += text(
      "<div class=\"two\">\n<figure class=\"panel\"><h3>Principal components</h3>{}<figcaption>The plane in "
      "which features spread most, by eigenvectors of their covariance; it shows {} of their "
      "variance.</figcaption></figure>\n",
      charts::cloud({"Principal components of the features", e.pca, e.labels, e.predicted},
                    report.class_names),
      percent(e.pca_share));
  out += text(
      "<figure class=\"panel\"><h3>t-SNE</h3>{}<figcaption>Neighbours stay neighbours (perplexity {}, all "
      "pairs, started from the principal components); distances between far groups mean "
      "little.</figcaption></figure>\n</div>\n",
      charts::cloud({"t-SNE of the features", e.tsne, e.labels, e.predicted}, report.class_names),
      html::shortest(e.perplexity));
  out += charts::cloud_legend(e.labels, report.class_names);
  return section("embedding", "Features", out + "\n");
}

void check_report(const Report& report) {
  if (!report.findings) return;
  const Findings& found = *report.findings;
  check(found.classes > 0 && found.classes == static_cast<int64_t>(report.class_names.size()),
        "report: {} names for {} classes", report.class_names.size(), found.classes);
  check(found.labels.size() == found.predicted.size() && found.labels.size() == found.confidence.size(),
        "report: its lists of pictures are not equally long");
  const auto known = [&](int64_t c) { return c >= 0 && c < found.classes; };
  check(std::ranges::all_of(found.labels, known) && std::ranges::all_of(found.predicted, known),
        "report: a class has no name");
}

}  // namespace

std::string report_page(const Report& report) {
  check_report(report);
  std::string body = summary(report) + curves(report),
              links = "<a href=\"#run\">Run</a><a href=\"#curves\">Learning</a>";
  if (report.findings) {
    const Findings& found = *report.findings;
    links +=
        "<a href=\"#confusion\">Confusion</a><a href=\"#classes\">Classes</a><a "
        "href=\"#mistakes\">Mistakes</a>"
        "<a href=\"#attention\">Attention</a><a href=\"#embedding\">Features</a>";
    body += confusion(report, found) + classes(report, found) + mistakes(report, found) +
            attention(report, found) + embedding(report, found);
  } else {
    body += section("pictures", "Pictures", caption(escaped(report.without)));
  }
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
      "'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  out += text(
      "<title>{} - Vitrine</title>\n<style>{}{}</style>\n</head>\n<body>\n<header>\n<p "
      "class=\"kicker\">Report of a run</p>\n<h1>{}</h1>\n",
      escaped(html::shortened(report.title, 80)), report_style,
      report.findings ? picture_rules(*report.findings) : "", html::name(report.title, 120));
  if (report.findings) {
    out += text("<p class=\"caption\">Pictures: {}", html::name(report.pictures, 200));
    if (!report.findings->bad.empty())
      out += text("; {} left out",
                  counted(static_cast<int64_t>(report.findings->bad.size()), "damaged picture"));
    out += "</p>\n";
  }
  out += text(
      "<nav>{}</nav>\n</header>\n<main>\n{}</main>\n<footer>Written by Vitrine {}. This page needs nothing "
      "but itself: no network, no script.</footer>\n</body>\n</html>\n",
      links, body, escaped(report.version));
  return out;
}

}  // namespace vitrine

#endif
