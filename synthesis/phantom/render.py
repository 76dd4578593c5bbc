"""One exposure: the chest's maps, the small structures and the line integral of a film."""

import math
from dataclasses import dataclass, field

import numpy as np

from .air import airway_chains, draw_gas, hilum_centres
from .azygos import azygos_chains
from .camera import Camera, build_camera
from .chest import Chest, build_chest
from .clutter import clutter_chains
from .devices import device_chains
from .findings import finding_chains
from .march import NUM_MAPS, M, march
from .parameters import PhantomParameters
from .primitives import plates, splat
from .skeleton import Chain, Plates, chain, curve, girdle_chains, rib_chains, spine_plates, sternum_plates
from .vessels import SEGMENTS, grow


# Linear attenuation per mm at the film's effective energy; bone and metal are the excess over soft tissue.
MU_SOFT, MU_BONE, MU_METAL = 0.0185, 0.031, 0.16
MARCH_DEPTH, MARCH_SPACING = 162.0, 9.0
VESSEL_LIMIT = 60_000


@dataclass
class Exposure:
    """What one film is made of.

    Args:
        maps: Millimetres of each structure of `march.MAPS`, (NUM_MAPS, S, S), sides being the patient's.
        line: Line integral of attenuation, (S, S).
        camera: The geometry, for landmarks.
        chest: The arrays behind it.
        chains: Small structures by name, in canonical millimetres.
    """

    maps: np.ndarray
    line: np.ndarray
    camera: Camera
    chest: Chest
    chains: dict[str, list[Chain]] = field(default_factory=dict)


def expose(parameters: PhantomParameters, *, spacing: float = MARCH_SPACING) -> Exposure:
    """Line integrals of one study; `spacing` in mm of the planes of depth, to be finer for views from the side."""
    body, pose, size = parameters.body, parameters.pose, parameters.image_size
    chest = build_chest(body, pose, parameters.findings, study_seed=parameters.study_seed)
    camera = build_camera(body, pose, size)
    maps = march_maps(chest, camera, spacing)
    air = maps[M["air_right"]] + maps[M["air_left"]]
    gas = maps[M["pneumothorax_right"]] + maps[M["pneumothorax_left"]]
    filled = maps[M["opacity_right"]] + maps[M["opacity_left"]]
    rho = float(chest.scalars["lung_rho"])
    water = 0.93 * maps[M["body"]] + 0.08 * (maps[M["heart"]] + maps[M["mediastinum"]] + maps[M["abdomen"]])
    water -= (0.93 - rho) * (air - gas) + 0.93 * gas
    water += (0.95 - rho) * filled
    water += 0.75 * maps[M["pleural_line"]]

    layer = np.zeros((size, size), np.float32)
    _draw_vessels(parameters, chest, camera, layer)
    # A vessel can replace no more lung than there is along the ray.
    open_lung = np.maximum(air - gas - filled, 0.0)
    water += np.minimum(1.0 * layer, 0.5 * open_lung)

    bone = np.zeros((size, size), np.float32)
    broken = {
        (finding.side, int(finding.values["rib"])): finding.values["angle"]
        for finding in parameters.findings
        if finding.name == "rib fracture"
    }
    bones = rib_chains(body, chest.table, broken) + girdle_chains(body, pose, chest.table)
    for item in bones:
        draw_chain(item, camera, bone)
    spine = spine_plates(body, chest.table)
    for plate in [*spine, sternum_plates(body, chest.table)]:
        draw_plates(plate, camera, bone)

    air_ways = airway_chains(chest.table)
    hollow = np.zeros((size, size), np.float32)
    for item in air_ways:
        draw_chain(item, camera, hollow)
    water -= np.minimum(hollow, 26.0)
    gut = np.zeros((size, size), np.float32)
    draw_gas(parameters, camera, gut)
    water -= np.minimum(gut, 0.6 * maps[M["abdomen"]])

    soft = np.zeros((size, size), np.float32)
    small = finding_chains(parameters, chest) + azygos_chains(body, chest.table)
    for item in small:
        draw_chain(item, camera, soft)
    water += np.minimum(soft, 60.0)
    metal = np.zeros((size, size), np.float32)
    devices = device_chains(parameters, chest) + clutter_chains(parameters)
    for item in devices:
        draw_chain(item, camera, metal)

    line = MU_SOFT * np.maximum(water, 0.0) + MU_BONE * bone + MU_METAL * np.minimum(metal, 8.0)
    chains: dict[str, list[Chain]] = {}
    for item in [*bones, *air_ways, *small, *devices]:
        chains.setdefault(item.name, []).append(item)
    return Exposure(maps=maps, line=line.astype(np.float32), camera=camera, chest=chest, chains=chains)


