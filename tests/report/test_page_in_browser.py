"""A run's page in a real browser: quiet, whole without a network, usable by keyboard and without its script."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from PIL import Image

from gen.report.page import write_run_page
from tests.report.toy_run import write_json, write_run

WORDS = ("+experiment=demo_exp", "+mode=tiny", "trainer.eval_every_n_steps=1", "tags=[a browser,opens it]")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def unavailable(reason: str) -> NoReturn:
    """Skip what needs a browser; fail instead where it was promised to be there."""
    if os.environ.get("BROWSER_TESTS_REQUIRED") == "1":
        pytest.fail(f"BROWSER_TESTS_REQUIRED=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory) -> Path:
    """Write the page of a run that was trained as the command line trains one; return its folder, which holds the page's file too."""
    folder = tmp_path_factory.mktemp("page") / "tiny"
    shutil.copytree(tiny_run, folder)
    write_run_page([folder], folder / "report.html")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start Chromium once, with an empty profile."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as started:
        path = shutil.which("chromium") or started.chromium.executable_path
        if not Path(path).exists():
            unavailable("no Chromium; apt-get install -y --no-install-recommends chromium, or playwright install chromium")
        opened = started.chromium.launch(executable_path=path, args=list(FLAGS))
        yield opened
        opened.close()


@contextmanager
def opened(browser: Any, path: Path, width: int = 1280, **context: Any) -> Iterator[Any]:
    """Open a file; afterwards, nothing may have been said on the console, asked of the network, or popped up."""
    heard: list[str] = []
    with browser.new_context(viewport={"width": width, "height": 900}, **context) as fresh:
        page = fresh.new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: heard.append(dialog.message))
        page.on("request", lambda request: None if request.url.startswith("data:") else heard.append(request.url))
        page.goto(path.as_uri())
        yield page
    assert heard == [path.as_uri()]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_opens_quietly_and_fits_the_window(run, browser, width, scheme):
    with opened(browser, run / "report.html", width, color_scheme=scheme) as page:
        assert page.title() == "tiny"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate("Promise.all([...document.images].map(image => image.decode()))")
        widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
        assert len(widths) >= 3
        assert min(widths) > 0
        sizes = page.evaluate("[...document.querySelectorAll('svg')].map(chart => chart.getBoundingClientRect().height)")
        assert len(sizes) >= 6
        assert min(sizes) > 100
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        assert picture.width == width
        assert (picture.convert("L").getpixel((1, 1)) < 128) == (scheme == "dark")


def test_the_slider_walks_through_the_steps(run, browser):
    with opened(browser, run / "report.html") as page:
        preview = page.locator(".preview").first
        slider, large, said = preview.locator("input"), preview.locator(".large img"), preview.locator("output")
        newest = large.get_attribute("src")
        assert (said.text_content(), large.get_attribute("alt")) == ("step 3", "edits at step 3")
        slider.press("Home")
        assert (said.text_content(), large.get_attribute("alt")) == ("step 1", "edits at step 1")
        assert large.get_attribute("src") == preview.locator("details img").first.get_attribute("src")
        slider.press("ArrowRight")
        assert said.text_content() == slider.get_attribute("aria-valuetext") == "step 2"
        slider.press("End")
        assert large.get_attribute("src") == newest


def test_the_slider_stays_in_sight_along_a_tall_sheet(run, browser):
    with opened(browser, run / "report.html", width=390) as page:
        page.set_viewport_size({"width": 390, "height": 150})
        preview = page.locator(".preview").first
        large = preview.locator(".large")
        assert large.evaluate("box => box.scrollHeight <= box.clientHeight")  # no second scrolling within the page's
        assert large.bounding_box()["height"] > 200
        preview.locator("summary").scroll_into_view_if_needed()
        assert large.bounding_box()["y"] < 0 <= preview.locator("input").bounding_box()["y"] < 100


def test_the_config_can_be_searched(run, browser):
    max_train_steps = json.loads((run / "config.json").read_text())["trainer"]["max_train_steps"]
    with opened(browser, run / "report.html") as page:
        before = page.locator(".leaf:visible").count()
        page.locator('input[type="search"]').fill("trainer.max_train")
        assert page.locator(".leaf:visible").all_text_contents() == [f"max_train_steps {max_train_steps}"]
        page.locator('input[type="search"]').fill("")
        assert page.locator(".leaf:visible").count() == before  # the groups are closed again


def test_it_is_whole_without_its_script(run, browser):
    with opened(browser, run / "report.html", java_script_enabled=False) as page:
        preview = page.locator(".preview").first
        assert preview.locator(".large img").is_visible()
        assert not preview.locator("input").is_visible()
        assert not preview.locator("details img").first.is_visible()
        preview.locator("summary").click()
        assert preview.locator("details img").first.is_visible()


def test_several_runs_fit_the_window_too(run, browser, tmp_path):
    other = write_run(tmp_path / "toy", exp="a_name_that_is_long_enough_to_make_a_column_of_a_table_too_wide", seed="no space" * 30)
    write_run_page([run, other], tmp_path / "both.html")
    for width in (1280, 390):
        with opened(browser, tmp_path / "both.html", width) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("#differences tbody tr").count() >= 2


def test_nothing_that_a_run_says_is_run(browser, tmp_path):
    hostile = "</code></pre></script><script>alert('run')</script><img src=x onerror=alert(1)><a href='javascript:alert(2)'>"
    folder = write_run(tmp_path / "toy", exp=hostile, tags=[hostile], seed={hostile: hostile})
    write_json(folder / "start.json", {"words": [hostile], "hardware": hostile})
    write_run_page([folder], tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as page:
        assert page.title() == hostile
        assert page.locator("script").count() == 1
