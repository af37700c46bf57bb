// preset_test.cpp: the table of families, and what preprocessor_config.json of transformers may ask for.
#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <string>

#include "data/preprocess.h"
#include "engine/check.h"

using namespace vitrine;

namespace {

bool same(const Preprocess& a, const Preprocess& b) { return to_json(a) == to_json(b); }

// A whole file; `size` and what follows replace the entries of google/vit-*'s.
std::string config(const std::string& size, const std::string& more = "", const std::string& type = "ViT") {
  return "{\"do_normalize\": true, \"do_resize\": true, \"image_mean\": [0.5, 0.5, 0.5], \"image_std\": "
         "[0.5, 0.5, "
         "0.5], \"resample\": 2, \"size\": " +
         size + (type.empty() ? "" : ", \"image_processor_type\": \"" + type + "ImageProcessor\"") +
         (more.empty() ? "" : ", " + more) + "}";
}

std::string refusal(const std::string& words) {
  try {
    preprocess_from_hugging_face(words);
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::input);
    return error.what();
  }
  return "no error";
}

bool refused(const std::string& words, const std::string& part) {
  const std::string message = refusal(words);
  const bool named = message.starts_with("preprocessor_config.json: ") || message.starts_with("preprocess: ");
  const bool found = named && message.find(part) != std::string::npos;
  if (!found) MESSAGE("'" << part << "' is not in: " << message << " for " << words);
  return found;
}

}  // namespace

TEST_CASE("presets make sense, have names of their own and survive their metadata form") {
  std::set<std::string> names;
  for (const PreprocessPreset& preset : preprocess_presets()) {
    CAPTURE(preset.name);
    CHECK(names.insert(preset.name).second);
    check_preprocess(preset.preprocess);
    CHECK(same(preprocess_preset(preset.name), preset.preprocess));
    CHECK(same(preprocess_from_json(to_json(preset.preprocess)), preset.preprocess));
  }
  CHECK_THROWS_WITH_AS(preprocess_preset("tim-vit"),
                       "preprocess: unknown preset 'tim-vit'; did you mean 'timm-vit'?", Error);
  CHECK_THROWS_AS(preprocess_preset(""), Error);
}

TEST_CASE("presets: their sides follow from the shares that timm states, rounded down") {
  CHECK(resize_before_crop(224, 0.875) == preprocess_preset("deit").resize);
  CHECK(resize_before_crop(384, 0.875) == preprocess_preset("swin-384").resize);
  CHECK(resize_before_crop(224, 0.9) == preprocess_preset("timm-vit").resize);
  CHECK(resize_before_crop(518, 1.0) == preprocess_preset("timm-dinov2").resize);
  CHECK(resize_before_crop(224, 0.9) == static_cast<int>(224 / 0.9));
  for (const double share : {0.0, -1.0, 1.01, 1e-9, std::nan("")})
    CHECK_THROWS_AS(resize_before_crop(224, share), Error);
  CHECK_THROWS_AS(resize_before_crop(0, 1), Error);
}

TEST_CASE("presets: at another size each is prepared as its program does it") {
  for (const int size : {32, 160, 256, 288, 384, 448, 518}) {
    CAPTURE(size);
    // int((256 / 224) * args.input_size) of DeiT and Swin, floor(size / crop_pct) of timm
    for (const char* name : {"deit", "mae", "swin"})
      CHECK(preprocess_preset_at(name, size)->resize == static_cast<int>((256.0 / 224) * size));
    if (size != 384)
      for (const char* name : {"timm-deit", "timm-vit", "timm-swin"})
        CHECK(preprocess_preset_at(name, size)->resize == static_cast<int>(std::floor(size / 0.9)));
    CHECK(preprocess_preset_at("google-vit", size)->resize == size);
    CHECK(at_size(preprocess_preset("deit"), size).resize == static_cast<int>((256.0 / 224) * size));
  }
  CHECK(same(*preprocess_preset_at("timm-vit", 384), preprocess_preset("timm-vit-384")));  // crop_pct 1
  CHECK(same(*preprocess_preset_at("timm-vit", 224), preprocess_preset("timm-vit")));
  CHECK(!preprocess_preset_at("nobody", 224));
  for (const PreprocessPreset& preset : preprocess_presets())
    if (preset.share > 0)
      CHECK(preset.preprocess.resize == resize_before_crop(preset.preprocess.size, preset.share));
}

