"""What a number was measured on: code, libraries, machine."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "numpy", "scipy", "pillow", "numba", "scikit-learn")


def describe_code() -> dict[str, Any]:
    """`version` of the package, and `commit` and `dirty` where it runs from a checkout (None elsewhere)."""
    root = Path(__file__).resolve().parents[2]
    commit = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else None
    # Results and notes of a working folder are no code.
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.yaml") if commit else None
    return {
        "version": version("anatomy-vlm"),
        "commit": commit,
        "dirty": bool(changed) if changed is not None else None,
    }


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def describe_libraries() -> dict[str, str]:
    """Versions of Python and of the libraries that make the numbers, of those that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe_machine(device: str = "cpu") -> dict[str, Any]:
    """System and processor, without anything that tells whose machine it is."""
    import torch

    return {
        "system": platform.system(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if str(device).startswith("cuda") else str(device),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
