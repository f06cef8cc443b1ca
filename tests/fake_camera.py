"""A video file that Chromium uses instead of a camera."""

from pathlib import Path

import cv2
import numpy as np

SIZE = (640, 480)
FPS = 30


def write_video(picture: np.ndarray, path: Path, seconds: float = 3.0, travel_px: float = 60.0) -> None:
    """Write a y4m video in which a square RGB picture moves right and left by `travel_px` pixels."""
    width, height = SIZE
    scale = height / picture.shape[0]
    frames = round(seconds * FPS)
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{FPS}:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(frames):
            left = (width - height) / 2 + travel_px * np.sin(2 * np.pi * number / frames)
            transform = np.array([[scale, 0, left], [0, scale, 0]], np.float32)
            frame = cv2.warpAffine(picture, transform, SIZE, borderMode=cv2.BORDER_REPLICATE)
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())


def arguments(path: Path) -> list[str]:
    """Return the arguments of Chromium that make a y4m file its camera."""
    return [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={path}",
    ]
