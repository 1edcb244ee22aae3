# SPDX-License-Identifier: Apache-2.0
"""What a run looks like: a RunResult as an HTML page, Markdown, a terminal table and figures.

Everything here is a function of ``run.json`` and ``layers.csv``: the same run gives the same bytes,
and no number is computed from anything else.
"""
