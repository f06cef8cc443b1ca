import jaxtyping
import numpy as np
import pytest
import torch
from toys import batch, boxes, exported_for_every_size, noise

from portraitist.learning.tensors import (
    composite,
    erode,
    on_grey,
    smooth,
    to_images,
    to_mask_arrays,
    to_masks,
    to_pictures,
)


def test_black_is_minus_one_and_white_is_one():
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[0, 1] = (0, 255, 51)
    assert to_images([picture])[0, :, 0, 1].tolist() == pytest.approx([-1, 1, -0.6])


def test_image_round_trip_keeps_every_value():
    picture = np.arange(256 * 3, dtype=np.uint16).reshape(16, 16, 3).astype(np.uint8)
    assert np.array_equal(to_pictures(to_images([picture[:8], picture[8:]]))[1], picture[8:])


def test_mask_round_trip_keeps_every_value():
    array = np.arange(256, dtype=np.uint8).reshape(8, 32)
    masks = to_masks([array, 255 - array])
    assert (masks.min().item(), masks.max().item()) == (0, 1)
    assert np.array_equal(to_mask_arrays(masks)[1], 255 - array)


def test_values_outside_the_range_are_clipped():
    images = torch.tensor([-1.5, 0.0, 1.5]).reshape(1, 3, 1, 1)
    assert to_pictures(images)[0].tolist() == [[[0, 128, 255]]]
    assert to_mask_arrays(torch.tensor([-0.5, 1.5]).reshape(1, 1, 1, 2))[0].tolist() == [[0, 255]]


def test_composite_blends_by_the_mask():
    front, back = torch.full((1, 3, 1, 2), 0.8), torch.full((1, 3, 1, 2), -0.4)
    blended = composite(front, torch.tensor([0.25, 1.0]).reshape(1, 1, 1, 2), back)
    assert blended[0, 0, 0].tolist() == pytest.approx([0.25 * 0.8 - 0.75 * 0.4, 0.8])


def test_on_grey_removes_the_background_and_its_gradient():
    images, masks = noise(2, 3, 16, 32, seed=1).requires_grad_(), batch().selfie_masks
    person = on_grey(images, masks)
    person.square().sum().backward()
    outside = (masks == 0).expand_as(images)
    assert person[outside].abs().max() == 0
    assert images.grad[outside].abs().max() == 0
    assert torch.equal(person[~outside], images[~outside])


def test_erosion_removes_pixels_on_every_side():
    masks = boxes((2, 11, 5, 20), (4, 9, 9, 30))
    assert torch.equal(erode(masks, 2), boxes((4, 9, 7, 18), (6, 7, 11, 28)))
    assert torch.equal(erode(masks, 0), masks)


def test_image_border_is_not_eroded():
    assert torch.equal(erode(boxes((7, 16, 0, 12)), 3), boxes((10, 16, 0, 9)))


def test_batch_moves_all_its_tensors():
    on_meta = batch().to(torch.device("meta"))
    assert {getattr(on_meta, name).device.type for name in vars(batch())} == {"meta"}


@pytest.mark.parametrize("invalid", [torch.zeros(2, 4, 16, 32), torch.zeros(3, 16, 32), torch.zeros(1, 3, 4, 4).int()])
def test_wrong_image_shape_or_dtype_is_rejected(invalid):
    with pytest.raises(jaxtyping.TypeCheckError):
        on_grey(invalid, torch.zeros(2, 1, 16, 32))


def test_mask_of_another_batch_size_is_rejected():
    with pytest.raises(jaxtyping.TypeCheckError):
        on_grey(torch.zeros(2, 3, 16, 32), torch.zeros(1, 1, 16, 32))


def test_downsampled_batch_has_means_of_blocks():
    images = batch()
    half = images.downsampled(2)
    for name in ("selfies", "selfie_masks", "portraits", "portrait_masks", "smoothed", "smoothed_persons"):
        full, small = getattr(images, name), getattr(half, name)
        assert small[0, 0, 1, 2].item() == pytest.approx(full[0, 0, 2:4, 4:6].mean().item(), abs=1e-6)
        assert small.shape[-1] * 2 == full.shape[-1]
    assert images.downsampled(1) is images


@pytest.mark.parametrize("side", [64, 128, 256])
def test_smoothing_removes_texture_and_keeps_edges(side):
    edge = torch.where(torch.arange(side) < side // 2, -0.5, 0.5).expand(1, 3, side, side)
    texture = 0.03 * noise(1, 3, side, side, seed=1)
    smoothed = smooth(edge + texture, epsilon=0.01)
    near_edge, flat = slice(side // 2 - 1, side // 2 + 1), slice(side // 8, side // 4)
    assert smoothed[..., flat].std() < 0.6 * (edge + texture)[..., flat].std()
    assert (smoothed - edge)[..., near_edge].abs().max() < 0.1


def test_smoothing_looks_the_same_at_every_size():
    small = torch.nn.functional.interpolate(noise(1, 3, 16, 16, seed=1), size=(128, 128), mode="bilinear")
    large = torch.nn.functional.interpolate(small, size=(512, 512), mode="bilinear")
    shrunk = torch.nn.functional.avg_pool2d(smooth(large, epsilon=0.05), 4)
    assert (shrunk - smooth(small, epsilon=0.05)).abs().mean() < 0.02 < (shrunk - small).abs().mean()


def test_texture_near_edges_is_smoothed_in_large_images():
    for side, largest in ((256, 0.2), (512, 0.25)):
        edge = torch.where(torch.arange(side) < side // 2, -0.5, 0.5).expand(1, 3, side, side)
        texture = 0.1 * noise(1, 3, side, side, seed=1)
        near = slice(side // 2 - side // 64 - 3, side // 2 - 3)  # the coarser filter's windows contain the edge
        smoothed = smooth(edge + texture, epsilon=0.01)
        assert smoothed[..., near].std() < largest * texture[..., near].std()


def test_exported_smoothing_works_at_every_size():
    exported = exported_for_every_size(lambda images: smooth(images, epsilon=0.01))
    for pixels in (96, 128, 192, 512):
        images = noise(1, 3, pixels, pixels, seed=2)
        assert (exported(images) - smooth(images, epsilon=0.01)).abs().max() < 1e-5, pixels
