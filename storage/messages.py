"""StatusMessage of data sets and models, one place for all who write it. Programs may compare those that AWS had."""

DATASET_CREATING = "The dataset is being created."
DATASET_CREATED = "The dataset was created successfully."
DATASET_UPDATING = "The dataset is being updated."
DATASET_UPDATED = "The dataset was updated successfully."
MODEL_TRAINING = "The model is being trained."
MODEL_TRAINED = "Training completed successfully."
MODEL_STARTING = "The model is starting."
MODEL_RUNNING = "The model is running."
MODEL_UPDATING = "The model is running, and is being moved to another inference host."
MODEL_STOPPING = "The model is stopping."
MODEL_DELETING = "The model is being deleted."


def not_hosted(reason: object) -> str:
    """The message of a model that no replica can serve."""
    return f"The model cannot be hosted. {reason}"


def waiting(message: str, what: str, reason: object) -> str:
    """The message of a state that lasts until somebody makes room or a server is back; nothing else is to be done."""
    return f"{message} {what} waits and goes on by itself: {reason}."
