// suite_test.cpp: suites from TOML, all that may be wrong in them, and the committed ones.
#ifdef VITRINE_FILES

#include "data/suite.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "data/mini.h"
#include "tests/data_files.h"

using namespace vitrine;
using namespace files;

namespace {

// A variable of the environment, as long as this lives.
class Environment {
 public:
  Environment(const std::string& name, const std::string& value) : name_(name) {
    setenv(name.c_str(), value.c_str(), 1);
  }
  ~Environment() { unsetenv(name_.c_str()); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::string name_;
};

const std::string start = "name = \"x\"\n[[task]]\nname = \"a\"\ndata = \"mini:count\"\n";

std::string refused(const std::string& toml) {
  return message_of([&] { read_suite_text(toml, "/suites"); });
}
std::string data_of(const std::string& data) {
  return read_suite_text("name = \"x\"\n[[task]]\nname = \"a\"\ndata = \"" + data + "\"\n", "/suites")
      .tasks.at(0)
      .data;
}

}  // namespace

TEST_CASE("suites: studies say what is done with tasks, which may be another suite's") {
  const TemporaryFolder folder;
  folder.write("tasks.toml", bytes_of(start + "[[task]]\nname = \"b\"\ndata = \"folder:pictures\"\n"));
  const auto study = [&](const std::string& more, const std::string& name = "study.toml") {
    folder.write(name, bytes_of("name = \"study\"\n" + more));
    return read_suite(folder / name);
  };
  const auto refused_study = [&](const std::string& more) { return message_of([&] { study(more); }); };
  const std::string of = "tasks_of = \"tasks.toml\"\n";
  const Suite suite = study(of + R"(
    [[task]]
    name = "c"
    data = "mini:cells"
    [[sweep]]
    methods = ["linear", "full"]
    lr = [3e-3, 1, 0.5]
    prompt-shared = true
    [[sweep]]
    seeds = 5
    prompt-blocks = "1-3"
  )");
  REQUIRE(suite.tasks.size() == 3);
  CHECK(suite.tasks[0].name == "a");
  CHECK(suite.tasks[1].data == "folder:" + (folder / "pictures"));  // beside the suite that names it
  CHECK(suite.tasks[2].name == "c");
  REQUIRE(suite.sweeps.size() == 2);
  const auto options = [](std::vector<SuiteOption> in) {
    std::ranges::sort(in);
    return in;
  };
  CHECK(options(suite.sweeps[0]) == std::vector<SuiteOption>{{"lr", "0.003,1,0.5"},
                                                             {"methods", "linear,full"},
                                                             {"prompt-shared", std::nullopt}});
  CHECK(options(suite.sweeps[1]) == std::vector<SuiteOption>{{"prompt-blocks", "1-3"}, {"seeds", "5"}});
  CHECK(study(of).sweeps.empty());

  CHECK(says(refused_study(of + "sweep = 1"), "expected 'sweep' to be tables"));
  for (const char* wrong : {"flag = false", "lr = []", "lr = [[1]]", "lr = [true]", "lr = \"\"", "lr = {}"})
    CHECK(says(refused_study(of + "[[sweep]]\n" + wrong), "sweep 1: expected '"));
  CHECK(says(refused_study(of + "[[sweep]]\n[[sweep]]\n--lr = 1"), "sweep 2: expected names of options"));
  CHECK(says(refused_study(of + "[[sweep]]\n\"a b\" = 1"), "expected names of options"));
  CHECK(says(refused_study(of + start.substr(11)), "two tasks have the name 'a'"));
  CHECK(says(refused_study("tasks_of = \"none.toml\""), "none.toml"));
  CHECK(says(refused_study("tasks_of = \"study.toml\""), "to come to an end"));
  CHECK(says(refused_study("tasks_of = 3"), "expected 'tasks_of' to be words"));
}

TEST_CASE("suites: what is given, and what is taken for granted") {
  const Suite suite = read_suite_text(R"(
    name = "two tasks"  # a remark
    [[task]]
    name = "flowers"
    data = "folder:pictures/flowers"
    group = "natural"
    train_limit = 1_000
    val = 200
    classes = 5
    metric = "mean-class"
    resize = "squash"
    augment = ["crop", "flip"]
    [[task]]
    name = "zählen"
    data = "mini:count"
  )",
                                      "/suites");
  CHECK(suite.name == "two tasks");
  REQUIRE(suite.tasks.size() == 2);
  const SuiteTask &first = suite.tasks[0], &second = suite.tasks[1];
  CHECK(first.name == "flowers");
  CHECK(first.group == "natural");
  CHECK(first.data == "folder:/suites/pictures/flowers");
  CHECK(first.train_limit == 1000);
  CHECK(first.val == 200);
  CHECK(first.classes == 5);
  CHECK(first.metric == Metric::mean_class);
  CHECK(first.resize == ResizeMode::squash);
  CHECK(first.augment.flip);
  CHECK(first.augment.crop);
  CHECK(!first.augment.shift);
  CHECK(second.name == "zählen");
  CHECK(second.group == "tasks");
  CHECK(second.data == "mini:count");
  CHECK(!second.train_limit);
  CHECK(!second.val);
  CHECK(!second.classes);
  CHECK(second.metric == Metric::top1);
  CHECK(second.resize == ResizeMode::own);
  CHECK(!second.augment.changes_anything());
  for (const Metric metric : {Metric::top1, Metric::top5, Metric::mean_class})
    CHECK(read_suite_text(start + "metric = \"" + name_of(metric) + "\"", "").tasks[0].metric == metric);
  CHECK(read_suite_text(start + "augment = [\"shift\"]", "").tasks[0].augment.shift);
}

