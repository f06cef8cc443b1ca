"""The whole pipeline, by the commands of the README, in scratch clones: small pictures, few steps, every stage."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image

from portraitist.collect.params import SOURCES
from portraitist.core import manifest
from portraitist.core.shards import Shards

ROOT = Path(__file__).resolve().parents[2]
PLAIN = {"precision": "float32", "compile": False}
TINY = {
    "collect": {name: {"limit": 20 if name == "sample" else 0, "shard_size": 8} for name in SOURCES},
    "clean": {"shard_size": 8},
    "crop": {"size_px": 32, "workers": 1, "shard_size": 8},
    "mask": {"workers": 2, "shard_size": 8},
    "augment": {"per_person": 2, "rooms": 4, "shard_size": 8},
    "generator": {"width": 4, "blocks": 1},
    "train_generator": {"epochs": 1, "batch": 2, "loader_workers": 0, "threads": 1, **PLAIN},
    "train_mask": {"epochs": 1, "batch": 2, "width": 4, "loader_workers": 0, "threads": 1, **PLAIN},
    "train": {"epochs": 1, "batch": 2, "painting_steps": 1, "loader_workers": 0, "threads": 1, **PLAIN},
    "evaluate": {"inception": False, "bootstrap": 10, "sheet_rows": 2},
}
METHODS = tuple(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["methods"])
FEW = ("cartoongan", "masked_cartoongan")
OURS = "masked_cartoongan"
TOY = """
import torch
from portraitist.images import Batch, Images, Masks
from portraitist.methods import Painter, Terms
from portraitist.params import Section, Share

class Params(Section):
    red: Share

class Method(Painter):
    saved_modules = ("tint",)

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.tint = torch.nn.Conv2d(3, 3, 1)
        torch.nn.init.zeros_(self.tint.weight)
        self.tint.bias.data = torch.tensor([params.red, -1.0, -1.0])

    def step(self, batch: Batch) -> Terms:
        return {}

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        return self.tint(selfies)
"""
pytestmark = pytest.mark.slow


class Clone:
    """A copy of the working tree under git, with a profile of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.split("\0")  # fmt: skip
        for name in filter(None, files):
            if (ROOT / name).exists() and name != "dvc.lock":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        (folder / "profiles" / "sample.yaml").write_text(yaml.safe_dump(TINY))
        self.git("init", "--quiet")
        self.commit("as it is")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {"PATH": path, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.folder.parent / "site")}
        own |= {"XDG_CACHE_HOME": str(self.folder.parent / "cache"), "COLUMNS": "200"}
        env = os.environ | own
        env.pop("ORT_DISABLE_TELEMETRY", None)  # the stages turn it off by themselves
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)

    def done(self, *command: str) -> str:
        ran = self.run(*command)
        assert ran.returncode == 0, f"{command}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
        return ran.stdout

    def git(self, *words: str) -> str:
        return self.done("git", "-c", "user.name=t", "-c", "user.email=t@t", *words)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def of_experiment(self, name: str, path: str) -> str:
        (ref,) = self.git("for-each-ref", "--format=%(refname)", f"refs/exps/**/{name}").split()
        return self.git("show", f"{ref}:{path}")

    def only(self, *methods: str) -> "Clone":
        """Without the other methods' lines and sections, and what was made by them: one run takes half the time."""
        params, stages = (self.folder / name for name in ("params.yaml", "dvc.yaml"))
        told = yaml.safe_load(params.read_text())
        told["methods"] = {name: told["methods"][name] for name in methods}
        params.write_text(yaml.safe_dump(told, allow_unicode=True, sort_keys=False))
        others = set(METHODS) - set(methods)
        stages.write_text(re.sub(rf"^      ({'|'.join(others)}): .*\n", "", stages.read_text(), flags=re.MULTILINE))
        for name in others:
            for folder in ("models", "data/paint", "metrics/models", "logs/train"):
                for path in (self.folder / folder).glob(f"{name}*"):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.commit("fewer methods")
        return self

    def outs(self) -> dict[str, list[tuple[str, str]]]:
        lock = yaml.safe_load((self.folder / "dvc.lock").read_text())
        return {name: [(out["path"], out["md5"]) for out in stage["outs"]] for name, stage in lock["stages"].items()}


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    made = Clone(tmp_path_factory.mktemp("clone") / "here")
    made.done("make", "--old-file", ".venv/ready", "repro")  # the environment is the one of the tests
    made.commit("first run")
    return made


