"""Compare the cost of one adversarial training step with that of a common implementation.

    python -m benchmarks.train_step models/pretrained/efficientnet_lite0.pth

The common implementation, as in public PyTorch ports of CartoonGAN, computes gradients that it does not use. To update
the discriminator, it generates the stylized images a second time, and propagates the gradient into the generator. To
update the generator, it also computes gradients of the discriminator.

Both implementations use the same networks, losses and optimizers, with CartoonGAN's number of channels. Their steps
alternate. The inputs are noise, because the cost does not depend on them. The last row of the table is the cost of
painting one image, with CartoonGAN's generator and with the generator of profiles/local.yaml. With --variants, our
step is compared with other ways to compute it.
"""

import argparse
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

from portraitist.learning import method_names
from portraitist.learning.features import Lite0
from portraitist.learning.losses import adversarial_loss, content_loss, hinge_generator_loss, hinge_loss
from portraitist.learning.method import UpstreamModels
from portraitist.learning.registry import build, params_class
from portraitist.learning.tensors import Batch, on_grey
from portraitist.nets.cartoongan import Generator
from portraitist.nets.unet import UNet

ROOT = Path(__file__).resolve().parents[1]
BASE_CHANNELS, SIZE_PX, UNET_CHANNELS = 64, 256, 32  # as profiles/full.yaml
NUM_RES_BLOCKS = {"cyclegan": 9}  # all other methods: CartoonGAN's 8
LOCAL_SIZE = (16, 4)  # base_channels and num_res_blocks of profiles/local.yaml


