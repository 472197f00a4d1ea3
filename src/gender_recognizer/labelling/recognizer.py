"""Labelling from Python: files, arrays, Pillow images, streams of them, folders."""

import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, Literal, TypedDict, TypeVar, Unpack, overload

import numpy as np
from PIL import Image

from gender_recognizer.labelling.engines import batched, sliding_window
from gender_recognizer.labelling.labeller import Decision, Labeller
from gender_recognizer.labelling.reader import Pair
from gender_recognizer.labelling.records import Limits, Record
from gender_recognizer.models.calibration import confidence_for
from gender_recognizer.models.detector import Detector
from gender_recognizer.models.devices import choose_device
from gender_recognizer.models.model_file import find_model
from gender_recognizer.models.predictor import available_cores, load_predictor
from gender_recognizer.pictures.listing import File, Folder

Source = str | os.PathLike[str] | File | np.ndarray | Image.Image
"""A file, an array uint8 RGB `(H, W, 3)`, or a Pillow image."""

AnySource = TypeVar("AnySource", bound=Source)
"""The kind of a list whose pictures are all of one kind, such as `list[Path]`."""

One = TypeVar("One")
"""The result for one picture: a record, or with `faces="crop"` a list of them."""


class LimitOptions(TypedDict, total=False):
    """The fields of `labelling.records.Limits` that `Recognizer` takes by name."""

    min_confidence: float
    min_size: int
    min_contrast: int
    max_pixels: int
    max_file_size: int
    max_seconds: float
    allow_truncated: bool


class Recognizer(Generic[One]):
    """A trained model, ready to label pictures.

        from gender_recognizer import Recognizer
        recognizer = Recognizer()
        recognizer.label("a.jpg").label  # "female"

    Attributes:
        classes: names of the classes.
        predictor: the model; its `info` is the file's metadata, and `saliency.saliency_maps` accepts it.
    """

    @overload
    def __init__(
        self: "Recognizer[Record]",
        model_path: str | os.PathLike[str] | None = None,
        device: str = "auto",
        batch_size: int = 32,
        num_threads: int | None = None,
        target_accuracy: float | None = None,
        faces: Literal["auto", "none"] = "auto",
        detector: Detector | None = None,
        **limits: Unpack[LimitOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: "Recognizer[list[Record]]",
        model_path: str | os.PathLike[str] | None = None,
        device: str = "auto",
        batch_size: int = 32,
        num_threads: int | None = None,
        target_accuracy: float | None = None,
        *,
        faces: Literal["crop"],
        detector: Detector | None = None,
        **limits: Unpack[LimitOptions],
    ) -> None: ...

    @overload
    def __init__(
        self: "Recognizer[Any]",
        model_path: str | os.PathLike[str] | None = None,
        device: str = "auto",
        batch_size: int = 32,
        num_threads: int | None = None,
        target_accuracy: float | None = None,
        *,
        faces: str,
        detector: Detector | None = None,
        **limits: Unpack[LimitOptions],
    ) -> None: ...

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        device: str = "auto",
        batch_size: int = 32,
        num_threads: int | None = None,
        target_accuracy: float | None = None,
        faces: str = "auto",
        detector: Detector | None = None,
        **limits: Unpack[LimitOptions],
    ) -> None:
        """Load a model.

        Args:
            model_path: an `.onnx` or `.ckpt` file; None for the bundled model.
            device: `auto`, `cpu`, `cuda`, `mps`, `coreml`, `directml` or `openvino`.
            batch_size: pictures that a thread takes at once; labels do not depend on it.
            num_threads: threads that read and label; None for the number of cores.
            target_accuracy: choose `min_confidence` so that this share of the labels was right on the model's
                validation pictures; pictures below it are `unsure`.
            faces: `auto` labels the main face of each picture, `crop` each face, `none` the whole picture, whatever it
                shows. With a model that does not look for faces `auto` is the same as `none`.
            detector: finds the faces in photographs, in place of `detector.YuNet`.
            **limits: fields of `labelling.records.Limits`, such as `min_confidence=0.9`. `max_seconds` has no effect:
                files are read by threads, which cannot be ended. For files of strangers use the command `label`, whose
                workers are processes.

        Raises:
            TypeError: an argument is unknown.
            ValueError: the model was not made by this package, or an argument is invalid or contradicts it.
        """
        _refuse_unknown(limits)
        choice = choose_device(find_model(None if model_path is None else os.fspath(model_path), Path()), device)
        self.predictor = load_predictor(choice.path, choice.device)
        if target_accuracy is not None:
            limits["min_confidence"] = confidence_for(self.predictor.info.operating_points, target_accuracy).confidence
        self._labeller = Labeller(self.predictor, Limits(faces=faces, **limits), detector)
        self._batch_size, self._num_threads = batch_size, num_threads or available_cores()
        self.classes = self.predictor.info.classes
        self._model = choice

    def __repr__(self) -> str:
        """Return the model's file, its classes, the device, and how faces are looked for."""
        return (
            f"<Recognizer {self._model.path.name}: {', '.join(self.classes)}; "
            f"device={self._model.device}, faces={self._labeller.limits.faces}>"
        )

    @overload
    def label(self, pictures: list[Source] | tuple[Source, ...]) -> list[Record]: ...

    @overload
    def label(self, pictures: list[AnySource]) -> list[Record]: ...

    @overload
    def label(self, pictures: Source) -> One: ...

    def label(self, pictures: Any) -> Any:
        """Return the record of a picture, or the records of a list of pictures.

        A file that cannot be read gives a record with status `failed` and the reason. With `faces="crop"` even a single
        picture gives a list: a record for each face, or one with status `no_face`.

        Raises:
            TypeError: a picture is not a path, an array or a Pillow image.
            ValueError: an array has another shape or type; the path is a folder or a pattern such as `*.jpg`.
        """
        if isinstance(pictures, list | tuple) and not isinstance(pictures, File):
            return list(self.stream(pictures))
        if isinstance(pictures, str | os.PathLike) and (problem := _find_misuse(os.fspath(pictures))):
            raise ValueError(f"'{os.fspath(pictures)}' is {problem}")
        records = self._label_batch([pictures])
        return records if self._labeller.limits.faces == "crop" else records[0]

    def stream(self, pictures: Iterable[Source]) -> Iterator[Record]:
        """Yield the records of each picture, in order, while later ones are being labelled; memory stays flat.

        Raises:
            TypeError: it is one picture, or nothing that yields pictures.
        """
        _refuse_single(pictures)
        return self._stream(pictures)

    def _stream(self, pictures: Iterable[Source]) -> Iterator[Record]:
        with ThreadPoolExecutor(self._num_threads) as threads:
            try:
                batches = batched(pictures, self._batch_size)
                ahead = self._num_threads + 1  # one more that is done while its records are read
                for records in sliding_window(batches, lambda batch: threads.submit(self._label_batch, batch), ahead):
                    yield from records
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def label_folder(self, folder: str | os.PathLike[str]) -> Iterator[Record]:
        """Yield the record of every picture below a folder, in the order of their names.

        Raises:
            OSError: there is no such folder, or it cannot be read.
        """
        path = Path(folder)
        if not path.exists():
            raise FileNotFoundError(f"there is no folder '{path}'")
        if not path.is_dir():
            raise NotADirectoryError(f"'{path}' is a file; label_folder takes a folder, label takes files")
        return self.stream(Folder(path))

    def look(self, pictures: Iterable[Source]) -> list[Decision]:
        """Return the records of pictures, as `stream` yields them, and with each what the network saw and said.

        Raises:
            TypeError: it is one picture, or nothing that yields pictures.
        """
        _refuse_single(pictures)
        with ThreadPoolExecutor(self._num_threads) as threads:
            return self._decide(list(pictures), threads.map)

    def _label_batch(self, pictures: Sequence[Source]) -> list[Record]:
        return [decision.record for decision in self._decide(pictures, map)]

    def _decide(self, pictures: Sequence[Source], over: Callable[..., Iterable[Any]]) -> list[Decision]:
        """Return what becomes of pictures; `over` is `map`, or one that reads several at once."""
        sources = [_to_source(picture) for picture in pictures]
        pairs = [pair for read in over(self._read, sources) for pair in read]

        def look_again(rows: list[int], first: list[Pair]) -> list[Pair]:
            return list(over(self._read_again, [sources[row] for row in rows], first))

        return self._labeller.decide(pairs, look_again)

    def _read(self, source: File | Image.Image) -> list[Pair]:
        reader = self._labeller.reader
        return reader.read(source) if isinstance(source, File) else reader.convert(_new_record(source), source)

    def _read_again(self, source: File | Image.Image, first: Pair) -> Pair:
        reader = self._labeller.reader
        return reader.read_again(source, first) if isinstance(source, File) else reader.convert_again(first, source)


