// serve_beside.cpp: `vitrine serve` in the program itself, which leaves it to vitrine-serve beside it: HTTP brings libraries along
// that would make every other command start later.
#include <unistd.h>

#include <filesystem>

#include "commands.h"
#include "engine/check.h"

namespace vitrine::cli {

void become_server(const char* const* arguments) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return;
  const std::string server = self.parent_path() / "vitrine-serve";
  ::execv(server.c_str(), const_cast<char* const*>(arguments));
}

int serve(const ServeOptions&, Console&) {
  fail(Fault::input,
       "there is no vitrine-serve beside this program: it was built without HTTP (install libcpp-httplib-dev "
       "and build it again)");
}

}  // namespace vitrine::cli
