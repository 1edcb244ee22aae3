# SPDX-License-Identifier: Apache-2.0
"""Images: folders by class, and the preprocessing that the network was trained with."""
