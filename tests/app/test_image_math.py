"""The page's image processing in JavaScript, compared with OpenCV and with the code in Python."""

import base64

import cv2
import numpy as np
import pytest
from app_helpers import web_server
from browser import tab

from portraitist.app.page_files import SITE
from portraitist.app.stains import without_stains
from portraitist.core.blend import extend_foreground
from portraitist.crop.geometry import warp

pytestmark = pytest.mark.slow
CALL = """async ({ name, planes, numbers }) => {
    const math = { ...(await import("./image_math.js")), ...(await import("./stains.js")) };
    const Types = { uint8: Uint8ClampedArray, float32: Float32Array };
    const decode = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
    const read = ({ type, ...plane }) => ({ ...plane, data: new Types[type](decode(plane.data)) });
    if (name === "distanceTransform") return [...math.distanceTransform(read(planes[0]), Boolean, math.CHAMFER_5)];
    if (name === "components") return [...math.components(read(planes[0]), Boolean)];
    if (name === "fromRgba") {
        const { data, width, height } = read(planes[0]);
        const { picture, alpha } = math.fromRgba(data, width, height);
        return [picture.data, alpha?.data ?? []].flatMap((values) => [...values]);
    }
    const takesArray = ["convolve", "boxBlur"].includes(name); // the other functions take pictures
    const [first, ...others] = planes.map(read);
    const leading = takesArray ? [first.data, first.width, first.height, first.channels] : [first, ...others];
    const extra = name === "convolve" ? [math.gaussianKernel(...numbers)] : numbers;
    const result = math[name](...leading, ...extra);
    return [...(result.data ?? result)];
}"""


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """A function that calls one of the page's functions with planes and other arguments, and returns an array."""
    folder = tmp_path_factory.mktemp("page") / "site"
    folder.mkdir()
    for script in ("image_math.js", "stains.js", "framing.js"):  # stains.js imports the other two
        (folder / script).write_bytes((SITE / script).read_bytes())
    (folder / "index.html").write_text("<!DOCTYPE html><title>test</title>")

    def encode(plane):
        shape = (*plane.shape, 1)[:3]
        data = base64.b64encode(np.ascontiguousarray(plane).tobytes()).decode()
        return {"width": shape[1], "height": shape[0], "channels": shape[2], "type": str(plane.dtype), "data": data}

    with web_server(folder) as address, tab(400, 400) as page:
        page.goto(address)

        def run(name, planes, *numbers):
            argument = {"name": name, "planes": list(map(encode, planes)), "numbers": numbers}
            return np.array(page.evaluate(CALL, argument))

        yield run


def picture(height, width, channels=3, seed=3):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.2).reshape(height, width, channels)


KINDS = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}


