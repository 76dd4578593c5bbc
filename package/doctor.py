"""What this installation can do, what it lacks, and how to mend it."""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement


DISTRIBUTION = "anatomy-vlm"
FREE_GIB = 5.0


@dataclass(frozen=True)
class Finding:
    """
    Args:
        topic: What was looked at.
        state: "ok", "note" (works, but not everything does) or "problem" (something will fail).
        text: What was found, and for what is not ok the cure.
    """

    topic: str
    state: str
    text: str


def examine() -> list[Finding]:
    """Look at Python, libraries, extras, device, memory, disk and the Hub's settings. Fetches nothing."""
    return [*_libraries(), *_extras(), _device(), _threads(), _disk(), *_hub(), _reference()]


def _installed(requirement: Requirement) -> str | None:
    try:
        return version(requirement.name)
    except PackageNotFoundError:
        return None


def _libraries() -> list[Finding]:
    """The required libraries against the versions that this package declares."""
    findings = [Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")]
    for text in requires(DISTRIBUTION) or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _installed(requirement)
        if found is None:
            findings.append(Finding(requirement.name, "problem", f'missing: pip install "{requirement}"'))
        elif not requirement.specifier.contains(found, prereleases=True):
            findings.append(Finding(requirement.name, "problem", f'{found}: pip install "{requirement}"'))
        else:
            findings.append(Finding(requirement.name, "ok", found))
    return findings


def _extras() -> list[Finding]:
    """Each extra, and which of its libraries are missing."""
    findings = []
    for extra in sorted(metadata(DISTRIBUTION).get_all("Provides-Extra") or []):
        if extra in ("test", "dev", "bench", "docs", "audit"):
            continue
        missing = sorted(_missing_of(extra))
        if missing:
            cure = f'without {", ".join(missing)}: pip install "{DISTRIBUTION}[{extra}]"'
            findings.append(Finding(f"extra {extra}", "note", cure))
        else:
            findings.append(Finding(f"extra {extra}", "ok", "installed"))
    return findings


def _missing_of(extra: str) -> set[str]:
    missing = set()
    for text in requires(DISTRIBUTION) or []:
        requirement = Requirement(text)
        if requirement.marker is None or not requirement.marker.evaluate({"extra": extra}):
            continue
        if requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name == DISTRIBUTION:
            for other in requirement.extras:
                missing |= _missing_of(other)
        elif _installed(requirement) is None:
            missing.add(requirement.name)
    return missing


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("device", "ok", f"{', '.join(names)}; CUDA {torch.version.cuda}")
    if torch.version.cuda:
        return Finding("device", "note", f"PyTorch for CUDA {torch.version.cuda}, but no device: check the driver")
    return Finding("device", "ok", "CPU; for a GPU install PyTorch for CUDA")


def _threads() -> Finding:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    if threads > cores:
        cure = f"set OMP_NUM_THREADS={cores}"
        return Finding("threads", "note", f"{threads} of PyTorch on {cores} cores slow each other down: {cure}")
    return Finding("threads", "ok", f"{threads} of PyTorch on {cores} cores")


def _disk() -> Finding:
    place = Path(os.environ.get("HF_HOME") or Path.home() / ".cache")
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    if not os.access(place, os.W_OK):
        return Finding("cache", "problem", f"{place} cannot be written: set HF_HOME to a folder that can")
    if free < FREE_GIB:
        return Finding("cache", "note", f"{free:.1f} GiB free at {place}: models and prepared films may not fit")
    return Finding("cache", "ok", f"{free:.0f} GiB free at {place}")


def _hub() -> list[Finding]:
    from huggingface_hub import constants, get_token

    findings = []
    if constants.HF_HUB_OFFLINE:
        findings.append(Finding("hub", "note", "offline (HF_HUB_OFFLINE): only what is in the cache can be loaded"))
    else:
        findings.append(Finding("hub", "ok", f"{constants.ENDPOINT}, asked only for what is named by a Hub id"))
    there = "there is one" if get_token() else "none; needed to push and for gated models: hf auth login"
    findings.append(Finding("token", "ok" if get_token() else "note", there))
    return findings


def _reference() -> Finding:
    from anatomy_vlm.hub_cards import REFERENCE_MODEL
    from anatomy_vlm.training.model_folder import load_checkpoint

    try:
        model, _ = load_checkpoint(REFERENCE_MODEL)
    except ValueError as error:
        return Finding("reference checkpoint", "problem", f"{error}; install the package again")
    count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return Finding("reference checkpoint", "ok", f"loads, {count:.0f} million weights, knows synthetic films only")


def to_text(findings: list[Finding]) -> str:
    """One line per finding; what is not ok is marked."""
    marks = {"ok": " ", "note": "-", "problem": "!"}
    width = max(len(finding.topic) for finding in findings)
    lines = [f"{marks[f.state]} {f.topic:<{width}}  {f.text}" for f in findings]
    problems = sum(f.state == "problem" for f in findings)
    lines.append(f"{problems} problems" if problems else f"no problems; Python at {sys.executable}")
    return "\n".join(lines)
