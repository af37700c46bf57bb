// containers_test.cpp: what PyTorch and numpy wrote is read as they would read it, bit by bit.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "engine/containers/torch_file.h"
#include "golden_files.h"

using namespace vitrine;

namespace {

std::set<std::string> keys(const auto& map) {
  std::set<std::string> out;
  for (const auto& entry : map) out.insert(entry.first);
  return out;
}

void check_expected(const TensorFile& file, const std::string& name) {
  const TensorFile expected = load_safetensors(golden::path("containers/" + name + ".expected"));
  CHECK(keys(file.tensors) == keys(expected.tensors));
  for (const auto& [key, tensor] : expected.tensors) {
    CAPTURE(key);
    REQUIRE(file.tensors.contains(key));
    const Tensor& got = file.at(key);
    CHECK(got.sealed());
    CHECK(got.dtype() == tensor.dtype());
    CHECK(got.shape() == tensor.shape());
    CHECK(std::ranges::equal(got.raw(), tensor.raw()));
  }
}

bool lies_in(const Tensor& tensor, std::span<const std::byte> bytes) {
  return tensor.raw().data() >= bytes.data() &&
         tensor.raw().data() + tensor.raw().size() <= bytes.data() + bytes.size();
}

}  // namespace

TEST_CASE("containers: files of PyTorch and numpy hold what they were given") {
  CHECK(golden::checkpoints().size() == 16);
  for (const std::string& name : golden::checkpoints()) {
    CAPTURE(name);
    check_expected(load_tensors(golden::path("containers/" + name)), name);
    const files::Bytes bytes = golden::bytes("containers/" + name);
    check_expected(read_tensors(bytes, nullptr, name), name);  // without an owner: copies
    // At an odd place in memory.
    files::Bytes shifted(bytes.size() + 1);
    std::ranges::copy(bytes, shifted.begin() + 1);
    const auto owner = std::make_shared<files::Bytes>(std::move(shifted));
    check_expected(read_tensors(std::span(*owner).subspan(1), owner, name), name);
  }
}

TEST_CASE("containers: what no tensor can hold is refused when it is asked for, by name") {
  for (const char* name : {"state.pth", "old.pth", "stored.pth", "deflated.pth"}) {
    CAPTURE(name);
    const TensorFile file = load_tensors(golden::path(std::string("containers/") + name));
    CHECK(file.part == "model");
    CHECK(keys(file.unreadable) == std::set<std::string>{"complex", "sparse", "quantised"});
    CHECK(keys(file.objects) == std::set<std::string>{"array", "config"});
    const auto reason = [&](const std::string& key) { return files::message_of([&] { file.at(key); }); };
    CHECK(reason("complex") ==
          text("'{}': cannot read tensor 'complex': tensors cannot hold complex64", file.name));
    CHECK(reason("sparse").ends_with("'sparse': it is what 'torch._utils._rebuild_sparse_tensor' makes"));
    CHECK(reason("quantised").ends_with("'quantised': it is what 'torch._utils._rebuild_qtensor' makes"));
    CHECK(reason("config").ends_with("'config': it is an object of 'argparse.Namespace'"));
    CHECK(reason("module.weigth").ends_with("no tensor 'module.weigth'; did you mean 'module.weight'?"));
  }
  for (const char* name : {"stored.npz", "deflated.npz"}) {
    const TensorFile file = load_tensors(golden::path(std::string("containers/") + name));
    CHECK(keys(file.unreadable) == std::set<std::string>{"complex", "u64"});
    CHECK(keys(file.objects) == std::set<std::string>{"object", "structure", "bytes", "text", "date"});
    CHECK(file.objects.at("object") == "it is an array of Python objects, '|O'");
    CHECK(file.objects.at("structure") == "it is an array of structures");
    CHECK(file.objects.at("text") == "it is an array of '<U3'");
    CHECK(file.unreadable.at("u64") == "tensors cannot hold u64");
  }
  const TensorFile newer = load_tensors(golden::path("containers/protocol5.pth"));
  CHECK(newer.part == "state_dict");
  CHECK(newer.objects.at("best_acc1") == "it lies beside the part 'state_dict'");
  const TensorFile untyped = load_tensors(golden::path("containers/untyped.pth"));
  CHECK(keys(untyped.unreadable) == std::set<std::string>{"float8", "strange", "u64"});
  CHECK(untyped.unreadable.at("strange") == "its type is 'torch.strange'");
}

