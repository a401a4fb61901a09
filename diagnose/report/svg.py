"""Colours and line styles of the norms, and SVG text that fits into the page.

The page is read in light and dark, so a colour is written as a CSS variable with the light value as its fallback. Every
norm has its own colour (Okabe and Ito's palette, told apart by colour-blind readers), line style and marker: none of
the three is needed alone. Equal input gives equal bytes: no date, and ids from the content.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
from dataclasses import dataclass
from typing import Any

INK, MUTED, GRID = "#1b1b1b", "#6b6b6b", "#d9d9d9"
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--rule"}


@dataclass(frozen=True)
class Style:
    """How one norm is drawn, everywhere."""

    colour: str
    variable: str
    """CSS variable of the page that holds the colour for light and for dark."""
    dashes: str | tuple[int, tuple[float, ...]]
    marker: str


STYLES = {
    "bn": Style("#000000", "--c-bn", "solid", "o"),
    "gn": Style("#0072b2", "--c-gn", (0, (6, 2)), "s"),
    "ln": Style("#d55e00", "--c-ln", (0, (6, 2, 1, 2)), "^"),
    "in": Style("#009e73", "--c-in", (0, (1.2, 1.4)), "D"),
    "none": Style("#cc79a7", "--c-none", (0, (3, 1, 1, 1, 1, 1)), "v"),
}
_OTHERS = (
    Style("#e69f00", "--c-other1", (0, (8, 2)), "P"),
    Style("#56b4e9", "--c-other2", (0, (4, 1.5)), "X"),
    Style("#8c6d31", "--c-other3", (0, (2, 2)), "<"),
)


def style_of(name: str, position: int = 0) -> Style:
    """Return the style of a norm; of another model, one of three by its position."""
    return STYLES.get(name) or _OTHERS[position % len(_OTHERS)]


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches, transparent."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    return figure


def bare(panel: Any, *, grid: str = "y") -> None:
    """Leave of the frame what a reader needs."""
    panel.patch.set_visible(False)
    for side in ("top", "right") if grid == "y" else ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        panel.spines[side].set_color(MUTED)
    panel.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    panel.xaxis.label.set(color=INK, fontsize=9.5)
    panel.yaxis.label.set(color=INK, fontsize=9.5)
    panel.grid(axis=grid, color=GRID, linewidth=0.6)
    panel.set_axisbelow(True)


def svg_text(figure: Any, alt: str) -> str:
    """Return a figure of matplotlib as an element for the page."""
    import matplotlib

    text = io.StringIO()
    # Text stays text: it can be searched, read aloud and set in the reader's font.
    with matplotlib.rc_context({"svg.hashsalt": "report", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return for_page(text.getvalue(), alt)


def for_page(svg: str, alt: str) -> str:
    """Return an SVG file's text as an element of an HTML page: no prolog, ids of its own, colours by variable."""
    body = svg[svg.index("<svg") :].strip()
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # Several figures share one page, where an id stands for one element only.
    mark = "f" + hashlib.sha256((body + alt).encode()).hexdigest()[:10]
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{mark}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\1{mark}-", body)
    for colour, variable in colour_variables().items():
        body = body.replace(colour, f"var({variable}, {colour})")
    size = re.search(r'viewBox="[^"]+"', body)
    assert size is not None, "matplotlib writes a viewBox"
    head = f'<svg role="img" aria-label="{html.escape(alt)}" {size[0]} xmlns="http://www.w3.org/2000/svg">'
    return re.sub(r"<svg[^>]*>", lambda _: head, body, count=1).replace("xlink:href", "href")


def colour_variables() -> dict[str, str]:
    """Return the CSS variable of each colour that a figure may hold."""
    return _VARIABLES | {style.colour: style.variable for style in (*STYLES.values(), *_OTHERS)}
