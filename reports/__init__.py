# SPDX-License-Identifier: Apache-2.0
"""Reports: an HTML page, Markdown, terminal tables and figures of runs.

A run's report is a function of its ``run.json`` and ``layers.csv``, a table of runs of their
``run.json``, a sweep over accumulator widths of its ``accumulators.json``: the same records give
the same bytes. Two things have no record of a run: rows of networks without weights
(:func:`reports.rows.sized_row`), from a part of one, and :mod:`reports.quantized_figures`, from
arrays that the command hands in.
"""
