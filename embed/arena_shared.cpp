// arena_shared.cpp: what stands in the shared library for arena_new.cpp. Memory that its operator new gave would be given back
// by that of the C++ runtime's library, or the other way round.
#include "embed/handles.h"

using namespace vitrine::embed;

int vitrine_open_in_arena(unsigned abi, const vitrine_settings* settings, void*, size_t,
                          vitrine_library** library) {
  if (library == nullptr) return VITRINE_INPUT;
  const int opened = open_library(abi, settings, nullptr, library);
  if (opened != VITRINE_DONE) return opened;
  (*library)->library.reset();
  return guarded(*library, [] {
    vitrine::fail(
        vitrine::Fault::input,
        "vitrine_open_in_arena: the shared library cannot keep all memory in an arena; link the static one");
  });
}
