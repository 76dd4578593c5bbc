"""A checkpoint as graphs that ONNX Runtime and OpenVINO run."""
