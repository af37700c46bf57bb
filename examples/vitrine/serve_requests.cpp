// serve_requests.cpp: what a server is asked, and what it answers (docs/serve.md).
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "data/image.h"
#include "engine/json.h"
#include "engine/parallel.h"
#include "engine/text.h"
#include "serve.h"

namespace vitrine::cli {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

void give(httplib::Response& response, int status, const Json& json) {
  response.status = status;
  // What comes from outside may be no UTF-8.
  response.set_content(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n",
                       "application/json");
}

void refuse(httplib::Response& response, int status, const std::string& why) {
  give(response, status, {{"error", why}});
  if (status == 503) response.set_header("Retry-After", "1");
  if (status == 401) response.set_header("WWW-Authenticate", "Bearer");
  if (status == 405) response.set_header("Allow", "GET, HEAD, POST, PUT, DELETE");
}

// Whatever is thrown as an answer.
void answer(httplib::Response& response, const std::function<void()>& body) {
  try {
    body();
  } catch (const Refusal& refusal) {
    refuse(response, refusal.status, refusal.why);
  } catch (const Error& e) {
    refuse(response, e.fault() == Fault::input ? 400 : e.fault() == Fault::resources ? 503 : 500, e.what());
  } catch (const std::bad_alloc&) {
    refuse(response, 503, "not enough memory");
  } catch (const std::exception& e) {
    refuse(response, 500, text("unexpected: {}", e.what()));
  }
}

// What a request must not be, told before a byte of its body is read.
std::optional<Refusal> refused(const httplib::Request& request, size_t most) {
  static const std::set<std::string> methods{"GET", "HEAD", "POST", "PUT", "DELETE"};
  if (!methods.contains(request.method))
    return Refusal{405, text("no requests of method {}", quote(request.method))};
  if (request.has_header("Transfer-Encoding"))
    return Refusal{411, "a body must say its Content-Length; chunks are not taken"};
  if (request.has_header("Content-Encoding") && request.get_header_value("Content-Encoding") != "identity")
    return Refusal{415, "a body must come as it is, without a Content-Encoding"};
  if (request.get_header_value_count("Content-Length") > 1) return Refusal{400, "several Content-Lengths"};
  const std::string length = request.get_header_value("Content-Length");
  if (length.empty()) {
    if (request.method == "POST" || request.method == "PUT")
      return Refusal{411, "a body must say its Content-Length"};
    return std::nullopt;
  }
  if (length.size() > 18 || !std::ranges::all_of(length, [](char c) { return c >= '0' && c <= '9'; }))
    return Refusal{400, text("Content-Length {} is no number", quote(length))};
  if (std::stoull(length) > most)
    return Refusal{413,
                   text("a body of {} bytes is too large; at most {} are taken (--max-body)", length, most)};
  if (request.is_multipart_form_data())
    return Refusal{415, "send the file's bytes themselves as the body, not a form"};
  return std::nullopt;
}

// The same time for every wrong token of a length.
bool equal_in_constant_time(std::string_view a, std::string_view b) {
  unsigned different = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size() && !b.empty(); ++i)
    different |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i % b.size()]);
  return different == 0;
}

int64_t whole_number(const std::string& what, const std::string& words, int64_t high) {
  if (words.empty() || words.size() > 9 ||
      !std::ranges::all_of(words, [](char c) { return c >= '0' && c <= '9'; }))
    throw Refusal{400, text("{}: expected a whole number, got {}", what, quote(words))};
  const int64_t value = std::stoll(words);
  if (value < 1 || value > high) throw Refusal{400, text("{}: expected 1 to {}, got {}", what, high, value)};
  return value;
}

