"""Add an inner tensor of an ONNX file to its outputs, without the `onnx` package.

Published classifiers have their scores as the only output, while the layer before them is the
embedding. ONNX is protobuf, and protobuf merges a message that occurs twice: appending a second
`ModelProto.graph` with one `GraphProto.output` adds that output to the first.
Field numbers: `onnx.proto`, ModelProto.graph = 7, GraphProto.output = 12, ValueInfoProto.name = 1.
"""

_GRAPH, _OUTPUT, _NAME = 7, 12, 1
_LENGTH_DELIMITED = 2
_MORE = 0x80  # the bit of a varint's byte that marks a following byte
_LOW = _MORE - 1


def with_output(model: bytes, tensor: str) -> bytes:
    """Return `model` with `tensor` added to its outputs, or unchanged where it is one already."""
    addition = _message(_OUTPUT, _message(_NAME, tensor.encode()))
    if tensor in _outputs(model):
        return model
    return model + _message(_GRAPH, addition)


def _outputs(model: bytes) -> set[str]:
    """Return the names of the graph's outputs; empty for bytes that are not an ONNX model."""
    names = set()
    for graph in _fields(model, _GRAPH):
        for output in _fields(graph, _OUTPUT):
            names |= {bytes(name).decode(errors="replace") for name in _fields(output, _NAME)}
    return names


def _message(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | _LENGTH_DELIMITED]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > _LOW:
        out.append(value & _LOW | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


def _fields(message: bytes | memoryview, number: int) -> list[memoryview]:
    """Return the length-delimited fields with that number; stop at the first damage."""
    view, at, fields = memoryview(message), 0, []
    try:
        while at < len(view):
            key, at = _read_varint(view, at)
            kind = key & 7
            if kind == _LENGTH_DELIMITED:
                length, at = _read_varint(view, at)
                if key >> 3 == number:
                    fields.append(view[at : at + length])
                at += length
            elif kind == 0:
                _, at = _read_varint(view, at)
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                break
    except IndexError:
        pass  # the parser of the runtime reports the damage
    return fields


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & _LOW) << shift
        if byte < _MORE:
            return value, at
        shift += 7
