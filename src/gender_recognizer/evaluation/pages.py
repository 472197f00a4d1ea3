"""HTML pages that need nothing but themselves: figures and pictures are inside the file."""

import base64
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

_templates = Environment(
    loader=PackageLoader("gender_recognizer"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
)
_templates.filters["percent"] = lambda share, digits=1: "-" if share is None else f"{100 * share:.{digits}f} %"


def write_page(path: Path, template: str, **values: Any) -> None:
    r"""Write the page that a template of `templates/` makes of values; text in them is escaped.

    Names of files that are not UTF-8 are shown with `\xff` in the place of their odd bytes.
    """
    path.write_text(render(template, **values), encoding="utf-8", errors="backslashreplace")


def render(template: str, **values: Any) -> str:
    """Return the text that a template of `templates/` makes of values; in pages, text in them is escaped."""
    return _templates.get_template(template).render(**values)


def figure_image(figure: Figure, description: str) -> Markup:
    """Return a figure as an `<img>` that holds it as SVG.

    Args:
        figure: what to show.
        description: what it shows, in words, for those who cannot see it.
    """
    drawing = StringIO()
    with rc_context({"svg.hashsalt": "gender_recognizer"}):  # the same figure gives the same page
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    return _image("image/svg+xml", drawing.getvalue().encode(), description)


def thumbnail(image: np.ndarray, description: str) -> Markup:
    """Return a picture, uint8 `(H, W, 3)`, as an `<img>` that holds it as JPEG."""
    content = BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=80)
    return _image("image/jpeg", content.getvalue(), description)


def _image(kind: str, content: bytes, description: str) -> Markup:
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return Markup('<img src="{}" alt="{}">').format(source, description)