TEST_CASE("containers: tensors borrow the file's bytes where they can, and share storages that they cannot") {
  const auto file = map_file(golden::path("containers/state.pth"));
  const TensorFile aligned = read_tensors(file->bytes(), file, "x");
  for (const char* key : {"weight", "rows", "parameter", "float16", "bfloat16", "int64", "one", "scalar"}) {
    CAPTURE(key);
    CHECK(lies_in(aligned.at(std::string("module.") + key), file->bytes()));
  }
  for (const char* key : {"transposed", "column", "inner", "expanded", "permuted", "int16", "bool"})
    CHECK_FALSE(lies_in(aligned.at(std::string("module.") + key), file->bytes()));
  const auto distance = [](const TensorFile& x) {
    return x.at("module.rows").raw().data() - x.at("module.weight").raw().data();
  };
  CHECK(distance(aligned) == 2 * 6 * static_cast<ptrdiff_t>(sizeof(float)));

  // The copy of a storage at an odd place is shared as the storage was.
  const auto shifted = std::make_shared<files::Bytes>(file->bytes().size() + 1);
  std::ranges::copy(file->bytes(), shifted->begin() + 1);
  const auto odd = std::span<const std::byte>(*shifted).subspan(1);
  const TensorFile copied = read_tensors(odd, shifted, "x");
  CHECK_FALSE(lies_in(copied.at("module.weight"), odd));
  CHECK(distance(copied) == distance(aligned));
  CHECK(lies_in(copied.at("module.uint8"), odd));
}

