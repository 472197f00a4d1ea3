"""Pictures split once into training, validation and test parts, and a loader for each."""

import logging
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from gender_recognizer.data.augment import Augmentation
from gender_recognizer.data.cache import ImageCache, larger, open_pictures
from gender_recognizer.data.dataset import FaceDataset, GuidedMixtures, usable_workers
from gender_recognizer.data.duplicates import near_duplicate_groups
from gender_recognizer.data.identities import describe_groups, identity_groups
from gender_recognizer.data.layouts import find_parts
from gender_recognizer.data.samples import class_counts, find_named, ignored_endings, read_exclude, warn_if_unbalanced
from gender_recognizer.data.settings import DataSettings
from gender_recognizer.data.split import PARTS, split_indices, take_parts, write_split
from gender_recognizer.models.classifier import TrainingBatch
from gender_recognizer.pictures.listing import describe_endings
from gender_recognizer.pictures.loading import IMAGE_SIZE

logger = logging.getLogger(__name__)

MOST_TOLD = 20
"""Unreadable files that are named before training; the split.csv of the run names all."""


class FaceDataModule(lightning.LightningDataModule):
    """Loaders of uint8 images `(N, 3, *image_size)` with int64 targets `(N,)`; training batches are augmented.

    Until they are augmented, training images are a quarter larger (`cache.larger`).

    The split depends only on the files, the fractions and `split_seed`: another call of `setup`, another process or
    another `seed` gives the same split.

    Attributes:
        image_size: (height, width) of the images; another one is set before they are read.
        parts: `FaceDataset` of each of `PARTS`, after `setup`.
        caches: of each part: the same pictures at other sizes.
        files: paths of each part's pictures, in the dataset's order, after `setup`.
    """

    def __init__(
        self,
        root: Path,
        cache_dir: Path,
        classes: Sequence[str] = ("female", "male"),
        test_root: Path | None = None,
        split: str = DataSettings.split,
        people: Path = DataSettings.people,
        split_fractions: Sequence[float] = (0.8, 0.1, 0.1),
        split_seed: int = DataSettings.split_seed,
        augmentation: Augmentation | None = None,
        batch_size: int = DataSettings.batch_size,
        shuffle: bool = DataSettings.shuffle,
        num_workers: int = DataSettings.num_workers,
        seed: int = 0,
        exclude: Path | None = None,
        guide: Callable[[ImageCache], np.ndarray] | None = None,
        guide_mixtures: Callable[[ImageCache, np.ndarray], GuidedMixtures] | None = None,
    ) -> None:
        """Store the settings; no picture is read yet.

        Args:
            root: folder that holds a folder of pictures for each class.
            cache_dir: where the decoded pictures are kept, 24,000 bytes each, and 37,500 for augmentation; more for
                other image sizes than 100x80.
            classes: names of the class folders; their order is the order of the targets.
            test_root: a folder like `root` to test on; the test fraction then joins the training part.
            split: `grouped` keeps near duplicates in one part, `identity` also pictures of one person; `random` looks
                for neither.
            people: path of faceres.json, whose network tells people apart; used for `identity`.
            split_fractions: shares of the train, validation and test part; they add up to 1.
            split_seed: seed of the split.
            augmentation: random changes to training batches, or None for none.
            batch_size: pictures in a batch, in each process.
            shuffle: whether training batches are drawn in a new order each epoch.
            num_workers: processes that read batches; 0 reads in this one, the fastest while the cache fits in memory.
            seed: seed of the order of training batches.
            exclude: file with the names of pictures of `root` to leave out, as `check_data.py` writes it, or None.
            guide: returns the teachers' outputs for every picture of a cache, float `(num_files, num_outputs)`, which
                then come with the training pictures; or None.
            guide_mixtures: returns mixtures of the pictures in these rows, with the teachers' outputs for them; they
                take the place of every second training picture. Or None.

        Raises:
            ValueError: as `DataSettings`, or there is no such file to exclude.
        """
        super().__init__()
        checked = DataSettings(
            classes=list(classes),
            split=split,
            split_fractions=list(split_fractions),
            split_seed=split_seed,
            batch_size=batch_size,
            num_workers=num_workers,
        )
        self.root, self.test_root, self.cache_dir = root, test_root, cache_dir
        self.classes = checked.classes
        train, validation, test = split_fractions
        self.fractions = (train, validation, test) if test_root is None else (train + test, validation, 0.0)
        self.split, self.people, self.split_seed, self.seed = split, people, split_seed, seed
        self.augmentation = augmentation
        self.batch_size, self.shuffle, self.num_workers = batch_size, shuffle, num_workers
        self.parts: dict[str, FaceDataset] = {}
        self.caches: dict[str, ImageCache] = {}
        self.files: dict[str, list[Path]] = {}
        self.unreadable: dict[Path, str] = {}
        self.exclude = None if exclude is None else read_exclude(exclude)
        self.excluded: list[Path] = []
        self.guide, self.guide_mixtures = guide, guide_mixtures
        self.image_size = IMAGE_SIZE

    def prepare_data(self) -> None:
        """Decode the pictures into the cache, in one process of each machine; a second call changes nothing."""
        if self.parts:
            return
        cache = open_pictures(self.root, self.classes, self.cache_dir)[0]
        self._groups(cache)
        self._training_images(cache)
        if self.guide is not None:
            self.guide(cache)
        if self.test_root is not None:
            open_pictures(self.test_root, self.classes, self.cache_dir)[0].images_of(self.image_size)

    def setup(self, stage: str | None = None) -> None:
        """Split the pictures; a second call changes nothing.

        Raises:
            ValueError: a class has no readable picture, in all or to train on, or a part that should have pictures has
                none.
        """
        if self.parts:
            return
        cache, paths, targets = open_pictures(self.root, self.classes, self.cache_dir)
        rows = self._readable_rows(cache, paths, targets, self.root, self._find_excluded(paths))
        for part, index in zip(PARTS, self._split(cache, paths, targets, rows), strict=True):
            self._add_part(part, cache, paths, targets, rows[index])
        if self.guide is not None:
            self.parts["train"].guidance = self.guide(cache)[self.parts["train"].rows]
        if self.guide_mixtures is not None:
            self.parts["train"].mixtures = self.guide_mixtures(cache, self.parts["train"].rows)
        if self.test_root is not None:
            cache, paths, targets = open_pictures(self.test_root, self.classes, self.cache_dir)
            rows = self._readable_rows(cache, paths, targets, self.test_root)
            self._add_part("test", cache, paths, targets, rows)
        for name, count in self.counts()["train"].items():
            if not count:
                raise ValueError(f"the training part has no picture of class '{name}'")
        self.num_workers = usable_workers(self.num_workers, self.batch_size * self.parts["train"].images[0].nbytes)
        self._report()

    def _training_images(self, cache: ImageCache) -> np.ndarray:
        """Return the images that training batches are made from, uint8 `(num_files, H, W, 3)`."""
        return cache.images_of(self.image_size if self.augmentation is None else larger(self.image_size))

    def _split(self, cache: ImageCache, paths: list[Path], targets: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
        """Return the rows of each part: those of its folder, or drawn at random where there are no such folders."""
        groups = self._groups(cache)[rows]
        if self.split == "identity":
            logger.info("near duplicates and pictures of one person: %s", describe_groups(groups))
        ready = {folder.name: part for part, folder in find_parts(self.root, self.classes).items()}
        if not ready:
            return split_indices(groups, targets[rows], self.fractions, self.split_seed)
        if self.test_root is not None and "test" in ready.values():
            raise ValueError(f"'{self.root}' has a test part of its own; leave data.test_root out")
        part_of = np.array([ready[paths[row].relative_to(self.root).parts[0]] for row in rows])
        logger.info("the parts are the folders %s, not those of data.split_fractions", ", ".join(sorted(ready)))
        return take_parts(part_of, groups, targets[rows], self.fractions, self.split_seed)

    def _groups(self, cache: ImageCache) -> np.ndarray:
        """Return a group number for every picture; those of one group stay in one part."""
        if self.split == "random":
            return np.arange(len(cache.images))
        if self.split == "grouped":
            return cache.remember("groups", near_duplicate_groups)
        return identity_groups(cache, self.people)

    def _find_excluded(self, paths: list[Path]) -> set[int]:
        """Return the rows of the pictures to leave out; the cache does not change."""
        if self.exclude is None:
            return set()
        rows, unknown = find_named(self.exclude, paths, self.root)
        self.excluded = [paths[row] for row in sorted(rows)]
        logger.info("left out because of data.exclude: %d pictures", len(rows))
        if unknown:
            logger.warning(
                "data.exclude: %d lines name a picture that is not in %s; the first is '%s'",
                len(unknown),
                self.root,
                unknown[0],
            )
        return rows

    def _readable_rows(
        self, cache: ImageCache, paths: list[Path], targets: np.ndarray, root: Path, excluded: Collection[int] = ()
    ) -> np.ndarray:
        """Return the rows of the wanted pictures that could be decoded; note those that could not."""
        self.unreadable |= {paths[row]: why for row, why in cache.unreadable.items() if row not in excluded}
        rows = np.setdiff1d(np.arange(len(paths)), [*cache.unreadable, *excluded])
        for target, name in enumerate(self.classes):
            if target not in targets[rows]:
                why = f"can be read{' and is not excluded' if excluded else ''}"
                raise ValueError(f"none of the pictures in '{root / name}' {why}; see {cache.folder}/index.json")
        return rows

    def _add_part(self, part: str, cache: ImageCache, paths: list[Path], targets: np.ndarray, rows: np.ndarray) -> None:
        images = self._training_images(cache) if part == "train" else cache.images_of(self.image_size, rows)
        self.parts[part], self.caches[part] = FaceDataset(images, rows, targets[rows]), cache
        self.files[part] = [paths[row] for row in rows]

    def _report(self) -> None:
        for path, why in islice(self.unreadable.items(), MOST_TOLD):
            logger.warning("left out, cannot be read: %s: %s", path, why)
        if more := max(0, len(self.unreadable) - MOST_TOLD):
            logger.warning("left out, cannot be read: %d more, which split.csv lists", more)
        for root in (self.root, self.test_root):
            if root is not None and (ignored := ignored_endings(root, self.classes)):
                endings = describe_endings(ignored)
                logger.warning("in %s, ignored because their endings are not those of pictures: %s", root, endings)
        for part in PARTS:
            counts = ", ".join(f"{count} {name}" for name, count in self.counts()[part].items())
            logger.info("%s: %d pictures (%s)", part, len(self.parts[part]), counts)
            if missing := [name for name, count in self.counts()[part].items() if not count and len(self.parts[part])]:
                logger.warning("%s: no picture of %s: it cannot be measured there", part, " and ".join(missing))
        warn_if_unbalanced(self.counts()["train"])

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of pictures of each class in each part."""
        return {part: class_counts(data.targets, self.classes) for part, data in self.parts.items()}

    def save_split(self, path: Path) -> None:
        """Write which picture is in which part as CSV, with the columns of the metadata and the unreadable files.

        Names are relative to the folder in the column `root`, which is the training or the test folder.
        """
        labels = {part: [self.classes[target] for target in data.targets] for part, data in self.parts.items()}
        rows = [
            {"part": part, **self._place(file), "label": label}
            for part, files in self.files.items()
            for file, label in zip(files, labels[part], strict=True)
        ]
        rows += [{"part": "unreadable", **self._place(file), "reason": why} for file, why in self.unreadable.items()]
        rows += [{"part": "excluded", **self._place(file)} for file in self.excluded]
        write_split(path, rows, [root for root in (self.root, self.test_root) if root is not None])

    def _place(self, file: Path) -> dict[str, str]:
        root = next(root for root in (self.root, self.test_root) if root is not None and file.is_relative_to(root))
        return {"file_name": file.relative_to(root).as_posix(), "root": str(root.resolve())}

    def on_after_batch_transfer(self, batch: tuple[Tensor, ...], dataloader_idx: int) -> tuple[Tensor | None, ...]:
        """Turn a training batch into a `TrainingBatch`; its images are float32 `(N, 3, *image_size)` if augmented."""
        if self.trainer is None or not self.trainer.training:
            return batch
        images, targets, *guidance = batch
        frames = None
        if self.augmentation is not None:
            images, frames = self.augmentation(images, self.image_size)
        return TrainingBatch(images, targets, frames, *guidance)

    def train_dataloader(self) -> DataLoader:
        """Return the loader of the training part; its order depends only on `seed` and the epoch."""
        world_size, rank = self._world()
        data = self.parts["train"]
        return self._loader(data, DistributedSampler(data, world_size, rank, self.shuffle, self.seed))

    def val_dataloader(self) -> DataLoader:
        """Return the loader of the validation part, in order; no process sees a picture of another's."""
        return self._loader(self.parts["validation"])

    def test_dataloader(self) -> DataLoader:
        """Return the loader of the test part, in order; no process sees a picture of another's."""
        return self._loader(self.parts["test"])

    def _loader(self, data: FaceDataset, sampler: DistributedSampler | None = None) -> DataLoader:
        return DataLoader(
            data,
            batch_size=self.batch_size,
            sampler=sampler or UnrepeatedDistributedSampler(data, *self._world(), shuffle=False),
            num_workers=self.num_workers,
            collate_fn=_keep,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            generator=torch.Generator(),  # otherwise starting to read would change the random numbers that follow
        )

    def _world(self) -> tuple[int, int]:
        """Return the number of training processes and which one this is."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)


def _keep(batch: Any) -> Any:
    return batch
