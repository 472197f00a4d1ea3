import pytest

from gender_recognizer.pictures.names import drawable, markdown, markdown_code, printable


@pytest.mark.parametrize("name", ["female/001.jpg", "日本 é.png", "👩\u200d🚀.png", "a b\u3000c", "$\\frac{$", "=1+1"])
def test_names_that_do_no_harm_stay_as_they_are(name):
    assert printable(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("two\nlines\r\tx", "two\\nlines\\r\\tx"),
        ("\x1b[31mred\x07\x00", "\\x1b[31mred\\x07\\x00"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("\u2066a\u2069\u200f", "\\u2066a\\u2069\\u200f"),
        ("caf\udce9.jpg", "caf\\udce9.jpg"),
        ("a\u2028b\u2029c\x85", "a\\u2028b\\u2029c\\x85"),
        ("\ufeffname\U000e0041", "\\ufeffname\\U000e0041"),
    ],
)
def test_what_a_terminal_or_page_obeys_is_shown_as_an_escape(name, shown):
    assert printable(name) == shown
    assert printable(shown) == shown


def test_drawn_names_are_no_formulas_and_no_legend_leaves_them_out():
    assert drawable("$x_{$") == r"\$x_{\$"
    assert drawable("_under\n") == r" _under\n"


def test_markdown_shows_names_as_text():
    assert markdown("Latino_Hispanic, 3-9 (East)") == "Latino_Hispanic, 3-9 (East)"
    assert markdown("a|b\n`c` *d* <e> [f](g) _h_ $i$ &lt;") == (r"a\|b\\n\`c\` \*d\* \<e\> \[f\](g) \_h\_ \$i\$ \&lt;")
    assert markdown_code("a.onnx") == "`a.onnx`"
    assert markdown_code("`a``b") == "``` `a``b ```"
