"""Licences of what this package asks for, from what the installed libraries say of themselves.

python -m anatomy_vlm.licences
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires

from packaging.requirements import Requirement


DISTRIBUTION = "anatomy-vlm"
# Free to use in any software, with the notices kept; of the Mozilla licence only its own files are bound.
PERMISSIVE = re.compile(
    r"\b(MIT(-CMU)?|(Free|0)?BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|HPND|Unlicense|Zlib|CC0)\b",
    re.I,
)
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|GNU|SSPL|EUPL|CC.BY.(NC|SA))", re.IGNORECASE)


@dataclass(frozen=True)
class Licence:
    """
    Args:
        name: Of the distribution.
        extras: Extras of ours that ask for it; empty where it is always installed.
        text: What it says of its licence; empty where it says nothing or is not installed.
        kind: "permissive", "copyleft", "unknown" or "not installed".
    """

    name: str
    extras: tuple[str, ...]
    text: str
    kind: str


def report() -> list[Licence]:
    """Licences of all direct dependencies, of extras too, and of the plugins that we ask them for by their extras."""
    asked: dict[str, set[str]] = {}
    for name, extra in _asked():
        asked.setdefault(name, set()).add(extra)
    return [_licence(name, extras) for name, extras in sorted(asked.items())]


def _asked() -> Iterator[tuple[str, str]]:
    for text in requires(DISTRIBUTION) or []:
        requirement = Requirement(text)
        marker = re.search(r'extra == "([^"]+)"', str(requirement.marker or ""))
        extra = marker[1] if marker else ""
        name = _normal(requirement.name)
        if name == DISTRIBUTION:
            continue  # an extra that holds another
        yield name, extra
        for wanted in requirement.extras:
            for plugin in _plugins(name, wanted):
                yield plugin, extra


def _plugins(name: str, extra: str) -> Iterator[str]:
    """What an extra of another distribution asks for."""
    try:
        texts = requires(name) or []
    except PackageNotFoundError:
        return
    for text in texts:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and not marker.evaluate({"extra": ""}) and marker.evaluate({"extra": extra}):
            yield _normal(requirement.name)


def _licence(name: str, extras: set[str]) -> Licence:
    # What is always installed is so whatever extra asks for it as well.
    wanted = () if "" in extras else tuple(sorted(extras))
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return Licence(name, wanted, "", "not installed")
    classifiers = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    # An expression is exact, a classifier is one of a list, and the old field may hold the whole text.
    expression, field = ((about.get_all(name) or [""])[0] for name in ("License-Expression", "License"))
    text = expression or ", ".join(classifiers) or field.strip()
    text = text.splitlines()[0][:80] if text else ""
    if COPYLEFT.search(text):
        return Licence(name, wanted, text, "copyleft")
    return Licence(name, wanted, text, "permissive" if PERMISSIVE.search(text) else "unknown")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Print the report."""
    for entry in report():
        print(f"{entry.name:<28}{entry.kind:<15}{','.join(entry.extras):<32}{entry.text}")


if __name__ == "__main__":
    main()
