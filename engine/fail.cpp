// fail.cpp: how a failure leaves where it was found; in a build without exceptions engine/no_exceptions.cpp stands in.
#include "engine/check.h"

namespace vitrine {

void fail_with(const char* words, uint64_t kinds, const SentenceValue* values, Fault fault) {
  throw Error(fault, joined(words, kinds, values));
}

}  // namespace vitrine
