// sweep_folder_test.cpp: what a sweep's folder keeps, whatever the machine, other processes and other ledgers do to it.
#include "models/training/sweep_folder.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "models/training/sweep_data.h"
#include "models/training/table.h"
#include "sweep_runs.h"

namespace vitrine::testing {

namespace fs = std::filesystem;

namespace {

void write(const std::string& path, const std::string& words) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary | std::ios::trunc) << words;
}

// What a sweep says and does.
struct Watched {
  std::vector<std::string> notes, done;
  SweepHooks hooks;
  Watched() {
    hooks.note = [this](const std::string& words) { notes.push_back(words); };
    hooks.finished = [this](const LedgerLine& line, const SweepCounts&) { done.push_back(line.run); };
  }
  bool said(const std::string& words) const {
    return std::ranges::any_of(notes,
                               [&](const std::string& n) { return n.find(words) != std::string::npos; });
  }
};

std::vector<LedgerLine> lines_of_ledger(const std::string& folder) {
  return read_ledger(folder + "/ledger.jsonl");
}

std::string first_run(const SweepConfig& config) { return make_plan(config.plan).cells[0].search[0].name; }

}  // namespace

TEST_CASE("sweep folder: a copy of the ledger alone is gone on with, and no line of it is lost") {
  const Folder whole("folder-whole"), copy("folder-copy");
  Made made(whole.path);
  made.config.plan.tasks = {task_of("colors"), task_of("stripes")};
  sweep(made.config, {});
  const std::vector<std::string> all = without_times(whole.path + "/ledger.jsonl");
  REQUIRE(all.size() == 8);
  const std::string ledger = text_of(whole.path + "/ledger.jsonl");
  made.config.out = copy.path;
  Watched watched;
  SUBCASE("the same plan: nothing is done, once the pictures were compared") {
    write(copy.path + "/ledger.jsonl", ledger);
    CHECK(look_at_sweep(made.config).counts.done == 8);
    CHECK(!fs::exists(copy.path + "/runs"));  // looking makes nothing
    CHECK(sweep(made.config, watched.hooks).counts.done == 8);
    CHECK(watched.done.empty());
    CHECK(without_times(copy.path + "/ledger.jsonl") == all);
    CHECK(fs::exists(text("{}/runs/{}/result.json", copy.path, first_run(made.config))));
  }
  SUBCASE("another plan: lines of the folder and of a ledger stay, and the first plan goes on later") {
    std::vector<std::string> kept = all;
    made.config.plan.tasks = {task_of("shapes")};
    SUBCASE("of the folder") { write(copy.path + "/ledger.jsonl", ledger); }
    SUBCASE("of a ledger") { made.config.known = lines_of_ledger(whole.path); }
    CHECK(sweep(made.config, {}).counts.done == 4);
    std::vector<std::string> now = without_times(copy.path + "/ledger.jsonl");
    CHECK(now.size() == 12);
    for (const std::string& line : all) CHECK(std::ranges::find(now, line) != now.end());
    // Plans, too.
    std::vector<LedgerPlan> plans;
    read_ledger(copy.path + "/ledger.jsonl", &plans);
    CHECK(plans.size() == (made.config.known.empty() ? 2 : 1));
    made.config.known.clear();
    made.config.plan.tasks = {task_of("colors"), task_of("stripes")};
    CHECK(sweep(made.config, watched.hooks).counts.done == 8);
    CHECK(watched.done.empty());
    CHECK(without_times(copy.path + "/ledger.jsonl").size() == 12);
  }
  SUBCASE("a ledger that cannot be read is not written over") {
    write(copy.path + "/ledger.jsonl", ledger + "{\n");
    CHECK_THROWS_WITH_AS(sweep(made.config, {}), doctest::Contains("ledger.jsonl, line 10"), Error);
    CHECK(text_of(copy.path + "/ledger.jsonl") == ledger + "{\n");
  }
}

