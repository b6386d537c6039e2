"""What the service does: a folder for each feature, with the same file names in all."""
