"""Where the time of a stage goes: a table after a few warm-up steps, with achieved rates; training is not changed."""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import accelerate.data_loader
import torch
from transformers import TrainerCallback

from anatomy_vlm.processing.atomic_files import write_json
from anatomy_vlm.training.cost import StepCost, step_cost
from anatomy_vlm.training.trainer import AnatomyVLMTrainer


PROFILE_FILE = "profile.json"
PARTS = (
    "data wait",
    "host to device",
    "texts and labels",
    "forward: tower",
    "forward: heads",
    "forward: losses",
    "forward: compiled",
    "backward",
    "clipping",
    "optimizer",
    "logging and checkpoints",
    "other",
)


@dataclass(frozen=True)
class ProfileOptions:
    """
    Args:
        output: Folder of the run; `profile.json` and traces go there.
        warmup: Steps of a stage before measuring.
        steps: Steps that are measured, fewer where the stage ends before.
        trace: Also write `trace-STAGE.json` of two more steps, for chrome://tracing or https://ui.perfetto.dev.
    """

    output: Path
    warmup: int = 3
    steps: int = 20
    trace: bool = False


def add_profile_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a command that trains."""
    parser.add_argument("--profile", action="store_true", help="say where each stage's time goes; writes profile.json")
    parser.add_argument("--profile-trace", action="store_true", help="as --profile, with traces for ui.perfetto.dev")


def profile_options(args: argparse.Namespace, output: Path) -> ProfileOptions | None:
    """What the options of `add_profile_arguments` ask for."""
    if not (args.profile or args.profile_trace):
        return None
    return ProfileOptions(output, trace=args.profile_trace)


class PartClock:
    """
    Sums the time of named parts; a part inside another one is not counted twice.

    On a GPU each boundary waits for the device, so that the parts are true and their overlap is lost.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _turn(self) -> None:
        """Credit the time since the last boundary to the innermost open part."""
        now = self.now()
        part = self._open[-1] if self._open else "other"
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now

    def restart(self) -> None:
        self.seconds, self._since = {}, self.now()

    def begin(self, part: str) -> None:
        self._turn()
        self._open.append(part)

    def end(self) -> None:
        self._turn()
        self._open.pop()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.begin(name)
        try:
            yield
        finally:
            self.end()

    def wrapped(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """`function` with its time credited to the part `name`."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return timed


def matrix_rate(rows: int, inputs: int, outputs: int, dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second of one product `(rows, inputs) x (inputs, outputs)`: the median of several."""
    clock = PartClock(device)
    generator = torch.Generator(device).manual_seed(0)
    one = torch.randn(rows, inputs, generator=generator, device=device).to(dtype)
    other = torch.randn(outputs, inputs, generator=generator, device=device).to(dtype)
    with torch.no_grad():
        torch.nn.functional.linear(one, other)
        repeats, times = 1, []
        for _ in range(6):
            start = clock.now()
            for _ in range(repeats):
                torch.nn.functional.linear(one, other)
            times.append((clock.now() - start) / repeats)
            # A product of microseconds is timed in groups of about 20 ms.
            repeats = max(1, min(10_000, int(0.02 / max(times[-1], 1e-6))))
    return 2 * rows * inputs * outputs / sorted(times[1:])[len(times[1:]) // 2]


def peak_memory(device: torch.device) -> int:
    """Bytes: the most allocated on the GPU in the measured steps, else the most this process ever held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class StageProfile(TrainerCallback):
    """
    Measures the steps of one trainer. Nothing that it does draws a random number or touches a tensor of the training.
    A context manager, which leaves the trainer as it was however the training ends.

    Args:
        trainer: The trainer of the stage, before it trains.
        options: What to measure, and where to write.
    """

    def __init__(self, trainer: AnatomyVLMTrainer, options: ProfileOptions):
        self.trainer, self.options = trainer, options
        self.clock = PartClock(trainer.args.device)
        self.steps = -1
        self.result: dict[str, Any] | None = None
        self._undo: list[Callable[[], object]] = []
        self._num_texts: list[int] = []
        self._side = 0
        self._trace: Any = None
        trainer.add_callback(self)

    # ---- Boundaries of the parts

    def _wrap(self, owner: Any, name: str, part: str) -> None:
        own = name in vars(owner)
        before = getattr(owner, name)
        setattr(owner, name, self.clock.wrapped(before, part))
        self._undo.append(lambda: setattr(owner, name, before) if own else delattr(owner, name))

    def _attach(self) -> None:
        trainer, model = self.trainer, self.trainer.accelerator.unwrap_model(self.trainer.model)
        self._wrap(trainer, "get_batch_samples", "data wait")
        self._wrap(accelerate.data_loader, "send_to_device", "host to device")
        self._wrap(trainer, "_prepare_inputs", "host to device")
        # Hooks and wrappers inside a compiled model would be compiled with it.
        compiled = trainer.args.torch_compile
        self._wrap(trainer, "compute_loss", "forward: compiled" if compiled else "forward: heads")
        if not compiled:
            self._wrap(model, "compute_losses", "forward: losses")
            hooks = [
                model.vision_model.register_forward_pre_hook(lambda *_: self.clock.begin("forward: tower")),
                model.vision_model.register_forward_hook(lambda *_: self.clock.end(), always_call=True),
            ]
            self._undo += [hook.remove for hook in hooks]
        self._wrap(trainer.accelerator, "backward", "backward")
        self._wrap(trainer, "_clip_grad_norm", "clipping")
        self._wrap(trainer, "_maybe_log_save_evaluate", "logging and checkpoints")
        if trainer.texts is not None:
            self._watch_texts(trainer.texts)
        self._watch_images(trainer)

    def _watch_texts(self, texts: Any) -> None:
        self._wrap(texts, "targets", "texts and labels")
        targets = texts.targets

        def counted(*args: Any, **kwargs: Any) -> Any:
            result = targets(*args, **kwargs)
            self._num_texts.append(len(result["text_features"]))
            return result

        texts.targets = counted

    def _watch_images(self, trainer: AnatomyVLMTrainer) -> None:
        step = trainer.compute_loss

        def seen(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            self._side = inputs["pixel_values"].shape[-1]
            return step(model, inputs, *args, **kwargs)

        trainer.compute_loss = seen  # type: ignore[method-assign]

    def _detach(self) -> None:
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> "StageProfile":
        return self

    def __exit__(self, *error: object) -> None:
        self._detach()

    # ---- The course of a stage

    def on_train_begin(self, args, state, control, **kwargs):
        self._attach()

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.clock.begin("optimizer")

    def on_optimizer_step(self, args, state, control, **kwargs):
        self.clock.end()

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1
        done = self.steps - self.options.warmup
        if done == 0:
            if self.clock.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.clock.device)
            self._num_texts.clear()
            self.clock.restart()
        elif done == self.options.steps:
            self._finish(done)
            self._start_trace()
        elif done == self.options.steps + 2:
            self._end_trace()

    def on_train_end(self, args, state, control, **kwargs):
        done = self.steps - self.options.warmup
        if self.result is None and done > 0:
            self._finish(done)
        elif self.result is None and args.process_index == 0:
            print(
                f"profile of stage '{self.trainer.stage.name}': {self.steps + 1} steps are too few, "
                f"{self.options.warmup + 2} are needed"
            )
        self._end_trace()
        self._detach()

    def _start_trace(self) -> None:
        if self.options.trace and self.trainer.is_world_process_zero():
            self._trace = torch.profiler.profile()
            self._trace.__enter__()

    def _end_trace(self) -> None:
        if self._trace is not None:
            self._trace.__exit__(None, None, None)
            path = self.options.output / f"trace-{self.trainer.stage.name}.json"
            scratch = path.with_name(f".{path.name}")
            self._trace.export_chrome_trace(str(scratch))
            scratch.replace(path)
            self._trace = None

    # ---- The result

    def _finish(self, steps: int) -> None:
        self.clock._turn()
        args, seconds = self.trainer.args, dict(self.clock.seconds)
        memory = peak_memory(self.clock.device)
        self._detach()
        if not self.trainer.is_world_process_zero():
            self.result = {}
            return
        total = sum(seconds.values())
        cost, shape, dtype = self._cost()
        with torch.random.fork_rng():
            rate = matrix_rate(*shape, dtype, self.clock.device)
        # Of this process; every process does the same.
        images = steps * args.gradient_accumulation_steps * args.per_device_train_batch_size
        achieved = images * cost.per_image / total
        parts = {part: seconds[part] / steps for part in PARTS if part in seconds}
        self.result = {
            "steps": steps,
            "processes": args.world_size,
            "images_per_step": images // steps * args.world_size,
            "milliseconds_per_step": 1e3 * total / steps,
            "parts_milliseconds": {part: 1e3 * value for part, value in parts.items()},
            "parts_share": {part: value * steps / total for part, value in parts.items()},
            "images_per_second": images * args.world_size / total,
            "flops_per_image": cost.per_image,
            "achieved_flops_per_second": achieved,
            "matrix_product": {
                "shape": list(shape),
                "dtype": str(dtype).removeprefix("torch."),
                "flops_per_second": rate,
            },
            "mfu": achieved / rate,
            "peak_memory_bytes": memory,
            "device": self._device(),
        }
        print(table(self.trainer.stage.name, self.result), flush=True)
        path = self.options.output / PROFILE_FILE
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"stages": {}}
        write_json(path, {"stages": {**before["stages"], self.trainer.stage.name: self.result}})

    def _cost(self) -> tuple[StepCost, tuple[int, int, int], torch.dtype]:
        """Operations of a step, and the shape and type of the tower's largest product."""
        trainer, args = self.trainer, self.trainer.args
        config = trainer.accelerator.unwrap_model(trainer.model).config
        vision = config.vision_config
        batch_size = args.per_device_train_batch_size
        num_texts = round(sum(self._num_texts) / len(self._num_texts)) if self._num_texts else 0
        with torch.random.fork_rng():
            cost = step_cost(
                config,
                trainer.stage.losses,
                trainer.stage.freeze,
                batch_size=batch_size,
                num_texts=num_texts,
                image_size=self._side,
            )
        tokens = 1 + vision.num_anatomy_queries + vision.num_register_tokens + (self._side // vision.patch_size) ** 2
        dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else torch.float32
        return cost, (batch_size * tokens, vision.hidden_size, vision.intermediate_size), dtype

    def _device(self) -> str:
        device = self.clock.device
        if device.type == "cuda":
            return torch.cuda.get_device_name(device)
        return f"{device.type}, {torch.get_num_threads()} threads"


def table(stage: str, result: dict[str, Any]) -> str:
    """The result of a stage in lines of text."""
    product = result["matrix_product"]
    lines = [f"profile of stage '{stage}': {result['steps']} steps, {result['device']}"]
    lines.append(f"  {'':26}{'ms per step':>12}{'share':>9}")
    for part, milliseconds in result["parts_milliseconds"].items():
        lines.append(f"  {part:26}{milliseconds:12.2f}{result['parts_share'][part]:9.1%}")
    lines.append(f"  {'step':26}{result['milliseconds_per_step']:12.2f}")
    lines.append(
        f"  {result['images_per_second']:.1f} images/s, {result['flops_per_image'] / 1e9:.2f} GFLOP/image, "
        f"{result['achieved_flops_per_second'] / 1e9:.1f} GFLOP/s of a process"
    )
    lines.append(
        f"  {result['mfu']:.1%} of the {product['flops_per_second'] / 1e9:.1f} GFLOP/s of one product "
        f"{' x '.join(map(str, product['shape']))} in {product['dtype']}"
    )
    lines.append(f"  peak memory {result['peak_memory_bytes'] / 2**20:.0f} MiB")
    return "\n".join(lines)
