// class_names_test.cpp: names of classes in every form in which people keep them, and in forms that are none.
#include "data/class_names.h"

#include <doctest/doctest.h>

#include "engine/check.h"

using namespace vitrine;

namespace {

using Names = std::vector<std::string>;

Names names(std::string_view words) { return class_names_from(words, "names"); }

std::string refusal(std::string_view words) {
  try {
    names(words);
  } catch (const Error& e) {
    CHECK(e.fault() == Fault::input);
    return e.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("class names: lines of text") {
  CHECK(names("cat\ndog") == Names{"cat", "dog"});
  CHECK(names("\xef\xbb\xbf"
              "cat\r\ndog\r\n\r\n\n") == Names{"cat", "dog"});
  CHECK(names("") == Names{});
  CHECK(refusal("cat\n\ndog") == "names: line 2 is empty: expected a name on each, of class 1");
}

TEST_CASE("class names: every form of JSON") {
  const Names two{"cat", "dog"};
  for (const char* words : {
           R"(["cat", "dog"])",
           " \n"
           R"({"0": "cat", "1": "dog"})",
           R"({"1": "dog", "0": "cat"})",
           R"({"dog": 1, "cat": 0})",
           R"({"0": ["n02121808", "cat"], "1": ["n02084071", "dog"]})",
           R"([["n02121808", "cat"], ["n02084071", "dog"]])",
           R"({"model_type": "vit", "id2label": {"0": "cat", "1": "dog"}, "label2id": {"x": 0, "y": 1}})",
           R"({"label2id": {"cat": 0, "dog": 1}, "layers": [{"deep": [1]}]})",
           R"({"architecture": "vit", "pretrained_cfg": {"crop_pct": 0.9}, "label_names": ["cat", "dog"]})",
       })
    CHECK(names(words) == two);
  // Beyond nine, numbers are no longer in the order of their words.
  std::string many = "{";
  for (int i = 11; i >= 0; --i)
    many += "\"" + std::to_string(i) + "\": \"c" + std::to_string(i) + "\"" + (i > 0 ? "," : "}");
  CHECK(names(many)[2] == "c2");
  CHECK(names(many)[11] == "c11");
}

TEST_CASE("class names: what is none is named") {
  CHECK(refusal(R"({"0": "a", "2": "b"})") ==
        "names: has 2 entries, but none for class 1; its keys must be the numbers of classes");
  CHECK(refusal(R"({"0": "a", "0": "b"})") == "names: '0' appears twice");
  CHECK(refusal(R"({"a": 0, "b": 0})") == "names: 'a' and 'b' are both class 0");
  CHECK(refusal(R"({"a": 0, "b": 2})") == "names: 'b': expected the number of a class below 2, got '2'");
  CHECK(refusal(R"({"a": 0, "b": -1})") == "names: 'b': expected the number of a class below 2, got '-1'");
  CHECK(refusal(R"({"a": 0, "b": 0.5})") == "names: 'b': expected the number of a class below 2, got '0.5'");
  CHECK(refusal(R"({"": 0})") == "names: class 0 has an empty name");
  CHECK(refusal(R"(["a", 3])") ==
        "names: class 1: expected a name, or a list of its synset and its name, got '3'");
  CHECK(refusal(R"([["a", "b", "c"]])") ==
        "names: class 0: expected a name, or a list of its synset and its name, got '[\"a\",\"b\",\"c\"]'");
  CHECK(refusal(R"({"id2label": {"0": ["a"]}})") ==
        "names: id2label: class 0: expected a name, or a list of its synset and its name, got '[\"a\"]'");
  CHECK(refusal(R"({"id2label": {"1": "a"}})") ==
        "names: id2label: has 1 entries, but none for class 0; its keys must be the numbers of classes");
  CHECK(refusal(R"({"model_type": "vit", "num_labels": 2})") ==
        "names: is a configuration without names of classes (id2label)");
  CHECK(refusal(R"(["a", )") == "names: begins like JSON, but is none, by its byte 7");
  CHECK(refusal("[\"\xff\"]").starts_with("names: expected names of classes in UTF-8"));
  CHECK(refusal(std::string_view("a\0b", 3)).starts_with("names: expected names of classes in UTF-8"));
  CHECK(refusal("caf\xe9").starts_with("names: expected names of classes in UTF-8"));
  CHECK(refusal(R"(["a", ""])") == "names: class 1 has an empty name");
  CHECK(refusal("[1e999]") == "names: has a number that is too large");
  CHECK(refusal(std::string(100000, '['))
            .starts_with("names: expected names of classes, got JSON that is nested"));
}
