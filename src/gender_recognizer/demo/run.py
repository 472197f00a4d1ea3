"""The command that shows the page."""

from importlib.util import find_spec

from gender_recognizer.demo.settings import DemoSettings
from gender_recognizer.extras import how_to_install
from gender_recognizer.models.model_file import find_model


def run(settings: DemoSettings) -> int:
    """Show the page until Ctrl-C, and return 0.

    Raises:
        ValueError: gradio is missing, the model was not made by this package, or the address cannot be used.
        KeyboardInterrupt: a signal came before the page was ready.
    """
    if find_spec("gradio") is None:
        raise ValueError(f"the page needs the extra demo: {how_to_install('demo')}")
    find_model(settings.model_path, settings.outputs)
    from gender_recognizer.demo.server import serve  # gradio is an optional extra, and slow to import

    serve(settings)
    return 0
