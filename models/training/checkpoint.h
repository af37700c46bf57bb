// checkpoint.h: the saved state of a run, written so that no moment of a crash can lose it.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "engine/safetensors.h"

namespace vitrine {

// Writes FOLDER/checkpoint-<steps>.safetensors (file.h: flushed, renamed, folder flushed) with a digest
// of its content, then removes all but the last two checkpoints. Throws Fault::output and leaves the
// older ones if it fails.
void save_checkpoint(const std::string& folder, int64_t steps, TensorFile state);

// The newest checkpoint of the folder whose digest is right; empty if there is none. `note`
// hears of damaged ones.
std::optional<TensorFile> newest_checkpoint(const std::string& folder,
                                            const std::function<void(const std::string&)>& note);

}  // namespace vitrine
