// bench_load.cpp: `vitrine bench load`. How long a checkpoint takes to open, and what memory that takes.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "engine/parallel.h"
#include "engine/text.h"

namespace vitrine::cli {

int bench_load(const LoadBenchOptions& o, Console& console) {
  const size_t before = peak_rss_bytes();
  size_t growth = 0, weights = 0;
  std::vector<double> seconds;
  for (int64_t run = 0; run < o.runs; ++run) {
    const double began = now();
    const Pretrained opened = open_pretrained(o.file, o.hints);
    seconds.push_back(now() - began);
    if (run > 0) continue;
    growth = peak_rss_bytes() - before;
    weights = opened.backbone.stored_bytes;
    console.item("Backbone", text("{}, {}", describe(opened.backbone.config), opened.dialect));
    console.item("Stored", text("{}, {}", opened.backbone.stored_types, bytes_text(weights)));
  }
  const auto [least, most] = std::ranges::minmax(seconds);
  console.item("Time", fmt::format("{:.3f} s, the middle of {}, {:.3f} to {:.3f}; the first {:.3f}",
                                   median(seconds), plural(o.runs, "run"), least, most, seconds[0]));
  const double copies = static_cast<double>(growth) / static_cast<double>(weights);
  console.item("Memory", fmt::format("{} more at most, mapped pages included: {:.2f} times the weights",
                                     bytes_text(growth), copies));
  console.result({{"command", "bench load"},
                  {"file", o.file},
                  {"seconds", seconds},
                  {"weights", weights},
                  {"memory", growth},
                  {"threads", thread_count()}});
  return 0;
}

}  // namespace vitrine::cli
