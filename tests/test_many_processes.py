"""Promise: chapter 15's processes take the steps of one, its recipes hold together, its waits end.

The trainings are real: torchrun starts two processes, with the files that the chapter writes, on
fewer and smaller data. Each check takes what it checks, so that a broken copy can be given to it.
"""

import ast
import os
import re
import signal
import socket
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist
import yaml
from threadpoolctl import threadpool_limits
from torch.distributed.run import config_from_args, parse_args
from torch.nn.parallel import DistributedDataParallel

from notebooks import LANGUAGES, NOTEBOOKS, broken_layers, layers, read, tags

NAME = "15-many-processes"
BOOK = layers(NAME)
CELLS = {cell["id"]: cell for cell in read(NOTEBOOKS / "en" / f"{NAME}.ipynb")["cells"]}
posix = pytest.mark.skipif(os.name != "posix", reason="needs bash and signals")


def written(cell, name):
    """The text that a cell gives a name: a program that the chapter writes."""
    for node in ast.walk(ast.parse(CELLS[cell]["source"])):
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return node.value.value
    raise LookupError(f"{cell} writes no {name}")


def module(*changes):
    """The text of layers.py, with pieces replaced that stand in it once."""
    cells = [cell["source"] for cell in CELLS.values() if "recap" in tags(cell)]
    text = "\n\n".join([written("proc-write", "IMPORTS"), *cells, CELLS["proc-train"]["source"]])
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    return text


def names_of(text):
    found = {"__name__": "layers"}
    exec(compile(text, "layers.py", "exec"), found)
    return found


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with threadpool_limits(1, user_api="blas"):
        yield


# two processes and one

UNWEIGHTED = ("each.sum() * world / len(batch)", "each.sum() / len(batch)")
LOCAL = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1",
         "--nproc-per-node=2"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The chapter's files, a copy of them with another loss, and few images: 131 = 2 * 64 + 3."""
    here = tmp_path_factory.mktemp("processes")
    rng = np.random.default_rng(0)
    digits = {"images": torch.from_numpy(rng.random((131, 1, 8, 8))),
              "labels": torch.from_numpy(rng.integers(0, 10, 131))}  # fmt: skip
    torch.save(digits, here / "digits.pt")
    for part, changes in {".": [], "broken": [UNWEIGHTED]}.items():
        (here / part).mkdir(exist_ok=True)
        (here / part / "layers.py").write_text(module(*changes), encoding="utf8")
        train = written("proc-write", "TRAIN")
        (here / part / "train.py").write_text(train, encoding="utf8")
    return here


@pytest.fixture(scope="module")
def two(folder):
    """What two processes found: the results by the name of the case, and what was printed."""
    said = BOOK["run"](
        folder,
        [*LOCAL, "train.py", "two.pt", *BOOK["CASES"]],
        [*LOCAL, "broken/train.py", "broken.pt", "weighted"],
        seconds=300,
    )
    broken = torch.load(folder / "broken.pt")["weighted"]
    return {**torch.load(folder / "two.pt"), "no factor": broken, "said": said}


@pytest.fixture(scope="module")
def one(folder):
    digits = torch.load(folder / "digits.pt")
    train, cases = BOOK["train_case"], BOOK["CASES"]
    return {name: train(**digits, **options) for name, options in cases.items()}


def check_equal(first, second):
    """Losses, gradients and parameters of all steps agree to 1e-15."""
    for name, a, b in zip(("losses", "gradients", "parameters"), first, second, strict=True):
        assert a.dtype == b.dtype == torch.float64, name
        assert len(a) == len(b) == 9, f"{name}: 3 epochs of 3 steps"
        difference = (a - b).abs().max().item()
        assert difference <= 1e-15, f"{name} differ by {difference:.1e}"


def test_two_processes_take_the_steps_of_one(one, two):
    check_equal(one["weighted"], two["weighted"])
    assert "Grad strides" not in "".join(two["said"])
    assert len(re.findall(r"^rank [01] of 2, on node 0$", two["said"][0], re.M)) == 2


@pytest.mark.parametrize("case", ["mean", "no factor"])
def test_another_loss_is_refused(case, one, two):
    name = "mean" if case == "mean" else "weighted"
    with pytest.raises(AssertionError, match="differ by"):
        check_equal(one[name], two[case])


def test_float32_and_a_training_of_the_other_are_refused(one, two):
    with pytest.raises(AssertionError, match="losses"):
        check_equal(one["float32"], two["float32"])
    with pytest.raises(AssertionError, match="differ by"):
        check_equal(one["weighted"], two["Adam"])


def test_the_mean_of_means_agrees_until_the_last_batch_of_the_epoch(one, two):
    difference = (one["mean"][1] - two["mean"][1]).abs().amax(dim=1)
    assert difference[:2].max() <= 1e-15 and difference[2] > 1e-3


