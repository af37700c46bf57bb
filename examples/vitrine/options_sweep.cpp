#include "options_sweep.h"

#include <algorithm>
#include <cstdlib>

namespace vitrine::cli {

namespace {

// Words with commas between them.
std::vector<std::string> listed(const std::string& option, const std::string& words) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin <= words.size();) {
    const size_t end = std::min(words.find(',', begin), words.size());
    const size_t first = std::min(words.find_first_not_of(' ', begin), end);
    size_t last = end;
    while (last > first && words[last - 1] == ' ') --last;
    check(last > first, "{}: expected words with commas between them, got {}", option, quote(words));
    out.push_back(words.substr(first, last - first));
    begin = end + 1;
  }
  return out;
}

void add_list(Adder& add, const std::string& name, const char* label, const char* what,
              std::vector<std::string>& field) {
  add.words(name, label, what, [=, &field](const std::string& words) { field = listed(name, words); });
}

// `above`: 0 itself makes no sense.
void add_numbers(Adder& add, const std::string& name, const char* what, std::vector<double>& field,
                 bool above = false) {
  add.words(name, "LIST", what, [=, &field](const std::string& words) {
    field.clear();
    for (const std::string& word : listed(name, words)) {
      field.push_back(real(name, word, 0, 999999));
      check(!above || field.back() > 0, "{}: expected numbers above 0, got {}", name, quote(word));
    }
  });
}

// "3/8": the third of eight, counted from 1 as people do.
void read_part(const std::string& words, SweepOptions& o) {
  const size_t slash = words.find('/');
  check(slash != std::string::npos, "--jobs-part: expected I/N such as 3/8, got {}", quote(words));
  o.parts = whole<int>("--jobs-part", words.substr(slash + 1), 1, 1 << 20);
  o.part = whole<int>("--jobs-part", words.substr(0, slash), 1, o.parts) - 1;
}

// As SLURM tells each job of an array, whose numbers may begin anywhere.
void read_job_array(SweepOptions& o) {
  const auto number = [](const char* name) {
    const char* words = std::getenv(name);
    return words == nullptr ? -1 : whole<int>(name, words, 0, 1 << 30);
  };
  const int id = number("SLURM_ARRAY_TASK_ID"), count = number("SLURM_ARRAY_TASK_COUNT"),
            first = number("SLURM_ARRAY_TASK_MIN");
  if (id < 0 || count < 1) return;
  o.parts = count;
  o.part = std::max(0, id - std::max(first, 0)) % count;
}

}  // namespace

