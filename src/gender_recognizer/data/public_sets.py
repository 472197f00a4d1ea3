"""Public sets of faces: their terms, the names of their pictures, and the format of their tables.

Layouts as published: UTKFace (Zhang et al., CVPR 2017), FairFace (github.com/joojs/fairface), CelebA (Liu et al., ICCV
2015), LFW (Huang et al. 2007) with the attributes of Kumar et al. (ICCV 2009) or the lists of Afifi and Abdelhamed
(AFIF4, 2017).
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gender_recognizer.data.placing import Row

CLASSES = ("female", "male")

Describe = Callable[[re.Match[str]], Row | str]
"""A function from the match of a picture's name to its row, or to the reason why it is left out."""


class PublicSet(NamedTuple):
    """A public data set.

    Attributes:
        terms: its licence or terms of use, in two lines.
        expected: what the source must be, for messages.
        pattern: of the end of a picture's path; the whole match becomes its path in the class folder.
        tables: names of the tables that it may come with.
        read: turns the texts of the tables, by name, into the function that describes a picture.
    """

    terms: tuple[str, str]
    expected: str
    pattern: re.Pattern[str]
    tables: tuple[str, ...]
    read: Callable[[Mapping[str, str]], Describe]


UTKFACE_RACES = ("White", "Black", "Asian", "Indian", "Others")
PARTITIONS = {"0": "train", "1": "val", "2": "test"}
NOT_IN_TABLE = "no row in the tables"


def read_utkface(tables: Mapping[str, str]) -> Describe:
    """Return the function that describes a picture from its name: age_gender_race_date."""

    def describe(match: re.Match[str]) -> Row | str:
        label = CLASSES[match["gender"] == "0"]
        return {"label": label, "age": match["age"], "race": UTKFACE_RACES[int(match["race"])]}

    return describe


def read_fairface(tables: Mapping[str, str]) -> Describe:
    """Return the function that describes a picture from the two tables of FairFace.

    Raises:
        ValueError: a table is missing or has other columns.
    """
    rows: dict[str, dict[str, str]] = {}
    for name in ("fairface_label_train.csv", "fairface_label_val.csv"):
        text = _need(tables, name)
        table = csv.DictReader(text.splitlines())
        _need_columns(name, table.fieldnames or [], ("file", "age", "gender", "race"))
        rows |= {row["file"]: row for row in table}

    def describe(match: re.Match[str]) -> Row | str:
        row = rows.get(match[1])
        if row is None:
            return NOT_IN_TABLE
        if row["gender"] not in ("Female", "Male"):
            return "gender in the table is neither Female nor Male"
        values = {"age": row["age"], "race": row["race"], "split": match["split"]}
        return {"label": row["gender"].lower()} | values

    return describe


def read_celeba(tables: Mapping[str, str]) -> Describe:
    """Return the function that describes a picture from CelebA's tables; identities and partitions may be absent.

    Raises:
        ValueError: the table of attributes is missing or has no column Male.
    """
    name = next((name for name in tables if name.startswith("list_attr_celeba")), "list_attr_celeba.txt")
    lines = [re.split(r"[\s,]+", line.strip()) for line in _need(tables, name).splitlines() if line.strip()]
    header = next((line for line in lines[:2] if "Male" in line), [])
    _need_columns(name, header, ("Male",))
    column = header.index("Male") + (0 if header[0] in ("image_id", "file_name") else 1)
    males = {line[0]: line[column] for line in lines if len(line) > column and line is not header}
    identities = _pairs(tables, "identity_CelebA")
    partitions = _pairs(tables, "list_eval_partition")

    def describe(match: re.Match[str]) -> Row | str:
        male = males.get(match[1])
        if male not in ("1", "-1"):
            return NOT_IN_TABLE if male is None else "attribute Male is neither 1 nor -1"
        row = {"label": CLASSES[male == "1"]}
        row |= {"identity": identities.get(match[1], "")} if identities else {}
        return row | ({"split": PARTITIONS.get(partitions.get(match[1], ""), "")} if partitions else {})

    return describe


def read_lfw(tables: Mapping[str, str]) -> Describe:
    """Return the function that describes a picture from the two lists of names or, without them, the attribute Male.

    Raises:
        ValueError: there are neither both lists nor the attributes.
    """
    lists = [tables[name] for label in CLASSES if (name := f"{label}_names.txt") in tables]
    if len(lists) < 2 and "lfw_attributes.txt" not in tables:
        raise ValueError(
            "no 'female_names.txt' and 'male_names.txt', and no 'lfw_attributes.txt', beside or in the source; "
            "expected both lists of file names, or the attributes"
        )
    scores: Mapping[str, float]
    if len(lists) == 2:
        named = [{line.strip() for line in text.splitlines()} for text in lists]
        scores = {name: (name in named[1]) - (name in named[0]) for name in named[0] | named[1]}
    else:
        scores = _lfw_attributes(tables["lfw_attributes.txt"])

    def describe(match: re.Match[str]) -> Row | str:
        score = scores.get(match["file"])
        if not score:
            return NOT_IN_TABLE if score is None else "the tables call it neither female nor male, or both"
        return {"label": CLASSES[score > 0], "identity": match["identity"]}

    return describe


