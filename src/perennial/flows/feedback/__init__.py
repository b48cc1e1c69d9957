"""Labels and rewards: who may send them, how they are stored, whose votes count.

Monitoring and experiments read them; this folder imports neither.
"""
