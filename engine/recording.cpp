#include "engine/recording.h"

#include "engine/check.h"

namespace vitrine {

Recording::Recording(std::shared_ptr<const Device> device, const std::function<void()>& body)
    : device_(std::move(device)) {
  check(device_ != nullptr, "recording: expected a device");
  device_->begin_recording();
  try {
    body();
  } catch (...) {
    // The device must not stay as it is, whatever went wrong; of two errors the first one is told.
    try {
      gpu::Graph* unfinished = nullptr;
      device_->end_recording(&unfinished);
      device_->drop(unfinished);
    } catch (const Error&) {
    }
    throw;
  }
  arena_ = device_->end_recording(&graph_);
}

Recording::~Recording() {
  if (graph_ != nullptr) device_->drop(graph_);
}

void Recording::replay() const { device_->replay(graph_); }

}  // namespace vitrine
