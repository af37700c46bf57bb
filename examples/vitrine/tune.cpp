// tune.cpp: `vitrine tune`. Says what it is about to do, lets models/training/tune.h do it,
// and says what came out.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "commands.h"
#include "data/subset.h"
#include "engine/parallel.h"
#include "engine/text.h"
#include "models/training/checkpoint.h"
#include "models/training/run_files.h"
#include "models/training/tensorboard.h"
#include "models/training/tune.h"
#include "signals.h"

namespace vitrine::cli {

namespace {

namespace fs = std::filesystem;

// --- defaults ----------------------------------------------------------------------------------------------

// All defaults that depend on the method or the optimizer.
struct Defaults {
  int64_t epochs, batch, prompts;
  double adamw_rate, adamw_decay, sgd_rate, sgd_decay;
};
Defaults defaults_of(Method method) {
  if (method == Method::full) return {20, 64, 0, 1e-4, 0.05, 0.01, 1e-4};
  if (method == Method::linear) return {50, 64, 0, 1e-3, 1e-4, 0.1, 0};
  // Weights that were trained already learn more slowly than new ones.
  if (method == Method::partial) return {50, 64, 0, 1e-4, 0.05, 0.01, 1e-4};
  return {50, 64, prompt_kind(method) == PromptKind::none ? 0 : 10, 1e-3, 1e-4, 0.1, 1e-4};
}

bool has_prompts(Method method) { return prompt_kind(method) != PromptKind::none; }

}  // namespace

// What is trained: by options, or as the task to start from has it.
TunedConfig model_of(const TuneOptions& o, const Task* start, int64_t classes) {
  TunedConfig model;
  if (start) {
    model = start->config;
    // What the messages say of an option may be asked for only if it was given.
    if (o.method)
      check(method_text(*o.method) == method_text(model), "--method {}: the task to start from has {}",
            method_text(*o.method), method_text(model));
    if (o.prompts)
      check(*o.prompts == model.prompts.count, "--prompts {}: the task to start from has {}", *o.prompts,
            model.prompts.count);
    check(!o.prompt_projection,
          "--prompt-projection: the task to start from holds its prompts as they came out of one");
    check(!o.paper_head, "--head-init: the task to start from has a head");
    check(variant_to_json(o.variant).empty(), "--prompt-...: the task to start from has its form of prompts");
  } else {
    model = o.method.value_or(method_from_text("vpt-deep"));
    const PromptKind kind = model.prompts.kind;
    const bool gated = model.prompts.gated;
    model.prompts = o.variant;
    model.prompts.kind = kind;
    model.prompts.gated = gated;
    model.prompts.projection = o.prompt_projection.value_or(0);
    // Those that are added to tokens are as many as these; those that start from class tokens, as the classes.
    const bool settled_later =
        o.variant.location == PromptLocation::add || o.variant.start == PromptStart::class_tokens;
    const int64_t usual = settled_later ? 0 : defaults_of(model.method).prompts;
    model.prompts.count = o.prompts.value_or(usual);
  }
  check(has_prompts(model.method) ||
            !(o.prompts || o.prompt_projection || o.prompt_dropout || !variant_to_json(o.variant).empty()),
        "method {} has no prompts", name_of(model.method));
  if (o.prompt_dropout) model.prompts.dropout = *o.prompt_dropout;
  if (o.drop_path) model.drop_path = *o.drop_path;
  model.paper_head = o.paper_head.value_or(false);
  return for_classes(model, classes);
}

TuneConfig config_of(const TuneOptions& o, const TunedConfig& model, int processes) {
  const Defaults defaults = defaults_of(model.method);
  TuneConfig c = o.config;
  c.model = model;
  c.epochs = o.epochs.value_or(defaults.epochs);
  c.batch = o.batch.value_or(defaults.batch);
  check(c.batch >= processes, "--batch {}: each of {} processes needs an image of each batch", c.batch,
        processes);
  c.accumulate = o.accumulate.value_or(processes);
  check(c.accumulate >= processes,
        "--accumulate {}: each of {} processes needs a micro-batch of each batch; give at least --accumulate "
        "{}, or leave it out",
        c.accumulate, processes, processes);
  c.optimizer.kind = o.optimizer.value_or(OptimizerKind::adamw);
  const bool sgd = c.optimizer.kind == OptimizerKind::sgd;
  check(sgd || !o.momentum, "--momentum belongs to --optimizer sgd");
  c.optimizer.momentum = o.momentum.value_or(c.optimizer.momentum);
  c.optimizer.weight_decay = o.weight_decay.value_or(sgd ? defaults.sgd_decay : defaults.adamw_decay);
  c.learning_rate = o.learning_rate.value_or(sgd ? defaults.sgd_rate : defaults.adamw_rate);
  if (o.base_learning_rate) c.learning_rate = *o.base_learning_rate * static_cast<double>(c.batch) / 256;
  c.warmup_epochs = o.warmup.value_or(std::min(5.0, static_cast<double>(c.epochs) / 10));
  check_config(c);
  return c;
}

// --- data --------------------------------------------------------------------------------------------------

ChosenData choose_data(const TuneOptions& o, const Backbone& backbone, const OpenOptions& open) {
  ChosenData chosen;
  TuneData& data = chosen.data;
  data.dataset = open_dataset(o.data, Split::train, open);
  data.train =
      o.train_limit ? class_balanced(*data.dataset, *o.train_limit, o.data_seed) : all_samples(*data.dataset);
  if (o.val) {
    if (*o.val > 0) {
      TrainVal parts = split_validation(data.train, *data.dataset, *o.val, o.data_seed);
      data.train = std::move(parts.train);
      data.val = std::move(parts.val);
      chosen.val_from = "split off the training images";
    }
  } else if (has_split(o.data, Split::val)) {
    data.val_set = open_dataset(o.data, Split::val, open);
    data.val = all_samples(*data.val_set);
    chosen.val_from = "the data's own split";
  }
  data.preprocess = with_resize(preprocess_of(backbone, o.hints.image_size), o.resize);
  data.preprocess.exif = open.exif;
  return chosen;
}

namespace {

// --- the run folder ----------------------------------------------------------------------------------------

void make_folder(const std::string& folder) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (!problem && !fs::is_directory(folder, problem) && !problem)
    problem = std::make_error_code(std::errc::not_a_directory);
  if (problem) fail(Fault::output, "cannot make the folder {}: {}", quote(folder), problem.message());
}

// The name of data in that of a folder: "mini:position" -> "mini-position", "folder:/a/flowers" -> "flowers".
std::string data_word(const std::string& data) {
  const std::string scheme = data.substr(0, data.find(':'));
  std::string name = data.substr(std::min(data.size(), scheme.size() + 1));
  name = name.substr(0, name.find('?'));
  while (!name.empty() && name.back() == '/') name.pop_back();
  const bool drawn = name.find('/') == std::string::npos && (scheme == "mini" || scheme == "synthetic");
  name = name.substr(name.rfind('/') + 1);
  std::string out = drawn || name.empty() || name == "." || name == ".." ? text("{}-{}", scheme, name) : name;
  for (char& c : out) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
    if (!plain) c = '-';
  }
  while (!out.empty() && (out.back() == '-' || out.back() == '.')) out.pop_back();
  constexpr size_t longest = 40;
  return out.substr(0, longest);
}

