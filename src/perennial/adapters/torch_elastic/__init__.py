"""PyTorch's elastic launch: processes of this machine that train one model together."""
