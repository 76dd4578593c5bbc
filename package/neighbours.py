"""Nearest neighbours by region: an index of region embeddings, in one safetensors file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anatomy_vlm.processing.atomic_files import replacing
from anatomy_vlm.processing.data_files import DataFileError, one_line, parse_json
from anatomy_vlm.records import Record
from anatomy_vlm.training.evaluation.reader import Reader
from anatomy_vlm.training.evaluation.retrieval import recall_at_k


INDEX_VERSION = "1"


class IndexFileError(ValueError):
    """A file that is no index, or one that does not fit the model."""

    def __init__(self, message: object = ""):
        super().__init__(one_line(message))


@dataclass(frozen=True)
class RegionIndex:
    """Embeddings of the regions of n films, and what is known of them.

    Attributes:
        embeds: (n, R, D) float16, each of length 1.
        regions: R names.
        images: n names of films.
        patients: n names of patients.
        findings: n mappings from region to the findings that are stated to be present there.
        model: name of the checkpoint that made the embeddings.
    """

    embeds: np.ndarray
    regions: tuple[str, ...]
    images: tuple[str, ...]
    patients: tuple[str, ...]
    findings: tuple[dict[str, list[str]], ...]
    model: str

    @classmethod
    def build(cls, reader: Reader, dataset: Any, model: str, batch_size: int = 32) -> "RegionIndex":
        """Embed the films of a dataset in the schema of `processing.schema`."""
        from tqdm import tqdm

        parts = []
        for start in tqdm(range(0, len(dataset), batch_size), desc="index", unit="batch", disable=None):
            rows = dataset[start : start + batch_size]
            parts.append(reader.embed(rows["image"]).astype(np.float16))
        return cls(
            embeds=np.concatenate(parts),
            regions=reader.regions,
            images=tuple(dataset["image_id"]),
            patients=tuple(dataset["patient_id"]),
            findings=tuple(_present(entries) for entries in dataset["region_findings"]),
            model=model,
        )

    def save(self, path: str | Path) -> None:
        """Write the index whole or not at all."""
        from safetensors.numpy import save_file

        told = {
            "version": INDEX_VERSION,
            "model": self.model,
            **{name: json.dumps(getattr(self, name)) for name in ("regions", "images", "patients", "findings")},
        }
        with replacing(path) as beside:
            save_file({"embeds": np.ascontiguousarray(self.embeds)}, beside, metadata=told)

    @classmethod
    def load(cls, path: str | Path) -> "RegionIndex":
        """Read an index.

        Raises:
            IndexFileError: no such file, or not an index of this version.
        """
        from safetensors import SafetensorError, safe_open

        if not Path(path).is_file():
            raise IndexFileError(f"{path}: no such file; 'anatomy-vlm index' makes an index")
        try:
            with safe_open(path, "numpy") as stream:
                told, embeds = stream.metadata() or {}, stream.get_tensor("embeds")
        except (SafetensorError, TypeError, ValueError, OverflowError, AttributeError, KeyError) as error:
            raise IndexFileError(f"{path}: not an index of 'anatomy-vlm index' ({error})") from None
        if told.get("version") != INDEX_VERSION:
            raise IndexFileError(
                f"{path}: an index of version {told.get('version')}, not {INDEX_VERSION}; make it again"
            )
        try:
            lists = {name: parse_json(told[name]) for name in ("regions", "images", "patients", "findings")}
        except (KeyError, DataFileError) as error:
            raise IndexFileError(f"{path}: a damaged index ({error}); make it again") from None
        _check_parts(str(path), embeds, lists, told.get("model"))
        return cls(embeds=embeds, model=told["model"], **{name: tuple(values) for name, values in lists.items()})

    def nearest(self, embed: np.ndarray, region: str, count: int, *, model: str) -> list[Record]:
        """The films whose region is most like an embedding (D,), the most similar first.

        Returns:
            `image`, `patient`, `similarity` (cosine) and `findings` stated in that region, each.

        Raises:
            IndexFileError: the index is of another model, or has no such region.
        """
        self.check_model(model)
        if region not in self.regions:
            raise IndexFileError(f"the index has no region {region!r}")
        similarity = self.embeds[:, self.regions.index(region)].astype(np.float32) @ np.asarray(embed, np.float32)
        return [
            {
                "image": self.images[row],
                "patient": self.patients[row],
                "similarity": round(float(similarity[row]), 4),
                "findings": self.findings[row].get(region, []),
            }
            for row in np.argsort(-similarity, kind="stable")[:count]
        ]

    def check_model(self, model: str) -> None:
        """Raise `IndexFileError` for another model than the one that made the index."""
        if model != self.model:
            raise IndexFileError(f"the index is of the model {self.model!r}, not of {model!r}; make one with it")

    def recall(self, ks: Sequence[int] = (1, 5, 10), min_events: int = 10) -> dict[str, dict[str, Any]]:
        """Recall@k by finding: of the films with a finding in a region, the share with a film among the k nearest that
        has the same finding in the same region. Films of one's own patient are no neighbours.

        Returns:
            Per finding with at least `min_events` queries their number `queries`, and by k `recall`, and `chance`: the
            same for neighbours at random.
        """
        own = np.equal.outer(np.array(self.patients), np.array(self.patients))
        hits: dict[str, list[np.ndarray]] = {}
        chances: dict[str, list[np.ndarray]] = {}
        counts: dict[str, int] = {}
        for slot, region in enumerate(self.regions):
            embeds = self.embeds[:, slot].astype(np.float32)
            similarity = np.where(own, -np.inf, embeds @ embeds.T)
            for finding in sorted({name for film in self.findings for name in film.get(region, ())}):
                has = np.array([finding in film.get(region, ()) for film in self.findings])
                relevant = has[None, :] & ~own
                queries = has & relevant.any(axis=1)
                if not queries.any():
                    continue
                scores = np.where(np.isfinite(similarity[queries]), similarity[queries], -2.0)
                hits.setdefault(finding, []).append(recall_at_k(scores, relevant[queries], ks) * queries.sum())
                others = (~own[queries]).sum(axis=1)
                chances.setdefault(finding, []).append(_chance(relevant[queries].sum(axis=1), others, ks).sum(axis=0))
                counts[finding] = counts.get(finding, 0) + int(queries.sum())
        results = {}
        for finding, count in counts.items():
            if count >= min_events:
                results[finding] = {
                    "queries": count,
                    "recall": [round(float(v) / count, 4) for v in np.sum(hits[finding], axis=0)],
                    "chance": [round(float(v) / count, 4) for v in np.sum(chances[finding], axis=0)],
                }
        return results


def _check_parts(where: str, embeds: np.ndarray, lists: dict[str, Any], model: str | None) -> None:
    """Raises `IndexFileError` unless the parts of an index are of its kinds and fit each other."""
    texts = [lists[name] for name in ("regions", "images", "patients")]
    sound = all(isinstance(part, list) and all(isinstance(text, str) for text in part) for part in texts)
    sound = sound and isinstance(lists["findings"], list) and all(isinstance(told, dict) for told in lists["findings"])
    films, regions = len(lists["images"]) if sound else 0, len(lists["regions"]) if sound else 0
    sound = sound and {len(lists["patients"]), len(lists["findings"])} == {films} and model is not None
    if not sound or embeds.ndim != 3 or embeds.shape[:2] != (films, regions) or embeds.dtype != np.float16:
        raise IndexFileError(f"{where}: a damaged index, whose parts do not fit each other; make it again")


def _chance(relevant: np.ndarray, others: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """Chance that k films drawn from `others` without putting back hold one of the relevant ones, (queries, ks)."""
    out = np.zeros((len(relevant), len(ks)))
    for column, k in enumerate(ks):
        miss = np.ones(len(relevant))
        for drawn in range(k):
            miss *= np.clip(others - relevant - drawn, 0, None) / np.maximum(others - drawn, 1)
        out[:, column] = 1 - miss
    return out


def _present(entries: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in entries:
        if entry["polarity"] == "present" and entry["region"]:
            found.setdefault(entry["region"], [])
            if entry["finding"] not in found[entry["region"]]:
                found[entry["region"]].append(entry["finding"])
    return found
