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
def test_converted_model_agrees_with_opencv(pretrained, sample, file, side, outputs):
    with Image.open(sample / "selfies" / "0006.jpg") as opened:
        inputs = (np.array(opened.resize((side, side)).convert("RGB"))[None] / np.float32(255)).astype(np.float32)
    session = onnxruntime.InferenceSession(convert((pretrained / file).read_bytes()).SerializeToString())
    outputs_onnx = session.run(list(outputs), {session.get_inputs()[0].name: inputs})
    net = open_tflite(pretrained, file)
    net.setInput(np.ascontiguousarray(inputs.transpose(0, 3, 1, 2)))
    for actual, expected in zip(outputs_onnx, net.forward(list(outputs)), strict=True):
        assert np.ptp(expected) > 0.01
        difference = np.abs(actual.reshape(-1) - expected.reshape(-1))
        assert difference.max() <= 1e-4 * max(1, np.abs(expected).max())


def test_unsupported_operator_is_named(pretrained, monkeypatch):
    names = tflite_to_onnx.OPERATOR_NAMES | {tflite.BuiltinOperator.PAD: "MIRROR_PAD"}
    monkeypatch.setattr(tflite_to_onnx, "OPERATOR_NAMES", names)
    with pytest.raises(ConversionError, match="MIRROR_PAD"):
        convert((pretrained / FULL_RANGE.file).read_bytes())
