// tensorboard.h: a run's metrics as an event file, which TensorBoard shows. Present only in builds with VITRINE_FILES.
//
// An event file is a row of records (TensorFlow's TFRecord): the length of the data (u64, little-endian), its masked
// CRC-32C, the data, its masked CRC-32C. The data is a protocol buffer, tensorflow.Event, of which few fields are used:
//   Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }
//   Summary { repeated Value value = 1; }   Value { string tag = 1; float simple_value = 2; }
#pragma once

#ifdef VITRINE_FILES

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "models/training/run_files.h"

namespace vitrine {

// CRC-32C (Castagnoli; polynomial 0x1EDC6F41, reflected), and the form in which records hold it, which keeps sums of sums
// apart: turned right by 15 bits, plus 0xa282ead8.
uint32_t crc32c(std::span<const std::byte> bytes);
uint32_t masked(uint32_t crc);

// The first record of a file; `wall_time` is in seconds since 1970.
std::string first_event(double wall_time);
// The record of a step's scalars.
std::string scalar_event(double wall_time, int64_t step,
                         std::span<const std::pair<std::string, double>> scalars);

// A whole file: scalars `loss`, `accuracy`, `learning_rate`, and `val_loss` and `val_accuracy` where there was validation,
// a record for each epoch, whose number is the step. An epoch's time is the start and the seconds of all epochs up to it.
std::string event_file(double start, std::span<const EpochLine> epochs);

// Brings FOLDER/events.out.tfevents.<start>.vitrine to what metrics.jsonl says: to be called whenever that has changed.
// The file of an earlier call is gone on with where it agrees so far, so that a TensorBoard that has it open sees the
// new epochs, and is replaced otherwise; a run that was killed and resumed has each epoch once. Returns its path. Throws
// Fault::output if it cannot be written.
std::string write_events(const std::string& folder);

}  // namespace vitrine

#endif
