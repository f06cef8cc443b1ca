"""One adversarial step of ours beside the textbook's, which paints twice and throws half of its gradients away.

    python -m benchmarks.train_step models/pretrained/efficientnet_lite0.pth

The textbook's discriminator update paints the selfies once more and goes back through the generator (the gradient is
thrown away); its generator update reckons gradients of the discriminator, thrown away too. So do the public PyTorch
ports of CartoonGAN. Both steps have the same networks, losses and optimizers, in turns, at CartoonGAN's full width,
on noise: nothing depends on what is seen. Then what one picture costs the generator of the sample, and CartoonGAN's.
With --variants, instead, what other ways to reckon our own step cost beside it.
"""

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from portraitist.learning.losses import adversarial_loss, content_loss, hinge_generator_loss, hinge_loss
from portraitist.learning.tensors import Batch, on_grey
from portraitist.methods import method_names
from portraitist.methods.base import UpstreamModels
from portraitist.methods.registry import build
from portraitist.nets.cartoongan import Generator
from portraitist.nets.features import Lite0
from portraitist.nets.unet import UNet

ROOT = Path(__file__).resolve().parents[1]
WIDTH, SIDE_PX, UNET = 64, 256, 32  # as profiles/full.yaml
BLOCKS = {"cyclegan": 9}  # CartoonGAN's 8 for all others
SMALL = (16, 4)  # width and blocks of profiles/sample.yaml


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down a loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def cartoongan(learner: Any, batch: Batch) -> None:
    """CartoonGAN as its ports have it."""
    judge = learner.discriminator
    d_loss = adversarial_loss(judge(batch.portraits), real=True) + adversarial_loss(judge(batch.smoothed), real=False)
    descend(learner.discriminator_adam, d_loss + adversarial_loss(judge(learner.generator(batch.selfies)), real=False))

    painted = learner.generator(batch.selfies)
    g_content = learner.content_weight * content_loss(learner.features(painted), learner.features(batch.selfies))
    descend(learner.generator_adam, adversarial_loss(judge(painted), real=True) + g_content)
    learner.ema.update(learner.generator)


def masked_cartoongan(learner: Any, batch: Batch) -> None:
    """Ours, written likewise."""
    judge, seen = learner.discriminator, learner.seen(batch.selfies, batch.selfie_masks)
    here, there = learner.inner(batch.selfie_masks), learner.inner(batch.portrait_masks)

    def fake(painted: Tensor) -> Any:
        return judge(on_grey(painted, learner.masks(painted, batch.selfie_masks)))

    real_masks = learner.masks(batch.portraits, batch.portrait_masks)
    d_loss = hinge_loss(judge(on_grey(batch.portraits, real_masks)), there, real=True)
    d_loss = d_loss + hinge_loss(fake(learner.generator(seen)), here, real=False)
    d_loss = d_loss + hinge_loss(judge(on_grey(batch.smoothed, real_masks)), there, real=False)
    descend(learner.discriminator_adam, d_loss)

    painted = learner.generator(seen)
    masks = batch.selfie_masks if learner.grey_input else None
    g_content = learner.content_weight * content_loss(learner.features(painted), learner.features(seen), masks)
    descend(learner.generator_adam, hinge_generator_loss(fake(painted), here) + g_content)
    learner.ema.update(learner.generator)


def cyclegan(learner: Any, batch: Batch) -> None:
    """CycleGAN, written likewise."""
    there, back, cycle = learner.generator, learner.generator_back, learner.params.cycle
    judge, judge_back = learner.discriminator, learner.discriminator_back
    selfies, portraits = batch.selfies, batch.portraits
    painted, photographed = there(selfies), back(portraits)
    g_fool = (judge(painted) - 1).square().mean() + (judge_back(photographed) - 1).square().mean()
    g_cycle = (back(painted) - selfies).abs().mean() + (there(photographed) - portraits).abs().mean()
    g_identity = (there(portraits) - portraits).abs().mean() + (back(selfies) - selfies).abs().mean()
    descend(learner.generator_adam, g_fool + cycle * (g_cycle + learner.params.identity * g_identity))
    learner.ema.update(there)

    d_loss = (judge(portraits) - 1).square().mean() + judge(there(selfies)).square().mean()
    d_loss = d_loss + (judge_back(selfies) - 1).square().mean() + judge_back(back(portraits)).square().mean()
    descend(learner.discriminator_adam, d_loss / 2)


TEXTBOOK: dict[str, Callable[[Any, Batch], None]] = {
    step.__name__: step for step in (cartoongan, masked_cartoongan, cyclegan) if step.__name__ in method_names()
}


