"""Charts as inline SVG: no library, no script, nothing fetched."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape


_INK, _MUTED, _GRID = "#1f2933", "#616e7c", "#e4e7eb"
_CURVES = ("#5aa9d6", "#d1495b", "#9aa5b1", "#2d936c")
_BAR, _WHISKER, _BASELINE = "#5aa9d6", "#1f2933", "#d1495b"


@dataclass(frozen=True)
class Bar:
    """A bar from 0 to `value`, with an interval and a baseline; NaN leaves a part out."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    baseline: float = math.nan


@dataclass(frozen=True)
class Line:
    """One curve: points (x, y), and the x where something new begins (dashed lines)."""

    title: str
    points: Sequence[tuple[float, float]]
    breaks: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class Curve:
    """Values at equal steps from 0 to 1."""

    name: str
    values: Sequence[float]


def bar_chart(bars: Sequence[Bar], *, width: int = 980, row: int = 22, title: str) -> str:
    """Horizontal bars from 0 to 1 with intervals as whiskers and baselines as red ticks.

    Args:
        bars: top to bottom.
        width: of the picture in pixels.
        row: height of a bar's row in pixels.
        title: for readers that do not see the picture.
    """
    # About the width of an average letter: names of findings are long.
    left, right, top = 24 + round(6.3 * max((len(bar.name) for bar in bars), default=0)), 56, 22
    span = width - left - right

    def x(value: float) -> float:
        return left + span * min(max(value, 0.0), 1.0)

    height = top + row * len(bars) + 8
    parts = [_open(width, height, title)]
    for step in range(6):
        value = step / 5
        parts.append(_line(x(value), top - 4, x(value), height - 6, _GRID))
        parts.append(_text(x(value), 12, f"{value:.1f}", _MUTED, "middle"))
    for index, bar in enumerate(bars):
        middle = top + row * (index + 0.5)
        parts.append(_text(left - 8, middle + 4, bar.name, _INK, "end"))
        if math.isnan(bar.value):
            parts.append(_text(left + 4, middle + 4, "not defined", _MUTED))
            continue
        parts.append(
            f'<rect x="{left}" y="{middle - row * 0.32:.1f}" width="{x(bar.value) - left:.1f}" '
            f'height="{row * 0.64:.1f}" fill="{_BAR}"/>'
        )
        if not math.isnan(bar.low):
            parts.append(_line(x(bar.low), middle, x(bar.high), middle, _WHISKER, 1.5))
            parts += [_line(x(end), middle - 3, x(end), middle + 3, _WHISKER, 1.5) for end in (bar.low, bar.high)]
        if not math.isnan(bar.baseline):
            parts.append(
                _line(x(bar.baseline), middle - row * 0.42, x(bar.baseline), middle + row * 0.42, _BASELINE, 2.5)
            )
        parts.append(_text(width - right + 8, middle + 4, f"{bar.value:.3f}", _INK))
    return "".join([*parts, "</svg>"])


def line_chart(line: Line, *, width: int = 340, height: int = 190) -> str:
    """A curve with its own vertical axis from 0; an empty string if there are fewer than two finite points."""
    points = [(px, py) for px, py in line.points if math.isfinite(py)]
    if len(points) < 2:
        return ""
    left, right, top, bottom = 46, 10, 28, 24
    x_low, x_high = points[0][0], max(points[-1][0], points[0][0] + 1e-9)
    y_high = _nice_ceiling(max(py for _, py in points))

    def place(px: float, py: float) -> tuple[float, float]:
        across = (px - x_low) / (x_high - x_low)
        return left + across * (width - left - right), height - bottom - (height - top - bottom) * py / y_high

    parts = [_open(width, height, line.title), _text(left, 14, line.title, _INK, weight="600")]
    for step in range(5):
        value = y_high * step / 4
        _, y = place(x_low, value)
        parts.append(_line(left, y, width - right, y, _GRID))
        parts.append(_text(left - 6, y + 4, f"{value:.3g}", _MUTED, "end"))
    for position, label in line.breaks:
        if x_low < position < x_high:
            x, _ = place(position, 0)
            parts.append(f'<path d="M{x:.1f} {top}V{height - bottom}" stroke="{_MUTED}" stroke-dasharray="3 3"/>')
            parts.append(_text(x + 3, top + 10, label, _MUTED))
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (place(*point) for point in points))
    parts.append(f'<polyline points="{path}" fill="none" stroke="{_BAR}" stroke-width="2"/>')
    parts.append(_text(left, height - 6, f"step {x_low:g}", _MUTED))
    parts.append(_text(width - right, height - 6, f"{x_high:g}", _MUTED, "end"))
    return "".join([*parts, "</svg>"])


def curves_chart(curves: Sequence[Curve], *, width: int = 460, height: int = 240, title: str) -> str:
    """Up to four curves over one axis from 0, their names beside their colours.

    Args:
        curves: of two values or more.
        width, height: of the picture in pixels.
        title: heading.
    """
    left, right, top, bottom = 46, 12, 30, 24 + 16 * len(curves)
    y_high = _nice_ceiling(max(max(curve.values) for curve in curves))

    def place(px: float, py: float) -> tuple[float, float]:
        return left + px * (width - left - right), height - bottom - (height - top - bottom) * py / y_high

    parts = [_open(width, height, title), _text(left, 14, title, _INK, weight="600")]
    for step in range(5):
        value = y_high * step / 4
        _, y = place(0, value)
        parts.append(_line(left, y, width - right, y, _GRID))
        parts.append(_text(left - 6, y + 4, f"{value:.3g}", _MUTED, "end"))
    parts.append(_text(left, height - bottom + 16, "0 %", _MUTED))
    parts.append(_text(width - right, height - bottom + 16, "100 % of the patches", _MUTED, "end"))
    for index, (curve, colour) in enumerate(zip(curves, _CURVES)):
        last = len(curve.values) - 1
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(at / last, v) for at, v in enumerate(curve.values)))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        level = height - bottom + 32 + 16 * index
        parts.append(_line(left, level - 4, left + 22, level - 4, colour, 3))
        parts.append(_text(left + 30, level, curve.name, _INK))
    return "".join([*parts, "</svg>"])


def _nice_ceiling(value: float) -> float:
    """The next 1, 2, 2.5, 4, 5 or 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 4, 5, 8, 10) if step * power >= value * (1 - 1e-9))


def _open(width: int, height: float, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}" '
        f'height="{height:g}" role="img" font-family="inherit" font-size="12"><title>{escape(title)}</title>'
    )


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, width: float = 1) -> str:
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}" stroke-width="{width:g}"/>'
    )


def _text(x: float, y: float, text: str, colour: str, anchor: str = "start", weight: str = "400") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(text)}</text>"
    )
