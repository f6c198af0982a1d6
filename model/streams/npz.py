"""Arrays of an .npz that lies in memory, read without `zipfile` and its objects per member.

`numpy.load` spends its time on small members: a file object, a header that is parsed as Python
source and a checked stream for each. Lanes are many small arrays of few shapes; here a member is
a slice of the buffer, and a header that was seen before is looked up. Lengths and CRC-32 are
checked as zipfile does (PKWARE, APPNOTE.TXT 4.3). Python objects are never read.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_END: Final = struct.Struct("<4s4H2LH")  # end of the central directory
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")  # one member in the central directory
_LOCAL: Final = struct.Struct("<26x2H")  # in front of a member: lengths of its name and extras
_STORED, _DEFLATED = 0, 8
_SUFFIX: Final = ".npy"


def read_npz(data: bytes | bytearray | memoryview, source: str) -> dict[str, NDArray[Any]]:
    """Arrays by name; those stored without compression share the memory of `data`.

    Arrays can be written to where `data` can. Raises ValueError that names `source` for anything
    that is damaged or that numpy does not write without being asked to.
    """
    try:
        return {name: _array(body) for name, body in _members(memoryview(data))}
    except (ValueError, IndexError, struct.error, zlib.error) as error:
        raise ValueError(f"{source} cannot be read as .npz: {error}") from error


def _members(view: memoryview) -> Iterator[tuple[str, memoryview]]:
    magic, *_, n_members, _, start, _ = _END.unpack_from(view, max(0, len(view) - _END.size))
    if magic != b"PK\5\6":
        raise ValueError("its end is missing")
    for _ in range(n_members):
        magic, *rest = _ENTRY.unpack_from(view, start)
        if magic != b"PK\1\2":
            raise ValueError("its list of members is damaged")
        method, (crc, packed, size), offset = rest[3], rest[6:9], rest[-1]
        name_size, extra_size, comment_size = rest[9:12]
        start += _ENTRY.size
        name = str(view[start : start + name_size], "utf-8")
        start += name_size + extra_size + comment_size
        offset += _LOCAL.size + sum(_LOCAL.unpack_from(view, offset))
        body = _inflate(view[offset : offset + packed], method)
        if len(body) != size or zlib.crc32(body) != crc:
            raise ValueError(f"{name} has a wrong length or checksum")
        yield name.removesuffix(_SUFFIX), body


def _inflate(body: memoryview, method: int) -> memoryview:
    if method == _STORED:
        return body
    if method == _DEFLATED:
        return memoryview(bytearray(zlib.decompress(body, -zlib.MAX_WBITS)))
    raise ValueError(f"method {method} of compression is unknown")


def _array(body: memoryview) -> NDArray[Any]:
    start = 10 + body[8] + 256 * body[9]  # magic, version and length take 10 bytes
    dtype, shape, fortran = _header(bytes(body[:start]))
    if len(body) - start != dtype.itemsize * int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"{len(body) - start} bytes are no array of {dtype} {shape}")
    return np.ndarray(shape, dtype, body, start, order="F" if fortran else "C")


@lru_cache(maxsize=1024)
def _header(head: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Type and shape that an .npy begins with, parsed by numpy."""
    file = io.BytesIO(head)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("a member is no .npy of version 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("a member holds Python objects, which are never read")
    return dtype, shape, fortran
