# SPDX-License-Identifier: MIT
"""What bench/compare is made of. Nothing here is trusted or installed; it runs as root on a machine that may be loaded."""
