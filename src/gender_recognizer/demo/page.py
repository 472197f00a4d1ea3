"""The page: its actions and its layout."""

from pathlib import Path
from typing import Any

import gradio

from gender_recognizer.demo.results import show_labels
from gender_recognizer.demo.settings import DemoSettings
from gender_recognizer.demo.uploads import Upload, UploadStore
from gender_recognizer.evaluation.pages import render
from gender_recognizer.labelling.recognizer import Recognizer
from gender_recognizer.models.model_file import find_model
from gender_recognizer.pictures.listing import find_images
from gender_recognizer.pictures.names import printable

LOCAL = ("127.0.0.1", "localhost", "::1")
KINDS = {
    "The main face of each": "auto",
    "Every face": "crop",
    "The whole picture, whatever it shows": "none",
}
"""What is labelled of each picture, and the name of it in process.py."""

BUNDLED, ACCURATE, LATEST, OTHER = "Bundled", "Larger bundled", "Newest training run", "Another file"
SAMPLE_SIZE = 6
"""Pictures of each folder of the sample that its button adds."""

MAX_EVENTS = 64
"""Events of all visitors that may wait; later ones are told that the page is busy."""

INTRODUCTION = """
<h1>Female or male, as annotators saw it</h1>
<p>Drop pictures of faces. The label says <b>how annotators would have labelled the appearance of a face</b>: not a
person's gender, which no picture shows. It is sometimes wrong, and more often for children and for hidden, turned, dark
or blurred faces.</p>
<p class="demo-dim">{where}</p>
"""
HERE = "Your pictures stay on this computer and are deleted when you close or reload the page."
THERE = "Your pictures go to the computer that runs this page, nowhere else, and are deleted when you close it."


class Page:
    """The actions of a visitor; `show` returns the results as HTML."""

    def __init__(self, store: UploadStore, settings: DemoSettings) -> None:
        """Set the store of uploads, and the settings."""
        self.store, self.settings = store, settings
        self.models = offered_models(settings.model_path, settings.host)

    def take(self, files: list[dict[str, Any]] | None, request: gradio.Request) -> None:
        """Add what the browser has uploaded."""
        uploads = [
            Upload(str(file.get("orig_name") or Path(file["path"]).name), Path(file["path"])) for file in files or []
        ]
        self.store.add(str(request.session_hash), uploads)

    def take_sample(self, request: gradio.Request) -> None:
        """Add some pictures of each folder of the sample."""
        root = self.settings.sample
        folders = sorted(folder for folder in root.iterdir() if folder.is_dir())
        files = [file for folder in folders for file in find_images(folder)[:SAMPLE_SIZE]]
        self.store.add_copies(str(request.session_hash), root, files)

    def forget(self, request: gradio.Request) -> None:
        """Remove the visitor's pictures."""
        self.store.remove(str(request.session_hash))

    def show(
        self, model: str, path: str, faces: str, min_confidence: float, explain: bool, request: gradio.Request
    ) -> str:
        """Label the visitor's pictures and return the results as HTML."""
        visitor = str(request.session_hash)
        files, refusals = self.store.pictures(visitor), self.store.refusals(visitor)
        if not files and not refusals:
            return ""
        try:
            recognizer = Recognizer(self.find(model, path), faces=KINDS[faces], min_confidence=min_confidence)
        except ValueError as error:
            return render("demo_error.html", error=str(error))
        return show_labels(recognizer, files, refusals, explain)

    def find(self, model: str, path: str) -> Path:
        """Return the file of the model that was chosen; `path` is used if another file may be named."""
        if model == OTHER and OTHER in self.models:
            if not path.strip():
                raise ValueError("name a model file, .onnx or .ckpt, and press Enter")
            return find_model(path.strip(), self.settings.outputs)
        return find_model(self.models[model], self.settings.outputs)


def offered_models(model_path: str | None, host: str) -> dict[str, str | None]:
    """Return the models to choose from, by their names, the one of the settings first.

    Only a visitor on this machine may name its files.
    """
    models: dict[str, str | None] = {BUNDLED: None, ACCURATE: "accurate", LATEST: "latest"}
    named = {path: name for name, path in models.items()}
    if model_path in named:
        models = {named[model_path]: model_path, **models}
    elif model_path is not None:
        models = {printable(Path(model_path).name): model_path, **models}
    return models | ({OTHER: None} if host in LOCAL else {})


def build_blocks(page: Page) -> gradio.Blocks:
    """Return the page: what to choose above, results below."""
    with gradio.Blocks(analytics_enabled=False, title="gender_recognizer") as blocks:
        gradio.HTML(INTRODUCTION.format(where=HERE if page.settings.host in LOCAL else THERE))
        with gradio.Row(equal_height=False):
            with gradio.Column(scale=3, min_width=300):
                files, sample, remove = _add_pictures(page)
            with gradio.Column(scale=2, min_width=300):
                choices = _add_choices(page)
        results = gradio.HTML(elem_id="results")
        shown = {"fn": page.show, "inputs": choices, "outputs": results, "api_visibility": "private"}
        _connect_pictures(page, files, sample, remove, shown)
        _connect_choices(choices, shown)
        blocks.unload(page.forget)
    return blocks.queue(max_size=MAX_EVENTS)


def _add_pictures(page: Page) -> tuple[gradio.File, gradio.Button, gradio.Button]:
    files = gradio.File(file_count="multiple", label="Pictures", height=190, elem_id="files")
    with gradio.Row():
        has_sample = page.settings.sample.is_dir()
        sample = gradio.Button("Use the sample", size="md", min_width=120, elem_id="sample", visible=has_sample)
        remove = gradio.Button("Remove all", size="md", min_width=120, elem_id="remove")
    return files, sample, remove


def _add_choices(page: Page) -> list[gradio.components.Component]:
    """Return the inputs of `Page.show`, in its order."""
    confidence = page.settings.min_confidence
    return [
        gradio.Radio(list(page.models), value=next(iter(page.models)), label="Model", elem_id="model"),
        gradio.Textbox("", label="Model file (.onnx or .ckpt)", visible=False, elem_id="path"),
        gradio.Radio(list(KINDS), value=next(iter(KINDS)), label="What is labelled", elem_id="faces"),
        gradio.Slider(0, 0.99, confidence, step=0.01, label="Unsure below a probability of", info="0 always decides"),
        gradio.Checkbox(label="Show which parts speak for the label", elem_id="explain"),
    ]


def _connect_pictures(
    page: Page, files: gradio.File, sample: gradio.Button, remove: gradio.Button, shown: dict[str, Any]
) -> None:
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    files.upload(page.take, files, files, preprocess=False, **quiet).then(**shown)
    sample.click(page.take_sample, None, files, **quiet).then(**shown)
    remove.click(page.forget, None, files, **quiet).then(**shown)


def _connect_choices(choices: list[Any], shown: dict[str, Any]) -> None:
    model, path, faces, confidence, explain = choices
    show_path = {"fn": lambda name: gradio.update(visible=name == OTHER), "inputs": model, "outputs": path}
    model.change(**show_path, api_visibility="private", show_progress="hidden").then(**shown)
    path.submit(**shown)
    faces.change(**shown)
    explain.change(**shown)
    confidence.change(**shown, trigger_mode="always_last")
