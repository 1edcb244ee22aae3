# SPDX-License-Identifier: Apache-2.0
"""RunResult: the record of a run (``run.json``) that every report is made of.

Percentages are in percent (81.25), SQNR in dB, sizes in bytes, cycles in cycles of the compute
clock, for one image unless a name says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from aocq.records.fields import (
    MOST,
    Amount,
    Bits,
    Count,
    Decibel,
    Headroom,
    Name,
    Percent,
    Real,
    Record,
)
from aocq.records.shown_images import ShownImages
from aocq.records.verdict import Verdict
from simulator import strict_json

QUANTILES = (0.001, 0.01, 0.25, 0.5, 0.75, 0.99, 0.999)
FEW_IMAGES = 200  # below this many, a verdict says how much a single one weighs


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


class MethodRecord(Record):
    """The quantization method and what it was asked for; ``widths``: None in older records."""

    name: Name
    weight_bits: Bits
    activation_bits: Bits
    widths: WidthsRecord | None = None
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


class Score(Record):
    """A figure by which a task judges a network, in percent.

    key : of it in the scores of each engine
    title : in words, ``top-1``
    """

    key: Name
    title: Name


IMAGES, SAME_CLASS = "images", "same class"
TOP1, TOP5 = Score(key="top1", title="top-1"), Score(key="top5", title="top-5")


class Agreement(Record):
    """Share in percent of what two engines predict alike: the same class of an image, say."""

    integer_float: Percent
    integer_simulated: Percent


class LogitSqnr(Record):
    """Signal-to-quantization-noise ratio of the logits, in dB; None where the noise is zero."""

    integer_float: Decibel | None
    simulated_float: Decibel | None
    integer_simulated: Decibel | None


class PairedCounts(Record):
    """How two networks classify the same images: four counts of images, by their first class."""

    both_right: Count
    only_first_right: Count
    only_second_right: Count
    both_wrong: Count


class PairedOutcomes(Record):
    """Every two of the three networks, in the order of their names."""

    float_integer: PairedCounts
    float_simulated: PairedCounts
    simulated_integer: PairedCounts


class Accuracy(Record):
    """Float, fake-quantized (``simulated``) and integer networks on the same images.

    task : what the network does, by name
    scores : what the task judges by; the first is what gates and tables hold
    alike, shares_of : what agreement means, in words, and what it is the share of. Shares of
        images have exact intervals
    float, simulated, integer : each score in percent, by its key
    paired : None in older records, and of tasks that do not judge image by image
    sqnr_images, differing_images : on how many of them SQNR and mismatches of single ops were
        found; None in older records
    """

    images: Annotated[int, Field(ge=1, le=MOST)]
    skipped_images: list[str]
    sqnr_images: Count | None = None
    differing_images: Count | None = None
    task: Name = "classification"
    scores: Annotated[list[Score], Field(min_length=1)] = Field(default=[TOP1, TOP5])
    alike: Name = SAME_CLASS
    shares_of: Name = IMAGES
    float: dict[Name, Percent]
    simulated: dict[Name, Percent]
    integer: dict[Name, Percent]
    agreement: Agreement
    logit_sqnr_db: LogitSqnr
    paired: PairedOutcomes | None = None

    @property
    def main(self) -> Score:
        """The score that gates and tables hold."""
        return self.scores[0]

    def score(self, engine: str) -> Real:
        """Return an engine's main score, in percent: of float, simulated or integer."""
        found: dict[str, Real] = getattr(self, engine)
        return found[self.main.key]

    @property
    def by_image(self) -> bool:
        """Whether scores and agreement are shares of images."""
        return self.shares_of == IMAGES

    @property
    def drop(self) -> Real:
        """Main score of float less that of the integer network, in points."""
        return self.score("float") - self.score("integer")

    @model_validator(mode="after")
    def _engines_have_the_same_scores(self) -> Self:
        wanted = {score.key for score in self.scores}
        for engine in ("float", "simulated", "integer"):
            if getattr(self, engine).keys() != wanted:
                raise ValueError(f"{engine}: wanted the scores {', '.join(sorted(wanted))}")
        return self

    @model_validator(mode="after")
    def _counts_are_of_all_images(self) -> Self:
        pairs = self.paired.model_dump() if self.paired else {}
        for name, counts in pairs.items():
            if sum(counts.values()) != self.images:
                raise ValueError(f"paired.{name}: the counts are not of {self.images} images")
        return self


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


