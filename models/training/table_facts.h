// table_facts.h: what is known of a ledger's line beside its score, as names and words, and which of it tells rows apart;
// for table_rows.cpp.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "models/training/ledger.h"

namespace vitrine {

using Facts = std::map<std::string, std::string>;  // "epochs" -> "30"

template <class T>
size_t place_in(std::vector<T>& list, const T& item) {
  const auto found = std::ranges::find(list, item);
  if (found != list.end()) return static_cast<size_t>(found - list.begin());
  list.push_back(item);
  return list.size() - 1;
}

// A line that stands for what a plan wants of a method on a task; its seed is the number of seeds.
LedgerLine planned_line(const LedgerPlan& plan, const LedgerPlan::Task& task,
                        const LedgerPlan::Method& method);

// Settings of the protocol: all but the seed, what a grid searches, what belongs to the task, and what follows from the
// rest.
Facts protocol_of(const LedgerLine& line);
// The measure of a task, and how its pictures are augmented.
Facts asking_of(const LedgerLine& line);
// How pictures were prepared: what of it a task may say (how they become squares), or all else. Empty where a line does not
// tell it.
Facts preparation_of(const LedgerLine& line, bool of_task);
// Settings that are not those of the line's recipe: epochs, batch, optimizer, warm-up, drop path. Empty for recipes that are
// not known.
std::vector<std::pair<std::string, std::string>> unusual_of(const LedgerLine& line);
// What a grid searches.
Facts point_of(const LedgerLine& line);

// The facts that tell some sets of them apart, as few as will do, those that say most and that all of them have first.
std::vector<std::string> telling(const std::vector<Facts>& all);
// "epochs 30, drop path 0.1"
std::string words_of(const Facts& facts, const std::vector<std::string>& keys);
// One string for each set of facts.
std::string key_of(const Facts& facts);

}  // namespace vitrine
