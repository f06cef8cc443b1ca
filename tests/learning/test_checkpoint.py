from pathlib import Path

import pytest
import torch
from pydantic import create_model
from toys import PAINTING_METHODS, batch, make_checkpoint, make_trainable, settings

from portraitist.learning import registry
from portraitist.learning.checkpoint import FORMAT, CheckpointError, load_checkpoint, load_network, save_checkpoint
from portraitist.learning.registry import params_class


@pytest.mark.parametrize("name", PAINTING_METHODS)
def test_loaded_model_paints_the_same_without_options(name, tmp_path):
    method = make_trainable(name)
    method.step(batch())
    save_checkpoint(tmp_path / "model.pt", name, settings(name), method, {"seed": 3, "crop": {"size_px": 32}})
    loaded, metadata = load_checkpoint(tmp_path / "model.pt")
    inputs = (batch(4).selfies, batch(4).selfie_masks)
    assert torch.equal(loaded.paint(*inputs), method.eval().paint(*inputs))
    assert not loaded.training
    assert metadata == {"seed": 3, "crop": {"size_px": 32}, "method": name}


def test_old_checkpoint_loads_after_a_new_default_param(tmp_path, monkeypatch):
    path = make_checkpoint(tmp_path / "model.pt", "cartoongan")
    before = load_checkpoint(path)[0]
    extended = create_model("Params", __base__=params_class("cartoongan"), new_option=(float, 0.5))
    monkeypatch.setattr(registry, "params_class", lambda name: extended)
    after = load_checkpoint(path)[0]
    inputs = (batch(4).selfies, batch(4).selfie_masks)
    assert torch.equal(before.paint(*inputs), after.paint(*inputs))


def test_load_network_returns_none_if_it_is_not_saved(tmp_path):
    path = make_checkpoint(tmp_path / "generator.pt", "perceptual")
    assert load_network(path, "segmenter") is None
    expected = load_checkpoint(path)[0].get_submodule("generator")
    assert all(map(torch.equal, load_network(path, "generator").parameters(), expected.parameters()))


class Malicious:
    """A pickle that runs code when it is loaded without `weights_only`."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_code_in_a_checkpoint_is_not_executed(tmp_path):
    torch.save({"format": FORMAT, "method": Malicious(tmp_path / "executed")}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt: not a Portraitist model"):
        load_checkpoint(tmp_path / "model.pt")
    assert not (tmp_path / "executed").exists()
    torch.load(tmp_path / "model.pt", weights_only=False)
    assert (tmp_path / "executed").exists()


def test_missing_file_error_names_the_command(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pt: .*`dvc repro`"):
        load_checkpoint(tmp_path / "none.pt")


def altered(path, **changes):
    content = torch.load(make_checkpoint(path), weights_only=True)
    torch.save(content | changes, path)
    return path


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"format": FORMAT + 1}, f".*format {FORMAT + 1}; .*{FORMAT}"),
        ({"method": "stylegan"}, "not a Portraitist model .*stylegan"),
        ({"params": {}}, "not a Portraitist model .*: Field required"),
        ({"weights": {}}, "not a Portraitist model"),
    ],
)
def test_invalid_content_is_rejected_with_the_reason(tmp_path, changes, expected):
    with pytest.raises(CheckpointError, match=rf"model\.pt: {expected}"):
        load_checkpoint(altered(tmp_path / "model.pt", **changes))


@pytest.mark.parametrize("data", [b"", b"not a model", b"PK\x03\x04 not a zip either"])
def test_other_files_are_rejected(tmp_path, data):
    (tmp_path / "model.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.pt: not a Portraitist model"):
        load_checkpoint(tmp_path / "model.pt")


def test_saving_replaces_the_file_and_leaves_no_other(tmp_path):
    make_checkpoint(tmp_path / "new" / "model.pt", seed=1)
    first = (tmp_path / "new" / "model.pt").read_bytes()
    make_checkpoint(tmp_path / "new" / "model.pt", seed=2)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.pt"]
    assert (tmp_path / "new" / "model.pt").read_bytes() != first


def test_failed_save_keeps_the_old_model(tmp_path, monkeypatch):
    path = make_checkpoint(tmp_path / "model.pt")
    before = path.read_bytes()

    def fail(content, file):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space left"):
        make_checkpoint(path, seed=9)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_equal_models_give_equal_bytes(tmp_path):
    first, second = make_checkpoint(tmp_path / "a" / "model.pt"), make_checkpoint(tmp_path / "b" / "model.pt")
    assert first.read_bytes() == second.read_bytes()