TEST_CASE("sweep folder: results of other pictures are set aside, kept, and count for nothing") {
  const Folder whole("folder-pictures"), other("folder-other-pictures");
  Made made(whole.path);
  sweep(made.config, {});
  std::vector<LedgerLine> lines = lines_of_ledger(whole.path);
  REQUIRE(lines.size() == 4);
  LedgerLine foreign = lines[0];
  foreign.data_digest = "other";
  foreign.score = 1;
  made.config.out = other.path;
  made.config.known = {foreign, lines[1]};
  SUBCASE("of another ledger") {}
  SUBCASE("of the folder's own") {
    write(other.path + "/ledger.jsonl", to_json(foreign) + "\n" + to_json(lines[1]) + "\n");
    made.config.known.clear();
  }
  // Looking tells it, too, and changes nothing.
  const SweepLook look = look_at_sweep(made.config);
  CHECK(look.tasks[0].set_aside == 1);
  CHECK(look.counts.done == 1);
  CHECK(!fs::exists(other.path + "/runs"));
  Watched watched;
  const SweepResult result = sweep(made.config, watched.hooks);
  CHECK(result.failures.empty());
  CHECK(result.counts.done == 4);
  CHECK(watched.done.size() == 3);  // the second line was of these pictures
  CHECK(watched.said("task 'colors': 1 run of the ledger had other pictures"));
  std::vector<LedgerLine> now = lines_of_ledger(other.path);
  REQUIRE(now.size() == 5);
  CHECK(now[4].other_pictures);
  now[4].other_pictures = false;
  CHECK(to_json(now[4]) == to_json(foreign));
  std::vector<std::string> own = without_times(other.path + "/ledger.jsonl");
  own.pop_back();
  CHECK(own == without_times(whole.path + "/ledger.jsonl"));
  // Later sweeps leave it where it is, without a word.
  made.config.known.clear();
  Watched again;
  CHECK(sweep(made.config, again.hooks).counts.done == 4);
  CHECK(again.done.empty());
  CHECK(!again.said("other pictures"));
  CHECK(look_at_sweep(made.config).tasks[0].set_aside == 0);
  CHECK(lines_of_ledger(other.path).size() == 5);
  // Results that were made here of other pictures stop their task: something has changed underneath.
  const std::string result_file = text("{}/runs/{}/result.json", other.path, first_run(made.config));
  write(result_file, to_json(foreign));
  made.config.plan.methods = {"linear", "vpt-deep"};
  const SweepResult mixed = sweep(made.config, {});
  REQUIRE(mixed.failures.size() == 1);
  CHECK(mixed.failures[0].find("its pictures are not those") != std::string::npos);
  CHECK(mixed.failures[0].find("take another folder, or move '") != std::string::npos);
}

TEST_CASE("sweep folder: what is done of other pictures is not taken for done") {
  const Folder folder("folder-done"), seeded("folder-done-seeded");
  Made made(folder.path);
  const std::string pictures = folder.path + "/pictures";
  // 1 x 1 BMPs, all of one size.
  const auto draw = [&](int shade) {
    for (const char* split : {"train", "test"})
      for (int c = 0; c < 2; ++c)
        for (int i = 0; i < 4; ++i) {
          const std::string where = text("{}/{}/{}", pictures, split, c);
          fs::create_directories(where);
          std::string bmp = std::string("BM") + std::string(56, '\0');
          bmp[2] = 58;
          bmp[10] = 54;
          bmp[14] = 40;
          bmp[18] = bmp[22] = bmp[26] = 1;
          bmp[28] = 24;
          bmp[54] = static_cast<char>(shade + 10 * i + 40 * c);
          write(text("{}/{}.bmp", where, i), bmp);
        }
  };
  draw(0);
  made.config.plan.tasks[0].data = "folder:" + pictures;
  made.config.plan.tasks[0].train_limit = 8;
  CHECK(sweep(made.config, {}).failures.empty());
  CHECK(sweep(made.config, {}).counts.done == 4);
  const std::vector<LedgerLine> lines = lines_of_ledger(folder.path);

  draw(7);
  SweepResult result = sweep(made.config, {});
  REQUIRE(result.failures.size() == 1);
  CHECK(result.failures[0].find("its pictures are not those of run") != std::string::npos);
  CHECK(look_at_sweep(made.config).tasks[0].problem.find("its pictures are not those") != std::string::npos);
  // Nor are lines of another ledger.
  Made other(seeded.path);
  other.config.plan.tasks = made.config.plan.tasks;
  other.config.known = lines;
  Watched watched;
  CHECK(sweep(other.config, watched.hooks).failures.empty());
  CHECK(watched.done.size() == 4);
  CHECK(watched.said("runs of the ledger had other pictures"));
  // Which are kept there, set aside.
  const std::vector<LedgerLine> kept = lines_of_ledger(seeded.path);
  CHECK(kept.size() == 8);
  CHECK(std::ranges::count(kept, true, &LedgerLine::other_pictures) == 4);
  CHECK(sweep(other.config, {}).failures.empty());
  CHECK(lines_of_ledger(seeded.path).size() == 8);
  CHECK(compare(kept).rows[0].all.seeds == 2);
  // What is done to its end needs no pictures any more.
  draw(0);
  fs::rename(pictures, folder.path + "/gone");
  Watched gone;
  result = sweep(made.config, gone.hooks);
  CHECK(result.failures.empty());
  CHECK(result.counts.done == 4);
  CHECK(gone.said("all of its runs are done"));
  const SweepLook look = look_at_sweep(made.config);
  CHECK(look.tasks[0].gone);
  CHECK(look.counts.done == 4);
  made.config.plan.seeds = 3;
  CHECK(!look_at_sweep(made.config).tasks[0].gone);
}

