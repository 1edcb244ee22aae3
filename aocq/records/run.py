# SPDX-License-Identifier: Apache-2.0
"""RunResult: the record of a run (``run.json``) that every report is made of.

Percentages are in percent (81.25), SQNR in dB, sizes in bytes, cycles in cycles of the compute
clock, for one image unless a name says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from aocq.records.accuracy import Accuracy
from aocq.records.costs import (
    BufferRecord,
    CaveatRecord,
    CyclesRecord,
    EnergyRecord,
    Float16Record,
    LiftRecord,
    MemoryRecord,
    PeakRecord,
    PortRecord,
)
from aocq.records.fields import (
    Amount,
    Bits,
    Count,
    Headroom,
    Name,
    Real,
    Record,
)
from aocq.records.shown_images import ShownImages
from aocq.records.verdict import Verdict
from simulator import strict_json

QUANTILES = (0.001, 0.01, 0.25, 0.5, 0.75, 0.99, 0.999)


class ProductRecord(Record):
    """Matrix products of one class, and what ran them: see :mod:`simulator.product_choice`.

    product_class : in words: kind, bits of weights, rows x terms x columns that stand for it; None
        where the choice did not ask for it
    ops : by name, in order
    backend, reason : which backend, and why
    gops : measured on the CPU of the run: 10^9 multiplications and additions of the whole op per
        second and core, by backend
    at_most : those of ``gops`` that are bounds: of backends that their product alone ruled out
    """

    product_class: Name | None = None
    ops: list[Name]
    backend: Name
    reason: Name
    gops: dict[str, Amount] = Field(default_factory=dict)
    at_most: list[Name] = Field(default_factory=list)


class Emulation(Record):
    """Time and matrix product of the integer emulation over all images, without decoding.

    gemm_backend : the backends of matrix products that were used, with commas, that of the most
        operations first
    gemm_probe : what the probe of every backend said: ``exact``, or why it cannot be used
    processor : name and model of the CPU; None in older records
    products : which backend ran which products, and why; empty in older records
    walked : sums accumulated in order, term by term, because no bound kept them in their registers
    sums : sums of all accumulators
    """

    seconds: Amount
    images_per_second: Amount
    threads: Count
    gemm_backend: Name
    gemm_probe: dict[str, str] = Field(default_factory=dict)
    processor: str | None = None
    products: list[ProductRecord] = Field(default_factory=list)
    walked: Count | None = None
    sums: Count | None = None


class ModelRecord(Record):
    """The float network.

    table_bytes : tables that are computed, not trained, but held by old checkpoints: indices of
        relative positions, masks
    arguments : of its constructor, where they are not those of its name
    preprocessing : of images, in timm's words
    """

    name: Name
    checkpoint_sha256: Name | None
    parameters: Count
    table_bytes: Count = 0
    arguments: dict[str, Any] = Field(default_factory=dict)
    preprocessing: dict[str, Any] = Field(default_factory=dict)


class WidthsRecord(Record):
    """Bits of activations by what reads them: what "A4" means in a run.

    operands : of activations that matrix products read
    vector : of what the vector unit reads, such as scores and GELU's input
    stream : of the residual stream
    ends : of both operands of the first layer and of the classifier; None: as everywhere
    result : of the network's result where the chip has a width of its own for it
    """

    operands: Bits
    probabilities: Bits
    vector: Bits
    stream: Bits
    ends: Bits | None
    result: Bits | None = None


class LayerWidthsRecord(Record):
    """A layer, or a product of two activations, whose factors have widths of their own.

    a_bits : of what it reads, the left factor
    b_bits : of its weights, or of the right factor
    """

    op: Name
    a_bits: Bits
    b_bits: Bits


class MethodRecord(Record):
    """The quantization method and what it was asked for; ``widths``: None in older records.

    layers : whose factors have other widths than the recipe says for all: by its rules for single
        layers (``recipe["layers"]``, by pattern), or at the network's ends
    """

    name: Name
    weight_bits: Bits
    activation_bits: Bits
    widths: WidthsRecord | None = None
    layers: list[LayerWidthsRecord] = Field(default_factory=list)
    recipe: dict[str, Any]
    calibration_images: Count
    seconds: Amount


class ProfileRecord(Record):
    """The hardware profile.

    macs_per_cycle, lanes : multiply-accumulates that the MAC array can do in a cycle, and lanes of
        the vector unit; None in older records
    """

    name: Name
    sha256: Name
    title: str
    clock_mhz: Amount
    sources: dict[str, str]
    macs_per_cycle: Amount | None = None
    lanes: Amount | None = None


class GraphRecord(Record):
    """The integer graph."""

    sha256: Name
    ops: Count
    macs: Count
    float_ops: Count


class DataRecord(Record):
    """The images that a run evaluated.

    name : last part of the data folder's path
    classes : how many the network tells apart
    images : how many files were chosen from the folder, those that could not be decoded included
    digest : sha256 over these files' places in the folder, class numbers and sizes
    """

    name: str
    classes: Count
    images: Count
    digest: Name


class OverflowOfOp(Record):
    """An op whose accumulator overflowed, or whose results left their type."""

    op: Name
    overflowed: Count
    saturated: Count
    elements: Count
    persistent: Count | None = None


class OverflowRecord(Record):
    """Accumulators over the whole run; terms as in :class:`simulator.ops.behaviour.SumCounts`.

    proven_free : accumulators that no input can overflow
    counted_free : accumulators not proven, with no event observed in this run
    overflowing : accumulators with events
    events : outputs whose accumulator overflowed, summed over all ops and images
    persistent, transient : of these, the two kinds
    changed : of these, all where registers saturate, the persistent ones where they wrap; under
        the policy ``report`` those whose sum would be changed
    least_headroom_bits : register bits that no completed sum of the run used, in the op with the
        fewest
    per_op : every op with an overflow or a saturated result, worst first
    policy : what an overflow means, ``apply``, ``report`` or ``error``; several of them, with
        commas, where ops differ; None in older records and without an accumulator
    reported : sums that would overflow but stay exact, because the policy of their op only reports
        it; 0 if none of them would be another; None in older records
    """

    proven_free: Count
    counted_free: Count
    overflowing: Count
    events: Count
    per_op: list[OverflowOfOp]
    persistent: Count | None = None
    transient: Count | None = None
    changed: Count | None = None
    least_headroom_bits: Headroom | None = None
    policy: str | None = None
    reported: Count | None = None


class RegisterRecord(Record):
    """A register that the graph or the profile states, and what values in it may need.

    level : of an accumulator with several levels, from the innermost; else None
    type : the register's, ``s24`` or ``u19``
    slack_bits : bits that no value uses; below 0 where it is too narrow
    """

    op: Name
    kind: Name
    value: Name
    level: Count | None = None
    needed_bits: Bits
    type: Name
    stated_by: Name
    slack_bits: Headroom
    proven: bool


class ProofRecord(Record):
    """What static bounds say of every value inside every op: see ``docs/proof.md``.

    values, proven : how many there are, and how many no input can drive out of their registers,
        those that nobody states and the emulator holds in 64 bits included
    registers : the stated ones, in order of computation
    """

    values: Count
    proven: Count
    registers: list[RegisterRecord]


class DistributionRecord(Record):
    """How the float network's values of one op's result lie in the type that holds its codes.

    quantiles : those at :data:`QUANTILES`, of an even sample of the values
    least, most : of all values
    low, high : least and largest value that a code can stand for; None where none are codes
    """

    op: Name
    least: Real
    most: Real
    quantiles: Annotated[list[Real], Field(min_length=7, max_length=7)]
    low: Real | None = None
    high: Real | None = None


class RunResult(Record):
    """One run: what was asked, what came out, and the hashes that identify all of it.

    data : None in older records
    proof : None in older records
    energy : empty; what older records have in place of ``energy_record``
    ports : by name, ``sram`` and ``dram``
    buffers, peak : the memory plan; empty and None in older records
    energy_record : None where the profile has no energies
    float16 : the same network in float16; None in older records
    lifts : what would meet the gates that failed, or make the network faster
    caveats : of the profile
    distributions : of the tensors that have an SQNR, in order; empty in older records
    notes : what a reader should know beside the figures, a sentence each, e.g. which of a
        checkpoint's weights were taken
    shown : images with boxes or classes of patches; None of other tasks and in older records
    """

    format: Literal[1] = 1
    command: list[str]
    seed: int
    versions: dict[str, str]
    emulation: Emulation
    model: ModelRecord
    data: DataRecord | None = None
    method: MethodRecord
    profile: ProfileRecord
    graph: GraphRecord
    accuracy: Accuracy
    overflow: OverflowRecord
    proof: ProofRecord | None = None
    memory: MemoryRecord
    cycles: CyclesRecord
    latency_ms: Amount
    fps: Amount
    energy: dict[str, float] = Field(default_factory=dict)
    ports: dict[str, PortRecord] = Field(default_factory=dict)
    buffers: list[BufferRecord] = Field(default_factory=list)
    peak: PeakRecord | None = None
    energy_record: EnergyRecord | None = None
    float16: Float16Record | None = None
    lifts: list[LiftRecord] = Field(default_factory=list)
    caveats: list[CaveatRecord] = Field(default_factory=list)
    distributions: list[DistributionRecord] = Field(default_factory=list)
    verdict: Verdict
    notes: list[str] = Field(default_factory=list)
    shown: ShownImages | None = None

    def to_json(self) -> str:
        """Return the text of ``run.json``."""
        plain = self.model_dump(mode="json")
        return strict_json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
