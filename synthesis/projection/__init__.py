"""Exact and fast projection of volumes and label maps onto a film."""

from anatomy_vlm.synthesis.projection.attenuation import Attenuation
from anatomy_vlm.synthesis.projection.geometry import Geometry
from anatomy_vlm.synthesis.projection.image import KeyPlanes, project_volume
from anatomy_vlm.synthesis.projection.labels import LabelProjection, LabelRuns, box_of_mask, project_labels
from anatomy_vlm.synthesis.projection.placement import voxel_to_world
from anatomy_vlm.synthesis.projection.torch_projection import project_labels_torch, project_volume_torch
from anatomy_vlm.synthesis.projection.validity import largest_rectangle, valid_rays


__all__ = [
    "Attenuation",
    "Geometry",
    "KeyPlanes",
    "LabelProjection",
    "LabelRuns",
    "box_of_mask",
    "largest_rectangle",
    "project_labels",
    "project_labels_torch",
    "project_volume",
    "project_volume_torch",
    "valid_rays",
    "voxel_to_world",
]
