# SPDX-License-Identifier: Apache-2.0
"""What a user asks of a quantization, and what a chip allows; known without importing torch."""
