"""Self-contained HTML pages: figures and pictures are inside the file."""

import base64
import warnings
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from gender_recognizer.pictures.listing import describe_endings
from gender_recognizer.pictures.names import markdown, markdown_code, printable
from gender_recognizer.pictures.writing import replace_text


def _percent(share: float | None, digits: int = 1) -> str:
    """Return a share in percent; `-` where it is not defined."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def _visible(value: Any) -> Any:
    """Return a value as a page shows it: names and other text without characters that the browser would obey."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_loader = PackageLoader("gender_recognizer")
_templates = {
    ".html": Environment(
        loader=_loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, finalize=_visible
    ),
    ".md": Environment(loader=_loader, undefined=StrictUndefined, trim_blocks=True),
}
for _environment in _templates.values():
    _environment.filters |= {
        "percent": _percent,
        "markdown": markdown,
        "code": markdown_code,
        "endings": describe_endings,
    }


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template of `templates/` with these values and write it; text in them is escaped."""
    replace_text(path, render(template, **values), "backslashreplace")


def render(template: str, **values: Any) -> str:
    """Return a template of `templates/` rendered with these values; in pages, text in them is escaped."""
    return _templates[Path(template).suffix].get_template(template).render(**values)


def figure_image(figure: Figure, description: str) -> Markup:
    """Return a figure as an `<img>` that holds it as SVG.

    Args:
        figure: what to show.
        description: what it shows, in words, for those who cannot see it.
    """
    drawing = StringIO()
    with rc_context({"svg.hashsalt": "gender_recognizer"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of names in scripts that matplotlib's font lacks
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    return _image("image/svg+xml", drawing.getvalue().encode(), description)


def thumbnail(image: np.ndarray, description: str) -> Markup:
    """Return a picture, uint8 `(H, W, 3)`, as an `<img>` that holds it as JPEG."""
    content = BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=80)
    return _image("image/jpeg", content.getvalue(), description)


def _image(kind: str, content: bytes, description: str) -> Markup:
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return Markup('<img src="{}" alt="{}">').format(source, printable(description))