# strides


@pytest.fixture(scope="module")
def group():
    """A group of one process, in this one, that talks to nobody."""
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)
    dist.destroy_process_group()


def check_strides(book):
    """Under DDP the layer's gradients lie as the parameters do, and nothing warns."""
    layer = DistributedDataParallel(book["NumpyConv2d"](1, 8, 3).double())
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        layer(torch.ones(4, 1, 8, 8, dtype=torch.double)).square().sum().backward()
    weight = layer.module.weight
    assert not [str(w.message) for w in noted if "Grad strides" in str(w.message)], "DDP warns"
    assert weight.grad.stride() == weight.stride()


def test_the_layer_gives_gradients_their_usual_strides(group):
    check_strides(names_of(module()))


MENDS = ["parts[0]", "np.ascontiguousarray(parts[0])", "parts[0].reshape(parts[0].shape)"]


@pytest.mark.parametrize("mend", MENDS)
def test_a_gradient_that_is_not_copied_is_refused(mend, group):
    book = names_of(module(("return np.concatenate(parts).copy()\n", f"return {mend}\n")))
    with pytest.raises(AssertionError, match="DDP warns"):
        check_strides(book)


# waits end


def check_ended(book, tmp_path):
    """A program that is not done in time is ended, and its name is not forgotten."""
    sleeper = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(RuntimeError, match="not done after 2 s"):
        book["run"](tmp_path, ["-c", sleeper], seconds=2)
    pid = int((tmp_path / "pid").read_text())
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    raise AssertionError("it is still running")


@posix
def test_a_program_that_does_not_end_is_ended(tmp_path):
    check_ended(BOOK, tmp_path)


@posix
def test_a_run_that_ends_nothing_is_refused(tmp_path):
    end = "            for program in programs:\n                end(program)\n"
    book = broken_layers(NAME, (end, end.replace("end(program)", "program.returncode = 1")))
    with pytest.raises(AssertionError, match="still running"):
        check_ended(book, tmp_path)


def test_a_program_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="(?s)failed.*ZeroDivisionError"):
        BOOK["run"](tmp_path, ["-c", "1 / 0"])


def test_torchrun_gives_each_of_several_processes_one_thread(monkeypatch):
    for count, threads in (("2", "1"), ("1", None)):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        config_from_args(parse_args([f"--nproc-per-node={count}", "train.py"]))
        assert os.environ.get("OMP_NUM_THREADS") == threads
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


# recipes


def shell(text, seconds=30):
    """What bash prints for a script; it and what it started are ended when the time is over."""
    program = subprocess.Popen(["bash", "-c", text], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
    try:
        said, _ = program.communicate(timeout=seconds)
    finally:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGTERM)
            program.wait(10)
    assert program.returncode == 0, said
    return said


def check_slurm(book, recipe):
    """One agent for each node, told of all the nodes, which meet at the first."""
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", recipe, re.M))
    assert asked["ntasks-per-node"] == "1" and asked["nodes"] == "2"
    assert recipe.startswith("#!/bin/bash\n") and "time" in asked
    program, *words = shell(book["REHEARSAL"] + recipe).split()
    read = parse_args(words)
    assert program == "torchrun" and read.training_script == "train.py"
    assert (read.nnodes, read.nproc_per_node) == ("2", asked["cpus-per-task"])
    assert (read.rdzv_backend, read.rdzv_endpoint, read.rdzv_id) == ("c10d", "n1:29500", "7")
    assert read.training_script_args[1:] and set(read.training_script_args[1:]) <= set(
        BOOK["CASES"]
    )


@posix
def test_the_slurm_recipe_holds_together():
    check_slurm(BOOK, BOOK["SLURM"])


BROKEN_SLURM = {
    "no end of a quotation": ('"$first:29500"', '"$first:29500'),
    "a line that does not go on": ('"$SLURM_CPUS_PER_TASK" \\\n', '"$SLURM_CPUS_PER_TASK"\n'),
    "one node": ('"$SLURM_JOB_NUM_NODES"', "1"),
    "an agent for each process": ("ntasks-per-node=1", "ntasks-per-node=4"),
    "other processors": ("cpus-per-task=4", "cpus-per-task=8"),
    "meet at the last": ("head -n 1", "tail -n 1"),
    "jobs that meet each other": (' --rdzv-id="$SLURM_JOB_ID"', ""),
    "an unknown option": ("--rdzv-backend", "--rdzv-backends"),
    "an unknown case": ("nodes.pt weighted", "nodes.pt weightless"),
}


