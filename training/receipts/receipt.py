"""Receipts as data: what they hold, reading and writing them, and what two of one measurement differ in."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from anatomy_vlm.processing.atomic_files import write_json
from anatomy_vlm.processing.data_files import DataFileError, read_json_file
from anatomy_vlm.training.receipts.errors import ReceiptError


RECEIPT_VERSION = "1.0"
# By how much numbers of the same code, data and weights may differ on another machine, where sums are rounded in
# another order: two films whose scores almost tie change places. Decisions depend on a threshold that was selected on
# validation films and jumps to the next score.
TOLERANCES = {"default": 0.002, "balanced_accuracy": 0.03, "f1": 0.03, "interval": 0.01}
# Films that are drawn on another kind of processor may differ by a grey level here and there, not by their mean.
MEAN_GREY_TOLERANCE = 0.05


@dataclass(frozen=True)
class Number:
    """
    One measured number.

    Args:
        name: Unique in its receipt, such as "image findings | roc_auc | macro".
        value: None where the metric is not defined.
        low, high: Ends of its interval; None where there is none.
        baseline: The same of a guess that does not look at the image; None where there is none.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    baseline: float | None = None

    @property
    def kind(self) -> str:
        """Which tolerance it has: that of a metric that its name holds, or "default"."""
        parts = [part.strip().lower().replace(" ", "_") for part in self.name.split("|")]
        return next((part for part in parts if part in TOLERANCES), "default")


def number(
    name: str, value: float, low: float = math.nan, high: float = math.nan, baseline: float = math.nan
) -> Number:
    """A `Number` of floats, where NaN stands for none."""
    return Number(name, *(None if math.isnan(x) else float(x) for x in (value, low, high, baseline)))