// --out, or the first free runs/DATA-METHOD-n, which is made at once, lest another run take it, too.
std::string folder_of(const TuneOptions& o, const TunedConfig& model) {
  if (o.out) return *o.out;
  make_folder("runs");
  for (int n = 1;; ++n) {
    const std::string folder = text("runs/{}-{}-{}", data_word(o.data), method_text(model), n);
    std::error_code problem;
    if (fs::create_directory(folder, problem)) return folder;
    if (problem) fail(Fault::output, "cannot make the folder {}: {}", quote(folder), problem.message());
  }
}

// --- words -------------------------------------------------------------------------------------------------

// The options by which images were chosen, as they would be given again.
std::string choice_text(const TuneOptions& o) {
  std::string out;
  const auto add = [&](const std::string& words) { out += text("{}{}", out.empty() ? "" : " ", words); };
  if (o.train_limit) add(text("--train-limit {}", *o.train_limit));
  if (o.val) add(text("--val {}", *o.val));
  if (o.data_seed != 0) add(text("--data-seed {}", o.data_seed));
  return out;
}

// The net for the pictures of this run: a Swin takes them as they are.
TransformerConfig seen_at(TransformerConfig net, int64_t side) {
  if (auto* swin = std::get_if<SwinConfig>(&net)) swin->image_size = side;
  return net;
}

