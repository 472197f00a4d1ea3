"""Label pictures on a page in the browser; nothing leaves this machine.

    python scripts/demo.py [port=7860] [model_path=latest] [host=0.0.0.0]

Drop pictures, see label, probability and status of each and, if wanted, which parts speak for the label, and download
the process_results.json that process.py would write. Needs the extra demo: uv sync --extra demo.
"""

import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import hydra
from command import PROJECT, fail, register_resolvers
from omegaconf import DictConfig, OmegaConf

from gender_recognizer.demo.results import show_labels
from gender_recognizer.demo.uploads import Upload, UploadStore
from gender_recognizer.evaluation.pages import render
from gender_recognizer.labelling.recognizer import Recognizer
from gender_recognizer.models.model_file import find_model
from gender_recognizer.pictures.listing import find_images

try:
    import gradio
    import uvicorn
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from gender_recognizer.demo.guard import Guard
except ImportError:
    gradio = None

LOCAL = ("127.0.0.1", "localhost", "::1")
KINDS = {
    "Crops with one face each": "none",
    "Photographs: every face": "crop",
    "Photographs: the largest face": "largest",
}
"""What the pictures are, and what process.py calls it."""

BUNDLED, LATEST, OTHER = "Bundled", "Newest training run", "Another file"
STYLE = PROJECT / "src" / "gender_recognizer" / "templates" / "demo.css"
SAMPLE = PROJECT / "data" / "sample"
SAMPLE_SIZE = 6
"""Pictures of each folder of the sample that its button takes."""

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
    """What a visitor can do on the page; `show` returns the results as HTML."""

    def __init__(self, store: UploadStore, models: dict[str, str | None], outputs: Path) -> None:
        """Take the store of uploads, the models by the names that are offered, and where training runs are."""
        self.store, self.models, self.outputs = store, models, outputs

    def take(self, files: list[dict[str, Any]] | None, request: "gradio.Request") -> None:
        """Take what the browser has uploaded."""
        uploads = [
            Upload(str(file.get("orig_name") or Path(file["path"]).name), Path(file["path"])) for file in files or []
        ]
        self.store.add(request.session_hash, uploads)

    def take_sample(self, request: "gradio.Request") -> None:
        """Take some pictures of each folder of the sample."""
        folders = sorted(folder for folder in SAMPLE.iterdir() if folder.is_dir())
        files = [file for folder in folders for file in find_images(folder)[:SAMPLE_SIZE]]
        self.store.add_copies(request.session_hash, SAMPLE, files)

    def forget(self, request: "gradio.Request") -> None:
        """Remove the visitor's pictures."""
        self.store.remove(request.session_hash)

    def show(
        self, model: str, path: str, faces: str, min_confidence: float, explain: bool, request: "gradio.Request"
    ) -> str:
        """Label the visitor's pictures and return what the page shows of them."""
        visitor = request.session_hash
        files, refusals = self.store.pictures(visitor), self.store.refusals(visitor)
        if not files and not refusals:
            return ""
        try:
            recognizer = Recognizer(self.find(model, path), faces=KINDS[faces], min_confidence=min_confidence)
        except ValueError as error:
            return render("demo_error.html", error=str(error))
        return show_labels(recognizer, files, refusals, explain)

    def find(self, model: str, path: str) -> Path:
        """Return the file of the model that was chosen; `path` counts where another file may be named."""
        if model == OTHER and OTHER in self.models:
            if not path.strip():
                raise ValueError("name a model file, .onnx or .ckpt, and press Enter")
            return find_model(path.strip(), self.outputs)
        return find_model(self.models[model], self.outputs)


def offered_models(model_path: str | None, host: str) -> dict[str, str | None]:
    """Return the models to choose from, by their names, the one of the settings first.

    Only whoever sits at this machine may name files of it.
    """
    models = {BUNDLED: None, LATEST: "latest"}
    if model_path not in models.values():
        models = {Path(model_path).name: model_path} | models
    elif model_path == "latest":
        models = {LATEST: "latest", BUNDLED: None}
    return models | ({OTHER: None} if host in LOCAL else {})


