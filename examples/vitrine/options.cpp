// options.cpp: the options of all commands and their help.
#include "options.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>

#include "adder.h"
#include "data/suite.h"
#include "engine/instruction_set.h"
#include "options_sweep.h"

namespace vitrine::cli {

namespace {

constexpr const char* overview =
    "vitrine: small trainable prompts in front of a frozen Vision Transformer\n\n"
    "  vitrine tune      train prompts and a head for a data set: a small task file\n"
    "  vitrine sweep     methods by tasks: settings are searched, seeds tested once\n"
    "  vitrine table     the table of such a comparison, beside the paper's\n"
    "  vitrine eval      the accuracy of a task file on a data set\n"
    "  vitrine predict   the classes of image files\n"
    "  vitrine serve     tasks of one backbone over HTTP, learned and asked there\n"
    "  vitrine report    a run as an HTML page: curves, mistakes, attention, features\n"
    "  vitrine inspect   what a backbone, a task file or other tensors hold\n"
    "  vitrine convert   writes a backbone as one safetensors file\n"
    "  vitrine pretrain  a backbone from nothing, out of pictures drawn by formulas\n"
    "  vitrine bench     speed of a step, a pass, the matrix product and of opening a\n"
    "                    checkpoint; memory: bench step, infer, gemm, load, memory\n\n"
    "  vitrine COMMAND --help tells more (vitrine tune --help all: every option),\n"
    "  vitrine --version which version this is.\n"
    "  To begin:  vitrine tune --data synthetic:shapes --epochs 5\n\n"
    "Exit status: 0 done, 1 wrong input or options, 2 reading or writing failed,\n"
    "3 training diverged, 4 not enough memory or no such device, 130 or 143 stopped\n"
    "by a signal (tune, sweep and pretrain --state save first).\n";

constexpr const char* bench_overview =
    "vitrine bench: how fast this machine is at it, and what it needs\n\n"
    "  vitrine bench step   one training step: forward, loss, backward, optimizer\n"
    "  vitrine bench infer  one forward pass of a tuned model\n"
    "  vitrine bench gemm   the matrix product, and the peak of the arithmetic units\n"
    "  vitrine bench memory a step's memory, by how much backward computes again\n"
    "  vitrine bench load   opening a checkpoint\n\n"
    "  vitrine bench step --help tells more, and so on.\n";

constexpr const char* backbone_what = "a ViT's or Swin's file or folder, builtin or builtin-swin [builtin]";
constexpr const char* task_backbone_what = "the backbone [the one that the task file names]";
constexpr const char* size_what = "side in pixels of the squares that the net sees [as it was trained]";
constexpr const char* data_what =
    "folder:DIR (DIR/train|val|test/CLASS/* or DIR/CLASS/*), vtab:DIR, fgvc:DIR, cifar10:DIR, cifar100:DIR, "
    "fashion-mnist:DIR, tensors:FILE, synthetic:shapes (or stripes, colors), mini:count (or creatures, "
    "textures, "
    "cells, terrain, position, orientation, distance; mini:count?test=N tests N) (required)";

void add_tune(Adder& add, TuneOptions& o) {
  TuneConfig& c = o.config;
  add.often_used({"--backbone",     "--image-size", "--device",  "--data", "--train-limit", "--val",
                  "--flip",         "--method",     "--prompts", "--init", "--epochs",      "--batch",
                  "--lr",           "--wd",         "--seed",    "--out",  "--resume",      "--no-test",
                  "--memory-limit", "--threads",    "--json"});
  add.group("Backbone and data");
  add.path("--backbone", "FILE", backbone_what, o.backbone);
  add.hints(o.hints, size_what);
  add.placement(o.place);
  add.path("--data", "SPEC", data_what, o.data)->required();
  add.count("--train-limit", "N", "use only N training images, equally many of each class", o.train_limit);
  add.count("--val", "N", "split N training images off for validation [the data's own split]", o.val, 0);
  add.seed("--data-seed", "which images those are [0]", o.data_seed);
  add.one_of<ResizeMode>("--resize", "crop|squash", "how images become squares [as the backbone's were]",
                         o.resize, {{"crop", ResizeMode::crop}, {"squash", ResizeMode::squash}});
  add.flag("--exif", "turn photos as their EXIF block asks; the task remembers it", o.exif);
  add.flag("--flip", "mirror half of the training images", c.augment.flip);
  add.words("--random-crop", "S", "train on random parts, at least S of the area (0.08 is usual)",
            [&c](const std::string& words) {
              c.augment.crop_scale_min = real("--random-crop", words, 0.01, 1);
              c.augment.crop = true;
            });
  add.flag("--random-shift", "train on squares at random places, not from the middle", c.augment.shift);
  add.count("--max-bad", "N", "damaged images to leave out before it is an error [0]", c.max_bad, 0);
  add.group("What is trained");
  add.method(
      "vpt-deep, vpt-shallow, vpt-gated, vpt-deep+bias, linear, mlp-3, full,\n"
      "                              partial-1, bias, adapter-8, cls, sidetune, lora-8 or ssf [vpt-deep]",
      o.method);
  add.count("--prompts", "P", "prompt tokens; vpt-deep has as many for each block [10]", o.prompts, 1,
            1 << 16);
  add.count("--prompt-projection", "K", "train prompts of K numbers and a map to the backbone's width",
            o.prompt_projection, 1, 1 << 16);
  add.prompt_variant(o.variant);
  add.number("--prompt-dropout", "R", "share of prompt values left out in training [0]", o.prompt_dropout, 0,
             0.999999);
  add.number("--drop-path", "R", "how often the last block is left out in training [0]", o.drop_path, 0,
             0.999999);
  add.one_of<bool>("--head-init", "paper|zero",
                   "how the head starts: kaiming normal, as in VPT's code, or zeros [zero]", o.paper_head,
                   {{"paper", true}, {"zero", false}});
  add.path("--init", "TASK", "start from this task file, with its method and prompts", o.init);
  add.group("How it is trained");
  add.count("--epochs", "E", "passes over the images [50; full 20]; 0 writes the untrained task", o.epochs, 0,
            1 << 20);
  add.count("--batch", "B", "images per step [64]", o.batch, 1, 1 << 20);
  add.count("--accumulate", "N", "work off a batch in N parts, which takes less memory [one a process]",
            o.accumulate, 1, 1 << 20);
  add.optimizer("how gradients become steps [adamw]", o.optimizer);
  add.number("--momentum", "M", "of sgd [0.9]", o.momentum, 0, 0.999999);
  CLI::Option* absolute = add.number(
      "--lr", "R", "learning rate [adamw 0.001, full 0.0001; sgd 0.1, full 0.01]", o.learning_rate);
  add.number("--base-lr", "R", "the same for 256 images per step; R * batch / 256 is taken",
             o.base_learning_rate)
      ->excludes(absolute);
  add.number("--wd", "W", "weight decay [0.0001; adamw full 0.05; sgd linear 0]", o.weight_decay);
  add.number("--clip", "G", "longer gradients are cut to this norm [none]", c.clip);
  add.one_of<Schedule>("--schedule", "cosine|constant", "learning rate after the warm-up [cosine]",
                       c.schedule, {{"cosine", Schedule::cosine}, {"constant", Schedule::constant}});
  add.number("--warmup", "E", "epochs of rising learning rate [a tenth, at most 5]", o.warmup, 0, 1 << 20);
  add.number("--label-smoothing", "S", "share of the target spread over all classes [0]", c.smoothing, 0,
             0.999999);
  add.one_of<bool>("--class-weights", "balanced|none", "balanced: weigh rare classes more [none]",
                   c.balance_classes, {{"balanced", true}, {"none", false}});
  add.one_of<bool>("--order", "shuffled|sequential", "of the images in an epoch [shuffled]", c.sequential,
                   {{"shuffled", false}, {"sequential", true}});
  add.seed("--seed", "of everything random but --data-seed's choice [0]", c.seed);
  add.one_of<bool>("--keep", "last|best", "which epoch's task, best by validation [last]", c.keep_best,
                   {{"last", false}, {"best", true}});
  add.group("The run");
  add.path("--out", "DIR", "run folder [runs/DATA-METHOD-n]", o.out);
  add.flag("--resume", "go on with the run in that folder", o.resume);
  add.flag("--no-test", "leave out the accuracy on the test split", o.no_test);
  add.flag("--tensorboard", "write the metrics for TensorBoard, too, into the run folder", o.tensorboard);
  add.words("--memory-limit", "BYTES",
            "keep to it, such as 800M or 2G (MiB, GiB), if need be by packing\n"
            "                              matrices once, then by computing blocks again [none]",
            [&o](const std::string& words) { o.memory_limit = bytes("--memory-limit", words); });
  add.count("--workers", "W", "threads that load images [1]", c.workers, 0, 256);
  add.common(o.common);
}

void add_eval(Adder& add, EvalOptions& o) {
  add.group("What");
  add.each("--task", "FILE", "task file of vitrine tune (required); several are asked as an ensemble",
           o.tasks)
      ->required();
  add.path("--data", "SPEC", data_what, o.data)->required();
  add.one_of<Split>("--split", "S", "test, val, train, train_val or all [test if there is one]", o.split,
                    {{"test", Split::test},
                     {"val", Split::val},
                     {"train", Split::train},
                     {"train_val", Split::train_val},
                     {"all", Split::all}});
  add.path("--backbone", "FILE", task_backbone_what, o.backbone);
  add.hints(o.hints);
  add.placement(o.place);
  add.flag("--exif", "turn photos as their EXIF block asks [as the task was tuned]", o.exif);
  CLI::Option* bad =
      add.count("--max-bad", "N", "damaged images to leave out before it is an error [0]", o.max_bad, 0);
  add.group("How");
  add.path("--logits-out", "FILE", "safetensors with logits (N, C) and labels (N) in the data's order",
           o.logits_out)
      ->excludes(bad);
  add.count("--batch", "B", "images at once [64], of an ensemble for all members together", o.batch, 1,
            1 << 20);
  add.count("--workers", "W", "threads that load images [1]", o.workers, 0, 256);
  add.common(o.common);
}

void add_predict(Adder& add, PredictOptions& o) {
  add.group("What");
  add.each("--task", "FILE", "task file [the backbone's own head]; several are asked as an ensemble",
           o.tasks);
  add.path("--backbone", "FILE", task_backbone_what, o.backbone);
  add.path("--class-names", "FILE", "names of the backbone's classes: JSON list, JSON object or lines",
           o.class_names);
  add.hints(o.hints, size_what);
  add.placement(o.place);
  add.count("--top", "K", "classes to show of each image [5]", o.top, 1, 1 << 20);
  add.flag("--exif", "turn photos as their EXIF block asks [as the task was tuned]", o.exif);
  add.group("How");
  add.common(o.common);
}

void add_serve(Adder& add, ServeOptions& o) {
  add.group("What");
  add.path("--tasks", "DIR", "where task files lie, and uploaded and learned ones are kept (required)",
           o.tasks)
      ->required();
  add.path("--backbone", "FILE", backbone_what, o.backbone);
  add.hints(o.hints, size_what);
  add.placement(o.place);
  add.path("--token-file", "FILE",
           "the token for changes [VITRINE_TOKEN in the environment; else no changes]", o.token_file);
  add.path("--data-root", "DIR", "tunings take their pictures from folders in it [none: no tunings]",
           o.data_root);
  add.group("How");
  add.words("--host", "ADDRESS", "where to listen [127.0.0.1: this machine alone]",
            [&o](const std::string& words) { o.host = words; });
  add.count("--port", "N", "0: any that is free [8080]", o.port, 0, 65535);
  add.count("--batch", "B", "pictures that are asked together, if so many wait [16]", o.batch, 1, 4096);
  add.count("--queue", "N", "pictures that may wait; for more there is 503 [32]", o.queue, 1, 1 << 20);
  add.count("--connections", "N", "requests at once; as many may wait, for more there is 503 [64]",
            o.connections, 1, 4096);
  add.words("--max-body", "BYTES", "of a picture or a task file, such as 8M [16M]",
            [&o](const std::string& words) { o.body = bytes("--max-body", words); });
  add.number("--timeout", "S", "seconds for a request to come in, and for its answer to go out [10]",
             o.timeout, 0.1, 3600);
  add.count("--max-tasks", "N", "tasks that may be ready at once [1000]", o.most_tasks, 1, 1 << 20);
  add.count("--max-tunings", "N", "tunings that may wait for their turn [8]", o.tunings, 1, 1000);
  add.common(o.common);
}

void add_report(Adder& add, ReportOptions& o) {
  add.group("What");
  add.path("--data", "SPEC", "where the pictures come from [the data that the run was trained on]", o.data);
  add.one_of<Split>(
      "--split", "S", "test, val, train or all [test if there is one]", o.split,
      {{"test", Split::test}, {"val", Split::val}, {"train", Split::train}, {"all", Split::all}});
  add.count("--images", "N", "mistakes to show [24], and a quarter as many pictures with attention", o.images,
            0, 1000);
  add.count("--embedding", "N", "pictures whose features are laid out in the plane [1000]", o.embedding, 0,
            4000);
  add.path("--out", "FILE", "the page [RUN/report.html]", o.out);
  add.path("--backbone", "FILE", task_backbone_what, o.backbone);
  add.hints(o.hints);
  add.placement(o.place);
  add.flag("--exif", "turn photos as their EXIF block asks [as the task was tuned]", o.exif);
  add.count("--max-bad", "N", "damaged images to leave out before it is an error [0]", o.max_bad, 0);
  add.group("How");
  add.count("--batch", "B", "images at once [64]", o.batch, 1, 1 << 20);
  add.count("--workers", "W", "threads that load images [1]", o.workers, 0, 256);
  add.common(o.common);
}

void add_pretrain(Adder& add, PretrainOptions& o) {
  add.group("The model");
  add.path("--out", "FILE", "where the backbone goes (required); beside it a log, .log.jsonl", o.out)
      ->required();
  add.one_of<bool>("--model", "vit|swin", "[vit]", o.swin, {{"vit", false}, {"swin", true}});
  add.count("--width", "D", "of the tokens [128; swin 48], doubled in each further stage of a Swin", o.width,
            1, 1 << 14);
  add.counts("--depth", "L", "blocks [6], of a Swin for each stage [2,4,4]", o.depth, 1024);
  add.counts("--heads", "H", "attention heads [4], of a Swin for each stage [2,4,8]", o.heads, 4096);
  add.count("--patch", "P", "side of a patch in the 32 pixels of a picture [4; swin 2]", o.patch, 1, 32);
  add.count("--window", "W", "side of a Swin's windows, in tokens [swin 4]", o.window, 1, 32);
  add.flag("--bf16", "store weights in 16 bits (this is the default)", o.bf16);
  add.flag("--f32", "store weights in 32 bits", o.bf16, false);
  add.group("The training");
  add.path("--init", "FILE", "start from this backbone of the same configuration, or builtin(-swin)", o.init);
  add.count("--steps", "N", "[9000]; 0 writes the weights it starts from", o.steps, 0);
  add.count("--batch", "B", "pictures in a step [32]", o.batch, 1, 1 << 20);
  add.number("--lr", "R", "AdamW's learning rate [0.001]", o.learning_rate);
  add.number("--wd", "W", "weight decay [0.05]", o.weight_decay);
  add.count("--warmup", "N", "steps of rising learning rate [500]", o.warmup, 0);
  add.number("--thumbnail-weight", "W", "of reading a thumbnail off the picture, beside its class [0]",
             o.thumbnail_weight);
  add.number("--edge-weight", "W", "of reading the edges of its parts off it [0]", o.edge_weight);
  add.count("--fresh-prompts", "N", "in every second step 1 to N fresh prompts beside the tokens [0]",
            o.fresh_prompts, 0, 1 << 16);
  add.seed("--seed", "of weights and pictures [1]", o.seed);
  add.count("--every", "N", "steps between reports and saved states [100]", o.every);
  add.path("--state", "FILE", "saved state; if it exists, the run goes on from it", o.state);
  add.device(o.place);
  add.common(o.common);
}

void add_inspect(Adder& add, InspectOptions& o) {
  add.group("Options");
  add.hints(o.hints, size_what);
  add.common(o.common);
}

void add_convert(Adder& add, ConvertOptions& o) {
  add.group("Options");
  add.path("--out", "FILE", "where the backbone goes (required)", o.out)->required();
  add.path("--class-names", "FILE",
           "names of its own head's classes, for predict [as its config.json has them]", o.class_names);
  add.one_of<DType>("--dtype", "f32|f16|bf16|int8",
                    "of its numbers [f32]; fewer bits take less, and are rounded", o.dtype,
                    {{"f32", DType::f32}, {"f16", DType::f16}, {"bf16", DType::bf16}, {"int8", DType::i8}});
  add.hints(o.hints, size_what);
  add.common(o.common);
}

// Of all kinds that need one.
constexpr const char* one_form_what = "pack each matrix once, not for forward and for backward";

void add_bench_model(Adder& add, BenchModel& o) {
  add.group("The model");
  add.path("--model", "NAME",
           "vit-b16, swin-t and the like, weights random; or builtin, builtin-swin\n"
           "                              [vit-ti16]",
           o.model);
  add.path("--backbone", "FILE", "this file instead", o.backbone);
  add.hints(o.hints);
  add.method("as of vitrine tune [vpt-deep]", o.method);
  add.count("--classes", "C", "of the head [100]", o.classes, 2, 1 << 20);
}

void add_bench_memory(Adder& add, MemoryOptions& o) {
  add_bench_model(add, o);
  add.precision(o.place.given);
  add.count("--prompts", "P", "prompt tokens [10]", o.prompts, 1, 1 << 16);
  add.group("The step");
  add.flag("--one-form", one_form_what, o.one_form);
  add.count("--batch", "B", "images [8]", o.batch, 1, 1 << 20);
  add.optimizer("how gradients become steps [sgd]", o.optimizer);
  add.common(o.common);
}

void add_bench_times(Adder& add, BenchOptions& o) {
  add.count("--batch", "B", "images [8]", o.batch, 1, 1 << 20);
  add.count("--steps", "N", "timed steps [5]", o.steps, 1, 1 << 20);
  add.count("--warmup", "N", "untimed steps before them [2]", o.warmup, 0, 1 << 20);
  add.seed("--seed", "of weights and images [0]", o.seed);
  add.common(o.common);
}

void add_bench_step(Adder& add, BenchOptions& o) {
  add_bench_model(add, o);
  add.placement(o.place);
  add.count("--prompts", "P", "prompt tokens [10]", o.prompts, 1, 1 << 20);
  add.group("The step");
  add.optimizer("how gradients become steps [sgd]", o.optimizer);
  add.flag("--one-form", one_form_what, o.one_form);
  add.count("--recompute", "K", "blocks, the first ones, computed again in backward to save memory [0]",
            o.recompute, 0, 1 << 20);
  add.flag("--eager", "on a device, start every kernel anew instead of a recorded step", o.eager);
  add_bench_times(add, o);
}

void add_bench_infer(Adder& add, BenchOptions& o) {
  o.infer = true;
  add_bench_model(add, o);
  add.placement(o.place);
  add.count("--prompts", "P", "prompt tokens [10]; 0: none, a head alone", o.prompts, 0, 1 << 20);
  add.group("The pass");
  add_bench_times(add, o);
}

void add_bench_load(Adder& add, LoadBenchOptions& o) {
  add.group("How");
  add.hints(o.hints, size_what);
  add.count("--runs", "N", "how often [5]", o.runs, 1, 1 << 20);
  add.common(o.common);
}

void add_bench_gemm(Adder& add, GemmBenchOptions& o) {
  add.group("How");
  add.precision(o.precision);
  add.number("--seconds", "S", "of each measurement [0.3]", o.seconds, 1e-3, 60);
  add.common(o.common);
}

// Fills `options` from the words behind the command, or gives the help.
template <class Options>
Request read(const std::string& command, const std::string& usage, const char* what,
             std::vector<std::string> words, void (*add)(Adder&, Options&),
             std::vector<std::string> Options::*many = nullptr, std::string Options::*one = nullptr,
             const char* positional = "") {
  Options options;
  options.common.command = command;
  CLI::App app(what);
  app.set_help_flag();
  Adder adder(app);
  add(adder, options);
  for (size_t i = 0; i < words.size() && words[i] != "--"; ++i)
    if (words[i] == "--help" || words[i] == "-h") {
      const bool all = i + 1 < words.size() && words[i + 1] == "all";
      return Show{help_of(app, usage, all ? std::vector<std::string>{} : adder.often_used())};
    }
  std::vector<std::string> positionals = take_positionals(app, words);
  check(positionals.empty() ? !many && !one : many || (one && positionals.size() == 1), "expected {}, got {}",
        many  ? text("at least one {}", positional)
        : one ? text("one {}", positional)
              : "options only",
        positionals.empty() ? "none" : quote(positionals[one && positionals.size() > 1 ? 1 : 0]));
  if (!positionals.empty()) options.common.given[positional] = positionals;
  if (many) options.*many = std::move(positionals);
  if (one) options.*one = positionals[0];
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));  // CLI11 takes them last first
  } catch (const CLI::ParseError& e) {
    const std::string said = e.what(), name = said.substr(0, said.find(':'));
    const auto times = std::ranges::count_if(
        words, [&](const std::string& word) { return word == name || word.starts_with(name + "="); });
    check(times < 2, "{} is there {} times, and may be once; where it takes a list, that is one word: A,B,C",
          name, times);
    fail(Fault::input, "{}", said);
  }
  for (const CLI::Option* option : app.get_options())
    if (option->count() > 0) options.common.given[option->get_name()] = option->results();
  return options;
}

