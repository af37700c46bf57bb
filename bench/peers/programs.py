"""programs.py: the programs that are compared, as command lines. Not a program.

A Variant is one way to run PyTorch's step. All are tried once; the fastest of each PyTorch and form takes part in the
rounds, so that Vitrine meets PyTorch as a tuner would leave it.
"""
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
# glibc keeps freed memory and uses huge pages: spares PyTorch page faults, which is now faster, now slower.
KEEP_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=34359738368"


@dataclass(frozen=True)
class Variant:
    program: str  # torch113 (Debian's) or torch (the newest)
    form: str  # textbook or kv
    attention: str = "plain"
    compiled: bool = False
    keeps_memory: bool = False
    precision: str = "f32"

    def name(self):
        words = [self.form, *(["fused attention"] if self.attention == "fused" else []),
                 *(["compiled"] if self.compiled else []), *(["malloc keeps memory"] if self.keeps_memory else [])]
        return ", ".join(words)


def variants(program, form, is_vit):
    """All ways of one PyTorch and form with glibc's memory as it is. Debian's has neither fused attention nor compilation,
    and Swin's peer, whose scores take a bias and a mask, is fused on a GPU alone (bench/gpu)."""
    plain = Variant(program, form)
    if program == "torch113":
        return [plain]
    if not is_vit:
        return [plain, Variant(program, form, compiled=True)]
    return [plain, Variant(program, form, "fused"), Variant(program, form, "fused", compiled=True)]


class Programs:
    """Makes command lines and their environments out of the options of rounds.py."""

    def __init__(self, options):
        self.options = options
        self.pythons = {"torch113": options.python, **({"torch": options.newest} if options.newest else {})}
        self.help = {}
        if options.vitrine:
            for kind in ("step", "infer", "gemm"):
                done = subprocess.run([options.vitrine, "bench", kind, "--help"], capture_output=True, text=True, check=True)
                self.help[kind] = done.stdout

    def vitrine_has(self, kind, option):
        """Whether `vitrine bench KIND` knows an option: what this build cannot do is skipped by name."""
        return option in self.help.get(kind, "")

    def torch(self, variant, model, batch, prompts, steps, warmup):
        script = "vpt_swin_step.py" if model.startswith("swin-") else "vpt_step.py"
        command = [self.pythons[variant.program], str(HERE / script), "--model", model, "--batch", str(batch),
                   "--prompts", str(prompts), "--steps", str(steps), "--warmup", str(warmup),
                   "--threads", str(self.options.threads), "--form", variant.form, "--attention", variant.attention,
                   "--precision", variant.precision, *(["--compile"] if variant.compiled else [])]
        environment = {"GLIBC_TUNABLES": KEEP_MEMORY} if variant.keeps_memory else {}
        if variant.program == "torch113":
            environment["LD_PRELOAD"] = self.options.preload
        return command, environment

    def check(self, program, model):
        """The comparison of a peer's forms."""
        command, environment = self.torch(Variant(program, "textbook"), model, 1, 1, 1, 0)
        return [*command[:2], "--check"], environment

    def vitrine(self, kind, model, batch, prompts, steps, warmup, more=()):
        return [self.options.vitrine, "bench", kind, "--model", model, "--batch", str(batch), "--prompts", str(prompts),
                "--steps", str(steps), "--warmup", str(warmup), "--threads", str(self.options.threads), "--json", *more], {}

    def gemm(self, precision):
        return [self.options.vitrine, "bench", "gemm", "--threads", str(self.options.threads), "--json",
                *(["--precision", precision] if precision != "f32" else [])], {}

    def export(self, model, prompts, form):
        """Prints the path of the ONNX file."""
        return [self.options.python, str(HERE / "onnx_export.py"), "--model", model, "--prompts", str(prompts),
                "--form", form, "--out", self.options.onnx_folder], {"LD_PRELOAD": self.options.preload}

    def onnx(self, path, batch, steps, warmup):
        return [self.options.newest, str(HERE / "onnx_infer.py"), "--file", path, "--batch", str(batch),
                "--steps", str(steps), "--warmup", str(warmup), "--threads", str(self.options.threads)], {}


def last_line(command, environment, limit):
    """Runs a command; its last line, or why there is none (the other is None)."""
    run = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, start_new_session=True)
    try:
        output, errors = run.communicate(timeout=limit)
    except BaseException as stopped:
        os.killpg(run.pid, signal.SIGKILL)  # torch.compile's workers, too
        run.communicate()
        if isinstance(stopped, subprocess.TimeoutExpired):
            return None, f"took longer than {limit} s"
        raise
    lines, errors = output.strip().splitlines(), errors.strip().splitlines()
    if run.returncode == 0 and lines:
        return lines[-1], None
    return None, f"ended with {run.returncode}: {errors[-1][:300] if errors else 'no output'}"