// Where `vitrine eval` finds pictures that a task was not tuned on: the data's own, or a place to be named.
std::string other_pictures(const std::string& data) {
  if (has_split(data, Split::test) || has_split(data, Split::val)) return shell_word(data);
  return data.substr(0, data.find(':')) + ":OTHER  # pictures that it has not seen";
}

// "10 prompts for each of 12 blocks"
std::string prompts_text(const TunedConfig& model, const TransformerConfig& net) {
  const PromptConfig prompts = settled(model.prompts, prompt_places(net));
  const int64_t blocks = block_count(net), own = prompts.last - prompts.first;
  std::string out = plural(prompts.count, "prompt");
  if (prompts.location == PromptLocation::pixels) out += " of pixels";
  if (prompts.location == PromptLocation::add) out += ", one for each token,";
  if (prompts.kind == PromptKind::deep && own == blocks)
    out += text("{}{} blocks", prompts.shared ? " shared by " : " for each of ", blocks);
  if (prompts.kind == PromptKind::deep && own < blocks)
    out += text("{}{} blocks, {} to {} of {}", prompts.shared ? " shared by " : " for each of ", own,
                prompts.first + 1, prompts.last, blocks);
  if (prompts.gated) out += " with a gate in each block";
  if (prompts.projection > 0) out += text(" through {} dimensions", prompts.projection);
  if (prompts.start == PromptStart::class_tokens) out += " from the classes' class tokens";
  if (prompts.pooling == PromptPooling::images) out += ", the head sees the mean of the patches";
  if (prompts.pooling == PromptPooling::prompts) out += ", the head sees the mean of the prompts";
  if (prompts.pooling == PromptPooling::all) out += ", the head sees the mean of patches and prompts";
  return out;
}

std::string trained_text(const TuneConfig& c, const TransformerConfig& net) {
  const ParameterCounts counts = count_parameters(c.model, net);
  std::string what;
  const auto part = [&](int64_t count, const std::string& words) {
    if (count > 0) what += text("{} ({}) and ", words, count_text(count));
  };
  part(counts.inside, c.model.method == Method::full
                          ? "all weights"
                          : text("what {} tunes in the backbone", method_text(c.model)));
  part(counts.added, c.model.method == Method::sidetune ? text("a {} beside it", describe(side_config(net)))
                                                        : text("what {} adds", method_text(c.model)));
  if (counts.prompts > 0) part(counts.prompts, prompts_text(c.model, net));
  return text("{}{}{}): {} parameters, {} of the backbone's", what,
              c.model.method == Method::mlp ? text("a head of {} layers (", c.model.size) : "a head (",
              count_text(counts.head), count_text(counts.tuned()),
              percent_text(static_cast<double>(counts.tuned()) / static_cast<double>(counts.backbone)));
}

std::string optimizer_text(const TuneConfig& c) {
  return fmt::format("{}, learning rate {:g} ({}, {:g} warm-up epochs), weight decay {:g}",
                     c.optimizer.kind == OptimizerKind::sgd
                         ? fmt::format("SGD with momentum {:g}", c.optimizer.momentum)
                         : "AdamW",
                     c.learning_rate, c.schedule == Schedule::cosine ? "cosine" : "constant", c.warmup_epochs,
                     c.optimizer.weight_decay);
}

std::string evaluation_text(const Evaluation& e) {
  return fmt::format("{} of {}, loss {:.4f}", percent_text(e.accuracy), plural(e.samples, "image"), e.loss);
}

nlohmann::ordered_json evaluation_json(const Evaluation& e) {
  return {{"accuracy", e.accuracy}, {"loss", e.loss}, {"samples", e.samples}, {"bad", e.bad.size()}};
}

