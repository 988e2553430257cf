"""Promise: chapter 01's two functions cross the border right, or refuse and say what to do.

Each check takes the chapter's definitions, so that a broken copy can be given to it.
"""

import re
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from notebooks import NOTEBOOKS, layers, read, tags

NAME = "01-tensors-and-arrays"
BOOK = layers(NAME)
SETTINGS = settings(derandomize=True, deadline=None, max_examples=80, database=None)
SHARED = ["float16", "float32", "float64", "complex64", "complex128", "bool"]
SHARED += ["uint8", "int8", "int16", "int32", "int64"]


def numbers(shape, dtype="float64"):
    """0, 1, 2, ... in this shape and dtype."""
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


# what must hold


def check_sharing(book):
    """Where nothing must be converted, both functions share memory, and keep dtype and shape."""
    for name in SHARED:
        array = numbers((2, 3), name)
        like = torch.zeros((), dtype=getattr(torch, name))
        for view in (array, array.T, array[:, 1:], array[::2], array[:0]):
            tensor = book["to_tensor"](view, like)
            assert tensor.dtype == like.dtype and tuple(tensor.shape) == view.shape
            assert tensor.data_ptr() == view.ctypes.data or view.size == 0
            back = book["to_numpy"](tensor)
            assert back.dtype == view.dtype and np.array_equal(back, view)
            assert view.size == 0 or np.shares_memory(back, array)
            assert not tensor.requires_grad


def check_copies(book, shape=(2, 3)):
    """Arrays that PyTorch cannot share come over as copies with the same numbers."""
    array = numbers(shape, "float32")
    locked = array.copy()
    locked.flags.writeable = False
    record = np.zeros(shape, dtype=[("byte", "i1"), ("value", "<f4")])["value"]
    record[...] = array
    unaligned = np.zeros(array.nbytes + 1, dtype=np.uint8)[1:].view(np.float32).reshape(shape)
    unaligned[...] = array
    cases = {
        "flipped rows": array[::-1],
        "flipped columns": array[..., ::-1],
        "read-only": locked,
        "broadcast": np.broadcast_to(np.float32(3), shape),
        "big-endian": array.astype(">f4"),
        "big-endian, flipped": array.astype(">f4")[::-1],
        "field of a record": record,
        "unaligned": unaligned,
    }
    for name, given_array in cases.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tensor = book["to_tensor"](given_array, torch.zeros(()))
        assert tensor.dtype == torch.float32, name
        assert np.array_equal(tensor.numpy(), given_array), name
        before = np.array(given_array)
        tensor.fill_(-1)
        assert np.array_equal(given_array, before), f"{name}: the array was written"
    field = np.ones(3, dtype=[("number", "c8"), ("more", "f4")])["number"]  # 12 bytes apart
    assert field.flags.aligned and field.strides == (12,)
    assert book["to_tensor"](field, torch.zeros((), dtype=torch.complex64)).tolist() == [1, 1, 1]


def check_conversions(book):
    """The result has the dtype and the device of ``like``; a scalar becomes a 0-d tensor."""
    for name in ("bool", "uint8", "int64", "uint16", "float16", "float32", "float64"):
        array = numbers((3,), name)
        for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
            tensor = book["to_tensor"](array, torch.zeros((), dtype=dtype))
            assert tensor.dtype == dtype and tensor.tolist() == array.tolist()
        tensor = book["to_tensor"](array, torch.zeros((), dtype=torch.complex64))
        assert tensor.dtype == torch.complex64 and tensor.real.tolist() == array.tolist()
    big = book["to_tensor"](numbers((3,), ">f8"), torch.zeros(()))
    assert big.dtype == torch.float32 and big.tolist() == [0, 1, 2]
    scalar = book["to_tensor"](np.ones((2, 2)).sum(), torch.zeros(5))
    assert scalar.shape == () and scalar.item() == 4 and scalar.dtype == torch.float32
    assert book["to_tensor"](np.array([1e300]), torch.zeros(())).tolist() == [np.inf]
    assert book["to_tensor"](np.ones(2), torch.zeros(1, device="meta")).device.type == "meta"


def check_pending(book):
    """A pending conjugate or minus sign is carried out, in new memory."""
    z = torch.tensor([1 + 2j, 3 - 4j])
    assert z.conj().is_conj() and z.conj().imag.is_neg()
    assert book["to_numpy"](z.conj()).tolist() == [1 - 2j, 3 + 4j]
    assert book["to_numpy"](z.conj().imag).tolist() == [-2, 4]
    assert z.tolist() == [1 + 2j, 3 - 4j]


