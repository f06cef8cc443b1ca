"""A copy of the working tree with its own git repository and a tiny profile; end-to-end tests run DVC in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SINGLE_PRECISION = {"precision": "float32", "compile": False}
SCHEDULE = {"epochs": 1, "batch_size": 2, "num_workers": 0, "num_threads": 1, **SINGLE_PRECISION}
METHODS = ("nst_without_background", "cartoongan", "masked_stylizer")  # the contract tests cover the others


def tiny_profile() -> dict[str, object]:
    """Return a profile of 32-pixel crops, one epoch and the smallest networks."""
    sources = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["collect"]
    return {
        "limits": dict.fromkeys(sources, 20),
        "shard_size": 8,
        "workers": {"processes": 2},
        "crop": {"size_px": 32},
        "augment": {"recipes_per_person": 2, "library_size": 4},
        "generator": {"base_channels": 4, "num_res_blocks": 1},
        "train_generator": SCHEDULE,
        "train_mask": {**SCHEDULE, "base_channels": 4},
        "train": {**SCHEDULE, "optimization_steps": 1, "validate_every": 1},
        "evaluate": {"inception": False, "bootstrap": 10, "sheet_rows": 2},
    }


class ScratchClone:
    """A temporary git repository with the tracked and unignored files of the working tree."""

    def __init__(self, folder: Path, methods: tuple[str, ...] = METHODS) -> None:
        self.folder = folder
        names = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.split("\0")  # fmt: skip
        for name in filter(None, names):
            path = ROOT / name
            if (path.is_file() or path.is_symlink()) and name != "dvc.lock":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / name, follow_symlinks=False)
        (folder / "profiles" / "sample.yaml").write_text(yaml.safe_dump(tiny_profile()))
        self.git("init", "--quiet")
        self._keep_methods(methods)
        self.commit("start")

    @classmethod
    def copy_of(cls, other: "ScratchClone", folder: Path) -> "ScratchClone":
        """Return a copy of a clone with all its outputs."""
        clone = cls.__new__(cls)
        clone.folder = folder
        shutil.copytree(other.folder, folder, symlinks=True)
        return clone

    @classmethod
    def git_clone_of(cls, other: "ScratchClone", folder: Path) -> "ScratchClone":
        """Return a git clone of a clone; it has only the files that git tracks."""
        clone = cls.__new__(cls)
        clone.folder = folder
        other.git("clone", "--quiet", ".", str(folder))
        return clone

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {
            "PATH": path,
            "COLUMNS": "200",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.folder.parent / "site"),
            "XDG_CACHE_HOME": str(self.folder.parent / "cache"),
        }
        env = os.environ | own
        env.pop("ORT_DISABLE_TELEMETRY", None)  # the stages must turn telemetry off themselves
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)

    def check(self, *command: str) -> str:
        """Run a command that must succeed; return its standard output."""
        ran = self.run(*command)
        assert ran.returncode == 0, f"{command}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
        return ran.stdout

    def stages_run_by(self, *command: str) -> list[str]:
        """Run a command that must succeed; return the names of the stages that it ran."""
        return re.findall(r"Running stage '(.*?)'", self.check(*command))

    def git(self, *words: str) -> str:
        return self.check("git", "-c", "user.name=t", "-c", "user.email=t@t", *words)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def show_experiment(self, name: str, path: str) -> str:
        """Return the content of a file in an experiment."""
        (ref,) = self.git("for-each-ref", "--format=%(refname)", f"refs/exps/**/{name}").split()
        return self.git("show", f"{ref}:{path}")

    def locked_outputs(self) -> dict[str, list[tuple[str, str]]]:
        """Return each stage's outputs with their MD5, from dvc.lock."""
        lock = yaml.safe_load((self.folder / "dvc.lock").read_text())
        return {name: [(out["path"], out["md5"]) for out in stage["outs"]] for name, stage in lock["stages"].items()}

    def _keep_methods(self, methods: tuple[str, ...]) -> None:
        params, stages = self.folder / "params.yaml", self.folder / "dvc.yaml"
        content = yaml.safe_load(params.read_text())
        others = set(content["methods"]) - set(methods)
        content["methods"] = {name: content["methods"][name] for name in content["methods"] if name in methods}
        params.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False))
        stages.write_text(
            re.sub(rf"^      ({'|'.join(others)}):.*\n(        .*\n)*", "", stages.read_text(), flags=re.MULTILINE)
        )
