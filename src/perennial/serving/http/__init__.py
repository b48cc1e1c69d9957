"""HTTP without Starlette for the two routes of the traffic."""
