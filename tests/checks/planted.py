"""Folders of synthetic pictures with one of everything that can be wrong, and checks of them."""

import shutil

import numpy as np
from PIL import Image, ImageFilter

from gender_recognizer.checks.run import check_pictures
from gender_recognizer.checks.settings import CheckDataSettings, CheckSettings

TINTS = {"female": (140, -20, -140), "male": (-140, 20, 140)}
WRONG = {"female/wrong_0.png", "female/wrong_1.png", "male/wrong_2.png", "male/wrong_3.png"}


def texture(seed, tint=(0, 0, 0), size=(80, 100)):
    """Return a picture with large shapes and fine grain, like no other one."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(50, 200, (10, 8, 1), dtype=np.uint8).repeat(3, axis=2)).resize(size)
    noise = rng.normal(0, 10, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(shapes) + noise + tint).clip(0, 255).astype(np.uint8))


def make_pictures(root, count):
    """Make `count` reddish pictures in female/ and bluish ones in male/."""
    for target, (name, tint) in enumerate(TINTS.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            texture(1000 * target + index, tint).save(root / name / f"{index:03}.png")
    return root


def plant(root):
    """Add to 25 good pictures of each class one of everything that can be wrong."""
    make_pictures(root, 25)
    female, male = root / "female", root / "male"
    shutil.copy(female / "000.png", female / "copy.png")
    shutil.copy(female / "001.png", male / "opposite.png")
    Image.open(female / "002.png").save(female / "pixels.bmp")
    Image.open(male / "003.png").save(male / "saved_again.jpg", quality=40)
    Image.open(male / "004.png").point(lambda value: 0.7 * value).save(female / "darker.jpg", quality=40)
    Image.new("RGB", (60, 70), (90, 80, 70)).save(male / "blank.png")
    texture(7001).point(lambda value: value / 8).save(male / "dark.png")
    texture(7002).filter(ImageFilter.GaussianBlur(4)).save(male / "blurred.png")
    texture(7003, size=(12, 40)).save(male / "tiny.png")
    (male / "broken.jpg").write_bytes(b"")
    for name in WRONG:
        number = int(name[-5])
        texture(8000 + number, TINTS["male" if name.startswith("female") else "female"]).save(root / name)
    rows = [f"{path.relative_to(root).as_posix()},{len(path.name) % 2}" for path in sorted(root.glob("*/0*.png"))]
    (root / "metadata.csv").write_text("\n".join(["file_name,even", "female/gone.png,1", *rows]))
    return root


def check(root, folder, output=None, classes=("female", "male"), **options):
    """Check a folder, with all that is left inside `folder`, and return what was found."""
    data = CheckDataSettings(root, list(classes), folder / "cache")
    return check_pictures(CheckSettings(data, outputs=folder, **options), output or folder / "check")


def files(entries):
    return [entry["file"] for entry in entries]


def state(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def active_lines(path):
    return {line for line in path.read_text().splitlines() if not line.startswith("# ")}


def check_planted(folder):
    """Return a folder of pictures with everything that can be wrong, what was found in it, and where that is told."""
    root = plant(folder / "data")
    before = state(root)
    summary = check(root, folder)
    assert state(root) == before
    return root, summary, folder / "check"
