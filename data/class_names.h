// class_names.h: the names of classes, by number, in the forms in which people keep them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vitrine {

// From the words of a file, of which `who` says the name in errors:
//   text    a name on each line, of class 0, 1, ...; a byte order mark and empty lines at the end are passed over
//   JSON    ["tench", ...]; {"0": "tench", ...}; {"tench": 0, ...}; each name also as a list of its synset and itself,
//           ["n01440764", "tench"], as imagenet_class_index.json has it; or an object that has such
//           names as "id2label", "label2id", "label_names" or "class_to_idx": a config.json of transformers or timm
// Throws Error{Fault::input} for anything else: a class that is missing or there twice, a name that is no word.
std::vector<std::string> class_names_from(std::string_view words, const std::string& who);

#ifdef VITRINE_FILES
std::vector<std::string> read_class_names(const std::string& path);
#endif

}  // namespace vitrine
