"""The built documentation site, as files and in a real browser; `tox run -e docs` builds it first."""

import os
import re
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest
from sphinx.util.inventory import InventoryFile

import retrograde as rg
from retrograde.metrics import ERRORS, POOLED, metrics
from retrograde.parts.registry import Registry
from retrograde.running.suite import suites

SITE = Path(__file__).parents[2] / "docs" / "_build" / "html"
HERE = "http://127.0.0.1"
CHROMIUM = shutil.which("chromium")
PAGES = (
    "index.html",
    "concepts.html",
    "moving-from-avalanche.html",
    "tutorials/account.html",
    "generated/strategies/er.html",
    "generated/suites/account.html",
    "generated/api/api.html",
)
"""A page of each kind."""

if not (SITE / "index.html").exists() and not os.environ.get("CI"):
    pytest.skip("the site is not built; `tox run -e docs` builds it", allow_module_level=True)


@pytest.fixture(scope="module")
def inventory():
    return InventoryFile.loads((SITE / "objects.inv").read_bytes(), uri="")


def test_every_public_name_is_in_the_reference(inventory):
    documented = {
        name for kind, names in inventory.data.items() if kind[:3] == "py:" for name in names
    }
    assert {f"retrograde.{name}" for name in rg.__all__} - documented == set()


@pytest.mark.parametrize("kind", ["strategies", "benchmarks", "datasets", "models"])
def test_every_registered_part_has_a_page(kind):
    names = set(Registry().names(kind))
    assert names - {path.stem for path in (SITE / "generated" / kind).glob("*.html")} == set()


def test_every_metric_and_every_suite_has_a_page():
    folder = SITE / "generated"
    scores = {each.name for each in (*metrics("own"), *POOLED, *ERRORS)}
    assert scores - {path.stem for path in (folder / "metrics").glob("*.html")} == set()
    assert set(suites()) - {path.stem for path in (folder / "suites").glob("*.html")} == set()


def test_a_page_of_a_strategy_has_settings_numbers_and_cost():
    text = (SITE / "generated" / "strategies" / "er.html").read_text(encoding="utf-8")
    for heading in ("Settings", "Published numbers", "Measured here", "Cost", "Suites", "Source"):
        assert f"<h2>{heading}" in text
    assert "examples replayed per step" in text
    assert "80.43" in text  # printed in Mammoth's first README


def test_no_link_inside_the_site_is_dead():
    targets = {}
    for path in SITE.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        targets[path] = (
            set(re.findall(r'\bid="([^"]+)"', text)),
            re.findall(r'href="([^"]+)"', text),
        )
    dead = []
    for path, (_, links) in targets.items():
        for link in map(urlsplit, links):
            if link.scheme or path.name == "search.html":
                continue
            file = (path.parent / unquote(link.path)).resolve() if link.path else path
            known = targets.get(file, (set(),))[0]
            if not file.exists() or (link.fragment and unquote(link.fragment) not in known):
                dead.append((path.name, link.geturl()))
    assert dead == []


def test_the_index_for_language_models_leads_to_text():
    links = re.findall(r"\]\(([^)]+)\): (.*)", (SITE / "llms.txt").read_text(encoding="utf-8"))
    assert len(links) > 100
    assert [file for file, _ in links if not (SITE / file).exists()] == []
    assert [file for file, summary in links if not summary] == []


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


@pytest.fixture(params=[(1400, "light"), (390, "dark")], ids=["wide and light", "narrow and dark"])
def tab(browser, request):
    """A tab, and its errors and requests to other places."""
    width, scheme = request.param
    found = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    found.trouble = []
    found.on("pageerror", lambda error: found.trouble.append(str(error)))
    found.on(
        "request",
        lambda asked: (
            asked.url.startswith(("data:", "file:", HERE)) or found.trouble.append(asked.url)
        ),
    )
    yield found
    found.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_requests_and_fits_the_screen(tab, name):
    tab.goto((SITE / name).as_uri())
    assert tab.trouble == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


@pytest.mark.parametrize("name", PAGES)
def test_no_accessibility_rule_is_broken_seriously(tab, name):
    from axe_playwright_python.sync_playwright import Axe

    tab.goto((SITE / name).as_uri())
    found = Axe().run(tab).response["violations"]
    assert [
        (rule["id"], rule["nodes"][0]["html"])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ] == []


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture
def served():
    """The address of the site on a server of this machine: a file may not read other files."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"{HERE}:{server.server_port}"
        server.shutdown()


def test_a_search_finds_the_page_of_a_strategy(tab, served):
    tab.goto(f"{served}/search.html?q=dark+experience+replay")
    found = tab.locator("#search-results li", has_text="derpp")
    found.locator("p.context").wait_for()
    assert "with labels" in found.inner_text()
    assert tab.trouble == []
