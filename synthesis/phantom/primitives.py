"""Small bodies projected in closed form: chains of ellipsoids (bones, vessels, tubes) and soft-edged plates.

A curve is a chain of points; each point stands for a short piece of the tube and deposits its volume on the detector
as the projection of an ellipsoid, so mass is kept whatever the direction of the curve or the pixel size.
"""

import math

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", fastmath=True)
def splat(points: np.ndarray, radii: np.ndarray, amount: np.ndarray, hollow: float, out: np.ndarray) -> None:
    """Add ellipse footprints to a map.

    Args:
        points: Detector position in pixels, (n, 2) as (column, row).
        radii: Footprint radii in pixels, (n, 2).
        amount: Volume per footprint in mm * pixel^2.
        hollow: 0 for a solid body, up to 1 for a shell whose margins are bright.
        out: Map in millimetres, (V, U), added to.
    """
    rows, cols = out.shape
    for n in range(points.shape[0]):
        rx = max(radii[n, 0], 0.72)
        ry = max(radii[n, 1], 0.72)
        cu = points[n, 0]
        cv = points[n, 1]
        u0 = max(math.ceil(cu - rx), 0)
        u1 = min(math.floor(cu + rx), cols - 1)
        v0 = max(math.ceil(cv - ry), 0)
        v1 = min(math.floor(cv + ry), rows - 1)
        if u1 < u0 or v1 < v0:
            continue
        norm = 0.66667 * math.pi * rx * ry
        inner = 0.76
        if hollow > 0.0:
            norm *= 1.0 - hollow * inner**3
        a = amount[n] / norm
        for v in range(v0, v1 + 1):
            dv = (v - cv) / ry
            dv *= dv
            for u in range(u0, u1 + 1):
                du = (u - cu) / rx
                q = du * du + dv
                if q < 1.0:
                    value = math.sqrt(1.0 - q)
                    if hollow > 0.0 and q < inner * inner:
                        value -= hollow * math.sqrt(inner * inner - q)
                    out[v, u] += a * value


@njit(cache=True, error_model="numpy", fastmath=True)
def plates(centres: np.ndarray, axes: np.ndarray, amount: np.ndarray, soft: np.ndarray, out: np.ndarray) -> None:
    """Add soft-edged rounded boxes, for vertebral bodies and the like.

    Args:
        centres: (n, 2) pixels as (column, row).
        axes: (n, 4): half width, half height in pixels, cosine and sine of the roll.
        amount: Thickness in mm, (n,).
        soft: Edge width in pixels, (n,).
        out: Map in millimetres, added to.
    """
    rows, cols = out.shape
    for n in range(centres.shape[0]):
        a = axes[n, 0]
        b = axes[n, 1]
        c = axes[n, 2]
        s = axes[n, 3]
        reach = math.sqrt(a * a + b * b) + soft[n]
        u0 = max(int(centres[n, 0] - reach), 0)
        u1 = min(int(centres[n, 0] + reach) + 1, cols - 1)
        v0 = max(int(centres[n, 1] - reach), 0)
        v1 = min(int(centres[n, 1] + reach) + 1, rows - 1)
        for v in range(v0, v1 + 1):
            for u in range(u0, u1 + 1):
                x = (u - centres[n, 0]) * c + (v - centres[n, 1]) * s
                y = -(u - centres[n, 0]) * s + (v - centres[n, 1]) * c
                d = max(abs(x) - a, abs(y) - b)
                w = 0.5 - d / soft[n]
                if w > 0.0:
                    out[v, u] += amount[n] * min(w, 1.0)