TEST_CASE("suites: a byte order mark at the beginning is passed over") {
  const Suite suite = read_suite_text("\xEF\xBB\xBF" + start, "/suites");
  CHECK(suite.name == "x");
  CHECK(suite.tasks.size() == 1);
  CHECK(says(refused(start + "\xEF\xBB\xBF"), "malformed TOML"));
}

TEST_CASE("suites: places and the environment") {
  const Environment absolute("VITRINE_TEST_A", "/data"), relative("VITRINE_TEST_B", "here"),
      empty("VITRINE_TEST_C", "");
  CHECK(data_of("folder:x") == "folder:/suites/x");
  CHECK(data_of("folder:/x") == "folder:/x");
  CHECK(data_of("tensors:../x.safetensors") == "tensors:/suites/../x.safetensors");
  CHECK(data_of("vtab:$VITRINE_TEST_A/dtd") == "vtab:/data/dtd");
  CHECK(data_of("vtab:${VITRINE_TEST_A}2/dtd") == "vtab:/data2/dtd");
  CHECK(data_of("vtab:$VITRINE_TEST_B/dtd") == "vtab:here/dtd");  // as the shell would
  CHECK(data_of("vtab:x/$VITRINE_TEST_B") == "vtab:/suites/x/here");
  CHECK(data_of("folder:$$5") == "folder:/suites/$5");
  for (const std::string bad :
       {"folder:$", "folder:${", "folder:${}", "folder:${VITRINE_TEST_A", "folder:$1", "folder:$-"})
    CHECK(says(message_of([&] { data_of(bad); }), "task 'a': expected $NAME, ${NAME} or $$ in 'folder:$"));
  CHECK(says(message_of([&] { data_of("folder:$VITRINE_TEST_UNSET/x"); }),
             "needs the environment variable VITRINE_TEST_UNSET, which is not set"));
  CHECK(says(message_of([&] { data_of("folder:$VITRINE_TEST_C/x"); }),
             "VITRINE_TEST_C, which is not set"));  // it is empty
  CHECK(says(message_of([&] { data_of("foldr:x"); }), "task 'a': data set: unknown scheme 'foldr'"));
  CHECK(says(message_of([&] { data_of("folder"); }), "expected 'folder:DIR'"));
}

