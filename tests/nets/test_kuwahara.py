import pytest
import torch
from toys import exported_for_every_size, noise

from portraitist.nets.arbitrary_style import kuwahara


def whole(images):
    return torch.ones_like(images[:, :1])


def test_kuwahara_removes_texture_and_keeps_edges_sharp():
    side = 256
    edge = torch.where(torch.arange(side) < side // 2, -0.5, 0.5).expand(1, 3, side, side)
    texture = 0.02 * noise(1, 3, side, side, seed=1)
    painted = kuwahara(edge + texture, whole(edge), radius=0.01)
    assert (painted - edge).abs().max() < 0.05
    assert (painted - edge).std() < 0.4 * texture.std()


def test_kuwahara_changes_larger_images_as_it_changes_small_ones():
    small = torch.nn.functional.interpolate(noise(1, 3, 32, 32, seed=1), size=(256, 256), mode="bicubic")
    large = torch.nn.functional.interpolate(small, size=(512, 512), mode="bilinear")
    shrunk = torch.nn.functional.avg_pool2d(kuwahara(large, whole(large), radius=0.012), 2)
    expected = kuwahara(small, whole(small), radius=0.012)
    assert (shrunk - expected).abs().mean() < 0.2 * (expected - small).abs().mean()


def test_kuwahara_does_not_depend_on_the_background():
    persons = torch.zeros(1, 1, 64, 64)
    persons[..., 10:40, 20:50], persons[..., 40:44, 20:50] = 1, 0.25
    image, other = noise(1, 3, 64, 64, seed=1), noise(1, 3, 64, 64, seed=2)
    other = torch.where(persons > 0, image, other)
    painted = kuwahara(image, persons, radius=0.03)
    assert torch.equal(kuwahara(other, persons, radius=0.03), painted)
    assert painted.isfinite().all()
    even = kuwahara(torch.full_like(image, 0.5), persons, radius=0.03)  # not darker at the outline
    assert (even - 0.5)[persons.expand_as(even) > 0].abs().max() < 1e-4


def test_kuwahara_keeps_an_even_image_up_to_the_border_and_under_a_faint_mask():
    even = torch.full((1, 3, 256, 256), 0.5)
    faint = torch.zeros(1, 1, 256, 256)
    faint[..., 100, 100] = 1 / 255
    for masks in (whole(even), faint):
        painted = kuwahara(even, masks, radius=0.02)
        assert (painted - 0.5)[masks.expand_as(even) > 0].abs().max() < 1e-3


def test_kuwahara_needs_images_that_are_larger_than_its_reach():
    tiny = torch.zeros(1, 3, 16, 8)
    with pytest.raises(ValueError, match=r"images of \(16, 8\) px; at least 9 are needed"):
        kuwahara(tiny, whole(tiny), radius=0.006)


def test_exported_kuwahara_works_at_every_size():
    exported = exported_for_every_size(lambda images: kuwahara(images, whole(images), radius=0.006))
    for pixels in (96, 128, 192, 512):
        images = noise(1, 3, pixels, pixels, seed=2)
        assert (exported(images) - kuwahara(images, whole(images), radius=0.006)).abs().max() < 1e-5, pixels
