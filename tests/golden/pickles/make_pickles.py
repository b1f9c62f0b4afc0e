"""Files of torch.save, with their tensors as safetensors beside them, and seeds for the fuzz target.

    python make_pickles.py

Made with torch 2.15.0, safetensors and numpy. Keys of storages in the legacy form are addresses, so
that those files differ from run to run.
"""

import collections
import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
CORPUS = HERE.parents[2] / "fuzz/corpus/pickle"
CORPUS.mkdir(parents=True, exist_ok=True)

DTYPES = [
    torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]


def counting(*shape, dtype=torch.float32, first=0):
    n = int(numpy.prod(shape))
    return (torch.arange(first, first + n) % 100).to(dtype).reshape(shape)


def every_type():
    return {str(dtype): counting(2, 3, dtype=dtype) for dtype in DTYPES}


def views():
    """Every tensor is a view of one of two storages."""
    matrix = counting(6, 5)
    cube = counting(3, 4, 2, dtype=torch.float16)
    return {
        "whole": matrix,
        "rows": matrix[2:4],
        "columns": matrix[:, 1:3],
        "column": matrix[:, 2],
        "every-other": matrix[::2, ::2],
        "transposed": matrix.t(),
        "scalar": matrix[3, 4],
        "repeated": matrix[1:2].expand(3, 5),
        "repeated-scalar": matrix[3, 4].expand(2, 2),
        "permuted": cube.permute(2, 0, 1),
        "inner": cube[1:, 1:3, 1],
        "empty": cube[:0],
    }


def types_of_dictionary():
    weights = collections.OrderedDict(w=counting(2, 2), b=counting(2, dtype=torch.bfloat16))
    weights._metadata = collections.OrderedDict({"": {"version": 1}, "layer": {"version": 2}})
    return weights


def parameters():
    attributed = torch.nn.Parameter(counting(3))
    attributed.note = 1
    tensor = counting(2)
    tensor.note = 2
    return {"p": torch.nn.Parameter(counting(2, 2)), "q": attributed, "t": tensor}


def wrapped():
    return {
        "epoch": 3, "loss": 0.25, "best": numpy.float64(1.5), "done": True, "none": None,
        "kinds": ["a", (1, 2), {3}], "big": 2**70, "bytes": b"\x00\x01", "device": torch.device("cpu"),
        "shape": torch.Size([2, 3]),
        "state_dict": types_of_dictionary(),
    }


def named():
    return {"naïve.weight": counting(2), "\U0001f600": counting(1), "": counting(1)}


