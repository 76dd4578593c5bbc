"""ONNX Runtime and OpenVINO behind one interface: names to arrays, in and out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np


BACKENDS = ("torch", "onnx", "openvino")


class Session(Protocol):
    """A loaded graph."""

    @property
    def input_names(self) -> Sequence[str]: ...

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name."""
        ...


class OnnxSession:
    """
    A graph run by ONNX Runtime on the CPU.

    Args:
        path: The `.onnx` file.
        threads: Of the processor; None lets the library choose.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ImportError('the backend onnx needs onnxruntime: pip install "anatomy-vlm[onnx]"') from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input_names = [item.name for item in self._session.get_inputs()]
        self._outputs = [item.name for item in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self._outputs, self._session.run(None, dict(inputs)), strict=True))


class OpenVINOSession:
    """
    A graph run by OpenVINO on the CPU in float32, or in the integers that it was quantised to.

    Args:
        path: The `.onnx` or `.xml` file.
        threads: Of the processor; None lets the library choose.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        core = openvino_module().Core()
        # Left alone it takes bfloat16 where the processor has it, and boxes move.
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        self._model = core.compile_model(core.read_model(path), "CPU", settings)
        self.input_names = [item.any_name for item in self._model.inputs]
        self._outputs = [item.any_name for item in self._model.outputs]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        # Copies: the next run writes to the same place.
        results = self._model(dict(inputs))
        return {name: np.array(results[index]) for index, name in enumerate(self._outputs)}


def openvino_module() -> Any:
    """OpenVINO, or an error that names the extra."""
    try:
        import openvino
    except ImportError:
        raise ImportError('the backend openvino needs openvino: pip install "anatomy-vlm[openvino]"') from None
    return openvino


__all__ = ["BACKENDS", "OnnxSession", "OpenVINOSession", "Session", "openvino_module"]
