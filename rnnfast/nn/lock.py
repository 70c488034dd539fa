"""The lock for what several threads share: gradients, the use of a tape, a module's count of masks.

A signal handler may run while its thread holds the lock, and may take it again. A fork waits for the lock, so
the child finds the lock free and nothing half written.
"""

from __future__ import annotations

import os
from threading import RLock

__all__ = ["sharing"]

sharing = RLock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=sharing.acquire, after_in_parent=sharing.release, after_in_child=sharing.release
    )
