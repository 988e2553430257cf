"""Promise: chapter 10's operators keep what they tell the compiler, and its door never lies.

Each check takes the chapter's definitions, so that a broken copy can be given to it. Torch knows an
operator by its name: every copy gets names of its own. How many cases are generated: BOOK_EXAMPLES,
see conftest.py.
"""

import functools
import itertools
import os
import shutil
import subprocess
import sys
from unittest.mock import patch

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.library import opcheck

from conftest import EXAMPLES
from notebooks import broken_layers, layers, renamed_layers
from test_double_backward import TOLERANCE, cases, draw, leaves
from test_function_transforms import equal

NAME = "10-custom-operators"
torch_conv2d = torch.nn.functional.conv2d
few = settings(max_examples=max(1, EXAMPLES // 16))  # opcheck and the compiler take their time
OPERATORS = ("correlate_op", "input_gradient_op", "weight_gradient_op")


copy = functools.partial(renamed_layers, NAME)
BOOK = copy()


def compiled(function, backend="aot_eager", **settings):
    torch.compiler.reset()
    return torch.compile(function, backend=backend, fullgraph=True, **settings)


class AsModule(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


def calls_of(book, case, dtype=torch.float64, seed=0):
    """Each operator with arguments that fit one call of conv2d, wanting gradients."""
    shapes, options, _ = case
    x, w = draw(seed, *shapes[:2], dtype=dtype)
    x = x if x.ndim == 4 else x[None]
    given = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | options
    options = book["check_conv2d"](x, w, None, **given)
    (g,) = draw(seed + 1, book["Correlate"].apply(x, w, options).shape, dtype=dtype)
    return {
        "correlate_op": (*leaves(x, w), *options),
        "input_gradient_op": (*leaves(g, w), tuple(x.shape[2:]), *options),
        "weight_gradient_op": (*leaves(x, g), tuple(w.shape[2:]), *options),
    }


# the operators


def check_operators(book, case, dtype=torch.float64, seed=0, names=OPERATORS):
    """opcheck: signature, registration, shape function, a compiled run with open sizes."""
    arguments = calls_of(book, case, dtype, seed)
    for name in names:
        said = opcheck(book[name], arguments[name])
        assert len(said) == 4 and set(said.values()) == {"SUCCESS"}
        loose = [
            t.detach().movedim(0, -1).contiguous().movedim(-1, 0) if torch.is_tensor(t) else t
            for t in arguments[name]
        ]
        opcheck(book[name], loose, test_utils="test_faketensor")


def check_fakes(book, case, dtype=torch.float64, seed=0):
    """The shape functions alone, for more cases than opcheck has time for."""
    for name, arguments in calls_of(book, case, dtype, seed).items():
        opcheck(book[name], arguments, test_utils="test_faketensor")


def check_values(book, case, dtype=torch.float64, seed=0):
    """Value and first derivatives of the operator equal those of F.conv2d."""
    x, w, stride, padding, dilation, groups = calls_of(book, case, dtype, seed)["correlate_op"]
    top, bottom, left, right = padding
    found = book["correlate_op"](x, w, stride, padding, dilation, groups)
    padded = torch.nn.functional.pad(x, (left, right, top, bottom))
    wanted = torch_conv2d(padded, w, None, stride, 0, dilation, groups)
    scale = w.numel() * 2
    equal(found, wanted, scale)
    (u,) = draw(seed + 2, wanted.shape, dtype=dtype)
    scale *= wanted.numel()
    equal(torch.autograd.grad(found, (x, w), u), torch.autograd.grad(wanted, (x, w), u), scale)


def check_derivatives(book, case, seed=0):
    """First and second derivatives of all three operators equal finite differences."""
    for name, arguments in calls_of(book, case, seed=seed).items():
        assert gradcheck(book[name], arguments, fast_mode=True)
        assert gradgradcheck(book[name], arguments, fast_mode=True)


SMALL = [
    ([(2, 4, 5, 6), (6, 2, 2, 3)], {"stride": (2, 1), "padding": (1, 2), "groups": 2}, None),
    ([(1, 2, 5, 7), (3, 2, 2, 3)], {"dilation": (2, 1), "padding": "same"}, None),
    ([(3, 2, 4, 5), (2, 1, 3, 1)], {"stride": (1, 3), "groups": 2}, None),
]


@given(cases(), st.sampled_from(list(TOLERANCE)), st.integers(0, 2**32 - 99))
def test_values_equal_torch(case, dtype, seed):
    check_values(BOOK, case, dtype, seed)


@few
@given(cases(), st.integers(0, 2**32 - 99))
def test_derivatives_equal_differences(case, seed):
    assume(0 not in case[0][0])  # gradcheck cannot differentiate an empty batch
    check_derivatives(BOOK, case, seed)


@few
@given(cases(), st.sampled_from(list(TOLERANCE)), st.integers(0, 2**32 - 99))
def test_shape_functions_tell_the_truth(case, dtype, seed):
    check_fakes(BOOK, case, dtype, seed)


@settings(max_examples=max(1, EXAMPLES // 40))
@given(cases(), st.sampled_from(list(TOLERANCE)), st.integers(0, 2**32 - 99))
def test_operators_pass_opcheck(case, dtype, seed):
    check_operators(BOOK, case, dtype, seed)


def check_small(book):
    for case in SMALL:
        check_values(book, case)
        check_derivatives(book, case)


def check_batches(book):
    """vmap of each operator, in each choice of in_dims: a loop's result, in one call."""
    kernels = dict(zip(OPERATORS, ("correlate", "input_gradient", "weight_gradient"), strict=True))
    for name, arguments in calls_of(book, SMALL[0]).items():
        first, second, *more = (t.detach() if torch.is_tensor(t) else t for t in arguments)
        for dims in ((0, None), (None, 1), (1, 0)):
            given = [t if dim is None else torch.stack([t, 2 * t, -t], dim)
                     for t, dim in zip((first, second), dims, strict=True)]  # fmt: skip
            op = lambda a, b, name=name, more=more: book[name](a, b, *more)  # noqa: E731
            counted = []
            kernel = book[kernels[name]]
            count = lambda *a, kernel=kernel: counted.append(1) or kernel(*a)  # noqa: B023, E731
            with patch.dict(book, {kernels[name]: count}):
                found = vmap(op, dims)(*given)
            assert len(counted) == 1
            loop = []
            for i in range(3):
                pairs = zip(given, dims, strict=True)
                loop.append(op(*(t if dim is None else t.select(dim, i) for t, dim in pairs)))
            equal(found, torch.stack(loop), 100)


def check_needs(book):
    """A gradient that nobody needs is not computed; no factor is saved in vain."""
    counted = []
    for name, kernel in (("correlate_op", "correlate"), ("input_gradient_op", "input_gradient"),
                         ("weight_gradient_op", "weight_gradient")):  # fmt: skip
        for wanted in (0, 1):
            first, second, *more = calls_of(book, SMALL[0])[name]
            pair = [first.detach(), second.detach()]
            pair[wanted].requires_grad_()
            y = book[name](*pair, *more)
            kernels = "correlate", "input_gradient", "weight_gradient"
            counts = {k: lambda *a, k=k, f=book[k]: counted.append(k) or f(*a) for k in kernels}
            counted.clear()
            saved = [t is not None for t in y.grad_fn.saved_tensors]
            assert saved == [wanted == 1, wanted == 0]
            with patch.dict(book, counts):
                y.sum().backward()
            assert len(counted) == 1 and counted[0] != kernel


# the door


def check_door(book):
    """The Function in ordinary calls; one operator in a graph; in export the same."""
    x, w, b = leaves(*draw(3, (2, 4, 5, 6), (6, 2, 2, 3), (6,)))
    options = {"stride": (2, 1), "padding": (1, 2), "groups": 2}
    layer = lambda *tensors: book["conv2d"](*tensors, **options)  # noqa: E731
    theirs = lambda *tensors: torch_conv2d(*tensors, **options)  # noqa: E731

    def results(function):
        y = function(x, w, b)
        return y, *torch.autograd.grad(y.pow(3).sum(), (x, w, b))

    seen = []

    def keep(module, _):
        seen.append([str(n.target) for n in module.graph.nodes if n.op == "call_function"])
        return module.forward

    assert "Correlate" in type(layer(x, w).grad_fn).__name__
    for backend in ("eager", "aot_eager", keep):
        equal(results(compiled(layer, backend)), results(theirs), 1000)
    assert [sum(name.startswith("copy") for name in names) for names in seen] == [1]
    program = torch.export.export(AsModule(layer), (x, w, b))
    equal(results(program.module()), results(theirs), 1000)
    names = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    assert sum(name.startswith("copy") for name in names) == 1


def check_transforms(book):
    """Outside of the compiler: grad, vmap, jvp and a Hessian, as torch has them."""
    x, w = draw(4, (1, 2, 4, 5), (3, 2, 2, 2))
    ours, theirs = (lambda x, w, f=f: f(x, w, padding=1) for f in (book["conv2d"], torch_conv2d))
    cost = lambda f: lambda x, w: f(x, w).pow(3).sum()  # noqa: E731
    batch = torch.stack([x, -x])
    for ask in (lambda f: grad(cost(f), (0, 1))(x, w),
                lambda f: vmap(f, (0, None))(batch, w),
                lambda f: vmap(grad(cost(f)), (0, None))(batch, w),
                lambda f: jvp(f, (x, w), (x + 1, w - 1)),
                lambda f: hessian(cost(f), argnums=1)(x, w)):  # fmt: skip
        equal(ask(ours), ask(theirs), 1000)


def check_zeros(book):
    """The door has chapter 09's to_array: a zero without memory comes back, and is taken."""
    (variables, u) = draw(15, (5,), (2,))

    def weighted(variables, conv2d):
        x, w = variables[:3].reshape(1, 1, 1, 3), variables[3:].reshape(1, 1, 1, 2)
        return (conv2d(x, w).flatten() * u).sum()

    ours, theirs = (lambda v, f=f: weighted(v, f) for f in (book["conv2d"], torch_conv2d))
    equal(jacrev(jacfwd(ours))(variables), hessian(theirs)(variables))


def check_inside(book):
    """Inside of a compiled function: vmap as torch has it; forward mode refused, for each input."""
    x, w = draw(5, (1, 2, 4, 5), (3, 2, 2, 2))
    batch = torch.stack([x, -x])
    mapped = [compiled(lambda x, w, f=f: vmap(f, (0, None))(x, w))(batch, w)
              for f in (book["conv2d"], torch_conv2d)]  # fmt: skip
    equal(*mapped, 100)
    for moved in (0, 1):

        def slope(x, w, moved=moved):
            pair = [x, w]
            return jvp(lambda t: book["conv2d"](*pair[:moved], t, *pair[moved + 1 :]),
                       (pair[moved],), (pair[moved],))[1]  # fmt: skip

        with pytest.raises(torch._dynamo.exc.Unsupported, match="conv2d: forward mode"):
            compiled(slope)(x, w)


def check_sizes(book):
    """With dynamic=True, four sizes are compiled once, and all are right."""
    (w,) = leaves(*draw(6, (3, 2, 2, 3)))
    count = []

    def keep(module, _):
        count.append(1)
        return module.forward

    layer = compiled(lambda x: book["conv2d"](x, w, padding=(1, 0)), keep, dynamic=True)
    for shape in ((4, 2, 5, 6), (2, 2, 7, 4), (3, 2, 6, 6), (5, 2, 9, 8)):
        (x,) = draw(7, shape)
        equal(layer(x), torch_conv2d(x, w, padding=(1, 0)), 100)
    assert len(count) == 1


CHECKS = {
    "batches": check_batches, "needs": check_needs, "door": check_door, "sizes": check_sizes,
    "transforms": check_transforms, "zeros": check_zeros, "inside": check_inside,
    "small": check_small,
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_holds(name):
    CHECKS[name](BOOK)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_both_languages_define_the_same(language):
    assert layers(NAME, language).keys() == layers(NAME).keys()


def test_definitions_can_be_run_again():
    """As in a notebook whose cell is run twice: the name is registered anew."""
    for _ in range(2):
        check_values(broken_layers(NAME), SMALL[0])


def test_the_module_can_be_compiled_and_exported(tmp_path):
    module = BOOK["NumpyConv2d"](2, 4, 3, padding=1, groups=2)
    (x,) = draw(8, (2, 2, 5, 6), dtype=torch.float32)
    equal(compiled(module)(x), module(x), 100)
    free = torch.export.Dim.DYNAMIC
    program = torch.export.export(module, (x,), dynamic_shapes=({0: free, 2: free, 3: free},))
    torch.export.save(program, tmp_path / "module.pt2")
    loaded = torch.export.load(tmp_path / "module.pt2").module()
    (other,) = draw(9, (3, 2, 7, 8), dtype=torch.float32)
    equal(loaded(other), module(other), 100)


def test_an_exported_program_needs_the_operator(tmp_path):
    module = BOOK["NumpyConv2d"](1, 1, 2)
    torch.export.save(torch.export.export(module, (torch.ones(1, 1, 3, 3),)), tmp_path / "a.pt2")
    code = "import sys, torch; torch.export.load(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path / "a.pt2")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode and "We failed to resolve torch.ops.copy" in result.stderr


def test_forward_mode_of_the_operator_is_zero():
    """The cross in the table: if this fails, torch has learned it, and the text must say so."""
    *pair, stride, padding, dilation, groups = calls_of(BOOK, SMALL[0])["correlate_op"]
    pair = tuple(t.detach() for t in pair)
    layer = lambda x, w: BOOK["correlate_op"](x, w, stride, padding, dilation, groups)  # noqa: E731
    assert jvp(layer, pair, pair)[1].count_nonzero() == 0
    with pytest.raises(RuntimeError, match="Jacobian computed with forward mode mismatch"):
        gradcheck(layer, leaves(*pair), check_forward_ad=True)
    with pytest.raises(RuntimeError, match="must override the setup_context staticmethod"):
        grad(lambda x: layer(x, pair[1]).sum())(pair[0])


COMPILER = next(filter(shutil.which, [os.environ.get("CXX", "g++"), "g++", "c++", "clang++"]), None)


@pytest.mark.skipif(COMPILER is None and sys.platform != "win32", reason="there is no C++ compiler")
@pytest.mark.skipif(sys.platform == "win32", reason="inductor needs a developer prompt there")
def test_inductor(tmp_path):
    """The default backend, in a process of its own: no cache and no process is left behind."""
    code = f"""
import sys, torch
sys.path[:0] = {[p for p in sys.path if p.endswith(("tests", "tools"))]!r}
from notebooks import layers
book = layers({NAME!r})
x = torch.arange(20.0).reshape(1, 1, 4, 5).requires_grad_()
w = torch.arange(4.0).reshape(1, 1, 2, 2).requires_grad_()
found = []
for conv2d in torch.compile(book["conv2d"], fullgraph=True), torch.nn.functional.conv2d:
    y = (conv2d(x, w) / 100).square().sum()
    found.append([y, *torch.autograd.grad(y, (x, w))])
print(all(torch.allclose(*pair) for pair in zip(*found)))
"""
    settings = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    result = subprocess.run([sys.executable, "-c", code], env=os.environ | settings,
                            capture_output=True, text=True, timeout=600)  # fmt: skip
    assert result.stdout.strip() == "True", result.stderr


# every check can fail: broken copies of the chapter's cells


def small_values(book):
    for case in SMALL:
        check_values(book, case)


def small_fakes(book):
    for case, dtype in itertools.product(SMALL, TOLERANCE):
        check_fakes(book, case, dtype)


def small_derivatives(book):
    check_derivatives(book, SMALL[0])


def small_operators(book):
    check_operators(book, SMALL[0])


BROKEN = {
    "padding forgotten in the kernel": (
        [("tuple(padding), tuple(dilation), groups)", "(0, 0, 0, 0), tuple(dilation), groups)")],
        [small_values, small_fakes]),
    "padding forgotten in the shape": (
        [("x.shape[2] + top + bottom, x", "x.shape[2], x")], [small_fakes]),
    "dilation forgotten in the shape": (
        [("(length - d * (k - 1) - 1)", "(length - k)")], [small_fakes]),
    "stride forgotten in the shape": (
        [("- 1) // step + 1", "- 1) + 1")], [small_fakes, check_door]),
    "float32 promised": (
        [("return x.new_empty(x.shape[0], w.shape[0], rows, columns)",
          "return torch.empty(x.shape[0], w.shape[0], rows, columns)")], [small_fakes]),
    "strides promised of the input": (
        [("return g.new_empty(g.shape[0], w.shape[1] * groups, *size)",
          "return g.new_empty(g.shape[0], *size, w.shape[1] * groups).movedim(-1, 1)")],
        [small_fakes]),
    "groups forgotten in a gradient's shape": (
        [("w.shape[1] * groups, *size", "w.shape[1], *size")], [small_fakes, check_door]),
    "channels of all groups": (
        [("x.shape[1] // groups, *size", "x.shape[1], *size")], [small_fakes, check_door]),
    "a size fixed": (
        [("    padded = x.shape[2] + top", "    padded = int(float(x.shape[2])) + top"),
         ("return x.new_empty(x.shape[0], w.shape[0], rows, columns)",
          "return x.new_empty(int(str(int(x.shape[0]))), w.shape[0], rows, columns)")],
        [check_sizes]),
    "the input returned": (
        [("return torch.from_numpy(correlate(to_array(x), to_array(w), options))", "return x")],
        [small_values, small_operators]),
    "the input written to": (
        [("    return torch.from_numpy(correlate(to_array(x)",
          "    x.detach().mul_(1.5)\n    return torch.from_numpy(correlate(to_array(x)")],
        [small_operators]),
    "gradients swapped": (
        [("    return grad_g, grad_w, *[None] * 5", "    return grad_w, grad_g, *[None] * 5")],
        [small_derivatives]),
    "gradient of the image by half": (
        [("grad_x = input_gradient_op(grad_output, w, ctx.image, *ctx.options)",
          "grad_x = input_gradient_op(grad_output, w, ctx.image, *ctx.options) / 2")],
        [small_values, small_derivatives, check_door]),
    "gradient of the filter by NumPy": (
        [("grad_w = weight_gradient_op(x, grad_output, ctx.filter, *ctx.options)",
          "grad_w = torch.from_numpy(weight_gradient(to_array(x), to_array(grad_output),"
          " ctx.filter, pack(*ctx.options)))")],
        [small_operators, check_door]),
    "second derivative of another pair": (
        [("grad_w = weight_gradient_op(grad_output, g, ctx.filter, *ctx.options)",
          "grad_w = -weight_gradient_op(grad_output, g, ctx.filter, *ctx.options)")],
        [small_derivatives]),
    "a gradient without its options": (
        [("grad_g = correlate_op(x, grad_output, *ctx.options)",
          "grad_g = correlate_op(x, grad_output, *Options(groups=ctx.options[-1]))")],
        [small_derivatives]),
    "everything saved": (
        [("ctx.save_for_backward(first if for_second else None, second if for_first else None)",
          "ctx.save_for_backward(first, second)")], [check_needs]),
    "every gradient computed": (
        [("    if ctx.needs_input_grad[0]:\n        grad_x = input_gradient_op(grad_output",
          "    if True:\n        w = grad_output.new_zeros(6, 2, 2, 3) if w is None else w\n"
          "        grad_x = input_gradient_op(grad_output")], [check_needs]),
    "no rule for a batch": (
        [('register_fold(input_gradient_op, "gwx")', "")], [check_batches]),
    "a rule with other names": (
        [('register_fold(weight_gradient_op, "xgw")', 'register_fold(weight_gradient_op, "xwg")')],
        [check_batches]),
    "the operator alone": (
        [("    if not torch.compiler.is_compiling():\n"
          "        return Correlate.apply(x, w, options)\n", "")],
        [check_door, check_transforms, check_zeros]),
    "the Function alone": (
        [("    return correlate_op(x, w, *options)\n",
          "    return Correlate.apply(x, w, options)\n")],
        [check_door, check_sizes]),
    "a door that does not look for tangents": (
        [("if forward_ad.unpack_dual(tensor).tangent is not None:", "if False:")], [check_inside]),
    "a door that looks at the image alone": (
        [("    for tensor in (x, w):\n", "    for tensor in (x,):\n")], [check_inside]),
    "a bias forgotten": (
        [("result = result + bias[:, None, None]", "result = result + 0")], [check_door]),
}  # fmt: skip
COMPLAINTS = (Exception, pytest.fail.Exception)


@pytest.mark.filterwarnings("ignore")  # torch warns of what it then raises
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_copy_is_found(name):
    changes, checks = BROKEN[name]
    book = copy(*changes)
    for check in checks:
        with pytest.raises(COMPLAINTS):
            check(book)


def test_an_unbroken_copy_passes():
    book = copy()
    for check in (small_values, small_fakes, small_derivatives, small_operators, *CHECKS.values()):
        check(book)
