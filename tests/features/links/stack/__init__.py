"""The sample in containers: redirects and clicks under load, full disks, a backup."""
