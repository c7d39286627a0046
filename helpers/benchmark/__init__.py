"""The embedded benchmark: networks and pictures, those with a known truth among them."""
