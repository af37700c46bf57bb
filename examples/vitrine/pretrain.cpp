// pretrain.cpp: `vitrine pretrain`.
#include "models/training/pretrain.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "commands.h"
#include "engine/text.h"
#include "signals.h"

namespace vitrine::cli {

namespace {

// A file of JSON lines that grows while the run goes on.
class Log {
 public:
  Log(const std::string& path, bool append)
      : path_(path), file_(std::fopen(path.c_str(), append ? "a" : "w"), &std::fclose) {
    if (!file_) fail_here();
  }
  void line(const nlohmann::ordered_json& json) {
    const std::string words = json.dump() + "\n";
    if (std::fwrite(words.data(), 1, words.size(), file_.get()) != words.size() ||
        std::fflush(file_.get()) != 0)
      fail_here();
  }

 private:
  [[noreturn]] void fail_here() const {
    fail(Fault::output, "cannot write {}: {}", quote(path_), std::generic_category().message(errno));
  }
  std::string path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

TransformerConfig model_of(const PretrainOptions& o) {
  TransformerConfig config;
  if (o.swin) {
    SwinConfig c{.image_size = 32, .patch = o.patch.value_or(2), .width = o.width.value_or(48)};
    c.depths = o.depth.empty() ? std::vector<int64_t>{2, 4, 4} : o.depth;
    c.heads = o.heads.empty() ? std::vector<int64_t>{2, 4, 8} : o.heads;
    c.window = o.window.value_or(4);
    config = c;
  } else {
    check(o.depth.size() <= 1 && o.heads.size() <= 1, "--depth and --heads: a ViT takes one number");
    check(!o.window, "--window: a ViT has no windows; --model swin has");
    VitConfig c{.image_size = 32, .patch = o.patch.value_or(4), .width = o.width.value_or(128)};
    c.depth = o.depth.empty() ? 6 : o.depth[0];
    c.heads = o.heads.empty() ? 4 : o.heads[0];
    c.mlp_width = 4 * c.width;
    config = c;
  }
  check_config(config);
  return config;
}

}  // namespace

int pretrain(const PretrainOptions& o, Console& console) {
  PretrainConfig config;
  config.model = model_of(o);
  config.steps = o.steps;
  config.batch = o.batch;
  config.learning_rate = o.learning_rate;
  config.weight_decay = o.weight_decay;
  config.warmup = o.warmup;
  config.thumbnail_weight = o.thumbnail_weight;
  config.edge_weight = o.edge_weight;
  config.fresh_prompts = o.fresh_prompts;
  config.seed = o.seed;

  const auto device = open_device(o.place);
  check(o.out != o.state, "--out and --state: expected two files, got {} for both", quote(o.out));
  std::optional<TensorFile> start;
  if (!o.init.empty()) start = open_tensors(o.init);
  prepare_output(o.out);
  if (!o.state.empty()) prepare_output(o.state);
  const bool resumed = !o.state.empty() && std::filesystem::exists(o.state);
  std::optional<Log> log;
  if (o.steps > 0)
    log.emplace(std::filesystem::path(o.out).replace_extension(".log.jsonl").string(), resumed);
  console.item("Model", text("{}, {} parameters", describe(config.model),
                             million_text(parameter_count(config.model))));
  if (device != nullptr) console.item("Device", device->description());
  console.item("Steps", text("{} of {} pictures{}", count_text(o.steps), o.batch,
                             resumed ? text("; goes on from {}", quote(o.state)) : ""));

  PretrainReport last{};
  const auto report = [&](const PretrainReport& r) {
    last = r;
    nlohmann::ordered_json line{{"step", r.step},
                                {"loss", r.loss},
                                {"class_loss", r.class_loss},
                                {"family_loss", r.family_loss},
                                {"attribute_loss", r.attribute_loss},
                                {"thumbnail_loss", r.thumbnail_loss},
                                {"edge_loss", r.edge_loss},
                                {"accuracy", r.accuracy},
                                {"learning_rate", r.learning_rate},
                                {"images_per_second", r.images_per_second}};
    if (r.prompted_accuracy) line["prompted_accuracy"] = *r.prompted_accuracy;
    if (log) log->line(line);
    console.progress(r.step, r.steps, r.images_per_second,
                     fmt::format("loss {:.3f}  accuracy {}", r.loss, percent_text(r.accuracy)));
  };
  const Memory home = device == nullptr ? Memory() : device->memory();
  std::optional<TensorFile> file;
  int stopped = 0;
  {
    const SignalGuard guard;
    file = vitrine::pretrain(
        config, o.every, o.state, report, [] { return SignalGuard::caught(); }, start ? &*start : nullptr,
        home);
    if (!file) stopped = SignalGuard::exit_code();
  }
  console.clear();
  tell_notes(home, console);
  nlohmann::ordered_json json{
      {"command", "pretrain"}, {"stopped", stopped != 0}, {"step", last.step}, {"steps", o.steps}};
  if (last.step > 0) json.update({{"loss", last.loss}, {"accuracy", last.accuracy}});
  if (stopped != 0) {
    console.line(text("Stopped after step {} of {}{}", last.step, o.steps,
                      o.state.empty() ? "; without --state nothing was saved."
                                      : text("; the same command goes on from {}.", quote(o.state))));
  } else {
    if (o.bf16)
      for (auto& [name, tensor] : file->tensors) tensor = tensor.to(DType::bf16);
    save_safetensors(o.out, *file);
    json["out"] = o.out;
    if (last.step > 0)
      console.item("Loss", fmt::format("{:.4f}, accuracy {}", last.loss, percent_text(last.accuracy)));
    console.item("File", text("{} ({})", o.out, bytes_text(std::filesystem::file_size(o.out))));
  }
  console.result(json);
  return stopped;
}

}  // namespace vitrine::cli
