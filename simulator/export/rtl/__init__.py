# SPDX-License-Identifier: Apache-2.0
"""Self-checking testbenches of an op in SystemVerilog, around our units or somebody's own module.

:mod:`~simulator.export.rtl.one_op` holds what is compared, an op with operands and results;
:mod:`~simulator.export.rtl.benches` says for every op how its elements are fed and which units
compute it; :mod:`~simulator.export.rtl.testbench` and :mod:`~simulator.export.rtl.folder` write it
down.
"""
