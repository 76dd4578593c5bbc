"""For scripts that run in a process of their own: from its import on, the package cannot be imported."""

import importlib.abc
import sys


class Absent(importlib.abc.MetaPathFinder):
    """The package is not installed, whatever the environment holds."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "anatomy_vlm":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


sys.meta_path.insert(0, Absent())