TEST_CASE("sweep folder: a plan that is removed is given up, and a ledger that contradicts is told") {
  const Folder folder("folder-given-up");
  Made made(folder.path);
  sweep(made.config, {});
  std::vector<LedgerLine> lines = lines_of_ledger(folder.path);
  made.config.plan.methods = {"vpt-deep"};
  SweepHooks none;
  none.stop = [] { return true; };
  CHECK(sweep(made.config, none).stopped);
  const auto plans = [&] {
    std::vector<LedgerPlan> all;
    read_ledger(folder.path + "/ledger.jsonl", &all);
    return all;
  };
  REQUIRE(plans().size() == 2);
  for (const LedgerPlan& plan : plans())
    if (plan.methods[0].method == "vpt-deep") fs::remove(text("{}/plans/{}.json", folder.path, plan.name()));
  made.config.plan.methods = {"linear"};
  sweep(made.config, {});
  REQUIRE(plans().size() == 1);
  CHECK(plans()[0].methods[0].method == "linear");

  lines[0].seconds += 1;
  made.config.known = {lines[0]};
  Watched quiet;
  sweep(made.config, quiet.hooks);
  CHECK(!quiet.said("another result"));
  lines[0].score = lines[0].score > 0.5 ? 0 : 1;
  made.config.known = {lines[0]};
  Watched watched;
  sweep(made.config, watched.hooks);
  CHECK(watched.said(text("run {}: a ledger has another result than was here before", lines[0].run)));

  // One that was kept under another group's name is no other result.
  made.config.known.clear();
  made.config.plan.tasks[0].group = "moved";
  Watched moved;
  sweep(made.config, moved.hooks);
  CHECK(moved.notes.empty());
  CHECK(lines_of_ledger(folder.path)[0].group == "moved");
  made.config.out.clear();
  CHECK_THROWS_WITH_AS(sweep(made.config, {}), "sweep: expected a folder, got none", Error);
}

TEST_CASE("sweep: sizes beyond what a task has are left out") {
  const Folder folder("sweep-sizes");
  Made made(folder.path);
  made.config.plan.tasks[0].data = "mini:count";
  made.config.plan.train_sizes = {16, 100000};
  const SweepLook look = look_at_sweep(made.config);
  REQUIRE(look.tasks.size() == 2);
  CHECK(!look.tasks[0].too_few);
  CHECK(look.tasks[1].too_few);
  CHECK(look.counts.runs == 4);
  made.config.out.clear();
  CHECK(look_at_sweep(made.config).counts.runs == 4);
  made.config.plan.train_sizes = {16, 16};
  CHECK_THROWS_WITH_AS(make_plan(made.config.plan), "sweep: the size 16 is there twice", Error);
}

