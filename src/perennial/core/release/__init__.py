"""The release machine: how a candidate becomes champion, by the rules of each phase.

Start at `decide`: it names the rule of every phase. No IO, and nothing that is about training or the registry's pages.
"""
