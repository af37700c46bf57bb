// options_sweep.h: the options of `vitrine sweep` and `vitrine table`.
#pragma once

#include "adder.h"

namespace vitrine::cli {

void add_sweep(Adder& add, SweepOptions& options);
void add_table(Adder& add, TableOptions& options);

}  // namespace vitrine::cli