TEST_CASE("sweep folder: what the machine lacks ends the sweep and is nobody's result") {
  const Folder whole("folder-sound"), folder("folder-full-disk");
  Made made(whole.path);
  made.config.plan.methods = {"vpt-deep"};
  sweep(made.config, {});
  made.config.out = folder.path;
  const std::string run = make_plan(made.config.plan).cells[0].search[1].name;
  // The run cannot write: a folder stands where its metrics would be.
  const std::string in_the_way = text("{}/runs/{}/state/metrics.jsonl/x", folder.path, run);
  fs::create_directories(in_the_way);
  Watched watched;
  try {
    sweep(made.config, watched.hooks);
    FAIL("it did not end");
  } catch (const Error& e) {
    CHECK(e.fault() == Fault::output);
    CHECK(std::string(e.what()).find(text("vpt-deep on colors (run {}): ", run)) != std::string::npos);
  }
  CHECK(watched.done.size() == 1);
  CHECK(lines_of_ledger(folder.path).size() == 1);
  CHECK(!fs::exists(text("{}/runs/{}/result.json", folder.path, run)));
  fs::remove_all(text("{}/runs/{}/state/metrics.jsonl", folder.path, run));
  CHECK(sweep(made.config, {}).counts.done == 4);
  CHECK(without_times(folder.path + "/ledger.jsonl") == without_times(whole.path + "/ledger.jsonl"));
}

TEST_CASE("sweep folder: a search with a run that failed is not decided") {
  const Folder folder("folder-undecided");
  Made made(folder.path);
  const Plan plan = make_plan(made.config.plan);
  sweep(made.config, {});
  const std::vector<LedgerLine> lines = lines_of_ledger(folder.path);
  LedgerLine failed = lines[1];
  failed.failed = "a picture is damaged";
  SUBCASE("failed") {
    for (const auto& seeds : plan.cells[0].finals)
      for (const PlannedRun& run : seeds) fs::remove_all(text("{}/runs/{}", folder.path, run.name));
    fs::remove(folder.path + "/ledger.jsonl");
    write(text("{}/runs/{}/result.json", folder.path, failed.run), to_json(failed));
    Watched watched;
    const SweepResult result = sweep(made.config, watched.hooks);
    CHECK(watched.done.empty());
    CHECK(result.counts.runs == 2);
    CHECK(result.failures.size() == 1);
    made.config.retry_failed = true;
    CHECK(sweep(made.config, {}).counts.done == 4);
  }
}

TEST_CASE("sweep folder: whoever writes the ledger last knows what others did again") {
  const Folder folder("folder-stale");
  Made made(folder.path);
  sweep(made.config, {});
  const std::vector<LedgerLine> lines = lines_of_ledger(folder.path);
  LedgerLine failed = lines[0];
  failed.failed = "a picture is damaged";
  write(text("{}/runs/{}/result.json", folder.path, failed.run), to_json(failed));
  fs::remove(folder.path + "/ledger.jsonl");
  const Plan plan = make_plan(made.config.plan);
  SweepFolder old(folder.path, plan);
  REQUIRE(old.result(failed.run) != nullptr);
  CHECK(!old.result(failed.run)->complete());
  {
    SweepFolder other(folder.path, plan);
    other.forget_failed();
    const auto lock = other.take(failed.run);
    REQUIRE(lock != nullptr);
    other.finish(lines[0], false);
  }
  CHECK(old.write_ledger());
  for (const LedgerLine& line : lines_of_ledger(folder.path)) CHECK(line.complete());
  CHECK(old.result(failed.run)->complete());
}

TEST_CASE("sweep folder: a ledger that somebody holds is waited for, aloud, but not for ever") {
  const Folder folder("folder-held");
  Made made(folder.path);
  const Plan plan = make_plan(made.config.plan);
  std::vector<std::string> notes;
  SweepFolder own(folder.path, plan, [&](const std::string& words) { notes.push_back(words); });
  {
    const FileLock held(folder.path + "/ledger.lock");
    int asked = 0;
    CHECK(!own.write_ledger([&] { return ++asked > 3; }));
    CHECK(asked == 4);
    REQUIRE(notes.size() == 1);
    CHECK(notes[0].find("ledger.lock', which another process holds") != std::string::npos);
    own.write_ledger_if_late();
    CHECK(!fs::exists(folder.path + "/ledger.jsonl"));
    // So does a sweep that is told to stop.
    SweepHooks hooks;
    hooks.stop = [] { return true; };
    CHECK(sweep(made.config, hooks).stopped);
  }
  CHECK(own.write_ledger());
  CHECK(fs::exists(folder.path + "/ledger.jsonl"));
}