def check_gradient(book):
    """A tensor that requires a gradient is refused while autograd records, and only then."""
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="gradient would be lost.*Function.*detach"):
        book["to_numpy"](x)
    with pytest.raises(RuntimeError, match="gradient would be lost"):
        book["to_numpy"](2 * x)
    assert book["to_numpy"](x.detach()).tolist() == [1, 1]
    with torch.no_grad():
        assert book["to_numpy"](x).tolist() == [1, 1]

    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx, input):
            return book["to_tensor"](book["to_numpy"](input) * 2, input)

        @staticmethod
        def backward(ctx, grad_output):
            return book["to_tensor"](book["to_numpy"](grad_output)[::-1], grad_output)

    Same.apply(x).backward(torch.tensor([5.0, 7.0]))
    assert x.grad.tolist() == [7, 5]


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nested tensors are a prototype
    NESTED = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
FLOAT, INT, COMPLEX = torch.ones(1), torch.ones(1, dtype=torch.int32), torch.ones(1) * 1j
REFUSED_OUT = {
    "array": (np.ones(2), TypeError, "expected a torch.Tensor, got ndarray"),
    "list": ([1.0], TypeError, "expected a torch.Tensor, got list"),
    "sparse": (torch.eye(2).to_sparse(), ValueError, "dense.*to_dense"),
    "nested": (NESTED, ValueError, "dense.*one part at a time"),
    "elsewhere": (torch.ones(2, device="meta"), ValueError, "on the CPU.*cpu()"),
    "bfloat16": (FLOAT.bfloat16(), TypeError, "NumPy has no torch.bfloat16.*float()"),
    "float8": (FLOAT.to(torch.float8_e5m2), TypeError, "NumPy has no torch.float8_e5m2"),
}
REFUSED_BACK = {
    "list": ([1.0], FLOAT, TypeError, "expected a NumPy array, got list"),
    "tensor": (FLOAT, FLOAT, TypeError, "expected a NumPy array, got Tensor"),
    "like": (np.ones(1), np.float32, TypeError, "like must be a torch.Tensor"),
    "masked": (np.ma.array([1.0], mask=[True]), FLOAT, TypeError, "mask would be lost.*filled"),
    "text": (np.array(["1"]), FLOAT, TypeError, "PyTorch has no <U1"),
    "object": (np.array([None]), FLOAT, TypeError, "PyTorch has no object"),
    "date": (np.array(["2020-01-01"], "M8[D]"), FLOAT, TypeError, "PyTorch has no datetime64"),
    "record": (np.zeros(1, [("a", "f4")]), FLOAT, TypeError, "PyTorch has no"),
    "fraction": (np.array([1.5]), INT, TypeError, "float64 into int32.*astype.np.int32"),
    "large integer": (np.array([2**40]), INT, TypeError, "int64 into int32, pass"),
    "wider integer": (np.array([2], "int32"), INT.long(), TypeError, "int32 into int64, pass"),
    "integer as bool": (np.array([2]), INT.bool(), TypeError, "int64 into bool"),
    "imaginary part": (np.array([1j]), FLOAT, TypeError, "complex128 into float32.*array.real"),
    "imaginary as int": (np.array([1j]), INT, TypeError, "complex128 into int32.*array.real"),
}


def check_refusals(book):
    """What cannot be done raises the documented error, which names the function and the cure."""
    for name, (tensor, error, message) in REFUSED_OUT.items():
        with pytest.raises(error) as caught:
            book["to_numpy"](tensor)
        said = str(caught.value)
        assert said.startswith("to_numpy: ") and re.search(message, said), f"{name}: {said}"
    for name, (array, like, error, message) in REFUSED_BACK.items():
        with pytest.raises(error) as caught:
            book["to_tensor"](array, like)
        said = str(caught.value)
        assert said.startswith("to_tensor: ") and re.search(message, said), f"{name}: {said}"


