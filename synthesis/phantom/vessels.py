"""Pulmonary vessels: asymmetric bifurcating trees from both hila, grown inside the aerated lung."""

import math

import numpy as np
from numba import njit

from .march import lung_field


# Segmental directions from a hilum (x away from the midline, y anterior, z up), radius in mm.
SEGMENTS = np.array(
    [
        (0.45, -0.15, 1.00, 3.0), (0.85, 0.35, 0.75, 2.7), (0.80, -0.60, 0.60, 2.7), (0.95, 0.55, 0.10, 2.6),
        (1.00, -0.10, 0.30, 2.5), (0.75, 0.80, -0.35, 2.8), (0.55, -0.85, 0.05, 2.8), (0.90, 0.20, -0.75, 3.4),
        (0.62, -0.45, -1.00, 3.7), (0.25, 0.10, -1.10, 3.3), (0.95, -0.50, -0.35, 3.0),
    ]
)  # fmt: skip


@njit(cache=True)
def grow(
    rng: np.random.Generator,
    hila: np.ndarray,
    segments: np.ndarray,
    spread: float,
    cephalisation: float,
    table: np.ndarray,
    p,
    limit: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Points (limit, 3), radii, lengths and their count.

    Args:
        rng: Source of randomness.
        hila: Canonical positions of the right and left hilum, (2, 3).
        segments: Directions and radii, (n, 4).
        spread: Scale of all radii.
        cephalisation: 0 upright normal (thin upper vessels) to 1 (upper vessels as wide as the lower).
        table: Height profiles.
        p: Record of `SCALARS`.
        limit: Most points to grow.
    """
    points = np.empty((limit, 3))
    radii = np.empty(limit)
    share = np.empty(limit)
    count = 0
    stack = np.empty((512, 8))
    for side in range(2):
        sign = -1.0 if side == 0 else 1.0
        for tree in range(2):
            for s in range(segments.shape[0]):
                top = 0
                r = segments[s, 3] * spread * rng.uniform(0.8, 1.15) * (1.0 if tree == 0 else 0.72)
                if segments[s, 2] > 0.2:
                    r *= 0.72 + 0.34 * cephalisation
                stack[0, 0] = hila[side, 0] + sign * rng.uniform(-5, 4)
                stack[0, 1] = hila[side, 1] + rng.uniform(-6, 6)
                stack[0, 2] = hila[side, 2] + rng.uniform(-12, 10) + 14.0 * segments[s, 2]
                stack[0, 3] = sign * segments[s, 0] + rng.normal(0, 0.16)
                stack[0, 4] = segments[s, 1] + rng.normal(0, 0.16)
                stack[0, 5] = segments[s, 2] + rng.normal(0, 0.16)
                stack[0, 6] = r
                stack[0, 7] = 0
                top = 1
                while top > 0 and count < limit - 64:
                    top -= 1
                    px = stack[top, 0]
                    py = stack[top, 1]
                    pz = stack[top, 2]
                    dx = stack[top, 3]
                    dy = stack[top, 4]
                    dz = stack[top, 5]
                    r = stack[top, 6]
                    generation = stack[top, 7]
                    norm = math.sqrt(dx * dx + dy * dy + dz * dz)
                    dx /= norm
                    dy /= norm
                    dz /= norm
                    length = (7.0 + 5.2 * r) * rng.uniform(0.7, 1.35)
                    if generation == 0:
                        length *= 1.5
                    step = max(1.0, 0.7 * r)
                    n = int(length / step) + 1
                    bend_x = rng.normal(0, 0.045)
                    bend_y = rng.normal(0, 0.045)
                    bend_z = rng.normal(0, 0.045)
                    alive = True
                    for i in range(n):
                        px += dx * step
                        py += dy * step
                        pz += dz * step
                        dx += bend_x * step * 0.25
                        dy += bend_y * step * 0.25
                        dz += bend_z * step * 0.25
                        if (generation > 0 or i > 2) and lung_field(px, py, pz, table, p) > -2.0:
                            if generation > 1 or i > 14:
                                alive = False
                                break
                            continue
                        points[count, 0] = px
                        points[count, 1] = py
                        points[count, 2] = pz
                        radii[count] = r * (1.0 - 0.12 * i / n)
                        share[count] = step
                        count += 1
                        if count >= limit - 64:
                            break
                    if not alive or r < 0.42 or top > 505:
                        continue
                    # Two children in a random plane; the larger keeps the direction (Murray's law).
                    ax = rng.normal()
                    ay = rng.normal() * 0.8
                    az = rng.normal()
                    dot = ax * dx + ay * dy + az * dz
                    ax -= dot * dx
                    ay -= dot * dy
                    az -= dot * dz
                    norm = math.sqrt(ax * ax + ay * ay + az * az) + 1e-9
                    for child in range(2):
                        big = child == 0
                        angle = rng.uniform(0.12, 0.38) if big else -rng.uniform(0.45, 0.95)
                        c = math.cos(angle)
                        w = math.sin(angle) / norm
                        stack[top, 0] = px
                        stack[top, 1] = py
                        stack[top, 2] = pz
                        stack[top, 3] = c * dx + w * ax
                        stack[top, 4] = c * dy + w * ay
                        stack[top, 5] = c * dz + w * az
                        stack[top, 6] = r * (rng.uniform(0.80, 0.90) if big else rng.uniform(0.55, 0.75))
                        stack[top, 7] = generation + 1
                        top += 1
    return points, radii, share, count
