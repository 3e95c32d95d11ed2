"""What all pictures share: colours, an empty figure in the hand of the house, and the figure as inline SVG."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK, MUTED, RULE = "#1f2430", "#6b7280", "#e3e5ea"
MAIN, OTHER = "#8a4b2a", "#d8b99b"  # walnut and maple
LINES = ("#2f6f8f", "#7a8f2f", "#8f2f6f", "#444b59", "#c08a2f", "#2f7d4f")
STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be selected, and takes the page's font
    "svg.hashsalt": "intarsia",  # the same figure gives the same bytes
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "axes.edgecolor": RULE,
}
_WIDTH_IN = 9.4


def axes(*, height_in: float) -> tuple[Figure, Any]:
    """A figure of one panel, as wide as the page."""
    figure, (panel,) = panels(1, 1, height_in=height_in)
    return figure, panel


def panels(
    num_rows: int, abreast: int, *, height_in: float, beside_in: float | None = None
) -> tuple[Figure, list[Any]]:
    """A figure of several panels, row by row, together as wide as the page; `beside_in` is left free on both sides of each."""
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=beside_in)
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout=layout)
        found = list(figure.subplots(num_rows, abreast, squeeze=False).flat)
        for panel in found:
            panel.spines[["top", "right", "left"]].set_visible(False)
            panel.grid(axis="x", color=RULE, linewidth=0.8)
            panel.set_axisbelow(True)
            panel.tick_params(length=0)
    return figure, found


def whisker() -> dict[str, Any]:
    """How an interval is drawn on a bar."""
    return {"ecolor": INK, "elinewidth": 1.3, "capsize": 3}


def svg(figure: Figure) -> str:
    """The figure without XML head, as wide as its place on the page."""
    target = io.StringIO()
    with mpl.rc_context(STYLE):
        FigureCanvasSVG(figure).print_svg(target, metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    return text[text.index("<svg") :]
