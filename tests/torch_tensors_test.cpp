// torch_tensors_test.cpp: the forms in which PyTorch's versions write a tensor and its storage, and forms that they do
// not write.
#include <doctest/doctest.h>

#include "container_files.h"
#include "golden_files.h"

using namespace vitrine;
using files::dict, files::global, files::integer, files::integers, files::storage, files::tensor,
    files::torch_zip, files::tuple, files::words;

namespace {

const std::vector<files::Member> six = {{"x/data/0", files::floats(6)}};

// A checkpoint {"w": tensor} that has one storage of 24 bytes.
TensorFile read(const std::string& tensor) {
  return golden::read(files::as_bytes(torch_zip(dict(words("w") + tensor), six)));
}
std::string refusal(const std::string& tensor) {
  return golden::refusal(files::as_bytes(torch_zip(dict(words("w") + tensor), six)));
}
// Why w is no tensor.
std::string reason(const std::string& tensor) { return read(tensor).unreadable.at("w"); }

std::string rebuilt(const std::string& storage, const std::string& offset, const std::string& sizes,
                    const std::string& strides, const std::string& maker = "_rebuild_tensor_v2") {
  return global("torch._utils", maker) + tuple(storage + offset + sizes + strides + "\x89N") + "R";
}
// _rebuild_tensor_v3, which tells the type of the elements beside a storage that has none.
std::string typed(const std::string& storage, const std::string& type) {
  return global("torch._utils", "_rebuild_tensor_v3") +
         tuple(storage + integer(0) + integers({2, 3}) + integers({3, 1}) + "\x89N" + type) + "R";
}
// A storage whose type is from another module than torch.
std::string storage_of_type(const std::string& type) {
  return tuple(words("storage") + type + words("0") + words("cpu") + integer(6)) + "Q";
}

}  // namespace

TEST_CASE("torch: sizes are tuples, lists or torch.Size of one") {
  const std::string zero = integer(0), six_floats = storage("0", 6);
  const std::string size = global("torch", "Size") + tuple(integers({2, 3})) + "R";
  const std::string list = "](" + integer(2) + integer(3) + "e";
  for (const std::string& sizes : {integers({2, 3}), size, list})
    CHECK(read(rebuilt(six_floats, zero, sizes, integers({3, 1}))).at("w").shape() == Shape{2, 3});

  const std::string two_sizes = global("torch", "Size") + tuple(integers({2}) + integers({3})) + "R";
  const std::string other = global("torch", "Sighs") + tuple(integers({2, 3})) + "R";
  const std::string named = dict(integer(0) + integer(2)), words_inside = tuple(words("2"));
  std::string many;
  for (int i = 0; i < 65; ++i) many += integer(1);
  for (const std::string& sizes : {two_sizes, other, named, words_inside, tuple(many), std::string("N")})
    CHECK(reason(rebuilt(six_floats, zero, sizes, integers({3, 1})))
              .starts_with("expected whole numbers as its offset, sizes and strides, got "));
  CHECK(reason(rebuilt(six_floats, "N", integers({2, 3}), integers({3, 1})))
            .starts_with("expected whole numbers as its offset, sizes and strides, got None, "));
  CHECK(reason(rebuilt(six_floats, zero, integers({2, 3}), "N")).ends_with(" and None"));
}

