# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import settings

# A busy machine is not a failing test.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
