"""The X-ray geometry of one exposure: canonical chest points to film pixels, and pixels to rays.

World frame: x to the image's right (the patient's left), y anterior, z up, millimetres, isocentre at the origin. A
posteroanterior film has its source behind the patient (negative y), an anteroposterior one in front; both are
displayed with the patient's right on the image's left.
"""

import math
from dataclasses import dataclass

import numpy as np

from .parameters import BodyParameters, PoseParameters


@dataclass(frozen=True)
class Camera:
    """Perspective geometry.

    Args:
        source: World position of the source, (3,).
        plane_y: World y of the detector.
        pitch: Pixel size on the detector in mm.
        centre: Detector coordinates (x, z) of the film's centre in mm.
        size: Pixels per side.
        rotation: Body to world, (3, 3).
        scale: Real millimetres per canonical millimetre, (3,); x is negative for a mirrored situs.
    """

    source: np.ndarray
    plane_y: float
    pitch: float
    centre: tuple[float, float]
    size: int
    rotation: np.ndarray
    scale: np.ndarray

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (n, 2) as (column, row) of canonical points (n, 3), and pixels per real millimetre there (n,)."""
        world = (np.asarray(points, float) * self.scale) @ self.rotation.T
        t = (self.plane_y - self.source[1]) / (world[:, 1] - self.source[1])
        x = self.source[0] + t * (world[:, 0] - self.source[0])
        z = self.source[2] + t * (world[:, 2] - self.source[2])
        middle = (self.size - 1) / 2
        pixels = np.stack(
            [(x - self.centre[0]) / self.pitch + middle, middle - (z - self.centre[1]) / self.pitch], axis=1
        )
        return pixels, t / self.pitch

    def rays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Source, centre of pixel (0, 0), column step and row step in the body frame (real mm)."""
        middle = (self.size - 1) / 2
        corner = np.array([self.centre[0] - middle * self.pitch, self.plane_y, self.centre[1] + middle * self.pitch])
        back = self.rotation.T
        step_u = back @ np.array([self.pitch, 0.0, 0.0])
        step_v = back @ np.array([0.0, 0.0, -self.pitch])
        return back @ self.source, back @ corner, step_u, step_v


def rotation_matrix(rotation: float, lordosis: float, roll: float) -> np.ndarray:
    """Body to world: turn about the long axis, lean backwards, roll in the film plane (degrees)."""
    a, b, c = (math.radians(value) for value in (rotation, lordosis, roll))
    turn = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    lean = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    tilt = np.array([[math.cos(c), 0, math.sin(c)], [0, 1, 0], [-math.sin(c), 0, math.cos(c)]])
    return tilt @ lean @ turn


def build_camera(body: BodyParameters, pose: PoseParameters, size: int) -> Camera:
    """Camera of a body and a pose."""
    behind = pose.view == "PA"
    sign = -1.0 if behind else 1.0
    mirror = -1.0 if body.situs_inversus else 1.0
    return Camera(
        source=np.array([0.0, sign * pose.source_isocentre, 20.0]),
        plane_y=-sign * (pose.source_detector - pose.source_isocentre),
        pitch=pose.field_of_view / size,
        centre=(pose.centre_x, pose.centre_z),
        size=size,
        rotation=rotation_matrix(pose.rotation, pose.lordosis, pose.roll),
        scale=np.array([mirror * body.scale_x, body.scale_y, body.scale_z]),
    )
