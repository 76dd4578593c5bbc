"""Pictures that are no chest films: limbs, joints, necks and bellies in outline, test patterns, texts, textures."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, map_coordinates


Picture = NDArray[np.floating]

_SIZE = 96


def other_picture(rng: np.random.Generator) -> Picture:
    """A picture that shows no chest, (96, 96) in [0, 1], bone bright and in any position."""
    film = _KINDS[int(rng.choice(len(_KINDS), p=_SHARES))](rng)
    film = film + rng.normal(0, rng.uniform(0, 0.05), film.shape)
    film = (film - film.min()) / (np.ptp(film) + 1e-6)
    return np.asarray(film, dtype=np.float32)


def _grid() -> tuple[Picture, Picture]:
    rows, columns = np.mgrid[:_SIZE, :_SIZE].astype(np.float32) / (_SIZE - 1) - 0.5
    return rows, columns


def _turned(rng: np.random.Generator, most: float) -> tuple[Picture, Picture]:
    rows, columns = _grid()
    angle = rng.uniform(-most, most)
    return rows * np.cos(angle) - columns * np.sin(angle), rows * np.sin(angle) + columns * np.cos(angle)


def _rod(distance: Picture, radius: Picture | float) -> Picture:
    return np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, None))


def _limb(rng: np.random.Generator) -> Picture:
    """One to three shafts with thick walls and knobbed ends in soft tissue."""
    along, across = _turned(rng, np.pi)
    bend = rng.uniform(-0.4, 0.4)
    across = across - bend * along**2
    taper = 1 + rng.uniform(-0.5, 0.5) * along
    half = rng.uniform(0.16, 0.5)
    film = rng.uniform(0.5, 1.2) * _rod(across, half * taper)
    joint = rng.uniform(-0.7, 0.7)
    knob = 1 + rng.uniform(0.3, 1.3) * np.exp(-(((along - joint) / rng.uniform(0.05, 0.15)) ** 2))
    for place in rng.uniform(-0.5, 0.5, int(rng.integers(1, 4))) * half:
        radius = rng.uniform(0.12, 0.35) * half * knob
        shaft = _rod(across - place, radius)
        hollow = _rod(across - place, radius * rng.uniform(0.4, 0.75))
        film = film + rng.uniform(0.5, 1.3) * (shaft - 0.6 * hollow) * (np.abs(along - joint) > rng.uniform(0, 0.03))
    return film


def _hand(rng: np.random.Generator) -> Picture:
    """Thin bones that fan out."""
    along, across = _turned(rng, np.pi)
    film = np.zeros_like(along)
    for angle in np.linspace(-0.5, 0.5, 5) * rng.uniform(0.5, 1.2):
        distance = across - (along + 0.5) * angle
        film += 0.5 * _rod(distance, 0.07) + 0.7 * _rod(distance, 0.03) * (np.mod(along * 5 + angle, 1) > 0.12)
    return film


def _head(rng: np.random.Generator) -> Picture:
    """A bright shell, teeth, a neck."""
    along, across = _turned(rng, 0.4)
    shell = np.hypot((along + 0.1) / rng.uniform(0.9, 1.3), across) / rng.uniform(0.28, 0.42)
    film = _rod(shell, 1.0) + 0.8 * (np.abs(shell - 0.95) < 0.06) + 0.5 * _rod(across, 0.16) * (along > 0)
    teeth = (np.abs(along - 0.12 - 0.5 * across**2) < 0.05) & (np.abs(across) < 0.2)
    return film + rng.uniform(0, 0.9) * teeth * (np.mod(across * 30, 1) > 0.3)


def _belly(rng: np.random.Generator) -> Picture:
    """A trunk without lungs: spine, wings of the pelvis, bowel gas."""
    along, across = _turned(rng, 0.15)
    film = rng.uniform(0.8, 1.4) * _rod(across, rng.uniform(0.38, 0.7))
    spine = (np.abs(across) < rng.uniform(0.05, 0.08)) & (along < rng.uniform(0.1, 0.6))
    film = film + 0.5 * spine * (np.mod(along * rng.uniform(6, 9), 1) > 0.18)
    if rng.random() < 0.6:
        for way in (-1, 1):
            wing = np.hypot((along - 0.3) / 0.26, (across - way * 0.22) / 0.17)
            film = film + 0.5 * (wing < 1) + 0.3 * (np.abs(wing - 1) < 0.1)
            film = film + 0.6 * (np.hypot(along - 0.45, across - way * 0.3) < 0.07)
    for _ in range(int(rng.integers(0, 9))):
        row, column, size = rng.uniform(-0.4, 0.4), rng.uniform(-0.3, 0.3), rng.uniform(0.02, 0.1)
        film = film - rng.uniform(0.2, 0.7) * _rod(
            np.hypot(along - row, (across - column) / rng.uniform(0.6, 2)), size
        )
    return film


def _pattern(rng: np.random.Generator) -> Picture:
    """Bars, checks, wedges, rings."""
    along, across = _turned(rng, np.pi)
    kind, count = int(rng.integers(5)), rng.uniform(2, 14)
    if kind == 0:
        return np.sign(np.sin(across * count * np.pi)).astype(np.float32)
    if kind == 1:
        return np.sign(np.sin(across * count * np.pi) * np.sin(along * count * np.pi)).astype(np.float32)
    if kind == 2:
        return np.floor(across * count).astype(np.float32)
    if kind == 3:
        return np.sin(np.hypot(along, across) * count * 2 * np.pi)
    film = np.full((_SIZE, _SIZE), rng.uniform(0.3, 0.7), dtype=np.float32)
    for _ in range(int(rng.integers(3, 20))):
        row, column = rng.integers(0, _SIZE - 12, 2)
        height, width = rng.integers(4, 40, 2)
        film[row : row + height, column : column + width] = rng.random()
    return film


def _texture(rng: np.random.Generator) -> Picture:
    """Clouds of one or several scales, bent."""
    film = sum(
        rng.random() * gaussian_filter(rng.normal(size=(_SIZE, _SIZE)), sigma) * sigma
        for sigma in rng.uniform(0.5, 20, int(rng.integers(1, 4)))
    )
    if rng.random() < 0.5:
        bend = [gaussian_filter(rng.normal(size=(_SIZE, _SIZE)), 8) * 120 for _ in range(2)]
        rows, columns = np.mgrid[:_SIZE, :_SIZE]
        film = map_coordinates(np.asarray(film), [rows + bend[0], columns + bend[1]], order=1, mode="reflect")
    return np.asarray(film, dtype=np.float32)


def _shapes(rng: np.random.Generator) -> Picture:
    """Smooth bodies of any grey before a dark, bright or graded ground, as in photographs."""
    rows, columns = _grid()
    film = rng.uniform(-1, 1) * rows + rng.uniform(-1, 1) * columns
    for _ in range(int(rng.integers(1, 8))):
        along, across = _turned(rng, np.pi)
        shape = ((along - rng.uniform(-0.5, 0.5)) / rng.uniform(0.05, 0.5)) ** 2
        shape = shape + ((across - rng.uniform(-0.5, 0.5)) / rng.uniform(0.05, 0.5)) ** 2
        film = np.where(shape < 1, rng.uniform(-1, 1) + rng.uniform(-0.5, 0.5) * shape, film)
    return gaussian_filter(np.asarray(film, dtype=np.float32), rng.uniform(0, 2))


def _text(rng: np.random.Generator) -> Picture:
    """A page."""
    page = Image.new("L", (_SIZE, _SIZE), int(rng.integers(160, 256)))
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(int(rng.integers(6, 18)))
    for top in range(int(rng.integers(0, 10)), _SIZE, int(rng.integers(8, 22))):
        letters = "".join(chr(int(code)) for code in rng.integers(97, 123, 24))
        draw.text((int(rng.integers(0, 12)), top), letters[: int(rng.integers(2, 24))], font=font, fill=20)
    return np.asarray(page, dtype=np.float32)


_KINDS: tuple[Callable[[np.random.Generator], Picture], ...] = (
    _limb, _hand, _head, _belly, _pattern, _texture, _shapes, _text
)  # fmt: skip
_SHARES = (0.34, 0.06, 0.1, 0.16, 0.1, 0.1, 0.1, 0.04)
