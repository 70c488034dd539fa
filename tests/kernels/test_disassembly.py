"""`tests/disassembly.py` finds accumulators and pointers on the stack of an inner loop, and nothing else."""

from __future__ import annotations

from disassembly import TARGETS, faults

# Accumulators of a tile of one row and two vectors in memory, as clang 14 compiled them before the tile was
# unrolled by the preprocessor. Before and after the loop, the stack may be used.
X86 = """
0000000000000000 <tile_1x2x1>:
       0:\tpush   %rbp
       1:\tmov    %rsp,%rbp
       4:\tvmovaps %zmm0,0x40(%rsp)
       8:\tvbroadcastss (%rdi,%rax,4),%zmm1
      10:\tvmovaps {second},%zmm3
      18:\tvfmadd231ps (%rsi),%zmm1,%zmm2
      20:\tvfmadd231ps 0x40(%rsi),%zmm1,%zmm3
      28:\tinc    %rax
      30:\tjne    8 <tile_1x2x1+0x8>
      38:\tvmovaps %zmm2,0x40(%rsp)
      40:\tpop    %rbp
      41:\tret
"""
AARCH64 = """
0000000000000000 <tile_1x2x1>:
   0:\tadd\tx1, sp, #0x10
   4:\tldr\tq3, [sp, #32]
   8:\tldr\ts1, [x0], #4
   c:\tldr\tq3, {second}
  10:\tfmla\tv2.4s, v4.4s, v1.s[0]
  14:\tfmla\tv3.4s, v5.4s, v1.s[0]
  18:\tsubs\tx2, x2, #0x1
  1c:\tb.ne\t8 <tile_1x2x1+0x8>  // b.any
  20:\tstr\tq3, [sp, #32]
  24:\tret
"""


def test_the_stack_in_an_inner_loop_is_a_fault():
    for second in ("0x80(%rsp)", "-0x40(%rbp)"):
        assert faults(X86.format(second=second), TARGETS["x86_64"]) == [f"tile_1x2x1: vmovaps {second},%zmm3"]
    for second in ("[sp, #32]", "[x1, #16]"):
        assert faults(AARCH64.format(second=second), TARGETS["aarch64"]) == [f"tile_1x2x1: ldr q3, {second}"]


def test_other_memory_in_an_inner_loop_is_none():
    assert faults(X86.format(second="0x40(%rdx)"), TARGETS["x86_64"]) == []
    assert faults(AARCH64.format(second="[x3, #16]"), TARGETS["aarch64"]) == []


def test_a_loop_without_all_products_of_its_tile_is_a_fault():
    text = AARCH64.format(second="[x3]").replace("1x2x1", "1x3x1")
    assert faults(text, TARGETS["aarch64"]) == ["tile_1x3x1: no inner loop holds its 3 products"]
    assert faults("", TARGETS["x86_64"]) == ["there is no tile in it"]
