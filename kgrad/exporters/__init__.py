"""A run for other people's dashboards: TensorBoard, MLflow, W&B, each through its own client library."""
