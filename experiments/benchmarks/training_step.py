"""A training step in the formats that the probe chooses for this machine, against float32 and contiguous memory.

    python experiments/benchmarks/training_step.py [--quick]

PreActResNet-18 with each norm at its own width of 64, and at that of experiments/normalization/laptop.yaml (16), else
alike (stem stride 2, batch 32, 96 x 96). A step is forward, cross-entropy of four heads, backward and AdamW;
five of them a repetition, one thread. What the formats do to the AUROC is measured by
experiments/null_calibration/precision_auroc.py.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from comparison import Benchmark, Contender, Target, command_line, measured, save
from torch import nn

from diagnose.checkpoint import Architecture
from diagnose.training.execution import Execution, choose_execution

TITLE = "a training step, float32 contiguous against the chosen formats; PreActResNet-18"
FACTOR = 2.0
N_STEPS = 5
N_HEADS = 4
SIZES = {f"{norm}, width {width}": (norm, width, 2, 32, 96) for width in (16, 64) for norm in ("bn", "gn", "ln", "in")}
"""Norm, width, stem stride, batch, rows and columns."""


def steps(network: nn.Module, execution: Execution, batch: int, n: int, n_steps: int) -> Callable[[], float]:
    """Return a function that takes some steps of a copy of its own, and returns the last loss."""
    execution.laid_out(network).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((batch, 1, n, n), generator=generator)
    images = images.contiguous(memory_format=execution.torch_memory_format)
    labels = torch.randint(0, 2, (batch, N_HEADS), generator=generator)

    def run() -> float:
        for _ in range(n_steps):
            optimizer.zero_grad(set_to_none=True)
            with execution.autocast():
                logits = network(images)
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    return run


def build(quick: bool) -> tuple[Benchmark, dict[str, Execution]]:
    """Let the probe choose for each network, and name the contenders."""
    torch.set_num_threads(1)
    benchmark, chosen = Benchmark([]), {}
    for name, (norm, width, stride, batch, n) in SIZES.items():
        if quick:
            width, batch, n = 16, 2, 32
        architecture = Architecture(
            norm=norm, depth=18, width=width, stem_stride=stride, pooled_size=1, n_heads=N_HEADS
        )
        plain = Execution()
        best = choose_execution(architecture.build(0), (batch, 1, n, n), precision="auto", memory_format="auto")
        chosen[name] = best
        names = f"{name}: chosen", f"{name}: float32, contiguous"
        for title, execution in zip(names, (best, plain), strict=True):
            run = steps(architecture.build(0), execution, batch, n, 1 if quick else N_STEPS)
            benchmark.contenders.append(Contender(title, run, f"{execution.precision}, {execution.memory_format}"))
        benchmark.targets = [*benchmark.targets, Target(names[1], names[0], FACTOR)]
    return benchmark, chosen


def main() -> None:
    """Measure, and write what was chosen beside it."""
    options = command_line(TITLE)
    benchmark, chosen = build(options.quick)
    record = measured(TITLE, benchmark, options)
    record["chosen"] = {name: [execution.precision, execution.memory_format] for name, execution in chosen.items()}
    save(record, options.out)


if __name__ == "__main__":
    main()
