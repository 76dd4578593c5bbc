"""From margins to probabilities, operating points and prediction sets, all fitted on validation data.

Two maps, both monotone, so that calibration never changes which of two films scores higher: Platt's logistic of two
parameters (or one, a temperature), for few cases, and isotonic regression, for many.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from anatomy_vlm.processing.score_calibration_anatomy_vlm import (
    ConformalCuts,
    FindingCalibration,
    IsotonicMap,
    LogisticMap,
    ScoreCalibration,
    ScoreMap,
)
from anatomy_vlm.training.evaluation.arrays import BoolArray, FloatArray, MetricInputError, as_labels_and_scores
from anatomy_vlm.training.evaluation.conformal import fit_cuts
from anatomy_vlm.training.evaluation.targets import Targets
from anatomy_vlm.training.evaluation.thresholds import select_threshold, threshold_at_sensitivity


CalibrationMethod = Literal["platt", "temperature", "isotonic"]


def fit_platt(labels: ArrayLike, margins: ArrayLike) -> LogisticMap:
    """Logistic map of two parameters with Platt's softened targets, which keep it finite where classes separate.

    Margins that rank the wrong way round get a scale of 0: the base rate for everybody.

    Args:
        labels: shape (n,), 1, 0, or NaN for unknown (left out).
        margins: shape (n,).

    Raises:
        MetricInputError: no positives or no negatives; see `as_labels_and_scores`.

    >>> fitted = fit_platt([0, 0, 1, 0, 1, 1], [-30.0, -20.0, -10.0, 10.0, 20.0, 30.0])
    >>> bool(fitted.scale < 0.2), fitted([-30.0, 0.0, 30.0]).round(2).tolist()
    (True, [0.25, 0.5, 0.75])
    """
    return _fit_logistic(labels, margins, with_offset=True)


def fit_temperature(labels: ArrayLike, margins: ArrayLike) -> LogisticMap:
    """Logistic map through probability 0.5 at margin 0: `sigmoid(margin / T)`. Args and errors as in `fit_platt`."""
    return _fit_logistic(labels, margins, with_offset=False)


def fit_isotonic(labels: ArrayLike, margins: ArrayLike) -> IsotonicMap:
    """Isotonic regression by pooling adjacent violators, kept off 0 and 1 by half a case.

    n cases cannot show that something never happens: probabilities stay within 0.5 / (n + 1) of the ends.

    Args and errors as in `fit_platt`.

    >>> fit_isotonic([0, 1, 0, 1], [1.0, 2.0, 3.0, 4.0]).probabilities
    (0.1, 0.5, 0.5, 0.9)
    """
    present, margin = _both_classes(labels, margins)
    knots, place, count = np.unique(margin, return_inverse=True, return_counts=True)
    frequency = np.bincount(place, weights=present.astype(float)) / count
    fitted = optimize.isotonic_regression(frequency, weights=count).x
    edge = 0.5 / (len(margin) + 1)
    # Of a level stretch only the ends matter to straight lines.
    level = np.r_[False, (fitted[1:-1] == fitted[:-2]) & (fitted[1:-1] == fitted[2:]), False][: len(fitted)]
    kept = ~level
    return IsotonicMap(tuple(knots[kept].tolist()), tuple(np.clip(fitted[kept], edge, 1 - edge).tolist()))


_FITTERS: dict[str, Callable[[ArrayLike, ArrayLike], ScoreMap]] = {
    "platt": fit_platt,
    "temperature": fit_temperature,
    "isotonic": fit_isotonic,
}


def fit_finding(
    labels: ArrayLike,
    margins: ArrayLike,
    patient_ids: Sequence[Hashable],
    *,
    method: CalibrationMethod = "platt",
    coverage: float = 0.9,
    sensitivity: float | None = None,
    seed: int = 0,
) -> FindingCalibration:
    """Map, operating point and cuts of one finding, from cases of the validation split.

    Args:
        labels: shape (n,), 1, 0, or NaN for unknown (left out).
        margins: shape (n,).
        patient_ids: shape (n,).
        method: of the map.
        coverage: of the prediction sets.
        sensitivity: None takes Youden's point, sensitivity + specificity at their highest; a number the highest
            threshold that reaches this sensitivity.
        seed: see `fit_cuts`.

    Raises:
        MetricInputError: no positives or no negatives, or an option out of range.
    """
    if method not in get_args(CalibrationMethod):
        raise MetricInputError(f"calibration method {method!r} is not one of {', '.join(get_args(CalibrationMethod))}")
    score_map = _FITTERS[method](labels, margins)
    probability = score_map(margins)
    if sensitivity is None:
        threshold = select_threshold(labels, probability, split="validation", criterion="balanced_accuracy")
    else:
        threshold = threshold_at_sensitivity(labels, probability, sensitivity, split="validation")
    cuts = fit_cuts(labels, margins, patient_ids, coverage=coverage, seed=seed)
    return FindingCalibration(score_map, threshold.value, threshold.source, cuts)


def fit_score_calibration(
    targets: Targets,
    image_margins: FloatArray,
    region_margins: FloatArray,
    *,
    findings: Sequence[str],
    regions: Sequence[str],
    method: CalibrationMethod = "platt",
    coverage: float = 0.9,
    sensitivity: float | None = None,
    min_events: int = 10,
    seed: int = 0,
) -> ScoreCalibration:
    """Calibrate every finding, in the image and in regions, on the validation split.

    Args:
        targets: of the n validation images.
        image_margins: (n, F), before any sigmoid, made the way in which `predict` makes them.
        region_margins: (n, R, F).
        findings: F names.
        regions: R names.
        method, coverage, sensitivity, seed: see `fit_finding`.
        min_events: a finding with fewer patients on either side is left out; so are a region's own cuts.

    Raises:
        MetricInputError: shapes do not fit, or an option out of range.
    """
    expected = (len(targets.patient_ids), len(regions), len(findings))
    if region_margins.shape != expected or image_margins.shape != (expected[0], expected[2]):
        raise MetricInputError(
            f"margins have to be of shapes {(expected[0], expected[2])} and {expected}, got {image_margins.shape} and "
            f"{region_margins.shape}"
        )
    patients = np.asarray(targets.patient_ids)
    cases = targets.pair_image, targets.pair_region, targets.pair_finding
    of_pairs, pair_patients = region_margins[cases], patients[targets.pair_image]
    in_image: dict[str, FindingCalibration] = {}
    in_region: dict[str, FindingCalibration] = {}
    own_cuts: dict[str, dict[str, ConformalCuts]] = {}
    fit = partial(fit_finding, method=method, coverage=coverage, sensitivity=sensitivity, seed=seed)
    for column, name in enumerate(findings):
        labels, margins = targets.image_labels[:, column], image_margins[:, column]
        if _enough(labels, patients, min_events):
            in_image[name] = fit(labels, margins, patients.tolist())
        rows = targets.pair_finding == column
        if not _enough(targets.pair_labels[rows], pair_patients[rows], min_events):
            continue
        in_region[name] = fit(targets.pair_labels[rows], of_pairs[rows], pair_patients[rows].tolist())
        for index, region in enumerate(regions):
            here = rows & (targets.pair_region == index)
            if _enough(targets.pair_labels[here], pair_patients[here], min_events):
                cuts = fit_cuts(
                    targets.pair_labels[here],
                    of_pairs[here],
                    pair_patients[here].tolist(),
                    coverage=coverage,
                    seed=seed,
                )
                own_cuts.setdefault(region, {})[name] = cuts
    return ScoreCalibration(coverage, in_image, in_region, own_cuts)


def _fit_logistic(labels: ArrayLike, margins: ArrayLike, *, with_offset: bool) -> LogisticMap:
    present, margin = _both_classes(labels, margins)
    positives, negatives = present.sum(), (~present).sum()
    target = np.where(present, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # About their mean and in units of their spread, margins of 0.01 and of 1,000 are the same problem.
    centre = float(margin.mean()) if with_offset else 0.0
    unit = float(np.sqrt(((margin - centre) ** 2).mean())) or 1.0
    scaled = (margin - centre) / unit

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        logit = parameters[0] * scaled + (parameters[1] if with_offset else 0.0)
        residual = special.expit(logit) - target
        gradient = np.array([residual @ scaled, residual.sum()])[: len(parameters)]
        return float((np.logaddexp(0.0, logit) - target * logit).mean()), gradient / len(target)

    start = [1.0, float(special.logit(target.mean()))][: 2 if with_offset else 1]
    bounds = [(0.0, None), (None, None)][: len(start)]
    options = {"maxiter": 1000, "ftol": 1e-15, "gtol": 1e-10}
    fitted = optimize.minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options).x
    scale = float(fitted[0]) / unit
    return LogisticMap(scale, float(fitted[1]) - scale * centre if with_offset else 0.0)


def _both_classes(labels: ArrayLike, margins: ArrayLike) -> tuple[BoolArray, FloatArray]:
    present, margin, _ = as_labels_and_scores(labels, margins)
    if present.all() or not present.any():
        raise MetricInputError("calibration needs positives and negatives, there is only one of them")
    return present, margin


def _enough(labels: FloatArray, patients: np.ndarray, min_events: int) -> bool:
    return all(len(np.unique(patients[labels == label])) >= max(min_events, 1) for label in (0, 1))
