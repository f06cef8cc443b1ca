"""Run the method of OpenCV's tutorials as a baseline: a Haar cascade finds the face, GrabCut cuts out the person.

    python benchmarks/haar_grabcut.py PICTURES.npz RESULTS.npz

benchmarks/faces.py runs this script in its own environment, because OpenCV 5 has no Haar cascades:
pip install "opencv-python-headless<5". PICTURES.npz contains pictures by name. The result for `find/...` is the box of
the largest face; the result for `mask/...`, a square around a face, is the mask of the person. RESULTS.npz contains the
results with the same names, and the CPU time in seconds of each as `seconds/...`.
"""

import sys
import time

import cv2
import numpy as np

ITERATIONS = 5


def find_face(cascade: cv2.CascadeClassifier, picture: np.ndarray) -> np.ndarray:
    """Return the largest face as left, top, width, height; an empty array if there is none."""
    faces = cascade.detectMultiScale(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 1.1, 5)
    return np.array(max(faces, key=lambda face: face[2]) if len(faces) else [], np.int32)


def segment_person(picture: np.ndarray) -> np.ndarray:
    """Run GrabCut from a rectangle with a margin at the top and the sides."""
    side = picture.shape[0]
    labels = np.zeros(picture.shape[:2], np.uint8)
    box = (side // 10, side // 16, side - 2 * (side // 10), side - side // 16)
    cv2.setRNGSeed(0)
    cv2.grabCut(picture, labels, box, np.zeros((1, 65)), np.zeros((1, 65)), ITERATIONS, cv2.GC_INIT_WITH_RECT)
    return np.where((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD), 255, 0).astype(np.uint8)


def main(source: str, dest: str) -> None:
    """Process every picture and write results and times."""
    cv2.setNumThreads(1)
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    results = {}
    with np.load(source) as pictures:
        for name in pictures.files:
            picture, start = pictures[name], time.process_time()
            results[name] = find_face(cascade, picture) if name.startswith("find/") else segment_person(picture)
            results[f"seconds/{name}"] = np.array(time.process_time() - start)
    np.savez(dest, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
