"""The GPU kit's stages: what its ``run.sh`` runs on the machine with the GPU."""