@pytest.fixture
def clone(first_run: Clone) -> Iterator[Clone]:
    """As it was after the first run, whatever a test has done to it; DVC stages its lock, so checkout is not enough."""
    yield first_run
    if first_run.git("status", "--porcelain"):
        first_run.git("reset", "--quiet", "--hard")
        first_run.done("dvc", "checkout")


def consoles() -> list[tuple[str, str]]:
    """The README's console commands, each with what it shows."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return [(found[1], found[2]) for block in blocks if (found := re.match(r"\$ (.*?)\n(.*)", block, re.DOTALL))]


def test_a_second_run_changes_nothing(clone: Clone) -> None:
    assert "up to date" in clone.done("dvc", "repro")
    assert clone.git("status", "--porcelain") == ""


def test_no_stage_leaves_an_event_store(clone: Clone) -> None:
    left = [path for path in (clone.folder.parent / "cache").rglob("*") if path.is_file()]
    assert [path for path in left if "Microsoft" in path.parts or "onnxruntime" in str(path)] == []


def test_the_run_leaves_a_table_a_sheet_and_a_model(clone: Clone) -> None:
    table = (clone.folder / "metrics" / "compare.md").read_text()
    assert set(METHODS) <= set(re.findall(r"\w+", table.splitlines()[0]))
    with Image.open(clone.folder / "metrics" / "sheet.jpg") as sheet:
        assert sheet.width > 4 * 128
    assert (clone.folder / "models" / "portraitist" / "portraitist.onnx").stat().st_size > 10_000


def test_two_clones_make_the_same_bytes(clone: Clone, tmp_path: Path) -> None:
    other = Clone(tmp_path / "there").only(*FEW)
    shutil.copytree(clone.folder / "models" / "pretrained", other.folder / "models" / "pretrained")
    other.done("dvc", "commit", "--force", "weights")
    other.done("dvc", "repro", "compare")
    here, there = clone.outs(), other.outs()
    assert there.keys() == {name for name in here if "@" not in name or name.split("@")[1] in (*FEW, *SOURCES)} - {
        "export"
    }
    assert {name: outs for name, outs in there.items() if outs != here[name]}.keys() == {"compare"}  # of fewer methods


def test_a_new_method_is_one_file_one_section_and_one_line(clone: Clone, tmp_path: Path) -> None:
    other = Clone.__new__(Clone)
    other.folder = tmp_path / "there"
    shutil.copytree(clone.folder, other.folder, symlinks=True)
    (other.folder / "src" / "portraitist" / "methods" / "toy.py").write_text(TOY)
    for name, before, more in (
        ("params.yaml", "methods: ", "\n  toy: {red: 0.5}"),
        ("dvc.yaml", "  - painters: ", "\n      toy: *alone"),
    ):
        path = other.folder / name
        line = re.search(f"^{before}.*$", path.read_text(), re.MULTILINE)[0]
        path.write_text(path.read_text().replace(line, line + more))
    other.git("add", "--all")
    counted = re.findall(r"^(\d+)\t(\d+)\t(.*)$", other.git("diff", "--cached", "--numstat"), re.MULTILINE)
    lines = {name: (int(more), int(fewer)) for more, fewer, name in counted}
    toy = lines.pop("src/portraitist/methods/toy.py")
    assert toy[1] == 0
    assert lines == {"params.yaml": (1, 0), "dvc.yaml": (1, 0)}

    ran = re.findall(r"Running stage '(.*?)'", other.done("dvc", "repro", "compare"))
    assert ran == ["train@toy", "paint@toy", "evaluate@toy", "compare"]
    rows = (other.folder / "metrics" / "compare.md").read_text().splitlines()
    assert re.findall(r"[\w() -]+", rows[0])[2].strip() == "toy"  # in the order of params.yaml
    with (
        Image.open(other.folder / "metrics" / "sheet.jpg") as wide,
        Image.open(clone.folder / "metrics" / "sheet.jpg") as sheet,
    ):
        assert wide.width > sheet.width


def test_one_command_trains_one_method_alone_and_touching_its_file_reruns_it_alone(clone: Clone) -> None:
    path = clone.folder / "src" / "portraitist" / "methods" / "cyclegan.py"
    path.write_text(path.read_text() + "# touched\n")
    said = clone.done("dvc", "repro", "train@cyclegan")
    assert re.findall(r"Running stage '(.*?)'", said) == ["train@cyclegan"]
    ran = re.findall(r"Running stage '(.*?)'", clone.done("dvc", "repro"))
    assert set(ran) <= {"paint@cyclegan", "evaluate@cyclegan", "compare"}


def test_without_pairs_pix2pix_ends_at_once_and_says_what_is_allowed(clone: Clone) -> None:
    said = clone.run("dvc", "exp", "run", "--temp", "-S", "methods.pix2pix.pairs=review", "train@pix2pix")
    assert said.returncode != 0
    assert (
        "train pix2pix: pairs: review, and data/split.csv holds no pair of source taobao" in said.stdout + said.stderr
    )


def holding(folder: Path, data: bytes) -> set[str]:
    """The first folder of each file that holds these bytes, plain as a shard does; git's own and the shipped aside."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    parts = (path.relative_to(folder) for path in files if data in path.read_bytes())
    return {str(part.parent) for part in parts if part.parts[0] != ".git" and part.parts[:2] != ("data", "sample")}


