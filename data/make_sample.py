"""Make the synthetic sample faces of data/sample from the FairFace training pictures.

    uv run --group sample python data/make_sample.py fairface/train

Every face is the average, with equal weights, of six different frontal adult pictures of one label and race
group: an anchor and the five neighbours that register to it best (affine ECC), moved to their common shape by
optical flow, on a blurred background. Ghostly faces and those that a simple rule takes for the other label
are dropped. The source folder holds female/, male/ and metadata.csv (file_name, label, age, race); the
output's own female/ and male/ must not exist yet.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count, product, zip_longest
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Face = tuple[Image, dict[str, str]]  # a synthetic face, uint8 BGR (144, 144, 3), and its row of metadata.csv

LABELS = ("female", "male")
ADULT_AGES = ("20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
COLUMNS = ("file_name", "label", "age", "race")
MEMBERS, CANDIDATES = 6, 25  # pictures in one face, and tried for it, the anchor included
NEAR_DUPLICATE, SAME_PERSON = 0.95, 0.92  # correlations that two results, two members of one, stay below
MIN_REGISTRATION = 0.76, 0.73  # least mean correlation with the anchor: in a first and a second round
MIN_FACE_FIT, MIN_HEAD_FIT = 0.88, 0.79  # least correlation of any member with the average of the six
MIN_CLARITY, MAX_DARK_EYES = 0.22, 0.2  # least score of the label rule; share of the eyes (sunglasses: 0.35)
REJECTED = ("00528", "03309", "09272", "14531", "36777", "38371", "39075")  # anchors that gave bad faces
SIZE = 144  # side of a picture, px
GRID = np.dstack(np.meshgrid(np.arange(SIZE), np.arange(SIZE))).astype(np.float32)  # x, y of every pixel
RADII = [np.hypot((GRID[..., 0] - 72) / a, (GRID[..., 1] - 75) / b) for a, b in ((46, 56), (62, 72))]
FACE, HEAD = (np.clip(4.5 - 4 * radius, 0, 1) for radius in RADII)  # weights (144, 144) of two soft ovals


@dataclass(frozen=True)
class Pool:
    """The adult pictures: metadata, "label race", age number, unit thumbnail (1024,) and possible roles."""

    root: Path
    rows: list[dict[str, str]]
    groups: NDArray[np.str_]
    ages: NDArray[np.int64]
    thumbnails: Floats
    anchors: NDArray[np.bool_]
    members: NDArray[np.bool_]
    rule: NDArray[np.float64]  # (1024,): about 1 for a female's thumbnail, about -1 for a male's


def read_rows(root: Path) -> list[dict[str, str]]:
    """Read the adults' rows of root/metadata.csv."""
    with (root / "metadata.csv").open(newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if all(row.get(name) for name in COLUMNS)]
    rows = [row for row in rows if row["label"] in LABELS and row["age"] in ADULT_AGES]
    if {row["label"] for row in rows} != set(LABELS):
        raise ValueError(f"{root / 'metadata.csv'} lists no adults of both labels ({', '.join(COLUMNS)})")
    return rows


def read_picture(path: Path) -> Image:
    """Read a picture as uint8 BGR (144, 144, 3)."""
    picture = cv2.imread(str(path)) if path.is_file() else None
    if picture is None:
        raise ValueError(f"cannot read {path}")
    return cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def grey(picture: Image, side: int = SIZE) -> Image:
    """Turn a BGR picture (h, w, 3) into grey (side, side)."""
    return cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (side, side), interpolation=cv2.INTER_AREA)


def thumbnail(picture: Image) -> Floats:
    """Shrink the middle of a BGR picture to a flat grey vector (1024,) with values 0 to 255."""
    return grey(picture[16:-16, 16:-16], 32).ravel().astype(np.float32)


def unit(vectors: Floats) -> Floats:
    """Give vectors (..., k) mean 0 and length 1, so that a dot product is a correlation."""
    centred = vectors - vectors.mean(axis=-1, keepdims=True)
    return centred / (np.linalg.norm(centred, axis=-1, keepdims=True) + 1e-6)


