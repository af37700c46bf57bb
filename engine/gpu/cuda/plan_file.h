// plan_file.h: choices that must not change from run to run, kept in a text file.
#pragma once

#include <map>
#include <string>

namespace vitrine::gpu {

// $VITRINE_PLANS; else vitrine/plans.txt in $XDG_CACHE_HOME or $HOME/.cache. Empty if VITRINE_PLANS is "none", if
// there is no such folder to be known, or in a build that touches no files.
std::string plan_path();

// Lines of a key, a tab and a value, of printable ASCII. Whatever else the file holds is ignored.
class PlanFile {
 public:
  explicit PlanFile(std::string path);  // empty: nothing is kept

  bool keeps() const { return !path_.empty(); }
  const std::string* find(const std::string& key) const;  // null: not there
  // Writes the file anew, with what others wrote meanwhile; false (and no more is kept) if that fails.
  bool remember(const std::string& key, const std::string& value);

 private:
  class Turn;
  void make_folder() const;
  void read();
  bool write() const;

  std::string path_;
  std::map<std::string, std::string> lines_;
};

}  // namespace vitrine::gpu
