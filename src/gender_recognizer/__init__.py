"""Tell female from male in a picture of a face: train a small network, label whole folders."""

from gender_recognizer.labelling import Record
from gender_recognizer.recognizer import Recognizer

__all__ = ["Recognizer", "Record"]