// What the run will take: with the least recomputation that keeps to the limit, if there is one.
MemoryForecast plan_memory(const TuneOptions& o, const Backbone& backbone, const TuneConfig& config,
                           const TuneData& data) {
  const auto samples = static_cast<int64_t>(data.train.size()), val = static_cast<int64_t>(data.val.size());
  const size_t limit = o.memory_limit;
  if (limit == 0) return forecast_memory(backbone, config, samples, val, data.preprocess.size);
  try {
    if (const auto fit =
            MemoryPlanner(backbone, config, samples, val, data.preprocess.size, limit).fit(limit))
      return *fit;
  } catch (const Error& e) {  // nor can the least be tried
    if (e.fault() != Fault::resources) throw;
  }
  // For the message alone.
  MemoryPlanner planner(with_one_form(backbone), config, samples, val, data.preprocess.size);
  const int64_t most = planner.most_recompute(), images = std::min(config.batch, samples);
  // A linear head has no backward through the blocks.
  const std::string words =
                        keeps_features(config.model.method)
                            ? "with each matrix packed once"
                            : text("with each matrix packed once and {} of {} computed again in backward,",
                                   most, plural(most + 1, "block")),
                    narrower = backbone.precision == Precision::int8 || config.model.method == Method::full
                                   ? ""
                                   : "; --precision int8 would need less";
  for (int64_t parts = config.accumulate + 1; parts <= images; ++parts)
    if (const auto fit = planner.within(limit, most, parts))
      fail(Fault::resources,
           "{} a run needs {}, but --memory-limit is {}; with --accumulate {} it needs {}{}", words,
           bytes_text(planner.forecast(most, config.accumulate).peak()), bytes_text(limit), parts,
           bytes_text(fit->peak()), narrower);
  fail(Fault::resources, "{} a run needs {} even for one image at a time, but --memory-limit is {}{}", words,
       bytes_text(planner.forecast(most, images).peak()), bytes_text(limit), narrower);
}

// What a run does to stay within a limit, and what that costs. A frozen block is computed once forward and about once
// backward, a trained one twice backward.
std::string saving_text(const MemoryForecast& m, const TuneConfig& c, const TransformerConfig& net,
                        size_t limit) {
  std::string words = text("to stay below {}: ", bytes_text(limit));
  if (m.one_form) words += "keeps one packed form of each matrix, which makes backward slower";
  if (m.recompute == 0) return words;
  const double passes = trains_inside(c.model.method) ? 3 : 2;
  const double more = static_cast<double>(m.recompute) / static_cast<double>(block_count(net)) / passes;
  return fmt::format("{}{}computes {} of {} blocks again in backward, about {:.0f}% more work", words,
                     m.one_form ? "; " : "", m.recompute, block_count(net), 100 * more);
}

std::string from_first(Processes& processes, const std::string& words) {
  const auto bytes = processes.from_first(std::as_bytes(std::span(words)));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

int largest(Processes& processes, int own) {
  for (const auto& bytes : processes.exchange(std::as_bytes(std::span(&own, 1)))) {
    int other = 0;
    std::memcpy(&other, bytes.data(), sizeof other);
    own = std::max(own, other);
  }
  return own;
}

// The most tensors that there were at once, on the device if the net is on one.
size_t peak_of(const Backbone& backbone, const Memory& pool) {
  if (backbone.on_device()) return backbone.home.statistics().peak;
  return pool.statistics().peak + resident_bytes(backbone);
}

}  // namespace