def minimize(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take one optimizer step."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def cartoongan(method: Any, batch: Batch) -> None:
    """Take one step of CartoonGAN, as in its public ports."""
    discriminator = method.discriminator
    d_loss = adversarial_loss(discriminator(batch.portraits), target_is_real=True)
    d_loss = d_loss + adversarial_loss(discriminator(batch.smoothed), target_is_real=False)
    d_loss = d_loss + adversarial_loss(discriminator(method.generator(batch.selfies)), target_is_real=False)
    minimize(method.d_optimizer, d_loss)

    stylized = method.generator(batch.selfies)
    g_adv = adversarial_loss(discriminator(stylized), target_is_real=True)
    g_content = content_loss(method.features(stylized), method.features(batch.selfies))
    minimize(method.g_optimizer, g_adv + method.params.content_weight * g_content)
    method.ema.update(method.generator)


def masked_cartoongan(method: Any, batch: Batch) -> None:
    """Take one step of our method, written in the same way."""
    discriminator = method.discriminator
    generator_input = method.generator_input(batch.selfies, batch.selfie_masks)
    fake_area, real_area = method.inner_masks(batch.selfie_masks), method.inner_masks(batch.portrait_masks)

    def fake_logits(stylized: Tensor) -> Any:
        return discriminator(on_grey(stylized, method.discriminator_masks(stylized, batch.selfie_masks)))

    real_masks = method.discriminator_masks(batch.portraits, batch.portrait_masks)
    d_loss = hinge_loss(discriminator(on_grey(batch.portraits, real_masks)), real_area, target_is_real=True)
    d_loss = d_loss + hinge_loss(fake_logits(method.generator(generator_input)), fake_area, target_is_real=False)
    edge_logits = discriminator(on_grey(batch.smoothed_persons, real_masks))
    minimize(method.d_optimizer, d_loss + hinge_loss(edge_logits, real_area, target_is_real=False))

    stylized = method.generator(generator_input)
    content_area = batch.selfie_masks if method.params.grey_input else None
    g_content = content_loss(method.features(stylized), method.features(generator_input), content_area)
    g_adv = hinge_generator_loss(fake_logits(stylized), fake_area)
    minimize(method.g_optimizer, g_adv + method.params.content_weight * g_content)
    method.ema.update(method.generator)


def cyclegan(method: Any, batch: Batch) -> None:
    """Take one step of CycleGAN, written in the same way."""
    generator, generator_back = method.generator, method.generator_back
    discriminator, discriminator_back = method.discriminator, method.discriminator_back
    selfies, portraits = batch.selfies, batch.portraits
    stylized, fake_selfies = generator(selfies), generator_back(portraits)
    g_adv = (discriminator(stylized) - 1).square().mean() + (discriminator_back(fake_selfies) - 1).square().mean()
    g_cycle = (generator_back(stylized) - selfies).abs().mean() + (generator(fake_selfies) - portraits).abs().mean()
    g_identity = (generator(portraits) - portraits).abs().mean() + (generator_back(selfies) - selfies).abs().mean()
    g_loss = g_adv + method.params.lambda_cycle * (g_cycle + method.params.lambda_identity * g_identity)
    minimize(method.g_optimizer, g_loss)
    method.ema.update(generator)

    d_loss = (discriminator(portraits) - 1).square().mean() + discriminator(generator(selfies)).square().mean()
    d_loss = d_loss + (discriminator_back(selfies) - 1).square().mean()
    minimize(method.d_optimizer, (d_loss + discriminator_back(generator_back(portraits)).square().mean()) / 2)


TEXTBOOK: dict[str, Callable[[Any, Batch], None]] = {
    step.__name__: step for step in (cartoongan, masked_cartoongan, cyclegan) if step.__name__ in method_names()
}


def settings(name: str, base_channels: int, num_res_blocks: int, size_px: int) -> dict[str, Any]:
    """Return a method's params as in params.yaml, for networks and images of this size."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    size = {"base_channels": base_channels, "num_res_blocks": num_res_blocks, "size_px": size_px}
    values = params["train"] | size | {"skip_connections": False} | params["methods"][name]
    return {key: value for key, value in values.items() if key in params_class(name).model_fields}


def make_trainable(name: str, weights: Path, base_channels: int, num_res_blocks: int, size_px: int) -> Any:
    """Build a method for training."""
    torch.manual_seed(1)
    generator = Generator(base_channels, num_res_blocks, skip_connections=False)
    upstream = UpstreamModels(Lite0(weights), generator, UNet(UNET_CHANNELS).eval())
    return build(name, settings(name, base_channels, num_res_blocks, size_px), upstream)


def noise_batch(size_px: int) -> Batch:
    """Return one selfie and one portrait of noise; the person fills the middle half."""
    generator = torch.Generator().manual_seed(1)
    selfies, portraits, smoothed = (torch.rand(1, 3, size_px, size_px, generator=generator) * 2 - 1 for _ in range(3))
    masks = torch.zeros(1, 1, size_px, size_px)
    masks[:, :, size_px // 4 :, size_px // 4 : -size_px // 4] = 1
    return Batch(selfies, masks, portraits, masks, smoothed, smoothed)


def gflop(step: Callable[[], object]) -> float:
    """Count operations of convolutions and matrix products; a multiply-add counts as two."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


def cpu_seconds(steps: list[Callable[[], object]], rounds: int) -> list[float]:
    """Return the median CPU time of each step; steps alternate, so that other processes affect them equally."""
    times: list[list[float]] = [[] for _ in steps]
    for index in range(rounds + 1):  # the first round is a warm-up
        for step, measured in zip(steps, times, strict=True):
            start = time.process_time()
            step()
            if index:
                measured.append(time.process_time() - start)
    return [statistics.median(measured) for measured in times]


def print_row(title: str, baseline: Callable[[], object], candidate: Callable[[], object], rounds: int) -> None:
    """Print one row of the table."""
    seconds, gflops = cpu_seconds([baseline, candidate], rounds), [gflop(baseline), gflop(candidate)]
    print(f"| {title} | {seconds[0]:.2f} | {seconds[1]:.2f} | **{seconds[1] / seconds[0]:.2f}** ", end="")
    print(f"| {gflops[0]:.0f} | {gflops[1]:.0f} | {gflops[1] / gflops[0]:.2f} |", flush=True)


def channels_last(method: Any, batch: Batch) -> Callable[[], object]:
    """Return a step with weights and images in channels-last memory format."""
    method.to(memory_format=torch.channels_last)
    tensors = (getattr(batch, name) for name in Batch.__dataclass_fields__)
    return partial(method.step, Batch(*(each.contiguous(memory_format=torch.channels_last) for each in tensors)))


def fused(method: Any, batch: Batch) -> Callable[[], object]:
    """Return a step with fused Adam."""
    for optimizer, network in (("g_optimizer", method.generator), ("d_optimizer", method.discriminator)):
        adam = torch.optim.Adam(network.parameters(), lr=0.001, betas=(0.5, 0.999), fused=True)
        setattr(method, optimizer, adam)
    return partial(method.step, batch)


def bfloat16(method: Any, batch: Batch) -> Callable[[], object]:
    """Return a step in mixed precision, as with `precision: bfloat16`."""

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            method.step(batch)

    return step


def main() -> None:
    """Print a table with a row for each method's step, and one for painting an image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, help="weights of EfficientNet-Lite0")
    parser.add_argument("--rounds", type=int, default=5, help="number of steps to measure")
    parser.add_argument("--base-channels", type=int, default=BASE_CHANNELS, help="base channels of the generators")
    parser.add_argument("--size-px", type=int, default=SIZE_PX, help="side of the images")
    parser.add_argument("--variants", action="store_true", help="compare our step with its variants")
    arguments = parser.parse_args()
    features, rounds, size_px = arguments.features, arguments.rounds, arguments.size_px
    make = partial(make_trainable, weights=features, base_channels=arguments.base_channels, size_px=size_px)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    batch = noise_batch(size_px)
    first, second = ("ours", "variant") if arguments.variants else ("textbook", "ours")
    print(f"| what | {first}, CPU s | {second} | ratio | {first}, GFLOP | {second} | ratio |")
    print("|:--|--:|--:|--:|--:|--:|--:|")
    if arguments.variants:
        for variant in (channels_last, fused, bfloat16):
            ours, changed = (make("masked_cartoongan", num_res_blocks=8) for _ in range(2))
            print_row(variant.__name__, partial(ours.step, batch), variant(changed, batch), rounds)
        return
    for name, step in TEXTBOOK.items():
        method = make(name, num_res_blocks=NUM_RES_BLOCKS.get(name, 8))
        print_row(f"step of {name}", partial(step, method, batch), partial(method.step, batch), rounds)
    with torch.no_grad():
        large = Generator(arguments.base_channels, 8, skip_connections=False)
        small = Generator(*LOCAL_SIZE, skip_connections=True)
        print_row("painting one image", partial(large, batch.selfies), partial(small, batch.selfies), rounds)


if __name__ == "__main__":
    main()