TEST_CASE("torch: storages with a type, without one, and of none that is known") {
  const std::string whole = integers({2, 3}), row_major = integers({3, 1});
  for (const char* untyped : {"UntypedStorage", "_UntypedStorage", "TypedStorage"}) {
    CAPTURE(untyped);
    CHECK(read(typed(storage("0", 24, untyped), global("torch", "float32"))).at("w").shape() == Shape{2, 3});
    CHECK(read(typed(storage("0", 24, untyped), global("torch", "uint8"))).at("w").dtype() == DType::u8);
    CHECK(reason(typed(storage("0", 24, untyped), global("torch", "float3"))).starts_with("its type is "));
    CHECK(reason(typed(storage("0", 24, untyped), "N")) == "its type is None");
    CHECK(refusal(tensor(storage("0", 24, untyped), 0, {2, 3}, {3, 1}))
              .ends_with("expected a storage with a type, got one without"));
  }
  CHECK(read(typed(storage("0", 6), global("torch", "float32"))).at("w").shape() == Shape{2, 3});
  const auto of_type = [&](const std::string& type) {
    return reason(rebuilt(storage_of_type(type), integer(0), whole, row_major));
  };
  CHECK(read(rebuilt(storage_of_type(global("torch.storage", "FloatStorage")), integer(0), whole, row_major))
            .at("w")
            .dtype() == DType::f32);
  CHECK(of_type(global("torch", "FlatStorage")) == "its storage is of type 'torch.FlatStorage'");
  CHECK(of_type(global("torch", "")) == "its storage is of type 'torch.'");
  CHECK(of_type(global("my", "FloatStorage")) == "its storage is of type 'my.FloatStorage'");
  CHECK(of_type(words("FloatStorage")).starts_with("its storage is of type "));
  CHECK(reason(rebuilt("N", integer(0), whole, row_major)) == "its storage is None");
  for (const std::string& id : {std::string("N"), tuple(""), tuple("N"), tuple(words("module") + "N")})
    CHECK(reason(rebuilt(id + "Q", integer(0), whole, row_major)) ==
          "it refers to something out of the pickle that is no storage");
}

TEST_CASE("torch: a view of a storage begins and ends in it") {
  const auto viewed = [](const std::string& view) {
    return tensor(storage("0", 6, "FloatStorage", view), 0, {2}, {1});
  };
  const auto view = [&](int64_t offset, int64_t size) {
    return viewed(tuple(words("v") + integer(offset) + integer(size)));
  };
  CHECK(read(view(4, 2)).at("w").shape() == Shape{2});
  CHECK(read(viewed("N")).at("w").shape() == Shape{2});
  for (const auto& [offset, size] : {std::pair<int64_t, int64_t>{-1, 2}, {0, -1}, {7, 0}, {0, 7}, {5, 2}})
    CHECK(
        refusal(view(offset, size))
            .ends_with(text("a view of {} elements from {} goes beyond the 6 of its storage", size, offset)));
  CHECK(refusal(view(5, 1)).ends_with("its last element would be number 1 of 1"));
  for (const std::string& other :
       {tuple(words("v") + integer(0)), tuple(words("v") + "N" + integer(2)),
        tuple(words("v") + integer(0) + "N"), "](" + words("v") + integer(0) + integer(2) + "e"})
    CHECK(refusal(viewed(other)).ends_with("expected a view's key, offset and size"));
}

TEST_CASE("torch: parameters are what they hold") {
  const std::string inner = tensor(storage("0", 6), 0, {2, 3}, {3, 1});
  const auto parameter = [](const std::string& of, const std::string& maker) {
    return global("torch._utils", maker) + tuple(of + "\x89" + dict("")) + "R";
  };
  for (const char* maker : {"_rebuild_parameter", "_rebuild_parameter_with_state"}) {
    CHECK(read(parameter(inner, maker)).at("w").shape() == Shape{2, 3});
    CHECK(read(parameter(parameter(inner, maker), maker)).at("w").shape() == Shape{2, 3});
  }
  CHECK(refusal(global("torch._utils", "_rebuild_parameter") + ")R")
            .ends_with("a parameter without its tensor"));
  // A class that is not called but made, and one of the name from elsewhere.
  for (const std::string& made : {global("torch._utils", "_rebuild_tensor_v2") + ")\x81",
                                  global("my._utils", "_rebuild_tensor_v2") + ")R"}) {
    const TensorFile file = read(made);
    CHECK(file.tensors.empty());
  }
}