@posix
@pytest.mark.parametrize("change", BROKEN_SLURM.values(), ids=BROKEN_SLURM)
def test_a_broken_slurm_recipe_is_refused(change):
    assert BOOK["SLURM"].count(change[0]) == 1
    with pytest.raises((AssertionError, SystemExit)):
        check_slurm(BOOK, BOOK["SLURM"].replace(*change))


@posix
def test_the_slurm_recipe_trains_on_two_agents(folder, two):
    """Two agents on this machine, as on two nodes: the numbers are those of one node."""
    python = f"'{sys.executable}' -m torch.distributed.run --local-addr=127.0.0.1"
    stand_ins = f"""
        cd '{folder}'
        export GLOO_SOCKET_IFNAME={'lo' if sys.platform == 'linux' else 'lo0'}
        export SLURM_JOB_NUM_NODES=2 SLURM_CPUS_PER_TASK=1 SLURM_JOB_ID=7 SLURM_JOB_NODELIST=n
        scontrol() {{ echo 127.0.0.1; }}
        torchrun() {{ {python} "$@"; }}
        srun() {{ "$@" & one=$!; "$@" & two=$!; wait $one; wait $two; }}
    """  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    said = shell(stand_ins + BOOK["SLURM"].replace("29500", port), seconds=300)
    assert sorted(re.findall(r"rank (\d) of 2, on node (\d)", said)) == [("0", "0"), ("1", "1")]
    nodes = torch.load(folder / "nodes.pt")["weighted"]
    assert all(torch.equal(a, b) for a, b in zip(nodes, two["weighted"], strict=True))


def check_kubernetes(recipe):
    """A pod for each node, which knows its number and the name of the first."""
    service, job = yaml.safe_load_all(recipe)
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    assert (service["apiVersion"], job["apiVersion"]) == ("v1", "batch/v1")
    name, spec = job["metadata"]["name"], job["spec"]
    assert service["spec"]["clusterIP"] == "None", "the service gives no names to pods"
    assert service["spec"]["selector"] == {"job-name": name}
    assert spec["completionMode"] == "Indexed", "the pods have no numbers"
    assert spec["completions"] == spec["parallelism"], "not all pods run at once"
    pod = spec["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert pod["restartPolicy"] in ("Never", "OnFailure")
    (container,) = pod["containers"]
    assert all(isinstance(part["value"], str) for part in container["env"])
    program, *words = container["command"]
    assert program == "torchrun" and "--node-rank=$(JOB_COMPLETION_INDEX)" in words
    read = parse_args([word.replace("$(JOB_COMPLETION_INDEX)", "1") for word in words])
    assert (int(read.nnodes), read.node_rank) == (spec["completions"], 1)
    assert read.nproc_per_node == container["resources"]["requests"]["cpu"]
    assert read.master_addr == f"{name}-0.{pod['subdomain']}" and read.rdzv_backend == "static"
    assert read.training_script == "train.py" and set(read.training_script_args[1:]) <= set(
        BOOK["CASES"]
    )


def test_the_kubernetes_recipe_holds_together():
    check_kubernetes(BOOK["KUBERNETES"])


BROKEN_KUBERNETES = {
    "no YAML": ("spec:\n  clusterIP", "spec:\n  - a\n  clusterIP"),
    "an address of its own": ("clusterIP: None", "clusterIP: 10.0.0.1"),
    "other pods": ("job-name: digits", "job-name: digit"),
    "no numbers": ("completionMode: Indexed", "completionMode: NonIndexed"),
    "one at a time": ("parallelism: 2", "parallelism: 1"),
    "three nodes": ("--nnodes=2", "--nnodes=3"),
    "all are the first": ("--node-rank=$(JOB_COMPLETION_INDEX)", "--node-rank=0"),
    "another name": ("--master-addr=digits-0.digits", "--master-addr=digits.digits-0"),
    "a number in the environment": ('value: "1"', "value: 1"),
    "another service": ("subdomain: digits", "subdomain: numbers"),
    "more processes than processors": ("--nproc-per-node=4", "--nproc-per-node=8"),
}


@pytest.mark.parametrize("change", BROKEN_KUBERNETES.values(), ids=BROKEN_KUBERNETES)
def test_a_broken_kubernetes_recipe_is_refused(change):
    assert BOOK["KUBERNETES"].count(change[0]) == 1
    with pytest.raises((AssertionError, SystemExit, yaml.YAMLError)):
        check_kubernetes(BOOK["KUBERNETES"].replace(*change))


# both languages


def test_both_languages_train_and_ask_the_same(folder):
    digits = torch.load(folder / "digits.pt")
    english, chinese = (layers(NAME, language) for language in LANGUAGES)
    for name in ("SLURM", "KUBERNETES", "REHEARSAL", "CASES"):
        assert english[name] == chinese[name]
    for a, b in zip(*(book["train_case"](**digits) for book in (english, chinese)), strict=True):
        assert torch.equal(a, b)
