# SPDX-License-Identifier: Apache-2.0
"""What no input can overflow: bounds of every register, and the inputs that come closest."""
