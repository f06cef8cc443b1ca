"""The plain loop that OpenCV's tutorials show: Haar cascade, a box around the face, GrabCut from a rectangle.

    python benchmarks/haar_grabcut.py PICTURES.npz ANSWERS.npz

It runs in an environment of its own, for OpenCV 5 has no cascades: pip install "opencv-python-headless<5". PICTURES
holds arrays by name: of `find/...` the largest face's box is sought, of `mask/...` (squares around a face) the person.
ANSWERS gets them by the same names, and the CPU seconds of each in `seconds/...`. benchmarks/faces.py calls this.
"""

import sys
import time

import cv2
import numpy as np

ROUNDS = 5


def find(cascade: cv2.CascadeClassifier, picture: np.ndarray) -> np.ndarray:
    """The largest face as left, top, width, height; empty where none is found."""
    faces = cascade.detectMultiScale(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 1.1, 5)
    return np.array(max(faces, key=lambda face: face[2]) if len(faces) else [], np.int32)


def person(picture: np.ndarray) -> np.ndarray:
    """GrabCut from a rectangle that leaves a margin, and is open below."""
    side = picture.shape[0]
    labels = np.zeros(picture.shape[:2], np.uint8)
    box = (side // 10, side // 16, side - 2 * (side // 10), side - side // 16)
    cv2.setRNGSeed(0)
    cv2.grabCut(picture, labels, box, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_RECT)
    return np.where((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD), 255, 0).astype(np.uint8)


def main(source: str, dest: str) -> None:
    """Every picture, one by one."""
    cv2.setNumThreads(1)
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    answers = {}
    with np.load(source) as pictures:
        for name in pictures.files:
            picture, began = pictures[name], time.process_time()
            answers[name] = find(cascade, picture) if name.startswith("find/") else person(picture)
            answers[f"seconds/{name}"] = np.array(time.process_time() - began)
    np.savez(dest, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
