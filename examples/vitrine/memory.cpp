// memory.cpp: `vitrine bench memory`. What a training step needs for each image, by how many blocks are computed again
// in backward.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "engine/parallel.h"

namespace vitrine::cli {

int bench_memory(const MemoryOptions& o, Console& console) {
  const Backbone backbone = backbone_of(o, 0, {});
  TuneConfig config;
  config.model = o.method;
  config.model.classes = o.classes;
  if (config.model.prompts.kind != PromptKind::none) config.model.prompts.count = o.prompts;
  config.batch = o.batch;
  config.optimizer.kind = o.optimizer;
  config.workers = 0;
  MemoryPlanner planner(backbone, config, o.batch);
  const int64_t all = planner.most_recompute();
  console.item(
      "Model",
      text("{}; {}{}, batch {}, {}{}", describe(backbone.config), method_text(o.method),
           config.model.prompts.count > 0 ? text(", {}", plural(config.model.prompts.count, "prompt")) : "",
           o.batch, plural(thread_count(), "thread"), packed_text(o)));
  nlohmann::ordered_json modes = nlohmann::ordered_json::array();
  for (const int64_t recompute : {int64_t{0}, (all + 1) / 2, all}) {
    const MemoryForecast forecast = planner.forecast(recompute, 1);
    console.item(fmt::format("{} of {}", recompute, all + 1), memory_text(forecast));
    modes.push_back(memory_json(forecast));
  }
  console.result({{"command", "bench memory"},
                  {"model", o.backbone.value_or(o.model)},
                  {"method", method_text(o.method)},
                  {"batch", o.batch},
                  {"prompts", config.model.prompts.count},
                  {"classes", o.classes},
                  {"precision", name_of(o.place.precision())},
                  {"one_form", o.one_form},
                  {"threads", thread_count()},
                  {"blocks", all + 1},
                  {"modes", modes}});
  return 0;
}

}  // namespace vitrine::cli
