"""The page, as text and in a real browser."""

import os
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from retrograde.metrics.frames import cell_labels, ordered
from retrograde.parts.registry import Registry
from retrograde.records.presentation import Presentation
from retrograde.reporting.anchors import compared_rows, identifiers
from retrograde.reporting.files import write
from retrograde.reporting.html import Picture, page
from retrograde.reporting.report import report
from retrograde.reporting.request import Request
from retrograde.reporting.strategy_cards import REPRODUCED, cards
from retrograde.reporting.table import Entry, Section, Table

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
    assert {"ER", "Fine-tuning (finetune)", "Joint", "SI", "MAML", "FOMAML"} <= headings(
        text, "strategy"
    )
    assert headings(text, "benchmark") == {"split", "rotated", "Sinusoids, 10-shot"}
    board = text.partition('id="leaderboard"')[2].partition("</section>")[0]
    assert board.count('<th scope="row">') == len({record.cell for record in records})
    lost = text.partition('id="lost"')[2].partition("</section>")[0]
    assert "failed, seed 0, 1: It went wrong." in lost
    assert "diverged, seed 2: It went wrong." in lost


def headings(text, kind):
    return set(re.findall(rf'id="{kind}-[^"]*">\s*<h3><a [^>]*>(.*?)</a></h3>', text))


def card_of(text, name):
    return text.partition(f'id="strategy-{name}"')[2].partition("</section>")[0]


def test_a_strategy_shows_what_it_declares_and_its_source(records):
    section = card_of(text_of(records), "er")
    assert "Chaudhry et al. 2019" in section
    assert "Reservoir of 200 examples, 10 drawn at each step" in section
    assert "incoming and replayed" in section
    assert "class ER(Strategy):" in section
    assert '<a href="https://arxiv.org/abs/1902.10486">' in section


def test_a_card_says_what_settings_mean_where_they_differ_and_what_was_reproduced(
    make_record, make_published, literature
):
    literature("published", make_published({"ACC": "85.0"}))
    made = [
        make_record("er", s, benchmark=benchmark, strategy_settings={"buffer_size": size})
        for benchmark, size in (("split", 200), ("rotated", 50))
        for s in range(2)
    ]
    (card,) = cards_of(made)
    ((name, here, default, meaning),) = [
        [entry.text for entry in row] for row in card.settings.rows
    ]
    assert (name, here, default) == ("buffer_size", "50 on rotated; 200 on split", "200")
    assert "kept" in meaning
    ((benchmark, _, metric, theirs, ours, _),) = card.reproduced.rows
    assert (benchmark.text, metric.text, theirs.text) == ("split", "ACC", "85.0")
    assert ours.text == "85.00 ± 0.00"


def test_a_card_tells_apart_the_settings_that_are_measured_against_the_same_numbers(make_record):
    records = tuple(make_record("er", s, buffer_size=n) for n in (50, 200) for s in range(2))
    label = cell_labels(records)
    titles = [f"er {of.settings}".strip() for of in label.values()]
    rows = tuple(tuple(map(Entry, (title, *REPRODUCED))) for title in titles)
    section = Section("split", ("strategy", *REPRODUCED), rows)
    table = Table("Mine", (), (section,), pd.DataFrame())
    (card,) = cards(records, label, [table], PARTS)
    assert card.reproduced.columns == ("row", "benchmark", *REPRODUCED)
    assert [row[0].text for row in card.reproduced.rows] == titles
    (card,) = cards(records[:2], label, [table], PARTS)
    assert card.reproduced.columns == ("benchmark", *REPRODUCED)


def cards_of(records):
    made = report(records, Request(), PARTS, Presentation("mine"))
    label = cell_labels(made.records)
    return cards(ordered(made.records), label, list(made.tables.values()), PARTS)


def test_a_place_shows_its_exact_numbers_by_seed(make_record):
    text = text_of([make_record("er", s, ((9, 9), (90, 9), (80, 90 + s))) for s in range(2)])
    # in the leaderboard and in the table of scores
    assert text.count('title="85.25 ± 3.17655, n = 2; by seed 0: 85, 1: 85.5"') == 2


def test_a_benchmark_says_who_is_best_and_who_forgets_least_because_it_learned_least(make_record):
    learned = [make_record("er", 0), make_record("si", 0, ((9, 9), (30, 9), (30, 30)))]
    section = text_of(learned).partition('id="benchmark-split"')[2].partition("</section>")[0]
    assert "ER is best: ACC 85.00" in section
    assert 'role="note">SI forgets least (0.00' in section


def test_links_and_rows_are_named_by_titles_alone(records):
    text = text_of(records)
    shuffled = text_of(records[::-1])
    places = re.findall(r'(?:id|data-row)="([^"]*)"', text)
    assert places == re.findall(r'(?:id|data-row)="([^"]*)"', shuffled)
    assert {"benchmark-sinusoids-10-shot", "strategy-er", "row-er"} <= {*places}
    assert identifiers(["a b", "a-b", "a b 2", "é", "c++"], "row") == {
        "a b": "row-a-b", "a-b": "row-a-b--2", "a b 2": "row-a-b-2", "é": "row", "c++": "row-c-plus-plus",
    }  # fmt: skip


def test_a_name_may_end_as_that_of_an_upper_bound(make_record):
    words = Presentation("mine", {"er": "ER †"})
    made = report([make_record("er")], HTML, PARTS, words)
    board = page(made, (), PARTS).partition('id="leaderboard"')[2]
    assert '<tr data-row="row-er"><th scope="row"><a href="#strategy-er">ER †</a>' in board


