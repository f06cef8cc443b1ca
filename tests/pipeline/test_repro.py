"""The README's commands run the complete pipeline in scratch clones: small pictures, one epoch, three methods."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sealed
from PIL import Image
from scratch_clone import METHODS, ROOT, ScratchClone

from portraitist.core import manifest
from portraitist.core.shards import Shards

OURS = "masked_stylizer"
TOY_METHOD = """
from typing import Annotated

import torch

from portraitist.core.params import Fraction, Section
from portraitist.learning.method import Method, UpstreamModels
from portraitist.learning.optim import Losses
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch, Images, Masks


class Params(Section):
    red: Fraction


@register(Params)
class Toy(Method):
    saved_modules = ("tint",)

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__()
        self.tint = torch.nn.Conv2d(3, 3, 1)
        torch.nn.init.zeros_(self.tint.weight)
        self.tint.bias.data = torch.tensor([params.red, -1.0, -1.0])

    def step(self, batch: Batch) -> Losses:
        return {}

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        return self.tint(selfies)
"""
TOY_LINE = """      toy: {base: toy, net: cartoongan, other_net: cartoongan,
        generator: pretrained, segmenter: pretrained}"""
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("repro")]


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> ScratchClone:
    clone = ScratchClone(tmp_path_factory.mktemp("clone") / "here")
    clone.check("dvc", "repro", "weights")  # downloads packages
    command = ["make", "--old-file", ".venv/ready", "repro"]  # use the environment of the tests
    if sealed.is_supported():  # no stage and no dependency may connect to anything
        command = [sys.executable, str(ROOT / "tests" / "sealed.py"), "connect", "--", *command]
    clone.check(*command)
    clone.commit("first run")
    return clone


@pytest.fixture
def clone(first_run: ScratchClone) -> Iterator[ScratchClone]:
    """The clone after its first run; changes by a test are undone, also those that DVC has staged in git."""
    yield first_run
    if first_run.git("status", "--porcelain"):
        first_run.git("reset", "--quiet", "--hard")
        first_run.check("dvc", "checkout")


def readme_examples() -> list[tuple[str, str]]:
    """Return the commands of the README's console blocks, each with the output shown."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return [(match[1], match[2]) for block in blocks if (match := re.match(r"\$ (.*?)\n(.*)", block, re.DOTALL))]


def test_second_run_changes_nothing(clone: ScratchClone) -> None:
    assert "up to date" in clone.check("dvc", "repro")
    assert clone.git("status", "--porcelain") == ""


def test_no_stage_leaves_telemetry_files(clone: ScratchClone) -> None:
    left = [path for path in (clone.folder.parent / "cache").rglob("*") if path.is_file()]
    assert [path for path in left if "Microsoft" in path.parts or "onnxruntime" in str(path)] == []


def test_run_writes_table_sheet_and_model(clone: ScratchClone) -> None:
    table = (clone.folder / "metrics" / "compare.md").read_text()
    assert set(METHODS) <= set(re.findall(r"\w+", table.splitlines()[0]))
    with Image.open(clone.folder / "metrics" / "sheet.jpg") as sheet:
        assert sheet.width > 4 * 128
    assert (clone.folder / "models" / "portraitist" / "portraitist.onnx").stat().st_size > 10_000


def test_two_clones_make_the_same_bytes(clone: ScratchClone, tmp_path: Path) -> None:
    other = ScratchClone(tmp_path / "there", METHODS[1:])
    shutil.copytree(clone.folder / "models" / "pretrained", other.folder / "models" / "pretrained")
    other.check("dvc", "commit", "--force", "weights")
    other.check("dvc", "repro", "compare")
    here, there = clone.locked_outputs(), other.locked_outputs()
    unneeded = {"export", "train_generator"}  # the comparison of these methods does not need them
    assert {name for name in here if not name.endswith(METHODS[0])} - unneeded == there.keys()
    different = {name for name, outputs in there.items() if outputs != here[name]}
    assert different == {"compare"}  # the other clone has fewer methods


def test_new_method_is_one_file_one_section_one_line(clone: ScratchClone, tmp_path: Path) -> None:
    other = ScratchClone.copy_of(clone, tmp_path / "there")
    (other.folder / "src" / "portraitist" / "methods" / "toy.py").write_text(TOY_METHOD)
    for name, anchor, addition in (
        ("params.yaml", "methods:", "\n  toy: {red: 0.5}"),
        ("dvc.yaml", "  - compared_methods:", f"\n{TOY_LINE}"),
    ):
        path = other.folder / name
        line = re.search(f"^{anchor}.*$", path.read_text(), re.MULTILINE)[0]
        path.write_text(path.read_text().replace(line, line + addition, 1))
    other.git("add", "--all")
    counts = re.findall(r"^(\d+)\t(\d+)\t(.*)$", other.git("diff", "--cached", "--numstat"), re.MULTILINE)
    changed = {name: (int(added), int(removed)) for added, removed, name in counts}
    assert changed.pop("src/portraitist/methods/toy.py")[1] == 0
    assert changed == {"params.yaml": (1, 0), "dvc.yaml": (1, 0)}

    ran = other.stages_run_by("dvc", "repro", "compare")
    assert ran == ["train@toy", "paint@toy", "evaluate@toy", "compare"]
    rows = (other.folder / "metrics" / "compare.md").read_text().splitlines()
    assert "toy" in rows[0]