def build_blocks(page: Page, min_confidence: float, local: bool) -> "gradio.Blocks":
    """Return the page: what to choose above, results below."""
    with gradio.Blocks(analytics_enabled=False, title="gender_recognizer", delete_cache=(600, 600)) as blocks:
        gradio.HTML(INTRODUCTION.format(where=HERE if local else THERE))
        with gradio.Row(equal_height=False):
            with gradio.Column(scale=3, min_width=300):
                files = gradio.File(file_count="multiple", label="Pictures", height=190, elem_id="files")
                with gradio.Row():
                    sample = gradio.Button("Use the sample", size="md", min_width=120, elem_id="sample")
                    remove = gradio.Button("Remove all", size="md", min_width=120, elem_id="remove")
            with gradio.Column(scale=2, min_width=300):
                model = gradio.Radio(list(page.models), value=next(iter(page.models)), label="Model", elem_id="model")
                path = gradio.Textbox("", label="Model file (.onnx or .ckpt)", visible=False, elem_id="path")
                faces = gradio.Radio(list(KINDS), value=next(iter(KINDS)), label="The pictures are", elem_id="faces")
                confidence = gradio.Slider(
                    0, 0.99, min_confidence, step=0.01, label="Unsure below a probability of", info="0 always decides"
                )
                explain = gradio.Checkbox(label="Show which parts speak for the label", elem_id="explain")
        results = gradio.HTML(elem_id="results")
        shown = {
            "fn": page.show,
            "inputs": [model, path, faces, confidence, explain],
            "outputs": results,
            "api_visibility": "private",
        }
        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        files.upload(page.take, files, files, preprocess=False, **quiet).then(**shown)
        sample.click(page.take_sample, None, files, **quiet).then(**shown)
        remove.click(page.forget, None, files, **quiet).then(**shown)
        model.change(lambda name: gradio.update(visible=name == OTHER), model, path, **quiet).then(**shown)
        path.submit(**shown)
        faces.change(**shown)
        explain.change(**shown)
        confidence.change(**shown, trigger_mode="always_last")
        blocks.unload(page.forget)
    return blocks


def build_app(settings: dict[str, Any], store: UploadStore) -> "FastAPI":
    """Return the web application; when it stops, the store is emptied."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    os.environ["GRADIO_TEMP_DIR"] = str(store.incoming)
    gradio.routes.DEFAULT_TEMP_DIR = str(store.incoming)  # read before, at its import; it makes a folder there
    local = settings["host"] in LOCAL
    page = Page(store, offered_models(settings["model_path"], settings["host"]), Path(settings["outputs"]))
    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, incoming=store.incoming, max_bytes=store.max_files * store.max_file_bytes)
    if local:  # another site cannot make a browser here take this page for its own
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[::1]"])
    blocks = build_blocks(page, settings["min_confidence"], local)
    blocks.has_launched = blocks.is_running = True  # else gradio does not check the files that its clients name
    return gradio.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        show_error=False,
        theme=gradio.themes.Default(
            primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        css_paths=STYLE,
    )


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse values of the wrong type or range.

    Raises:
        ValueError: naming the option, its value and what is expected.
    """
    for name, low, high in (
        ("port", 0, 65535),
        ("max_files", 1, None),
        ("max_file_mb", 0, None),
        ("min_confidence", 0, 1),
    ):
        value, kinds = settings[name], int if name in ("port", "max_files") else int | float
        in_range = isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= (high or value)
        if not in_range:
            raise ValueError(f"{name} is {value}; expected a number from {low}" + (f" to {high}" if high else " on"))


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ValueError: the address is not of this machine, or in use.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = error.strerror.split(" (")[0]  # it repeats the address
        raise ValueError(f"cannot listen at host={host} port={port}: {why}; try another port") from None


def serve(settings: dict[str, Any]) -> None:
    """Show the page until Ctrl-C."""
    if gradio is None:
        raise ValueError("the page needs the extra demo: uv sync --extra demo, or pip install gradio")
    check_settings(settings)
    find_model(settings["model_path"], Path(settings["outputs"]))
    host = str(settings["host"])
    listener = listen(host, settings["port"])
    store = UploadStore(settings["max_files"], settings["max_file_mb"])
    try:
        server = uvicorn.Server(
            uvicorn.Config(build_app(settings, store), log_level="warning", timeout_graceful_shutdown=1)
        )
        server.handle_exit = lambda *_: setattr(server, "should_exit", True)  # its own ends in a trace on two Ctrl-C
        if host not in LOCAL:
            print("whoever reaches this machine may use the page: it has no password", file=sys.stderr)
        address = f"[{host}]" if ":" in host else host
        print(f"the page is at http://{address}:{listener.getsockname()[1]} (Ctrl-C stops it)", file=sys.stderr)
        server.run(sockets=[listener])
        print("stopped", file=sys.stderr)
    finally:
        store.close()


@hydra.main(version_base="1.3", config_path="../configs", config_name="demo")
def main(cfg: DictConfig) -> None:
    """Read the settings and show the page."""
    try:
        serve(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    except ValueError as error:
        fail(error)
    except KeyboardInterrupt:  # before the server runs
        sys.exit(130)


if __name__ == "__main__":
    register_resolvers()
    main()
