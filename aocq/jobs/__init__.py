# SPDX-License-Identifier: Apache-2.0
"""Jobs: what a command asks for, the steps that do it, and the record that they make."""
