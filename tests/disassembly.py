"""Fails if the inner loop of a tile reads or writes the stack.

Each argument is a compiler with its options: `python disassembly.py gcc "clang --target=aarch64-linux-gnu"`.
The script compiles the tiles of csrc/isa/*.c with it, for the instruction sets of its target, and reads what
objdump prints. An inner loop must hold all products of its tile, and keep its accumulators and pointers in
registers.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

CSRC = Path(__file__).parents[1] / "csrc"
# Those of setup.py that matter to a tile.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fPIC", "-DNDEBUG"]

# Takes the place of kernels/template.h: of all kernels, only the tiles are compiled.
TILES_ALONE = """
#include "kernels/tile.h"
#define TABLE(isa, kind) const void *const kept_##isa##_##kind[] = {tiles, tiles_beside};
"""

TILE = re.compile(r"tile_(\d)x(\d)x(\d)\b")
# A product of vectors has one of these; int8 without an instruction for it has others besides.
PRODUCT = re.compile(r"vfmadd\w+|vdpbf16ps|vpdpbusd|vpmaddwd|fmla|fmadd|sdot|sadalp")

LATER = {"avx512_vdpbf16", "avx2_vnni", "neon_sdot"}  # older compilers compile nothing of these files


class Target(NamedTuple):
    """What the script has to know of a processor."""

    files: tuple[str, ...]  # of csrc/isa
    objdump: str
    stack: str  # the pattern of the stack pointer
    copies: re.Pattern[str]  # of instructions that make another register point to the stack
    writes: re.Pattern[str]  # of instructions that write a register


TARGETS = {
    # Plain C calls fma() here, and no vector register outlives a call.
    "x86_64": Target(
        files=("avx*.c",),
        objdump="objdump",
        stack="%rsp",
        copies=re.compile(r"(?:mov %rsp,|lea [^,(]*\(%rsp.*\),)(%\w+)$"),
        writes=re.compile(r".*[, ](%\w+)$"),
    ),
    "aarch64": Target(
        files=("neon*.c", "scalar_[!i]*.c"),
        objdump="aarch64-linux-gnu-objdump",
        stack="sp",
        copies=re.compile(r"(?:mov|add|sub) (x\d+), sp\b"),
        writes=re.compile(r"\w+ (x\d+),"),
    ),
}


class Instruction(NamedTuple):
    """One line of objdump's listing."""

    address: int
    text: str  # its name and its operands

    def jumps_to(self) -> int | None:
        """The address that it jumps to, if it is a jump."""
        found = re.match(r"(?:j\w+|b|b\.\w+|cbn?z \w+,|tbn?z \w+, #\w+,) *([0-9a-f]+) <", self.text)
        return int(found[1], 16) if found else None

    def ends(self) -> bool:
        """Whether what follows it is never run next."""
        return re.match(r"(?:jmp|ret|b|br)\b(?!\.)", self.text) is not None


def functions(listing: str) -> Iterator[tuple[str, list[Instruction]]]:
    """The functions of what `objdump -d --no-show-raw-insn` prints, by name."""
    for block in re.split(r"\n(?=[0-9a-f]+ <)", listing):
        if head := re.match(r"[0-9a-f]+ <([^>]+)>:\n", block):
            lines = re.findall(r"^ +([0-9a-f]+):\t(?:\{\w+\} )?(.*)$", block, re.MULTILINE)
            yield head[1], [Instruction(int(address, 16), " ".join(text.split())) for address, text in lines]


Flow = list[list[int]]  # the places that each instruction of a function is reached from


def flow_of(code: Sequence[Instruction]) -> Flow:
    """How control passes through a function."""
    places = {instruction.address: place for place, instruction in enumerate(code)}
    before: Flow = [[] for _ in code]
    for place, instruction in enumerate(code):
        if not instruction.ends() and place + 1 < len(code):
            before[place + 1].append(place)
        if (target := places.get(instruction.jumps_to() or -1)) is not None:
            before[target].append(place)
    return before