def write(name, value, corpus=True, tensors=None, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    (HERE / f"{name}.bin").write_bytes(buffer.getvalue())
    tensors = value if tensors is None else tensors
    save_file({key: t.detach().clone().contiguous() for key, t in tensors.items()},
              HERE / f"{name}.safetensors")
    if corpus:
        (CORPUS / name).write_bytes(buffer.getvalue())
    return buffer.getvalue()


def broken(name, data):
    (CORPUS / f"broken-{name}").write_bytes(data)


class Call:
    """Pickled as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Plain:
    """Pickled with NEWOBJ."""


def archive(program, entries=(), method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as out:
        for name, data in [("data.pkl", program), *entries]:
            out.writestr(zipfile.ZipInfo(f"archive/{name}"), data, method)
    return buffer.getvalue()


def tensor(storage=b"0", elements=4, offset=0, shape=(2, 2), strides=(2, 1), kind=b"FloatStorage"):
    """The opcodes of one tensor."""
    size = lambda n: b"J" + struct.pack("<i", n) if -2**31 <= n < 2**31 else b"\x8a\x08" + struct.pack("<q", n)
    sizes = lambda values: b"(" + b"".join(map(size, values)) + b"t"
    text = lambda value: b"X" + struct.pack("<I", len(value)) + value
    return (b"ctorch._utils\n_rebuild_tensor_v2\n((" + text(b"storage") + b"ctorch\n" + kind + b"\n"
            + text(storage) + text(b"cpu") + size(elements) + b"tQ" + size(offset) + sizes(shape)
            + sizes(strides) + b"\x89ccollections\nOrderedDict\n)RtR")


def one(value, **entries):
    return archive(b"\x80\x02}X\x01\x00\x00\x00w" + value + b"s.", [("data/0", bytes(range(16)))])


def main():
    write("every-type", every_type())
    write("every-type-legacy", every_type(), _use_new_zipfile_serialization=False)
    write("views", views())
    write("views-legacy", views(), _use_new_zipfile_serialization=False)
    write("ordered-dict", types_of_dictionary())
    write("parameters", parameters())
    write("wrapped", wrapped(), tensors=types_of_dictionary())
    write("names", named())
    write("no-tensors", {})
    for protocol in [1, 3, 4, 5]:
        write(f"protocol-{protocol}", types_of_dictionary(), pickle_protocol=protocol)
        write(f"protocol-{protocol}-legacy", types_of_dictionary(), corpus=protocol == 4,
              pickle_protocol=protocol, _use_new_zipfile_serialization=False)

    sound = (HERE / "ordered-dict.bin").read_bytes()
    legacy = (HERE / "views-legacy.bin").read_bytes()
    broken("nothing", b"")
    broken("archive-cut", sound[: len(sound) // 2])
    broken("legacy-cut", legacy[:-1])
    broken("legacy-pickle-cut", legacy[:400])
    broken("compressed", archive(b"\x80\x02}.", method=zipfile.ZIP_DEFLATED))
    broken("no-program", sound.replace(b"data.pkl", b"data.pki"))
    broken("big-endian", sound.replace(b"little", b"bigger"))
    broken("plain-pickle", pickle.dumps({"w": [1.0, 2.0]}))
    broken("command", archive(pickle.dumps({"w": Call(__import__("os").system, "true")}, 2)))
    broken("evaluated", archive(pickle.dumps({"w": Call(eval, "1")}, 4)))
    broken("object", archive(b"\x80\x02}X\x01\x00\x00\x00w" + b"ccollections\nOrderedDict\n)\x81s."))
    broken("instance", archive(b"(ios\nsystem\n."))
    broken("extension", archive(b"\x80\x02\x82\x01."))
    broken("unknown-opcode", archive(b"\x80\x02\xff."))
    broken("not-a-dictionary", archive(b"\x80\x02]."))
    broken("list-of-tensors", one(b"]" + tensor() + b"a"))
    broken("beyond-storage", one(tensor(offset=1)))
    broken("beyond-entry", one(tensor(elements=100, shape=(10, 10), strides=(10, 1))))
    broken("no-storage", one(tensor(storage=b"7")))
    broken("overflowing", one(tensor(shape=(2**62, 2**62), strides=(2**62, 2**62))))
    broken("negative", one(tensor(strides=(-1, 1))))
    broken("axes", one(tensor(shape=(1,) * 65, strides=(1,) * 65)))
    broken("repeated", one(tensor(shape=(2**40,), strides=(0,))))
    broken("complex", one(tensor(kind=b"ComplexFloatStorage", elements=2, shape=(2,), strides=(1,))))
    broken("twice", archive(b"\x80\x02}(X\x01\x00\x00\x00w" + tensor() + b"X\x01\x00\x00\x00w" + tensor()
                            + b"u.", [("data/0", bytes(16))]))
    broken("deep", archive(b"\x80\x02" + b"]" * 2000 + b"a" * 1999 + b"."))
    broken("cycle", archive(b"\x80\x02}q\x00X\x0a\x00\x00\x00state_dicth\x00s."))
    broken("memo-number", archive(b"\x80\x02}r\xff\xff\xff\xff."))
    broken("memo-missing", archive(b"\x80\x02h\x07."))
    broken("text-length", archive(b"\x80\x04\x8d" + b"\xff" * 8 + b"."))
    broken("stack", archive(b"\x80\x02)R."))
    broken("mark", archive(b"\x80\x02(\x85."))
    broken("no-end", archive(b"\x80\x02}"))


main()