def told(name: str, width: int, blocks: int, side_px: int) -> dict[str, Any]:
    """What a method is told, by params.yaml and these sizes."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    shape = {"width": width, "blocks": blocks, "skips": False, "size_px": side_px}
    offered = params["train"] | shape | params["methods"][name]
    asked = importlib.import_module(f"portraitist.methods.{name}").Params.model_fields
    return {key: value for key, value in offered.items() if key in asked}


def begun(name: str, weights: Path, width: int, blocks: int, side_px: int) -> Any:
    """A learner of this size, ready for its first step."""
    torch.manual_seed(1)
    learner = build(name, told(name, width, blocks, side_px))
    learner.setup(UpstreamModels(Lite0(weights), Generator(width, blocks, skips=False), UNet(UNET).eval()))
    return learner


def noise(side_px: int) -> Batch:
    """One selfie and one portrait; a person fills the middle half."""
    chance = torch.Generator().manual_seed(1)
    selfies, portraits, smoothed = (torch.rand(1, 3, side_px, side_px, generator=chance) * 2 - 1 for _ in range(3))
    masks = torch.zeros(1, 1, side_px, side_px)
    masks[:, :, side_px // 4 :, side_px // 4 : -side_px // 4] = 1
    return Batch(selfies, masks, portraits, masks, smoothed)


def gflop(step: Callable[[], object]) -> float:
    """Its operations, a multiplication and an addition as two; convolutions and products of matrices only."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


def seconds(steps: list[Callable[[], object]], rounds: int) -> list[float]:
    """The median CPU seconds of each, in turns, so that what the machine does meanwhile hits them alike."""
    found: list[list[float]] = [[] for _ in steps]
    for turn in range(rounds + 1):  # the first one loads things
        for step, taken in zip(steps, found, strict=True):
            start = time.process_time()
            step()
            if turn:
                taken.append(time.process_time() - start)
    return [statistics.median(taken) for taken in found]


def table(title: str, textbook: Callable[[], object], ours: Callable[[], object], rounds: int) -> None:
    """One line of the result."""
    slow, fast = seconds([textbook, ours], rounds)
    many, few = gflop(textbook), gflop(ours)
    print(f"| {title} | {slow:.2f} | {fast:.2f} | **{fast / slow:.2f}** ", end="")
    print(f"| {many:.0f} | {few:.0f} | {few / many:.2f} |", flush=True)


def channels_last(learner: Any, batch: Batch) -> Callable[[], object]:
    """Weights and images with their channels beside each other."""
    learner.to(memory_format=torch.channels_last)
    parts = (getattr(batch, name) for name in Batch.__dataclass_fields__)
    return partial(learner.step, Batch(*(part.contiguous(memory_format=torch.channels_last) for part in parts)))


def fused(learner: Any, batch: Batch) -> Callable[[], object]:
    """Adam in one kernel."""
    for which in ("generator", "discriminator"):
        weights = getattr(learner, which).parameters()
        setattr(learner, f"{which}_adam", torch.optim.Adam(weights, lr=0.001, betas=(0.5, 0.999), fused=True))
    return partial(learner.step, batch)


def bfloat16(learner: Any, batch: Batch) -> Callable[[], object]:
    """As `precision: bfloat16` has it."""

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            learner.step(batch)

    return step


def main() -> None:
    """A line for each method's step, and one for what a picture costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--side", type=int, default=SIDE_PX, help="of a picture, in px")
    parser.add_argument("--variants", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    batch = noise(asked.side)
    first, second = ("ours", "variant") if asked.variants else ("textbook", "ours")
    print(f"| what | {first}, CPU s | {second} | ratio | {first}, GFLOP | {second} | ratio |")
    print("|:--|--:|--:|--:|--:|--:|--:|")
    if asked.variants:
        for variant in (channels_last, fused, bfloat16):
            ours, other = (begun("masked_cartoongan", asked.features, asked.width, 8, asked.side) for _ in range(2))
            table(variant.__name__, partial(ours.step, batch), variant(other, batch), asked.rounds)
        return
    for name, step in TEXTBOOK.items():
        learner = begun(name, asked.features, asked.width, BLOCKS.get(name, 8), asked.side)
        table(f"step of {name}", partial(step, learner, batch), partial(learner.step, batch), asked.rounds)
    with torch.no_grad():
        large, small = Generator(asked.width, 8, skips=False), Generator(*SMALL, skips=True)
        table("one picture", partial(large, batch.selfies), partial(small, batch.selfies), asked.rounds)


if __name__ == "__main__":
    main()
