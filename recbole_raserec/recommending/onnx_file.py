"""The backbone's scores as an ONNX file, for programs without Python or torch. Memories are not in it."""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_raserec.backbones.protocol import Backbone
from recbole_raserec.backbones.stack import Stack
from recbole_raserec.errors import ConfigError
from recbole_raserec.runtime.files import replacing

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_INSTALL = "pip install 'recbole-raserec[onnx]'"
_OLDEST_TORCH = (2, 6)  # its exporter can leave the batch open
_INPUTS, _OUTPUTS = ["item_seq", "item_seq_len"], ["scores", "user"]
_LARGEST = 2**31 - 2**20  # bytes of a file: protobuf's limit, less what the graph needs
_TOLERANCE = 1e-4  # largest error, relative to the largest absolute value
_BATCHES = (1, 3, 16)  # that the check runs
_LOUD = ("torch", "torch.onnx", "torch.export", "torch.fx", "torch._dynamo", "onnxscript", "onnx_ir")


def write(backbone: Backbone, tokens: list[str], path: Path) -> Path:
    """Write the file, after onnxruntime has given torch's scores with it, and return its path.

    Inputs are ``item_seq`` int64 [batch, L], numbers of items, oldest first and 0 on the right, L as the backbone's
    ``max_seq_length``, and ``item_seq_len`` int64 [batch], from 1 to L. Outputs are ``scores`` float32 [batch, V] and
    ``user`` float32 [batch, D]. The metadata has ``items``, the tokens of the V items as a JSON list; the first one is
    padding, whose score has no meaning.

    Raises
    ------
    ConfigError : a package is missing, torch is too old or cannot export the backbone, or the scores differ.
    """
    _check_packages()
    name = type(getattr(backbone, "model", backbone)).__name__
    items = json.dumps(tokens[: len(backbone.item_vectors)])  # the memory may know more
    _check_backbone(backbone, name, len(items))
    ours: Any = copy.deepcopy(backbone).cpu().eval()  # the exporter replaces attributes of a GRU
    with replacing(path) as temporary, _quiet():
        program = _exported(ours, name)
        _clear(program.model)
        program.model.metadata_props["items"] = items
        program.save(str(temporary), external_data=False)
        _check_scores(temporary, copy.deepcopy(backbone).cpu().eval(), name)
    return path


class _Scores(nn.Module):
    """Histories -> scores of the items and user vectors."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> tuple[Tensor, Tensor]:
        return _scores(self.backbone, self.backbone.encode_padded(item_seq, item_seq_len, None))


def _scores(backbone: Backbone, user: Tensor) -> tuple[Tensor, Tensor]:
    scores = user @ backbone.item_vectors.T
    return (scores if backbone.item_bias is None else scores + backbone.item_bias), user


@torch.no_grad()
def _exported(backbone: Any, name: str) -> Any:
    """torch's ONNXProgram of the scores. Its batch is open."""
    length, batch = backbone.max_seq_length, torch.export.Dim("batch")
    lengths = torch.tensor([length, (length + 1) // 2, 1])
    item_seq = (torch.arange(length) < lengths[:, None]).long()
    more = {"input_names": _INPUTS, "output_names": _OUTPUTS, "dynamic_shapes": ({0: batch}, {0: batch})}
    try:
        return torch.onnx.export(_Scores(backbone).eval(), (item_seq, lengths), dynamo=True, verbose=False, **more)
    except Exception as error:  # RecBole's models fail in many ways
        raise _cannot(name, f"torch {torch.__version__} cannot export it ({_reason(error)})") from error


def _clear(model: Any) -> None:
    """Remove what the exporter notes of torch's steps: a quarter of a small file, with paths of this machine."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    ClearMetadataAndDocStringPass()(model)
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


@torch.no_grad()
def _check_scores(path: Path, backbone: Any, name: str) -> None:
    """Raise ConfigError unless the file gives random histories the output that each of them has by itself in torch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng, length = np.random.default_rng(0), backbone.max_seq_length
    for batch in _BATCHES:
        lengths = rng.integers(1, length + 1, batch)
        item_seq = rng.integers(1, len(backbone.item_vectors), (batch, length)) * (np.arange(length) < lengths[:, None])
        found = session.run(_OUTPUTS, dict(zip(_INPUTS, (item_seq, lengths))))
        single = [(torch.from_numpy(row[None, :n]), torch.tensor([n])) for row, n in zip(item_seq, lengths)]
        users = torch.cat([backbone(*columns, torch.zeros(1, dtype=torch.long)) for columns in single])
        for ours, theirs in zip(_scores(backbone, users), found):
            error = np.abs(ours.numpy() - theirs).max() / np.abs(ours.numpy()).max()
            if not error <= _TOLERANCE:
                raise _cannot(name, f"the file's output differs from torch's by {error:.1e} of its largest value")


def _check_packages() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError("export_onnx", None, f"not installed: {', '.join(missing)}", _INSTALL)
    if tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2]) < _OLDEST_TORCH:
        needed = ".".join(map(str, _OLDEST_TORCH))
        raise ConfigError("torch", torch.__version__, f"export needs {needed} or later", _INSTALL)


def _check_backbone(backbone: Any, name: str, more: int) -> None:
    """Raise ConfigError for what is known to have no file: ``more`` bytes come with the weights."""
    if isinstance(backbone, Stack) and not backbone.causal:
        raise _cannot(name, "one of its layers is not causal, so it would read the padding after a history")
    if "users" in getattr(backbone, "arguments", ()):
        raise _cannot(name, "its scores depend on the user too, and the file reads only histories")
    size = more + sum(weight.numel() * weight.element_size() for weight in backbone.parameters())
    if size > _LARGEST:
        raise _cannot(name, f"its weights need {size / 2**30:.1f} GiB, and an ONNX file holds 2")


def _cannot(name: str, reason: str) -> ConfigError:
    mend = "use `Recommender.recommend`, or a backbone that exports, for example SASRec or GRU4Rec"
    return ConfigError("backbone", name, f"cannot become an ONNX file: {reason}", mend)


def _reason(error: BaseException) -> str:
    """The first line of the error that caused ``error``."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200].rstrip(". ")


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what torch's exporter says of its own parts and of packages that are not needed."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
