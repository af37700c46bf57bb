// convert.cpp: `vitrine convert`. A backbone as one safetensors file that tells all of itself.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "engine/file.h"
#include "engine/sha256.h"
#include "engine/text.h"
#include "models/training/tune.h"

namespace vitrine::cli {

namespace {

// What the new file says of where it came from: the old file's own words, and its name and digest.
std::string provenance_of(const Backbone& backbone, const BackboneHints& hints) {
  const auto before = backbone.file.metadata.find("provenance");
  const std::string words = before == backbone.file.metadata.end() ? "" : before->second + "; ";
  if (is_builtin(backbone.source)) return text("{}vitrine convert: {}", words, backbone.source);
  const std::string name = std::filesystem::path(backbone.source).filename().string();
  const std::string digest = sha256_hex(map_file(backbone.source)->bytes());
  const auto resampled = backbone.file.metadata.find("resampled");  // not at the size that it had
  return text("{}vitrine convert: {}, sha256 {}{}", words, quote(name), digest,
              hints.image_size == 0 || resampled == backbone.file.metadata.end()
                  ? ""
                  : text(", positions for {} pixels resampled as {}", hints.image_size, resampled->second));
}

}  // namespace

int convert(const ConvertOptions& o, Console& console) {
  check_safetensors_name("--out", o.out);
  std::error_code absent;
  if (const auto kind = std::filesystem::status(o.out, absent).type();
      !absent && kind != std::filesystem::file_type::not_found &&
      kind != std::filesystem::file_type::directory)
    check(kind == std::filesystem::file_type::regular,
          "--out {}: expected a file, which is read again once it is written", quote(o.out));
  // A net that is used at the size of its pictures keeps the positions that it was trained with, for other sizes.
  BackboneHints hints = o.hints;
  hints.as_stored = hints.image_size == 0;
  const Pretrained opened = open_pretrained(o.backbone, hints);
  const Backbone& backbone = opened.backbone;
  check_own_size(backbone, o.hints);
  check_not_read("--out", o.out, files_of_backbone(backbone));
  check_not_read("--out", o.out, opened.read);
  if (o.class_names) check_not_read("--out", o.out, {*o.class_names});
  prepare_output(o.out);
  console.item("Backbone", text("{}, from {}", describe(backbone.config), backbone.source));
  TensorFile file = canonical_file(backbone, o.dtype);
  if (!file.metadata.contains("any_size")) file.metadata["preprocess"] = to_json(preprocess_of(backbone));
  if (o.class_names) {
    check(!head_is_projection(backbone), "--class-names: what stands behind its features is no classifier");
    file.metadata["class_names"] = nlohmann::json(read_class_names_of(backbone, *o.class_names)).dump();
  }
  file.metadata["provenance"] = provenance_of(backbone, o.hints);
  const std::vector<std::byte> bytes = write_safetensors(file);
  write_file_atomically(o.out, bytes);
  // Read again as anybody will, so that what is told is what is there.
  const Backbone written = open_backbone(o.out, {.as_stored = true});
  const std::string before = identity_of(backbone), after = identity_of(written);
  console.item("Written", text("{}, {} in {}, {} tensors", o.out, bytes_text(bytes.size()), name_of(o.dtype),
                               written.file.tensors.size()));
  console.item("Identity",
               before == after ? after : text("{}; it was {}, for numbers were rounded", after, before));
  console.command("Next", text("inspect {}", shell_word(o.out)));
  console.result(nlohmann::ordered_json{{"command", "convert"},
                                        {"from", backbone.source},
                                        {"file", o.out},
                                        {"dtype", name_of(o.dtype)},
                                        {"bytes", bytes.size()},
                                        {"identity", after},
                                        {"identity_before", before}});
  return 0;
}

}  // namespace vitrine::cli
