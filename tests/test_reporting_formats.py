import io
import re
from csv import reader

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from pandas.testing import assert_frame_equal

from retrograde.reporting.formats import FORMATS, csv, latex, markdown
from retrograde.reporting.table import Entry, Section, Table

SPECIAL = "|*_`<>&%$#{}~^\\±µ"
TEXT = st.text("ab 1" + SPECIAL).map(str.strip)
ESCAPED = {
    "|": r"\|", "*": r"\*", "_": r"\_", "`": r"\`", "<": r"\<", "\\": r"\\", "~": "~", "&": "&",
    "%": "%", "$": "$", "#": "#", "{}": "{}", "^": "^", "±": "±", "µ": "µ",
}  # fmt: skip
IN_LATEX = {
    "*": "*", "_": r"\_", "`": "`", "<": "$<$", ">": "$>$", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "±": r"$\pm$",
    "µ": r"$\mu$", "–": "--", "|": r"\textbar{}",
}  # fmt: skip


def table(*rows, heading="split", columns=None, notes=(), tidy=None):
    """One section of rows of texts or entries; the tidy numbers default to those texts."""
    columns = columns or ("strategy", "ACC", "n")[: len(rows[0])]
    entries = tuple(tuple(Entry(e) if isinstance(e, str) else e for e in row) for row in rows)
    frame = pd.DataFrame([[e.text for e in row] for row in entries]) if tidy is None else tidy
    return Table("Scores", notes, (Section(heading, columns, entries),), frame)


def lines(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def cells(line):
    """The texts of a Markdown row, unescaped."""
    found = re.findall(r"(?:\\.|[^|\\])+", line)
    return [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in found]


def body(text):
    """The rows of a LaTeX table below its head."""
    return text.partition("\\midrule\n")[2].partition("\n\\bottomrule")[0]


def unescaped(text):
    """LaTeX to the text that it prints; what LaTeX would not print as it stands is left as `!`."""
    plain = {made: given for given, made in IN_LATEX.items()}
    token = (
        "|".join(re.escape(made) for made in sorted(plain, key=len, reverse=True))
        + r"|[\\&%$#_{}~^<>]"
    )
    return re.sub(token, lambda found: plain.get(found[0], "!"), text)


@pytest.mark.parametrize(("text", "expected"), ESCAPED.items())
def test_markdown_escapes_what_would_be_markup(text, expected):
    assert lines(markdown(table([f"a {text} b", "1"])))[2].startswith(f"| a {expected} b ")


@pytest.mark.parametrize("text", ["~~a~~", "&lt;", "[a](b)"])
def test_markdown_does_not_strike_out_nor_replace_nor_link_text(text):
    assert text not in markdown(table([text, "1"]))


@given(TEXT, TEXT)
def test_every_text_can_be_read_back_from_a_markdown_table(first, second):
    head, _, row = lines(
        markdown(table([f"a{first}z", f"a{second}z"], columns=(f"h{first}z", f"h{second}z")))
    )
    assert cells(row) == [f"a{first}z", f"a{second}z"]
    assert cells(head) == [f"h{first}z", f"h{second}z"]


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=4), st.booleans())
def test_the_columns_of_a_markdown_table_line_up_with_text_to_the_left_and_figures_to_the_right(
    rows, bold
):
    found = lines(
        markdown(table(*[[Entry(a, bold), Entry(b), Entry(c, bold)] for a, b, c in rows]))
    )
    assert len({len(line) for line in found}) == 1
    assert re.fullmatch(r"\|-+\|-+:\|-+:\|", found[1])
    assert all(line.startswith("| ") and line.endswith(" |") for line in [found[0], *found[2:]])


@pytest.mark.parametrize("heading", ["a *b*", "<a>", "`a`"])
def test_a_markdown_heading_is_escaped_like_the_cells_below_it(heading):
    text = markdown(table([heading], heading=heading))
    below = lines(text)[2].strip("| ")
    assert f"\n## {below}\n" in text


@pytest.mark.parametrize(("form", "expected"), [("md", r"**9\*1**"), ("tex", r"\textbf{9*1}")])
def test_a_bold_entry_is_bold_and_the_others_are_not(form, expected):
    text = FORMATS[form](table(["er", Entry("9*1", bold=True)], ["sgd", "80"]))
    assert expected in text
    assert text.count("**" if form == "md" else r"\textbf") == (2 if form == "md" else 1)


@pytest.mark.parametrize(("text", "expected"), IN_LATEX.items())
def test_latex_escapes_what_it_would_not_print(text, expected):
    assert body(latex(table([f"a{text}b", "1"]))) == rf"a{expected}b & 1 \\"


def test_latex_prints_a_bar_as_a_bar():
    assert "a|b" not in latex(
        table(["a|b", "1"])
    )  # in the default font encoding it would be a dash


@given(st.text("ab 1" + SPECIAL))
def test_every_text_can_be_read_back_from_latex_wherever_it_stands(text):
    made = latex(table(["row"], heading=text, columns=(f"h{text}",), notes=(f"n{text}",)))
    caption = re.search(r"\\caption\{(.*)\}\n", made)[1]
    footnote = re.search(r"\\raggedright (.*)\}\n", made)[1]
    head = made.partition("\\toprule\n")[2].partition(" \\\\\n")[0]
    assert unescaped(caption) == f"Scores: {text}."
    assert unescaped(footnote) == f"n{text}"
    assert unescaped(head) == f"h{text}"


