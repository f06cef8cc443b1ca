import numpy as np
import onnxruntime
import pytest
import tflite
from PIL import Image

from portraitist.crop.detector import FULL_RANGE, SHORT_RANGE, open_tflite
from portraitist.export import tflite_to_onnx
from portraitist.export.tflite_to_onnx import ConversionError, convert
from portraitist.mask.segmenter import SELFIE_MODEL, SELFIE_OUTPUT


@pytest.mark.parametrize(
    ("file", "side", "outputs"),
    [
        (FULL_RANGE.file, FULL_RANGE.side, FULL_RANGE.outputs),
        (SHORT_RANGE.file, SHORT_RANGE.side, SHORT_RANGE.outputs),
        (SELFIE_MODEL, 256, (SELFIE_OUTPUT,)),
    ],
)
def test_a_converted_model_says_what_opencv_says(pretrained, sample, file, side, outputs):
    with Image.open(sample / "selfies" / "0006.jpg") as opened:
        seen = (np.array(opened.resize((side, side)).convert("RGB"))[None] / np.float32(255)).astype(np.float32)
    session = onnxruntime.InferenceSession(convert((pretrained / file).read_bytes()).SerializeToString())
    found = session.run(list(outputs), {session.get_inputs()[0].name: seen})
    net = open_tflite(pretrained / file)
    net.setInput(np.ascontiguousarray(seen.transpose(0, 3, 1, 2)))
    for one, other in zip(found, net.forward(list(outputs)), strict=True):
        assert np.ptp(other) > 0.01
        assert np.abs(one.reshape(-1) - other.reshape(-1)).max() <= 1e-4 * max(1, np.abs(other).max())


def test_an_operator_that_is_not_known_is_named(pretrained, monkeypatch):
    names = tflite_to_onnx.NAMES | {tflite.BuiltinOperator.PAD: "MIRROR_PAD"}
    monkeypatch.setattr(tflite_to_onnx, "NAMES", names)
    with pytest.raises(ConversionError, match="operator MIRROR_PAD is not known here"):
        convert((pretrained / FULL_RANGE.file).read_bytes())