def _refuse_unknown(limits: Mapping[str, Any]) -> None:
    """Refuse names that are not those of limits, and name a near one."""
    for name in limits.keys() - LimitOptions.__annotations__:
        known = [*inspect.signature(Recognizer).parameters, *LimitOptions.__annotations__]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise TypeError(f"Recognizer has no argument '{name}'; {hint}")


def _refuse_single(pictures: Any) -> None:
    """Refuse one picture where several are expected; a path would be taken for an iterable of letters."""
    if isinstance(pictures, str | bytes | File | os.PathLike | Image.Image) or not isinstance(pictures, Iterable):
        raise TypeError(f"expected an iterable of pictures, not one {type(pictures).__name__}; label takes one picture")


def _find_misuse(path: str) -> str | None:
    """Return what a path is that cannot be meant as a file, and what to do; None for all others."""
    if os.path.isdir(path):
        return "a folder; label_folder labels the pictures in it"
    if any(mark in path for mark in "*?[") and not os.path.lexists(path):
        return "a pattern, and no such file exists; label takes files, such as those that glob.glob returns"
    return None


def _to_source(picture: Source) -> File | Image.Image:
    """Return the file or the Pillow image that a picture is.

    Raises:
        TypeError: it is neither a path, an array nor a Pillow image.
        ValueError: it is an array of another shape or type.
    """
    if isinstance(picture, str | os.PathLike):
        path = os.fspath(picture)
        return File(path, path, _find_misuse(path))
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise ValueError(f"array of {picture.dtype} {picture.shape}; expected uint8 RGB (H, W, 3)")
        return Image.fromarray(picture)
    if not isinstance(picture, File | Image.Image):
        raise TypeError(f"expected a path, an array or a Pillow image, not {type(picture).__name__}")
    return picture


def _new_record(image: Image.Image) -> Record:
    return Record(str(getattr(image, "filename", "")))