def march_maps(chest: Chest, camera: Camera, spacing: float = MARCH_SPACING) -> np.ndarray:
    """Structure maps with the patient's sides, (NUM_MAPS, S, S) float32."""
    maps = np.zeros((NUM_MAPS, camera.size, camera.size), np.float32)
    source, corner, step_u, step_v = camera.rays()
    march(source, corner, step_u, step_v, camera.scale, chest.table, chest.scalars, chest.blobs, chest.noise,
          MARCH_DEPTH, spacing, maps)  # fmt: skip
    if camera.scale[0] < 0:
        for name in ("air", "fluid", "pneumothorax", "opacity"):
            a, b = M[f"{name}_right"], M[f"{name}_left"]
            maps[[a, b]] = maps[[b, a]]
    return maps


def draw_chain(item: Chain, camera: Camera, out: np.ndarray) -> None:
    """Project a chain into a map (mm)."""
    pixels, zoom = camera.project(item.points)
    radii = np.stack([item.radius_x * zoom, item.radius_z * zoom], axis=1)
    scale = abs(float(np.prod(camera.scale))) ** (1 / 3)
    splat(pixels, radii, item.volume * zoom**2 * scale, item.hollow, out)


def draw_plates(item: Plates, camera: Camera, out: np.ndarray) -> None:
    """Project soft-edged boxes into a map (mm)."""
    pixels, zoom = camera.project(item.centres)
    up, _ = camera.project(item.centres + np.array([0.0, 0.0, 4.0]))
    roll = np.arctan2(up[:, 0] - pixels[:, 0], pixels[:, 1] - up[:, 1])
    half = item.half * np.abs(camera.scale[[0, 2]])
    axes = np.stack([half[:, 0] * zoom, half[:, 1] * zoom, np.cos(roll), np.sin(roll)], axis=1)
    plates(pixels, axes, item.thickness, np.maximum(item.soft * zoom, 1.0), out)


def _draw_vessels(parameters: PhantomParameters, chest: Chest, camera: Camera, layer: np.ndarray) -> None:
    body = parameters.body
    hila = hilum_centres(chest)
    congestion = max((f.values.get("congestion", 0.0) for f in parameters.findings), default=0.0)
    spread = body.vessel_scale * (1 + 0.25 * congestion)
    upright = 0.15 if parameters.pose.view == "PA" else 0.55
    points, radii, share, count = grow(
        body.anatomy_seed,
        hila,
        SEGMENTS,
        spread,
        max(upright, congestion),
        chest.table,
        chest.scalars,
        VESSEL_LIMIT,
    )
    points, radii, share = points[:count], radii[:count], share[:count]
    real = abs(float(np.prod(camera.scale))) ** (1 / 3)
    pixels, zoom = camera.project(points)
    radius = radii * real
    # The branches soften away from the focus of the film: sub-pixel ones keep their mass by widening.
    volume = math.pi * radius**2 * share * real
    splat(pixels, np.stack([radius * zoom] * 2, axis=1), volume * zoom**2, 0.0, layer)
    for index, knots in (
        (0, [(14, 2, 6, 9), (0, 0, 2, 8.5), (-6, -3, -18, 7), (-10, -8, -42, 5)]),
        (1, [(-16, 12, 6, 9.5), (-4, 2, 10, 9), (4, -6, -2, 7.5), (5, -10, -30, 5.5)]),
    ):
        values = np.array(knots, float)
        values[:, :3] += hila[index]
        curved, _ = curve(values, 2.0)
        draw_chain(chain("pulmonary_artery", curved[:, :3], curved[:, 3] * spread), camera, layer)