TEST_CASE("containers: a model in several files is read by its index, from the index's own folder") {
  const files::TemporaryFolder folder;
  TensorFile first, second;
  first.tensors["a"] = Tensor::full({2}, 1, DType::f32);
  first.tensors["left out"] = Tensor::full({2}, 2, DType::f32);
  second.tensors["b"] = Tensor::full({3}, 3, DType::f64);
  save_safetensors(folder / "1.safetensors", first);
  save_safetensors(folder / "2.safetensors", second);
  folder.write("3.npz", golden::bytes("containers/stored.npz"));
  const std::string index = folder / "model.safetensors.index.json";
  const auto load = [&](const std::string& words) {
    folder.write("model.safetensors.index.json", files::bytes_of(words));
    return load_tensors(index);
  };
  const TensorFile file = load(
      R"( {"metadata": {"total_size": 32, "x": [null, true, -1, 1.5, {"weight_map": {}}]}, "weight_map": )"
      R"({"a": "1.safetensors", "b": "2.safetensors", "object": "3.npz"}})");
  CHECK(keys(file.tensors) == std::set<std::string>{"a", "b"});
  CHECK(file.at("b").data<double>()[2] == 3);
  CHECK(keys(file.objects) == std::set<std::string>{"object"});
  CHECK(file.name == index);

  const auto refusal = [&](const std::string& words) { return files::message_of([&] { load(words); }); };
  const auto map = [&](const std::string& words) { return refusal(R"({"weight_map":{)" + words + "}}"); };
  for (const char* bad :
       {"../1.safetensors", "/1.safetensors", "a/b", "..", ".", "", "C:x", "a\\\\b", "a\\u0000"})
    CHECK(map(text("{}{}\"", R"("a":")", bad)).find("expected the name of a file in the index's folder") !=
          std::string::npos);
  CHECK(map(R"("a":"1.safetensors","a":"2.safetensors")").ends_with("tensor 'a' appears twice"));
  CHECK(map(R"("a":1)").ends_with("tensor 'a': expected the name of a file, got a number"));
  CHECK(map(R"("a":["x"])").ends_with("tensor 'a': expected the name of a file, got an array"));
  CHECK(map(R"("a":{})").ends_with("tensor 'a': expected the name of a file, got an object"));
  CHECK(map(R"("nowhere":"1.safetensors")").ends_with("no tensor 'nowhere'"));
  CHECK(map(R"("a":"none.safetensors")").find("No such file") != std::string::npos);
  CHECK(map(R"("a":"model.safetensors.index.json")").find("expected a safetensors") != std::string::npos);
  CHECK(refusal(R"({"metadata":{}})").ends_with("which has an object weight_map"));
  CHECK(refusal(R"({"weight_map":3})" + std::string(8, ' '))
            .ends_with("expected an object as weight_map, got a number"));
  CHECK(refusal(R"({"weight_map":{},"weight_map":{}})").ends_with("weight_map appears twice"));
  CHECK(refusal(R"({"weight_map":{)").find("is not valid JSON") != std::string::npos);
  CHECK(
      refusal("{\"a\":" + std::string(100'000, '[')).ends_with("expected JSON at most 16 deep, got deeper"));
  CHECK(
      refusal(std::string(R"({"weight_map":{}})") + '\0').find("is not valid JSON in UTF-8 at its byte 18") !=
      std::string::npos);
  std::string many;
  for (int i = 0; i < 1001; ++i) many += text("{}\"{}\":\"{}\"", i ? "," : "", i, i);
  CHECK(map(many).ends_with("expected at most 1000 files, got more"));
}

TEST_CASE("containers: the file of weights that a folder means, and one file of several") {
  const files::TemporaryFolder folder;
  const auto fails = [&](const std::string& path) { return files::message_of([&] { weights_file(path); }); };
  CHECK(weights_file(folder / "nowhere.pth") == folder / "nowhere.pth");  // for who opens it to say
  CHECK(files::says(fails(folder.str()), "is a folder without model.safetensors"));
  folder.write("other.pth", {});
  folder.write("config.json", {});
  CHECK(files::says(fails(folder.str()), text("name the file of weights, of '{}'", folder / "other.pth")));
  // Each is preferred to those that were there before.
  for (const char* name : {"pytorch_model.bin.index.json", "pytorch_model.bin",
                           "model.safetensors.index.json", "model.safetensors"}) {
    folder.write(name, {});
    CHECK(weights_file(folder.str()) == folder / name);
  }

  CHECK(files::says(fails(folder / "model-00002-of-00003.safetensors"),
                    text("name their index, '{}'", folder / "model.safetensors.index.json")));
  CHECK(files::says(fails("pytorch_model-00001-of-00010.bin"), "'pytorch_model.bin.index.json'"));
  for (const char* name : {"model-00001-of-00001.safetensors", "-of-", "-of-2.bin", "a-1-of-.bin", "a-1-of-2",
                           "1-of-2.b", "a-b-of-2.bin", "a-1-of-b.bin"})
    CHECK(weights_file(name) == name);
}

TEST_CASE("containers: other files are refused with a sentence") {
  const auto refusal = [](std::string words) { return golden::refusal(files::bytes_of(words)); };
  CHECK(refusal("") == "'x': expected a safetensors, .npy, .npz or PyTorch file, got an empty one");
  CHECK(refusal("hello") ==
        "'x': expected a safetensors, .npy, .npz or PyTorch file, got one that begins with 'hello'");
  CHECK(refusal("GGUF" + std::string(99, '\3')) ==
        "'x': is a GGUF file, which cannot be read: convert it to safetensors");
  CHECK(refusal(std::string(257, 'a') + "ustar") ==
        "'x': is a tar archive, as PyTorch wrote before its version 0.4, which cannot be read: load and save "
        "it again "
        "with a newer PyTorch");
  CHECK(refusal(std::string("PK\5\6", 4) + std::string(18, '\0')) ==
        "zip: 'x': expected the archive of a PyTorch checkpoint (with data.pkl) or of numpy (with .npy), got "
        "neither");
  CHECK(refusal(std::string(8, '\xff') + "{}").find("expected a safetensors") != std::string::npos);
  // A safetensors file is one by its header.
  CHECK(golden::read(files::bytes_of(std::string("\6\0\0\0\0\0\0\0", 8) + "\t\n{}\r ")).tensors.empty());
}
