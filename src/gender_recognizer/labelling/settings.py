"""The settings of the command `label`. Imports nothing slow."""

from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import iter_modules

from gender_recognizer import labelling
from gender_recognizer.labelling.records import Limits
from gender_recognizer.labelling.result_files import FORMATS
from gender_recognizer.models.settings import check_device

SORT_BY = ("copy", "link", "move")
"""How files get into the folders of their labels."""


@dataclass
class EngineSettings:
    """Where the work is done.

    Attributes:
        name: of a module `labelling/<name>_engine.py`, such as local or ray.
    """

    name: str = "local"

    def __post_init__(self) -> None:
        """Refuse an unknown engine."""
        modules = [module.name for module in iter_modules(labelling.__path__)]
        names = [name.removesuffix("_engine") for name in sorted(modules) if name.endswith("_engine")]
        if self.name not in names:
            raise ValueError(f"engine is {self.name}; expected {', '.join(names[:-1])} or {names[-1]}")


@dataclass
class RaySettings:
    """The options of engine=ray.

    Attributes:
        address: of a running Ray cluster, as host:port, or auto to find it; None to start one on this machine.
        listen: let a cluster that is started here listen on addresses that other machines can reach.
    """

    address: str | None = None
    listen: bool = False


@dataclass
class LabelSettings:
    """Label every picture of a folder with a trained model.

        python scripts/process.py folder/
        python scripts/process.py *.jpg output_path=results/ faces=crop
        python scripts/process.py input_dir=folder/ output_path=results.json model_path=latest target_accuracy=0.97

    Saves process_results.json, {"img_1.jpg": "male", ...}, beside process.py or at output_path, and next to it
    process_results.jsonl with one record for each file: status, label, probability, and why a file has no label.
    An interrupted run continues when the same command is given again; resume=false starts over.
    A file of another kind at output_path is never overwritten. engine=ray labels on a Ray cluster, also s3:// and
    gs:// folders; unless ray.address names one, it starts a cluster that only this machine can reach.

    Attributes:
        input_dir: folders (with their sub-folders), pictures, and .txt lists with one path per line. With one folder
            names in the results are relative to it, with several inputs to their common folder.
        output_path: of the JSON, or a folder for it, which is made if it ends with /; null = process_results.json
            beside process.py.
        formats: the result files to write, of json, jsonl, csv.
        resume: continue where an interrupted run stopped; false = start over.
        model_path: .onnx or .ckpt file; null = the bundled model, accurate = a larger bundled one, slower and
            more often right, latest = the best checkpoint of the newest run.
        outputs: where training runs are, for latest.
        device: auto, cpu, cuda, mps, coreml, directml or openvino, where torch or onnxruntime reaches it.
        batch_size: pictures that a worker takes at once; null = 48, with faces=crop 4; with engine=ray more.
        num_workers: processes that read, decode and label; null = the number of cores.
        faces: auto = label the main face of each picture, near or far; crop = label each face ("a.jpg#0", "a.jpg#1");
            none = label the whole picture, also one without a face.
        min_confidence: probability below which a picture is "unsure"; 0 = always decide.
        target_accuracy: choose min_confidence so that this share of the labels was right on the model's validation
            part.
        min_size: shorter side in pixels below which a picture, or a face in a photograph, is "too_small".
        min_contrast: range of values, of 255, below which a picture is "blank"; 0 = label those too.
        max_pixels: width x height above which a picture is not decoded.
        max_file_size: length in bytes above which a file is not opened.
        max_seconds: time limit for a file, after which its worker is ended and the file is "failed".
        allow_truncated: label what there is of a file that ends too early.
        follow_links: follow links to folders and out of the folder.
        sniff: also label files whose endings are unknown or missing if their content is a picture's.
        review: also write process_results.html, a page to look at the labels and to correct them.
        sort_into: folder that gets a folder of pictures for each label: female/, male/, unsure/, ...
        sort_by: copy the pictures there, link to them, or move them.
        annotate: folder for copies of the pictures with their boxes and labels drawn on them.
        engine: local = processes on this machine; ray = a Ray cluster.
        ray: options of engine=ray: ray.address of a running cluster, as host:port, or auto to find it; ray.listen=true
            lets a cluster that is started here listen on addresses that other machines can reach.

    Exit code: 0 all files done, 1 internal error, 2 wrong usage or nothing to label, 3 finished but some files failed,
    130 stopped with Ctrl-C.
    """

    input_dir: list[str] = field(default_factory=list)
    output_path: str | None = None
    formats: list[str] = field(default_factory=lambda: ["json", "jsonl"])
    resume: bool = True
    model_path: str | None = None
    outputs: str = "outputs"
    device: str = "auto"
    batch_size: int | None = None
    num_workers: int | None = None
    faces: str = Limits.faces
    min_confidence: float = Limits.min_confidence
    target_accuracy: float | None = None
    min_size: int = Limits.min_size
    min_contrast: int = Limits.min_contrast
    max_pixels: int = Limits.max_pixels
    max_file_size: int = Limits.max_file_size
    max_seconds: float = Limits.max_seconds
    allow_truncated: bool = Limits.allow_truncated
    follow_links: bool = False
    sniff: bool = False
    review: bool = False
    sort_into: Path | None = None
    sort_by: str = "copy"
    annotate: Path | None = None
    engine: EngineSettings = field(default_factory=EngineSettings)
    ray: RaySettings | None = None

    def __post_init__(self) -> None:
        """Refuse values out of their range."""
        self.input_dir = [self.input_dir] if isinstance(self.input_dir, str) else [str(path) for path in self.input_dir]
        for name in ("batch_size", "num_workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; expected a whole number, 1 or more")
        if not self.formats or not set(self.formats) <= set(FORMATS):
            raise ValueError(f"formats is {self.formats}; expected a list of {', '.join(FORMATS)}, such as [json,csv]")
        check_device(self.device)
        if self.target_accuracy is not None and not 0 <= self.target_accuracy <= 1:
            raise ValueError(f"target_accuracy is {self.target_accuracy:g}; expected a share from 0 to 1, such as 0.97")
        if self.target_accuracy is not None and self.min_confidence:
            raise ValueError("min_confidence and target_accuracy are both set; target_accuracy chooses min_confidence")
        self._check_follow_ups()
        self.limits  # noqa: B018 - which refuses others

    def _check_follow_ups(self) -> None:
        """Refuse what makes no sense of the options for what follows labelling."""
        if self.sort_by not in SORT_BY:
            raise ValueError(f"sort_by is {self.sort_by}; expected {', '.join(SORT_BY[:-1])} or {SORT_BY[-1]}")
        if self.sort_by != SORT_BY[0] and self.sort_into is None:
            raise ValueError(f"sort_by={self.sort_by} needs sort_into=folder")
        asked = [name for name in ("review", "sort_into", "annotate") if getattr(self, name)]
        if asked and any("://" in path for path in self.input_dir):
            raise ValueError(f"{asked[0]} works with files of this machine, not with '{self.input_dir[0]}'")

    @property
    def limits(self) -> Limits:
        """Limits on what is read, and thresholds for the decision.

        Raises:
            ValueError: a value is invalid.
        """
        names = Limits.__dataclass_fields__
        return Limits(**{name: getattr(self, name) for name in names})
