"""What the pipeline's speed and memory are measured against, and how."""