TEST_CASE("presets: what a preset of one size says of another is what its family says") {
  for (const PreprocessPreset& preset : preprocess_presets()) {
    const std::string name = preset.name;
    CAPTURE(name);
    CHECK(same(*preprocess_preset_at(name, preset.preprocess.size), preset.preprocess));
    for (const PreprocessPreset& family : preprocess_presets())
      if (name == text("{}-{}", family.name, preset.preprocess.size))
        CHECK(same(*preprocess_preset_at(name, 224), *preprocess_preset_at(family.name, 224)));
  }
  CHECK(preprocess_preset_at("deit-384", 224)->resize == 256);
}

TEST_CASE("the central square of transformers is rounded down") {
  for (int extra = 0; extra < 8; ++extra) {
    Image image = blank_image(16 + extra, 17);
    for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<uint8_t>(i * i / 7);
    Preprocess p{.size = 15, .resize = 17, .squash = true, .crop_squashed = true};
    p.floor_crop = true;
    CHECK(prepare(image, p).rgb == crop(resize(image, 17, 17, p.filter), 1, 1, 15, 15).rgb);
    p = {.size = 16, .resize = 16 + extra};
    const Image whole = resize_shorter(image, p.resize, p.filter);
    const int across = whole.width - 16, down = whole.height - 16;
    p.floor_crop = true;
    CHECK(prepare(image, p).rgb == crop(whole, across / 2, down / 2, 16, 16).rgb);
    p.floor_crop = false;
    const auto even = [](int n) { return static_cast<int>(std::nearbyint(n / 2.0)); };
    CHECK(prepare(image, p).rgb == crop(whole, even(across), even(down), 16, 16).rgb);
  }
  Preprocess p;
  CHECK(to_json(p).find("floor_crop") == std::string::npos);
  p.floor_crop = true;
  CHECK(preprocess_from_json(to_json(p)).floor_crop);
}

TEST_CASE("what no whole patch covers is cut off after all else") {
  Image image = blank_image(61, 40);
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<uint8_t>(i * i / 7);
  for (const Preprocess& whole :
       {Preprocess{.size = 20, .resize = 20, .squash = true}, Preprocess{.size = 20, .resize = 24},
        Preprocess{.size = 20, .resize = 24, .squash = true, .crop_squashed = true}}) {
    const Preprocess p = without_rest(whole, 14, 7);
    CHECK(p.size == 14);
    CHECK(p.lost == 6);
    check_preprocess(p);
    CHECK(prepare(image, p).rgb == crop(prepare(image, whole), 0, 0, 14, 14).rgb);
    for (const Augment& a : {Augment{.flip = true}, Augment{.flip = true, .crop = true}}) {
      Random one(3, Purpose::augment), other(3, Purpose::augment);
      for (int i = 0; i < 8; ++i)
        CHECK(augment(image, p, a, one).rgb == crop(augment(image, whole, a, other), 0, 0, 14, 14).rgb);
    }
    CHECK(same(preprocess_from_json(to_json(p)), p));
    CHECK(same(at_size(p, 40), at_size(whole, 40)));
    CHECK(same(without_rest(whole, 13, 7), whole));  // a whole patch would be missing
    CHECK(same(without_rest(whole, 20, 7), whole));
  }
  CHECK(same(*preprocess_preset_at("siglip", 378), without_rest(preprocess_preset("siglip-384"), 378, 14)));
  CHECK_THROWS_AS(check_preprocess({.size = 16, .resize = 18, .lost = 3}), Error);
  CHECK_THROWS_AS(check_preprocess({.size = 16, .resize = 18, .lost = -1}), Error);
}

TEST_CASE("squashed, then cut: both steps") {
  Image image = blank_image(61, 40);
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<uint8_t>(i * i / 7);
  const Preprocess p{.size = 16, .resize = 21, .squash = true, .crop_squashed = true};
  CHECK(prepare(image, p).rgb == crop(resize(image, 21, 21, p.filter), 2, 2, 16, 16).rgb);
  CHECK_THROWS_AS(check_preprocess({.size = 16, .resize = 21, .crop_squashed = true}), Error);
  CHECK_THROWS_AS(check_preprocess({.size = 16, .resize = 15, .squash = true, .crop_squashed = true}), Error);
  CHECK_THROWS_AS(
      preprocess_from_json(to_json(p).replace(to_json(p).find("_squashed\": true") + 12, 4, "\"no\"")),
      Error);
}

