// fail.cpp: how a failure leaves where it was found; in a build without exceptions engine/no_exceptions.cpp stands in.
#include "engine/check.h"

namespace vitrine {

void fail_with(Fault fault, Phrases pieces) { throw Error(fault, joined(pieces)); }

}  // namespace vitrine