class MemoryRecord(Record):
    """Bytes on the chip and beside it.

    sram_bytes : of the profile, for activations
    peak_sram_bytes : what the memory plan needs, gaps between its buffers included
    greedy_peak_sram_bytes : what greedy allocation by size needs; None in older records
    peak_lower_bound_bytes : the most bytes alive at once, which no plan can do without
    """

    sram_bytes: Count
    weight_bytes: Count
    model_size_bytes: Count
    peak_sram_bytes: Count
    peak_lower_bound_bytes: Count
    dram_bytes: Count
    greedy_peak_sram_bytes: Count | None = None


class HostStepRecord(Record):
    """A step of the host behind the graph, for one image, ESTIMATED.

    operations, functions : as in :class:`simulator.cost.host_work.HostWork`
    bytes : of the graph's results that it takes over
    handover : cycles at the border between chip and host
    cycles : of all of it, handover and copying included
    """

    name: Name
    operations: Count
    functions: Count
    bytes: Count
    handover: Count
    cycles: Count


class CyclesRecord(Record):
    """ESTIMATED cycles of one image.

    compute, vector, host : in which the MAC array, the vector unit and the host work
    issue : before steps start
    sram, dma : in which the ports of SRAM and DRAM work
    stall : in which units wait for a port
    by_kind, by_block : totals by kind of op, and by block of the network
    bound_by : totals of the ops that each resource limits
    unplaced : ops that the chip has no place for, whose cycles are not in the total
    host_steps : what the host does with the graph's results, in order; in all of the above
    left_out : such steps that are not, because the profile describes no host
    """

    total: Count
    compute: Count
    vector: Count
    dma: Count
    stall: Count
    by_kind: dict[str, Count]
    bound_by: dict[str, Count]
    host: Count = 0
    issue: Count = 0
    sram: Count = 0
    by_block: dict[str, Count] = Field(default_factory=dict)
    unplaced: list[Name] = Field(default_factory=list)
    host_steps: list[HostStepRecord] = Field(default_factory=list)
    left_out: list[Name] = Field(default_factory=list)


class PortRecord(Record):
    """What a memory's port moves for one image, and the port's limits as the profile states them.

    bytes_per_cycle : None where the profile does not limit the port
    """

    bytes: Count
    cycles: Count
    bytes_per_cycle: Amount | None
    burst_bytes: Count
    latency_cycles: Count


class BufferRecord(Record):
    """Memory of one activation, with its views, or of one temporary.

    op : that writes it; the input's name for an input
    type : of its elements, ``s8``; of a temporary ``32 bits``
    offset : first byte in SRAM; None of a buffer that lives in DRAM
    first, last : indexes of the first and last op during which it exists
    first_pass, last_pass : numbers of the first and last pass of these two ops
    storage : ``activation``, ``temporary`` (between passes of one op) or ``weights`` (tiles)
    """

    name: Name
    op: Name
    type: Name
    bytes: Count
    offset: Count | None
    first: Count
    last: Count
    first_pass: Count = 0
    last_pass: Count = 0
    storage: Literal["activation", "temporary", "weights"]


class PeakRecord(Record):
    """The moment at which the most bytes are alive.

    op : that runs then
    bytes : the sum of what is alive, without gaps between
    buffers : names of what is alive, the largest first
    """

    op: Name
    bytes: Count
    buffers: list[Name]


class EnergyRecord(Record):
    """ESTIMATED energy of one image in millijoules; None of a run whose profile has no table.

    parts : by what spends it: ``mac``, ``vector``, ``sram``, ``dram``, ``leakage``
    """

    node_nm: Amount
    total_mj: Amount
    parts: dict[str, Amount]
    source: str


class Float16Record(Record):
    """The same network in float16 on the same profile, ESTIMATED.

    cycles, latency_ms : None where the profile does not say how fast the chip is in float16
    energy_mj : None where it has no energies, or none of a multiply-accumulate in float16
    """

    weight_bytes: Count
    peak_sram_bytes: Count
    dram_bytes: Count
    cycles: Count | None = None
    latency_ms: Amount | None = None
    energy_mj: Amount | None = None


class LiftRecord(Record):
    """What more of one resource would give, found by estimating again.

    resource : ``sram_bytes``, ``dram_bytes_per_cycle``, ``macs_per_cycle``, ``lanes`` or
        ``clock_mhz``
    have, need : of the profile, and the least that meets the gate, or (where no gate failed) twice
        as much
    gate : the gate that it would meet; None where no gate failed
    latency_ms, peak_sram_bytes : with it
    """

    resource: Name
    have: Amount
    need: Amount
    gate: Name | None
    latency_ms: Amount
    peak_sram_bytes: Count


class CaveatRecord(Record):
    """What the profile says beside a figure."""

    about: Name
    text: str


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