@pytest.mark.parametrize(
    ("size", "target", "kind"),
    [
        ((60, 80), (40, 30), "area"),  # half
        ((60, 80), (27, 25), "area"),
        ((61, 83), (9, 7), "area"),
        ((33, 20), (75, 81), "linear"),
        ((33, 20), (75, 81), "cubic"),
        ((60, 20), (40, 41), "cubic"),  # reduced across one axis, enlarged across the other
        ((2, 3), (9, 8), "cubic"),  # smaller than the kernel
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_resize_is_opencvs(call, size, target, kind, channels):
    source = picture(*size, channels)
    expected = cv2.resize(source, target, interpolation=KINDS[kind]).reshape(target[1], target[0], channels)
    found = call("resize", [source], *target, kind).reshape(expected.shape)
    assert np.abs(found - expected).max() <= 1
    floats = call("resize", [source.astype(np.float32)], *target, kind)
    assert np.abs(floats.reshape(expected.shape) - expected).max() <= 1.5


@pytest.mark.parametrize("scale", [0.2, 0.6, 0.9, 2.5])
@pytest.mark.parametrize("border", ["replicate", "constant"])
@pytest.mark.parametrize("channels", [1, 3])
def test_warp_is_that_of_the_crop(call, scale, border, channels):
    source, (sine, cosine) = picture(120, 160, channels), (np.sin(0.3) * scale, np.cos(0.3) * scale)
    transform = np.array([[cosine, sine, 4.3], [-sine, cosine, 17.8]], np.float32)
    mode = {"replicate": cv2.BORDER_REPLICATE, "constant": cv2.BORDER_CONSTANT}[border]
    expected = warp(source.squeeze(), transform, 64, mode).reshape(64, 64, channels).astype(float)
    found = call("warp", [source], transform.tolist(), 64, border).reshape(expected.shape)
    assert np.abs(found - expected).max() <= (8 if scale == 0.2 else 2)  # small scales reduce the picture first
    assert np.abs(found - expected).mean() < 0.4


def test_convolve_and_box_blur_are_opencvs(call):
    values = picture(41, 53, 3).astype(np.float32)
    for sigma in (0.8, 3.0, 6.0):
        found = call("convolve", [values], sigma, 8).reshape(values.shape)
        assert np.abs(found - cv2.GaussianBlur(values, (0, 0), sigma)).max() < 0.01
    for size in (3, 15, 41):
        found = call("boxBlur", [values], size).reshape(values.shape)
        assert np.abs(found - cv2.blur(values, (size, size))).max() < 0.01


def test_dilate_and_erode_are_opencvs(call):
    mask = (picture(40, 50, 1) > 140).astype(np.uint8)[..., 0] * 255
    for size in (3, 5, 13):
        window = np.ones((size, size), np.uint8)
        assert np.array_equal(call("dilate", [mask], size).reshape(mask.shape), cv2.dilate(mask, window))
        assert np.array_equal(call("erode", [mask], size).reshape(mask.shape), cv2.erode(mask, window))


def test_foreground_is_extended_as_in_python(call):
    source, mask = picture(48, 48), np.zeros((48, 48), np.uint8)
    mask[10:30, 12:40] = 255
    expected = extend_foreground(source, mask)
    found = call("extendForeground", [source, mask]).reshape(expected.shape)
    assert np.abs(found - expected.astype(float)).max() <= 1


def test_distance_transform_and_components_are_opencvs(call):
    mask = (picture(40, 50, 1) > 140).astype(np.uint8)[..., 0]
    expected = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    assert np.abs(call("distanceTransform", [mask]).reshape(mask.shape) - expected).max() < 0.01
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    found = call("components", [mask]).reshape(mask.shape)
    assert count > 5
    assert len({*zip(labels.flat, found.flat, strict=True)}) == count == found.max() + 1


def test_composite_mixes_colours(call):
    front, back, alpha = picture(20, 30), picture(20, 30, seed=4), picture(20, 30, 1, seed=5)[..., 0]
    alpha[:5], alpha[5:9] = 0, 255
    for behind, argument in ((back, [back]), (128, [])):
        expected = front * (alpha[..., None] / 255) + behind * (1 - alpha[..., None] / 255)
        found = call("composite", [front, alpha, *argument], *([] if argument else [128]))
        assert np.abs(found.reshape(front.shape) - expected).max() <= 0.51


def test_pixels_of_a_canvas_are_split(call):
    rgba = picture(7, 9, 4)
    found = call("fromRgba", [rgba])
    assert np.array_equal(found, np.concatenate([rgba[..., :3].ravel(), rgba[..., 3].ravel()]))
    rgba[..., 3] = 255
    assert np.array_equal(call("fromRgba", [rgba]), rgba[..., :3].ravel())


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_stains_are_limited_as_in_python(call, weight):
    noise = cv2.GaussianBlur(picture(160, 160, seed=5).astype(np.float32), (0, 0), 6)
    selfie = (120 + 20 * (noise - noise.mean()) + (30, 0, -30)).clip(0, 255).astype(np.uint8)
    painting = (0.6 * selfie[..., ::-1] + 50).astype(np.uint8)  # another hue, nearly an affine function
    painting[60:90, 70:100] = (190, 40, 40)  # a stain
    painting[110:140, 50:110] = selfie[110:140, 50:110]  # the selfie's colours, which stay
    mask = cv2.ellipse(np.zeros((160, 160), np.uint8), (80, 85), (60, 70), 0, 0, 360, 255, -1)
    expected = without_stains(painting, selfie, mask, weight)
    assert np.abs(expected.astype(int) - painting)[65:85, 75:95].mean() > 20
    found = call("withoutStains", [painting, selfie, mask], weight).reshape(expected.shape)
    assert np.abs(found - expected).max() <= 2


def test_stains_of_a_tiny_mask_are_limited_as_in_python(call):
    selfie, painting = picture(300, 300, seed=5), picture(300, 300, seed=6)
    mask = np.zeros((300, 300), np.uint8)
    mask[150, 151] = 1
    found = call("withoutStains", [painting, selfie, mask], 0.0).reshape(painting.shape)
    assert np.abs(found - without_stains(painting, selfie, mask, 0.0)).max() <= 1
