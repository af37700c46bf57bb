// report_page_test.cpp: a report's page: what it holds, that it is well-formed whatever names it shows, and what a model's
// findings are.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/file.h"
#include "models/training/html.h"
#include "models/training/report.h"
#include "models/training/report_charts.h"
#include "tests/tune_runs.h"

using namespace vitrine;

namespace {

// Names that want to get out of where they stand.
const std::vector<std::string> hostile{
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>",
    "'; background:url(http://example.org/)",
    "&lt;b&gt; & <!-- ]]> </style></svg></title>",
    "\xf0\x9f\xa6\x8a \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80",  // a fox and an astronaut
    "\xe2\x80\xae"
    "evil \xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d",  // right to left
    "\xff\xfe not UTF-8 \xc3",
    std::string("nul \0 and \x1b[31m", 12),
    "",
    std::string(5000, 'w'),
    "\xef\xbf\xbe\xef\xb7\x90\xc2\x85 not allowed"};

// Reads the page as XML-like text: elements must be closed in their order, attributes quoted, and a bare < or & must not
// stand anywhere. Returns what is wrong, or nothing.
std::string first_fault(const std::string& page) {
  const std::set<std::string> empty{"meta", "img", "br"};
  std::vector<std::string> open;
  size_t at = page.find("<html");
  if (at == std::string::npos) return "no <html>";
  while (at < page.size()) {
    if (page[at] == '&') {
      const size_t end = page.find(';', at);
      if (end == std::string::npos || end > at + 10) return "a bare & at " + page.substr(at, 40);
    }
    if (page[at] != '<') {
      ++at;
      continue;
    }
    const bool closing = page[at + 1] == '/';
    size_t end = at + (closing ? 2 : 1);
    while (std::isalnum(static_cast<unsigned char>(page[end]))) ++end;
    const std::string name = page.substr(at + (closing ? 2 : 1), end - at - (closing ? 2 : 1));
    if (name.empty()) return "a bare < at " + page.substr(at, 40);
    bool itself = false;
    while (page[end] != '>') {  // attributes
      if (end + 1 >= page.size()) return "a tag without an end";
      if (page[end] == '"') {
        end = page.find('"', end + 1);
        if (end == std::string::npos) return "a quote without an end";
      } else if (page[end] == '<' || page[end] == '\'') {
        return "a stranger in a tag at " + page.substr(end, 40);
      }
      itself = page[end] == '/';
      ++end;
    }
    if (closing) {
      if (open.empty() || open.back() != name)
        return "</" + name + "> closes nothing at " + page.substr(at, 40);
      open.pop_back();
    } else if (!itself && !empty.contains(name)) {
      open.push_back(name);
    }
    at = end + 1;
    if (name == "style" && !closing) at = page.find("</style", at);
  }
  return open.empty() ? "" : "<" + open.back() + "> is not closed";
}

Findings made_up(int64_t classes, int64_t count) {
  Findings found;
  found.classes = classes;
  for (int64_t i = 0; i < count; ++i) {
    found.labels.push_back(i % classes);
    found.predicted.push_back(i % 7 == 0 ? (i * 5 + 1) % classes : i % classes);
    found.confidence.push_back(0.5 + 0.4 * static_cast<double>(i % 3));
    if (i >= 60) continue;
    found.embedding.labels.push_back(found.labels.back());
    found.embedding.predicted.push_back(found.predicted.back());
    found.embedding.pca.emplace_back(std::sin(static_cast<double>(i)), i);
    found.embedding.tsne.emplace_back(i, -i);
  }
  return found;
}

Report hostile_report() {
  Report report;
  report.title = hostile[0];
  report.facts = {{hostile[1], hostile[2]}, {"Folder", hostile[6]}};
  report.settings = {{hostile[3], hostile[5]}};
  report.class_names = hostile;
  report.pictures = hostile[1];
  report.version = hostile[0];
  report.epochs = {
      {.epoch = 1, .step = 3, .loss = NAN, .accuracy = 0.5, .learning_rate = 1e-3, .val_loss = 1e300},
      {.epoch = 2, .step = 6, .loss = 0.3, .accuracy = 0.7, .learning_rate = 1e-4}};
  Findings found = made_up(static_cast<int64_t>(hostile.size()), 200);
  const Image picture = blank_image(8, 8);
  for (size_t c = 0; c < hostile.size(); ++c)
    found.mistakes.push_back({hostile[c], static_cast<int64_t>(c), 0, 0.9, picture});
  found.attention.push_back(
      {{hostile[1], 0, 1, 0.8, picture}, {{"class token", 3, 2, 2, {0.1, 0.2, 0.3, 0.1}, 0.2, 0.1}}});
  found.bad = {hostile[0]};
  report.findings = found;
  return report;
}

size_t occurrences(const std::string& page, const std::string& what) {
  size_t count = 0;
  for (size_t at = page.find(what); at != std::string::npos; at = page.find(what, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("html: words, names and numbers") {
  CHECK(html::escaped("a<b>&\"'") == "a&lt;b&gt;&amp;&quot;&#39;");
  CHECK(html::escaped("\xc3\xa9\xf0\x9f\xa6\x8a") == "\xc3\xa9\xf0\x9f\xa6\x8a");
  const std::string unknown = "\xef\xbf\xbd";
  CHECK(html::escaped(std::string("a\0b", 3)) == "a" + unknown + "b");
  CHECK(html::escaped("\xff\xc3(") == unknown + unknown + "(");
  CHECK(html::escaped("\xef\xbf\xbf\xc2\x9f\x7f") == unknown + unknown + unknown);
  CHECK(html::escaped("\xf0\x9f\xbf\xbf") == unknown);  // U+1FFFF is no character
  CHECK(html::escaped("\t\n") == "\t\n");
  CHECK(html::shortened("abcdef", 6) == "abcdef");
  CHECK(html::shortened("abcdefg", 6) == "abcde\xe2\x80\xa6");
  CHECK(html::shortened("\xc3\xa9\xc3\xa9\xc3\xa9", 2) == "\xc3\xa9\xe2\x80\xa6");
  CHECK(html::length_of("\xc3\xa9\xff") == 2);
  CHECK(html::name("<i>") == "<bdi>&lt;i&gt;</bdi>");
  CHECK(html::name("") == "<i>no name</i>");
  CHECK(html::name(std::string(100, 'x')).starts_with("<bdi title=\"xxx"));
  CHECK(html::path("/some/where/picture.png", 12) ==
        "<bdi title=\"/some/where/picture.png\">\xe2\x80\xa6picture.png</bdi>");
  CHECK(html::path("a.png", 12) == "<bdi>a.png</bdi>");
  CHECK(html::fixed(3.14159, 2) == "3.14");
  CHECK(html::fixed(-0.0001, 2) == "0.00");
  CHECK(html::fixed(INFINITY, 2) == "\xe2\x80\x93");
  CHECK(html::shortest(0.00031) == "0.00031");
  CHECK(html::percent(0.8421) == "84.2\xc2\xa0%");
  CHECK(html::percent(0.0031) == "0.31\xc2\xa0%");
  CHECK(html::thousands(-1234567) == "-1,234,567");
  CHECK(html::counted(1, "image") == "1 image");
  CHECK(html::counted(1000, "image") == "1,000 images");
  const auto encoded = [](std::string_view words) {
    return html::png_uri(std::as_bytes(std::span(words))).substr(22);
  };
  CHECK(encoded("") == "");  // RFC 4648, section 10
  CHECK(encoded("f") == "Zg==");
  CHECK(encoded("fo") == "Zm8=");
  CHECK(encoded("foo") == "Zm9v");
  CHECK(encoded("foobar") == "Zm9vYmFy");
}

TEST_CASE("report charts: ticks are round and span what is shown") {
  CHECK(charts::ticks(0, 1, 4) == std::vector<double>{0, 0.5, 1});
  CHECK(charts::ticks(3, 3, 4).size() >= 2);
  for (const auto& [low, high] : {std::pair{0.0, 0.37},
                                  {0.61, 0.94},
                                  {0.0, 1e300},
                                  {-3.0, 5.0},
                                  {0.0, 1e-12},
                                  {1.0, 400.0},
                                  {0.0, 0.0}}) {
    CAPTURE(high);
    const std::vector<double> ticks = charts::ticks(low, high, 4);
    REQUIRE(ticks.size() >= 2);
    CHECK(ticks.size() <= 7);
    CHECK(ticks.front() <= low + 1e-9 * std::abs(low));
    CHECK(ticks.back() >= high - 1e-9 * std::abs(high));
  }
  CHECK_THROWS_AS(charts::ticks(2, 1, 4), Error);
}

TEST_CASE("report: what comes from outside stays words, and the page is well-formed") {
  const std::string page = report_page(hostile_report());
  CHECK(first_fault(page) == "");
  CHECK(page.find("<script") == std::string::npos);
  CHECK(page.find("<img src=x") == std::string::npos);
  CHECK(page.find("<!--") == std::string::npos);
  CHECK(page.find('\0') == std::string::npos);
  CHECK(page.find('\x1b') == std::string::npos);
  CHECK(page.find("&lt;script&gt;alert(1)&lt;/script&gt;") != std::string::npos);
  CHECK(page.find("default-src 'none'") != std::string::npos);
  for (const char* id : {"run", "curves", "confusion", "classes", "mistakes", "attention", "embedding"})
    CHECK(occurrences(page, text("<section id=\"{}\">", id)) == 1);
  // Nothing is fetched: addresses are data, and the one name of a host is words.
  for (size_t at = page.find("src=\""); at != std::string::npos; at = page.find("src=\"", at + 1))
    CHECK(page.compare(at + 5, 15, "data:image/png;") == 0);
  for (size_t at = page.find("href=\""); at != std::string::npos; at = page.find("href=\"", at + 1))
    CHECK(page[at + 6] == '#');
  CHECK(report_page(hostile_report()) == page);
  // The reader of pages finds faults.
  CHECK(first_fault("<html><b></html>") != "");
  CHECK(first_fault("<html>a < b</html>") != "");
  CHECK(first_fault("<html>a & b</html>") != "");
  CHECK(first_fault("<html a=\"x>") != "");
}

TEST_CASE("report: 2 to 400 classes, with numbers in the cells of few") {
  for (const int64_t classes : {2, 20, 21, 60, 61, 400}) {
    CAPTURE(classes);
    Report report;
    for (int64_t c = 0; c < classes; ++c) report.class_names.push_back(text("class {}", c));
    report.findings = made_up(classes, 3000);
    const std::vector<int64_t> counts = report.findings->confusion();
    const auto cells = static_cast<size_t>(std::ranges::count_if(counts, [](int64_t n) { return n > 0; }));
    const std::string page = report_page(report);
    CHECK(first_fault(page) == "");
    CHECK(occurrences(page, "<rect class=\"hit\"") + occurrences(page, "<rect class=\"miss\"") == cells);
    CHECK(occurrences(page, "<text class=\"count") == (classes <= 20 ? cells : 0));
    CHECK(occurrences(page, "role=\"row\"") == static_cast<size_t>(classes));
    CHECK(page.size() < 3'000'000);
  }
  CHECK_THROWS_AS(charts::confusion({1, 2, 3}, {"a", "b"}), Error);
  Report wrong = hostile_report();
  wrong.findings->predicted[3] = 100;
  CHECK_THROWS_WITH(report_page(wrong), "report: a class has no name");
  wrong.class_names.pop_back();
  CHECK_THROWS_AS(report_page(wrong), Error);
}

TEST_CASE("report: without epochs, pictures, mistakes or anything else") {
  Report report;
  report.title = "bare";
  report.without = "No <data>.";
  const std::string bare = report_page(report);
  CHECK(first_fault(bare) == "");
  CHECK(bare.find("No &lt;data&gt;.") != std::string::npos);
  CHECK(bare.find("id=\"confusion\"") == std::string::npos);
  report.class_names = {"a", "b"};
  Findings perfect;
  perfect.classes = 2;
  perfect.labels = perfect.predicted = {0};
  perfect.confidence = {1};
  report.findings = perfect;
  const std::string page = report_page(report);
  CHECK(first_fault(page) == "");
  CHECK(page.find("There is none") != std::string::npos);
  CHECK(page.find("no pictures") != std::string::npos);  // of class b
  report.findings->attention_error = 0.3;
  CHECK(report_page(report).find("differ from the model&#39;s own") ==
        std::string::npos);  // our own words need no escape
  CHECK(report_page(report).find("would not be those of the model") != std::string::npos);
}

TEST_CASE("examine: accuracy and loss are evaluate's, mistakes the most confident, maps the model's") {
  for (const bool swin : {false, true}) {
    CAPTURE(swin);
    const Backbone backbone = swin ? testing::small_swin() : testing::small_backbone();
    const auto dataset = open_dataset("synthetic:colors", Split::test);
    TunedConfig config{.prompts = {.count = 5}, .classes = dataset->classes(), .paper_head = true};
    const TunedModel model(backbone, config, 3);
    std::vector<int64_t> samples;
    for (int64_t i = 0; i < 90; ++i) samples.push_back(5 * i);
    const Preprocess preprocess = preprocess_of(backbone);
    int64_t pictures = 0, attended = 0, laid_out = 0;
    const Findings found = examine(
        {model, dataset, samples, preprocess}, {.mistakes = 7, .attended = 4, .embedded = 40, .batch = 32},
        [&](const std::string& what, int64_t done, int64_t all) {
          CHECK(done <= all);
          (what == "pictures" ? pictures : what == "attention" ? attended : laid_out) = done;
        });
    CHECK(pictures == 90);
    CHECK(attended == 4);
    CHECK(laid_out == 1000);
    const Evaluation expected = evaluate(model, dataset, samples, preprocess, 32, 1);
    CHECK(found.accuracy == expected.accuracy);
    CHECK(found.loss == expected.loss);
    REQUIRE(found.labels.size() == 90);
    for (size_t i = 0; i < samples.size(); ++i) CHECK(found.labels[i] == dataset->label(samples[i]));
    REQUIRE(found.mistakes.size() == 7);
    double most = 0;
    for (size_t i = 0; i < 90; ++i)
      if (found.labels[i] != found.predicted[i]) most = std::max(most, found.confidence[i]);
    CHECK(found.mistakes[0].confidence == most);
    for (size_t i = 0; i < 7; ++i) {
      CHECK(found.mistakes[i].label != found.mistakes[i].predicted);
      CHECK((i == 0 || found.mistakes[i].confidence <= found.mistakes[i - 1].confidence));
      CHECK(found.mistakes[i].picture.width == 32);
    }
    CHECK(found.embedding.pca.size() == 40);
    for (size_t i = 0; i < 40; ++i) CHECK(found.embedding.labels[i] == dataset->label(samples[i * 90 / 40]));
    CHECK(found.embedding.tsne.size() == 40);
    CHECK(found.embedding.perplexity == 13);
    CHECK(found.attention_error < 1e-5);
    REQUIRE(found.attention.size() == 4);
    CHECK(found.pools_class_token == !swin);
    for (const Findings::Attention& one : found.attention) {
      REQUIRE(one.maps.size() == 5);  // two blocks, three prompts
      for (const SeenMap& map : one.maps) {
        double sum = map.on_prompts + map.elsewhere;
        for (const double weight : map.weights) sum += weight;
        CHECK(sum == doctest::Approx(1).epsilon(1e-6));
        CHECK(map.weights.size() == static_cast<size_t>(map.rows * map.columns));
        CHECK(map.on_prompts > 0);
      }
      CHECK(one.maps[0].who == (swin ? "mean of all tokens" : "class token"));
      CHECK(one.maps[4].who.starts_with("prompt "));
      CHECK(one.maps[4].block == 3);
    }
    Report report;
    report.class_names = dataset->class_names();
    report.findings = found;
    CHECK(first_fault(report_page(report)) == "");
  }
}

TEST_CASE("examine: damaged pictures, prepared tensors, and what is refused") {
  const Backbone backbone = testing::small_backbone();
  const auto whole = open_dataset("synthetic:colors", Split::test);
  const TunedModel model(backbone, {.method = Method::linear, .prompts = {}, .classes = whole->classes()}, 3);
  const Preprocess preprocess = preprocess_of(backbone);
  const auto damaged = std::make_shared<testing::Damaged>(whole, [](int64_t i) { return i == 4; });
  std::vector<int64_t> samples{1, 2, 3, 4, 5, 6};
  const Findings found = examine({model, damaged, samples, preprocess}, {.mistakes = 2, .max_bad = 1});
  CHECK(found.labels.size() == 5);
  REQUIRE(found.bad.size() == 1);
  CHECK(found.bad[0] == "picture 4 is damaged");
  CHECK_THROWS_WITH(examine({model, damaged, samples, preprocess}),
                    "picture 4 is damaged; --max-bad N leaves such out");
  CHECK_THROWS_WITH(examine({model, whole, {}, preprocess}), "report: no pictures to look at");
  const TunedModel other(backbone, {.method = Method::linear, .prompts = {}, .classes = 2}, 3);
  CHECK_THROWS_AS(examine({other, whole, samples, preprocess}), Error);
  const Findings few = examine({model, whole, {1, 2}, preprocess}, {.mistakes = 0, .attended = 0});
  CHECK(few.mistakes.empty());
  CHECK(few.attention.empty());
  CHECK(few.embedding.pca.empty());
}

TEST_CASE("run files: metrics and record are read back, and what is not so is named") {
  const testing::Folder folder("run-files");
  const auto write = [&](const char* name, const std::string& content) {
    write_file_atomically(folder.path + "/" + name, std::as_bytes(std::span(content)));
  };
  CHECK(read_metrics(folder.path).empty());
  CHECK_FALSE(load_run_record(folder.path).has_value());
  RunRecord record{
      .version = "1.2", .data = "folder:\xff", .exif = true, .device = "cpu", .precision = "f32"};
  record.train_samples = 5;
  record.test_accuracy = 0.5;
  record.test_loss = 0.1;
  record.test_samples = 8;
  save_run_record(folder.path, record);
  const RunRecord back = load_run_record(folder.path).value();
  CHECK(back.version == "1.2");
  CHECK(back.data == "folder:\xef\xbf\xbd");
  CHECK(back.exif);
  CHECK(back.train_samples == 5);
  CHECK(back.test_accuracy == 0.5);
  CHECK(back.test_samples == 8);
  const std::string line =
      R"({"epoch":1,"step":4,"loss":2.5,"accuracy":0.25,"learning_rate":0.001,"val_loss":null,"seconds":1.5})";
  write("metrics.jsonl", line + "\n");
  const auto lines = read_metrics(folder.path);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].step == 4);
  CHECK(std::isnan(lines[0].val_loss.value()));
  CHECK_FALSE(lines[0].val_accuracy.has_value());
  const auto refused = [&](const char* name, const std::string& content, const std::string& words) {
    write(name, content);
    CAPTURE(content);
    CHECK_THROWS_WITH_AS((read_metrics(folder.path), load_run_record(folder.path)),
                         doctest::Contains(words.c_str()), Error);
  };
  refused("metrics.jsonl", line + "\n" + line + "\n", "line 2: epochs and steps do not rise");
  refused("metrics.jsonl", "{}\n", "line 1: has no 'epoch'");
  refused("metrics.jsonl", "{\"epoch\": -1}\n", "'epoch': expected a whole number");
  refused("metrics.jsonl", "[1]\n", "expected a JSON object");
  refused("metrics.jsonl", "{\"a\": [[[1]]]}\n", "nested too deeply");
  refused("metrics.jsonl", "{\"epoch\": 1", "line 1");
  write("metrics.jsonl", line + "\n");
  refused("run.json", "{\"format\": \"other\"}", "is not the record of a run");
  refused("run.json", "{\"format\": 3}", "'format': expected words");
  CHECK(words_of_json(R"({"b": 1, "a": "x"})", "here") ==
        std::vector<std::pair<std::string, std::string>>{{"b", "1"}, {"a", "x"}});
  CHECK_THROWS_WITH(words_of_json("[]", "here"), "here: expected a JSON object");
}

TEST_CASE("report of a run: its facts and curves") {
  const testing::Folder folder("report-run");
  const Backbone backbone = testing::small_backbone();
  TuneConfig config = testing::small_config();
  config.epochs = 2;
  tune(backbone, testing::small_data(backbone), config, folder.path, false, {});
  Task task;
  std::optional<RunRecord> record;
  const Report report = report_of_run(folder.path, &task, &record);
  CHECK_FALSE(record.has_value());
  CHECK(task.config.method == Method::vpt_deep);
  CHECK(report.title == "vitrine-tune-test-report-run");
  CHECK(report.epochs.size() == 2);
  CHECK(report.epochs[1].val_accuracy.has_value());
  CHECK(report.class_names == task.class_names);
  CHECK(std::ranges::any_of(report.settings,
                            [](const auto& s) { return s.first == "batch" && s.second == "16"; }));
  const std::string page = report_page(report);
  CHECK(first_fault(page) == "");
  CHECK(occurrences(page, "<path class=\"line") == 5);
  CHECK_THROWS_AS(report_of_run(folder.path + "/nothing"), Error);
}