def test_a_latex_table_has_one_column_for_each_name_and_ends_what_it_begins():
    made = latex(table(["er", "90", "5"], ["sgd", "80", "5"]))
    assert r"\begin{tabular}{lrr}" in made
    assert [line.count(" & ") for line in body(made).splitlines()] == [2, 2]
    assert re.findall(r"\\begin\{(\w+)\}", made) == re.findall(r"\\end\{(\w+)\}", made)[::-1]


def test_each_section_is_a_table_of_its_own_in_the_order_given():
    two = table(["er", "90"])._replace(
        sections=tuple(Section(name, ("strategy",), ((Entry("er"),),)) for name in "ba")
    )
    assert re.findall("^## (.*)$", markdown(two), re.MULTILINE) == ["b", "a"]
    assert re.findall(r"\\caption\{Scores: (.)\.\}", latex(two)) == ["b", "a"]


@given(
    st.lists(
        st.tuples(st.text("ab,;\"'" + SPECIAL, min_size=1), st.floats(allow_infinity=False)),
        min_size=1,
    )
)
def test_pandas_reads_the_same_texts_and_numbers_from_the_csv(rows):
    tidy = pd.DataFrame(rows, columns=["name", "value"])
    exact = {"name": str, "value": lambda digits: float(digits or "nan")}
    back = pd.read_csv(io.StringIO(csv(table(["er"], tidy=tidy))), converters=exact)
    assert_frame_equal(back, tidy, check_exact=True)


def test_a_number_that_is_missing_is_empty_in_the_csv():
    tidy = pd.DataFrame({"mean": [0.5], "ci_low": [np.nan], "n": [1]})
    assert csv(table(["er"], tidy=tidy)) == "mean,ci_low,n\n0.5,,1\n"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("md", "# Scores\n\nA note.\n\nNo records.\n"),
        ("tex", "% Scores: no records\n"),
        ("csv", "strategy,mean\n"),
    ],
)
def test_a_table_without_records_says_so(form, expected):
    empty = Table("Scores", ("A note.",), (), pd.DataFrame(columns=["strategy", "mean"]))
    assert FORMATS[form](empty) == expected


FORMULAS = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "＝1+1",
    '=HYPERLINK("http://a.example")',
]


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_of_a_csv_begins_a_formula(formula):
    back = list(
        reader(
            io.StringIO(
                csv(table(["er"], tidy=pd.DataFrame({formula: [formula, "er"]}))), newline=""
            )
        )
    )
    assert back == [[f"'{formula}"], [f"'{formula}"], ["er"]]


@pytest.mark.parametrize("text", ["a\r=1", "a\n=1", "\t=1", "\r\n=1", "\x00=1"])
def test_no_line_break_in_a_csv_begins_another_cell(text):
    back = list(
        reader(io.StringIO(csv(table(["er"], tidy=pd.DataFrame({"name": [text]}))), newline=""))
    )
    assert back == [["name"], [re.sub(r"[\x00-\x1f]", "�", text)]]


@pytest.mark.parametrize("number", ["-1.5", "+2", "-3e-05", "-.5", "-7"])
def test_a_number_in_a_csv_stays_a_number(number):
    assert (
        csv(table(["er"], tidy=pd.DataFrame({"text": [number], "value": [float(number)]}))).count(
            "'"
        )
        == 0
    )


def test_a_csv_keeps_whole_numbers_whole_and_what_is_missing_empty_beside_formulas():
    tidy = pd.DataFrame(
        {"name": ["=a", None], "n": pd.Series([1, None], dtype=object), "x": [-0.5, np.nan]}
    )
    assert csv(table(["er"], tidy=tidy)) == "name,n,x\n'=a,1,-0.5\n,,\n"


@pytest.mark.parametrize("start", ["[3pt]", "*", "[U+65E5]", "日"])
def test_no_row_of_latex_gives_an_argument_to_the_command_before_it(start):
    made = latex(table([start, "1"], columns=(start, "n")))
    rows = [line for line in made.splitlines() if " & " in line]
    assert [row.startswith("{}") for row in rows] == [True, True]


CONTROL = "a\n\\input{secret}\r\x1b[2J\x00\u2028b"


@pytest.mark.parametrize("form", ["md", "tex"])
def test_no_text_of_a_table_breaks_its_line_or_commands_a_terminal(form):
    plain, odd = (
        FORMATS[form](table([text, text], heading=text, notes=(text,))) for text in ("a b", CONTROL)
    )
    assert len(odd.splitlines()) == len(plain.splitlines())
    assert not set(odd) & set("\x1b\x00\r\u2028")
    empty = Table(CONTROL, (), (), pd.DataFrame())
    assert FORMATS[form](empty).splitlines()[0].startswith("#" if form == "md" else "%")
    assert "\\input{" not in FORMATS[form](empty).replace("\\\\", "")
