"""Models: to ONNX, held to the scores of the original, and handed on with a contract."""
