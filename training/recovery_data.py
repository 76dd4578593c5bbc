"""Training images whose failures have a name."""

from typing import Any, Protocol

import datasets
import torch

from anatomy_vlm.training.recovery import BadExample, one_line


class Images(Protocol):
    """What `GuardedImages` needs of the images that it guards."""

    def set_epoch(self, epoch: int) -> None: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]: ...


class GuardedImages(torch.utils.data.Dataset):
    """
    Training images that say which one of them cannot be read, and which ones a batch is made of.

    Args:
        images: The images. Each gets an entry `example`, its number.
        source: The examples that they were made from, in the same order, with `image_id`.
        files: Where the prepared images are kept.
    """

    def __init__(self, images: Images, source: datasets.Dataset | None = None, files: tuple[str, ...] = ()):
        self.images = images
        self.source = source.select_columns(["image_id"]) if source is not None else None
        self.files = files
        # Shared, so that workers that live on from epoch to epoch know which one it is.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def name(self, index: int) -> str:
        """The image's id, or its number where it has none."""
        return str(self.source[index]["image_id"]) if self.source is not None else f"number {index}"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            self.images.set_epoch(int(self._epoch))
            item = self.images[index]
        except Exception as error:
            files = f"; it is kept in {', '.join(self.files)}: delete that and it is made again" if self.files else ""
            raise BadExample(
                f"training image '{self.name(index)}' cannot be read: {type(error).__name__}: {one_line(error)}{files}"
            ) from error
        return {**item, "example": torch.tensor(index)}
