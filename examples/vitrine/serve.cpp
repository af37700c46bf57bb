// serve.cpp: `vitrine serve`. Opens the backbone and its tasks, answers until a signal comes, answers what had come by then,
// and says what it did.
#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/text.h"
#include "serve.h"
#include "signals.h"

namespace vitrine::cli {

namespace {

// Without what an editor puts behind the last line.
std::string token_of(const ServeOptions& o) {
  std::string token;
  const char* const from = o.token_file ? "--token-file" : "VITRINE_TOKEN";
  if (o.token_file) {
    const std::vector<std::byte> bytes = read_file(*o.token_file);
    token.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  } else if (const char* const environment = std::getenv("VITRINE_TOKEN")) {
    token = environment;
  } else {
    return {};
  }
  constexpr size_t shortest = 16, longest = 1024;
  check(token.size() >= shortest && token.size() <= longest,
        "{}: expected a token of {} to {} characters, got {}", from, shortest, longest, token.size());
  for (const char c : token)
    check(c > ' ' && c < '\x7f', "{}: expected a token of printable ASCII without spaces", from);
  return token;
}

}  // namespace

void become_server(const char* const*) {}

int serve(const ServeOptions& o, Console& console) {
  const std::string token = token_of(o);
  const Backbone backbone = with_identity(placed(open_backbone(o.backbone, o.hints), o.place));
  KeptTasks tasks(backbone, o.tasks, o.most_tasks, [&](const std::string& words) { console.note(words); });
  Service service(o, backbone, token, tasks);
  HttpServer server(
      {.connections = static_cast<size_t>(o.connections), .body = o.body, .seconds = o.timeout});
  service.answer_at(server);
  const SignalGuard guard(true);
  const int port = server.bind(o.host, o.port);
  console.item("Backbone", text("{}: {}{}", quote(backbone.source),
                                describe(with_classes(backbone.config, 0)), place_text(o.place)));
  console.item("Tasks",
               text("{} in {}{}", plural(static_cast<int64_t>(tasks.set().size()), "task"), quote(o.tasks),
                    tasks.set().size() == 0 ? "" : ": " + class_list(tasks.set().names())));
  console.item("Changes",
               token.empty()
                   ? "none are taken: there is no --token-file and no VITRINE_TOKEN"
                   : text("with the token of {}{}", o.token_file ? quote(*o.token_file) : "VITRINE_TOKEN",
                          o.data_root ? text("; tunings learn from folders in {}", quote(*o.data_root))
                                      : "; no tunings, for there is no --data-root"));
  console.item("Bounds", text("{} at once, {} that wait, batches of at most {}, bodies of at most {}, {} s "
                              "for a request to come in",
                              plural(o.connections, "request"), plural(o.queue, "picture"), o.batch,
                              bytes_text(o.body), fmt::format("{:g}", o.timeout)));
  server.start();
  const std::string shown = o.host.find(':') == std::string::npos ? o.host : "[" + o.host + "]";
  console.item("Listens", text("http://{}:{}", shown, port));
  while (!SignalGuard::caught()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  console.note("stops: answers what has come, takes nothing new; once more ends the program at once");
  const double began = now();
  server.finish();
  const size_t cancelled = service.end_tunings();
  const PredictionQueue::Statistics done = service.predictions();
  console.item("Answered", text("{}, {} in {}, {} refused for lack of room, {} turned away",
                                plural(static_cast<int64_t>(service.answered()), "request"),
                                plural(static_cast<int64_t>(done.images), "picture"),
                                plural(static_cast<int64_t>(done.batches), "batch", "batches"),
                                count_text(static_cast<int64_t>(done.refused)),
                                plural(static_cast<int64_t>(server.turned_away()), "connection")));
  console.item("Tasks",
               text("{} in {}", plural(static_cast<int64_t>(tasks.set().size()), "task"), quote(o.tasks)));
  if (cancelled > 0)
    console.item("Tunings", text("{} cancelled", plural(static_cast<int64_t>(cancelled), "tuning")));
  console.item("Stopped", text("after {}", time_text(now() - began)));
  console.result({{"command", "serve"},
                  {"requests", service.answered()},
                  {"pictures", done.images},
                  {"batches", done.batches},
                  {"refused", done.refused},
                  {"turned_away", server.turned_away()},
                  {"tunings_cancelled", cancelled},
                  {"tasks", tasks.set().size()}});
  return 0;
}

}  // namespace vitrine::cli
