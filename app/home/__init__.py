"""The page at `/`: how the service is, and whatever panels the features bring."""
