// serve_metrics.cpp: what a server counts, in the text format of Prometheus (docs/serve.md).
#include <fmt/format.h>

#include <map>

#include "serve.h"

namespace vitrine::cli {

namespace {

// What a request is counted as, however many names there are.
std::string kind_of(const httplib::Request& request) {
  const std::string& path = request.path;
  if (path.starts_with("/tasks/") && path.ends_with("/predict")) return "predict";
  for (const char* kind : {"tasks", "tunings", "health", "metrics"})
    if (path.starts_with(text("/{}", kind))) return kind;
  return "other";
}

}  // namespace

void Service::count(const Request& request, const Response& response) {
  ++answered_;
  const std::lock_guard lock(counts_mutex_);
  ++counts_[{kind_of(request), response.status}];
}

void Service::tell_metrics(const HttpServer& server, Response& response) const {
  std::string out;
  const auto say = [&](const char* name, const char* type, const char* what, const auto& value) {
    out += fmt::format("# HELP vitrine_{} {}\n# TYPE vitrine_{} {}\nvitrine_{} {}\n", name, what, name, type,
                       name, value);
  };
  const PredictionQueue::Statistics queue = queue_.statistics();
  {
    const std::lock_guard lock(counts_mutex_);
    out +=
        "# HELP vitrine_requests_total Requests that were answered, by kind and status.\n# TYPE "
        "vitrine_requests_total counter\n";
    for (const auto& [what, number] : counts_)
      out += fmt::format("vitrine_requests_total{{kind=\"{}\",status=\"{}\"}} {}\n", what.first, what.second,
                         number);
    out +=
        "# HELP vitrine_predict_seconds Time of predictions from their head to their answer.\n# TYPE "
        "vitrine_predict_seconds histogram\n";
    for (size_t i = 0; i < bounds_.size(); ++i)
      out += fmt::format("vitrine_predict_seconds_bucket{{le=\"{}\"}} {}\n", bounds_[i], within_[i]);
    out += fmt::format(
        "vitrine_predict_seconds_bucket{{le=\"+Inf\"}} {}\nvitrine_predict_seconds_sum "
        "{}\nvitrine_predict_seconds_count {}\n",
        predicted_, predict_seconds_, predicted_);
  }
  say("turned_away_total", "counter", "Connections that got 503 because there were too many.",
      server.turned_away());
  say("pictures_total", "counter", "Pictures that went through the net.", queue.images);
  say("batches_total", "counter", "Batches in which they did.", queue.batches);
  say("computing_seconds_total", "counter", "Time of these batches.", queue.seconds);
  say("pictures_refused_total", "counter", "Pictures that got 503 because too many waited.", queue.refused);
  say("pictures_waiting", "gauge", "Pictures that wait for a batch.", queue.waiting);
  size_t bytes = 0, count = 0;
  for (const std::string& name : tasks_.set().names())
    if (const auto task = tasks_.find(name)) bytes += task->bytes, ++count;
  say("tasks", "gauge", "Tasks that are ready.", count);
  say("task_bytes", "gauge", "Memory of tensors that are kept for single tasks.", bytes);
  std::map<std::string, int> stages;
  for (const char* stage : {"waiting", "running", "done", "failed", "cancelled"}) stages[stage] = 0;
  for (const TuningState& state : tunings_.all()) ++stages[name_of(state.stage)];
  out +=
      "# HELP vitrine_tunings Tunings that wait and run, and the last hundred that ended.\n# TYPE "
      "vitrine_tunings gauge\n";
  for (const auto& [stage, number] : stages)
    out += fmt::format("vitrine_tunings{{state=\"{}\"}} {}\n", stage, number);
  say("uptime_seconds", "gauge", "Time since the start.", now() - began_);
  response.set_content(out, "text/plain; version=0.0.4; charset=utf-8");
}

}  // namespace vitrine::cli