int tune(const TuneOptions& o, Console& console, Processes& processes) {
  const auto began = std::chrono::steady_clock::now();
  check(!o.resume || o.out, "--resume: which run? Name its folder with --out");
  check(!o.out || o.resume || !processes.first() || !holds_run(*o.out),
        "{} holds a run; go on in it with --resume, or name another folder with --out",
        quote(o.out.value_or("")));
  std::optional<Task> start;
  if (o.init) start = load_task(*o.init);
  const Method method = start ? start->config.method : o.method ? o.method->method : Method::vpt_deep;
  check(o.place.precision(trains_inside(method)) == Precision::f32 || method != Method::full,
        "--precision: full tuning trains the backbone, which then cannot be packed in another precision than "
        "f32");
  check(!o.place.on_device() || o.memory_limit == 0,
        "--memory-limit: foretells main memory, not that of a device; --accumulate takes less of it");
  const Backbone opened = placed(start ? open_backbone_of(*start, o.backbone, o.hints)
                                       : open_backbone(o.backbone.value_or("builtin"), o.hints),
                                 o.place, method);
  if (start) check_backbone(*start, opened);
  const TransformerConfig net = with_classes(opened.config, 0);  // its own head has no part in this

  // What a task remembers holds for the one that goes on from it.
  OpenOptions open{.exif = o.exif || (start && preprocess_from_json(start->preprocess).exif)};
  const auto note = [&](const std::string& words) { console.note(words); };
  open.note = note;
  ChosenData chosen = choose_data(o, opened, open);
  const TuneData& data = chosen.data;
  const auto test_set =
      !o.no_test && has_split(o.data, Split::test) ? open_dataset(o.data, Split::test, open) : nullptr;
  if (start) check_classes(*start, *data.dataset, o.data);
  TuneConfig config =
      config_of(o, model_of(o, start ? &*start : nullptr, data.dataset->classes()), processes.count());
  if (start) start->config = config.model;  // its noise may have been changed
  check(!config.keep_best || !data.val.empty(),
        "--keep best: needs validation images; --val N splits some off");
  const auto per_epoch = (static_cast<int64_t>(data.train.size()) + config.batch - 1) / config.batch;
  console.item("Backbone", text("{}: {}, {} parameters{}", quote(opened.source),
                                describe(seen_at(net, data.preprocess.size)),
                                million_text(parameter_count(net)), place_text(o.place, method)));
  if (opened.on_device()) console.item("Device", opened.home.device()->description());
  console.item("Data", text("{}: {}, {} for validation{}{}, {} classes: {}{}", quote(o.data),
                            plural(static_cast<int64_t>(data.train.size()), "training image"),
                            data.val.empty() ? "none" : count_text(static_cast<int64_t>(data.val.size())),
                            chosen.val_from.empty() ? "" : text(" ({})", chosen.val_from),
                            test_set ? text(", {} for the test", count_text(test_set->size())) : "",
                            data.dataset->classes(), class_list(data.dataset->class_names()),
                            open.exif ? exif_words : ""));
  console.item("Trains",
               text("{}{}", start ? text("{} from {}, ", method_text(config.model), quote(*o.init)) : "",
                    trained_text(config, net)));
  MemoryForecast memory{};  // of main memory: nothing is foretold of a device's
  if (!opened.on_device()) {
    memory = plan_memory(o, opened, config, data);
    config.recompute = memory.recompute;
    console.item("Memory",
                 text("{}{}", processes.count() > 1 ? "in each process " : "", memory_text(memory)));
  }
  if (memory.one_form || memory.recompute > 0)
    console.item("", saving_text(memory, config, net, o.memory_limit));
  console.item("Steps", text("{}: {} of {} with batches of {}; {}", count_text(per_epoch * config.epochs),
                             plural(config.epochs, "epoch"), count_text(per_epoch), config.batch,
                             optimizer_text(config)));
  if (processes.count() > 1)
    console.item("Processes", text("{}, with {} each; they share the {} micro-batches of a step, and end "
                                   "with the bytes of one process with --accumulate {}",
                                   processes.count(), plural(thread_count(), "thread"), config.accumulate,
                                   config.accumulate));
  std::string folder;
  if (processes.first()) {
    folder = folder_of(o, config.model);
    make_folder(folder);
  }
  folder = from_first(processes, folder);
  console.item("Folder", folder);

  TuneHooks hooks;
  hooks.note = note;
  hooks.stop = [] { return SignalGuard::caught(); };
  hooks.processes = &processes;
  StepReport last{};
  hooks.step = [&](const StepReport& r) {
    last = r;
    console.progress(
        r.step, r.steps, r.images_per_second,
        fmt::format("epoch {}/{}  loss {:.4f}", std::min(r.epoch + 1, r.epochs), r.epochs, r.loss));
  };
  hooks.epoch = [&](const EpochReport& r) {
    if (o.tensorboard) write_events(folder);
    const std::string val = r.val ? text("  val {}", percent_text(r.val->accuracy)) : "";
    console.line(fmt::format("epoch {}/{}  loss {:.4f}  train {}{}  {:.0f} images/s", r.epoch, r.epochs,
                             r.loss, percent_text(r.accuracy), val, r.images_per_second));
  };

  // The limit is for all of it; the pool holds all but the tensors of the backbone's file.
  const Memory pool = Memory::counted(o.memory_limit > 0 ? o.memory_limit - memory.resident : 0);
  const Backbone backbone = counted_in(pool, memory.one_form ? with_one_form(opened) : opened);
  TuneResult result;
  {
    const SignalGuard guard(!processes.first());
    try {
      result =
          vitrine::tune(backbone, data, config, folder, o.resume, hooks, start ? &*start : nullptr, pool);
    } catch (const Error& e) {
      if (e.fault() != Fault::diverged) throw;
      fail(Fault::diverged, "{}; a smaller --lr, a longer --warmup or --clip 1 may help", e.what());
    }
  }
  console.clear();
  nlohmann::ordered_json json{{"command", "tune"}, {"folder", folder}, {"stopped", result.stopped}};
  if (result.stopped) {
    console.line(
        text("Stopped after step {} of {}; the state is saved in {}.", last.step, last.steps, folder));
    console.line(text("The same command with --out {} --resume goes on from there.", shell_word(folder)));
    console.result(json);
    return largest(processes, SignalGuard::exit_code());  // a signal may have come to some of them only
  }

  if (o.tensorboard) write_events(folder);  // also where a resumed run had nothing left to do
  const std::string task_path = (fs::path(folder) / "task.safetensors").string();
  json.update({{"task", task_path},
               {"method", method_text(config.model)},
               {"precision", name_of(opened.precision)},
               {"processes", processes.count()},
               {"device", o.place.device},
               {"classes", config.model.classes},
               {"train_samples", data.train.size()},
               {"epochs", config.epochs},
               {"steps", per_epoch * config.epochs},
               {"trained_parameters", count_parameters(config.model, net).tuned()},
               {"backbone_parameters", parameter_count(net)},
               {"memory_peak", peak_of(backbone, pool)},
               {"peak_rss_bytes", peak_rss_bytes()}});
  if (!backbone.on_device()) json["memory_forecast"] = memory_json(memory);
  std::string accuracy;
  if (!result.epochs.empty()) {
    const EpochReport& end = result.epochs.back();
    json["train"] = {{"accuracy", end.accuracy}, {"loss", end.loss}};
    json["images_per_second"] = end.images_per_second;
    if (end.val) {
      json["val"] = evaluation_json(*end.val);
      accuracy = text("val {}", evaluation_text(*end.val));
    }
  }
  RunRecord record{.version = VITRINE_VERSION,
                   .data = with_absolute_place(o.data),
                   .exif = open.exif,
                   .device = o.place.device,
                   .precision = name_of(opened.precision),
                   .train_samples = static_cast<int64_t>(data.train.size()),
                   .val_samples = static_cast<int64_t>(data.val.size()),
                   .trained_parameters = count_parameters(config.model, net).tuned(),
                   .backbone_parameters = parameter_count(net)};
  if (test_set) {
    const TunedModel model(backbone, result.task, DType::f32, pool);
    const Evaluation test = evaluate(
        model, test_set, all_samples(*test_set), data.preprocess,
        images_at_once(config, static_cast<int64_t>(data.train.size())), config.workers, config.max_bad,
        nullptr, [&](int64_t done, int64_t all) { console.progress(done, all, 0, "test images"); }, pool,
        &processes);
    console.clear();
    json["test"] = evaluation_json(test);
    record.test_accuracy = test.accuracy;
    record.test_loss = test.loss;
    record.test_samples = test.samples;
    accuracy += text("{}test {}", accuracy.empty() ? "" : "; ", evaluation_text(test));
  }
  record.choice = choice_text(o);
  save_run_record(folder, record);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  json["seconds"] = seconds;
  std::error_code ignored;
  const auto size = fs::file_size(task_path, ignored);
  if (!accuracy.empty()) console.item("Accuracy", accuracy);
  const size_t rss = peak_rss_bytes();
  console.item("Time",
               text("{}, at most {} in tensors{}{}", time_text(seconds), bytes_text(peak_of(backbone, pool)),
                    backbone.on_device() ? text(" on {}", o.place.device) : "",
                    rss > 0 ? text(", {} in the whole process", bytes_text(rss)) : ""));
  console.item(
      "Files",
      text("{}{}, {}, {}{}", task_path, ignored ? "" : text(" ({})", bytes_text(size)),
           (fs::path(folder) / "metrics.jsonl").string(), (fs::path(folder) / "run.json").string(),
           o.tensorboard ? text(", {}", (fs::path(folder) / "events.out.tfevents.*").string()) : ""));
  // As it was trained: packed in the same precision; the task remembers its backbone.
  const std::string from =
      text("{}{}{}", o.place.on_device() ? text(" --device {}", shell_word(o.place.device)) : "",
           o.place.given && (o.place.on_device() || *o.place.given != Precision::f32)
               ? text(" --precision {}", name_of(*o.place.given))
               : "",
           o.place.tf32 ? " --tf32" : "");
  console.command("Next", text("predict --task {}{} IMAGE...", shell_word(task_path), from));
  console.command("",
                  text("eval --task {}{} --data {}", shell_word(task_path), from, other_pictures(o.data)));
  console.command("", text("report {}{}", shell_word(folder), from));
  console.command("", text("inspect {}", shell_word(task_path)));
  if (o.tensorboard) console.item("", text("tensorboard --logdir {}", shell_word(folder)));
  console.result(json);
  return 0;
}

}  // namespace vitrine::cli
