"""The page of a real, tiny study: whole, self-contained, readable by all, private, and equal for equal input."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from diagnose.report import write_report
from diagnose.report.page import TITLES
from diagnose.report.sections_reproduce import commands
from diagnose.report.wording import signed

VOID = {"meta", "link", "img", "input", "br", "line", "path", "use", "rect"}


class Elements(HTMLParser):
    """Every element with its attributes and the text in it, and whether tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parsed(html: str) -> Elements:
    return Elements(html)


@pytest.fixture(scope="module")
def analysis(study: Path) -> dict:
    return json.loads((study / "analysis.json").read_text())


def test_nothing_is_fetched(html: str, parsed: Elements):
    """No address but data URIs and anchors; namespaces name a language and are not fetched."""
    for tag, attributes in parsed.elements:
        for name, value in attributes.items():
            if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href", "formaction", "ping"):
                assert value is not None and value.startswith(("data:", "#")), f"{tag} {name}={value[:60]}"
    assert not re.search(r"url\(\s*['\"]?(?!#)", html) and "@import" not in html
    urls = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\"' <]*", re.sub(r"data:[^\"']+", "", html)))
    assert urls == {"http://www.w3.org/2000/svg"}
    (policy,) = [meta["content"] for meta in parsed.named("meta") if meta.get("http-equiv")]
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:;")


def test_all_sections_are_there_in_order_and_reachable(html: str, parsed: Elements):
    assert [section["id"] for section in parsed.named("section")] == list(TITLES)
    anchors = [link["href"] for link in parsed.named("a")]
    assert anchors == [f"#{name}" for name in TITLES]
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) and not parsed.open
    for title in TITLES.values():
        assert title in parsed.texts
    assert "Not there yet" not in html and "Not computed" not in html


def test_every_picture_says_what_it_shows(parsed: Elements):
    images = parsed.named("img")
    # 2 kinds x (clean, 1, 4), and clean beside corrupted for each flip.
    assert len(images) > 6 and len(images) % 2 == 0
    for image in images:
        assert image["alt"] and image["width"] and image["height"]
        assert (image["src"] or "").startswith("data:image/png;base64,")
    figures = [svg for svg in parsed.named("svg") if svg.get("aria-hidden") != "true"]
    assert len(figures) > 10 and all(svg["role"] == "img" and len(svg["aria-label"] or "") > 20 for svg in figures)


def test_without_script_all_levels_show_and_the_slider_does_not(parsed: Elements):
    (bar,) = [element for _, element in parsed.elements if element.get("id") == "levels"]
    assert "hidden" in bar
    assert not any("one-level" in (element.get("class") or "") for _, element in parsed.elements)


def test_the_question_is_text_and_no_markup(html: str):
    assert "<h1>Does &lt;gn&gt; lose less than bn?</h1>" in html


def test_the_primary_numbers_are_those_of_the_analysis(analysis: dict, html: str):
    (entry,) = analysis["primary"]["comparisons"]
    answer = html[html.index('class="answer"') : html.index("</header>")]
    assert f"gn − bn: {signed(entry['difference'])}" in answer and "2 seeds: exploratory" in answer
    assert "without these rows, a difference of a norm to BN is no finding" in answer
    for line in analysis["cannot_tell"]:
        assert line.replace("'", "&#39;") in html


def test_every_table_and_figure_of_scores_is_labelled(html: str):
    """All but the table of the test split, that of the hashes, and the sheet."""
    badge = '<span class="badge"'
    captions = re.findall(r"<caption>(.*?)</caption>", html, flags=re.DOTALL)
    bare = [caption for caption in captions if badge not in caption]
    assert len(captions) > 20 and [text.split(":")[0].strip() for text in bare] == ["Test split", "Files of this study"]
    for figure in re.findall(r"<figure.*?</figure>", html, flags=re.DOTALL):
        assert badge in figure or 'class="wide"' in figure
    assert badge in html[html.index('class="answer"') : html.index('class="wide"')]


def test_nothing_says_where_or_by_whom_it_was_made(page: Path, study: Path):
    texts = [path.read_text(encoding="utf-8") for path in page.parent.iterdir()]
    assert len(texts) == 4
    for text in texts:
        body = re.sub(r"data:[^\"']+", "", text)
        assert str(study.parent) not in body and str(Path.home()) + "/" not in body
        assert not re.search(r"(?<![\w.:/])/(?:home|tmp|root|work|usr|Users)/", body)
        assert not re.search(r"\b20\d\d-\d\d-\d\d\b", body), "no date"


def test_equal_studies_give_equal_bytes(page: Path, study: Path, tmp_path: Path):
    again = write_report(study, tmp_path / "again")
    for path in page.parent.iterdir():
        assert (again.parent / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_page_ends_with_hashes_of_what_it_was_made_from(html: str, study: Path):
    from mrisim.files import sha256_of_file

    for name in ("study.yaml", "analysis.json", "evaluation/predictions.csv.gz", "drift/drift.json"):
        assert sha256_of_file(study / name) in html
    for run in (study / "runs").iterdir():
        assert json.loads((run / "model.json").read_text())["weights_sha256"] in html
    assert "diagnose study study.yaml --data DIR --out tiny__" in html


def test_the_command_names_what_the_study_was_given():
    def command(places: tuple[str, ...], *devices: str) -> str:
        runs = [SimpleNamespace(environment={"execution": {"device": device}}) for device in devices]
        runs.append(SimpleNamespace(environment={"execution": {}}))
        record = SimpleNamespace(spec=SimpleNamespace(label="tiny__1"), places=places, runs=runs)
        return commands(record).splitlines()[0]

    assert command(()) == "diagnose study study.yaml --out tiny__1"
    assert command(("root", "labels", "split"), "cpu") == (
        "diagnose study study.yaml --data DIR --labels CSV --split CSV --out tiny__1"
    )
    assert command(("root",), "cuda:1") == "diagnose study study.yaml --data DIR --device cuda:1 --out tiny__1"


def test_blue_is_better_and_orange_worse(html: str):
    cells = re.findall(r'style="background: rgba\(var\((--\w+)\), ([\d.]+)\)"[^>]*>([+−]?)0?\.?\d', html)
    assert {(name, sign) for name, shade, sign in cells if sign} <= {("--better", "+"), ("--worse", "−")}
    assert len(cells) == 4 and max(float(shade) for _, shade, _ in cells) == 0.72
