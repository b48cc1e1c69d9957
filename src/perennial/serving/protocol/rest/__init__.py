"""The REST form of the Open Inference Protocol: JSON, and JSON followed by the bytes of tensors; bodies by entity."""
