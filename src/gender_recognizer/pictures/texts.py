"""Which encoding a text has that another program wrote."""

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE

_MARKS = {  # those of UTF-32 first: one of them begins like that of UTF-16
    BOM_UTF32_LE: "utf-32",
    BOM_UTF32_BE: "utf-32",
    BOM_UTF8: "utf-8-sig",
    BOM_UTF16_LE: "utf-16",
    BOM_UTF16_BE: "utf-16",
}


def find_encoding(content: bytes) -> str | None:
    """Return the encoding of a text by its byte order mark, its zeros or its being UTF-8; None if nothing tells it.

    Args:
        content: the text, or its first bytes: four are enough for all but UTF-8 without a mark.
    """
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return encoding
    if len(content) >= 4 and not content[1] and not content[3] and content[0] and content[2]:
        return "utf-16-le"
    if len(content) >= 4 and not content[0] and not content[2] and content[1] and content[3]:
        return "utf-16-be"
    try:
        content.decode()
    except UnicodeDecodeError:
        return None
    return "utf-8"
