"""The charts of a month's report as PNG: each a figure of its own, without matplotlib's global state."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from nyc_taxi.report.tallies import Calendar, Histogram

INK, SOFT, GRID = "#1f2a33", "#5d6b76", "#e3e8eb"
ACCENTS = {"yellow": "#c98a12", "green": "#2f7d5b", "fhv": "#3f6b99", "fhvhv": "#7a4f82"}
WIDE, HALF = 9.6, 4.7
"""Inches; a hundred of the page's pixels each."""
PIXELS = 200
"""Per inch: sharp on a good screen and in print."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SATURDAY = 5
TEXT, TITLE = 9, 11
"""Points."""

Amounts = NDArray[np.int64] | NDArray[np.float64]


def png(figure: Figure) -> bytes:
    """The figure as a PNG file: the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PIXELS, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def days(calendar: Calendar, values: Amounts, title: str, unit: str, accent: str) -> Figure:
    """A bar per day of the month, Saturdays and Sundays lighter, with the average as a line."""
    figure, axes = _axes(WIDE, 3.1, title)
    free = [day.weekday() >= SATURDAY for day in calendar.days]
    numbers = np.arange(1, len(values) + 1)
    axes.bar(numbers, values, 0.78, color=[_tint(accent, 0.45) if each else accent for each in free])
    average = float(np.mean(values))
    axes.axhline(average, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate(
        f"average {average:,.0f}", (1, average), (6, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", fontsize=TEXT - 1, color=INK, annotation_clip=False,
    )  # fmt: skip
    axes.set_xlim(0.3, len(values) + 0.7)
    axes.set_xticks(numbers, [f"{day.day}\n{WEEKDAYS[day.weekday()][:2]}" for day in calendar.days])
    axes.set_xlabel("day of pickup; Saturdays and Sundays are lighter", color=SOFT, fontsize=TEXT)
    _counted(axes, unit)
    return figure


def week(calendar: Calendar, accent: str) -> Figure:
    """Trips by weekday and hour, on average, as a grid of shades."""
    figure, axes = _axes(WIDE, 3.1, "Trips by weekday and hour")
    shades = LinearSegmentedColormap.from_list("accent", [_tint(accent, 0.06), to_rgb(accent), _shade(accent)])
    grid = axes.pcolormesh(
        calendar.per_hour, cmap=shades, edgecolors="white", linewidth=1.2, vmin=0, vmax=calendar.per_hour.max() or 1
    )
    axes.set_yticks(np.arange(7) + 0.5, WEEKDAYS)
    axes.set_xticks(np.arange(24) + 0.5, [f"{hour}" for hour in range(24)])
    axes.set_xlabel("hour of pickup, New York time: 8 is from 8:00 to 8:59", color=SOFT, fontsize=TEXT)
    axes.invert_yaxis()
    for side in axes.spines.values():
        side.set_visible(False)
    bar = figure.colorbar(grid, ax=axes, pad=0.015, aspect=18, format=FuncFormatter(_with_commas))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=TEXT, labelcolor=SOFT)
    bar.ax.set_ylabel("trips in that hour, average", color=SOFT, fontsize=TEXT)
    bar.locator = MaxNLocator(5, integer=True)
    bar.update_ticks()
    return figure


def ranked(named: Sequence[tuple[str, int]], title: str, accent: str, width: float) -> Figure:
    """A horizontal bar per name, in the given order from above, each with its number."""
    names, values = [name for name, _ in named], [value for _, value in named]
    figure, axes = _axes(width, 0.75 + 0.27 * max(len(names), 2), title)
    places = np.arange(len(names))
    axes.barh(places, values, 0.72, color=accent)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            f"{value:,}", (value, place), (4, 0), textcoords="offset points", va="center", fontsize=TEXT, color=INK
        )
    axes.set_yticks(places, [_shortened(name) for name in names])
    axes.set_ylim(max(len(names), 2) - 0.4, -0.6)
    axes.set_xlim(0, max([*values, 1]) * 1.2)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", labelcolor=INK)
    return figure


def histogram(values: Histogram, title: str, unit: str, accent: str) -> Figure:
    """How many trips lie in each bin; those outside the bins are told in the corner."""
    figure, axes = _axes(HALF, 3.1, title)
    axes.bar(values.starts, values.counts, values.width * 0.9, align="edge", color=accent)
    axes.set_xlim(0, values.end)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(f"{unit}, in steps of {values.width:g}", color=SOFT, fontsize=TEXT)
    _counted(axes, "trips")
    beyond = [f"{values.beyond:,} of {values.end:g} {unit} or more"] if values.beyond else []
    below = [f"{values.below:,} below 0"] if values.below else []
    if beyond or below:
        axes.text(
            0.98, 0.96, "\n".join(["not drawn:", *beyond, *below]), transform=axes.transAxes, ha="right", va="top",
            fontsize=TEXT - 1, color=SOFT, linespacing=1.5,
        )  # fmt: skip
    return figure


def _axes(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.008, ha="left", fontsize=TITLE, fontweight="bold", color=INK)
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=TEXT, labelcolor=SOFT)
    for name, side in axes.spines.items():
        side.set_visible(name == "bottom")
        side.set_color(GRID)
    return figure, axes


def _counted(axes: Axes, unit: str) -> None:
    """A vertical axis of amounts: few ticks, thousands apart, faint lines, its unit beside it."""
    axes.set_ylim(0, axes.dataLim.y1 * 1.05 or 1)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(_with_commas))
    axes.yaxis.grid(True, color=GRID, linewidth=0.8)
    axes.set_ylabel(unit, color=SOFT, fontsize=TEXT)


def _with_commas(value: float, _: int | None) -> str:
    return f"{value:,.0f}"


def _shortened(name: str, longest: int = 28) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1].rstrip()}…"


def _tint(color: str, strength: float) -> tuple[float, float, float]:
    """The color on white paper, so strong."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(color))
    return red, green, blue


def _shade(color: str) -> tuple[float, float, float]:
    """The color with some black in it."""
    red, green, blue = (0.55 * part for part in to_rgb(color))
    return red, green, blue
