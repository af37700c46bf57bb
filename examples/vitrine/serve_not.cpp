// serve_not.cpp: `vitrine serve` in a build without cpp-httplib.
#include "commands.h"
#include "engine/check.h"

namespace vitrine::cli {

int serve(const ServeOptions&, Console&) {
  fail(Fault::input, "this program was built without HTTP: install libcpp-httplib-dev and build it again");
}

}  // namespace vitrine::cli
