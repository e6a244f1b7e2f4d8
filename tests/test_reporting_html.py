"""The page, as text and in a real browser."""

import os
import re
import shutil
from dataclasses import replace

import pytest

from retrograde.parts.registry import Registry
from retrograde.records.presentation import Presentation
from retrograde.reporting.files import write
from retrograde.reporting.html import Picture, page
from retrograde.reporting.report import report
from retrograde.reporting.request import Request

PARTS = Registry()
HTML = Request(("html",))
ODD = "a<b>&\"'|{{x}}_é"
CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def records(make_record, make_adapted):
    """On two benchmarks two strategies and an upper bound, some replicates lost; few-shot episodes; names that are markup."""
    made = [
        make_record(strategy, s, ((10, 10), (90, 20 + s), (end + s, 90)), benchmark=benchmark, upper_bound=strategy == "joint")
        for benchmark in ("split", "rotated")
        for strategy, end in (("er", 80), ("finetune", 9), ("joint", 95)) for s in range(3)
    ]  # fmt: skip
    odd = [make_record(ODD, s, benchmark="split", overrides={"name": ODD}) for s in range(3)]
    lost = [make_record("si", s, (), status="failed", machine={"cpu": "Other"}) for s in range(2)]
    return [
        *made,
        *odd,
        *lost,
        make_record("si", 2, ((9, 9),), status="diverged"),
        make_adapted(),
        make_adapted("fomaml"),
    ]


def text_of(records, title="mine"):
    made = report(records, Request(), PARTS, Presentation(title))._replace(damaged=4)
    return page(made, [Picture("What it shows.", b"<svg/>")], PARTS)


def test_the_page_has_every_benchmark_strategy_cell_and_loss(records):
    text = text_of(records)
    assert {"ER", "Fine-tuning (finetune)", "Joint", "SI", "MAML", "FOMAML"} <= set(
        re.findall(r'id="strategy-\d+">\s*<h3>(.*?)</h3>', text)
    )
    assert set(re.findall(r'id="benchmark-\d+">\s*<h3>(.*?)</h3>', text)) == {
        "split",
        "rotated",
        "Sinusoids, 10-shot",
    }
    cells = text.partition('id="cells"')[2].partition("</table>")[0]
    assert cells.count("<tr>") == 1 + len({record.cell for record in records})
    lost = text.partition('id="lost"')[2].partition("</section>")[0]
    assert "failed, seed 0, 1: It went wrong." in lost
    assert "diverged, seed 2: It went wrong." in lost


def test_a_strategy_shows_what_it_declares_and_its_source(records):
    section = text_of(records).partition("<h3>ER</h3>")[2].partition("</section>")[0]
    assert "Chaudhry et al. 2019" in section
    assert "Reservoir(size=200, draw=10" in section
    assert "class ER(Strategy):" in section


def test_a_strategy_that_is_not_installed_says_so(records):
    section = text_of(records).partition("<h3>a&lt;b")[2].partition("</section>")[0]
    assert "Not to be had here" in section


def test_names_that_are_markup_stay_text(records):
    text = text_of(records, title=ODD)
    assert "<b>" not in text
    assert "a&lt;b&gt;&amp;" in text
    assert "{{x}}" in text  # no template of its own


def test_records_that_could_not_be_read_are_counted(records):
    assert "4 records could not be read" in text_of(records)


def test_every_machine_has_a_row(records):
    section = text_of(records).partition('id="environment"')[2]
    assert {"Test CPU", "Other"} <= set(re.findall(r">([\w ]+)</t[dh]>", section))


def test_one_record_and_none_make_a_page(make_record):
    assert "1 replicates of 1 cells" in text_of([make_record()])
    assert "0 replicates of 0 cells" in text_of([])


def test_what_is_defined_for_a_table_stands_once(records):
    text = text_of(records)
    assert text.count("Replicates with the same seed share") == 1


# In a browser


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM and not os.environ.get("CI"):
        pytest.skip("there is no Chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def file(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write(folder, HTML, report(records, HTML, PARTS, Presentation("mine")), PARTS)
    return folder / "report.html"


@pytest.fixture(params=[(1300, "light"), (390, "dark")], ids=["wide and light", "narrow and dark"])
def opened(browser, file, request):
    """The page, and what went wrong or was asked for over a network."""
    width, scheme = request.param
    tab, trouble = (
        browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme),
        [],
    )
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("console", lambda message: trouble.append(message.text))
    tab.on(
        "request",
        lambda asked: asked.url.startswith(("data:", file.as_uri())) or trouble.append(asked.url),
    )
    tab.goto(file.as_uri())
    yield tab, trouble
    tab.close()


def column(tab, number):
    return tab.locator("#cells tbody tr:visible").locator(f":nth-child({number})").all_inner_texts()


def numbers(texts):
    return [float(text.split()[0]) for text in texts if text != "–"]


def test_it_opens_without_errors_or_requests_and_fits_the_screen(opened):
    tab, trouble = opened
    assert trouble == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate(
        "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    )


def test_a_click_or_the_keyboard_sorts_and_what_is_no_number_comes_last(opened):
    tab, _ = opened
    head = tab.locator("#cells th", has_text="score").get_by_role("button")
    head.click()
    falling = column(tab, 4)
    head.press("Enter")
    rising = column(tab, 4)
    assert falling[-1] == rising[-1] == "–"
    assert numbers(falling) == sorted(numbers(rising), reverse=True)
    assert numbers(rising) == sorted(numbers(falling))


def test_filters_keep_the_rows_that_have_the_words_and_the_numbers(opened):
    tab, _ = opened
    tab.locator("#cells").get_by_label("Filter by benchmark").fill("rot")
    assert set(column(tab, 2)) == {"rotated"}
    tab.locator("#cells").get_by_label("Filter by score").fill("> 80")
    assert [text.split()[0] for text in column(tab, 1)] == ["ER", "Joint"]
    assert tab.locator("#cells .found").inner_text() == "2 of 10 rows"


def test_no_accessibility_rule_is_broken_seriously(opened):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(opened[0]).response["violations"]
    assert [
        (rule["id"], rule["nodes"][0]["html"])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ] == []


def test_every_part_is_reached_by_its_link(opened):
    tab, _ = opened
    links = tab.locator("nav a").all()
    assert len(links) >= 7
    for link in links:
        link.click()
        assert tab.evaluate(
            "document.querySelector(location.hash).getBoundingClientRect().top < innerHeight"
        )


def test_a_record_full_of_markup_runs_nothing_and_asks_for_nothing(browser, make_record, tmp_path):
    word = "</td><script>document.title='ran'</script><img src=//a.example onerror=document.title='ran'><svg/onload=x()>{{7*7}}"
    named = {"benchmark": word, "overrides": {"x": word}, "machine": {"cpu": word}}
    records = [make_record(word, seed, **named) for seed in range(2)]
    records.append(replace(make_record(word, 2, status="failed", **named), reason=word))
    tab, trouble = browser.new_page(), []
    asked = Request(("svg", "html"))
    write(tmp_path, asked, report(records, asked, PARTS, Presentation(word)), PARTS, {word: word})
    tab.on(
        "request",
        lambda asked: asked.url.startswith(("data:", "file:")) or trouble.append(asked.url),
    )
    for path in tmp_path.glob("*.[hs]*"):
        tab.goto(path.as_uri())
        assert (trouble, tab.title() == "ran") == ([], False)
        assert tab.locator("script").count() == (path.suffix == ".html")
    tab.close()
