// table_order.h: the order in which a table has its rows; for table_rows.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "models/training/table_rows.h"

namespace vitrine {

// As the paper's table 1 has them, whatever the ledger's order: by backbone, the smaller first (`parameters`, by identity),
// by recipe and by method; methods younger than the paper behind.
void order_rows(TableRows& table, const std::map<std::string, int64_t>& parameters,
                bool backbones_are_columns);

}  // namespace vitrine