// The folder below the root that a request names by plain words and slashes, wherever links lead.
std::string folder_below(const std::string& root, const std::string& name) {
  const auto refuse_name = [&] {
    throw Refusal{
        400,
        text(
            "data: expected a folder below the server's --data-root, such as flowers or 2026/flowers; got {}",
            quote(name))};
  };
  if (name.empty() || name.size() > 1000 || name[0] == '/' || name.find('\0') != std::string::npos)
    refuse_name();
  for (const fs::path& part : fs::path(name))
    if (part.empty() || part.string()[0] == '.') refuse_name();
  std::error_code problem;
  const fs::path inside = fs::canonical(root, problem),
                 found = problem ? fs::path() : fs::canonical(inside / name, problem);
  if (problem || !fs::is_directory(found, problem))
    throw Refusal{400, text("data: there is no folder {} below the server's --data-root", quote(name))};
  if (std::mismatch(inside.begin(), inside.end(), found.begin(), found.end()).first != inside.end())
    refuse_name();
  return found.string();
}

// The options of vitrine tune that a request may set, by their names without --.
const std::set<std::string>& tuning_options() {
  static const std::set<std::string> names{"method",
                                           "prompts",
                                           "prompt-dropout",
                                           "epochs",
                                           "batch",
                                           "optimizer",
                                           "lr",
                                           "wd",
                                           "warmup",
                                           "seed",
                                           "data-seed",
                                           "val",
                                           "train-limit",
                                           "flip",
                                           "clip",
                                           "label-smoothing",
                                           "keep",
                                           "drop-path",
                                           "random-crop",
                                           "random-shift",
                                           "class-weights",
                                           "resize",
                                           "exif",
                                           "max-bad",
                                           "schedule"};
  return names;
}

// As vitrine tune reads them.
TuneOptions options_of(const vitrine::Json* given, const std::string& folder) {
  using Kind = vitrine::Json::Kind;
  std::vector<std::string> words{"vitrine", "tune", "--data", "folder:" + folder};
  const std::map<std::string, vitrine::Json> none;
  for (const auto& [name, value] : given == nullptr ? none : given->object()) {
    if (!tuning_options().contains(name)) {
      const std::vector<std::string_view> known(tuning_options().begin(), tuning_options().end());
      const std::string guess = nearest(name, known);
      throw Refusal{
          400, text("options: none is called {}{}", quote(name), guess.empty() ? "" : "; nearest: " + guess)};
    }
    if (value.is(Kind::boolean)) {
      if (value.boolean()) words.push_back("--" + name);
      continue;
    }
    if (!value.is(Kind::whole) && !value.is(Kind::real) && !value.is(Kind::text))
      throw Refusal{400, text("options: {}: expected a number or a word", name)};
    const std::string word = value.is(Kind::text)    ? value.text()
                             : value.is(Kind::whole) ? std::to_string(value.whole())
                                                     : json_number(value.real());
    if (word.empty() || word[0] == '-')
      throw Refusal{400, text("options: {}: expected no {}", name, quote(word))};
    words.push_back("--" + name);
    words.push_back(word);
  }
  std::vector<const char*> arguments;
  for (const std::string& word : words) arguments.push_back(word.c_str());
  std::string command;
  return std::get<TuneOptions>(parse(static_cast<int>(arguments.size()), arguments.data(), command));
}

Json json_of(const std::string& name, const ReadyTask& ready) {
  const TunedConfig& config = ready.task.config;
  return {{"name", name},
          {"method", method_text(config)},
          {"prompts", prompt_kind(config.method) == PromptKind::none ? 0 : config.prompts.count},
          {"classes", ready.task.class_names.size()},
          {"bytes", ready.bytes},
          {"shares_pass", ready.shares_pass()}};
}

Json json_of(const TuningState& state) {
  Json out{{"id", state.id}, {"task", state.name}, {"state", name_of(state.stage)}};
  if (state.step.steps > 0) {
    out.update({{"step", state.step.step}, {"steps", state.step.steps}, {"loss", state.step.loss}});
    const auto left = static_cast<double>(state.step.steps - state.step.step);
    if (state.stage == TuningState::Stage::running && state.step.step > 0)
      out["seconds_left"] = state.seconds * left / static_cast<double>(state.step.step);
  }
  if (state.epoch) {
    out.update({{"epoch", state.epoch->epoch},
                {"epochs", state.epoch->epochs},
                {"train_accuracy", state.epoch->accuracy}});
    if (state.epoch->val) out["val_accuracy"] = state.epoch->val->accuracy;
  }
  out["seconds"] = state.seconds;
  if (!state.why.empty()) out["error"] = state.why;
  return out;
}

}  // namespace

