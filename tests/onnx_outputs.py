"""What a module computes once it has left torch."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree


def onnx_outputs(module: nn.Module, given: tuple[Any, ...]) -> list[Tensor]:
    """Export to ONNX, run with ONNX Runtime on the same inputs: all outputs in their order."""
    import onnxruntime

    program = torch.onnx.export(module, given, dynamo=True, verbose=False)
    assert program is not None
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    tensors = _pytree.tree_leaves(given)
    fed = {node.name: x.numpy() for node, x in zip(session.get_inputs(), tensors, strict=True)}
    return [torch.from_numpy(x) for x in session.run(None, fed)]
