#!/usr/bin/python3
"""table.py: makes summary.py's line, on standard input, into a page for bench/results."""
import json
import sys


def number(found, digits=2):
    """A median with its range, or a dash."""
    if not found:
        return "not measured"
    middle = found.get("median", found.get("ratio"))
    return f"{middle:.{digits}f} ({found['min']:.{digits}f} to {found['max']:.{digits}f})"


def percent(found):
    return number({key: 100 * value for key, value in found.items()}, 1) if found else "not measured"


def rows(head, body):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in body), ""]


def model_page(name, model):
    page = [f"## {name}, batch {model['batch']}", "", "Images per second:", ""]
    page += rows(["what", "median (range of the rounds)"], [[what, number(found)] for what, found in model["speeds"].items()])
    page += ["Vitrine over the others (above 1: Vitrine is faster), and of times (above 1: the former takes longer):", ""]
    page += rows(["ratio", "of medians (range of the rounds)"],
                 [[what, number(found)] for what, found in model["ratios"].items() if found])
    page += rows(["share of the peak", "% (range of the rounds)"],
                 [[f"{kind} {what}", percent(found)] for kind, shares in model["share_of_peak"].items()
                  for what, found in shares.items()])
    page += rows(["peak memory of the step's process", ""],
                 [[what, "not measured" if value is None else f"{value / 2**20:.0f} MiB" if value > 100 else f"{value:.2f}"]
                  for what, value in model["memory"].items()])
    page += ["One step of each way to run PyTorch, images per second: "
             + "; ".join(f"{what} {speed:.2f}" for what, speed in model["tried"].items()) + ".", ""]
    return page


def main():
    s = json.load(sys.stdin)
    page = [f"# Vitrine against PyTorch and ONNX Runtime, {s['date']}", "",
            "Made by `bench/peers/run.sh`; the same as one line of JSON stands beside. `bench/peers/README.md` says what is",
            "compared with what.", ""]
    page += [f"**Void: {reason}.**" for reason in s["void"]] + ([""] if s["void"] else [])
    page += [f"Machine: {s['machine']}, {s['cores']} cores, {s['threads']} threads; {s['system']}; load {s['load_before']} and "
             f"cores {s['busy_percent_before']}% busy before. {s['vitrine']} ({s['commit']}; {s['compiler']}); "
             f"PyTorch {s.get('version_torch113')} (Debian {s['python3_torch']}, OpenBLAS {s['libopenblas0_openmp']}); newest "
             f"PyTorch {s.get('version_torch', 'skipped')}; ONNX Runtime {s.get('version_onnxruntime', 'skipped')}. "
             f"Rounds: {s['rounds']}; timed steps in each run: {s['steps']}.", ""]
    state = {True: "yes", False: "**no**", None: "not measured"}
    page += ["## Aims", ""]
    page += rows(["aim", "bound", "value", "met"],
                 [[a["aim"], f"at least {a['at_least']}" if "at_least" in a else f"at most {a['at_most']}",
                   "" if a["value"] is None else f"{a['value']:.3f}", state[a["met"]]] for a in s["aims"]])
    page += ["## The machine's peak and the matrix product", ""]
    for threads, peak in s["peak"].items():
        page += [f"{threads} thread(s): {number({k: v / 1e9 for k, v in peak['peak_flops'].items()}, 1)} GFLOP/s in f32 "
                 f"({peak['instructions']}), {percent(peak['share_of_nominal'])} % of {peak['nominal']}.", ""]
        page += rows(["product", "% of the peak in f32"],
                     [[f"{name}, {precision}", percent(share)] for precision, shapes in peak["gemm_share_of_peak"].items()
                      for name, share in shapes.items()])
    for name, model in s["models"].items():
        page += model_page(name, model)
    if s["skipped"]:
        page += ["## Skipped", "", *(f"- {what}" for what in s["skipped"])]
    print("\n".join(page).rstrip())


if __name__ == "__main__":
    main()
