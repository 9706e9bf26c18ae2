"""What leaves for Azure and for devices: the only place that may import azure."""
