"""Side views of chests: the parametric chest turned, and crude ones of ellipsoids and cylinders.

The first have the look of the frontal films, so that only anatomy tells them apart; the second have other shapes.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray


_MU = {"soft": 0.018, "bone": 0.035, "lung": 0.013}
_STEP = 4.0  # mm


def turned_patient(seed: int) -> NDArray[np.float32]:
    """
    The parametric chest `seed` from its right or left side, (96, 96) in [0, 1], bone bright. Some degrees from a true
    lateral: rays must cross the planes in which the chest is drawn. Needs the extra `synthesis`.
    """
    from anatomy_vlm.synthesis.phantom import sample_parameters
    from anatomy_vlm.synthesis.phantom.film import render_film
    from anatomy_vlm.synthesis.phantom.march import M
    from anatomy_vlm.synthesis.phantom.render import expose

    rng = np.random.default_rng((seed, 7101))
    parameters = sample_parameters(seed, image_size=96, domain="mixed")
    pose = dataclasses.replace(
        parameters.pose,
        rotation=float(rng.choice([-1, 1]) * rng.uniform(72, 84)),
        field_of_view=parameters.pose.field_of_view * float(rng.uniform(0.7, 1.05)),
    )
    exposure = expose(dataclasses.replace(parameters, pose=pose), spacing=1.5)
    film = render_film(exposure.line, exposure.maps[M["body"]], parameters.look, view="LATERAL")
    return film.astype(np.float32) / 255


def side_view(rng: np.random.Generator) -> NDArray[np.float32]:
    """
    A drawn lateral film, (96, 96) in [0, 1], bone bright; the patient looks to either side, arms up or down.

    Depth runs from the front (negative y) to the back; z up; millimetres around the middle of the chest.
    """
    y = (np.arange(96) - 48)[None, None, :] * _STEP
    z = -(np.arange(96) - 48)[None, :, None] * _STEP + rng.uniform(-30, 30)
    x = (np.arange(24) - 12)[:, None, None] * 14.0
    depth = rng.uniform(95, 140)
    lean = rng.normal(0, 0.06)
    y = y - lean * z - rng.uniform(-15, 15)
    narrow = np.clip(1.0 - np.clip(z - 110, 0, None) / rng.uniform(120, 200), 0.25, 1.0)
    body = (x / (165 * narrow)) ** 2 + (y / (depth * narrow)) ** 2 < 1
    back = rng.uniform(0.55, 0.75) * depth
    middle, high = rng.uniform(0, 20), rng.uniform(120, 150)
    # The domes fall off to the back: the posterior angle is the lung's lowest point.
    lung = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), dtype=bool)
    for way in (-1, 1):
        floor = -rng.uniform(25, 80) - rng.uniform(0.3, 0.8) * np.clip(y, -40, None) - 20 * (y < -60)
        sac = ((x - way * 72) / 62) ** 2 + ((y - 5) / (0.86 * depth)) ** 2 + (np.clip(z - 40, 0, None) / high) ** 2 < 1
        lung |= sac & (z > floor + 0.002 * (y + 20) ** 2)
    size = rng.uniform(42, 68)
    centre = (12, -0.3 * depth, middle - 45)
    heart = ((x - centre[0]) / (1.2 * size)) ** 2 + ((y - centre[1]) / size) ** 2 + ((z - centre[2]) / size) ** 2 < 1
    arch = (np.abs(np.hypot(y - 5, z - 55) - 32) < 13) & (np.abs(x) < 14) & (z > 45)
    lung &= ~(heart | arch)
    curve = back - rng.uniform(0.0008, 0.002) * (z - 20) ** 2 * np.sign(rng.normal()) * 0.5
    height = rng.uniform(24, 34)
    disc = 0.55 + 0.45 * (np.mod(z, height) > 0.25 * height)
    spine = (np.abs(y - curve) < rng.uniform(13, 18)) & (np.abs(x) < 20)
    sternum = (np.abs(y + 0.92 * depth * narrow) < 6) & (np.abs(x) < 20) & (z < 105) & (z > -60)
    ribs = np.abs(np.mod(z + 0.45 * y + 4 * np.sin(x / 30), 27) - 13) < 4
    shell = body & ~((x / 148) ** 2 + (y / (0.88 * depth)) ** 2 < 1) & (z < 120) & (z > -110)
    trachea = (np.abs(y - 5 - 0.1 * (z - 60)) < 8) & (np.abs(x) < 9) & (z > 55)
    water = _MU["soft"] * (body & ~trachea) - _MU["lung"] * (lung & body)
    bone = _MU["bone"] * (disc * (spine & body) + 0.8 * sternum + 0.6 * (ribs & shell))
    line = (water + bone).sum(0) * 14.0
    if rng.random() < 0.5:
        # The arms, raised in front of the neck or hanging across the spine.
        raised = rng.random() < 0.6
        across = np.abs(y[0] + rng.uniform(-60, 90) + 0.6 * z)[0] if raised else np.abs(y[0, 0] - 10)
        arm = np.clip(1 - (across / rng.uniform(35, 50)) ** 2, 0, None)
        line = line + 1.1 * np.sqrt(arm) * (z[0] > (70 if rng.random() < 0.6 else -150))
    if rng.random() < 0.5:
        line[(((y[0] + 40) / 30) ** 2 + ((z[0] + 95) / 18) ** 2) < 1] -= 0.5
    film = np.asarray(line, dtype=np.float32)
    film = film + rng.normal(0, 0.03, film.shape).astype(np.float32)
    film = (film - film.min()) / (np.ptp(film) + 1e-6)
    return film[:, ::-1].copy() if rng.random() < 0.5 else film
