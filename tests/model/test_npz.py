"""Arrays of an .npz in memory: what numpy writes comes back, anything else is one sentence."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from microturn.model.streams.mel import pack_nibbles, unpack_nibbles
from microturn.model.streams.npz import read_npz

Arrays = dict[str, NDArray[Any]]


def packed(arrays: Arrays, *, compress: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


arrays_of_lanes = st.dictionaries(
    st.from_regex(r"[a-z_]{1,12}", fullmatch=True).filter(lambda name: name != "file"),
    hnp.arrays(
        st.sampled_from([np.uint8, np.bool_, np.int32, np.float32, np.dtype(">i4")]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    max_size=4,
)


@given(arrays=arrays_of_lanes, compress=st.booleans(), fortran=st.booleans())
def test_what_numpy_writes_comes_back(arrays: Arrays, compress: bool, fortran: bool) -> None:
    if fortran:
        arrays = {name: np.asfortranarray(values) for name, values in arrays.items()}
    back = read_npz(bytearray(packed(arrays, compress=compress)), "x")
    assert list(back) == list(arrays)
    for name, values in arrays.items():
        assert back[name].dtype == values.dtype
        np.testing.assert_array_equal(back[name], values)
        assert back[name].flags.writeable


def test_stored_arrays_lie_in_the_buffer_itself() -> None:
    data = bytearray(packed({"a": np.zeros(3, np.uint8)}))
    read_npz(data, "x")["a"][:] = 7
    assert data.count(b"\7\7\7") == 1


LANES = {"a": np.arange(60, dtype=np.int32).reshape(3, 20), "b": np.ones(5, np.bool_)}


@given(cut=st.integers(0, len(packed(LANES)) - 1))
def test_a_truncated_archive_is_named(cut: int) -> None:
    with pytest.raises(ValueError, match="shard.tar:3 cannot be read as .npz"):
        read_npz(packed(LANES)[:cut], "shard.tar:3")


@given(data=st.data(), compress=st.booleans())
def test_a_flipped_byte_changes_nothing_or_is_named(data: st.DataObject, compress: bool) -> None:
    """Never other numbers: those are under a checksum. Names and dates are not."""
    damaged = bytearray(packed(LANES, compress=compress))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ValueError):
        back = read_npz(damaged, "x")
        for values, expected in zip(back.values(), LANES.values(), strict=False):
            np.testing.assert_array_equal(values, expected)


def test_python_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="Python objects"):
        read_npz(packed({"a": np.array([{}], dtype=object)}), "x")


def test_another_archive_is_refused() -> None:
    with pytest.raises(ValueError, match="its end is missing"):
        read_npz(b"no archive at all, but long enough to look into", "x")


@given(
    ids=hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6).map(
            lambda shape: (*shape[:-1], 2 * shape[-1])
        ),
        elements=st.integers(0, 15),
    ),
    fortran=st.booleans(),
)
def test_nibbles_come_back(ids: NDArray[np.uint8], fortran: bool) -> None:
    packed_ids = pack_nibbles(ids)
    packed_ids = np.asfortranarray(packed_ids) if fortran else packed_ids
    np.testing.assert_array_equal(unpack_nibbles(packed_ids), ids)
