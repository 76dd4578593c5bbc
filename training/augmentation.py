"""Training augmentation of batches of radiographs: geometry that keeps left and right, and the look of the film."""

from dataclasses import dataclass, fields

import torch
from torch.nn import functional


NUM_DRAWS = 19
# Each bar is at most as broad as those of a 3:2 film.
MAX_BAR = 1 / 6


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """
    Strengths of the augmentations; 0 switches one off. There is no flip: left is the patient's left.

    Args:
        zoom: Largest relative change of size, per axis half independent.
        shift: Largest shift, as a fraction of the side.
        contrast: Largest change of the logarithm of the contrast.
        brightness: Largest shift of the brightness, as a fraction of the grey range.
        gamma: Largest change of the logarithm of the gamma.
        noise: Largest standard deviation of the noise, as a fraction of the grey range.
        blur: Probability of a slight blur.
        erase: Probability of covering a rectangle with a flat grey, as tubes, labels and collimators do.
        invert: Probability of the inverted film.
        bars: Probability of black bars at two opposite sides, as letter-boxing gives a film that is not square.
    """

    zoom: float = 0.15
    shift: float = 0.08
    contrast: float = 0.3
    brightness: float = 0.1
    gamma: float = 0.3
    noise: float = 0.03
    blur: float = 0.2
    erase: float = 0.1
    invert: float = 0.0
    bars: float = 0.0

    def __post_init__(self) -> None:
        for f in fields(self):
            if not 0 <= getattr(self, f.name) <= 1:
                raise ValueError(f"augmentation '{f.name}' must be within [0, 1], not {getattr(self, f.name)}")

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        """Random numbers in [0, 1] for one image: all that `augment` needs, so that any process draws the same."""
        return torch.rand(NUM_DRAWS, generator=generator)


def augment(
    images: torch.Tensor, boxes: torch.Tensor, box_mask: torch.Tensor, draws: torch.Tensor, options: Augmentation
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Augment a batch.

    Args:
        images (`torch.Tensor` of shape `(batch_size, side, side)`): Grey values in [0, 1].
        boxes (`torch.Tensor` of shape `(batch_size, num_regions, 4)`): xyxy, as fractions of the image.
        box_mask (`torch.BoolTensor` of shape `(batch_size, num_regions)`): Which boxes exist.
        draws (`torch.Tensor` of shape `(batch_size, NUM_DRAWS)`): Uniform random numbers, see `Augmentation.sample`.
        options: Strengths.

    Returns:
        Images, boxes and mask. Boxes are clipped to the image; a region less than a quarter of which is left in the
        picture is no longer there.
    """
    frame = _frames(draws, options)
    images, boxes, box_mask = _move(images, boxes, box_mask, draws, options, frame)
    return _cover(_look(images, draws, options), frame), boxes, box_mask


def _frames(draws: torch.Tensor, options: Augmentation) -> torch.Tensor:
    """What the bars leave of each image, xyxy in [0, 1]."""
    width = MAX_BAR * draws[:, 17] * (draws[:, 16] < options.bars)
    upright = draws[:, 18] < 0.5
    x, y = width * upright, width * ~upright
    return torch.stack((x, y, 1 - x, 1 - y), dim=1)


def _cover(images: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
    centers = (torch.arange(images.shape[-1], device=images.device) + 0.5) / images.shape[-1]
    columns = (centers >= frame[:, :1]) & (centers <= frame[:, 2:3])
    rows = (centers >= frame[:, 1:2]) & (centers <= frame[:, 3:])
    return images * (rows[:, :, None] & columns[:, None, :])


def placement(draws: torch.Tensor, options: Augmentation) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Scale and offset, `(batch_size, 2)` each, of x and y: output coordinates u in [-1, 1] show the input at scale * u +
    offset. A scale below 1 magnifies.
    """
    signed = draws * 2 - 1
    zoom, stretch = signed[:, 0] * options.zoom, signed[:, 1] * options.zoom / 2
    scale = torch.stack((torch.exp(zoom + stretch), torch.exp(zoom - stretch)), dim=1)
    return scale, signed[:, 2:4] * options.shift * 2


def move_maps(maps: torch.Tensor, draws: torch.Tensor, options: Augmentation) -> torch.Tensor:
    """Move maps `(batch_size, channels, side, side)`, such as masks, as `augment` moves the images of these draws."""
    scale, offset = placement(draws, options)
    theta = maps.new_zeros(len(maps), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale[:, 0], scale[:, 1], offset
    grid = functional.affine_grid(theta, [len(maps), 1, *maps.shape[-2:]], align_corners=False)
    return functional.grid_sample(maps, grid, padding_mode="zeros", align_corners=False)


def _move(images, boxes, box_mask, draws, options, frame):
    scale, offset = placement(draws, options)
    images = move_maps(images[:, None], draws, options)[:, 0]
    corners = boxes.unflatten(-1, (2, 2)) * 2 - 1
    moved = ((corners - offset[:, None, None]) / scale[:, None, None] + 1) / 2
    clipped = moved.maximum(frame[:, None, None, :2]).minimum(frame[:, None, None, 2:])
    area = (moved[..., 1, :] - moved[..., 0, :]).prod(-1)
    visible = (clipped[..., 1, :] - clipped[..., 0, :]).prod(-1)
    return images, clipped.flatten(-2), box_mask & (visible > 0.25 * area)


def _look(images: torch.Tensor, draws: torch.Tensor, options: Augmentation) -> torch.Tensor:
    signed = draws * 2 - 1
    column = (slice(None), None, None)
    images = images.clamp(0, 1) ** torch.exp(signed[:, 4] * options.gamma)[column]
    images = (images - 0.5) * torch.exp(signed[:, 5] * options.contrast)[column] + 0.5
    images = images + (signed[:, 6] * options.brightness)[column]
    if options.blur:
        blurred = functional.avg_pool2d(images[:, None], 3, stride=1, padding=1, count_include_pad=False)[:, 0]
        images = torch.where((draws[:, 7] < options.blur)[column], blurred, images)
    if options.erase:
        images = _erase(images, draws, options.erase)
    if options.noise:
        images = images + _noise(images, draws) * (draws[:, 13] * options.noise)[column]
    images = images.clamp(0, 1)
    return torch.where((draws[:, 14] < options.invert)[column], 1 - images, images)


def _erase(images: torch.Tensor, draws: torch.Tensor, probability: float) -> torch.Tensor:
    side = torch.linspace(0, 1, images.shape[-1], device=images.device)
    height, width = 0.05 + 0.2 * draws[:, 9:10], 0.05 + 0.2 * draws[:, 10:11]
    rows = (side - draws[:, 11:12]).abs() < height / 2
    columns = (side - draws[:, 12:13]).abs() < width / 2
    covered = rows[:, :, None] & columns[:, None, :] & (draws[:, 8] < probability)[:, None, None]
    return torch.where(covered, draws[:, 13, None, None].expand_as(images), images)


def _noise(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Standard normal noise that depends on the draws of its image alone, not on the batch or the process."""
    noise = torch.empty_like(images)
    for index, seed in enumerate((draws[:, 15] * 2**24).long().tolist()):
        generator = torch.Generator(images.device).manual_seed(seed)
        noise[index] = torch.randn(images.shape[1:], generator=generator, device=images.device)
    return noise
