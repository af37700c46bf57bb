// tune_parts.h: what the training loop asks of a run's data and settings.
#pragma once

#include "models/training/message.h"
#include "models/training/tune.h"

namespace vitrine {

// Tells runs on other data apart: classes, samples and their labels, for training and for validation.
std::string digest_of(const TuneData& data);
// Tells runs from other starting points apart.
std::string digest_of(const Task* start);
// Classes that no image shows are learned by nothing but that no image is of them; they are told. "" if there are none.
// `bad` images are damaged and do not count.
std::string classes_without_images(const TuneData& data, const std::vector<BadImage>& bad = {});
// 1 / count of each class, or 0 where that is none; (classes) f32.
Tensor class_weights(const TuneData& data, int64_t classes);
// Where two settings in JSON differ: "epochs 2, given 3; seed 0, given 1".
std::string differences(const std::string& kept, const std::string& given);
// The settings with what the data, the task to start from and the backbone tell. Throws where they do not fit.
TuneConfig completed(const TuneConfig& given, const Backbone& backbone, const TuneData& data,
                     const Task* start);

// Damaged images in a message between processes.
void put_bad(MessageWriter& message, const std::vector<BadImage>& images);
std::vector<BadImage> get_bad(MessageReader& message);
// Throws, in all processes, unless all are to go on with a run, or none.
void check_all_resume(Processes& processes, bool resume);
// Throws, in all processes, unless all were called for the same run, on the same instruction set.
void check_same_run(Processes& processes, const TuneConfig& config, const std::string& data,
                    const std::string& backbone, const std::string& start);
// Throws unless what is trained, and what layers remember of batches, is the same in all processes, to the last bit.
void check_same_parameters(Processes& processes, const TunedModel& model, int64_t steps);

}  // namespace vitrine
