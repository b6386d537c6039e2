"""The page at `/`: health, version, and the panels of the features."""
