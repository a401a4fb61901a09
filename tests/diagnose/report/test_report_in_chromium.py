"""The page in headless Chromium: no console message, no request, a script that works, nothing too wide."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diagnose.report.evaluation_report import write_evaluation_report

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
OFFLINE = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--host-resolver-rules=MAP * ~NOTFOUND")  # fmt: skip
BROWSERS_OWN = "not an origin"
"""Initiator of what the browser asks of itself (the time, its updates); a page in a file has the origin null."""


@dataclass(frozen=True)
class Visit:
    """What a page did while it was open."""

    dom: str
    console: list[str]
    requests: list[str]


def open_page(page: Path, place: Path, *options: str) -> Visit:
    """Open a file, wait until it is loaded, and return its document, console and requests."""
    log = place / "net.json"
    place.mkdir(exist_ok=True)
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", *OFFLINE, f"--user-data-dir={place / 'profile'}",
         "--enable-logging=stderr", "--v=0", f"--log-net-log={log}", *options, "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=180, check=True,
    )  # fmt: skip
    record = json.loads(log.read_text(encoding="utf-8"))
    starts = record["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    parameters = [event.get("params", {}) for event in record["events"] if event["type"] == starts]
    requests = [each["url"] for each in parameters if "url" in each and each.get("initiator") != BROWSERS_OWN]
    return Visit(done.stdout, re.findall(r"CONSOLE.*", done.stderr), requests)


def screenshot(page: Path, place: Path, width: int, height: int) -> np.ndarray:
    """Return a picture of the page's top (row, column, rgb)."""
    place.mkdir(exist_ok=True)
    file = place / "shot.png"
    subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", *OFFLINE, "--hide-scrollbars",
         f"--user-data-dir={place / 'profile'}", f"--window-size={width},{height}", f"--screenshot={file}",
         page.as_uri()],
        capture_output=True, timeout=180, check=True,
    )  # fmt: skip
    return np.asarray(Image.open(file).convert("RGB"))


def with_script(page: Path, place: Path, script: str) -> Path:
    """Return a copy of the page that runs a script at its end and writes the result into its title."""
    copy = place / "probed.html"
    probe = f"<script>document.title = JSON.stringify((() => {{{script}}})());</script></body>"
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", probe), encoding="utf-8")
    return copy


def title_of(visit: Visit) -> object:
    found = re.search(r"<title>(.*?)</title>", visit.dom, flags=re.DOTALL)
    assert found is not None
    return json.loads(found[1].replace("&amp;", "&"))


def test_the_visit_would_notice(tmp_path: Path):
    """The control: a page with all that the report must not do."""
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://example.com/x.png"><script>console.error("planted"); nothing();</script>')
    visit = open_page(bad, tmp_path / "visit")
    assert visit.requests == ["http://example.com/x.png"]
    assert "planted" in visit.console[0] and "nothing is not defined" in visit.console[1]


def test_no_console_message_and_no_request(any_page: Path, tmp_path: Path):
    visit = open_page(any_page, tmp_path / "visit")
    assert visit.console == [] and visit.requests == []
    assert visit.dom.count("<section") == any_page.read_text(encoding="utf-8").count("<section") >= 5


def test_every_section_of_a_study_is_there(page: Path):
    assert page.read_text(encoding="utf-8").count("<section") == 13


def test_the_slider_shows_one_level_of_every_kind(page: Path, tmp_path: Path):
    script = """
      const shown = () => [...document.querySelectorAll("#sheet td")].filter(e => e.getClientRects().length)
        .map(e => e.dataset.level);
      const bar = document.getElementById("levels"), slider = bar.querySelector("input"), all = shown();
      bar.querySelector("button").click();
      slider.value = "4"; slider.dispatchEvent(new Event("input"));
      const one = shown();
      bar.querySelector("button").click();
      return [all, one, shown(), bar.querySelector("output").textContent, document.getElementById("level").max];
    """
    visit = open_page(with_script(page, tmp_path, script), tmp_path / "visit", "--window-size=1280,900")
    everything = ["0", "1", "4"] * 2
    assert title_of(visit) == [everything, ["4", "4"], everything, "level 4", "4"]


def test_without_script_everything_is_shown_and_no_dead_button(page: Path, tmp_path: Path):
    still = tmp_path / "still.html"
    still.write_text(re.sub(r"<script>.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL))
    script = """
      const seen = query => [...document.querySelectorAll(query)].filter(e => e.getClientRects().length).length;
      return [seen("#sheet img"), seen("#levels, #levels *")];
    """
    visit = open_page(with_script(still, tmp_path, script), tmp_path / "visit")
    assert title_of(visit) == [6, 0]


@pytest.fixture(params=["study", "segmentation", "reconstruction"])
def any_page(request: pytest.FixtureRequest) -> Path:
    """The page of a study, or of an evaluation of another task."""
    if request.param == "study":
        return request.getfixturevalue("page")
    name = {"segmentation": "dice_evaluation", "reconstruction": "quality_evaluation"}[request.param]
    return write_evaluation_report(request.getfixturevalue(name))


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_but_scrolling_tables_is_wider_than_the_screen(any_page: Path, tmp_path: Path, width: int):
    script = """
      document.querySelectorAll("details").forEach(e => e.open = true);
      const wide = [...document.querySelectorAll("main *, header *")].filter(e => !e.closest(".scroll, pre, svg"))
        .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1);
      const page = document.documentElement;
      return [page.clientWidth, page.scrollWidth, wide.map(e => e.outerHTML.slice(0, 80))];
    """
    # A window has at least 500 pixels; a frame may have any width.
    inner = html.escape(with_script(any_page, tmp_path, script).read_text(encoding="utf-8"))
    host = tmp_path / "host.html"
    host.write_text(
        f'<title>""</title><body style="margin:0"><iframe style="border:0;width:{width}px;height:900px" '
        f'srcdoc="{inner}" onload="document.title = this.contentDocument.title"></iframe></body>', encoding="utf-8",
    )  # fmt: skip
    visit = open_page(host, tmp_path / "visit", "--window-size=1400,1000", "--hide-scrollbars")
    assert visit.console == [] and title_of(visit) == [width, width, []]


def test_figures_follow_light_and_dark(page: Path, tmp_path: Path):
    """In the dark, paper is dark, and the black line of batch norm is white."""
    script = """
      const of = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
      const line = document.querySelector('#dose svg path[style*="--c-bn"]');
      return [of("--paper"), getComputedStyle(document.body).backgroundColor, getComputedStyle(line).stroke];
    """
    copy = with_script(page, tmp_path, script)
    assert title_of(open_page(copy, tmp_path / "light")) == ["#ffffff", "rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    dark = title_of(open_page(copy, tmp_path / "dark", "--blink-settings=preferredColorScheme=0"))
    assert dark == ["#15171a", "rgb(21, 23, 26)", "rgb(255, 255, 255)"]


@pytest.mark.parametrize(("width", "height"), [(390, 2600), (1280, 1800)])
def test_the_top_of_the_page_is_painted(page: Path, tmp_path: Path, width: int, height: int):
    """Paper at the edges, text and the warning's colour within: a page that stays white has none of it."""
    shot = screenshot(page, tmp_path, width, height)
    assert shot.shape == (height, width, 3)
    assert (shot[:, :4] == 255).all() and (shot[:, -4:] == 255).all()
    ink = (shot.max(axis=2) < 80).mean()
    assert 0.005 < ink < 0.3
    assert (shot == (255, 243, 220)).all(axis=2).mean() > 0.01, "the notice that these are simulation results"