def inner_loops(flow: Flow) -> list[list[int]]:
    """The places of each loop that holds no other loop."""
    loops = []
    for first, before in enumerate(flow):
        todo = [last for last in before if last >= first]
        if not todo:
            continue
        inside = {first}
        while todo:  # all that leads to the jump back to the first instruction
            place = todo.pop()
            if place not in inside:
                inside.add(place)
                todo += flow[place]
        loops.append(inside)
    return [sorted(loop) for loop in loops if not any(other < loop for other in loops)]


def on_stack(code: Sequence[Instruction], flow: Flow, target: Target) -> set[int]:
    """The places of the instructions that read or write the stack."""
    pointers = [{target.stack} for _ in code]  # registers that may point to the stack after an instruction
    found, changed = set(), True
    while changed:
        changed = False
        for place, (_, text) in enumerate(code):
            known = {target.stack}.union(*(pointers[before] for before in flow[place]))
            address = re.search(r"[\[(]([%\w]*)", text)
            on_stack = address and address[1] in known and not text.startswith("lea ")
            if on_stack or re.match(r"(?:push|pop|call)\b", text):
                found.add(place)
            if copy := target.copies.match(text):
                known.add(copy[1])
            elif write := target.writes.match(text):
                known -= {write[1]} - {target.stack}
            changed |= known != pointers[place]
            pointers[place] = known
    return found


def faults(listing: str, target: Target) -> list[str]:
    """What is wrong with the inner loops of the tiles in a listing."""
    found, checked = [], 0
    for name, code in functions(listing):
        multiplies = {place for place, (_, text) in enumerate(code) if PRODUCT.match(text)}
        size = TILE.match(name)
        if not size or not multiplies:
            continue  # a tile that the registers do not hold is empty
        checked += 1
        flow, products = flow_of(code), int(size[1]) * int(size[2]) * int(size[3])
        loops = [loop for loop in inner_loops(flow) if len(multiplies.intersection(loop)) >= products]
        if not loops:
            found.append(f"{name}: no inner loop holds its {products} products")
        spilled = on_stack(code, flow, target)
        found += [f"{name}: {code[place].text}" for loop in loops for place in loop if place in spilled]
    return found if checked else ["there is no tile in it"]


def compiled(compiler: Sequence[str], target: Target, source: Path) -> str:
    """The listing of the tiles of one file of csrc/isa."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "isa").mkdir()
        (folder / "kernels").mkdir()
        # Beside the copy, it is found before that of csrc.
        (folder / "kernels" / "template.h").write_text(TILES_ALONE)
        copy, out = folder / "isa" / source.name, folder / "tiles.o"
        copy.write_text(source.read_text())
        command = [*compiler, *FLAGS, f"-I{CSRC}", f"-I{CSRC / 'isa'}", "-c", str(copy), "-o", str(out)]
        subprocess.run(command, check=True)
        show = [target.objdump, "-d", "--no-show-raw-insn", str(out)]
        return subprocess.run(show, check=True, capture_output=True, text=True).stdout


def check(command: str) -> int:
    """Print the faults of what one compiler makes of the tiles, and return how many there are."""
    compiler = shlex.split(command)
    machine = subprocess.run([*compiler, "-dumpmachine"], check=True, capture_output=True, text=True).stdout
    target = TARGETS[machine.split("-")[0]]
    sources = sorted(path for pattern in target.files for path in (CSRC / "isa").glob(pattern))
    total = 0
    with ThreadPoolExecutor(2) as pool:
        listings = pool.map(partial(compiled, compiler, target), sources)
        for source, listing in zip(sources, listings, strict=True):
            if source.stem in LATER and "Disassembly of" not in listing:
                print(f"{command}: {source.name}: this compiler does not know the instruction")
                continue
            found = faults(listing, target)
            print(f"{command}: {source.name}: {len(found) or 'no'} faults", *found, sep="\n    ")
            total += len(found)
    return total


if __name__ == "__main__":
    sys.exit(1 if sum([check(command) for command in sys.argv[1:]]) else 0)