Service::Service(const ServeOptions& options, const Backbone& backbone, std::string token, KeptTasks& tasks)
    : options_(options),
      backbone_(backbone),
      token_(std::move(token)),
      tasks_(tasks),
      began_(now()),
      decoding_(thread_count()),
      queue_(tasks.set(), static_cast<size_t>(options.queue), static_cast<size_t>(options.batch)),
      tunings_(
          backbone, [&tasks](const std::string& name, const Task& task) { tasks.put(name, task); },
          static_cast<size_t>(options.tunings)) {}

void Service::answer_at(HttpServer& server) {
  server.set_pre_routing_handler([this](const Request& request, Response& response) {
    const auto refusal = refused(request, options_.body);
    if (!refusal) return HttpServer::HandlerResponse::Unhandled;
    refuse(response, refusal->status, refusal->why);
    return HttpServer::HandlerResponse::Handled;
  });
  // A client that asks before it sends a body is told the same.
  server.set_expect_100_continue_handler([this](const Request& request, Response& response) {
    const auto refusal = refused(request, options_.body);
    if (!refusal) return 100;
    refuse(response, refusal->status, refusal->why);
    return refusal->status;
  });
  // What httplib itself refuses: no such path, a body that does not come in whole.
  server.set_error_handler([](const Request& request, Response& response) {
    if (!response.body.empty()) return;
    const std::string why = response.status == 404 ? text("there is nothing at {}", quote(request.path))
                            : response.status == 413
                                ? "the body is too large"
                                : "the request is malformed, or did not come in whole in time";
    refuse(response, response.status, why);
  });
  server.set_logger([this](const Request& request, const Response& response) { count(request, response); });

  const auto at = [&server](auto method, const std::string& path, auto handle) {
    (server.*method)(path, [handle](const Request& request, Response& response, const Reader& read) {
      answer(response, [&] { handle(request, response, read); });
    });
  };
  httplib::Server& (httplib::Server::*const post)(const std::string&, HttpServer::HandlerWithContentReader) =
      &httplib::Server::Post;
  httplib::Server& (httplib::Server::*const put)(const std::string&, HttpServer::HandlerWithContentReader) =
      &httplib::Server::Put;
  httplib::Server& (httplib::Server::*const remove)(
      const std::string&, HttpServer::HandlerWithContentReader) = &httplib::Server::Delete;
  const std::string name = "([^/]+)";
  at(post, "/tasks/" + name + "/predict",
     [this](const Request& request, Response& response, const Reader& read) {
       predict(request.matches[1], request, response, read);
     });
  at(put, "/tasks/" + name, [this](const Request& request, Response& response, const Reader& read) {
    put_task(request.matches[1], request, response, read);
  });
  at(remove, "/tasks/" + name, [this](const Request& request, Response& response, const Reader&) {
    remove_task(request.matches[1], request, response);
  });
  at(post, "/tunings", [this](const Request& request, Response& response, const Reader& read) {
    tune(request, response, read);
  });
  at(remove, "/tunings/" + name, [this](const Request& request, Response& response, const Reader&) {
    cancel_tuning(request.matches[1], request, response);
  });
  // Elsewhere no body is read.
  for (const auto method : {post, put, remove})
    at(method, ".*", [](const Request& request, Response&, const Reader&) {
      throw Refusal{404, text("there is nothing at {} for a {}", quote(request.path), request.method)};
    });

  const auto get = [&server](const std::string& path, auto handle) {
    server.Get(path, [handle](const Request& request, Response& response) {
      answer(response, [&] { handle(request, response); });
    });
  };
  get("/tasks", [this](const Request&, Response& response) { tell_tasks(response); });
  get("/tasks/" + name,
      [this](const Request& request, Response& response) { tell_task(request.matches[1], response); });
  get("/tunings", [this](const Request&, Response& response) { tell_tunings(response); });
  get("/tunings/" + name,
      [this](const Request& request, Response& response) { tell_tuning(request.matches[1], response); });
  get("/health", [this](const Request&, Response& response) { tell_health(response); });
  get("/metrics", [this, &server](const Request&, Response& response) { tell_metrics(server, response); });
}

