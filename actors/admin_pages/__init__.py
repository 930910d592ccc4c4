"""What the admin actor shows and takes: pages, programming interface, metrics, health."""