TEST_CASE(
    "sweep folder: a result that cannot be read is told with a way out, or left out if it is of another "
    "plan") {
  const Folder folder("folder-damaged");
  Made made(folder.path);
  sweep(made.config, {});
  const std::vector<std::string> whole = without_times(folder.path + "/ledger.jsonl");
  const std::string run = first_run(made.config), path = text("{}/runs/{}/result.json", folder.path, run),
                    sound = text_of(path);
  for (const std::string& words :
       {std::string(), sound.substr(0, 100), std::string(300, '\0'), "{\"ledger\":2}" + sound,
        text("{\"x\":{}{}}", std::string(200'000, '['), std::string(200'000, ']'))}) {
    write(path, words);
    const std::string ledger = text_of(folder.path + "/ledger.jsonl");
    CHECK_THROWS_WITH_AS(sweep(made.config, {}), doctest::Contains("result.json: "), Error);
    CHECK_THROWS_WITH_AS(sweep(made.config, {}), doctest::Contains("--retry puts it aside"), Error);
    Made other(folder.path);
    other.config.plan.methods = {"mlp-2"};
    Watched watched;
    CHECK(sweep(other.config, watched.hooks).failures.empty());
    CHECK(watched.said("result.json: "));
    CHECK(watched.said("; it is left out"));
    // Its line in the ledger stays.
    CHECK(text_of(folder.path + "/ledger.jsonl").find(run) != std::string::npos);
    made.config.retry_failed = true;
    CHECK(sweep(made.config, {}).counts.done == 4);
    made.config.retry_failed = false;
    std::vector<std::string> now = without_times(folder.path + "/ledger.jsonl");
    now.resize(4);
    CHECK(now == whole);
    CHECK(fs::exists(text("{}/runs/{}/unreadable.json", folder.path, run)));
  }
}

TEST_CASE("sweep folder: a class that no image to learn from shows is told once, and the task is run") {
  const Folder folder("folder-lacking");
  for (const std::string list : {"train800.txt 0 1 3", "val200.txt 0 1 3", "test.txt 0 1 2 3"}) {
    const size_t blank = list.find(' ');
    std::string lines;
    for (size_t i = blank + 1; i < list.size(); i += 2)
      for (int n = 0; n < 4; ++n) {
        const std::string name = text("{}{}{}.bmp", list[0], list[i], n);
        std::string bmp(58, '\0');
        bmp[0] = 'B', bmp[1] = 'M', bmp[2] = 58, bmp[10] = 54, bmp[14] = 40, bmp[18] = bmp[22] = bmp[26] = 1;
        bmp[28] = 24;
        bmp[54] = static_cast<char>(40 * (list[i] - '0') + n);
        write(text("{}/data/images/{}", folder.path, name), bmp);
        lines += text("{} {}\n", name, list[i]);
      }
    write(text("{}/data/{}", folder.path, list.substr(0, blank)), lines);
  }
  Made made(folder.path + "/out");
  SuiteTask task = task_of("lacking");
  task.data = "vtab:" + folder.path + "/data";
  task.metric = Metric::mean_class;
  task.train_limit.reset();
  made.config.plan.tasks = {task};
  made.config.plan.methods = {"linear", "vpt-deep"};
  Watched watched;
  const SweepResult result = sweep(made.config, watched.hooks);
  CHECK(result.failures.empty());
  CHECK(result.counts.done == 8);
  CHECK(watched.notes ==
        std::vector<std::string>{"task 'lacking': 1 of 4 classes has no training images: '2'"});
  for (const LedgerLine& line : read_ledger(result.ledger)) {
    CHECK(line.complete());
    CHECK(line.classes == 4);
    CHECK(line.asked_images == (line.stage == Stage::search ? 12 : 16));
  }
}

}  // namespace vitrine::testing
