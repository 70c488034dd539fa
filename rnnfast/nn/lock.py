"""The lock of what calls on several threads share: gradients, a tape's use, a module's count of masks.

A signal handler may come while its thread holds the lock, and take it again. A fork waits for the lock: a
child has nothing half done, and the lock is free there.
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
