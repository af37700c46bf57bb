// image_files.h: what the formats share whose pictures are files of their own; private to data/. Only in builds with
// VITRINE_FILES.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "data/formats.h"

namespace vitrine {

// Pictures in the order of `paths`, decoded on demand, turned as `options` has it. `root`: what their marks leave out;
// `who` opens the sentences of errors.
DatasetPointer image_files(const std::string& who, const std::string& root, std::vector<std::string> paths,
                           std::vector<int64_t> labels, std::vector<std::string> class_names,
                           const OpenOptions& options);

// Throws unless a path out of a list stays inside the folder that it is put behind: it is neither empty nor absolute,
// and has no `..` and no NUL.
void check_stays_inside(std::string_view path, const std::string& who);

// Tells options.note, which there must be, the pictures that val shares with train, or test with any of them, by the
// paths in the lists of all splits.
void note_shared(const std::string& who, Split split, const std::map<Split, std::vector<std::string>>& lists,
                 const OpenOptions& options);

// One spelling of a path for all of them: "./a//b.png" is "a/b.png".
std::string one_spelling(const std::string& path);

// The first of `folders` in which a file of this name is; throws, naming them all, if it is in none.
std::string folder_with(const std::vector<std::string>& folders, const std::string& path,
                        const std::string& who);

// Whether there is anything of this name, be it a link that leads nowhere: such a one was meant, and is an error when it
// is read.
bool is_there(const std::string& path);

// Throws unless there is a file (or a link to one).
void check_is_file(const std::string& path, const std::string& who);

}  // namespace vitrine