def _lfw_attributes(text: str) -> dict[str, float]:
    """Return the score of the attribute Male by file name; above 0 is male."""
    lines = [line.split("\t") for line in text.splitlines() if line.strip()]
    header = next((line[1:] if line[0].startswith("#") else line for line in lines[:2] if "Male" in line), [])
    _need_columns("lfw_attributes.txt", header, ("person", "imagenum", "Male"))
    person, number, male = (header.index(name) for name in ("person", "imagenum", "Male"))
    return {
        f"{line[person].replace(' ', '_')}_{int(line[number]):04}.jpg": float(line[male])
        for line in lines
        if len(line) == len(header) and line[number].isdecimal()
    }


def _pairs(tables: Mapping[str, str], stem: str) -> dict[str, str]:
    """Return the second value of each line by the first, from the table of this name with either ending."""
    text = next((text for name, text in tables.items() if name.startswith(stem)), "")
    lines = (re.split(r"[\s,]+", line.strip()) for line in text.splitlines())
    return {line[0]: line[1] for line in lines if len(line) >= 2}


def _need(tables: Mapping[str, str], name: str) -> str:
    if name not in tables:
        raise ValueError(f"no table '{name}' beside or in the source; download it as well")
    return tables[name]


def _need_columns(name: str, columns: Sequence[str], needed: tuple[str, ...]) -> None:
    if missing := [column for column in needed if column not in columns]:
        raise ValueError(f"'{name}' has no column {', '.join(missing)}; it is not the official table")


PUBLIC_SETS = {
    "utkface": PublicSet(
        terms=(
            "UTKFace: for non-commercial research only; the copyright of the pictures stays with their owners.",
            "Cite Zhang, Song and Qi, CVPR 2017; see https://susanqq.github.io/UTKFace/",
        ),
        expected="UTKFace.tar.gz, crop_part1.tar.gz or part1.tar.gz, with names such as 25_1_0_20170116174525125.jpg",
        # In a few names a space or the dot before the ending is wrong; all four fields are there.
        pattern=re.compile(
            r"((?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_\d{8,20} ?\.?j?pg(?:\.chip\.jpg)?)", re.ASCII
        ),
        tables=(),
        read=read_utkface,
    ),
    "fairface": PublicSet(
        terms=(
            "FairFace: licensed CC BY 4.0 (Kimmo Kaerkkaeinen and Jungseock Joo, WACV 2021): name the authors.",
            "The labels are annotators' impressions; see https://github.com/joojs/fairface",
        ),
        expected="fairface-img-margin025-trainval.zip with train/1.jpg and val/1.jpg, and fairface_label_train.csv and "
        "fairface_label_val.csv beside it",
        pattern=re.compile(r"((?P<split>train|val)/\d{1,7}\.jpg)", re.ASCII),
        tables=("fairface_label_train.csv", "fairface_label_val.csv"),
        read=read_fairface,
    ),
    "celeba": PublicSet(
        terms=(
            "CelebA: for non-commercial research only; passing the pictures on is not allowed.",
            "Cite Liu, Luo, Wang and Tang, ICCV 2015; see https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        ),
        expected="img_align_celeba.zip with 000001.jpg, and list_attr_celeba.txt beside it",
        pattern=re.compile(r"(\d{6}\.jpg)", re.ASCII),
        tables=(
            "list_attr_celeba.txt",
            "list_attr_celeba.csv",
            "identity_CelebA.txt",
            "identity_CelebA.csv",
            "list_eval_partition.txt",
            "list_eval_partition.csv",
        ),
        read=read_celeba,
    ),
    "lfw": PublicSet(
        terms=(
            "LFW: for non-commercial research; the photographs are from news sites and stay their owners'.",
            "Cite Huang, Ramesh, Berg and Learned-Miller, UMass Amherst TR 07-49; see http://vis-www.cs.umass.edu/lfw/",
        ),
        expected="lfw.tgz or lfw-funneled.tgz with Name_Surname/Name_Surname_0001.jpg, and female_names.txt and "
        "male_names.txt, or lfw_attributes.txt, beside it",
        pattern=re.compile(r"((?P<identity>\w[\w.'-]*)/(?P<file>(?P=identity)_\d{4}\.jpg))", re.ASCII),
        tables=("female_names.txt", "male_names.txt", "lfw_attributes.txt"),
        read=read_lfw,
    ),
}
"""The data sets by name."""
