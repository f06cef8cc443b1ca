from pathlib import Path

import pytest
import torch
from toys import PAINTERS, batch, begun, checkpoint, settings

from portraitist.train.checkpoint import FORMAT, CheckpointError, load_checkpoint, load_network, save_checkpoint


@pytest.mark.parametrize("name", PAINTERS)
def test_what_was_saved_paints_the_same_with_no_word_about_it(name, tmp_path):
    painter = begun(name)
    painter.step(batch())
    save_checkpoint(tmp_path / "model.pt", name, settings(name), painter, {"seed": 3, "crop": {"size_px": 32}})
    opened, about = load_checkpoint(tmp_path / "model.pt")
    asked = (batch(4).selfies, batch(4).selfie_masks)
    assert torch.equal(opened.paint(*asked), painter.eval().paint(*asked))
    assert not opened.training
    assert about == {"seed": 3, "crop": {"size_px": 32}, "method": name}


def test_of_a_model_only_what_it_keeps_can_be_had(tmp_path):
    path = checkpoint(tmp_path / "generator.pt", "perceptual")
    assert load_network(path, "segmenter") is None
    opened = load_checkpoint(path)[0].get_submodule("generator")
    assert all(map(torch.equal, load_network(path, "generator").parameters(), opened.parameters()))


class Sneaky:
    """A pickle that runs code when it is opened the old way."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path):
    torch.save({"format": FORMAT, "method": Sneaky(tmp_path / "ran")}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt: not a Portraitist model"):
        load_checkpoint(tmp_path / "model.pt")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "model.pt", weights_only=False)
    assert (tmp_path / "ran").exists()  # it would have


def test_a_file_that_is_missing_is_named_with_what_makes_it(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pt: no such file; `dvc repro` makes it"):
        load_checkpoint(tmp_path / "none.pt")


def spoilt(path, **changed):
    content = torch.load(checkpoint(path), weights_only=True)
    torch.save(content | changed, path)
    return path


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"format": FORMAT + 1}, f"format {FORMAT + 1}; this version reads {FORMAT}"),
        ({"method": "stylegan"}, "not a Portraitist model .no method 'stylegan'"),
        ({"params": {}}, "not a Portraitist model .*width: Field required"),
        ({"weights": {}}, "not a Portraitist model"),
    ],
)
def test_a_model_that_cannot_be_ours_is_refused_with_what_was_found(tmp_path, changed, told):
    with pytest.raises(CheckpointError, match=rf"model\.pt: {told}"):
        load_checkpoint(spoilt(tmp_path / "model.pt", **changed))


@pytest.mark.parametrize("data", [b"", b"not a model", b"PK\x03\x04 not a zip either"])
def test_a_file_of_something_else_is_refused(tmp_path, data):
    (tmp_path / "model.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.pt: not a Portraitist model"):
        load_checkpoint(tmp_path / "model.pt")


def test_nothing_but_the_model_is_left_and_an_old_one_is_replaced(tmp_path):
    checkpoint(tmp_path / "new" / "model.pt", seed=1)
    first = (tmp_path / "new" / "model.pt").read_bytes()
    checkpoint(tmp_path / "new" / "model.pt", seed=2)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.pt"]
    assert (tmp_path / "new" / "model.pt").read_bytes() != first


def test_a_save_that_breaks_off_leaves_the_old_model_whole(tmp_path, monkeypatch):
    path = checkpoint(tmp_path / "model.pt")
    before = path.read_bytes()

    def breaks(content, partial):
        partial.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", breaks)
    with pytest.raises(OSError, match="no space left"):
        checkpoint(path, seed=9)
    assert path.read_bytes() == before


def test_equal_models_are_equal_files(tmp_path):
    one, two = checkpoint(tmp_path / "a" / "model.pt"), checkpoint(tmp_path / "b" / "model.pt")
    assert one.read_bytes() == two.read_bytes()