TEST_CASE("suites: what is wrong is named") {
  CHECK(says(refused(""), "missing key 'name'"));
  CHECK(says(refused("name = \"x\""), "expected at least one [[task]]"));
  CHECK(says(refused("name = \"x\"\ntask = []"), "expected at least one [[task]]"));
  CHECK(says(refused("name = \"x\"\ntask = 3"), "expected 'task' to be tables"));
  CHECK(says(refused("name = \"x\"\n[task]\nname = \"a\""), "expected 'task' to be tables"));
  CHECK(says(refused("name = \"x\"\ntask = [1]"), "expected 'task' to be tables"));
  CHECK(says(refused("name = 3\n"), "expected 'name' to be words in quotes"));
  CHECK(says(refused("nmae = \"x\"\n"), "line 1: unknown key 'nmae'; did you mean 'name'?"));
  CHECK(says(refused("name = \"x\"\n[[tasks]]\n"), "unknown key 'tasks'; did you mean 'task'?"));
  CHECK(says(refused("name = \"x\"\n[[task]]\ndata = \"mini:count\""), "task 1: missing key 'name'"));
  CHECK(says(refused("name = \"x\"\n[[task]]\nname = \"a\""), "task 'a': missing key 'data'"));
  CHECK(says(refused(start + "metrc = \"top5\""),
             "task 'a', line 5: unknown key 'metrc'; did you mean 'metric'?"));
  CHECK(says(refused(start + "metric = \"top6\""),
             "unknown metric 'top6'; known are top1, top5, mean-class; did you mean 'top1'?"));
  CHECK(says(refused(start + "metric = 5"), "expected 'metric' to be words"));
  CHECK(says(refused(start + "resize = \"squish\""), "did you mean 'squash'?"));
  CHECK(says(refused(start + "augment = \"flip\""), "expected 'augment' to be a list"));
  CHECK(says(refused(start + "augment = [1]"), "expected 'augment' to be a list"));
  CHECK(says(refused(start + "augment = [\"flop\"]"), "did you mean 'flip'?"));
  CHECK(says(refused(start + "augment = [\"flip\", \"flip\"]"), "'flip' is twice in 'augment'"));
  CHECK(says(refused(start + "augment = [\"crop\", \"shift\"]"),
             "expected 'crop' or 'shift' in 'augment', got both"));
  for (const std::string key : {"train_limit", "val", "classes"})
    for (const std::string value : {"0", "-3", "1.0", "\"3\"", "true", "[3]", "9223372036854775807"})
      CHECK(
          says(refused(start + key + " = " + value), "expected '" + key + "' to be a whole number of 1 to"));
  CHECK(
      says(refused(start + "train_limit = 100\nval = 100"), "expected 'val' to be less than 'train_limit'"));
  CHECK(
      says(refused(start + "[[task]]\nname = \"a\"\ndata = \"mini:count\""), "two tasks have the name 'a'"));
  CHECK(says(refused("name = \"x\"\n[[task]]\nname = \"\"\ndata = \"mini:count\""),
             "expected 'name' to be words"));
  CHECK(says(refused("name = \"x\"\n[[task]]\nname = \"a\\u0007b\"\ndata = \"mini:count\""),
             "no control characters, got 'a\\x07b'"));
  CHECK(
      says(refused("name = \"x\"\n[[task]]\nname = \"" + std::string(101, 'a') + "\"\ndata = \"mini:count\""),
           "at most 100 bytes"));
}

