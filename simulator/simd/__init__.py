# SPDX-License-Identifier: Apache-2.0
"""Vector code: LLVM generators and the kernels made of them, for CPUs with AVX2."""