def test_a_forgotten_picture_is_gone_from_every_shard_split_sheet_and_model(clone: Clone, tmp_path: Path) -> None:
    other = Clone.__new__(Clone)
    other.folder = tmp_path / "there"
    shutil.copytree(clone.folder, other.folder, symlinks=True)
    other.only(*FEW)
    frame = manifest.read(other.folder / "data" / "split.csv")
    trained = frame[(frame["kind"] == "selfies") & (frame["part"] == "train")]["id"]
    gone = trained.iloc[0]
    original = Shards(other.folder / "data" / "raw" / "sample").read(gone, "bytes")
    made = [Shards(other.folder / "data" / stage).read(gone, "png") for stage in ("clean", "crop")]
    assert "data/raw/sample" in holding(other.folder, original)
    assert {"data/clean"} < holding(other.folder, made[0])

    program = "import sys; sys.path.insert(0, 'src'); from portraitist.cli import main; main()"
    said = other.done(sys.executable, "-c", program, "forget", gone, "--repro")
    assert "data/raw/sample: 1 taken out" in said
    assert "Running stage 'train_generator'" in said
    assert not re.search(r"Running stage 'collect", said)  # nothing is collected again
    assert "your own file: delete data/sample/selfies/" in said

    for data in (original, *made):  # gone from all that is in use; what DVC keeps of earlier is as was said
        assert all(place.startswith(".dvc/cache") for place in holding(other.folder, data))
        assert holding(other.folder, data)
    names = {path.relative_to(other.folder).as_posix() for path in (other.folder / "data").rglob("*") if path.is_file()}
    knowing = {name for name in names if gone.encode() in (other.folder / name).read_bytes()}
    assert knowing == {"data/blocklist.txt", "data/raw/sample/manifest.csv"}
    before, after = dict(clone.outs()), dict(other.outs())
    for stage in ("clean", "crop", "mask", "split", "augment", "train_generator", "train_mask", "train@cartoongan"):
        assert before[stage] != after[stage], stage

    assert "dvc gc --workspace --force" in said
    other.done("dvc", "gc", "--workspace", "--force")
    assert set().union(*(holding(other.folder, data) for data in (original, *made))) == set()
    assert "up to date" in other.done("dvc", "repro")