def test_a_row_of_published_numbers_goes_with_the_row_above():
    rows = [("ER lr=0.1 †",), ("– published: A",), ("B",), ("– published: C",)]
    section = Section("", ("strategy",), tuple(tuple(map(Entry, row)) for row in rows))
    known = {"ER lr=0.1": "row-er"}
    assert [of for of, _ in compared_rows(section, known)] == ["row-er", "row-er", "", ""]
    of_settings = section._replace(columns=("setting",))
    assert [of for of, _ in compared_rows(of_settings, known)] == [""] * 4


def test_a_strategy_that_is_not_installed_says_so(records):
    section = card_of(text_of(records), "a-b-x")
    assert "Not available here" in section


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
    assert "1 replicate of 1 cell: 1 strategy on 1 benchmark; 1 done" in text_of([make_record()])
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


SCORES = '[aria-label="Scores of split"]'


def column(tab, number):
    rows = tab.locator(f"{SCORES} tbody tr:visible")
    return rows.locator(f":nth-child({number})").all_inner_texts()


def numbers(texts):
    return [float(text.split()[0]) for text in texts if text != "–"]


def test_it_opens_without_errors_or_requests_and_fits_the_screen(opened):
    tab, trouble = opened
    assert trouble == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate(
        "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    )


def test_the_answer_the_first_leaderboard_and_the_first_figure_are_above_the_fold(opened):
    tab, _ = opened
    if tab.viewport_size["width"] < 1000:
        pytest.skip("a phone shows one after another")
    for place in (".answer", "#leaderboard tbody tr", "#leaderboard img"):
        assert tab.locator(place).first.bounding_box()["y"] < 500


def test_wide_tables_keep_their_last_columns(opened):
    tab, _ = opened
    if tab.viewport_size["width"] < 1000:
        pytest.skip("a phone scrolls tables")
    tables = "[...document.querySelectorAll('.scroll:has(table)')]"
    assert tab.evaluate(f"{tables}.every(box => box.scrollWidth <= box.clientWidth + 1)")


def test_a_click_or_the_keyboard_sorts_and_what_is_no_number_comes_last(opened):
    tab, _ = opened
    head = tab.locator(f"{SCORES} th", has_text="ACC").get_by_role("button")
    head.click()
    falling = column(tab, 2)
    head.press("Enter")
    rising = column(tab, 2)
    assert falling[-1] == rising[-1] == "–"
    assert numbers(falling) == sorted(numbers(rising), reverse=True)
    assert numbers(rising) == sorted(numbers(falling))


def test_filters_keep_the_rows_that_have_the_words_and_the_numbers(opened):
    tab, _ = opened
    board = tab.locator('[aria-label^="Leaderboard: ranks"]')
    board.get_by_label("Filter by strategy").fill("jo")
    board.get_by_label("Filter by mean ACC").fill("> 90")
    assert board.locator("tbody tr:visible th").all_inner_texts() == ["Joint †"]
    found = tab.locator("#overview .found")
    assert re.fullmatch(r"1 of \d+ rows", found.inner_text())


def test_chosen_strategies_are_compared_by_keyboard_and_kept_in_the_address(opened):
    tab, trouble = opened
    tab.locator("#compare summary").press("Enter")
    tab.get_by_role("checkbox", name="ER", exact=True).press("Space")
    tab.get_by_role("checkbox", name="Fine-tuning").press("Space")
    assert column(tab, 1) == ["ER", "Fine-tuning"]
    assert tab.locator("#compare [role=status]").inner_text().startswith("2 of ")
    tab.reload()
    assert column(tab, 1) == ["ER", "Fine-tuning"]
    tab.locator("#compare summary").press("Enter")
    tab.get_by_role("button", name="Show all").press("Enter")
    tab.wait_for_function("!location.search")
    assert len(column(tab, 1)) > 2
    tab.keyboard.press("Escape")
    assert not tab.locator("#compare form").is_visible()
    assert trouble == []


def test_a_table_without_the_chosen_strategies_says_so(opened):
    tab, _ = opened
    tab.goto(f"{tab.url.partition('?')[0]}?compare=row-er")
    silent = tab.locator("table[data-none]")
    assert silent.count() > 0
    assert silent.first.locator("tbody tr:visible").count() == 0
    assert tab.locator(f"{SCORES}[data-none]").count() == 0


def test_a_row_that_belongs_to_the_one_above_stays_with_it(opened):
    tab, _ = opened
    body = f"document.querySelector('{SCORES} tbody')"
    tab.evaluate(
        f"{body}.rows[0].after(Object.assign({body}.rows[0].cloneNode(true), {{id: 'more'}}))"
    )
    tab.evaluate("document.getElementById('more').cells[0].textContent = '– published'")
    first = tab.evaluate(f"{body}.rows[0].cells[0].textContent.trim()")
    for _ in range(2):
        tab.locator(f"{SCORES} thead button").nth(1).click()
        above = tab.evaluate(
            "document.getElementById('more').previousElementSibling.cells[0].textContent.trim()"
        )
        assert above == first


def test_the_page_reads_without_scripts(browser, file):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(file.as_uri())
    assert tab.locator("#compare").is_hidden()
    assert tab.locator("tbody tr").count() == tab.locator("tbody tr:visible").count() > 20
    context.close()


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