def read_pool(root: Path) -> Pool:
    """Read all adult pictures once and mark the frontal, well lit and sharp ones."""
    rows = read_rows(root)
    raw, detail = np.empty((len(rows), 1024), np.float32), np.empty(len(rows), np.float32)
    for index, row in enumerate(rows):
        picture = read_picture(root / row["file_name"])
        raw[index] = thumbnail(picture)
        detail[index] = cv2.Laplacian(grey(picture, SIZE // 2), cv2.CV_32F).std()
    thumbs = unit(raw)
    mirrored = thumbs.reshape(-1, 32, 32)[:, :, ::-1].reshape(thumbs.shape)
    symmetry = (thumbs * mirrored).sum(axis=1)
    typical = thumbs @ unit((thumbs + mirrored).mean(axis=0))
    usable = (raw.mean(axis=1) > 48) & (raw.std(axis=1) > 20) & (detail > 14) & (detail < 50)
    members, anchors = (usable & (symmetry > s) & (typical > t) for s, t in ((0.25, 0.25), (0.5, 0.4)))
    groups = np.array([f"{row['label']} {row['race']}" for row in rows])
    x, y = thumbs[members].astype(np.float64), np.where(np.char.startswith(groups, "female"), 1.0, -1.0)
    rule = np.linalg.solve(x.T @ x + 5.0 * np.eye(1024), x.T @ y[members])
    ages = np.array([ADULT_AGES.index(row["age"]) for row in rows])
    return Pool(root, rows, groups, ages, thumbs, anchors, members, rule)


def warp_onto(picture: Image, anchor: Image) -> tuple[float, Image]:
    """Warp a BGR picture affinely onto the anchor; returns the correlation (-1: failed) and the result."""
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
    target, moving = grey(anchor, SIZE // 2), grey(picture, SIZE // 2)
    mask, start = (FACE[::2, ::2] > 0.5).astype(np.uint8), np.eye(2, 3, dtype=np.float32)
    try:
        score, warp = cv2.findTransformECC(target, moving, start, cv2.MOTION_AFFINE, stop, mask, 3)
    except cv2.error:
        return -1.0, picture
    warp[:, 2] = 2 * warp[:, 2] + 0.5 - warp[:, :2].sum(axis=1) / 2  # from half to full size
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(picture, warp, (SIZE, SIZE), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return (score if abs(np.linalg.det(warp[:, :2]) - 1) < 0.3 else -1.0), moved


def to_common_shape(pictures: list[Image]) -> list[Image]:
    """Move registered BGR pictures to the shape of their average by smooth dense optical flow."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for _ in range(2):
        target, moved = grey(np.mean(pictures, axis=0).astype(np.uint8)), []
        for picture in pictures:
            flow = cv2.GaussianBlur(finder.calc(target, grey(picture), None), (0, 0), 4)
            where, edge = GRID + HEAD[..., None] * flow, cv2.BORDER_REFLECT_101
            moved.append(cv2.remap(picture, where, None, cv2.INTER_CUBIC, borderMode=edge))
        pictures = moved
    return pictures


def blend(pictures: list[Image]) -> Image:
    """Average BGR pictures with equal weights, sharpen the face a little and blur the background."""
    mean = np.mean(pictures, axis=0).astype(np.float32)
    face, head = FACE[..., None], HEAD[..., None]
    sharper = mean + 0.6 * face * (mean - cv2.GaussianBlur(mean, (0, 0), 1.5))
    result = head * sharper + (1 - head) * cv2.GaussianBlur(mean, (0, 0), 4)
    return result.clip(0, 255).round().astype(np.uint8)


def correlations(picture: Image, others: list[Image], region: Floats) -> Floats:
    """Correlations (n,) of a BGR picture with n others in grey inside a region of weights (144, 144)."""
    greys = [cv2.GaussianBlur(grey(one), (0, 0), 1.5)[region > 0.5] for one in (picture, *others)]
    vectors = unit(np.stack(greys).astype(np.float32))
    return vectors[1:] @ vectors[0]


def is_clear(picture: Image, label: str, rule: NDArray[np.float64]) -> bool:
    """Tell whether the face looks like its label and its eyes are not in the dark."""
    score = (unit(thumbnail(picture)) @ rule) * (1 if label == "female" else -1)
    face, eyes = grey(picture)[FACE > 0.5], grey(picture)[44:72, 34:110]
    return bool(score >= MIN_CLARITY and (eyes < face.mean() - face.std()).mean() <= MAX_DARK_EYES)


def choose_members(pool: Pool, anchor: int, free: NDArray[np.bool_]) -> list[tuple[float, Image, int]]:
    """Register the free pictures likest to the anchor; the best six as (correlation, picture, index)."""
    near = np.flatnonzero(free & (abs(pool.ages - pool.ages[anchor]) <= 1))
    alike = pool.thumbnails[near] @ pool.thumbnails[anchor]
    near = near[np.argsort(-alike, kind="stable")[:CANDIDATES]]  # the anchor itself comes first
    pictures = [read_picture(pool.root / pool.rows[index]["file_name"]) for index in near]
    tried = [(*warp_onto(one, pictures[0]), index) for one, index in zip(pictures, near, strict=True)]
    chosen = []
    for one in sorted(tried, key=lambda item: -item[0]):
        others = [other[1] for other in chosen]
        if len(others) < MEMBERS and correlations(one[1], others, FACE).max(initial=0) < SAME_PERSON:
            chosen.append(one)
    return chosen


def make_face(pool: Pool, anchor: int, free: NDArray[np.bool_], floor: float) -> Face | None:
    """Make the face around one anchor and mark its members as not free; None where it is not good enough."""
    chosen = choose_members(pool, anchor, free)
    registration = sum(score for score, _, _ in chosen[1:]) / (MEMBERS - 1)
    if len(chosen) < MEMBERS or registration < floor:
        return None
    pictures = to_common_shape([picture for _, picture, _ in chosen])
    face, row = blend(pictures), pool.rows[anchor]
    face_fit, head_fit = (correlations(face, pictures, region).min() for region in (FACE, HEAD))
    if face_fit < MIN_FACE_FIT or head_fit < MIN_HEAD_FIT or not is_clear(face, row["label"], pool.rule):
        return None
    free[[index for _, _, index in chosen]] = False
    sources = " ".join(pool.rows[index]["file_name"] for _, _, index in chosen)
    return face, row | {"registration": f"{registration:.3f}", "sources": sources}


def group_faces(pool: Pool, group: str, rng: np.random.Generator) -> Iterator[Face]:
    """Make the faces of one label and race group, the age buckets in turn."""
    free = pool.members & (pool.groups == group)
    shuffled = rng.permutation(np.flatnonzero(pool.anchors & free))
    buckets = [shuffled[pool.ages[shuffled] == age] for age in range(len(ADULT_AGES))]
    for floor, anchor in product(MIN_REGISTRATION, chain(*zip_longest(*buckets))):
        if anchor is not None and free[anchor] and (face := make_face(pool, anchor, free, floor)):
            yield face


def make_faces(pool: Pool, per_class: int, seed: int) -> Iterator[Face]:
    """Make up to per_class faces of each label, the race groups in turn, none nearly like another."""
    rng, seen = np.random.default_rng(seed), np.zeros((1, 1024), np.float32)
    for label in LABELS:
        names, made = [name for name in np.unique(pool.groups) if name.startswith(f"{label} ")], 0
        turns = chain.from_iterable(zip_longest(*(group_faces(pool, name, rng) for name in names)))
        while made < per_class and (face := next(filter(None, turns), None)):
            vector = unit(thumbnail(face[0]))
            if (seen @ vector).max() < NEAR_DUPLICATE and Path(face[1]["file_name"]).stem not in REJECTED:
                seen, made = np.vstack([seen, vector]), made + 1
                yield face


def save(faces: Iterator[Face], output: Path) -> None:
    """Write the faces as output/label/001.jpg, ... (new folders) and output/metadata.csv."""
    numbers = {label: count(1) for label in LABELS}
    for label in LABELS:
        (output / label).mkdir(parents=True)
    with (output / "metadata.csv").open("w", newline="", encoding="utf-8") as handle:
        columns = [*COLUMNS, "registration", "sources"]
        writer = csv.DictWriter(handle, columns, "", "ignore", lineterminator="\n")
        writer.writeheader()
        for face, row in faces:
            name = f"{row['label']}/{next(numbers[row['label']]):03d}.jpg"
            cv2.imwrite(str(output / name), face, [cv2.IMWRITE_JPEG_QUALITY, 93])
            writer.writerow(row | {"file_name": name})
    print(f"wrote {output}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Make synthetic sample faces of FairFace pictures.")
    parser.add_argument("source", type=Path, help="folder with female/, male/ and metadata.csv")
    parser.add_argument("--output", type=Path, default=Path("data/sample"), help="default: %(default)s")
    parser.add_argument("--per-class", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        save(make_faces(read_pool(options.source), options.per_class, options.seed), options.output)
    except (OSError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
