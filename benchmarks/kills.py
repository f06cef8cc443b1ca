"""Kill the three training stages repeatedly at random moments, and compare weights and logs with uninterrupted runs.

    dvc repro augment && python -m benchmarks.kills --kills 20

Runs the commands of the stages in a temporary folder, for one or two epochs each, on the data in --data. The state of a
training is saved twice a second instead of once a minute, because these short trainings would save none otherwise.
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
SAVE_EVERY_S = 0.5
RUN_STAGE = f"""
import runpy, sys
from portraitist.train.resume import Checkpointer
Checkpointer.every_s = {SAVE_EVERY_S}
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
DATA = "--crops data/crop --masks data/mask --split data/split.csv --recipes data/augment/recipes.csv"
PRETRAINED = "--pretrained models/pretrained"
UPSTREAM = "--generator models/generator.pt --segmenter models/mask.pt"
STAGES = {
    name: command.split()
    for name, command in {
        "generator": f"pipeline.train_generator {DATA} {PRETRAINED} --out models/generator.pt"
        " --log logs/train_generator",
        "mask": f"pipeline.train_mask {DATA} --out models/mask.pt --log logs/train_mask",
        "masked_cartoongan": f"pipeline.train --method masked_cartoongan {DATA} {PRETRAINED} {UPSTREAM}"
        " --out models/masked_cartoongan.pt --log logs/train/masked_cartoongan",
    }.items()
}
EPOCHS = {"train_generator": {"epochs": 1}, "train_mask": {"epochs": 2}, "train": {"epochs": 2, "validate_every": 1}}


def prepare(source: Path, folder: Path, changes: dict[str, dict[str, int]]) -> None:
    """Set up a folder with links to the pipeline's data, and with the params of this checkout and a changed profile."""
    (folder / "models").mkdir(parents=True)
    (folder / "data").symlink_to(source.resolve() / "data")
    (folder / "models" / "pretrained").symlink_to(source.resolve() / "models" / "pretrained")
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    profile = folder / "profiles" / f"{yaml.safe_load((folder / 'params.yaml').read_text())['profile']}.yaml"
    content = yaml.safe_load(profile.read_text())
    for section, values in changes.items():
        content[section] |= values
    profile.write_text(yaml.safe_dump(content))


def run(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """Start Python in a folder, with the code of this checkout."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return subprocess.Popen([sys.executable, *command], cwd=folder, env=os.environ | {"PYTHONPATH": path})


def start(folder: Path, stage: str) -> subprocess.Popen[bytes]:
    """Start the command of a stage, which resumes from a saved state if there is one."""
    return run(folder, "-c", RUN_STAGE, *STAGES[stage])


def run_uninterrupted(folder: Path, stage: str) -> float:
    """Run a stage to its end, and return the seconds that it took."""
    start_time = time.monotonic()
    if start(folder, stage).wait():
        sys.exit(f"{stage} failed in {folder}")
    return time.monotonic() - start_time


def run_with_kills(folder: Path, stage: str, kills: int, max_s: float, rng: random.Random) -> int:
    """Kill a stage `kills` times after up to `max_s` seconds, then let it finish; return how often a state existed."""
    with_state = 0
    while kills:
        process = start(folder, stage)
        try:
            process.wait(rng.uniform(0, max_s))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            with_state += any(folder.glob(".checkpoints/*/state.pt"))
            kills -= 1
    run_uninterrupted(folder, stage)
    return with_state


def read_log(folder: Path, stage: str) -> dict[Path, bytes]:
    """Return all files of a stage's log."""
    log = folder / STAGES[stage][STAGES[stage].index("--log") + 1]
    return {path.relative_to(log): path.read_bytes() for path in log.rglob("*") if path.is_file()}


def main() -> None:
    """Run each stage without and with kills; exit with code 1 if a weight or a log differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT, help="checkout in which `dvc repro augment` has run")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    different: list[str] = []
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as temporary:
        reference, killed = Path(temporary) / "reference", Path(temporary) / "killed"
        prepare(arguments.data, reference, EPOCHS)
        prepare(arguments.data, killed, EPOCHS)
        for index, stage in enumerate(STAGES):
            seconds = run_uninterrupted(reference, stage)
            kills = (arguments.kills + index) // len(STAGES)
            with_state = run_with_kills(killed, stage, kills, seconds, rng)
            first, second = (torch.load(folder / "models" / f"{stage}.pt")["weights"] for folder in (reference, killed))
            pairs = [(first[network][key], second[network][key]) for network in first for key in first[network]]
            equal = all(torch.equal(*pair) for pair in pairs)
            same_log = read_log(reference, stage) == read_log(killed, stage)
            different += [] if equal and same_log else [stage]
            print(
                f"{stage}: {kills} kills in runs of {seconds:.0f} s, a saved state after {with_state} of them; ", end=""
            )
            tensors, log = "equal" if equal else "DIFFER", "equal" if same_log else "DIFFERS"
            print(f"{len(pairs)} tensors {tensors}, log {log}", flush=True)
    sys.exit(f"results differ: {', '.join(different)}" if different else 0)


if __name__ == "__main__":
    main()