TEST_CASE("whether photos are turned is remembered, and not told where they are not") {
  Preprocess p;
  CHECK(to_json(p).find("exif") == std::string::npos);  // as in files from before there was such a key
  CHECK(!preprocess_from_json(to_json(p)).exif);
  p.exif = true;
  CHECK(preprocess_from_json(to_json(p)).exif);
  CHECK(at_size(p, 96).exif);
  const std::string told = to_json(p);
  CHECK_THROWS_AS(preprocess_from_json(std::string(told).replace(told.find("exif\": true") + 7, 4, "1")),
                  Error);
}

TEST_CASE("preprocessor_config.json: every shape of size") {
  const Preprocess google = preprocess_preset("google-vit");
  for (const char* type : {"ViT", ""})
    for (const char* size : {"{\"height\": 224, \"width\": 224}", "[224, 224]", "224"})
      CHECK(same(preprocess_from_hugging_face(config(size, "", type)), google));
  CHECK(same(
      preprocess_from_hugging_face(
          "{\"feature_extractor_type\": \"ViTFeatureExtractor\", \"image_mean\": 0.5, \"image_std\": 0.5, "
          "\"size\": 224, \"resample\": 2}"),
      google));

  const std::string normal =
      "{\"crop_size\": 224, \"do_center_crop\": true, \"do_normalize\": true, \"do_resize\": true, "
      "\"image_mean\": "
      "[0.48145466, 0.4578275, 0.40821073], \"image_std\": [0.26862954, 0.26130258, 0.27577711], "
      "\"resample\": 3, ";
  const auto of_transformers = [](const char* name) {
    Preprocess p = preprocess_preset(name);
    p.floor_crop = true;
    return p;
  };
  const Preprocess clip = of_transformers("clip");
  CHECK(same(
      preprocess_from_hugging_face(normal + "\"feature_extractor_type\": \"CLIPFeatureExtractor\", \"size\": "
                                            "224}"),
      clip));
  CHECK(same(preprocess_from_hugging_face(normal + "\"size\": {\"shortest_edge\": 224}}"), clip));

  const std::string imagenet =
      "{\"image_mean\": [0.485, 0.456, 0.406], \"image_std\": [0.229, 0.224, 0.225], \"resample\": 3, "
      "\"rescale_factor\": 0.00392156862745098, \"do_rescale\": true, \"do_convert_rgb\": null, ";
  CHECK(
      same(preprocess_from_hugging_face(
               imagenet + "\"image_processor_type\": \"BitImageProcessor\", \"crop_size\": {\"height\": 224, "
                          "\"width\": 224}, \"size\": {\"shortest_edge\": 256}}"),
           of_transformers("dinov2")));
  CHECK(same(preprocess_from_hugging_face(imagenet + "\"image_processor_type\": \"BitImageProcessor\", "
                                                     "\"crop_size\": [224, 224], \"size\": 256}"),
             of_transformers("dinov2")));
  CHECK(same(preprocess_from_hugging_face(imagenet + "\"feature_extractor_type\": \"DeiTFeatureExtractor\", "
                                                     "\"crop_size\": 224, \"size\": 256}"),
             of_transformers("deit-transformers")));
  CHECK(same(preprocess_from_hugging_face(imagenet + "\"image_processor_type\": \"ViTImageProcessorFast\", "
                                                     "\"size\": {\"width\": 384, \"height\": 384}}"),
             preprocess_preset("swin-transformers-384")));

  // Siglip's reads "height" and "width", and those that squash know no shorter side but in their variants on tensors.
  CHECK(
      same(preprocess_from_hugging_face(config("{\"height\": 224, \"width\": 224}", "", "Siglip")), google));
  CHECK(refused(config("224", "", "Siglip"), "'size' is 224, but the processor of Siglip"));
  for (const char* type : {"DeiT", "Beit"}) {
    CHECK(refused(config("{\"shortest_edge\": 256}", "\"crop_size\": 224", type),
                  "'size' has a 'shortest_edge'"));
    CHECK(preprocess_from_hugging_face(config("256", "\"crop_size\": 224", type)).crop_squashed);
  }
  const std::string fast = "\"crop_size\": 224, \"image_processor_type\": \"DeiTImageProcessorFast\"";
  CHECK(!preprocess_from_hugging_face(config("{\"shortest_edge\": 256}", fast, "")).squash);
  // Files of newer versions say which of the two a number alone is.
  CHECK(same(preprocess_from_hugging_face(config("224", "\"default_to_square\": true")), google));
  CHECK(preprocess_from_hugging_face(config("256", fast + ", \"default_to_square\": true", "")).squash);
  CHECK(!preprocess_from_hugging_face(config("256", fast + ", \"default_to_square\": false", "")).squash);
  CHECK(!preprocess_from_hugging_face(
             config("256", "\"default_to_square\": false, \"do_center_crop\": true, \"crop_size\": 224", ""))
             .squash);
  CHECK(refused(config("224", "\"default_to_square\": false"), "'default_to_square' is false"));
  CHECK(refused(config("224", "\"default_to_square\": 1"), "'default_to_square'"));
  CHECK(same(preprocess_from_hugging_face(
                 config("224",
                        "\"default_to_square\": true, \"device\": null, \"disable_grouping\": null, "
                        "\"image_seq_length\": null, \"do_pad\": null, \"pad_size\": null, "
                        "\"do_center_crop\": null, \"crop_size\": null, \"input_data_format\": null, "
                        "\"data_format\": \"channels_first\"")),
             google));
  CHECK(refused(config("224", "\"do_pad\": true"), "'do_pad'"));
  CHECK(refused(config("224", "\"crop_pct\": 0.875"), "'crop_pct'"));

  CHECK(refused(config("{\"height\": 224, \"width\": 225}"), "224 x 225"));
  CHECK(refused(config("{\"shortest_edge\": 224}"), "'size' has a 'shortest_edge'"));
  CHECK(refused(config("224", "\"do_center_crop\": false", "CLIP"), "'size' keeps the aspect ratio"));
  CHECK(refused(config("{\"shortest_edge\": 224, \"longest_edge\": 300}"), "'size'"));
  CHECK(refused(config("{\"longest_edge\": 224}"), "'size'"));
  CHECK(refused(config("256", "\"do_center_crop\": true, \"crop_size\": 224", ""), "'size' is 256"));
  CHECK(refused(config("224", "\"do_center_crop\": true, \"crop_size\": 256", "CLIP"), "'crop_size' is 256"));
  CHECK(refused(config("224", "\"do_center_crop\": true", "CLIP"), "'crop_size'"));
  CHECK(refused(config("224", "\"crop_size\": 224", ""), "'crop_size'"));
  CHECK(refused(config("224", "\"do_center_crop\": true, \"crop_size\": 224"), "'do_center_crop'"));
  CHECK(same(preprocess_from_hugging_face(config("224", "\"crop_size\": 200")), google));  // ViT has no crop
}