Request parse_bench(std::vector<std::string> words) {
  constexpr std::array<std::string_view, 5> kinds{"step", "infer", "gemm", "memory", "load"};
  const std::string kind = words.empty() ? "" : words[0];
  if (kind == "--help" || kind == "-h") return Show{bench_overview};
  if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end())
    fail(Fault::input, "expected `vitrine bench step`, `infer`, `gemm`, `memory` or `load`{}",
         kind.empty() ? "" : text(", got {}", quote(kind)));
  words.erase(words.begin());
  if (kind == "step")
    return read<BenchOptions>(
        "bench", "bench step [options]",
        "Times one training step (forward, loss, backward, optimizer) on a fixed random batch.", words,
        add_bench_step);
  if (kind == "infer")
    return read<BenchOptions>("bench", "bench infer [options]",
                              "Times a forward pass of a tuned model, as predict makes it.", words,
                              add_bench_infer);
  if (kind == "memory")
    return read<MemoryOptions>("bench", "bench memory [options]",
                               "The memory of a training step, with no, half and all blocks but the last "
                               "computed again in backward.",
                               words, add_bench_memory);
  if (kind == "load")
    return read<LoadBenchOptions>("bench", "bench load FILE [options]",
                                  "Opens a checkpoint, as every command does, and lets it go again.", words,
                                  add_bench_load, nullptr, &LoadBenchOptions::file, "FILE");
  return read<GemmBenchOptions>(
      "bench", "bench gemm [options]",
      "The matrix product at the shapes of ViTs, as a share of the peak that it measures beside.", words,
      add_bench_gemm);
}

}  // namespace