void add_sweep(Adder& add, SweepOptions& o) {
  read_job_array(o);
  add.often_used({"--suite", "--data", "--tasks", "--methods", "--backbone", "--train-sizes", "--recipe",
                  "--seeds", "--lr", "--wd", "--prompts", "--epochs", "--batch", "--out", "--show-plan",
                  "--retry", "--keep-tasks", "--threads"});
  add.group("What is compared");
  add.path("--suite", "FILE",
           "tasks and their groups, a TOML file such as suites/mini-vtab.toml, or a study (suites/studies)",
           o.suite);
  add.each("--data", "SPEC",
           "a task by itself, as vitrine tune takes it, or suite:FILE; may stand several times", o.data);
  add_list(add, "--tasks", "LIST", "only these of the suite, by name", o.tasks);
  add_list(add, "--methods", "LIST",
           "rows of the table, as tune --method has them, and adapter, whose sizes recipe paper searches "
           "[linear,vpt-shallow,vpt-deep,full]",
           o.methods);
  add.path("--backbone", "FILE", "a ViT's or Swin's file, builtin or builtin-swin [builtin]", o.backbone);
  add.hints(o.hints, "side in pixels of the squares that the net sees [as it was trained]");
  add.placement(o.place);
  add.counts("--train-sizes", "LIST",
             "each task with so many images to learn from, val among them, whatever the suite says",
             o.train_sizes, most);
  add.seed("--data-seed", "which images are taken and split off [0]", o.data_seed);
  add.flag("--exif", "turn photos as their EXIF block asks", o.exif);
  add.count("--max-bad", "N", "damaged images to leave out before it is an error [0]", o.max_bad, 0);
  add.group("How each is trained");
  add.words("--recipe", "NAME",
            "what is searched, and how long is trained: paper (the paper's grids), retuned (later work's "
            "stronger settings) or quick (few and short, for small nets); --show-plan tells all [quick]",
            [&o](const std::string& words) { o.recipe = words; });
  add.count("--seeds", "N", "final runs of each method and task, with seeds 0 to N - 1 [3]", o.seeds, 1,
            1000);
  add_numbers(add, "--lr", "learning rates to try [the recipe's, as of all below]", o.changes.learning_rates,
              true);
  add_numbers(add, "--base-lr", "the same for 256 images per step: R * batch / 256 is taken",
              o.changes.base_learning_rates, true);
  add_numbers(add, "--wd", "weight decays to try", o.changes.weight_decays);
  add.counts("--prompts", "LIST", "prompt lengths to try", o.changes.prompts, 1 << 16);
  add.prompt_variant(o.changes.variant);
  add.optimizer("how gradients become steps", o.changes.optimizer);
  add.count("--epochs", "E", "passes over the images", o.changes.epochs, 1, 1 << 20);
  add.count("--batch", "B", "images per step", o.changes.batch, 1, 1 << 20);
  add.number("--warmup", "E", "epochs of rising learning rate", o.changes.warmup, 0, 1 << 20);
  add.count("--prompt-projection", "K", "train prompts of K numbers and a map to the backbone's width",
            o.changes.prompt_projection, 1, 1 << 16);
  add.number("--prompt-dropout", "R", "share of prompt values left out in training", o.changes.prompt_dropout,
             0, 0.999999);
  add.number("--drop-path", "R", "how often the last block is left out in training", o.changes.drop_path, 0,
             0.999999);
  add.one_of<bool>("--head-init", "paper|zero", "how the head starts", o.changes.paper_head,
                   {{"paper", true}, {"zero", false}});
  add.group("The work");
  add.path("--out", "DIR", "its folder; processes may share it, sweeps go on in it (required)", o.out);
  add.flag("--show-plan", "open the tasks, say what would be run, and do nothing", o.show_plan);
  add.each("--ledger", "FILE", "results of another sweep, a ledger or a folder; its runs are not done again",
           o.ledgers);
  add.flag("--retry", "do runs again that failed", o.retry);
  add.flag("--keep-tasks", "keep every run's task file", o.keep_tasks);
  add.words("--jobs-part", "I/N", "begin as the Ith of N processes [as a job array of SLURM tells]",
            [&o](const std::string& words) { read_part(words, o); });
  add.words("--cache", "BYTES", "of pictures, prepared and embedded, to share, such as 800M [2G]",
            [&o](const std::string& words) { o.cache = bytes("--cache", words); });
  add.count("--workers", "W", "threads that load images [1]", o.workers, 0, 256);
  add.common(o.common);
}

void add_table(Adder& add, TableOptions& o) {
  add.group("Options");
  add.one_of<By>("--by", "WHAT", "columns by train-size, backbone or prompts, not groups", o.by,
                 {{"train-size", By::train_size}, {"backbone", By::backbone}, {"prompts", By::prompts}});
  add.flag("--runs", "every run with its settings, score and folder, in place of a table", o.runs);
  add.one_of<TableFormat>(
      "--format", "F", "markdown, csv or json [as FILE ends; markdown without --out]", o.format,
      {{"markdown", TableFormat::markdown}, {"csv", TableFormat::csv}, {"json", TableFormat::json}});
  add.one_of<PaperRows>("--paper", "ROWS",
                        "which of the paper's numbers stand beside: own (those of a net of the same form), "
                        "mae or moco-v3 (of a ViT-B/16 pretrained so), or none [own]",
                        o.paper,
                        {{"own", PaperRows::of_form},
                         {"mae", PaperRows::mae},
                         {"moco-v3", PaperRows::moco_v3},
                         {"none", PaperRows::none}});
  add.path("--out", "FILE", "write it there: x.md, x.csv or x.json [standard output]", o.out);
  add.common(o.common);
}

}  // namespace vitrine::cli
