"""Film look: exposure, scatter, noise, processing, collimation and burnt-in marks, all from `LookParameters`."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, zoom

from .parameters import LookParameters


LETTERS = ("PORTABLE", "AP", "PA", "ERECT", "SUPINE", "SEMI-ERECT", "12:35", "08:10", "ROOM 2", "JLS", "DX", "KM")


def low_pass(image: np.ndarray, sigma: float) -> np.ndarray:
    """Wide Gaussian on a decimated copy: the result is smooth, so nothing is lost."""
    step = max(int(sigma / 3), 1)
    if step == 1:
        return gaussian_filter(image, sigma, mode="nearest")
    size = image.shape[0]
    trimmed = size // step * step
    small = image[:trimmed, :trimmed].reshape(trimmed // step, step, trimmed // step, step).mean(axis=(1, 3))
    small = gaussian_filter(small, sigma / step, mode="nearest")
    return zoom(small, size / small.shape[0], order=1, mode="nearest", grid_mode=True)[:size, :size].astype(
        image.dtype
    )


def render_film(line: np.ndarray, body: np.ndarray, look: LookParameters, *, view: str = "PA") -> np.ndarray:
    """Grey film, uint8 (S, S), bone bright.

    Args:
        line: Line integral of attenuation, (S, S).
        body: Millimetres of body along each ray, (S, S); the display window follows what lies behind the body.
        look: The look.
        view: Burnt into some films.
    """
    size = line.shape[0]
    rng = np.random.default_rng(look.look_seed)
    signal = np.exp(-line)
    scatter = low_pass(signal, size * look.scatter_sigma) * look.scatter
    signal = (signal + scatter) / (1 + look.scatter)
    signal = signal + np.sqrt(np.maximum(signal, 1e-6) / look.photons) * rng.standard_normal(signal.shape, np.float32)
    signal = gaussian_filter(signal, look.blur * size / 224, mode="nearest")
    density = -np.log(np.maximum(signal, 2e-4))
    rows = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    density += look.film_shading_x * rows[None] + look.film_shading_y * rows[:, None]

    low = low_pass(density, size * 0.075)
    middle = gaussian_filter(density, size * 0.010, mode="nearest")
    processed = look.low_gain * low + look.mid_gain * (middle - low) + look.high_gain * (density - middle)
    if look.equalisation > 0:
        spread = np.sqrt(low_pass((density - low) ** 2, size * 0.09) + 0.02)
        processed = processed + look.equalisation * (
            (density - low) / spread * 0.28 - look.mid_gain * 0.5 * (middle - low)
        )
    inside = exposed_field(look, size)
    tissue = (body > 40) & (inside > 0.5)
    if tissue.sum() < 50:
        tissue = np.ones_like(tissue)
    bottom, top = np.percentile(processed[tissue], [look.window_low, look.window_high])
    # Air beside the patient is black, so the display range starts below the lungs.
    bottom -= look.floor * (top - bottom)
    value = (processed - bottom) / max(top - bottom, 1e-3)
    # A soft toe and shoulder as film and display curves have them.
    value = 1 / (1 + np.exp(-look.contrast * (value - 0.5)))
    edge = 1 / (1 + np.exp(0.5 * look.contrast))
    value = np.clip((value - edge) / (1 - 2 * edge), 0, 1) ** look.gamma
    value = look.black + (look.white - look.black) * value
    if look.grid_lines > 0:
        value = value + look.grid_lines * np.sin(np.arange(size) * 2.1)[None] * (body > 40)
    value = value * inside + look.collimation_grey * (1 - inside)
    image = Image.fromarray((np.clip(value, 0, 1) * 255 + 0.5).astype(np.uint8))
    _burn_in(image, look, rng, view)
    return np.asarray(image)


def exposed_field(look: LookParameters, size: int) -> np.ndarray:
    """Exposed field: 1 inside the collimator, 0 outside, with a soft edge."""
    left, top, right, bottom = look.collimation
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    angle = np.radians(look.collimation_roll)
    x = grid[None] * np.cos(angle) + grid[:, None] * np.sin(angle) + 0.5
    y = -grid[None] * np.sin(angle) + grid[:, None] * np.cos(angle) + 0.5
    distance = np.minimum(np.minimum(x - left, 1 - right - x), np.minimum(y - top, 1 - bottom - y))
    return np.clip(distance * size / 1.5 + 0.5, 0, 1).astype(np.float32)


def _burn_in(image: Image.Image, look: LookParameters, rng: np.random.Generator, view: str) -> None:
    """Side marker on its side and letters; drawn from the look alone, so they never tell a finding."""
    draw = ImageDraw.Draw(image)
    size = image.size[0]
    if look.marker:
        height = int(size * rng.uniform(0.035, 0.075))
        # The patient's right is on the image's left.
        x = rng.uniform(0.02, 0.24) if look.marker == "R" else rng.uniform(0.72, 0.92)
        y = rng.uniform(0.01, 0.16) if rng.random() < 0.8 else rng.uniform(0.3, 0.9)
        at = (int(x * size), int(y * size))
        font = ImageFont.load_default(size=max(height, 8))
        grey = int(rng.uniform(190, 255))
        if look.marker_style == 1:
            box = draw.textbbox(at, look.marker, font=font)
            draw.rectangle((box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2), fill=int(rng.uniform(0, 40)))
        elif look.marker_style == 2:
            box = draw.textbbox(at, look.marker, font=font)
            draw.ellipse((box[0] - 4, box[1] - 4, box[2] + 4, box[3] + 4), fill=int(rng.uniform(0, 30)), outline=grey)
        draw.text(at, look.marker, fill=grey, font=font)
    for _ in range(look.letters):
        text = LETTERS[int(rng.integers(len(LETTERS)))]
        if text in ("AP", "PA") and text != view:
            continue
        font = ImageFont.load_default(size=max(int(size * rng.uniform(0.025, 0.045)), 7))
        at = (
            int(rng.uniform(0.02, 0.8) * size),
            int((rng.uniform(0.0, 0.08) if rng.random() < 0.6 else rng.uniform(0.88, 0.95)) * size),
        )
        draw.text(at, text, fill=int(rng.uniform(150, 255)), font=font)
