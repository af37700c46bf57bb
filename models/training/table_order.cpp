#include "models/training/table_order.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace vitrine {

namespace {

// The place of a method among the paper's (then later ones), and its size: partial-2 is 2 of "partial".
std::pair<size_t, int64_t> rank_of(const std::string& method) {
  static constexpr std::array<std::string_view, 14> order{
      "full",        "linear",   "partial",       "mlp",       "sidetune", "bias", "adapter",
      "vpt-shallow", "vpt-deep", "vpt-deep+bias", "vpt-gated", "cls",      "lora", "ssf"};
  const size_t dash = method.rfind('-');
  const std::string digits = dash == std::string::npos ? "" : method.substr(dash + 1);
  const bool sized = !digits.empty() && digits.size() < 10 &&
                     std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; });
  const std::string_view family = std::string_view(method).substr(0, sized ? dash : method.npos);
  const auto found = std::ranges::find(order, family);
  return {static_cast<size_t>(found - order.begin()), sized ? std::stoll(digits) : 0};
}

}  // namespace

void order_rows(TableRows& table, const std::map<std::string, int64_t>& parameters,
                bool backbones_are_columns) {
  std::vector<size_t> order(table.rows.size()), place(table.rows.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, {}, [&](size_t i) {
    const TableRows::Row& row = table.rows[i];
    const auto [rank, size] = rank_of(row.line.method);
    // Where backbones are columns a row is of all of them. Of one that only a plan has the size is not known.
    const std::string net = backbones_are_columns ? "" : row.line.backbone_identity;
    const auto known = parameters.find(net);
    const int64_t size_of_net = known == parameters.end() ? 0 : known->second;
    return std::tuple(size_of_net == 0 && !net.empty(), size_of_net, net, row.line.recipe, rank, size,
                      row.line.variant, row.words);
  });
  std::vector<TableRows::Row> rows;
  for (size_t i = 0; i < order.size(); ++i) {
    place[order[i]] = i;
    rows.push_back(std::move(table.rows[order[i]]));
  }
  table.rows = std::move(rows);
  for (TableRows::Line& line : table.lines) line.row = place[line.row];
  for (TableRows::Planned& planned : table.planned)
    for (size_t& row : planned.rows) row = place[row];
}

}  // namespace vitrine
