"""Records of requests for operators: JSON lines and spans, both off unless a setting asks for them."""
