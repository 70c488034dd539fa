"""Mutated files: random bytes, and changes that know the format and keep checksums and lengths right.

`rng` is a `random.Random`, or one of hypothesis's.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from random import Random
from typing import Any

INTEGERS = [0, 1, -1, 2, 3, 7, 2**31 - 1, -(2**31), 2**40, 2**63 - 1, -(2**63)]
NUMBERS = [0.0, 1.0, -1.0, 1e39, float("nan"), float("inf")]
ODD = [None, True, [], {}, "", "x", "\0", [[]], [2**62, 2**62], 1e400, -0.5, *INTEGERS]  # in a JSON header


def mutated_bytes(data: bytes, rng: Random) -> bytes:
    """A file with bytes changed, cut, repeated or put in."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place, length = rng.randrange(len(changed) + 1), rng.randint(1, 16)
        kind = rng.choice(["flip", "set", "cut", "drop", "repeat", "insert"])
        if kind == "flip" and place < len(changed):
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == "set" and place < len(changed):
            changed[place] = rng.choice([0, 1, 127, 128, 255])
        elif kind == "cut":
            del changed[place:]
        elif kind == "drop":
            del changed[place : place + length]
        elif kind == "repeat":
            changed[place:place] = changed[place : place + length]
        elif kind == "insert":
            changed[place:place] = bytes(rng.randrange(256) for _ in range(length))
    return bytes(changed)


def mutated_numbers(data: bytes, rng: Random) -> bytes:
    """Numbers with one to four bytes changed and none added or removed; readers take most of them."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def mutated_json(value: Any, rng: Random) -> None:
    """Change one entry of a JSON object or list, at any depth; in place."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(value[key], (dict, list)) and rng.random() < 0.7:
            value = value[key]
            continue
        if rng.random() < 0.3:
            del value[key]
        elif rng.random() < 0.2 and isinstance(value, dict):
            value[rng.choice(["x", "", *map(str, keys)])] = value.pop(key)
        else:
            value[key] = rng.choice([*ODD, value[rng.choice(keys)]])
        return


def mutated_text(data: bytes, rng: Random) -> bytes:
    """A JSON text with one entry changed, or its bytes changed."""
    if rng.random() < 0.2:
        return mutated_bytes(data, rng)
    value = json.loads(data)
    mutated_json(value, rng)
    return json.dumps(value).encode()


def mutated_npz(data: bytes, rng: Random) -> bytes:
    """A checkpoint whose members are changed, one of them or their order; each has the right checksum."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    place = rng.randrange(len(members))
    name, content = members[place]
    length = 10 + struct.unpack("<H", content[8:10])[0]  # of the header of a .npy file
    kind = rng.choice(["header", "data", "metadata", "name", "drop", "double", "order"])
    if kind == "header":
        members[place] = name, mutated_bytes(content[:length], rng) + content[length:]
    elif kind == "data":
        members[place] = name, content[:length] + mutated_numbers(content[length:], rng)
    elif kind == "metadata":
        name, content = members[0]  # the header of the checkpoint; its own .npy header says how long it is
        text = mutated_text(content[128:], rng)
        told = content[:128].replace(str(len(content) - 128).encode(), str(len(text)).encode())
        members[0] = name, told.replace(b" \n", b"\n").replace(b"\n", b" \n")[:127].ljust(127) + b"\n" + text
    elif kind == "name":
        members[place] = rng.choice(["", "x", f"{name}x", name[1:], members[0][0], "model.npy"]), content
    elif kind == "drop":
        del members[place]
    elif kind == "double":
        members.append((name, content))
    else:
        rng.shuffle(members)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for member in members:
            archive.writestr(zipfile.ZipInfo(member[0]), member[1])
    return written.getvalue()


def mutated_safetensors(data: bytes, rng: Random) -> bytes:
    """A safetensors file whose weights are changed, or its header, which has the length that it says."""
    length = struct.unpack("<Q", data[:8])[0]
    header, weights = data[8 : 8 + length], data[8 + length :]
    if rng.random() < 0.3:
        return data[: 8 + length] + mutated_numbers(weights, rng)
    text = mutated_text(header, rng)
    return struct.pack("<Q", len(text)) + text + weights


def mutated_onnx(data: bytes, rng: Random) -> bytes:
    """An ONNX model with one to three of its fields changed, at any depth."""
    import onnx

    model = onnx.ModelProto.FromString(data)
    texts = ["", "Neg", "MatMul", "Expand", "ConstantOfShape", "x", "ai.onnx"]
    for node in model.graph.node:
        texts += [node.op_type, *node.input, *node.output]
    for _ in range(rng.randint(1, 3)):
        message, field = rng.choice(list(_fields(model)))
        try:
            if hasattr(getattr(message, field.name), "MergeFrom") and field.message_type is None:
                _change_numbers(getattr(message, field.name), field, texts, rng)
            elif hasattr(getattr(message, field.name), "add"):
                _change_messages(getattr(message, field.name), rng)
            elif field.message_type is not None or rng.random() < 0.3:
                message.ClearField(field.name)
            else:
                value = getattr(message, field.name)
                setattr(message, field.name, _other(value, texts, rng))
        except (TypeError, ValueError):  # this field cannot hold that
            continue
    return model.SerializeToString()


def _fields(message: Any) -> Iterator[tuple[Any, Any]]:
    """All fields that are set in a message and in those inside of it, each with its message."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is not None:
            for inner in value if hasattr(value, "add") else [value]:
                yield from _fields(inner)


def _other(value: Any, texts: list[str], rng: Random) -> Any:
    if isinstance(value, bytes):
        return mutated_bytes(value, rng)
    if isinstance(value, str):
        return rng.choice(texts)
    return rng.choice(NUMBERS) if isinstance(value, float) else rng.choice([*INTEGERS, *range(20)])


def _change_numbers(values: Any, field: Any, texts: list[str], rng: Random) -> None:
    """Change a repeated field of numbers or texts."""
    place = rng.randrange(len(values))
    kind = rng.choice(["change", "drop", "double", "clear"])
    if kind == "change":
        values[place] = _other(values[place], texts, rng)
    elif kind == "drop":
        del values[place]
    elif kind == "double":
        values.append(values[place])
    else:
        del values[:]


def _change_messages(messages: Any, rng: Random) -> None:
    """Change a repeated field of messages: one is gone, or there twice, or the order is another."""
    copies = [type(each).FromString(each.SerializeToString()) for each in messages]
    place = rng.randrange(len(copies))
    kind = rng.choice(["drop", "double", "order"])
    if kind == "drop":
        del copies[place]
    elif kind == "double":
        copies.append(copies[place])
    else:
        rng.shuffle(copies)
    del messages[:]
    messages.extend(copies)
