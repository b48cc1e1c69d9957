"""The command line: read options, call one flow, print the result. No use case lives here."""
