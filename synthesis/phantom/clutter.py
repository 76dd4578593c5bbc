"""What lies on a patient and means nothing: electrodes and cables, tubing, folds of a gown or blanket, buttons.

None of it is a finding and no report tells of it. It is drawn from the look alone, so it cannot tell a finding either.
"""

import math

import numpy as np

from .parameters import PhantomParameters
from .skeleton import Chain, chain, curve


# In front of the chest, canonical mm.
SKIN_Y = 112.0
# Share of films with each kind, upright and portable.
SHARES = {"leads": (0.02, 0.60), "tubing": (0.01, 0.22), "folds": (0.08, 0.30), "buttons": (0.05, 0.10)}


def clutter_chains(parameters: PhantomParameters) -> list[Chain]:
    """Chains of one film, all named "clutter"."""
    rng = np.random.default_rng((parameters.look.look_seed, 5))
    portable = int(parameters.pose.view == "AP")
    out: list[Chain] = []
    for draw, shares in zip((_leads, _tubing, _folds, _buttons), SHARES.values(), strict=True):
        if rng.random() < shares[portable]:
            out += draw(rng)
    return out


def _leads(rng: np.random.Generator) -> list[Chain]:
    """Electrodes whose cables run together beside the neck or below the chest."""
    out = []
    angle = np.linspace(0, 2 * math.pi, 24)
    ring = np.stack([np.cos(angle), 0 * angle, np.sin(angle)], axis=1)
    side = float(rng.choice([-1.0, 1.0]))
    plug = np.array(
        [side * rng.uniform(40, 170), SKIN_Y, rng.choice([rng.uniform(120, 190), rng.uniform(-190, -110)])]
    )
    strength = float(rng.uniform(0.7, 2.2))
    for _ in range(int(rng.integers(2, 6))):
        middle = np.array([rng.uniform(-140, 140), SKIN_Y, rng.uniform(-110, 120)])
        out.append(chain("clutter", middle + rng.uniform(3, 6) * ring, 1.6, density=0.9))
        if rng.random() < 0.4:
            out.append(chain("clutter", middle + 2.0 * ring, 1.8, density=1.2))
        slack = rng.normal(0, 32, (2, 3)) * (1, 0, 1)
        way = [middle + share * (plug - middle) + bow for share, bow in zip((0.4, 0.75), slack, strict=True)]
        points, _ = curve(np.stack([middle, *way, plug + rng.normal(0, 5, 3) * (1, 0, 1)]), 1.5)
        out.append(chain("clutter", points, 0.8, density=strength))
    return out


def _tubing(rng: np.random.Generator) -> list[Chain]:
    """A wide tube across the chest or beside the neck; its walls are seen, not what is in it."""
    start = np.array([rng.uniform(-60, 60), SKIN_Y, rng.uniform(130, 210)])
    stop = np.array([float(rng.choice([-1.0, 1.0])) * rng.uniform(120, 230), SKIN_Y, rng.uniform(-60, 150)])
    middle = 0.5 * (start + stop) + np.array([rng.normal(0, 25), 0, rng.normal(0, 25)])
    points, _ = curve(np.stack([start, middle, stop]), 2.0)
    radius = float(rng.choice([rng.uniform(2.5, 4.5), rng.uniform(8, 12)]))
    return [chain("clutter", points, radius, density=0.35 / radius, hollow=0.95)]


def _folds(rng: np.random.Generator) -> list[Chain]:
    """Soft long edges of cloth."""
    out = []
    for _ in range(int(rng.integers(1, 4))):
        start = np.array([rng.uniform(-180, 180), SKIN_Y, rng.uniform(-190, 150)])
        angle = rng.uniform(0, math.pi)
        along = np.array([math.cos(angle), 0, math.sin(angle)]) * rng.uniform(90, 260)
        bow = np.array([rng.normal(0, 14), 0, rng.normal(0, 14)])
        points, t = curve(np.stack([start, start + 0.5 * along + bow, start + along]), 2.0)
        radius = float(rng.uniform(1.5, 5.0))
        out.append(chain("clutter", points, radius, density=rng.uniform(0.02, 0.07) * np.sin(np.pi * t)))
    return out


def _buttons(rng: np.random.Generator) -> list[Chain]:
    """Snaps of a gown or clips of a garment."""
    out = []
    for _ in range(int(rng.integers(1, 5))):
        at = np.array([[rng.uniform(-160, 160), SKIN_Y, rng.uniform(-150, 130)]])
        radius = np.array([rng.uniform(2.5, 5.0)])
        volume = math.pi * radius**2 * rng.uniform(0.6, 2.5)
        out.append(Chain("clutter", at, radius, radius, volume))
    return out
