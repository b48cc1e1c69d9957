"""The Open Inference Protocol (V2) over gRPC: its messages, its service and the server beside that of REST."""