namespace {

Request read_sweep(const std::vector<std::string>& words) {
  return read<SweepOptions>(
      "sweep", "sweep --suite FILE --out DIR [options]",
      "Compares methods on tasks: searches each one's settings, then tests every seed.\n"
      "The same command goes on where it was stopped. Several of it, started at once, by mpirun or as a job "
      "array, "
      "share the work. docs/comparison.md tells the protocol, docs/data.md the keys of a suite, vitrine "
      "table prints the "
      "results.",
      words, add_sweep);
}

// Options that concern the command as a whole, and those that say what a suite's tasks do.
constexpr std::array<std::string_view, 11> not_in_a_study{"suite",     "data",         "out",      "ledger",
                                                          "show-plan", "help",         "version",  "json",
                                                          "threads",   "instructions", "jobs-part"};

// The words of one sweep of a study, before those of the command line, whose options count before them.
std::vector<std::string> words_of_sweep(const std::vector<SuiteOption>& options,
                                        const SweepOptions& command) {
  const auto given = [&](const std::string& option) { return command.common.given.contains(option); };
  std::vector<std::string> out;
  for (const auto& [name, value] : options) {
    check(std::ranges::find(not_in_a_study, name) == not_in_a_study.end(), "--{} is for the command line",
          name);
    const bool other_rate = (name == "lr" && given("--base-lr")) || (name == "base-lr" && given("--lr"));
    if (given("--" + name) || other_rate) continue;
    // The backbone's file lies beside the suite.
    const bool beside = name == "backbone" && value && *value != "builtin" && *value != "builtin-swin";
    const std::string shown =
        beside ? (std::filesystem::path(*command.suite).parent_path() / *value).string() : value.value_or("");
    out.push_back(value ? text("--{}={}", name, shown) : "--" + name);
  }
  return out;
}

Request parse_sweep(const std::vector<std::string>& words) {
  Request request = read_sweep(words);
  const auto* command = std::get_if<SweepOptions>(&request);
  if (command == nullptr || !command->suite) return request;
  std::vector<SweepOptions> sweeps;
  for (const std::vector<SuiteOption>& options : read_suite(*command->suite).sweeps) {
    try {
      std::vector<std::string> all = words_of_sweep(options, *command);
      std::string said;
      for (const std::string& word : all) said += text("{}{}", said.empty() ? "" : " ", word);
      all.insert(all.end(), words.begin(), words.end());
      sweeps.push_back(std::get<SweepOptions>(read_sweep(all)));
      sweeps.back().of_study = said.empty() ? "as the command says" : said;
    } catch (const Error& e) {
      fail(e.fault(), "suite {}: sweep {}: {}", quote(*command->suite), sweeps.size() + 1, e.what());
    }
  }
  if (sweeps.empty()) return request;
  SweepOptions first = std::move(sweeps[0]);
  first.then.assign(std::make_move_iterator(sweeps.begin() + 1), std::make_move_iterator(sweeps.end()));
  return first;
}

Request version() { return Show{text("vitrine {} ({})\n", VITRINE_VERSION, instruction_set())}; }
}  // namespace