def check_any_view(book, shape, steps, order, swapped):
    """A view of any steps and order of axes goes over and comes back with its numbers."""
    array = numbers([4] * len(shape), ">f8" if swapped else "float64")
    view = array[tuple(slice(None, n, s) for n, s in zip(shape, steps, strict=True))]
    view = view.transpose([axis for axis in order if axis < view.ndim])
    for dtype in (torch.float64, torch.float32, torch.complex128):
        tensor = book["to_tensor"](view, torch.zeros((), dtype=dtype))
        assert tensor.dtype == dtype and tuple(tensor.shape) == view.shape
        assert np.array_equal(book["to_numpy"](tensor), view)


CHECKS = [check_sharing, check_copies, check_conversions, check_pending, check_gradient]
CHECKS += [check_refusals]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_the_chapter(check):
    check(BOOK)


@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (1, 1), (4,), (2, 1, 3)])
def test_copies_of_any_shape(shape):
    check_copies(BOOK, shape)


@SETTINGS
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
    st.tuples(*[st.sampled_from([-3, -2, -1, 1, 2, 3])] * 3),
    st.permutations([0, 1, 2]),
    st.booleans(),
)
def test_any_view(shape, steps, order, swapped):
    check_any_view(BOOK, shape, steps[: len(shape)], order, swapped)


def test_the_languages_define_the_same():
    chinese = layers(NAME, "zh")
    assert chinese["to_numpy"](torch.ones(1)).tolist() == [1]
    for name in ("to_numpy", "to_tensor"):
        codes = [book[name].__code__.co_code for book in (BOOK, chinese)]
        assert codes[0] == codes[1]


# every complaint is heard: the chapter's functions, broken in one place

BROKEN = {  # what is broken: (old, new, the check that hears it)
    "copies always": ("torch.from_numpy(array).to(", "torch.tensor(array).to(", check_sharing),
    "out: copies": (".resolve_neg().numpy()", ".resolve_neg().clone().numpy()", check_sharing),
    "shares read-only": (" and flags.writeable", "", check_copies),
    "negative strides": ("s >= 0 and ", "", check_copies),
    "odd strides": (" and s % array.itemsize == 0", "", check_copies),
    "byte order": (" and native", "", check_copies),
    "unaligned": (" and flags.aligned", "", check_copies),
    "bytes renamed": (".astype(array.dtype.newbyteorder", ".view(array.dtype.newbyteorder",
                      check_copies),
    "ascontiguousarray": ('array.astype(array.dtype.newbyteorder("="))',
                          "np.ascontiguousarray(array)", check_copies),
    "dtype of the array": ("like.device, like.dtype", "like.device", check_conversions),
    "device forgotten": (".to(like.device, like.dtype)", ".to(like.dtype)", check_conversions),
    "no scalars": ("(np.ndarray, np.generic)", "np.ndarray", check_conversions),
    "conj": (".resolve_conj()", "", check_pending),
    "neg": (".resolve_neg()", "", check_pending),
    "silent detach": ("if tensor.requires_grad and torch.is_grad_enabled():", "if False:",
                      check_gradient),
    "never inside": (" and torch.is_grad_enabled()", "", check_gradient),
    "imaginary part": ("rounds and torch.can_cast(dtype, like.dtype)", "rounds", check_refusals),
    "truncates": ("rounds and torch.can_cast", "torch.can_cast", check_refusals),
    "mask": ("isinstance(array, np.ma.MaskedArray)", "False", check_refusals),
    "sparse": ("tensor.layout != torch.strided or ", "", check_refusals),
    "nested": (" or tensor.is_nested", "", check_refusals),
    "any device": ('tensor.device.type != "cpu"', "False", check_refusals),
    "message": ("pass array.filled(value)", "", check_refusals),
}  # fmt: skip


# a check complains, or the function fails where it must not; a misspelled name is no complaint
HEARD = (AssertionError, pytest.fail.Exception, TypeError, ValueError, RuntimeError, UserWarning)


def sources():
    """The source of the chapter's layer cells."""
    cells = read(NOTEBOOKS / "en" / f"{NAME}.ipynb")["cells"]
    return "\n\n".join(cell["source"] for cell in cells if "layer" in tags(cell))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_copy_is_found(name):
    old, new, check = BROKEN[name]
    source = sources()
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times"
    book = dict(BOOK)
    exec(source.replace(old, new), book)
    with warnings.catch_warnings(), pytest.raises(HEARD):
        warnings.simplefilter("ignore")
        check(book)


def test_a_copy_that_is_not_broken_passes():
    book = dict(BOOK)
    exec(sources(), book)
    for check in CHECKS:
        check(book)
