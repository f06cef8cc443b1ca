import cv2
import numpy as np

from portraitist.app.mesh import without_mesh

SIDE = 128
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE]
MESH = 12 * np.sin(2 * np.pi * COLUMNS / 6) * np.sin(2 * np.pi * ROWS / 6)
EVERYWHERE = np.full((SIDE, SIDE), 255, np.uint8)


def smooth_selfie():
    """Return a gradient of brightness, with little noise."""
    noise = np.random.default_rng(5).normal(0, 0.6, (SIDE, SIDE, 3))
    return (100 + COLUMNS[..., None] / 2 + noise).round().astype(np.uint8)


def spread(picture, area=np.s_[:, :]):
    fine = picture.astype(float) - cv2.GaussianBlur(picture, (0, 0), 4)
    return fine[area].std()


def test_mesh_on_a_smooth_selfie_is_removed_and_brightness_stays():
    selfie = smooth_selfie()
    painting = (selfie + MESH[..., None]).round().astype(np.uint8)
    result = without_mesh(painting, selfie, EVERYWHERE)
    assert spread(result) < 0.35 * spread(painting)
    assert abs(result.mean() - painting.mean()) < 0.5
    assert np.abs(cv2.blur(result, (25, 25)).astype(int) - cv2.blur(selfie, (25, 25))).max() <= 2


def test_strokes_along_details_of_the_selfie_stay():
    selfie, strand = smooth_selfie(), np.s_[:, 60:68]
    selfie[strand] = 30
    painting = selfie.copy()
    painting[:, 62:66] = 0  # darker than the selfie's strand, within the allowed contrast
    area = np.s_[20:-20, 56:72]
    assert np.abs(without_mesh(painting, selfie, EVERYWHERE)[area].astype(int) - painting[area]).max() <= 1


def test_background_stays():
    painting = (smooth_selfie() + MESH[..., None]).round().astype(np.uint8)
    mask = np.where(COLUMNS < 64, 255, 0).astype(np.uint8)
    result = without_mesh(painting, smooth_selfie(), mask)
    assert np.array_equal(result[:, 64:], painting[:, 64:])
    assert not np.array_equal(result[:, :64], painting[:, :64])


def test_flat_pictures_are_allowed():
    flat = np.full((SIDE, SIDE, 3), 90, np.uint8)
    assert np.array_equal(without_mesh(flat, flat, EVERYWHERE), flat)
