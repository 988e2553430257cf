"""Promise: the commands set themselves up, and fail with one clear line."""

import sys

import pytest

import run


def message(function, *arguments):
    with pytest.raises(SystemExit) as caught:
        function(*arguments)
    return str(caught.value)


def test_an_old_python_is_named():
    run.check_python((3, 11))
    assert message(run.check_python, (3, 9)).endswith(
        "Python 3.9; the book needs Python 3.11 or newer"
    )


def test_a_full_disk_is_named():
    run.check_disk(1, free=2)
    assert "the disk is full: 0.3 GB free, 1 GB needed" in message(run.check_disk, 1, 0.3)


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("NewConnectionError: Failed to establish a new connection", "registry is out of reach"),
        ("ERROR: No matching distribution found for torch==2.13.0", "registry is out of reach"),
        ("something else", "see above"),
    ],
)
def test_an_installer_that_fails_is_explained(printed, reason):
    installer = [sys.executable, "-c", f"import sys; sys.exit({printed!r})"]
    assert reason in message(run.run_or_explain, installer, "the installation")


def test_an_installer_that_works_says_nothing_more(capfd):
    run.run_or_explain([sys.executable, "-c", "print('fine')"], "the installation")
    assert capfd.readouterr().out.strip() == "fine"


def test_a_changed_requirement_is_installed_again(tmp_path):
    (tmp_path / "a.txt").write_text("-r b.txt\n")
    (tmp_path / "b.txt").write_text("numpy==1\n")
    before = run.fingerprint(tmp_path / "a.txt")
    assert run.fingerprint(tmp_path / "a.txt") == before
    (tmp_path / "b.txt").write_text("numpy==2\n")
    assert run.fingerprint(tmp_path / "a.txt") != before


def test_every_requirement_is_pinned():
    loose = []
    files = [run.ROOT / path / "requirements.txt" for path in ("notebooks", "book", "tests")]
    for path in [*files, *(run.ROOT / "deploy").glob("*.txt")]:
        for line in path.read_text(encoding="utf8").splitlines():
            line = line.partition("#")[0].strip()
            if line and not line.startswith("-r ") and "==" not in line:
                loose.append(line)
    assert not loose


def test_an_unknown_command_prints_the_known_ones():
    for arguments in ([], ["bock"]):
        assert all(f"run.py {name}" in message(run.main, arguments) for name in run.COMMANDS)
