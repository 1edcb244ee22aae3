# SPDX-License-Identifier: Apache-2.0
"""A small trained vision transformer and its handwritten digits, bundled for an offline first run.

:mod:`aocq.demo.model` registers the network with timm, :mod:`aocq.demo.digits` writes the images as
a folder, and :mod:`aocq.demo.train` makes both bundled files again from scikit-learn's data.
"""
