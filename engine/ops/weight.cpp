#include "engine/ops/weight.h"

#include <algorithm>
#include <cmath>

namespace vitrine {

const char* name_of(Precision precision) {
  if (precision == Precision::f32) return "f32";
  return precision == Precision::bf16 ? "bf16" : "int8";
}

namespace {

// The numbers that packing adds (columns where the last panel is not full) are zeros, to whatever they are rounded.
template <class T>
Tensor packed(const Tensor& weight, PackedForm form, const Memory& memory) {
  const int64_t n = weight.dim(0), k = weight.dim(1);
  const bool forward = form == for_forward;
  const int64_t rows = forward ? k : n, columns = forward ? n : k;
  const cpu::Matrix<T> right{weight.data<T>().data(), forward ? 1 : k, forward ? k : 1};
  Tensor made = Tensor::empty({cpu::packed_size<T>(rows, columns)}, weight.dtype(), memory);
  cpu::pack<T>(rows, columns, right, made.mutable_data<T>().data());
  return made;
}

// From panels of `rows` rows to panels of pairs of rows.
Tensor paired_bf16(const Tensor& plain, int64_t rows, const Memory& memory) {
  const int64_t columns = cpu::tile_columns<float>(), pairs = (rows + 1) / 2;
  const int64_t panels = rows ? plain.numel() / (rows * columns) : 0;
  Tensor out = Tensor::zeros({panels * pairs * columns * 2}, DType::bf16, memory);
  const float* from = plain.data<float>().data();
  bf16* to = out.mutable_data<bf16>().data();
  for (int64_t panel = 0; panel < panels; ++panel)
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        to[((panel * pairs + i / 2) * columns + j) * 2 + i % 2] =
            to_bf16(from[(panel * rows + i) * columns + j]);
  return out;
}

// The greatest size in each row of the weight / 127, zeros behind the last row up to a whole panel.
Tensor row_scales(const Tensor& weight, const Memory& memory) {
  const int64_t n = weight.dim(0), k = weight.dim(1), columns = cpu::tile_columns<float>();
  Tensor out = Tensor::zeros({(n + columns - 1) / columns * columns}, DType::f32, memory);
  for (int64_t i = 0; i < n; ++i) {
    float most = 0;
    for (const float value : weight.data<float>().subspan(i * k, k)) most = std::max(most, std::abs(value));
    out.mutable_data<float>()[i] = most / 127;
  }
  return out;
}

Tensor whole_numbers(const Tensor& plain, const Tensor& scales, int64_t rows, bool scaled_rows,
                     const Memory& memory) {
  const int64_t columns = cpu::tile_columns<float>();
  Tensor out = Tensor::empty({plain.numel()}, DType::i8, memory);
  const float *from = plain.data<float>().data(), *scale = scales.data<float>().data();
  int8_t* to = out.mutable_data<int8_t>().data();
  for (int64_t at = 0; at < plain.numel(); ++at) {
    const int64_t row = at / columns % rows, column = at / (rows * columns) * columns + at % columns;
    const float unit = scale[scaled_rows ? row : column];
    to[at] =
        static_cast<int8_t>(unit > 0 ? std::clamp(std::nearbyint(from[at] / unit), -127.0f, 127.0f) : 0.0f);
  }
  return out;
}

// Panels of a form of a weight with rows of `length`, from its row `first` on.
template <class T>
cpu::Panels<T> panels_of(const Tensor& numbers, const Tensor& scales, Precision precision, int64_t length,
                         PackedForm form, int64_t first) {
  const int64_t columns = cpu::tile_columns<T>();
  cpu::Panels<T> out;
  out.precision = precision;
  out.rows = precision == Precision::bf16 ? length + length % 2 : length;
  // The weight's rows are the columns of forward's right side, a panel for some of them, and the rows of backward's.
  const int64_t skipped = form == for_forward ? first / columns * out.rows : first;
  out.data = numbers.raw().data() + skipped * columns * static_cast<int64_t>(size_of(numbers.dtype()));
  if (scales.defined()) out.scales = scales.data<float>().data() + first;
  out.scaled_rows = form == for_backward;
  return out;
}

}  // namespace

template <class T>
PackedWeight<T> packed_weight(const Tensor& weight, PackedForm wanted, const Memory& memory) {
  if (!weight.sealed()) {
    const Tensor made = packed<T>(weight, wanted, memory);
    return {made, {}, made.data<T>().data()};
  }
  const int64_t columns = cpu::tile_columns<T>();
  const PackedForm form = weight.keeps_one_form() ? for_forward : wanted;
  const Precision precision = sizeof(T) == sizeof(float) ? weight.precision() : Precision::f32;
  // A form is for tiles of one width: instruction sets that share it share forms.
  const auto kind = [&](int what) {
    return what + 4 * (static_cast<int>(precision) + 4 * static_cast<int>(columns));
  };
  const auto [all_rows, row] = weight.whole_rows();
  // Rows that would begin inside a panel, or begin or end inside a pair of rows, are packed apart.
  const int64_t end = row + weight.dim(0);
  const bool apart =
      form == for_forward ? row % columns != 0 : row % 2 != 0 || (end % 2 != 0 && end != all_rows.dim(0));
  const Tensor source = apart ? weight : all_rows;
  const int64_t first = apart ? 0 : row, length = source.dim(form == for_forward ? 1 : 0);
  const Memory own = weight.memory();
  PackedWeight<T> out;
  if constexpr (sizeof(T) == sizeof(float))
    if (precision == Precision::int8)
      out.scales = source.kept_form(kind(2), [&] { return row_scales(source.at_hand(), own); });
  out.numbers = source.kept_form(kind(form), [&] {
    Tensor plain = packed<T>(source.at_hand(), form, own);
    if (precision == Precision::f32) return plain;
    return precision == Precision::bf16 ? paired_bf16(plain, length, own)
                                        : whole_numbers(plain, out.scales, length, form == for_backward, own);
  });
  out.panels = panels_of<T>(out.numbers, out.scales, precision, length, form, first);
  out.panels.turned = form != wanted;
  return out;
}

template PackedWeight<float> packed_weight(const Tensor&, PackedForm, const Memory&);
template PackedWeight<double> packed_weight(const Tensor&, PackedForm, const Memory&);

}  // namespace vitrine
