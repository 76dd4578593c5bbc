"""What a small network says of a film's pose and kind: is it upright, unmirrored, positive, whole, frontal, a chest?

The network looks at the film in all 16 poses (4 turns, mirrored or not, negative or not) and scores each for being
the right one, so that what it says of a film and of its mirror image, or its negative, is exactly opposite. It was
trained on drawn films only (`training.film_audit`); its weights lie beside this file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn


GRID = 64
KINDS = ("frontal", "lateral", "other")
NUM_POSES = 16
WEIGHTS = Path(__file__).parent / "film_audit.safetensors"
SETTINGS = WEIGHTS.with_suffix(".json")
FLAGS = ("not_a_chest", "lateral", "rotated", "inverted", "flipped", "cropped")
_REASONS = {
    "flipped": "heart and aorta lie as in a mirror image: the film may be flipped, or the situs inverted",
    "rotated": "the picture looks more like a chest once it is turned",
    "inverted": "the picture looks more like a chest as its negative: bone may be dark",
    "cropped": "a part of the lungs is cut off",
    "lateral": "the picture looks like a lateral film",
    "not_a_chest": "the picture does not look like a chest film",
}
_BATCH = 16
_CHANNELS = (12, 24, 48, 64)


class FilmAuditNetwork(nn.Module):
    """Four strided convolutions and a layer; about 110,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for index, after in enumerate(_CHANNELS):
            size = 5 if index == 0 else 3
            layers += [
                nn.Conv2d(before, after, size, stride=2, padding=size // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
            before = after
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3))
        self.hidden = nn.Linear(before * (GRID // 2 ** len(_CHANNELS)) ** 2, 64)
        self.dropout = nn.Dropout(0.2)
        self.pose = nn.Linear(64, 1)
        self.kind = nn.Linear(64, len(KINDS))
        self.cropped = nn.Linear(64, 1)

    def forward(
        self, grids: torch.Tensor, seen: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Logits of the poses (n, p), of the kinds (n, 3) and of being cropped (n,).

        Args:
            grids (`torch.Tensor` of shape `(n, 64, 64)`): As `rank_grids` makes them.
            seen (`Sequence[int]`, *optional*): The p poses to look at; all 16 by default.
        """
        views = poses(grids) if seen is None else poses(grids)[:, list(seen)]
        hidden = self.dropout(nn.functional.relu(self.hidden(self.features(views.flatten(0, 1)[:, None]))))
        hidden = hidden.unflatten(0, views.shape[:2])
        # What kind of film it is and whether it is whole do not depend on how it is held: the mean over the poses.
        return self.pose(hidden)[..., 0], self.kind(hidden).mean(1), self.cropped(hidden)[..., 0].mean(1)


def poses(grids: torch.Tensor) -> torch.Tensor:
    """
    Grids (n, s, s) in their 16 poses (n, 16, s, s): pose `8 * negative + 4 * mirrored + quarter turns`, mirrored
    first and turned anticlockwise then; pose 0 is the grid itself.
    """
    mirrored = (grids, grids.flip(-1))
    positive = torch.stack([torch.rot90(view, turns, (-2, -1)) for view in mirrored for turns in range(4)], dim=1)
    return torch.cat((positive, -positive), dim=1)


def rank_grids(films: torch.Tensor) -> torch.Tensor:
    """
    Mean ranks of the pixels of each film (n, s, s), scaled to [-1, 1]: no window, gamma or film look changes them, a
    negative is minus the film, and an empty film is 0.
    """
    flat = films.flatten(1).contiguous().float()
    order = flat.sort(dim=1).values
    below, upto = (torch.searchsorted(order, flat, right=right) for right in (False, True))
    return ((below + upto).float() / flat.shape[1] - 1).view_as(films)


def film_grid(image: np.ndarray) -> NDArray[np.float32]:
    """A film (height, width) at 64x64, its sides stretched to a square. Raises `ValueError` for another shape."""
    pixels = np.asarray(image)
    if pixels.ndim != 2 or 0 in pixels.shape:
        raise ValueError(f"a film has to be of shape (height, width), got {pixels.shape}")
    return np.asarray(Image.fromarray(pixels.astype(np.float32)).resize((GRID, GRID), Image.Resampling.BOX))


@torch.inference_mode()
def film_evidence(
    images: Sequence[np.ndarray], network: FilmAuditNetwork | None = None
) -> dict[str, NDArray[np.float64]]:
    """
    Log-odds of each doubt for n films (height, width), bone bright; each of shape (n,).

    `"flipped"`: mirrored against not, of an upright film; exactly the opposite for the film's mirror image.
    `"rotated"`: turned by 90, 180 or 270 degrees against upright. `"inverted"`: negative against positive.
    `"cropped"`: a part of the lungs is cut off. `"lateral"`, `"not_a_chest"`: of this kind against the others.

    Raises `ValueError` for a film of another shape.
    """
    model = network or _network()
    parts = []
    for start in range(0, len(images), _BATCH):
        grids = torch.from_numpy(np.stack([film_grid(image) for image in images[start : start + _BATCH]]))
        parts.append([part.double() for part in model(rank_grids(grids))])
    if not parts:
        return {name: np.zeros(0) for name in FLAGS}
    pose, kind, cropped = (torch.cat(column) for column in zip(*parts, strict=True))
    return evidence_of(pose, kind, cropped)


def evidence_of(pose: torch.Tensor, kind: torch.Tensor, cropped: torch.Tensor) -> dict[str, NDArray[np.float64]]:
    """The log-odds of `film_evidence` from the logits of the network for all 16 poses."""
    by_pose = pose.view(-1, 2, 2, 4)  # negative, mirrored, turns
    evidence = {
        "not_a_chest": kind[:, 2] - _log_sum(kind[:, :2]),
        "lateral": kind[:, 1] - _log_sum(kind[:, [0, 2]]),
        "rotated": _log_sum(by_pose[..., 1:]) - _log_sum(by_pose[..., :1]),
        "inverted": _log_sum(by_pose[:, 1]) - _log_sum(by_pose[:, 0]),
        "flipped": _log_sum(by_pose[:, :, 1, :1]) - _log_sum(by_pose[:, :, 0, :1]),
        "cropped": cropped,
    }
    return {name: values.numpy() for name, values in evidence.items()}


def audit_flags(images: Sequence[np.ndarray]) -> list[list[dict[str, str]]]:
    """
    Per film (height, width) the reasons to doubt that it is an upright, unmirrored, positive, whole, frontal chest
    film: `"flag"` and `"reason"` each. Empty for a film without doubts.

    Of what is no frontal chest nothing else is said, and of a turned or negative film neither that it is mirrored nor
    that it is cut: that can be seen once it is upright.
    """
    evidence = film_evidence(images)
    limits = audit_limits()
    flags = []
    for row in range(len(images)):
        raised = [flag for flag in FLAGS if evidence[flag][row] > limits[flag]]
        for group in (("not_a_chest",), ("lateral",), ("rotated", "inverted")):
            if any(flag in raised for flag in group):
                raised = [flag for flag in raised if flag in group]
                break
        flags.append(
            [{"flag": flag, "reason": f"{_REASONS[flag]} (log-odds {evidence[flag][row]:.1f})"} for flag in raised]
        )
    return flags


def audit_limits() -> dict[str, float]:
    """Log-odds from which each flag is raised, chosen on drawn films (`film_audit.json`)."""
    return dict(_settings()["limits"])


@cache
def _settings() -> dict[str, Any]:
    return json.loads(SETTINGS.read_text(encoding="utf-8"))


def _log_sum(values: torch.Tensor) -> torch.Tensor:
    return values.flatten(1).logsumexp(1)


@cache
def _network() -> FilmAuditNetwork:
    from safetensors.torch import load_file

    network = FilmAuditNetwork()
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(WEIGHTS).items()})
    return network.eval()


__all__ = [
    "FLAGS",
    "GRID",
    "KINDS",
    "FilmAuditNetwork",
    "audit_flags",
    "audit_limits",
    "evidence_of",
    "film_evidence",
    "film_grid",
    "poses",
    "rank_grids",
]