def test_edited_method_reruns_alone(clone: ScratchClone) -> None:
    path = clone.folder / "src" / "portraitist" / "methods" / "cartoongan.py"
    path.write_text(path.read_text() + "# edited\n")
    assert clone.stages_run_by("dvc", "repro", "train@cartoongan") == ["train@cartoongan"]
    assert set(clone.stages_run_by("dvc", "repro")) <= {"paint@cartoongan", "evaluate@cartoongan", "compare"}


def files_containing(folder: Path, data: bytes) -> set[str]:
    """Return the parent folders of files that contain some bytes, except those of git and of the sample."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    names = (path.relative_to(folder) for path in files if data in path.read_bytes())
    return {str(name.parent) for name in names if name.parts[0] != ".git" and name.parts[:2] != ("data", "sample")}


def test_forgotten_picture_is_removed_everywhere(clone: ScratchClone, tmp_path: Path) -> None:
    other = ScratchClone.copy_of(clone, tmp_path / "there")
    split = manifest.read(other.folder / "data" / "split.csv")
    picture = split[(split["kind"] == "selfies") & (split["part"] == "train")]["id"].iloc[0]
    original = Shards(other.folder / "data" / "raw" / "sample").read(picture, "bytes")
    derived = [Shards(other.folder / "data" / stage).read(picture, "png") for stage in ("clean", "crop")]
    assert "data/raw/sample" in files_containing(other.folder, original)
    assert {"data/clean"} < files_containing(other.folder, derived[0])

    program = "import sys; sys.path.insert(0, 'src'); from portraitist.cli import main; main()"
    output = other.check(sys.executable, "-c", program, "dataset", "forget", picture, "--repro")
    assert "Running stage 'train_generator'" in output
    assert not re.search(r"Running stage 'collect", output)
    assert "data/sample/selfies/" in output  # the user's own file, which only the user may delete

    for data in (original, *derived):
        found = files_containing(other.folder, data)
        assert found
        assert all(folder.startswith(".dvc/cache") for folder in found)
    names = {path.relative_to(other.folder).as_posix() for path in (other.folder / "data").rglob("*") if path.is_file()}
    naming = {name for name in names if picture.encode() in (other.folder / name).read_bytes()}
    assert naming == {"data/blocklist.txt", "data/raw/sample/manifest.csv"}
    before, after = clone.locked_outputs(), other.locked_outputs()
    for stage in ("clean", "crop", "mask", "split", "augment", "train_generator", "train_mask", "train@cartoongan"):
        assert before[stage] != after[stage], stage

    assert "dvc gc --workspace --force" in output
    other.check("dvc", "gc", "--workspace", "--force")
    assert set().union(*(files_containing(other.folder, data) for data in (original, *derived))) == set()
    assert "up to date" in other.check("dvc", "repro")


def test_plots_open_offline(clone: ScratchClone) -> None:
    clone.check("dvc", "plots", "show", "--out", "page")
    page = (clone.folder / "page" / "index.html").read_text()
    assert "vegaEmbed" in page
    assert not re.search(r"<(script|link)[^>]+(src|href)=[\"']https?:", page)
    shutil.rmtree(clone.folder / "page")


def test_first_avatar_of_the_readme(clone: ScratchClone) -> None:
    command = re.search(r"^(?:\.venv/bin/)?(portraitist paint .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert command
    program = "import sys; sys.path.insert(0, 'src'); from portraitist.cli import main; main()"
    clone.check(sys.executable, "-c", program, *command[1].split()[1:])
    with Image.open(clone.folder / "avatar.png") as avatar:
        assert avatar.mode == "RGBA"
        assert avatar.getchannel("A").getextrema() == (0, 255)


def test_readme_commands_print_what_it_shows(clone: ScratchClone) -> None:
    examples = readme_examples()
    assert [command.split()[:3] for command, _ in examples] == [
        ["dvc", "repro"], ["dvc", "exp", "run"], ["dvc", "exp", "run"]
    ]  # fmt: skip
    repro, experiment, invalid = (clone.run(*command.split()) for command, _ in examples)
    assert set(examples[0][1].split("\n")) - {"...", ""} <= set(repro.stdout.split("\n"))

    assert experiment.returncode == 0
    ran = re.findall(r"Running stage '(.*?)'", experiment.stdout)
    assert ran == [f"train@{OURS}", f"paint@{OURS}", f"evaluate@{OURS}", "export"]
    assert ran == re.findall(r"Running stage '(.*?)'", examples[1][1])

    assert invalid.returncode != 0
    assert examples[2][1].strip().splitlines()[0] in invalid.stderr + invalid.stdout


def test_second_clone_continues_without_collected_pictures(clone: ScratchClone, tmp_path: Path) -> None:
    clone.check("dvc", "remote", "add", "--local", "--default", "--force", "store", str(tmp_path / "store"))
    clone.check("dvc", "push")
    clone.git("tag", "--annotate", "portraitist@v1.0.0", "--message", "first")
    other = ScratchClone.git_clone_of(clone, tmp_path / "there")
    shutil.copy(clone.folder / ".dvc" / "config.local", other.folder / ".dvc")
    pull = ("make", "--old-file", ".venv/ready", "pull")
    other.check(*pull)
    assert not (other.folder / "data" / "raw").exists()
    assert other.stages_run_by("dvc", "repro", "--allow-missing") == []

    params = other.folder / "params.yaml"
    params.write_text(params.read_text().replace("content_weight: 1.0", "content_weight: 2.0"))
    ran = other.stages_run_by("dvc", "repro", "--allow-missing", "train@cartoongan")
    assert ran == ["train@cartoongan"]
    other.git("checkout", "--force", "HEAD", ".")
    other.check(*pull)
    chain = [f"train@{OURS}", f"paint@{OURS}", f"evaluate@{OURS}", "export"]
    ran = other.stages_run_by("dvc", "exp", "run", "--single-item", *chain, "-S", "train.ema_decay=0.5")
    assert ran[0] == chain[0]
    assert set(ran) <= set(chain)

    other.check("dvc", "artifacts", "get", str(clone.folder), "portraitist", "--out", str(tmp_path / "model"))
    assert (tmp_path / "model" / "portraitist.onnx").is_file()


def test_experiments_fit_a_terminal(clone: ScratchClone) -> None:
    clone.check("dvc", "exp", "run", "--temp", "--name", "seed_2", "-S", "seed=2", "export")
    clone.check("dvc", "exp", "run", "--temp", "--name", "brighter", "-S", "augment.brightness=0.2", "export")
    table = clone.check("make", "--silent", "--old-file", ".venv/ready", "experiments").splitlines()
    assert max(map(len, table)) <= 120
    assert any("painted_rate" in line and "seed" in line and "augment.brightness" in line for line in table)
    diff = clone.check("dvc", "params", "diff", "HEAD", "seed_2")
    assert re.findall(r"^params.yaml +(\S+) +(\S+) +(\S+)", diff, re.MULTILINE) == [("seed", "1", "2")]


def mark_code(clone: ScratchClone, mark: str) -> str:
    """Edit the clone's code so that the comparison's table ends with a mark; return the table as it was."""
    code = clone.folder / "pipeline" / "compare.py"
    writes = r'"compare\.md"\)\.write_text\(markdown( \+ ".*?\\n")?,'
    text, count = re.subn(writes, f'"compare.md").write_text(markdown + "{mark}\\\\n",', code.read_text())
    assert count == 1
    code.write_text(text)
    return (clone.folder / "metrics" / "compare.md").read_text()


def test_queued_experiment_runs_the_queued_code(clone: ScratchClone) -> None:
    mark_code(clone, "queued")
    clone.check("dvc", "exp", "run", "--queue", "--name", "waiting", "-S", "export.max_error.fp16=5")
    before = mark_code(clone, "edited since")
    clone.check("dvc", "exp", "run", "--run-all")
    assert clone.show_experiment("waiting", "metrics/compare.md").endswith("queued\n")
    assert (clone.folder / "metrics" / "compare.md").read_text() == before


def test_temporary_experiment_runs_the_current_code(clone: ScratchClone) -> None:
    before = mark_code(clone, "current")
    clone.check("dvc", "exp", "run", "--temp", "--name", "elsewhere", "-S", "export.max_error.fp16=6")
    assert clone.show_experiment("elsewhere", "metrics/compare.md").endswith("current\n")
    assert (clone.folder / "metrics" / "compare.md").read_text() == before


def test_experiment_changes_scale_and_hyperparameters_alike(clone: ScratchClone) -> None:
    """Values that a profile sets, such as train.epochs, are changed with -S like all others."""
    clone.check("dvc", "exp", "run", "--temp", "--name", "longer", "-S", "train.epochs=2", "train@cartoongan")
    log = clone.show_experiment("longer", "params.yaml")
    assert re.search(r"^train:\n(?:  .*\n)*?  epochs: 2\n", log, re.MULTILINE)