size_t Service::end_tunings() {
  size_t count = 0;
  for (const TuningState& state : tunings_.all()) count += tunings_.cancel(state.id) ? 1 : 0;
  const auto last = [this] {
    return std::ranges::none_of(tunings_.all(), [](const TuningState& state) { return !state.ended(); });
  };
  while (!last()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return count;
}

void Service::check_token(const Request& request) const {
  if (token_.empty())
    throw Refusal{403, "this server takes no changes: it was started without --token-file and VITRINE_TOKEN"};
  const std::string given = request.get_header_value("Authorization");
  constexpr std::string_view scheme = "Bearer ";
  if (!given.starts_with(scheme) || !equal_in_constant_time(given.substr(scheme.size()), token_))
    throw Refusal{401, "changes need the server's token: Authorization: Bearer TOKEN"};
}

std::string Service::body_of(const Request&, const Reader& read) const {
  std::string body;
  const bool whole = read([&](const char* bytes, size_t count) {
    if (body.size() + count > options_.body) return false;
    body.append(bytes, count);
    return true;
  });
  if (!whole)
    throw Refusal{408, text("the body did not come in whole within {} s (--timeout)", options_.timeout)};
  return body;
}

Tensor Service::picture_of(const std::string& bytes, const ReadyTask& task) {
  const Preprocess preprocess = preprocess_from_json(task.task.preprocess);
  Tensor pixels = Tensor::empty(Shape{3, preprocess.size, preprocess.size}, DType::f32);
  decoding_.acquire();
  struct Release {
    std::counting_semaphore<>& semaphore;
    ~Release() { semaphore.release(); }
  } const release{decoding_};
  const auto file = std::as_bytes(std::span(bytes));
  Image image = decode_image(file, "the picture");
  if (preprocess.exif) image = apply_orientation(image, exif_orientation(file));
  normalise(prepare(image, preprocess), preprocess, pixels.mutable_data<float>());
  return pixels;
}

void Service::predict(const std::string& name, const Request& request, Response& response,
                      const Reader& read) {
  const double begin = now();
  check_task_name(name);
  const std::shared_ptr<const ReadyTask> task = tasks_.find(name);
  if (task == nullptr) throw Refusal{404, text("there is no task {}", quote(name))};
  const std::vector<std::string>& classes = task->task.class_names;
  const int64_t top =
      request.has_param("top") ? whole_number("top", request.get_param_value("top"), 1 << 20) : 5;
  auto answer = queue_.ask(picture_of(body_of(request, read), *task), task);
  if (!answer)
    throw Refusal{
        503, text("so many pictures wait that there is no room for this one (--queue {})", options_.queue)};
  const Tensor logits = answer->get();
  Json found = Json::array();
  for (const Guess& guess : best(logits.data<float>(), top))
    found.push_back({{"class", guess.label},
                     {"name", classes[static_cast<size_t>(guess.label)]},
                     {"probability", guess.probability}});
  give(response, 200, {{"task", name}, {"classes", found}});
  const double seconds = now() - begin;
  const std::lock_guard lock(counts_mutex_);
  ++predicted_;
  predict_seconds_ += seconds;
  for (size_t i = 0; i < bounds_.size(); ++i)
    if (seconds <= bounds_[i]) ++within_[i];
}

void Service::put_task(const std::string& name, const Request& request, Response& response,
                       const Reader& read) {
  check_token(request);
  check_task_name(name);
  const std::string body = body_of(request, read);
  const Task task = task_from_file(read_safetensors(std::as_bytes(std::span(body)), nullptr, "the task"));
  const bool fresh = tasks_.put(name, task);
  if (const auto ready = tasks_.find(name)) give(response, fresh ? 201 : 200, json_of(name, *ready));
}

void Service::remove_task(const std::string& name, const Request& request, Response& response) {
  check_token(request);
  if (!tasks_.remove(name)) throw Refusal{404, text("there is no task {}", quote(name))};
  give(response, 200, {{"name", name}, {"deleted", true}});
}

void Service::tell_tasks(Response& response) const {
  Json tasks = Json::array();
  for (const std::string& name : tasks_.set().names())
    if (const auto task = tasks_.find(name)) tasks.push_back(json_of(name, *task));
  give(response, 200,
       {{"backbone", describe(backbone_.config)}, {"identity", backbone_.identity}, {"tasks", tasks}});
}

void Service::tell_task(const std::string& name, Response& response) const {
  check_task_name(name);
  const auto task = tasks_.find(name);
  if (task == nullptr) throw Refusal{404, text("there is no task {}", quote(name))};
  Json json = json_of(name, *task);
  json["class_names"] = task->task.class_names;
  json["pictures"] = describe(preprocess_from_json(task->task.preprocess));
  give(response, 200, json);
}

void Service::tune(const Request& request, Response& response, const Reader& read) {
  check_token(request);
  if (!options_.data_root)
    throw Refusal{403, "this server learns nothing: it was started without --data-root"};
  const vitrine::Json wanted = vitrine::Json::parse(body_of(request, read), 3, "the JSON");
  for (const auto& [key, value] : wanted.object())
    if (key != "task" && key != "data" && key != "options")
      throw Refusal{400, text("expected task, data and options, got {}", quote(key))};
  for (const char* key : {"task", "data"})
    if (!wanted.has(key) || !wanted.at(key).is(vitrine::Json::Kind::text))
      throw Refusal{400, text("expected {}: a text", key)};
  const std::string& name = wanted.at("task").text();
  check_task_name(name);
  const std::string folder = folder_below(*options_.data_root, wanted.at("data").text());
  TuneOptions o = options_of(wanted.has("options") ? &wanted.at("options") : nullptr, folder);
  o.hints.image_size = options_.hints.image_size;
  ChosenData chosen = choose_data(o, backbone_, {.exif = o.exif});
  const TuneConfig config = config_of(o, model_of(o, nullptr, chosen.data.dataset->classes()), 1);
  check(backbone_.precision == Precision::f32 || config.model.method != Method::full,
        "full tuning trains the backbone, which this server has packed in another precision than f32");
  check(!config.keep_best || !chosen.data.val.empty(),
        "keep best: needs validation images; val splits some off");
  check_method(for_classes(config.model, chosen.data.dataset->classes()), backbone_.config);
  const auto id = tunings_.submit(name, std::move(chosen.data), config);
  if (!id)
    throw Refusal{503, text("so many tunings wait that there is no room for this one (--max-tunings {})",
                            options_.tunings)};
  response.set_header("Location", text("/tunings/{}", *id));
  give(response, 202, json_of(*tunings_.find(*id)));
}

void Service::tell_tunings(Response& response) const {
  Json all = Json::array();
  for (const TuningState& state : tunings_.all()) all.push_back(json_of(state));
  give(response, 200, {{"tunings", all}});
}

void Service::tell_tuning(const std::string& id, Response& response) const {
  const auto state = tunings_.find(whole_number("tuning", id, 999999999));
  if (!state) throw Refusal{404, text("there is no tuning {}", id)};
  give(response, 200, json_of(*state));
}

void Service::cancel_tuning(const std::string& id, const Request& request, Response& response) {
  check_token(request);
  const int64_t number = whole_number("tuning", id, 999999999);
  const bool stops = tunings_.cancel(number);
  const auto state = tunings_.find(number);
  if (!state) throw Refusal{404, text("there is no tuning {}", id)};
  if (!stops) throw Refusal{409, text("tuning {} has ended: it is {}", id, name_of(state->stage))};
  give(response, 202, json_of(*state));
}

void Service::tell_health(Response& response) const {
  give(response, 200,
       {{"status", "ok"},
        {"tasks", tasks_.set().size()},
        {"waiting", queue_.statistics().waiting},
        {"seconds", now() - began_}});
}

}  // namespace vitrine::cli
