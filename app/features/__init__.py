"""What the service does, a folder each. Layers have the same file names in every one."""
