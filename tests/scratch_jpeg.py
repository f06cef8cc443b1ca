"""JPEG files with many scans."""

from drawn import encoded
from PIL import Image


def progressive_jpeg(width: int, height: int, scans: int) -> bytes:
    """Return a black progressive JPEG with `scans` scans; the last scan, which changes no pixel, is repeated."""
    data = encoded(Image.new("RGB", (width, height)), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (scans - data.count(b"\xff\xda")) + data[-2:]