TEST_CASE("preprocessor_config.json: filters, switches and numbers") {
  const std::string size = "{\"height\": 8, \"width\": 8}";
  const char* by_code[] = {"nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"};
  for (int code = 0; code < 6; ++code) {
    std::string words = config(size);
    words.replace(words.find("\"resample\": 2") + 12, 1, std::to_string(code));
    CHECK(name_of(preprocess_from_hugging_face(words).filter) == std::string(by_code[code]));
  }
  std::string raw = config(size);
  raw.replace(raw.find("true"), 4, "false");  // do_normalize
  CHECK(preprocess_from_hugging_face(raw).mean == std::array<float, 3>{0, 0, 0});
  CHECK(preprocess_from_hugging_face(raw).std == std::array<float, 3>{1, 1, 1});

  // What its processor takes for a missing key is said, so that it can be written.
  const auto without = [&](const char* type, const std::string& entry, const std::string& more = "") {
    std::string words = config(size, more, type);
    const size_t at = words.find(entry);
    REQUIRE(at != std::string::npos);
    return words.erase(at, entry.size());
  };
  CHECK(refused(without("ViT", "\"resample\": 2, "),
                "missing key 'resample'; the processor of ViT takes 2 then: write it"));
  CHECK(refused(without("Siglip", "\"resample\": 2, "), "the processor of Siglip takes 3 then"));
  CHECK(refused(without("", "\"resample\": 2, "), "missing key 'resample'"));
  CHECK(refused(without("CLIP", "\"image_mean\": [0.5, 0.5, 0.5], ", "\"crop_size\": 8"),
                "missing key 'image_mean'; the processor of CLIP takes CLIP's [0.48145466"));
  CHECK(refused(without("Beit", "\"do_resize\": true, "),
                "missing key 'crop_size'; the processor of Beit takes 224 then"));

  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string words = config(size);
    REQUIRE(words.find(from) != std::string::npos);
    return words.replace(words.find(from), from.size(), to);
  };
  for (const char* code : {"6", "-1", "2.0", "\"bicubic\"", "null", "99999999999999999999"})
    CHECK(refused(replaced("\"resample\": 2", std::string("\"resample\": ") + code), "'resample'"));
  CHECK(refused(replaced("\"do_resize\": true", "\"do_resize\": false"), "'do_resize'"));
  CHECK(refused(replaced("\"do_resize\": true", "\"do_resize\": 1"), "'do_resize'"));
  CHECK(refused(config(size, "\"do_rescale\": false"), "'do_rescale'"));
  for (const char* factor : {"0.00784313725490196", "1", "0", "\"1/255\"", "-0.00392156862745098"})
    CHECK(refused(config(size, std::string("\"rescale_factor\": ") + factor), "'rescale_factor'"));
  for (const char* mean :
       {"[0.5, 0.5]", "[0.5, 0.5, 0.5, 0.5]", "[0.5, \"x\", 0.5]", "\"0.5\"", "1e300", "null", "{}"})
    CHECK(refused(replaced("\"image_mean\": [0.5, 0.5, 0.5]", std::string("\"image_mean\": ") + mean),
                  "'image_mean'"));
  CHECK(refused(replaced("\"image_std\": [0.5, 0.5, 0.5]", "\"image_std\": 0"), "deviations"));
  for (const char* bad : {"0", "-224", "224.0", "1e3", "99999999999", "\"224\"", "true", "null", "[]", "{}",
                          "[1]", "[224, 224, 224]", "[0, 0]", "[\"a\", \"a\"]", "{\"height\": 224}",
                          "{\"height\": 1e5, \"width\": 1e5}", "{\"shortest_edge\": -1}", "16384"})
    CHECK(refusal(config(bad)) != "no error");
}