def test_the_plots_open_offline(clone: Clone) -> None:
    clone.done("dvc", "plots", "show", "--out", "page")
    page = (clone.folder / "page" / "index.html").read_text()
    assert "vegaEmbed" in page
    assert not re.search(r"<(script|link)[^>]+(src|href)=[\"']https?:", page)
    shutil.rmtree(clone.folder / "page")


def test_the_avatar_of_the_readme(clone: Clone) -> None:
    command = re.search(r"^\.venv/bin/(portraitist paint .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert command
    clone.done(sys.executable, "-c", "from portraitist.cli import main; main()", *command[1].split()[1:])
    with Image.open(clone.folder / "avatar.png") as avatar:
        assert avatar.mode == "RGBA"
        assert avatar.getchannel("A").getextrema() == (0, 255)


def test_the_readmes_commands_say_what_it_shows(clone: Clone) -> None:
    commands = consoles()
    assert [words.split()[:3] for words, _ in commands] == [
        ["dvc", "repro"], ["dvc", "exp", "run"], ["dvc", "metrics", "diff"], ["dvc", "exp", "run"]
    ]  # fmt: skip
    ran = {words: clone.run(*words.split()) for words, _ in commands}
    first, change, diff, wrong = (ran[words] for words, _ in commands)
    assert set(commands[0][1].split("\n")) - {"...", ""} <= set(first.stdout.split("\n"))

    again = set(re.findall(r"Running stage '(.*?)'", change.stdout))
    assert change.returncode == 0
    assert again == {f"{stage}@{OURS}" for stage in ("train", "paint", "evaluate")} | {"compare", "export"}

    rows = re.findall(r"^(?:metrics/summary.json +)?(\w+\.\w+)", diff.stdout, re.MULTILINE)
    assert f"background_repainted.{OURS}" in rows

    assert wrong.returncode != 0
    message = commands[3][1].strip().splitlines()[0]
    assert message in wrong.stderr + wrong.stdout


def marked(clone: Clone, mark: str) -> str:
    """Change the clone's own code: from now on the comparison's table ends with the mark. The table as it is."""
    code = clone.folder / "pipeline" / "compare.py"
    writes = r'"compare\.md"\)\.write_text\(text( \+ ".*?\\n")?,'
    text, count = re.subn(writes, f'"compare.md").write_text(text + "{mark}\\\\n",', code.read_text())
    assert count == 1
    code.write_text(text)
    return (clone.folder / "metrics" / "compare.md").read_text()


def test_a_queued_experiment_runs_the_queued_code(clone: Clone) -> None:
    marked(clone, "queued")
    clone.done("dvc", "exp", "run", "--queue", "--name", "waiting", "-S", "export.max_error.fp16=5")
    before = marked(clone, "edited since")
    clone.done("dvc", "exp", "run", "--run-all")
    assert clone.of_experiment("waiting", "metrics/compare.md").endswith("queued\n")
    assert (clone.folder / "metrics" / "compare.md").read_text() == before


def test_an_experiment_elsewhere_runs_the_code_at_hand(clone: Clone) -> None:
    before = marked(clone, "at hand")
    clone.done("dvc", "exp", "run", "--temp", "--name", "elsewhere", "-S", "export.max_error.fp16=6")
    assert clone.of_experiment("elsewhere", "metrics/compare.md").endswith("at hand\n")
    assert (clone.folder / "metrics" / "compare.md").read_text() == before