Request parse(int argc, const char* const* argv, std::string& command) {
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (words.empty())
    fail(Fault::input,
         "expected a command: tune, sweep, table, eval, predict, serve, report, inspect, convert, pretrain "
         "or bench; see vitrine --help");
  if (words[0] == "--version") return version();
  if (words[0] == "help") {  // `vitrine help tune` as `vitrine tune --help`, and `help tune all`
    words.erase(words.begin());
    words.insert(words.end() - (words.size() > 1 && words.back() == "all" ? 1 : 0), "--help");
  }
  if (words[0] == "--help" || words[0] == "-h") return Show{overview};

  constexpr std::array<std::string_view, 11> commands{"tune",    "sweep",    "table",  "eval",
                                                      "predict", "serve",    "report", "inspect",
                                                      "convert", "pretrain", "bench"};
  const std::string name = words[0];
  if (std::find(commands.begin(), commands.end(), name) == commands.end()) {
    const std::string meant = nearest(name, commands);
    fail(Fault::input, "{}{}{}", name[0] == '-' ? "unknown option " : "unknown command ", quote(name),
         meant.empty() ? "; see vitrine --help" : text("; did you mean {}?", meant));
  }
  command = name;
  words.erase(words.begin());
  for (const std::string& word : words)
    if (word == "--version") return version();

  if (name == "tune")
    return read<TuneOptions>(name, "tune --data SPEC [options]",
                             "Trains prompts and a head for a data set, or what another --method says. Under "
                             "mpirun processes share the "
                             "work.",
                             words, add_tune);
  if (name == "sweep") return parse_sweep(words);
  if (name == "table")
    return read<TableOptions>(name, "table FOLDER|LEDGER...",
                              "The table of what vitrine sweep found out, on standard output.", words,
                              add_table, &TableOptions::ledgers, nullptr, "FOLDER or LEDGER");
  if (name == "eval")
    return read<EvalOptions>(name, "eval --task FILE --data SPEC [options]",
                             "The accuracy of a task, or of several together, on a data set.", words,
                             add_eval);
  if (name == "predict")
    return read<PredictOptions>(name, "predict --task FILE IMAGE...  or  predict --backbone FILE IMAGE...",
                                "The most probable classes of JPEG, PNG and BMP files.", words, add_predict,
                                &PredictOptions::images, nullptr, "IMAGE");
  if (name == "serve")
    return read<ServeOptions>(
        name, "serve --tasks DIR [options]",
        "Keeps the tasks of one backbone ready and answers over HTTP: which class is this picture, "
        "by that task? Pictures of all tasks are asked in one batch. docs/serve.md tells the requests.",
        words, add_serve);
  if (name == "report")
    return read<ReportOptions>(
        name, "report RUN [options]",
        "One HTML page about a run folder of vitrine tune: curves, confusion, mistakes, "
        "attention and features. It needs nothing but itself to be shown.",
        words, add_report, nullptr, &ReportOptions::run, "RUN");
  if (name == "inspect")
    return read<InspectOptions>(name, "inspect FILE|builtin|builtin-swin",
                                "What a file holds: safetensors, .npz, .npy, or a checkpoint of PyTorch.",
                                words, add_inspect, nullptr, &InspectOptions::file, "FILE");
  if (name == "convert")
    return read<ConvertOptions>(name, "convert FILE|builtin|builtin-swin --out FILE",
                                "Writes a backbone in one form, whatever form it has.", words, add_convert,
                                nullptr, &ConvertOptions::backbone, "FILE");
  if (name == "pretrain")
    return read<PretrainOptions>(name, "pretrain --out FILE [options]",
                                 "Trains a small backbone from nothing, on pictures drawn by formulas.",
                                 words, add_pretrain);
  return parse_bench(std::move(words));
}

}  // namespace vitrine::cli
