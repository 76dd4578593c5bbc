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


# Every branch draws from its own stream (splitmix64): a finding that cuts one branch off leaves the others alone.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def _mix(state: np.uint64) -> np.uint64:
    state = (state ^ (state >> np.uint64(30))) * _MIX_A
    state = (state ^ (state >> np.uint64(27))) * _MIX_B
    return state ^ (state >> np.uint64(31))


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def _uniform(state: np.ndarray, low: float, high: float) -> float:
    state[0] += _GOLDEN
    return low + (high - low) * float(_mix(state[0]) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, inline="always", error_model="numpy", fastmath=True)
def _normal(state: np.ndarray, sd: float) -> float:
    total = -2.0
    for _ in range(4):
        total += _uniform(state, 0.0, 1.0)
    return sd * total * 1.7320508


@njit(cache=True, error_model="numpy", fastmath=True)
def grow(
    seed: int,
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
        seed: Seed of the tree.
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
    streams = np.empty(512, np.uint64)
    state = np.empty(1, np.uint64)
    for side in range(2):
        sign = -1.0 if side == 0 else 1.0
        for tree in range(2):
            for s in range(segments.shape[0]):
                state[0] = _mix(np.uint64(seed) + np.uint64(1 + s + 64 * tree + 128 * side) * _GOLDEN)
                r = 1.06 * segments[s, 3] * spread * _uniform(state, 0.8, 1.15) * (1.0 if tree == 0 else 0.72)
                if segments[s, 2] > 0.2:
                    r *= 0.72 + 0.34 * cephalisation
                stack[0, 0] = hila[side, 0] + sign * _uniform(state, -5, 4)
                stack[0, 1] = hila[side, 1] + _uniform(state, -6, 6)
                stack[0, 2] = hila[side, 2] + _uniform(state, -12, 10) + 14.0 * segments[s, 2]
                stack[0, 3] = sign * segments[s, 0] + _normal(state, 0.16)
                stack[0, 4] = segments[s, 1] + _normal(state, 0.16)
                stack[0, 5] = segments[s, 2] + _normal(state, 0.16)
                stack[0, 6] = r
                stack[0, 7] = 0
                streams[0] = _mix(state[0])
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
                    own = streams[top]
                    state[0] = own
                    norm = math.sqrt(dx * dx + dy * dy + dz * dz)
                    dx /= norm
                    dy /= norm
                    dz /= norm
                    length = (7.0 + 5.2 * r) * _uniform(state, 0.7, 1.35)
                    if generation == 0:
                        length *= 1.5
                    step = max(1.0, 0.7 * r)
                    n = int(length / step) + 1
                    bend_x = _normal(state, 0.045)
                    bend_y = _normal(state, 0.045)
                    bend_z = _normal(state, 0.045)
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
                    ax = _normal(state, 1.0)
                    ay = _normal(state, 1.0) * 0.8
                    az = _normal(state, 1.0)
                    dot = ax * dx + ay * dy + az * dz
                    ax -= dot * dx
                    ay -= dot * dy
                    az -= dot * dz
                    norm = math.sqrt(ax * ax + ay * ay + az * az) + 1e-9
                    for child in range(2):
                        big = child == 0
                        angle = _uniform(state, 0.12, 0.38) if big else -_uniform(state, 0.45, 0.95)
                        c = math.cos(angle)
                        w = math.sin(angle) / norm
                        stack[top, 0] = px
                        stack[top, 1] = py
                        stack[top, 2] = pz
                        stack[top, 3] = c * dx + w * ax
                        stack[top, 4] = c * dy + w * ay
                        stack[top, 5] = c * dz + w * az
                        stack[top, 6] = r * (_uniform(state, 0.86, 0.94) if big else _uniform(state, 0.54, 0.72))
                        stack[top, 7] = generation + 1
                        streams[top] = _mix(own + np.uint64(child + 1) * _MIX_A)
                        top += 1
    return points, radii, share, count