TEST_CASE(
    "preprocessor_config.json: what would have to be guessed is refused, and so is what is no such file") {
  for (const char* type : {"ConvNext", "Levit", "Siglip2", "VideoMAE", "Vi", "ViTT", "\\u0000"})
    CHECK(refused(config("224", "", type), "'image_processor_type'"));
  CHECK(refused(config("224", "\"image_processor_type\": 3", ""), "'image_processor_type'"));
  CHECK(refused(config("224", "\"feature_extractor_type\": \"CLIPFeatureExtractor\""), "different"));
  for (const char* more : {"\"do_pad\": true", "\"crop_pct\": 0.9", "\"size_divisor\": 32", "\"offset\": 0"})
    CHECK(refused(config("224", more), "unknown key"));
  CHECK(refusal(config("224", "\"do_pad\": false, \"crop_pct\": null, \"processor_class\": \"x\"")) ==
        "no error");
  CHECK(refused(config("224", "\"size\": 224"), "duplicate key 'size'"));
  CHECK(refused(config("{\"height\": 9, \"height\": 224, \"width\": 224}"), "duplicate key 'height'"));
  CHECK(refusal(config("{\"height\": 224, \"width\": 224}",
                       "\"crop_size\": {\"height\": 224, \"width\": 224}")) == "no error");
  CHECK(refused(std::string(100000, '['), ""));
  for (const char* words :
       {"", "[]", "3", "null", "{}", "{\"size\"", "\xff\xfe", "{\"size\": {\"a\": {\"b\": {}}}}"})
    CHECK(refusal(words) != "no error");
  const std::string good = config("{\"height\": 224, \"width\": 224}", "\"do_rescale\": true");
  for (size_t length = 0; length < good.size(); ++length)
    CHECK(refusal(good.substr(0, length)) != "no error");
  for (size_t i = 0; i < good.size(); ++i)
    for (const char c : {'\0', '"', '{', '9', ',', '\x80', '-'}) {
      std::string changed = good;
      changed[i] = c;
      refusal(changed);  // an error that is checked to be ours, or a sensible value
    }
}