TEST_CASE("suites: text that is no TOML, or made to do harm") {
  for (const std::string bad :
       {"name", "name = ", "name = x", "name = \"x", "[[task", "name = \"x\"\nname = \"y\"", "= 3"}) {
    CAPTURE(bad);
    CHECK(says(refused(bad), "malformed TOML: "));
  }
  CHECK(says(refused("name = \"x\"\n\n[[task]]\nname = \"a\"\nname = \"b\""), "line 5: malformed TOML"));
  CHECK(says(refused("name = \"caf\xe9\""), "expected UTF-8"));
  CHECK(says(refused(std::string("name = \"x\"\n\0", 12)), "malformed TOML"));
  CHECK(says(refused("# " + std::string(1 << 20, 'x')), "expected at most 1048576 bytes"));
  // Beyond ASCII, where the parser cannot be trusted with it.
  CHECK(says(refused("nam\u00e9 = 3"), "malformed TOML"));
  CHECK(says(refused("\"nam\u00e9\" = 3"), "line 1: unknown key 'nam\u00e9'"));
  CHECK(says(refused(start + "augment = [\"fl\u00efp\"]"), "unknown augment 'fl\u00efp'"));
  CHECK(read_suite_text("name = '~ \u3000\u00e9~ab\u1680'\n" + start.substr(start.find("[[")), "").name ==
        "~ \u3000\u00e9~ab\u1680");
  CHECK(read_suite_text("name = \"\\u00e9~\"\n" + start.substr(start.find("[[")), "").name == "\u00e9~");
  CHECK(says(refused("name = \"\\u007epp\""), "expected 'name' to be UTF-8"));
  // Deep nesting, by keys and by values, in one line and over several.
  std::string dots = "a", brackets(100'000, '['), tables, lines;
  for (int i = 0; i < 100'000; ++i) dots += ".a";
  for (int i = 0; i < 20'000; ++i) tables += "a = { a.b = ";
  for (int i = 0; i < 20'000; ++i) lines += "[\n";
  CHECK(says(refused(dots + " = 1"), "line 1: expected at most 100 dots in a line"));
  CHECK(says(refused("x = " + brackets), "malformed TOML"));
  CHECK(says(refused("x = " + lines), "malformed TOML"));
  CHECK(says(refused(tables), "line 1"));
  std::string wide = "name = \"x\"\n";
  for (int i = 0; i < 1001; ++i)
    wide += "[[task]]\nname = \"" + std::to_string(i) + "\"\ndata = \"mini:count\"\n";
  CHECK(says(refused(wide), "at most 1000"));
  // Every beginning of a sound file, and every byte of it replaced: an error or a suite, nothing else.
  for (size_t length = 0; length < start.size(); ++length) try {
      read_suite_text(start.substr(0, length), "");
    } catch (const Error&) {
    }
  for (size_t i = 0; i < start.size(); ++i)
    for (const char c : {'"', '\\', '[', ']', '{', '.', '\n', '=', '\'', '\xff', '\x01'}) {
      std::string changed = start;
      changed[i] = c;
      try {
        read_suite_text(changed, "");
      } catch (const Error&) {
      }
    }
}

TEST_CASE("suites: files, and their classes on opening") {
  const TemporaryFolder folder;
  folder.write("a/1.png", encode_png(random_image(3, 2, 1)));
  folder.write("b/1.png", encode_png(random_image(3, 2, 2)));
  folder.write("suites/x.toml",
               bytes_of("name = \"x\"\n[[task]]\nname = \"t\"\ndata = \"folder:..\"\nclasses = 3\n"));
  std::filesystem::create_directory(folder / "c");
  folder.write("c/1.png", encode_png(random_image(3, 2, 3)));
  std::filesystem::rename(folder / "suites", folder / ".suites");  // no class
  const Suite suite = read_suite(folder / ".suites/x.toml");
  CHECK(open_dataset(suite.tasks.at(0), Split::train)->classes() == 3);
  std::filesystem::remove_all(folder / "c");
  CHECK(says(message_of([&] { open_dataset(suite.tasks.at(0), Split::train); }),
             "task 't': expected 3 classes, folder:"));
  CHECK(says(message_of([&] { read_suite(folder / "none.toml"); }), "none.toml"));
  CHECK(says(message_of([&] { read_suite(folder.str()); }), folder.str()));
  folder.write("bad.toml", bytes_of("nmae = 3"));
  CHECK(says(message_of([&] { read_suite(folder / "bad.toml"); }),
             "suite '" + (folder / "bad.toml") + "', line 1: unknown key"));
}

TEST_CASE("the committed suites are what they say") {
  const std::string folder = VITRINE_SUITES;
  std::map<std::string, std::map<std::string, int64_t>> groups;  // of each suite: how many tasks
  const Environment vtab("VTAB", "/nowhere"), fgvc("FGVC", "/nowhere"), assets("ASSETS", "/nowhere");
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_directory()) continue;
    const Suite suite = read_suite(entry.path().string());
    CHECK(suite.sweeps.empty());
    for (const SuiteTask& task : suite.tasks) {
      ++groups[suite.name][task.group];
      CHECK(task.classes.has_value());
    }
  }
  using Counts = std::map<std::string, int64_t>;
  REQUIRE(groups.size() == 4);
  CHECK(groups["mini-VTAB"] == Counts{{"natural", 3}, {"specialised", 2}, {"structured", 4}});
  CHECK(groups["VTAB-1k"] == Counts{{"natural", 7}, {"specialised", 4}, {"structured", 8}});
  CHECK(groups["FGVC"] == Counts{{"FGVC", 5}});
  CHECK(groups["photographs"] == Counts{{"photographs", 4}});
  // Studies, by how many sweeps they have; their tasks are those of a suite.
  std::map<std::string, size_t> sweeps;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/studies")) {
    const Suite study = read_suite(entry.path().string());
    sweeps[entry.path().stem().string()] = study.sweeps.size();
    CHECK(study.tasks.size() == (study.name == "photographs" ? 4 : 9));
  }
  CHECK(sweeps == std::map<std::string, size_t>{{"ablations", 22},
                                                {"figure-3", 1},
                                                {"figure-4", 2},
                                                {"lengths", 1},
                                                {"photographs", 4},
                                                {"table-1", 2},
                                                {"table-1-swin", 3}});
  // Each mini task is in the suite, and has the classes that the suite expects.
  std::set<std::string> drawn;
  for (const SuiteTask& task : read_suite(folder + "/mini-vtab.toml").tasks) {
    if (!task.data.starts_with("mini:")) continue;
    drawn.insert(task.data.substr(5));
    CHECK_NOTHROW(open_dataset(task, Split::train_val));
  }
  const auto names = mini_names();
  CHECK(drawn == std::set<std::string>(names.begin(), names.end()));
}

#endif
