#include "engine/gpu/emulator/settings.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace vitrine::gpu::emulator {
namespace {

const char* base_name(const Site& site) {
  const char* slash = std::strrchr(site.file_name(), '/');
  return slash ? slash + 1 : site.file_name();
}

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

template <class T>
bool parse(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

}  // namespace

Result read_settings(Settings& settings) {
  const std::string_view order = environment("VITRINE_EMULATOR_ORDER");
  if (order.empty() || order == "forward") {
    settings.order = Order::forward;
  } else if (order == "reverse") {
    settings.order = Order::reverse;
  } else {
    settings.order = Order::random;
    constexpr std::string_view random = "random", seeded = "random:";
    if (order != random &&
        !(order.starts_with(seeded) && parse(order.substr(seeded.size()), settings.seed))) {
      return "VITRINE_EMULATOR_ORDER: expected forward, reverse, random or random:SEED";
    }
  }

  const std::string_view threads = environment("VITRINE_EMULATOR_THREADS");
  constexpr int most = 256;
  if (!threads.empty() &&
      (!parse(threads, settings.threads) || settings.threads < 1 || settings.threads > most)) {
    return "VITRINE_EMULATOR_THREADS: expected a number from 1 to 256";
  }

  const std::string_view memory = environment("VITRINE_EMULATOR_MEMORY");
  if (!memory.empty() && !parse(memory, settings.memory))
    return "VITRINE_EMULATOR_MEMORY: expected a number of bytes";

  const std::string_view shared = environment("VITRINE_EMULATOR_SHARED");
  if (!shared.empty() && !parse(shared, settings.shared))
    return "VITRINE_EMULATOR_SHARED: expected a number of bytes";

  const std::string_view skip = environment("VITRINE_EMULATOR_SKIP");
  if (!skip.empty()) {
    const size_t colon = skip.rfind(':');
    if (colon == std::string_view::npos || !parse(skip.substr(colon + 1), settings.skip_line) ||
        settings.skip_line == 0) {
      return "VITRINE_EMULATOR_SKIP: expected FILE:LINE";
    }
    settings.skip_file = skip.substr(0, colon);
  }
  settings.sites = environment("VITRINE_EMULATOR_SITES");
  return nullptr;
}

std::string text_of(const Site& site) {
  return std::string(base_name(site)) + ":" + std::to_string(site.line());
}

bool skips(const Settings& settings, const Site& site) {
  return site.line() == settings.skip_line && settings.skip_file == base_name(site);
}

}  // namespace vitrine::gpu::emulator
