"""Kill the three stages of training at random moments, over and over: the models are those of undisturbed runs.

    dvc repro augment && python -m benchmarks.kills --kills 20

Runs the stages' own commands on what the pipeline has prepared, in a scratch folder, with an epoch or two each, and
with a state that is kept twice a second instead of once a minute, or no kill would find one.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import yaml

ROOT = Path(__file__).resolve().parents[1]
EVERY_S = 0.5
RUN = f"""
import runpy, sys
from portraitist.resume import Resume
Resume.every_s = {EVERY_S}
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
SHARED = ["data/crop", "data/mask", "data/split.csv", "data/augment/recipes.csv"]
PRETRAINED = "models/pretrained"
STAGES = {
    "generator": ["pipeline.train_generator", *SHARED, PRETRAINED, "models/generator.pt", "logs/train_generator.csv"],
    "mask": ["pipeline.train_mask", *SHARED, "models/mask.pt", "logs/train_mask.csv"],
    "masked_cartoongan": [
        *("pipeline.train", "masked_cartoongan", *SHARED, PRETRAINED, "models/generator.pt", "models/mask.pt"),
        *("models/masked_cartoongan.pt", "logs/train/masked_cartoongan.csv", "logs/train/masked_cartoongan.jpg"),
    ],
}
FEW = {"train_generator": {"epochs": 1}, "train_mask": {"epochs": 2}, "train": {"epochs": 2}}


def prepare(made: Path, here: Path, changed: dict[str, dict[str, int]]) -> None:
    """The pipeline's data, the params of this code, and what is changed of the profile."""
    (here / "models").mkdir(parents=True)
    (here / "data").symlink_to(made.resolve() / "data")
    (here / "models" / "pretrained").symlink_to(made.resolve() / "models" / "pretrained")
    shutil.copy(ROOT / "params.yaml", here)
    shutil.copytree(ROOT / "profiles", here / "profiles")
    profile = here / "profiles" / f"{yaml.safe_load((here / 'params.yaml').read_text())['profile']}.yaml"
    told = yaml.safe_load(profile.read_text())
    for section, values in changed.items():
        told[section] |= values
    profile.write_text(yaml.safe_dump(told))


def run(here: Path, *command: str) -> subprocess.Popen[bytes]:
    """Python with the project's code."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return subprocess.Popen([sys.executable, *command], cwd=here, env=os.environ | {"PYTHONPATH": path})


def start(here: Path, name: str) -> subprocess.Popen[bytes]:
    """The stage's command; it goes on where it was."""
    return run(here, "-c", RUN, *STAGES[name])


def calm(here: Path, name: str) -> float:
    """Run a stage undisturbed; the seconds that it took."""
    began = time.monotonic()
    if start(here, name).wait():
        sys.exit(f"{name} failed in {here}")
    return time.monotonic() - began


def disturbed(here: Path, name: str, kills: int, within_s: float, chance: random.Random) -> int:
    """Run a stage to its end through so many kills; how many of them found a state to go on from."""
    found = 0
    while kills:
        running = start(here, name)
        try:
            running.wait(chance.uniform(0, within_s))
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
            found += any(here.glob(".checkpoints/*/state.pt"))
            kills -= 1
    calm(here, name)
    return found


def main() -> None:
    """Each stage in peace and under kills; exits with an error if a weight differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--made", type=Path, default=ROOT, help="where the pipeline has prepared data")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    told, different = parser.parse_args(), []
    chance = random.Random(told.seed)
    with tempfile.TemporaryDirectory() as scratch:
        peace, war = Path(scratch) / "peace", Path(scratch) / "war"
        prepare(told.made, peace, FEW)
        prepare(told.made, war, FEW)
        for place, name in enumerate(STAGES):
            seconds = calm(peace, name)
            kills = (told.kills + place) // len(STAGES)
            found = disturbed(war, name, kills, seconds, chance)
            one, other = (torch.load(here / "models" / f"{name}.pt")["weights"] for here in (peace, war))
            pairs = [(one[net][key], other[net][key]) for net in one for key in one[net]]
            same = all(torch.equal(*pair) for pair in pairs)
            different += [] if same else [name]
            print(f"{name}: {kills} kills in runs of {seconds:.0f} s, {found} of them left a state; ", end="")
            print(f"{len(pairs)} tensors {'equal' if same else 'DIFFER'}", flush=True)
    sys.exit(f"other weights: {', '.join(different)}" if different else 0)


if __name__ == "__main__":
    main()
