// sweep.cpp: `vitrine sweep`. Says what it is about to do, lets models/training/sweep.h do it, and says how it went.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "commands.h"
#include "data/dataset.h"
#include "engine/parallel.h"
#include "engine/text.h"
#include "models/methods.h"
#include "models/training/ledgers.h"
#include "models/training/sweep.h"
#include "signals.h"

namespace vitrine::cli {

namespace {

// The backbone as each method wants it (commands.h: placed): packed, or on a device in one precision or another. Placed
// when it is first wanted; full tuning computes in f32, whatever precision was asked for.
class Backbones {
 public:
  Backbones(const Backbone& opened, const Placement& place) : opened_(opened), place_(place) {}
  Precision precision(Method method) const { return placement(method).precision(trains_inside(method)); }
  const Backbone& of(Method method) const {
    const auto [found, fresh] = placed_.try_emplace({precision(method), method == Method::full});
    if (fresh) found->second = placed(opened_, placement(method), method);
    return found->second;
  }

 private:
  Placement placement(Method method) const {
    Placement out = place_;
    if (method == Method::full) out.given = Precision::f32;
    return out;
  }
  const Backbone& opened_;
  const Placement& place_;
  mutable std::map<std::pair<Precision, bool>, Backbone> placed_;
};

// "synthetic:shapes" is the task shapes.
SuiteTask task_of_data(const std::string& data) {
  SuiteTask task;
  std::string where = data.substr(data.find(':') + 1);
  while (where.size() > 1 && where.back() == '/') where.pop_back();
  task.name = where.substr(where.rfind('/') + 1);
  task.group = "tasks";
  task.data = data;
  return task;
}

std::vector<SuiteTask> tasks_of(const SweepOptions& o) {
  std::vector<SuiteTask> tasks;
  if (o.suite) tasks = read_suite(*o.suite).tasks;
  check(o.tasks.empty() || o.suite, "--tasks chooses tasks of a suite, and there is no --suite");
  if (!o.tasks.empty()) {
    std::vector<std::string_view> names;
    for (const SuiteTask& task : tasks) names.push_back(task.name);
    for (const std::string& wanted : o.tasks) {
      const std::string guess = nearest(wanted, names);
      check(std::ranges::find(names, wanted) != names.end(), "--tasks: there is no task {}{}", quote(wanted),
            guess.empty() ? "" : text("; did you mean {}?", guess));
    }
    std::erase_if(
        tasks, [&](const SuiteTask& task) { return std::ranges::find(o.tasks, task.name) == o.tasks.end(); });
  }
  for (const std::string& data : o.data) {
    if (!data.starts_with("suite:")) {
      tasks.push_back(task_of_data(data));
      continue;
    }
    const Suite suite = read_suite(data.substr(6));
    check(suite.sweeps.empty(), "{} also says what is done with its tasks; --suite does it", data);
    tasks.insert(tasks.end(), suite.tasks.begin(), suite.tasks.end());
  }
  check(!tasks.empty(), "what is to be compared? --suite FILE names tasks, --data SPEC one of them");
  for (const SuiteTask& task : tasks)
    has_split(task.data, Split::train);  // an unknown scheme is an error now
  return tasks;
}

std::string left_text(const SweepCounts& counts) {
  if (counts.done == counts.runs) return "";
  return counts.seconds_left < 0
             ? ", how long they take is not known yet"
             : text(", about {} of work left for one process", time_text(counts.seconds_left));
}

std::string counts_text(const SweepCounts& c) {
  std::string how;
  if (c.diverged > 0) how += text(", {} diverged", c.diverged);
  if (c.failed > 0) how += text(", {} failed", c.failed);
  return text("{} of {} done{}{}", count_text(c.done), plural(c.runs, "run"), how, left_text(c));
}

// The different values of one setting on a grid, in its order: "learning rate 0.001, 0.003".
std::string values_text(const Cell& cell, const char* one, const char* many,
                        const std::function<double(const TuneConfig&)>& value) {
  std::vector<double> values;
  for (const auto& seeds : cell.finals)
    if (const double v = value(seeds[0].config); std::ranges::find(values, v) == values.end())
      values.push_back(v);
  std::string out = values.size() == 1 ? one : many;
  for (const double& v : values) out += fmt::format("{} {:g}", &v == values.data() ? "" : ",", v);
  return out;
}

// "learning rates 0.1,0.2"; where a rate belongs to one batch size, each batch with its own.
std::string rates_text(const Cell& cell) {
  std::vector<int64_t> batches;
  std::vector<std::string> texts;
  for (const auto& seeds : cell.finals) {
    const int64_t batch = seeds[0].config.batch;
    if (std::ranges::find(batches, batch) != batches.end()) continue;
    batches.push_back(batch);
    Cell part = cell;
    std::erase_if(part.finals, [&](const auto& other) { return other[0].config.batch != batch; });
    texts.push_back(values_text(part, "learning rate", "learning rates",
                                [](const TuneConfig& c) { return c.learning_rate; }));
  }
  if (batches.size() == 1) return text("{}; batch {}", texts[0], batches[0]);
  std::string out;
  for (size_t i = 0; i < batches.size(); ++i)
    out += text("{}batch {}: {}", i == 0 ? "" : "; ", batches[i], texts[i]);
  return out;
}

// What is the same for all of a grid: "10 epochs, 1 of warm-up; drop path 0.1".
std::string training_text(const TuneConfig& c) {
  std::string out = text("{}, {} of warm-up", plural(c.epochs, "epoch"), c.warmup_epochs);
  if (c.model.drop_path > 0) out += text("; drop path {}", c.model.drop_path);
  if (c.model.prompts.dropout > 0) out += text("; prompt dropout {}", c.model.prompts.dropout);
  const std::string variant = variant_words(to_json(c), c.model.prompts.dropout);
  if (!variant.empty()) out += "; " + variant;
  return c.model.paper_head ? out + "; the head starts as in the paper" : out;
}

std::string grid_text(const Cell& cell) {
  const TuneConfig& first = cell.finals[0][0].config;
  std::vector<std::string> forms;  // sizes, where they are searched
  for (const auto& seeds : cell.finals)
    if (std::ranges::find(forms, seeds[0].method) == forms.end()) forms.push_back(seeds[0].method);
  std::string sizes;
  if (forms.size() > 1)
    for (const std::string& form : forms) sizes += text("{}{}", sizes.empty() ? "" : ", ", form);
  std::string out =
      text("{}: {}{}{}, ", plural(static_cast<int64_t>(cell.finals.size()), "point"), sizes,
           sizes.empty() ? "" : "; ", first.optimizer.kind == OptimizerKind::sgd ? "SGD" : "AdamW");
  out += rates_text(cell);
  out += "; " + values_text(cell, "weight decay", "weight decays",
                            [](const TuneConfig& c) { return c.optimizer.weight_decay; });
  if (first.model.prompts.count > 0)
    out += "; " + values_text(cell, "prompts", "prompts",
                              [](const TuneConfig& c) { return static_cast<double>(c.model.prompts.count); });
  else if (first.model.prompts.start == PromptStart::class_tokens)
    out += "; as many prompts as classes";
  return text("{}; {}", out, training_text(first));
}

// `sized`: the same task is there with several numbers of images.
std::string run_text(const LedgerLine& l, bool sized) {
  std::string what = fmt::format(
      "{}{} on {}{}, lr {:g}, wd {:g}", l.form, l.variant.empty() ? "" : text(" ({})", l.variant), l.task,
      sized ? text(", {}", plural(l.train_images, "image")) : "", l.learning_rate, l.weight_decay);
  if (l.prompts > 0) what += text(", {}", plural(l.prompts, "prompt"));
  what += l.stage == Stage::search ? ": " : text(", seed {}: ", l.seed);
  if (!l.diverged.empty()) return what + "diverged";
  if (!l.failed.empty()) return what + "failed: " + l.failed;
  return text("{}{}{}, {}", what, l.stage == Stage::search ? "val " : "test ", percent_text(l.score),
              time_text(l.seconds));
}

// "flowers: 1,000 of 5,000 images to learn from, 200 of them to choose settings; 500 to test; 5 classes"
std::string task_text(const TaskFacts& f) {
  const int64_t all = f.train + f.val, limit = f.task.train_limit.value_or(0);
  return text("{}: {}{} images to learn from{}, {} of them to choose settings; {} to test; {}", f.task.name,
              count_text(all), f.offered > all ? text(" of {}", count_text(f.offered)) : "",
              limit > all ? text(" (all there are; the limit is {})", count_text(limit)) : "",
              count_text(f.val), count_text(f.test), plural(f.classes, "class", "classes"));
}

// The plan in words: each method's grid, and what of it may not be meant.
void tell_plan(const SweepOptions& o, const PlanConfig& config, const Plan& plan, Console& console) {
  std::set<std::string> groups;
  for (const SuiteTask& task : config.tasks) groups.insert(task.group);
  std::string names;
  for (const SuiteTask& task : config.tasks) names += text("{}{}", names.empty() ? "" : ", ", task.name);
  console.item("Tasks", text("{} in {}: {}", config.tasks.size(),
                             plural(static_cast<int64_t>(groups.size()), "group"), names));
  console.item("Recipe", text("{}: {}", o.recipe, preset_text(o.recipe)));
  for (size_t m = 0; m < config.methods.size(); ++m)  // of the first task; the others have the same grids
    console.item(m == 0 ? "Methods" : "", text("{}: {}", plan.cells[m].method, grid_text(plan.cells[m])));
  const bool own_rates = !o.changes.learning_rates.empty() || !o.changes.base_learning_rates.empty();
  for (size_t m = 0; m < config.methods.size() && o.changes.optimizer && !own_rates; ++m)
    if (plan.cells[m].recipe->optimizer != *o.changes.optimizer)
      console.note(
          text("{}: its learning rates are those of recipe {} for the other optimizer; --lr gives "
               "others",
               plan.cells[m].method, o.recipe));
  console.item("Runs", text("{}: {} to search settings, {} to test them with {} each",
                            count_text(plan.search_runs + plan.final_runs), count_text(plan.search_runs),
                            count_text(plan.final_runs), plural(config.seeds, "seed")));
}

// Options of prompts that no method has would do nothing. In a study they may be meant for another sweep.
void check_prompt_options(const SweepOptions& o, const std::function<void(const std::string&)>& note) {
  const GridChanges& c = o.changes;
  if (c.prompts.empty() && !c.prompt_projection && !c.prompt_dropout && variant_to_json(c.variant).empty())
    return;
  std::string methods;
  for (const std::string& method : o.methods) methods += text("{}{}", methods.empty() ? "" : ", ", method);
  if (std::ranges::any_of(o.methods, [](const std::string& method) {
        return method_from_text(method).prompts.kind != PromptKind::none;
      }))
    return;
  const std::string words = text("--prompts and --prompt-...: none of the methods has prompts: {}", methods);
  check(!o.of_study.empty(), "{}", words);
  note(words);
}

std::string too_few_text(const TaskLook& look) {
  return text("{}: has {} images to learn from; the size {} is left out", look.task.name,
              count_text(look.facts->offered), count_text(look.task.train_limit.value_or(0)));
}

nlohmann::ordered_json json_of(const TaskLook& look) {
  nlohmann::ordered_json json{{"task", look.task.name}};
  if (look.facts)
    json.update({{"train_images", look.facts->train + look.facts->val},
                 {"val_images", look.facts->val},
                 {"test_images", look.facts->test},
                 {"digest", look.facts->digest},
                 {"classes", look.facts->classes}});
  if (!look.problem.empty()) json["problem"] = look.problem;
  if (look.too_few) json["left_out"] = true;
  if (look.set_aside > 0) json["other_pictures"] = look.set_aside;
  return json;
}

// What came of one sweep, or of its plan.
struct Outcome {
  nlohmann::ordered_json json;
  std::string problem{};  // why the command fails when all is done
  bool stopped = false;
};

// Opens all tasks and does nothing else.
Outcome show_plan(const SweepConfig& config, Console& console) {
  std::string label = "Images";
  int64_t wrong = 0;
  nlohmann::ordered_json tasks = nlohmann::ordered_json::array();
  const SweepLook all = look_at_sweep(config);
  for (const TaskLook& look : all.tasks) {
    std::string more;
    if (look.set_aside > 0)
      more =
          text("; {} of a ledger had other pictures, and would be done again", plural(look.set_aside, "run"));
    console.item(std::exchange(label, "").c_str(), !look.problem.empty() ? look.problem
                                                   : look.too_few        ? too_few_text(look)
                                                                         : task_text(*look.facts) + more);
    wrong += !look.problem.empty() && !look.gone;
    tasks.push_back(json_of(look));
  }
  const SweepCounts& counts = all.counts;
  console.item("Now", counts_text(counts));
  Outcome out{{{"command", "sweep"},
               {"folder", config.out},
               {"tasks", tasks},
               {"runs", counts.runs},
               {"done", counts.done},
               {"seconds_left", counts.seconds_left < 0 ? nlohmann::ordered_json(nullptr)
                                                        : nlohmann::ordered_json(counts.seconds_left)}}};
  if (wrong > 0)
    out.problem = text("{} cannot be used; a sweep would leave {} out", plural(wrong, "task"),
                       wrong == 1 ? "it" : "them");
  return out;
}

// A file that a study names and nobody has is a mistake in it, and no other sweep's concern.
Backbone backbone_of(const SweepOptions& o) {
  try {
    return open_backbone(o.backbone.value_or("builtin"), o.hints);
  } catch (const Error& e) {
    fail(e.fault() == Fault::output && !o.of_study.empty() ? Fault::input : e.fault(), "{}", e.what());
  }
}

// `told`: notes of the command, of which a study says each once.
Outcome one_sweep(const SweepOptions& o, Console& console, std::set<std::string>& told) {
  const auto note_once = [&](const std::string& words) {
    if (told.insert(words).second) console.note(words);
  };
  const auto note = [&](const std::string& words) {
    if (o.of_study.empty())
      console.note(words);
    else
      note_once(words);
  };
  SweepConfig config;
  PlanConfig& plan = config.plan;
  plan.tasks = tasks_of(o);
  check_prompt_options(o, note);
  check(!o.out.empty() || o.show_plan, "--out is required: the folder of the sweep");
  plan.methods = o.methods;
  plan.preset = o.recipe;
  plan.changes = o.changes;
  plan.seeds = o.seeds;
  plan.data_seed = o.data_seed;
  plan.train_sizes = o.train_sizes;
  plan.workers = o.workers;
  plan.max_bad = o.max_bad;

  const Backbone opened = with_identity(backbone_of(o));
  check(is_utf8(opened.source), "the backbone's path {} is not UTF-8, as the ledger's text must be",
        quote(opened.source));
  const Backbones backbones(opened, o.place);
  config.backbone = [&](const TunedConfig& method) -> const Backbone& { return backbones.of(method.method); };
  plan.net = with_classes(opened.config, 0);
  plan.backbone_identity = opened.identity;
  plan.precision = [&](const TunedConfig& method) { return backbones.precision(method.method); };
  if (const Device* device = backbones.of(Method::linear).home.device(); device != nullptr) {
    plan.device = device->kind();
    plan.tf32 = device->options().tf32;
  }
  plan.preprocess = preprocess_of(opened, o.hints.image_size);
  plan.preprocess.exif = o.exif;

  config.out = o.out;
  config.version = VITRINE_VERSION;
  config.cache = o.cache;
  config.keep_tasks = o.keep_tasks;
  config.retry_failed = o.retry;
  config.part = o.part;
  config.parts = o.parts;
  // A data set is opened for several splits, and more than once.
  config.open = {.exif = o.exif, .note = note_once};
  for (const std::string& ledger : o.ledgers)
    for (LedgerLine& line : read_ledger(ledger_of(ledger))) config.known.push_back(std::move(line));

  console.item("Backbone",
               text("{}: {}, {} parameters{}", quote(opened.source), describe(plan.net),
                    million_text(parameter_count(plan.net)), place_text(o.place, Method::linear)));
  tell_plan(o, plan, make_plan(plan), console);
  nlohmann::ordered_json json{{"command", "sweep"}, {"folder", o.out}};
  if (o.show_plan) return show_plan(config, console);

  console.item("Folder", config.parts > 1
                             ? text("{}, as process {} of {}", o.out, config.part + 1, config.parts)
                             : o.out);
  SweepHooks hooks;
  hooks.note = note;
  hooks.stop = [] { return SignalGuard::caught(); };
  std::string images = "Images";
  hooks.task = [&](const TaskFacts& facts) {
    console.item(std::exchange(images, "").c_str(), task_text(facts));
  };
  hooks.began = [&](const SweepCounts& counts) {
    console.item("Now", counts_text(counts));
    if (config.keep_tasks && counts.done == counts.runs)
      note("nothing is left to be done, so --keep-tasks keeps no more task files than are there");
  };
  std::string doing;
  hooks.run = [&](const Cell& cell, const PlannedRun& run, const SweepCounts& counts) {
    doing = text("{}/{}  {} on {}", counts.done + 1, counts.runs, run.method, cell.task.name);
    console.clear();
  };
  hooks.step = [&](const StepReport& r) { console.progress(r.step, r.steps, r.images_per_second, doing); };
  hooks.finished = [&](const LedgerLine& line, const SweepCounts& counts) {
    console.clear();
    console.line(text("[{}/{}] {}{}", counts.done, counts.runs, run_text(line, plan.train_sizes.size() > 1),
                      counts.seconds_left >= 0 && counts.done < counts.runs
                          ? text("; {} left", time_text(counts.seconds_left))
                          : ""));
  };
  hooks.waiting = [&](int64_t runs) {
    console.clear();
    console.note(text("waiting for {} of other processes; what one that ends leaves undone is taken over",
                      plural(runs, "run")));
  };
  const SweepResult result = vitrine::sweep(config, hooks);
  console.clear();
  json.update({{"ledger", result.ledger},
               {"stopped", result.stopped},
               {"runs", result.counts.runs},
               {"done", result.counts.done},
               {"diverged", result.counts.diverged},
               {"failed", result.counts.failed},
               {"failures", result.failures}});
  if (result.stopped) {
    console.line(text("Stopped: {}; states are saved in {}.", counts_text(result.counts), o.out));
    console.line("The same command goes on from there.");
    return {json, "", true};
  }
  console.item("Done", counts_text(result.counts));
  console.item("Ledger", result.ledger);
  for (const std::string& failure : result.failures) note(failure);
  Outcome out{json};
  const int64_t failed = result.counts.failed, tasks = static_cast<int64_t>(result.failures.size()) - failed;
  if (!result.failures.empty())
    out.problem = text("{}{}{}{}", failed > 0 ? text("{} failed", plural(failed, "run")) : "",
                       failed > 0 && tasks > 0 ? ", " : "",
                       tasks > 0 ? text("{} could not be used", plural(tasks, "task")) : "",
                       failed > 0 ? "; --retry does failed runs again" : "");
  return out;
}

}  // namespace

int sweep(const std::vector<SweepOptions>& sweeps, Console& console) {
  const bool several = sweeps.size() > 1, planned = sweeps[0].show_plan;
  std::optional<SignalGuard> guard;
  if (!planned) guard.emplace();
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  std::vector<std::pair<std::string, std::string>> problems;  // what is wrong, and with which sweeps
  std::set<std::string> told;
  Fault fault = Fault::input;
  bool stopped = false;
  for (size_t i = 0; i < sweeps.size() && !stopped && fault == Fault::input; ++i) {
    if (guard && i > 0 && SignalGuard::caught()) {
      console.line(
          text("Stopped before sweep {} of {}. The same command goes on from there.", i + 1, sweeps.size()));
      stopped = true;
      break;
    }
    if (several)
      console.line(text("{}Sweep {} of {}: {}", i > 0 ? "\n" : "", i + 1, sweeps.size(), sweeps[i].of_study));
    Outcome outcome;
    try {
      outcome = one_sweep(sweeps[i], console, told);
    } catch (const Error& e) {
      if (!several) throw;
      console.clear();
      console.note(e.what());
      outcome = {{{"command", "sweep"}, {"folder", sweeps[i].out}, {"problem", e.what()}}, e.what()};
      fault = e.fault();  // what the machine lacks ends them all
    }
    stopped = outcome.stopped;
    if (const size_t left = sweeps.size() - i - 1; left > 0 && (stopped || fault != Fault::input))
      console.line(text("{} of this study {} not begun.", plural(static_cast<int64_t>(left), "sweep"),
                        left == 1 ? "was" : "were"));
    all.push_back(std::move(outcome.json));
    if (outcome.problem.empty()) continue;
    const auto same =
        std::ranges::find(problems, outcome.problem, &std::pair<std::string, std::string>::first);
    if (same == problems.end())
      problems.emplace_back(outcome.problem, std::to_string(i + 1));
    else
      same->second += text(", {}", i + 1);
  }
  if (!stopped && !planned && fault == Fault::input)
    console.command("Next", text("table {}", shell_word(sweeps[0].out)));
  console.result(several ? nlohmann::ordered_json{{"command", "sweep"},
                                                  {"folder", sweeps[0].out},
                                                  {"stopped", stopped},
                                                  {"sweeps", all}}
                         : all[0]);
  if (stopped) return SignalGuard::exit_code();
  std::string words;
  for (const auto& [problem, which] : problems)
    words += text("{}{}{}", words.empty() ? "" : "; ", several ? text("sweep {}: ", which) : "", problem);
  if (!words.empty()) fail(fault, "{}", words);
  return 0;
}

}  // namespace vitrine::cli
