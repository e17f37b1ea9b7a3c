"""A trained network as files: ONNX, StableHLO, and parameters in Orbax."""
