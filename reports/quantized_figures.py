# SPDX-License-Identifier: Apache-2.0
"""Figures of what quantization does to tensors: densities, outliers along depth, scale passes.

Functions of plain arrays: where they come from is the command's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from reports import palette
from reports.figures import WIDTH
from reports.svg import house_style, printable, svg_text, title

BINS = 128
BEFORE, AFTER = palette.BLUE[0], palette.ORANGE[0]
LINES = [color for color, _ in palette.SERIES]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """A tensor before and after its quantizer, flat float arrays of one length.

    ``title`` says whose: the method and its widths.
    """

    title: str
    tensor: str
    before: NDArray[np.float32]
    after: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Magnitudes:
    """Largest |value| along depth: for each tensor of the stream, in order.

    Attributes
    ----------
    channels
        largest over tokens and images, per channel: one array [C] per tensor
    tokens
        largest over channels, per token of every image: one array [tokens] per tensor
    """

    title: str
    tensors: tuple[str, ...]
    channels: tuple[NDArray[np.float32], ...]
    tokens: tuple[NDArray[np.float32], ...]


def densities(activations: Sequence[Activation], network: str) -> str:
    """Draw how often values of a network occur before and after quantization, a panel for each.

    ``network`` is the figure's title: the network, what it is built with, and the images.

    Panels share their axes and bins, so that methods compare by eye. Counts are logarithmic: what
    matters are the outliers, and they are few.
    """
    low = min(float(item.before.min()) for item in activations)
    high = max(float(item.before.max()) for item in activations)
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    with house_style():
        figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
        panels = figure.subplots(1, len(activations), sharex=True, sharey=True, squeeze=False)[0]
        for panel, item in zip(panels, activations, strict=True):
            panel.hist(item.before, edges, color=BEFORE, alpha=0.45, label="before quantization")
            panel.hist(
                # The edge bins take what a zero point's rounding moves just outside.
                np.clip(item.after, edges[0], edges[-1]),
                edges,
                histtype="step",
                color=AFTER,
                linewidth=1.2,
                label="after quantization",
            )
            _logarithmic(panel)
            panel.set_title(f"{printable(item.title)}: {printable(item.tensor)}", fontsize=9)
            panel.set(xlabel="value", ylabel=f"count in {BINS} intervals")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
        figure.suptitle(title(network), fontsize=10)
        titles = " and ".join(item.title for item in activations)
        words = (
            f"Values of {activations[0].tensor} of {network} before and after quantization: "
            f"{titles}."
        )
        return svg_text(figure, "density", words, {})


def magnitudes(depth: Magnitudes) -> str:
    """Draw the largest |value| per channel and per token along depth, a panel each."""
    with house_style():
        figure = Figure(figsize=(WIDTH, 6.5), layout="constrained")
        panels = figure.subplots(2, 1, sharex=True)
        place = np.arange(len(depth.tensors))
        for panel, what, arrays in (
            (panels[0], "channel", depth.channels),
            (panels[1], "token", depth.tokens),
        ):
            shares = np.array([np.quantile(values, [0.5, 0.05, 0.95]) for values in arrays])
            panel.fill_between(
                place,
                shares[:, 1],
                shares[:, 2],
                color=BEFORE,
                alpha=0.3,
                linewidth=0,
                label="5 to 95 % of them",
            )
            panel.plot(place, shares[:, 0], color=BEFORE, label="median")
            peaks = [float(values.max()) for values in arrays]
            panel.plot(place, peaks, color=AFTER, marker="D", markersize=4, label="largest")
            _logarithmic(panel)
            panel.set_ylabel(f"largest |value| per {what}")
        panels[0].set_title(title(depth.title), fontsize=9)
        names = [printable(name, 22) for name in depth.tensors]
        panels[1].set_xticks(place, names, rotation=60, ha="right", fontsize=7)
        panels[1].set_xlabel("sums of the residual stream, along depth")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
        worst = max(range(len(depth.tensors)), key=lambda i: float(depth.channels[i].max()))
        words = f"Largest values along depth, {depth.title}. Most: {depth.tensors[worst]}."
        return svg_text(figure, "magnitudes", words, {})


def _logarithmic(axes: Axes) -> None:
    """Make the y axis logarithmic, with plain numbers at 1, 2 and 5 of every decade."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def scale_passes(losses: Mapping[str, Mapping[int, float]], of: str) -> str | None:
    """Draw each block's loss over the passes s0..s4, against its s0; None without any entry.

    Parameters
    ----------
    losses
        by block, by pass
    of
        the figure's title: network, method and widths
    """
    drawn = {block: by for block, by in losses.items() if by.get(0) and len(by) > 1}
    if not drawn:
        return None
    with house_style():
        figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
        axes = figure.subplots()
        for number, (block, by) in enumerate(drawn.items()):
            passes = sorted(by)
            axes.plot(
                passes,
                [by[index] / by[0] for index in passes],
                color=LINES[number % len(LINES)],
                linestyle=("-", "--", ":")[number // len(LINES) % 3],
                marker="o",
                markersize=4,
                label=printable(block),
            )
        ticks = sorted({index for by in drawn.values() for index in by})
        axes.set_xticks(ticks, [f"s{index}" for index in ticks])
        axes.set(xlabel="pass of scale refinement", ylabel="loss of the block, s0 = 1")
        axes.set_title(title(of), fontsize=9)
        figure.legend(loc="outside right upper", fontsize=8)
        end = np.median([by[max(by)] / by[0] for by in drawn.values()])
        words = f"Loss over scale passes, {of}, {len(drawn)} blocks; median at the end {end:.2f}."
        return svg_text(figure, "scales", words, {})
