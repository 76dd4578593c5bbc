"""The parametric chest: a body with findings, drawn as a radiograph with regions, statements and a report.

Needs the extra `synthesis` (numba).
"""

import importlib.util


if importlib.util.find_spec("numba") is None:
    raise ImportError('drawing synthetic chests needs numba: pip install "anatomy-vlm[synthesis]"')

from .dataset import SynthesisError, generate_dataset
from .domains import DOMAINS
from .parameters import BodyParameters, LookParameters, PhantomParameters, PlacedFinding, PoseParameters
from .patient import Study, draw_study, generate_patient, generate_study, sample_parameters


__all__ = [
    "DOMAINS",
    "BodyParameters",
    "LookParameters",
    "PhantomParameters",
    "PlacedFinding",
    "PoseParameters",
    "Study",
    "SynthesisError",
    "draw_study",
    "generate_dataset",
    "generate_patient",
    "generate_study",
    "sample_parameters",
]
