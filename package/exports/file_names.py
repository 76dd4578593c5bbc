"""File names for what belongs to one film."""

from pathlib import Path


class FilmStems:
    """Names after the films' files; films of one name are told apart by a number."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def of(self, file: str | Path) -> str:
        """
        The name for the next film.

        Example:
            >>> stems = FilmStems()
            >>> stems.of("ward/a.png"), stems.of("a.dcm"), stems.of("b.dcm")
            ('a', 'a-2', 'b')
        """
        stem = Path(file).stem
        number = self._taken[stem] = self._taken.get(stem, 0) + 1
        return stem if number == 1 else f"{stem}-{number}"


__all__ = ["FilmStems"]