@dataclass(frozen=True)
class Receipt:
    """
    What was measured, with what, on what; see `receipt_schema.json`.

    Args:
        task: What was measured: a name of `anatomy_vlm.training.receipts.tasks`.
        command: As it was typed.
        settings: Of the task, seeds among them.
        model: See `describe_model`; None where the task has no model of its own.
        data: By the name under which the task knows it: `loader`, `arguments`, `split` and `describe_split`.
        numbers: The results.
        code, libraries, machine: See `anatomy_vlm.training.receipts.environment`.
        tolerances: By metric, how far a number may be off when it is measured again.
        version: Of the format.
    """

    task: str
    command: str
    settings: Mapping[str, Any]
    model: Mapping[str, Any] | None
    data: Mapping[str, Mapping[str, Any]]
    numbers: tuple[Number, ...]
    code: Mapping[str, Any]
    libraries: Mapping[str, str]
    machine: Mapping[str, Any]
    tolerances: Mapping[str, float] = field(default_factory=lambda: dict(TOLERANCES))
    version: str = RECEIPT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Plain data of `receipt_schema.json`."""
        values = asdict(self)
        values["numbers"] = [asdict(item) for item in self.numbers]
        return {"receipt_version": values.pop("version"), **values}

    def save(self, path: str | Path) -> None:
        """Write JSON; the file is whole or not there."""
        write_json(path, self.to_dict())


def load_receipt(path: str | Path) -> Receipt:
    """
    Read a receipt.

    Raises:
        ReceiptError: no such file, not JSON, no receipt, or one of another version.
    """
    try:
        values = read_json_file(path)
    except OSError as error:
        raise ReceiptError(f"{path}: cannot be read ({error.strerror or error})") from None
    except DataFileError as error:
        raise ReceiptError(f"{path}: {error}") from None
    if not isinstance(values, dict) or "receipt_version" not in values:
        raise ReceiptError(f"{path}: no receipt; `anatomy-vlm evaluate ... --receipt FILE` writes one")
    found = str(values.pop("receipt_version"))
    if found.partition(".")[0] != RECEIPT_VERSION.partition(".")[0]:
        raise ReceiptError(f"{path}: a receipt of version {found}; this package reads version {RECEIPT_VERSION}")
    try:
        numbers = tuple(Number(**item) for item in values.pop("numbers"))
        receipt = Receipt(numbers=numbers, version=found, **values)
    except (TypeError, KeyError) as error:
        raise ReceiptError(f"{path}: not a whole receipt: {error}") from None
    _check_kinds(receipt, str(path))
    if len({item.name for item in receipt.numbers}) != len(receipt.numbers):
        raise ReceiptError(f"{path}: two numbers of one name")
    return receipt


_MODEL_KEYS: dict[str, Any] = {"source": str, "weights": str, "files": dict}
_DATA_KEYS: dict[str, Any] = {
    "loader": str, "arguments": dict, "split": str, "images": int, "patients": int, "ids": str, "labels": str,
    "pixels": str | None, "mean_grey": float | int | None,
}  # fmt: skip


def _check_kinds(receipt: Receipt, where: str) -> None:
    """Raises `ReceiptError` for values of other kinds than `receipt_schema.json` has them."""
    texts = (("task", receipt.task), ("command", receipt.command), *(("numbers", n.name) for n in receipt.numbers))
    wrong = [name for name, value in texts if not isinstance(value, str)]
    mappings = ("settings", "data", "code", "libraries", "machine", "tolerances")
    wrong += [name for name in mappings if not isinstance(getattr(receipt, name), dict)]
    if wrong:
        raise ReceiptError(f"{where}: not a whole receipt: '{wrong[0]}' is of another kind than receipts have it")
    for item in receipt.numbers:
        if not all(_is_number(x) or x is None for x in (item.value, item.low, item.high, item.baseline)):
            raise ReceiptError(f"{where}: not a whole receipt: '{item.name}' is no number")
    if not all(_is_number(x) for x in receipt.tolerances.values()) or "default" not in receipt.tolerances:
        raise ReceiptError(f"{where}: not a whole receipt: 'tolerances' needs numbers, one of them 'default'")
    rows: list[tuple[str, Any, dict[str, Any]]] = [(f"data {k}", v, _DATA_KEYS) for k, v in receipt.data.items()]
    if receipt.model is not None:
        rows.append(("model", receipt.model, _MODEL_KEYS))
    for name, row, kinds in rows:
        for key, kind in kinds.items():
            if not isinstance(row, dict) or key not in row or not isinstance(row[key], kind):
                raise ReceiptError(f"{where}: not a whole receipt: {name}: '{key}' is missing or of another kind")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def differences(old: Receipt, new: Receipt) -> list[str]:
    """What a second measurement contradicts in a receipt, one line each; none if it verifies."""
    found = []
    if old.model and new.model:
        if old.model["weights"] != new.model["weights"]:
            found.append(f"model {old.model['source']}: other weights")
        names = sorted({*old.model["files"], *new.model["files"]})
        changed = [name for name in names if old.model["files"].get(name) != new.model["files"].get(name)]
        found += [f"model {old.model['source']}: another {name}" for name in changed]
    for name in old.data:
        found += _data_differences(name, old.data[name], new.data.get(name), _same_processor(old, new))
    found += _number_differences(old.numbers, new.numbers, old.tolerances)
    return found


def remarks(old: Receipt, new: Receipt) -> list[str]:
    """What is other than it was, and may be: code, libraries, machine, the last grey level of redrawn films."""
    found = [
        f"code {key} was {old.code.get(key)}, is {new.code.get(key)}"
        for key in ("version", "commit")
        if old.code.get(key) != new.code.get(key)
    ]
    if old.code.get("dirty"):
        found.append("the receipt was made with changes that are in no commit")
    found += [
        f"{name} was {was}, is {new.libraries.get(name, 'not installed')}"
        for name, was in old.libraries.items()
        if was != new.libraries.get(name)
    ]
    if not _same_processor(old, new):
        found.append(f"processor was {old.machine.get('processor')}, is {new.machine.get('processor')}")
        pixels = [k for k in old.data if k in new.data and old.data[k]["pixels"] != new.data[k]["pixels"]]
        found += [f"data {name}: drawn again with other grey levels here and there" for name in pixels]
    return found


def _same_processor(old: Receipt, new: Receipt) -> bool:
    same_code = old.libraries.get("numba") == new.libraries.get("numba")
    return old.machine.get("processor") == new.machine.get("processor") and same_code


def _data_differences(
    name: str, old: Mapping[str, Any], new: Mapping[str, Any] | None, same_processor: bool
) -> Iterable[str]:
    if new is None:
        yield f"data {name}: was not measured again"
        return
    for key in ("images", "patients"):
        if old[key] != new[key]:
            yield f"data {name}: {old[key]} {key} in the receipt, {new[key]} here"
    for key, title in (("ids", "image or patient names"), ("labels", "boxes, labels or statements")):
        if old[key] != new[key]:
            yield f"data {name}: other {title}"
    if old["pixels"] != new["pixels"]:
        redrawn = old["loader"] == "phantom" and not same_processor and None not in (old["pixels"], new["pixels"])
        if not redrawn or abs(old["mean_grey"] - new["mean_grey"]) > MEAN_GREY_TOLERANCE:
            yield f"data {name}: other images"


def _number_differences(
    old: Iterable[Number], new: Iterable[Number], tolerances: Mapping[str, float]
) -> Iterable[str]:
    measured = {item.name: item for item in new}
    for item in old:
        again = measured.pop(item.name, None)
        if again is None:
            yield f"{item.name}: was not measured again"
            continue
        tolerance = tolerances.get(item.kind, tolerances["default"])
        spread = max(tolerance, tolerances.get("interval", tolerance))
        for part, allowed in (("value", tolerance), ("low", spread), ("high", spread), ("baseline", tolerance)):
            was, now = getattr(item, part), getattr(again, part)
            if (was is None) != (now is None) or (was is not None and abs(was - now) > allowed):
                label = item.name if part == "value" else f"{item.name}, {part}"
                yield f"{label}: {_shown(was)} in the receipt, {_shown(now)} here (tolerance {allowed:g})"
    yield from (f"{name}: is not in the receipt" for name in measured)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
