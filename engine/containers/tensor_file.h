// tensor_file.h: the tensors of a file, whatever container holds them.
//
// The container is told by the first bytes, never by the name: safetensors, numpy's .npy and .npz, and PyTorch's
// checkpoints (.pth, .pt, .bin) of all versions since 0.4. GGUF, tar archives and unknown ones are refused.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/safetensors.h"

namespace vitrine {

// The tensors of a file in memory; `name` stands for it in error messages. They are sealed and borrow `bytes`, which
// `owner` keeps alive, where these are as tensors hold them (containers/array.h); others, and all without an owner,
// are copied once. The names are the file's own (containers/state.h tells those of PyTorch's files; the one array of
// a .npy file is called "array"). What cannot be read stops nobody who does not ask for it: see TensorFile.
//
// A file is hostile until checked: whatever it holds, reading allocates no more than the file's size and 16 MiB; where
// arrays of the promised sizes are deflated, no more than four times the file's size and 16 MiB (containers/allowance.h).
// Throws Fault::input if anything is not as it must be. Without VITRINE_FILES zip archives are refused.
TensorFile read_tensors(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                        const std::string& name, const SetAside& set_aside = {});

#ifdef VITRINE_FILES
// The same with a file, which is mapped, so that data is read when first touched (zip archives are read whole, for
// their checksums). The file may also be the index of a model in several files, `model.safetensors.index.json`: then
// these are read from the index's own folder; each tensor must be in the file that the index tells, tensors that
// it does not tell are left out. Throws Fault::output if reading fails.
TensorFile load_tensors(const std::string& path);
// The files that load_tensors reads for it: itself and, if it is an index, those of the model.
std::vector<std::string> files_of(const std::string& path);

// The file of a model that `path` means: itself, or, if it is a folder as Hugging Face's libraries save models, the first
// of model.safetensors, model.safetensors.index.json, pytorch_model.bin and pytorch_model.bin.index.json that is in it.
// Throws Fault::input, saying what to name, for a folder without these and for one file of several that an index
// belongs to.
std::string weights_file(const std::string& path);
#endif

}  // namespace vitrine
