"""Without the package onnx: the bridge says what it needs, and nothing else asks for it."""

from __future__ import annotations

import subprocess
import sys


def test_without_onnx_the_import_says_what_to_install():
    program = "import sys; sys.modules['onnx'] = None; import rnnfast.onnx"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'ImportError: rnnfast.onnx needs the package onnx: pip install "rnnfast[onnx]"' in done.stderr


def test_rnnfast_alone_does_not_import_onnx():
    program = "import sys, rnnfast; assert 'onnx' not in sys.modules and 'rnnfast.onnx' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
