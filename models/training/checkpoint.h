// checkpoint.h: the saved state of a run, written so that no moment of a crash can lose it. Present only in
// builds with VITRINE_FILES.
#pragma once

#ifdef VITRINE_FILES

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/file.h"
#include "engine/safetensors.h"

namespace vitrine {

// Takes the run folder: as long as the result lives, no other run can take it. Removes temporary files that a
// killed run left. Throws Fault::output if another process has it.
std::shared_ptr<const FolderLock> take_run_folder(const std::string& folder);

// Whether the folder holds a run: a checkpoint or a task file.
bool holds_run(const std::string& folder);

// Writes FOLDER/checkpoint-<steps>.safetensors (file.h: flushed, renamed, folder flushed) with a digest of
// its content, then removes all but this one and the newest of the others. Throws Fault::output and leaves
// the older ones if it fails.
void save_checkpoint(const std::string& folder, int64_t steps, TensorFile state);

// The newest checkpoint of the folder whose digest is right; empty if there is none. A damaged one is set
// aside under the name <its name>.damaged, and `note` hears of it.
std::optional<TensorFile> newest_checkpoint(const std::string& folder,
                                            const std::function<void(const std::string&)>& note);

}  // namespace vitrine

#endif
