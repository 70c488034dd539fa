"""The README: its two commands come first, one line each, and its Python example runs."""

from __future__ import annotations

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_first_two_commands_are_one_line_each():
    first, second = blocks("sh")[:2]
    assert re.fullmatch(r"pip install [^\n]* && rnnfast train[^\n]*\n", first)
    assert re.fullmatch(r"pip install [^\n]* && pytest[^\n]*\n", second)
    assert README.index("pip install") == README.index(first)


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    right = float(capsys.readouterr().out.split("right:")[1])
    assert right > 0.9
    assert (tmp_path / "sums.npz").exists()
