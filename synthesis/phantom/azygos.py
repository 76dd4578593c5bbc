"""The azygos lobe: a variant whose fissure is a fine arc in the right upper zone, ending in the vein's drop."""

import math

import numpy as np

from .parameters import BodyParameters
from .profiles import Z_MIN, Z_STEP, C
from .skeleton import Chain, chain, curve


def azygos_chains(body: BodyParameters, table: np.ndarray) -> list[Chain]:
    """Fissure and vein of a body that has the variant."""
    if not body.azygos_lobe:
        return []
    rng = np.random.default_rng(body.anatomy_seed + 3)
    reach = rng.uniform(0.85, 1.25)
    knots = np.array([(-36, -30, 134), (-50 * reach, -28, 114), (-50 * reach, -24, 92), (-34, -18, 74)], float)
    knots[:, 0] += table[((knots[:, 2] - Z_MIN) / Z_STEP).astype(int), C["mid_x"]]
    points, _ = curve(knots, 1.0)
    # Four layers of pleura, seen along their plane.
    fissure = chain("azygos_fissure", points, 0.9, density=rng.uniform(10.0, 16.0))
    radius = np.array([rng.uniform(5.0, 7.5)])
    vein = Chain("azygos_vein", knots[-1:], radius, 1.5 * radius, 2.0 * math.pi * radius**3 * 4 / 3)
    return [fissure, vein]
