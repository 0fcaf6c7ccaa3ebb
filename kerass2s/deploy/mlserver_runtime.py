"""An ONNX file of kerass2s in MLServer, texts or ids in and out; a copy of this file stands beside each model.

It needs mlserver, numpy, onnxruntime and sentencepiece, and no kerass2s: all it knows of the model is in the file.
"""

from __future__ import annotations

import asyncio
import base64
import zlib
from itertools import takewhile
from typing import Any

import numpy as np
import onnxruntime
import sentencepiece
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput, ResponseOutput
from mlserver.utils import get_model_uri

DTYPES = {"tensor(int32)": ("INT32", np.int32), "tensor(float)": ("FP32", np.float32)}


class KerasS2S(MLModel):
    """The model `parameters.uri` of its settings.

    A request has either the one input `text`, BYTES [B], and gets `text` BYTES [B, K] and `scores` FP32 [B, K]; or the
    inputs of the ONNX file, and gets its outputs. Further inputs of the file, `max_length` say, go with both; a number
    without dimensions has the shape [1].
    """

    async def load(self) -> bool:
        """Reads the file and the tokenizers in it."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # inputs that can be left out are no reason to warn
        path = await get_model_uri(self._settings)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._described = self._session.get_modelmeta().custom_metadata_map
        overridable = self._session.get_overridable_initializers()
        self._inputs = {each.name: each for each in [*self._session.get_inputs(), *overridable]}
        self._tokenizers: dict[str, Any] = {}
        self._outputs = [each.name for each in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answers one request; the session runs beside the server's own loop."""
        texts = [StringCodec.decode_input(each) for each in payload.inputs if each.name == "text"]
        feeds = {each.name: self._array(each) for each in payload.inputs if each.name != "text"}
        if texts and not self._settings.parameters.extra["text"]:
            raise InferenceError("This model has no texts, or spells what it copies: ask it for ids. Received: text")
        if texts:
            feeds |= self._encode(texts[0])
        missing = [each.name for each in self._session.get_inputs() if each.name not in feeds]
        if missing:
            raise InferenceError(f"Inputs are missing: {', '.join(missing)}. Received: {', '.join(feeds) or 'none'}")
        values = await asyncio.to_thread(self._session.run, self._outputs, feeds)
        found = dict(zip(self._outputs, values, strict=True))
        outputs = self._decode(found) if texts else [_output(name, value) for name, value in found.items()]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)

    def _array(self, given: RequestInput) -> np.ndarray:
        """An input of the file as an array of its own type."""
        if given.name not in self._inputs:
            raise InferenceError(f"The inputs are text, or {', '.join(self._inputs)}. Received: {given.name}")
        wanted = self._inputs[given.name]
        datatype, dtype = DTYPES[wanted.type]
        if given.datatype != datatype:
            raise InferenceError(f"{given.name} is {datatype}. Received: {given.datatype}")
        shape = given.shape if wanted.shape else []
        try:
            return np.array(given.data.root, dtype).reshape(shape)
        except ValueError as error:
            raise InferenceError(f"{given.name} does not have its shape. Received: {error}") from error

    def _encode(self, texts: list[str]) -> dict[str, np.ndarray]:
        """Texts to ids, each row with its end, padded with 0: int32 [B, S], and their lengths [B]."""
        tokenizer, end = self._tokenizer("source"), int(self._described["end_id"])
        rows = [[*ids, end] for ids in tokenizer.encode(texts)]
        padded = np.zeros([len(rows), max(map(len, rows), default=0)], np.int32)
        for line, row in zip(padded, rows, strict=True):
            line[: len(row)] = row
        return {"source_ids": padded, "source_lengths": np.array([len(row) for row in rows], np.int32)}

    def _decode(self, found: dict[str, np.ndarray]) -> list[ResponseOutput]:
        """Ids [B, K, T] to texts [B, K], with their scores."""
        tokenizer, end = self._tokenizer("target"), int(self._described["end_id"])
        special = {int(self._described[name]) for name in ("pad_id", "start_id")}
        rows = found["target_ids"].reshape([-1, found["target_ids"].shape[-1]]).tolist()
        kept = [[each for each in takewhile(lambda each: each != end, row) if each not in special] for row in rows]
        texts = StringCodec.encode_output("text", [tokenizer.decode(row) for row in kept])
        texts.shape = list(found["scores"].shape)
        return [texts, _output("scores", found["scores"])]

    def _tokenizer(self, side: str) -> Any:
        """The SentencePiece model of a side, made when it is first asked for."""
        if side not in self._tokenizers:
            proto = zlib.decompress(base64.b64decode(self._described[f"{side}_sentencepiece"]))
            self._tokenizers[side] = sentencepiece.SentencePieceProcessor(model_proto=proto)
        return self._tokenizers[side]


def _output(name: str, value: np.ndarray) -> ResponseOutput:
    datatype = "FP32" if value.dtype.kind == "f" else "INT32"
    return ResponseOutput(name=name, datatype=datatype, shape=list(value.shape), data=value.ravel().tolist())
